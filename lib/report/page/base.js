// What all views share: the data, small builders of elements, numbers as text, scales, and the
// state that links the views.
//
// There is no chart library here on purpose. The views are linked point by point, are walked with
// the keyboard and read by screen readers, and go to paper as vectors; a library that draws on a
// canvas has none of that, and one that draws SVG is ten times the size of this script.
//
// Names come from files of others. They reach the page only as text nodes and attribute values.
'use strict';

const data = JSON.parse(document.getElementById('kvtune-data').textContent);
const byId = (id) => document.getElementById(id);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on'))
      node.addEventListener(name.slice(2), value);
    else
      node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const html = (tag, attributes, ...children) =>
    build(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
    build(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

// Numbers as text.
const SUPERSCRIPTS = {
  '-': '⁻',
  0: '⁰',
  1: '¹',
  2: '²',
  3: '³',
  4: '⁴',
  5: '⁵',
  6: '⁶',
  7: '⁷',
  8: '⁸',
  9: '⁹'
};
const powerText = (exponent) => exponent === 0 ?
    '1' :
    '10' + [...String(exponent)].map((character) => SUPERSCRIPTS[character]).join('');
function short(value, digits = 3) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) return String(Number(value.toPrecision(digits)));
  return value.toExponential(digits - 1).replace(/\.?0+e/, 'e').replace('e+', 'e');
}
const percent = (value, digits = 3) => short(100 * value, digits) + ' %';
function countText(value) {
  if (!Number.isFinite(value)) return 'no limit';
  for (const [size, unit] of [[1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (value >= size) return short(value / size) + unit;
  }
  return String(Math.floor(value));
}
const GIB = 2 ** 30;
function sizeText(bytes) {
  for (const [size, unit] of [[GIB, ' GiB'], [2 ** 20, ' MiB'], [1024, ' KiB']]) {
    if (bytes >= size) return short(bytes / size) + unit;
  }
  return short(bytes) + ' B';
}
const contextText = (tokens) => (tokens % 1024 === 0 ? tokens / 1024 + 'k' : String(tokens));
const timeText = (milliseconds) => `${short(milliseconds, 4)} ms`;
const bytesText = (plan) => `${short(plan.bytes_per_token, 6)} bytes per token`;
const intervalText = (interval) =>
    (interval ? `[${short(interval[0])},\u00a0${short(interval[1])}]` : '');

// Scales and ticks.
const linear = (from, to, start, end) => (value) =>
    start + ((value - from) / (to - from)) * (end - start);
const logarithmic = (from, to, start, end) => {
  const scale = linear(Math.log(from), Math.log(to), start, end);
  return (value) => scale(Math.log(Math.max(value, Number.MIN_VALUE)));
};
function linearTicks(from, to, count) {
  const raw = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const ticks = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to * (1 + 1e-12); ++i)
    ticks.push(i * step);
  return ticks;
}
// The powers of ten from `from` to `to`, at most `count` of them with a text; where there are few,
// also 2 and 5.
function logTicks(from, to, count) {
  const first = Math.log10(from), last = Math.log10(to);
  const low = Math.floor(first + 1e-9), high = Math.ceil(last - 1e-9);
  const every = Math.max(1, Math.ceil((high - low) / count));
  const ticks = [];
  for (let exponent = low; exponent <= high; ++exponent) {
    for (const factor of high - low <= 3 ? [1, 2, 5] : [1]) {
      const value = factor * 10 ** exponent;
      if (value < from * (1 - 1e-9) || value > to * (1 + 1e-9)) continue;
      ticks.push({value, labelled: factor > 1 ? high - low <= 2 : exponent % every === 0});
    }
  }
  return ticks;
}

// Plans.
const plans = data.plans.filter((plan) => plan.kind !== 'exact');
const exact = data.plans.find((plan) => plan.kind === 'exact') ?? null;
const planOf = (name) => data.plans.find((plan) => plan.name === name) ?? null;
const has_held_out = plans.length > 0 && plans.every((plan) => plan.held_out);
const has_times = plans.length > 0 && plans.every((plan) => plan.latency_ms !== undefined);
const formatText = (index) => data.formats[index].name;
const shortened = (text) => (text.length > 100 ? text.slice(0, 99) + '…' : text);
// A plan written out, which may be torn between its parts alone.
const specNodes = (spec) => spec.split(';').flatMap(
    (part, i, parts) => (i + 1 < parts.length ? [part + ';', html('wbr', {})] : [part]));
const pairText = (plan, layer) => plan.keys[layer] === plan.values[layer] ?
    formatText(plan.keys[layer]) :
    `${formatText(plan.keys[layer])} keys, ${formatText(plan.values[layer])} values`;

// The cache in bytes at a context, between the contexts at which kvtune computed it. Sizes are
// straight lines in between but for the first few tokens of a window.
function cacheBytes(plan, tokens) {
  const xs = data.contexts, ys = plan.cache_bytes;
  if (tokens <= xs[0]) return (ys[0] * tokens) / xs[0];
  let i = xs.findIndex((x) => x >= tokens);
  if (i < 0) i = xs.length - 1;
  return linear(xs[i - 1], xs[i], ys[i - 1], ys[i])(tokens);
}
function tokensThatFit(plan, bytes) {
  const xs = data.contexts, ys = plan.cache_bytes;
  if (bytes <= 0) return 0;
  if (bytes <= ys[0]) return (bytes / ys[0]) * xs[0];
  let i = ys.findIndex((y) => y >= bytes);
  if (i < 0) i = ys.length - 1;
  if (ys[i] === ys[i - 1]) return Infinity;
  return linear(ys[i - 1], ys[i], xs[i - 1], xs[i])(bytes);
}

// The state. Views register what they do when a part of it changes.
const WEIGHTS = data.weight_bytes === null ? 0 : Number((data.weight_bytes / GIB).toPrecision(3));
const state = {
  selected: data.selected.filter((name) => planOf(name)),
  focused: null,  // the plan whose card and exports are shown
  hovered: null,  // the plan under the pointer or the keyboard
  cell: null,     // {pair, layer} under the pointer or the keyboard
  pinned: null,   // {pair, layer} that was clicked
  size: 'effective_bits',
  set: has_held_out ? 'held_out' : 'calibration',
  context: data.run.context,
  memory: [24, 32, 48, 80, 141, 192].find((memory) => memory > 1.2 * WEIGHTS) ??
      Math.ceil(2 * WEIGHTS),  // GiB
  weights: WEIGHTS,
};
state.focused = state.selected.find((name) => planOf(name).kind === 'front') ?? state.selected[0] ??
    plans[0]?.name ?? null;
const views = [
];  // {draw, hover}: draw after a change of selection or settings, hover after one of the pointer
const draw = () => {
  for (const view of views) view.draw?.();
  hover();
};
const hover = () => {
  for (const view of views) view.hover?.();
};

const scoreOf = (plan) => plan[state.set] ?? plan.calibration;
const lossOf = (plan) => scoreOf(plan).loss;
const intervalOf = (plan) => scoreOf(plan).interval ?? null;
const memoryForCache = () => Math.max(0, state.memory - state.weights) * GIB;

const MOST_SELECTED = 6;
function toggle(name) {
  if (state.selected.includes(name)) {
    state.selected = state.selected.filter((other) => other !== name);
    say(`${name} is no longer selected`);
  } else {
    state.selected = [...state.selected, name].slice(-MOST_SELECTED);
    say(`${name} is selected`);
  }
  state.focused = name;
  draw();
}
function setHovered(name) {
  if (state.hovered === name) return;
  state.hovered = name;
  hover();
}
const say = (text) => {
  byId('said').textContent = text;
};

// Colour and shape of a selected plan, by its place in the selection.
// Corners of the shapes, as parts of a radius: square, diamond, triangles, cross, pentagon.
const CORNERS = [
  '-1,-1 1,-1 1,1 -1,1',
  '0,-1.35 1.35,0 0,1.35 -1.35,0',
  '0,-1.25 1.25,1 -1.25,1',
  '0,1.25 1.25,-1 -1.25,-1',
  '-1,-.4 -.4,-.4 -.4,-1 .4,-1 .4,-.4 1,-.4 1,.4 .4,.4 .4,1 -.4,1 -.4,.4 -1,.4',
  '0,-1.2 1.15,-.35 .7,1 -.7,1 -1.15,-.35',
];
const SHAPES = CORNERS.map((corners) => (radius) => {
  const points = corners.split(' ').map((corner) => corner.split(',').map((part) => part * radius));
  return `M${points.join('L')}Z`;
});
const circle = (r) => `M${- r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${- 2 * r},0Z`;
const placeOf = (plan) => state.selected.indexOf(plan.name);
const shapeOf = (plan) => (placeOf(plan) < 0 ? circle : SHAPES[placeOf(plan)]);
const colourOf = (plan) => (placeOf(plan) < 0 ? 'var(--accent)' : `var(--plan-${placeOf(plan)})`);
const classOf = (plan) => `point ${plan.kind}${placeOf(plan) < 0 ? '' : ' chosen'}`;
// A plan's mark beside its name.
const keyOf = (plan) =>
    svg('svg', {
      class: `key ${classOf(plan)}`,
      viewBox: '-9 -9 18 18',
      'aria-hidden': 'true',
      style: `--plan: ${colourOf(plan)}`
    },
        svg('path', {class: 'mark', d: shapeOf(plan)(5)}));
const titleOf = (plan) => (plan.alias ? `${plan.name} (${plan.alias})` : plan.name);

// The tooltip, always whole inside of the window.
function showTip(text, box) {
  const tip = byId('tip');
  tip.textContent = text;
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  const left = Math.min(
      Math.max(8, box.left + box.width / 2 - width / 2),
      document.documentElement.clientWidth - width - 8);
  const above = box.top - height - 10;
  const below = Math.min(box.bottom + 10, window.innerHeight - height - 8);
  tip.style.transform =
      `translate(${Math.max(8, left)}px, ${above >= 8 ? above : Math.max(8, below)}px)`;
}
const hideTip = () => {
  byId('tip').hidden = true;
};
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') hideTip();
});

