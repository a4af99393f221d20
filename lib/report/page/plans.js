// The selected plans side by side: the tail of the loss, what fits, how to export them; and the
// table of all plans.
const head = (columns) => html(
    'thead', {},
    html('tr', {}, columns.map(([text, kind]) => html('th', {scope: 'col', class: kind}, text))));
const scrolling = (label, table) =>
    html('div', {class: 'scroll', tabindex: 0, role: 'group', 'aria-label': label}, table);
const rowHead = (plan) => html('th', {scope: 'row'}, keyOf(plan), titleOf(plan));
const linked = (plan) => ({
  'data-plan': plan.name,
  onpointerenter: () => setHovered(plan.name),
  onpointerleave: () => setHovered(null)
});
const chosenPlans = () => state.selected.map(planOf);
const show = (id, is_shown) => {
  byId(id).hidden = !is_shown;
};

const TAIL_EXPLAINED = 'A mean hides rare large losses: one token in a hundred is above the ' +
    'bar, one in a thousand above the diamond.';

// Mean and quantiles of the KL per token, on one logarithmic axis for all rows.
function drawTail() {
  const chosen = chosenPlans();
  show('tail', plans.length > 0);
  if (chosen.length === 0) {
    byId('tail-table')
        .replaceChildren(html('p', {class: 'muted'}, 'Select plans to compare them here.'));
    return;
  }
  const points = (plan) => [scoreOf(plan).kl_mean, scoreOf(plan).kl_p99, scoreOf(plan).kl_p999];
  const [low, high] = lossDomain(chosen.map(points));
  const width = 420, x = logarithmic(low, high, 14, width - 14);
  const chart = (plan) => {
    const [mean, p99, p999] = points(plan).map((value) => x(Math.max(value, low)));
    const ticks = logTicks(low, high, 8)
                      .map(({value}) => svg('line', {x1: x(value), x2: x(value), y1: 0, y2: 34}));
    return svg(
        'svg',
        {viewBox: `0 0 ${width} 34`, 'aria-hidden': 'true', style: `--plan: ${colourOf(plan)}`},
        svg('g', {class: 'grid'}, ticks),
        svg('line', {class: 'tail-line', x1: mean, x2: p999, y1: 17, y2: 17}),
        svg('circle', {class: 'tail-dot', cx: mean, cy: 17, r: 5}),
        svg('path',
            {class: 'tail-dot', transform: `translate(${p99} 17)`, d: 'M-1.5,-8H1.5V8H-1.5Z'}),
        svg('path', {class: 'tail-dot', transform: `translate(${p999} 17)`, d: SHAPES[1](4.5)}));
  };
  const axis =
      svg('svg', {viewBox: `0 0 ${width} 18`, 'aria-hidden': 'true'},
          logTicks(low, high, 6)
              .filter((tick) => tick.labelled)
              .map(
                  ({value}) =>
                      svg('text', {x: x(value), y: 13, 'text-anchor': 'middle'}, short(value, 1))));
  byId('tail-table')
      .replaceChildren(
          html(
              'p', {class: 'muted'},
              `KL of single tokens in ${data.loss.unit}, ${SETS[state.set]}. ` + TAIL_EXPLAINED),
          scrolling(
              'Tail of the loss',
              html(
                  'table', {class: 'list'}, head([
                    ['plan', 'text'], ['● mean   ❙ 99 %   ◆ 99.9 %', 'text'], ['mean'], ['99 %'],
                    ['99.9 %'], ['same top token']
                  ]),
                  html(
                      'tbody', {},
                      chosen.map(
                          (plan) => html(
                              'tr', linked(plan), rowHead(plan),
                              html('td', {class: 'chart'}, chart(plan)),
                              points(plan).map((value) => html('td', {}, short(value))),
                              html('td', {}, percent(scoreOf(plan).top1_agreement, 4))))),
                  html(
                      'tfoot', {},
                      html(
                          'tr', {}, html('td', {}), html('td', {class: 'chart'}, axis),
                          html('td', {colspan: 4}))))));
}

