// The front: the loss of every plan against its size.
const SIZES = {
  effective_bits: {
    text: 'Effective bits',
    axis: 'effective bits per cached element',
    of: (plan) => plan.effective_bits
  },
  bytes_per_token:
      {text: 'Bytes per token', axis: 'bytes per token', of: (plan) => plan.bytes_per_token},
  gib: {text: 'GiB', axis: 'GiB of cache', of: (plan) => cacheBytes(plan, state.context) / GIB},
  tokens: {
    text: 'Tokens that fit',
    axis: 'tokens that fit',
    of: (plan) => tokensThatFit(plan, memoryForCache())
  },
  ...(has_times ? {
    latency_ms: {
      text: 'Milliseconds',
      axis: 'ms of attention in a decode step',
      of: (plan) => plan.latency_ms
    }
  } :
                  {}),
};
const SETS = {
  held_out: 'held-out prompts',
  calibration: 'calibration prompts'
};

const front = {
  points: new Map(),
  order: [],
  current: null
};

function frontControls() {
  // A field stays as it is, and with it the focus; the choices decide which fields there are.
  const change = (key) => (value) => {
    state[key] = value;
    fitControls();
    draw();
  };
  const choose = (key) => (value) => {
    change(key)(value);
    frontControls();
    refocus(key);
  };
  const sizes = Object.entries(SIZES).map(([value, size]) => [value, size.text]);
  byId('front-controls')
      .replaceChildren(
          choices('Size', 'size', sizes, state.size, choose('size')),
          ...(has_held_out ?
                  [choices('Loss on', 'set', Object.entries(SETS), state.set, choose('set'))] :
                  []),
          ...(state.size === 'gib' ? [contextField(change('context'))] : []),
          ...(state.size === 'tokens' ? memoryFields(change) : []));
}
const refocus = (name) => document.querySelector(`input[name="${name}"]:checked`).focus();
const memoryFields = (change) =>
    [numberField('Memory in GiB', state.memory, {}, change('memory')),
     numberField('Weights in GiB', state.weights, {}, change('weights'))];

// The domain of the losses: whole decades around everything that is drawn, one at least.
function lossDomain(shown) {
  const values = shown.flatMap((value) => value).filter((value) => value > 0);
  if (values.length === 0) return [1e-6, 1];
  const low = Math.floor(Math.log10(Math.min(...values)) + 0.05);
  const high = Math.ceil(Math.log10(Math.max(...values)) - 0.05);
  const alike = low >= high ? 1 : 0;  // all of them are near one power of ten
  return [10 ** (low - alike), 10 ** (high + alike)];
}