function planTip(plan) {
  const score = scoreOf(plan);
  const lines = [
    `${titleOf(plan)}: ${shortened(plan.spec)}`,
    `${short(plan.effective_bits, 4)} effective bits, ${bytesText(plan)}`,
    ...(has_times ? [`${timeText(plan.latency_ms)} of attention in a decode step`] : []),
    `${data.loss.word} ${short(score.loss)} ${intervalText(score.interval)}`,
    `same top token ${percent(score.top1_agreement, 4)}`,
  ];
  return lines.join('\n');
}

// A loss with its interval, in two pieces that no line end tears.
const lossNodes = (score) =>
    [html('span', {class: 'number'}, short(score.loss)), ' ',
     html('span', {class: 'number'}, intervalText(score.interval))];

// Black or white, whichever is readable on a scale that turns from one to the other at these
// shares. The shares are where both have the same contrast, which is over 4.5.
const inkOn = (share, {light, dark}) =>
    `color: light-dark(${share > light ? '#fff' : '#000'}, ${share > dark ? '#000' : '#fff'})`;

// One group of radio buttons that looks like one control.
function choices(title, name, options, current, change) {
  return html(
      'fieldset', {}, html('legend', {}, title),
      html(
          'div', {class: 'choices'},
          options.map(
              ([value, text]) => html(
                  'label', {}, html('input', {
                    type: 'radio',
                    name,
                    value,
                    checked: value === current,
                    onchange: () => change(value)
                  }),
                  text))));
}
function numberField(text, value, attributes, change) {
  const read = (event) => {
    const number = event.target.valueAsNumber;
    if (Number.isFinite(number) && number >= 0) change(number);
  };
  return html(
      'label', {}, text,
      html('input', {type: 'number', min: 0, step: 'any', value, onchange: read, ...attributes}));
}
function contextField(change) {
  const values = [...new Set([...data.contexts, state.context])].sort((a, b) => a - b);
  return html(
      'label', {}, 'Context in tokens',
      html(
          'select', {onchange: (event) => change(Number(event.target.value))},
          values.map(
              (value) =>
                  html('option', {value, selected: value === state.context}, contextText(value)))));
}

// A command or a text with a button that copies it.
function copyable(text, label) {
  const button = html('button', {type: 'button', 'aria-label': label}, 'Copy');
  const box = html(
      'pre', {tabindex: 0, role: 'group', 'aria-label': label.replace(/^Copy /, '')},
      html('code', {}, text));
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      // Without leave to write the clipboard: select the text, which the user then copies.
      getSelection().selectAllChildren(box);
      button.textContent = document.execCommand('copy') ? 'Copied' : 'Selected';
    }
    say(button.textContent);
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 2000);
  });
  return html('div', {class: 'command'}, box, button);
}
