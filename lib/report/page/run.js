// What the run is: its title, what is missing, where it comes from. Then everything is drawn.
function drawHeader() {
  const {run} = data;
  document.title = byId('title').textContent = `KV cache plans of ${data.title}`;
  const parts = [
    `target ${run.target}`, `${data.layer_count} layers`,
    ...(plans.length > 0 ? [`${data.scored_plans} scored plans`] : []),
    `${run.prompt_count} calibration prompts` +
        (has_held_out ? `, ${plans[0].held_out.prompts} held-out prompts` : ''),
    `kvtune ${run.version}`
  ];
  byId('subtitle').textContent = parts.join(' · ');
  byId('summary').replaceChildren(...data.sentences.map((sentence) => html('p', {}, sentence)));
  byId('missing').replaceChildren(...data.missing.map(
      ({what, command}) => html(
          'div', {class: 'note'}, html('p', {}, what),
          ...(command ? [copyable(command, 'Copy the command that makes it')] : []))));
  byId('theme').addEventListener('change', (event) => {
    document.documentElement.dataset.theme = event.target.value;
  });
}

function drawProvenance() {
  const {run} = data;
  const shapes = run.layer_shapes.map(
      (shape) => `layers ${shape.layers}: ${shape.kv_heads} KV heads, ` +
          `keys of ${shape.key_head_dim}, values of ${shape.value_head_dim}` +
          (shape.window_tokens > 0 ? `, window of ${shape.window_tokens} tokens` : ''));
  const rows = [
    ['run', data.run_path],
    ['model', `${run.model} (${run.model_hash})`],
    ['cache', shapes.join('; ')],
    [
      'prompts',
      `${run.prompts.join(', ')}: ${run.prompt_count} prompts, ` +
          `${run.token_count} tokens (${run.prompts_hash})`
    ],
    ['arithmetic', `${run.device}, ${run.dtype}, ${run.prefill} prefill`],
    ['seed', String(run.seed)],
    ['bytes at', `${run.context} tokens`],
    ...(run.noise_floor === undefined ? [] : [[
      'rounding alone',
      `${short(run.noise_floor, 2)} ${data.loss.unit}: plans closer than this are ties`
    ]]),
    ...(data.search_sentence ? [['search', data.search_sentence]] : []),
    ['kvtune', run.version],
  ];
  byId('provenance-list')
      .replaceChildren(
          html('dl', {}, rows.flatMap(([term,
                                        text]) => [html('dt', {}, term), html('dd', {}, text)])),
          ...data.stages.map(
              (stage) => html(
                  'div', {class: 'export'},
                  html(
                      'h3', {}, stage.name,
                      html(
                          'span', {class: 'muted'},
                          stage.finished ? ` ${short(stage.seconds)} s` : ' not finished',
                          `, started ${stage.started}`)),
                  copyable(stage.command, `Copy the command of ${stage.name}`),
                  html('p', {class: 'muted'}, stage.options))));
}

function listSections() {
  const sections =
      [...document.querySelectorAll('main > section')].filter((section) => !section.hidden);
  byId('sections')
      .replaceChildren(...sections.map(
          (section) => html(
              'li', {},
              html('a', {href: `#${section.id}`}, section.querySelector('h2').textContent))));
}

drawHeader();
drawProvenance();
show('front', plans.length > 0);
show('layers', data.pairs.length > 0 || plans.length > 0);
if (plans.length > 0) {
  frontControls();
  fitControls();
}
draw();
listSections();

// The charts are drawn anew for another width; for paper, everything that can be opened is.
let drawn_width = document.documentElement.clientWidth;
addEventListener('resize', () => {
  if (document.documentElement.clientWidth === drawn_width) return;
  drawn_width = document.documentElement.clientWidth;
  draw();
});