function drawFront() {
  const holder = byId('front-chart');
  if (plans.length === 0) return;
  const size = SIZES[state.size];
  const width = Math.max(300, holder.clientWidth || 640),
        height = Math.round(Math.min(470, Math.max(300, 0.62 * width)));
  const left = 50, right = width - 12, top = 24, bottom = height - 44;
  const drawn = plans.filter((plan) => Number.isFinite(size.of(plan)) && size.of(plan) > 0);
  if (drawn.length === 0) {
    front.points.clear();
    const stops_growing = plans.some((plan) => size.of(plan) === Infinity);
    const text = stops_growing ? 'The caches stop growing, so that any number of tokens fits.' :
                                 'The weights leave no memory for a cache.';
    holder.replaceChildren(html('p', {class: 'note'}, text));
    return;
  }
  const others = state.set === 'calibration' &&
          ['effective_bits', 'bytes_per_token', 'latency_ms'].includes(state.size) ?
      data.others :
      [];
  const xs = drawn.map(size.of);
  const margin = (Math.max(...xs) - Math.min(...xs)) * 0.06 || xs[0] * 0.1;
  const from = Math.max(0, Math.min(...xs) - margin), to = Math.max(...xs) + margin;
  const [low, high] = lossDomain(drawn.map((plan) => [lossOf(plan), ...(intervalOf(plan) ?? [])]));
  const x = linear(from, to, left, right);
  const y = logarithmic(low, high, bottom, top);
  const clampedY = (value) => Math.min(bottom, Math.max(top, y(Math.max(value, low))));

  const grid = svg('g', {class: 'grid'}), axis = svg('g', {class: 'axis', 'aria-hidden': 'true'});
  for (const {value, labelled} of logTicks(low, high, 8)) {
    grid.append(svg('line', {x1: left, x2: right, y1: y(value), y2: y(value)}));
    if (labelled) {
      const exponent = Math.log10(value);
      const text = Math.abs(exponent - Math.round(exponent)) < 1e-9 ?
          powerText(Math.round(exponent)) :
          short(value, 1);
      axis.append(svg('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'}, text));
    }
  }
  for (const value of linearTicks(from, to, width < 480 ? 4 : 8)) {
    const text = state.size === 'tokens' ? countText(value) : short(value, 4);
    grid.append(svg('line', {x1: x(value), x2: x(value), y1: top, y2: bottom}));
    axis.append(svg('text', {x: x(value), y: bottom + 17, 'text-anchor': 'middle'}, text));
  }
  axis.append(svg('path', {d: `M${left},${top}V${bottom}H${right}`}));
  const x_title = state.size === 'gib' ? `${size.axis} at ${contextText(state.context)} tokens` :
      state.size === 'tokens' ? `${size.axis} in ${short(memoryForCache() / GIB)} GiB` :
                                size.axis;
  axis.append(
      svg('text', {class: 'title', x: right, y: height - 6, 'text-anchor': 'end'}, x_title));
  axis.append(
      svg('text', {class: 'title', x: 2, y: 12},
          `${data.loss.word} in ${data.loss.unit}, ${SETS[state.set]}`));

  front.names_fit = drawn.filter((plan) => plan.kind === 'uniform').length <= 12;
  front.points.clear();
  front.order = [...drawn].sort((a, b) => size.of(a) - size.of(b) || lossOf(b) - lossOf(a));
  if (!front.order.includes(planOf(front.current)))
    front.current = state.focused ?? front.order[0]?.name;
  if (!front.order.includes(planOf(front.current))) front.current = front.order[0]?.name;
  const points =
      svg('g', {role: 'listbox', 'aria-multiselectable': 'true', 'aria-label': 'Plans, by size'});
  // Selected plans last, above the others.
  for (const plan of [...front.order].sort((a, b) => placeOf(a) - placeOf(b))) {
    points.append(frontPoint(plan, x(size.of(plan)), clampedY, left, right));
  }
  const chart = svg(
      'svg', {
        viewBox: `0 0 ${width} ${height}`,
        role: 'group',
        'aria-label': `${data.loss.word} of ${drawn.length} plans against ${x_title}`
      },
      grid, axis,
      svg('g', {'aria-hidden': 'true'},
          others
              .map(
                  (other) => svg(
                      'circle',
                      {class: 'other', r: 2.2, cx: x(other[state.size]), cy: clampedY(other.loss)}))
              .filter((dot) => dot.getAttribute('cx') >= left && dot.getAttribute('cx') <= right)),
      stairs(size, x, clampedY, right, left), points);
  front.near = (event) => nearest(
      chart, event,
      drawn.map((plan) => ({name: plan.name, x: x(size.of(plan)), y: clampedY(lossOf(plan))})));
  chart.addEventListener('pointermove', (event) => pointAt(front.near(event)));
  chart.addEventListener('pointerleave', () => pointAt(null));
  chart.addEventListener('click', (event) => {
    const name = front.near(event);
    if (name === null) return;
    const had_focus = document.activeElement?.closest?.('#front-chart');
    front.current = name;
    toggle(name);
    if (had_focus) front.points.get(name)?.focus();
  });
  holder.replaceChildren(chart);
  drawLegend(others.length > 0);
}

// The lower edge: the least loss of all plans that are no larger.
function stairs(size, x, y, right, left) {
  const larger_is_better = state.size === 'tokens';
  const sorted = [...front.order];
  if (larger_is_better) sorted.reverse();
  let best = Infinity, path = '';
  for (const plan of sorted) {
    if (lossOf(plan) >= best) continue;
    best = lossOf(plan);
    path += path === '' ? `M${x(size.of(plan))},${y(best)}` : `H${x(size.of(plan))}V${y(best)}`;
  }
  return svg(
      'path',
      {class: 'stairs', 'aria-hidden': 'true', d: path + `H${larger_is_better ? left : right}`});
}