// The loss of the tokens that stand early or late in a prompt: a plan that loses more the longer
// the prompt is must not be trusted far beyond the prompts that it was measured on.
function drawPosition() {
  const chosen =
      chosenPlans().filter((plan) => scoreOf(plan).by_position?.length > 0 && lossOf(plan) > 0);
  show('position', chosen.length > 0);
  if (chosen.length === 0) return;
  const ranges = new Map();
  for (const plan of chosen)
    for (const range of scoreOf(plan).by_position) ranges.set(range.from, range);
  const columns = [...ranges.values()].sort((a, b) => a.from - b.from);
  const lossAt = (plan, column) =>
      scoreOf(plan).by_position.find((range) => range.from === column.from)?.kl_mean ?? null;
  const rangeText = ({from, to}) => `${from}–${to - 1}`;
  const width = Math.max(300, Math.min(640, byId('position').clientWidth - 40 || 640)),
        height = 230;
  const left = 50, right = width - 12, top = 24, bottom = height - 40;
  const [low, high] =
      lossDomain(chosen.map((plan) => columns.map((column) => lossAt(plan, column) ?? 0)));
  const x = (i) => left + ((i + 0.5) / columns.length) * (right - left),
        y = logarithmic(low, high, bottom, top);
  const grid = svg('g', {class: 'grid'}), axis = svg('g', {class: 'axis'});
  for (const {value, labelled} of logTicks(low, high, 6)) {
    grid.append(svg('line', {x1: left, x2: right, y1: y(value), y2: y(value)}));
    if (labelled)
      axis.append(
          svg('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'}, short(value, 1)));
  }
  columns.forEach(
      (column, i) => axis.append(
          svg('text', {x: x(i), y: bottom + 17, 'text-anchor': 'middle'}, rangeText(column))));
  axis.append(
      svg('path', {d: `M${left},${top}V${bottom}H${right}`}),
      svg('text', {class: 'title', x: 2, y: 12},
          `${data.loss.word} in ${data.loss.unit}, ${SETS[state.set]}`),
      svg('text', {class: 'title', x: right, y: height - 4, 'text-anchor': 'end'},
          'position of the token in its prompt'));
  const lines = chosen.map((plan) => {
    const points = columns.map((column, i) => [x(i), lossAt(plan, column)])
                       .filter(([, loss]) => loss > 0)
                       .map(([at, loss]) => [at, y(loss)]);
    return svg(
        'g', {class: classOf(plan), style: `--plan: ${colourOf(plan)}`}, svg('path', {
          class: 'line',
          d: points.map((point, i) => `${i === 0 ? 'M' : 'L'}${point}`).join('')
        }),
        points.map(
            ([at, up]) =>
                svg('path',
                    {class: 'mark', transform: `translate(${at} ${up})`, d: shapeOf(plan)(5)})));
  });
  byId('position-chart')
      .replaceChildren(
          html(
              'div', {style: `max-width: ${width}px`},
              svg('svg', {
                viewBox: `0 0 ${width} ${height}`,
                role: 'img',
                'aria-label': 'Loss by position; the table below has the numbers'
              },
                  grid, axis, lines)),
          scrolling(
              'Loss by position',
              html(
                  'table', {class: 'list', style: 'width: auto'},
                  head([['plan', 'text'], ...columns.map((column) => [rangeText(column)])]),
                  html(
                      'tbody', {},
                      chosen.map(
                          (plan) => html(
                              'tr', linked(plan), rowHead(plan),
                              columns.map(
                                  (column) => html('td', {}, short(lossAt(plan, column))))))))));
}

// The cache of the selected plans in memory.
function fitControls() {
  if (plans.length === 0) return;
  const change = (key) => (value) => {
    state[key] = value;
    frontControls();
    draw();
  };
  byId('fit-controls').replaceChildren(...memoryFields(change), contextField(change('context')));
}
function drawFit() {
  show('fit', plans.length > 0);
  const contexts = [...new Set([8192, 32768, 131072, state.context])].sort((a, b) => a - b);
  const listed = [...chosenPlans().filter((plan) => plan !== exact), ...(exact ? [exact] : [])];
  const room = memoryForCache();
  const rows = listed.map((plan) => {
    const tokens = tokensThatFit(plan, room);
    const times = exact ? tokens / tokensThatFit(exact, room) : NaN;
    return html(
        'tr', linked(plan), rowHead(plan), html('td', {}, short(plan.bytes_per_token, 6)),
        contexts.map((context) => {
          const bytes = cacheBytes(plan, context);
          return html(
              'td', {class: bytes > room ? 'short' : null},
              sizeText(bytes) + (bytes > room ? ' ✗' : ''));
        }),
        html('td', {class: 'good'}, countText(tokens)),
        html('td', {}, Number.isFinite(times) ? short(times, 3) + ' ×' : '–'));
  });
  byId('fit-table')
      .replaceChildren(
          scrolling(
              'What fits',
              html(
                  'table', {class: 'list'}, head([
                    ['plan', 'text'], ['bytes per token'],
                    ...contexts.map((context) => [`at ${contextText(context)} tokens`]),
                    ['tokens that fit'], ['times 16 bits']
                  ]),
                  html('tbody', {}, rows))),
          html(
              'p', {class: 'muted'},
              `The cache of all sequences together, in ${short(room / GIB)} GiB: ` +
                  `${short(state.memory)} GiB of memory less ${short(state.weights)} GiB of ` +
                  'weights. ✗: more than that.' +
                  (data.weight_bytes === null ? ' The size of the weights is not known here.' :
                                                ' An engine takes some memory for itself.')));
}

