// The answers to a task: how many are right, and how far each plan is from the exact model on the
// same items.
const shareText = (share, digits = 3) => short(100 * share, digits);
const signed = (share) => (share > 0 ? '+' : '') + shareText(share, 2);

function drawAnswers() {
  const answered = plans.filter((plan) => plan.accuracy);
  show('answers', answered.length > 0);
  if (answered.length === 0) return;
  const sorted = [...answered].sort((a, b) => b.bytes_per_token - a.bytes_per_token);
  const ends = sorted.flatMap((plan) => plan.accuracy.difference_interval);
  const low = Math.min(...ends, -0.01), high = Math.max(...ends, 0.01);
  const width = 420, x = linear(low, high, 14, width - 14);
  const ticks = linearTicks(low, high, 6);
  const chart = (plan) => {
    const [from, to] = plan.accuracy.difference_interval;
    const seen = (plan.accuracy.gained - plan.accuracy.lost) / plan.accuracy.items;
    return svg(
        'svg',
        {viewBox: `0 0 ${width} 34`, 'aria-hidden': 'true', style: `--plan: ${colourOf(plan)}`},
        svg('g', {class: 'grid'},
            ticks.map((value) => svg('line', {x1: x(value), x2: x(value), y1: 0, y2: 34}))),
        svg('line', {class: 'zero', x1: x(0), x2: x(0), y1: 0, y2: 34}),
        svg('line', {class: 'tail-line', x1: x(from), x2: x(to), y1: 17, y2: 17}),
        svg('circle', {class: 'tail-dot', cx: x(seen), cy: 17, r: 5}));
  };
  const axis =
      svg('svg', {viewBox: `0 0 ${width} 18`, 'aria-hidden': 'true'},
          ticks.map(
              (value) =>
                  svg('text', {x: x(value), y: 13, 'text-anchor': 'middle'}, shareText(value, 2))));
  const row = (plan) => {
    const {strict, lost, gained, difference_interval, mcnemar_p, is_worse} = plan.accuracy;
    const [from, to] = difference_interval;
    return html(
        'tr', linked(plan), rowHead(plan), html('td', {class: 'chart'}, chart(plan)),
        html('td', {}, `${signed(from)} to ${signed(to)}`), html('td', {}, percent(strict)),
        html('td', {}, String(lost)), html('td', {}, String(gained)),
        html('td', {}, short(mcnemar_p, 2)), html('td', {}, is_worse ? 'worse' : ''));
  };
  byId('answers-table')
      .replaceChildren(
          ...data.answer_sentences.map((sentence) => html('p', {class: 'muted'}, sentence)),
          scrolling(
              'Answers to a task',
              html(
                  'table', {class: 'list'}, head([
                    ['plan', 'text'], ['right answers minus those of the exact model', 'text'],
                    ['points, 95 %'], ['right'], ['lost'], ['gained'], ['p'], ['verdict']
                  ]),
                  html('tbody', {}, sorted.map(row)),
                  html(
                      'tfoot', {},
                      html(
                          'tr', {}, html('td', {}), html('td', {class: 'chart'}, axis),
                          html('td', {colspan: 6}))))));
}

views.push({draw: drawAnswers});