function frontPoint(plan, x, y, left, right) {
  const chosen = placeOf(plan) >= 0, at = y(lossOf(plan)), interval = intervalOf(plan);
  const is_right = x > right - 70;
  const point = svg('g', {
    class: classOf(plan),
    role: 'option',
    'aria-selected': String(chosen),
    'data-plan': plan.name,
    tabindex: plan.name === front.current ? 0 : -1,
    style: `--plan: ${colourOf(plan)}`,
    'aria-label': planTip(plan).replaceAll('\n', ', '),
    onkeydown: (event) => frontKey(event, plan),
    onfocus: () => {
      front.current = plan.name;
      pointAt(plan.name);
    },
    onblur: () => pointAt(null),
  });
  if (interval)
    point.append(
        svg('line', {class: 'whisker', x1: x, x2: x, y1: y(interval[0]), y2: y(interval[1])}));
  point.append(
      svg('circle', {class: 'ring', cx: x, cy: at, r: 11}),
      svg('path',
          {class: 'mark', transform: `translate(${x} ${at})`, d: shapeOf(plan)(chosen ? 6 : 4.2)}));
  // Uniform plans are the landmarks, so all are named where there is room.
  if (chosen || (plan.kind === 'uniform' && right > 460 && front.names_fit))
    point.append(
        svg('text', {
          class: chosen ? null : 'name',
          x: x + (is_right ? -12 : 12),
          y: at - 7,
          'text-anchor': is_right ? 'end' : 'start'
        },
            plan.name));
  front.points.set(plan.name, point);
  return point;
}

function nearest(chart, event, places) {
  const box = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / box.width;
  const at = {x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale};
  let best = null, least = 22;
  for (const place of places) {
    const distance = Math.hypot(place.x - at.x, place.y - at.y);
    if (distance < least) [best, least] = [place.name, distance];
  }
  return best;
}

function pointAt(name) {
  setHovered(name);
  const point = front.points.get(name);
  if (point)
    showTip(planTip(planOf(name)), point.querySelector('.mark').getBoundingClientRect());
  else
    hideTip();
}

function frontKey(event, plan) {
  const at = front.order.indexOf(plan), last = front.order.length - 1;
  const to = {
    ArrowRight: at + 1,
    ArrowDown: at + 1,
    ArrowLeft: at - 1,
    ArrowUp: at - 1,
    Home: 0,
    End: last
  }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    const next = front.order[Math.min(last, Math.max(0, to))];
    front.points.get(plan.name).setAttribute('tabindex', -1);
    front.points.get(next.name).setAttribute('tabindex', 0);
    front.points.get(next.name).focus();
  } else if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    toggle(plan.name);
    front.points.get(plan.name)?.focus();
  }
}

function drawLegend(with_others) {
  const entry = (text, ...drawing) =>
      html('li', {}, svg('svg', {viewBox: '-11 -7 22 14', 'aria-hidden': 'true'}, drawing), text);
  const mark = (kind) =>
      svg('g', {class: `point ${kind}`}, svg('path', {class: 'mark', d: circle(4.2)}));
  byId('front-caption')
      .replaceChildren(
          html(
              'ul', {class: 'legend'}, entry('layer-wise plan of the front', mark('front')),
              ...(plans.some((plan) => plan.kind === 'near') ?
                      [entry('near the front', mark('near'))] :
                      []),
              entry('uniform plan: one pair in all layers', mark('uniform')),
              ...(plans.some((plan) => intervalOf(plan)) ?
                      [entry(
                          '95 % interval over prompts',
                          svg('g', {class: 'point hover'},
                              svg('line', {class: 'whisker', x1: 0, x2: 0, y1: -7, y2: 7})))] :
                      []),
              entry('least loss at this size', svg('path', {class: 'stairs', d: 'M-11,-4H0V4H11'})),
              ...(with_others ? [entry(
                                    'other plans that the search scored',
                                    svg('circle', {class: 'other', r: 2.5}))] :
                                [])),
          ...(exact ? [html(
                          'p', {},
                          `Not quantized: ${exact.effective_bits} bits, ${bytesText(exact)}.`)] :
                      []),
          html(
              'p', {class: 'no-print'},
              'Select plans with a click, or with the arrow keys and Enter.'));
}

