// The layers: the error of every pair in every layer, and what the selected plans choose there.
const layer_numbers = [...Array(data.layer_count).keys()];
const fragile = new Map((data.diagnosis?.fragile ?? []).map((layer) => [layer.index, layer]));
const heat = {
  cells: [],
  current: [0, 0]
};
const usesCell = (plan, {pair, layer}) => plan.keys.length > 0 &&
    plan.keys[layer] === data.pairs[pair].key && plan.values[layer] === data.pairs[pair].value;

// Cells shrink until a model's layers fit, but stay large enough for a finger or an eye.
function setCellWidth() {
  const room = byId('layers').clientWidth - 48 -
      parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--head')) * 16 - 8;
  const width = Math.max(10, Math.min(46, Math.floor(room / data.layer_count) - 2));
  document.documentElement.style.setProperty('--cell', `${width}px`);
  document.documentElement.style.setProperty('--layers', data.layer_count);
  for (const table of document.querySelectorAll('.matrix'))
    table.classList.toggle('narrow-cells', width < 22);
  return width;
}

function columnHeads(width) {
  const every = width >= 20 ? 1 : 5;
  return layer_numbers.map((layer) => {
    const mark = fragile.has(layer) ? '▾' : '';
    // Where there is no room for every number, a fragile layer has its mark alone.
    const text = width >= 22 ? mark + layer : mark || (layer % every === 0 ? String(layer) : '');
    return html(
        'th', {
          scope: 'col',
          class: mark ? 'fragile' : null,
          'data-layer': layer,
          title: `layer ${layer}${mark ? ', fragile' : ''}`
        },
        html('span', {'aria-hidden': 'true'}, text),
        html('span', {class: 'unseen'}, `layer ${layer}${mark ? ', fragile' : ''}`));
  });
}

// Errors span decades, so their colour is that of the logarithm.
function heatScale() {
  const values = data.output_errors.flat().filter((value) => value > 0);
  if (values.length === 0) values.push(1e-6);
  const low = Math.min(...values), high = Math.min(1, Math.max(...values));
  const scale = logarithmic(low, Math.max(high, low * 1.01), 0, 1);
  return {low, high, at: (value) => Math.min(1, Math.max(0, value > 0 ? scale(value) : 0))};
}
function heatColour(share) {
  return share < 0.5 ?
      `color-mix(in oklab, var(--heat-middle) ${Math.round(200 * share)}%, var(--heat-low))` :
      `color-mix(in oklab, var(--heat-high) ${Math.round(200 * share - 100)}%, var(--heat-middle))`;
}
const heatStyle = (share) =>
    `background: ${heatColour(share)}; ${inkOn(share, {light: 0.77, dark: 0.55})}`;

function cellText(pair, layer) {
  const {label} = data.pairs[pair], error = data.output_errors[pair][layer];
  const lines = [`layer ${layer}, ${label}: attention output error ${percent(error)}`];
  const by = data.dominated_by?.[pair][layer];
  if (data.dominated_by)
    lines.push(by ? `pruned: ${by} has no more bits and no more error` : 'kept for the search');
  if (fragile.has(layer)) lines.push(`fragile: needs ${fragile.get(layer).needed_key} keys`);
  return lines.join('\n');
}