function drawExports() {
  const plan = planOf(state.focused);
  show('exports', data.exports.length > 0 && plan !== null);
  if (!plan) return;
  byId('export-list')
      .replaceChildren(
          html(
              'p', {}, 'Of the plan in focus, ', html('strong', {}, keyOf(plan), titleOf(plan)),
              `, for the target ${data.run.target}:`),
          ...data.exports
              .map((format) => {
                const of_plan = format.plans[plan.name];
                if (!of_plan) return null;
                return html(
                    'div', {class: 'export'},
                    html(
                        'h3', {}, format.format,
                        html('span', {class: 'muted'}, ` ${format.description}`)),
                    ...(of_plan.why_not ?
                            [html(
                                'p', {class: 'note'},
                                `It cannot express this plan: ${of_plan.why_not}. ` +
                                    `The command writes the nearest one: ${of_plan.nearest}.`)] :
                            []),
                    copyable(of_plan.command, `Copy the command for ${format.format}`),
                    ...(of_plan.content ?
                            [html(
                                'details', {}, html('summary', {}, 'What it writes'),
                                copyable(of_plan.content, `Copy the ${format.format} text`))] :
                            []));
              })
              .filter((node) => node !== null));
}

// All plans, sorted by a click on a column.
const COLUMNS = [
  {text: 'plan', kind: 'text', of: (plan) => plan.name},
  {text: 'effective bits', of: (plan) => plan.effective_bits, show: (value) => short(value, 4)},
  {text: 'bytes per token', of: (plan) => plan.bytes_per_token, show: (value) => short(value, 6)},
  {
    text: 'of 16 bits',
    of: (plan) => (exact ? plan.bytes_per_token / exact.bytes_per_token : null),
    show: (value) => (value === null ? '–' : percent(value))
  },
  ...(has_times ? [{text: 'ms', of: (plan) => plan.latency_ms, show: (value) => short(value, 4)}] :
                  []),
  {text: 'held-out loss', of: (plan) => plan.held_out?.loss ?? null, show: (value) => short(value)},
  {
    text: '95 % interval',
    of: (plan) => plan.held_out?.interval?.[0] ?? null,
    show: (value, plan) => intervalText(plan.held_out?.interval) || '–'
  },
  {text: 'calibration loss', of: (plan) => plan.calibration.loss, show: (value) => short(value)},
  {
    text: 'same top token',
    of: (plan) => (plan.held_out ?? plan.calibration).top1_agreement,
    show: (value) => percent(value, 4)
  },
  {text: 'layers', kind: 'text wide', of: (plan) => plan.spec, show: specNodes},
];
const sorting = {
  column: 2,
  direction: -1
};
function drawPlanTable() {
  show('plans', data.plans.length > 0);
  const {of} = COLUMNS[sorting.column];
  const key = (plan) => of(plan) ?? -Infinity;
  const sorted = [...data.plans].sort((a, b) => {
    const [first, second] = [key(a), key(b)];
    return sorting.direction *
        (typeof first === 'string' ? first.localeCompare(second) : first - second);
  });
  const headers = COLUMNS.map(
      (column, i) => html(
          'th', {
            scope: 'col',
            class: column.kind,
            'aria-sort':
                i === sorting.column ? (sorting.direction > 0 ? 'ascending' : 'descending') : null
          },
          html(
              'button', {
                type: 'button',
                onclick: () => {
                  sorting.direction = i === sorting.column ? -sorting.direction : 1;
                  sorting.column = i;
                  drawPlanTable();
                  document.querySelectorAll('#plan-table thead button')[i].focus();
                }
              },
              column.text)));
  byId('plan-table')
      .replaceChildren(scrolling(
          'All plans',
          html(
              'table', {class: 'list'}, html('thead', {}, html('tr', {}, headers)),
              html(
                  'tbody', {},
                  sorted.map(
                      (plan) => html(
                          'tr', linked(plan),
                          html(
                              'th', {scope: 'row'},
                              html(
                                  'button', {
                                    type: 'button',
                                    'aria-pressed': String(placeOf(plan) >= 0),
                                    onclick: () => {
                                      toggle(plan.name);
                                      [...document.querySelectorAll('#plan-table tbody tr')]
                                          .find((row) => row.dataset.plan === plan.name)
                                          ?.querySelector('button')
                                          .focus();
                                    }
                                  },
                                  keyOf(plan), titleOf(plan))),
                          COLUMNS.slice(1).map(
                              (column) => html(
                                  'td', {class: column.kind},
                                  column.show(column.of(plan), plan)))))))));
}
function hoverPlanTable() {
  for (const row of document.querySelectorAll('.list tr[data-plan]'))
    row.classList.toggle('hover', row.dataset.plan === state.hovered);
}

views.push(
    {draw: drawTail}, {draw: drawPosition}, {draw: drawFit}, {draw: drawExports},
    {draw: drawPlanTable, hover: hoverPlanTable});