function hoverFront() {
  const cell = state.cell ?? state.pinned;
  for (const [name, point] of front.points) {
    point.classList.toggle('hover', name === state.hovered);
    point.classList.toggle('dim', cell !== null && !usesCell(planOf(name), cell));
  }
}

// The plan in focus, in numbers.
function drawCard() {
  const card = byId('plan-card'), plan = planOf(state.focused);
  if (!plan) {
    card.hidden = true;
    return;
  }
  const score = scoreOf(plan), both = plan.held_out && plan.calibration;
  const rows = [
    [
      'size',
      exact ? `${percent(plan.bytes_per_token / exact.bytes_per_token, 3)} of 16 bits` :
              short(plan.bytes_per_token, 6)
    ],
    ['bits', `${short(plan.effective_bits, 4)} effective, ${short(plan.nominal_bits, 4)} nominal`],
    [
      'bytes per token',
      short(plan.bytes_per_token, 6) +
          (plan.padded_bytes_per_token ? `, up to ${short(plan.padded_bytes_per_token, 6)} padded` :
                                         '')
    ],
    ...(has_times ? [[
      'attention of a step',
      timeText(plan.latency_ms) +
          (exact && plan.latency_ms > 0 ?
               `, 16 bits take ${short(exact.latency_ms / plan.latency_ms)} times as long` :
               '')
    ]] :
                    []),
    [
      `${data.loss.word}, ${has_held_out ? 'held out' : 'calibration'}`,
      lossNodes(plan.held_out ?? plan.calibration)
    ],
    ...(both ? [[`${data.loss.word}, calibration`, lossNodes(plan.calibration)]] : []),
    [
      'same top token',
      percent(score.top1_agreement, 4) +
          (score.top1_agreement < 1 ? `: 1 in ${short(1 / (1 - score.top1_agreement), 2)} differs` :
                                      '')
    ],
    ...(score.total_variation === undefined ?
            [] :
            [['expected acceptance', percent(1 - score.total_variation, 4)]]),
    ...(score.effective_tokens === undefined ?
            [] :
            [['loss carried by', `${short(score.effective_tokens)} tokens`]]),
    [
      'layers',
      html(
          'div', {class: 'spec', tabindex: 0, role: 'group', 'aria-label': 'Layers of the plan'},
          specNodes(plan.spec))
    ],
  ];
  const chosen = placeOf(plan) >= 0;
  card.replaceChildren(
      html('h3', {}, keyOf(plan), titleOf(plan)), html('p', {class: 'muted'}, {
        front: 'a layer-wise plan of the front',
        near: 'a layer-wise plan near the front',
        uniform: 'a uniform plan',
        exact: 'not quantized'
      }[plan.kind]),
      html('dl', {}, rows.flatMap(([term, text]) => [html('dt', {}, term), html('dd', {}, text)])),
      html(
          'p', {class: 'no-print'},
          html(
              'button', {type: 'button', onclick: () => toggle(plan.name)},
              chosen ? 'Remove from the selection' : 'Add to the selection')));
}

function drawChips() {
  const chips = state.selected.map(
      (name) => html(
          'span', {
            class: 'chip',
            onpointerenter: () => setHovered(name),
            onpointerleave: () => setHovered(null)
          },
          html(
              'button', {
                type: 'button',
                onclick: () => {
                  state.focused = name;
                  draw();
                },
                'aria-label': `Show ${name}`
              },
              keyOf(planOf(name)), name),
          html(
              'button', {
                type: 'button',
                class: 'no-print',
                onclick: () => toggle(name),
                'aria-label': `Remove ${name} from the selection`
              },
              '×')));
  byId('chips').replaceChildren(...(plans.length === 0 ? [] : [
    html('span', {class: 'muted'}, chips.length > 0 ? 'Selected:' : 'No plan is selected.'),
    ...chips
  ]));
}

views.push({draw: drawFront, hover: hoverFront}, {draw: drawCard}, {draw: drawChips});