function drawHeat() {
  const holder = byId('heat');
  if (data.pairs.length === 0) {
    holder.replaceChildren();
    return;
  }
  const width = setCellWidth(), scale = heatScale();
  heat.cells = data.pairs.map((pair, row) => layer_numbers.map((layer) => {
    const share = scale.at(data.output_errors[row][layer]);
    const value = 100 * data.output_errors[row][layer];
    return html(
        'td', {
          class: data.dominated_by?.[row][layer] ? 'pruned' : null,
          'data-layer': layer,
          role: 'gridcell',
          tabindex: row === heat.current[0] && layer === heat.current[1] ? 0 : -1,
          'aria-label': cellText(row, layer).replaceAll('\n', ', '),
          onkeydown: (event) => heatKey(event, row, layer),
          onclick: () => pin(row, layer),
          onpointerenter: (event) => overCell(row, layer, event.currentTarget),
          onpointerleave: () => overCell(null),
          onfocus: (event) => overCell(row, layer, event.currentTarget),
          onblur: () => overCell(null),
        },
        html(
            'span', {style: heatStyle(share)},
            value >= 9.95       ? String(Math.round(value)) :
                value >= 0.0995 ? value.toFixed(1).replace(/^0/, '') :
                                  ''));
  }));
  const rows = data.pairs.map(
      (pair, row) => html(
          'tr', {role: 'row'},
          html(
              'th', {
                scope: 'row',
                role: 'rowheader',
                title: `${formatText(pair.key)} keys, ${formatText(pair.value)} values, ` +
                    `${short(pair.effective_bits, 4)} effective bits`
              },
              pair.label),
          heat.cells[row]));
  holder.replaceChildren(
      html('h3', {}, 'Error of the attention output, by layer and pair of formats'),
      html(
          'div',
          {class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Errors by layer and pair'},
          html(
              'table',
              {class: 'matrix', role: 'grid', 'aria-label': 'Attention output error in percent'},
              html(
                  'thead', {role: 'rowgroup'},
                  html(
                      'tr', {role: 'row'},
                      html('th', {scope: 'row', role: 'columnheader', class: 'corner'}, 'layer'),
                      columnHeads(width).map((head) => {
                        head.setAttribute('role', 'columnheader');
                        return head;
                      }))),
              html('tbody', {role: 'rowgroup'}, rows),
              ...(data.groups ?
                      [html(
                          'tfoot', {role: 'rowgroup'},
                          html(
                              'tr', {role: 'row'},
                              html(
                                  'th', {
                                    scope: 'row',
                                    role: 'rowheader',
                                    title: 'Layers of one group share one choice in the search'
                                  },
                                  'group'),
                              data.groups.map(
                                  (group, layer) => html(
                                      'td', {role: 'gridcell', 'data-layer': layer, class: 'muted'},
                                      String(group)))))] :
                      []))),
      html(
          'p', {class: 'scale'},
          html(
              'span', {}, percent(scale.low, 2), html('i', {class: 'ramp', 'aria-hidden': 'true'}),
              percent(scale.high, 2) + ' of the output, logarithmic'),
          ...(data.dominated_by ?
                  [html('span', {}, 'small square: pruned, another pair is at least as good')] :
                  []),
          ...(fragile.size > 0 ? [html('span', {}, '▾: fragile layer')] : []),
          ...(plans.length > 0 ? [html('span', {}, 'framed: what the plan in focus takes')] : []),
          html('span', {id: 'pinned'})));
  for (const table of document.querySelectorAll('.matrix'))
    table.classList.toggle('narrow-cells', width < 22);
}

function overCell(pair, layer, node) {
  state.cell = pair === null ? null : {pair, layer};
  if (node)
    showTip(cellText(pair, layer), node.getBoundingClientRect());
  else
    hideTip();
  hover();
}
function pin(pair, layer) {
  const same = state.pinned?.pair === pair && state.pinned?.layer === layer;
  state.pinned = same ? null : {pair, layer};
  hover();
  if (!same && plans.length > 0) say(pinnedText());
}
function pinnedText() {
  const {pair, layer} = state.pinned;
  const count = plans.filter((plan) => usesCell(plan, state.pinned)).length;
  return `${data.pairs[pair].label} in layer ${layer}: ${count} of ${plans.length} plans`;
}
function heatKey(event, row, layer) {
  const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [
                  -1, 0
                ]}[event.key];
  if (step) {
    event.preventDefault();
    const next = [
      Math.min(data.pairs.length - 1, Math.max(0, row + step[0])),
      Math.min(data.layer_count - 1, Math.max(0, layer + step[1]))
    ];
    heat.cells[row][layer].setAttribute('tabindex', -1);
    heat.current = next;
    heat.cells[next[0]][next[1]].setAttribute('tabindex', 0);
    heat.cells[next[0]][next[1]].focus();
  } else if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    pin(row, layer);
  }
}

function hoverLayers() {
  const shown = planOf(state.hovered) ?? planOf(state.focused);
  heat.cells.forEach((row, pair) => row.forEach((cell, layer) => {
    cell.classList.toggle('used', shown !== null && usesCell(shown, {pair, layer}));
    cell.classList.toggle('pinned', state.pinned?.pair === pair && state.pinned?.layer === layer);
  }));
  const layer = (state.cell ?? state.pinned)?.layer;
  for (const node of document.querySelectorAll('.matrix [data-layer]')) {
    node.classList.toggle('column', layer !== undefined && Number(node.dataset.layer) === layer);
  }
  for (const row of document.querySelectorAll('#strips tr[data-plan]'))
    row.classList.toggle('hover', row.dataset.plan === state.hovered);
  byId('pinned')?.replaceChildren(
      ...(state.pinned ?
              [
                pinnedText() + ' ',
                html(
                    'button', {
                      type: 'button',
                      class: 'no-print',
                      onclick: () => {
                        state.pinned = null;
                        hover();
                      }
                    },
                    'show all')
              ] :
              []));
}

// Bits as a colour: 2 bits lowest, 16 highest.
const bitShare = (bits) => Math.min(1, Math.max(0, Math.log2(bits / 2) / 3));
const bitColour = (bits) =>
    `color-mix(in oklab, var(--bits-high) ${Math.round(100 * bitShare(bits))}%, var(--bits-low))`;
const bitStyle = (bits) =>
    `background: ${bitColour(bits)}; ${inkOn(bitShare(bits), {light: 0.68, dark: 0.48})}`;
const bitCell = (bits, text) => html('span', {style: bitStyle(bits)}, text ?? String(bits));

function drawStrips() {
  const holder = byId('strips');
  const chosen = state.selected.map(planOf);
  if (chosen.length === 0) {
    holder.replaceChildren();
    return;
  }
  const width = setCellWidth();
  const strip = (plan, side, formats) => html(
      'tr', {
        'data-plan': plan.name,
        class: side === 'K' ? 'first' : null,
        onpointerenter: () => setHovered(plan.name),
        onpointerleave: () => setHovered(null)
      },
      html(
          'th', {scope: 'row', 'aria-label': `${plan.name}, ${side === 'K' ? 'keys' : 'values'}`},
          ...(side === 'K' ? [keyOf(plan), plan.name + ' '] : []), side),
      formats.map(
          (format, layer) => html(
              'td', {'data-layer': layer, title: `layer ${layer}: ${pairText(plan, layer)}`},
              bitCell(data.formats[format].bits))));
  const bits = [
    ...new Set(chosen.flatMap((plan) => [...plan.keys, ...plan.values])
                   .map((format) => data.formats[format].bits))
  ].sort((a, b) => a - b);
  holder.replaceChildren(
      html('h3', {}, 'Selected plans: bits of keys (K) and values (V) by layer'),
      html(
          'div', {class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Bits by layer'},
          html(
              'table', {class: `matrix${width < 22 ? ' narrow-cells' : ''}`},
              html(
                  'thead', {},
                  html(
                      'tr', {}, html('th', {scope: 'row', class: 'corner'}, 'layer'),
                      columnHeads(width))),
              html(
                  'tbody', {},
                  chosen.flatMap(
                      (plan) => [strip(plan, 'K', plan.keys), strip(plan, 'V', plan.values)])))),
      html(
          'p', {class: 'scale'},
          bits.map(
              (value) => html(
                  'span', {},
                  html('i', {'aria-hidden': 'true', style: `background: ${bitColour(value)}`}),
                  `${value} bits`))));
}

function drawFragile() {
  const diagnosis = data.diagnosis;
  if (!diagnosis) return;
  byId('fragile').replaceChildren(...(diagnosis.fragile.length === 0 ? [] : [
    html(
        'div', {class: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'Fragile layers'},
        html(
            'table', {class: 'list', style: 'width: auto'},
            html(
                'thead', {},
                html(
                    'tr', {},
                    [
                      'layer', 'needs', `output error with ${diagnosis.safe_key} keys`, 'others',
                      'what stands out'
                    ]
                        .map(
                            (text, i) => html(
                                'th', {scope: 'col', class: i === 1 || i === 4 ? 'text' : null},
                                text)))),
            html(
                'tbody', {},
                diagnosis.fragile.map(
                    (layer) => html(
                        'tr', {}, html('th', {scope: 'row'}, String(layer.index)),
                        html('td', {class: 'text'}, `${layer.needed_key} keys`),
                        html('td', {}, percent(layer.output_error, 2)),
                        html(
                            'td', {},
                            `at most ${percent(diagnosis.ordinary.worst_output_error, 2)}`),
                        html('td', {class: 'text wide'}, layer.causes.join(', ')))))))
  ]));
}

views.push({draw: drawFragile}, {draw: drawHeat, hover: hoverLayers}, {draw: drawStrips});
