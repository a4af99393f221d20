"""Makes docs/results.md out of the files that results.py writes: the statistics over plans, and the text."""
import math
import textwrap
from itertools import pairwise

SIGNIFICANT = 0.05
SHOWN_FRONT = 14  # plans of a front in a table


# --- statistics -----------------------------------------------------------------------------------


def ranks(values):
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            result[i] = (start + 1 + end) / 2
        start = end
    return result


def spearman(first, second):
    """Spearman's rank correlation, with ties; None where one side is constant."""
    one, two = ranks(first), ranks(second)
    middle = (len(one) + 1) / 2
    product = sum((a - middle) * (b - middle) for a, b in zip(one, two))
    spread_of = [sum((rank - middle) ** 2 for rank in side) for side in (one, two)]
    return product / math.sqrt(spread_of[0] * spread_of[1]) if all(spread_of) else None


def holm(p_values):
    """Which hypotheses Holm's procedure rejects at SIGNIFICANT."""
    rejected = [False] * len(p_values)
    for place, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] >= SIGNIFICANT / (len(p_values) - place):
            break
        rejected[i] = True
    return rejected


def is_worse(plan):
    return plan["lost"] > plan["gained"] and plan["mcnemar_p"] < SIGNIFICANT


def safe_loss(plans, worse):
    """The largest loss of a plan that has less than every plan that is worse, and how many plans there are up to it."""
    first = min((plan["kl"] for plan, bad in zip(plans, worse) if bad), default=math.inf)
    safe = [plan["kl"] for plan in plans if plan["kl"] < first]
    return (max(safe), len(safe)) if safe else (None, 0)


def lowest_kept(plans):
    """The plan of the fewest bytes that is not worse, and that has no worse plan above it; or None."""
    lowest = None
    for plan in sorted(plans, key=lambda plan: -plan["bytes_per_token"]):
        if is_worse(plan):
            break
        lowest = plan
    return lowest


def lowest_not_worse(plans):
    """The plan of the fewest bytes that is not worse, the one with the least KL among equals; or None."""
    kept = [plan for plan in plans if not is_worse(plan)]
    return min(kept, key=lambda plan: (plan["bytes_per_token"], plan["kl"]), default=None)


def fewest_significant():
    """The fewest lost answers that are significant where none is gained."""
    return next(lost for lost in range(1, 100) if 2 * 0.5 ** lost < SIGNIFICANT)


# --- document -------------------------------------------------------------------------------------


INTRODUCTION = """# Results: losses and answers

KL is what a search minimizes, and right answers are what a user wants. This page shows for some models how plans that
`kvtune search` found by KL, and many others, answer a task. It is made by a script from the files in
`configs/benchmarks/results/`, so no figure of it was typed. The second command needs no GPU:

```text
scripts/results.py --kvtune PROGRAM --model NAME=DIR,TASKFILE... --out configs/benchmarks/results
scripts/results.py --write docs/results.md configs/benchmarks/results
```

These are small models, trained for the tasks that they are asked. They show how losses and answers go together, not
what a plan does to another model: for that there is `kvtune search --model DIR --task FILE` ([tasks.md](tasks.md)).
"""

READING = """**How to read it.** All plans answer the same items, decoded greedily with the cache that the plan stores. A
plan is *worse* where it lost more answers than it gained and McNemar's exact two-sided p is below {significant}. {fewest}
lost answers with none gained are the fewest that can be significant. "No loss was seen" never means that there is none:
the 95 % interval of the difference to the exact model, which is paired, says how large one may be. Bits are effective
where nothing else is said, and a share is that of the bytes of a bf16 cache. Held-out KL is in nats per token, and
[algorithm.md](algorithm.md#intervals) says what its interval is."""

# What a section says first of a model of this name.
MODELS = {
    "demo": "The bundled model ([README](../calib_data/demo_model/README.md)), two layers of which were made fragile by hand, "
            "with the items of `scripts/make_demo_task.py`. An item is right if its whole line is.",
    "chain": "The bundled model, trained further on sums in which one wrong digit spoils the answer "
             "(`scripts/train_chain_model.py`): every one of 24 steps looks up a digit in the prompt and adds it to the sum of "
             "the step before. An item is right if the whole chain is.",
    "ref-llama": "A Llama of 18 million parameters, trained on word problems in four shots and on looking numbers up in lists. "
                 "It is not part of the project.",
}


def percent(share, digits=1):
    return f"{100 * share:.{digits}f} %"


def points(interval):
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def short(number):
    return f"{number:.3g}"


def wrapped(text, bullet=""):
    return textwrap.fill(text, 120, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False,
                         break_on_hyphens=False)


def table(heads, rows):
    align = "|".join("--:" if i else "---" for i in range(len(heads)))
    return "\n".join([f"| {' | '.join(heads)} |", f"|{align}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def plan_row(plan, exact):
    interval = plan["kl_interval"]
    loss = short(plan["kl"]) + (f" ({short(interval[0])} to {short(interval[1])})" if interval else "")
    return [plan["name"], short(plan["nominal_bits"]), f"{plan['effective_bits']:.2f}",
            percent(plan["bytes_per_token"] / exact["bytes_per_token"]), loss, f"{100 * plan['strict']:.1f}",
            points(plan["difference_interval"]), f"{plan['lost']}/{plan['gained']}", short(plan["mcnemar_p"]),
            "worse" if is_worse(plan) else ""]


PLAN_HEADS = ["plan", "nominal bits", "bits", "share", "held-out KL (95 %)", "right, %", "difference, points (95 %)",
              "lost/gained", "p", ""]


def of_kind(result, kind):
    return [plan for plan in result["plans"] if plan["kind"] == kind]


def distinct(plans):
    """One entry of each plan: a uniform plan may be on the front too."""
    return list({plan["spec"]: plan for plan in reversed(plans)}.values())[::-1]


def shown_front(front):
    """Plans of a front for a table, most bytes first: evenly chosen, with those where the losses begin."""
    ordered = sorted(front, key=lambda plan: -plan["bytes_per_token"])
    if len(ordered) <= SHOWN_FRONT:
        return ordered
    picked = {round(i * (len(ordered) - 1) / (SHOWN_FRONT - 1)) for i in range(SHOWN_FRONT)}
    picked |= {i + step for i, (one, two) in enumerate(pairwise(ordered)) if not is_worse(one) and is_worse(two)
               for step in (0, 1) if lowest_kept(ordered) is one}
    return [ordered[i] for i in sorted(picked)]


def summary_of(result):
    plans = distinct(result["plans"])
    exact = result["reference"]
    worse = [is_worse(plan) for plan in plans]
    # A plan that gained more than it lost is never worse.
    rejected = holm([plan["mcnemar_p"] for plan in plans])
    corrected = [different and bad for different, bad in zip(rejected, worse)]
    return {"plans": plans, "exact": exact, "worse": worse, "corrected": corrected,
            "front": lowest_kept(of_kind(result, "front")), "uniform": lowest_not_worse(of_kind(result, "uniform")),
            "correlation": spearman([plan["kl"] for plan in plans], [1 - plan["strict"] for plan in plans]),
            "safe": safe_loss(plans, worse), "safe_corrected": safe_loss(plans, corrected)}


def plan_and_share(plan, exact):
    if plan is None:
        return "none"
    return f"{plan['name']}: {plan['effective_bits']:.2f} bits, {percent(plan['bytes_per_token'] / exact['bytes_per_token'])}"


def safe_text(safe):
    return "none" if safe[0] is None else f"{short(safe[0])} ({safe[1]} plans)"


def summary_table(results):
    rows = []
    for result in results:
        found = summary_of(result)
        correlation = "undefined" if found["correlation"] is None else f"{found['correlation']:.3f}"
        rows.append([result["name"], result["task"]["items"], f"{100 * found['exact']['strict']:.1f}",
                     plan_and_share(found["front"], found["exact"]), plan_and_share(found["uniform"], found["exact"]),
                     f"{correlation} ({len(found['plans'])} plans)", safe_text(found["safe"]),
                     safe_text(found["safe_corrected"])])
    return table(["model", "items", "exact right, %", "lowest of the front without a significant loss",
                  "lowest uniform one", "rank correlation of KL and wrong answers", "no plan is worse up to a KL of",
                  "the same, corrected"], rows)


def findings(result):
    found = summary_of(result)
    exact, items = found["exact"], result["task"]["items"]
    lines = []
    if found["front"] is None:
        lines.append("Every plan of the front is worse than the exact model, or has a worse one above it.")
    else:
        plan = found["front"]
        lines.append(
            f"The lowest plan of the front without a significant loss is {plan['name']} (`{plan['spec']}`): "
            f"{plan['effective_bits']:.2f} bits, {percent(plan['bytes_per_token'] / exact['bytes_per_token'])} of a bf16 "
            f"cache, {plan['lost']} answers lost and {plan['gained']} gained of {items}, a difference within "
            f"{points(plan['difference_interval'])} points. No plan of the front with more bytes is worse.")
    lines.append(uniform_sentence(found))
    middle = [plan for plan in found["plans"] if 0 < plan["lost"] + plan["gained"]]
    if found["correlation"] is None:
        lines.append(f"All {len(found['plans'])} plans have as many right answers, so there is no rank correlation.")
    else:
        inner = spearman([plan["kl"] for plan in middle], [1 - plan["strict"] for plan in middle]) if middle else None
        lines.append(
            f"Spearman's rank correlation of held-out KL with the share of wrong answers is {found['correlation']:.3f} "
            f"over all {len(found['plans'])} plans"
            + (f", and {inner:.3f} over the {len(middle)} that change an answer at all." if inner is not None else "."))
    if not any(found["worse"]):
        lines.append("No plan is worse, even without a correction for many tests.")
    for safe, worse, how in (
            (found["safe"], found["worse"], "without a correction for many tests: the strict reading, as chance makes some "
             "plans worse"),
            (found["safe_corrected"], found["corrected"], "by Holm's correction over all plans")):
        if any(found["worse"]):
            lines.append(safe_sentence(safe, worse, how, items))
    return "\n".join(wrapped(line, "- ") for line in lines)


def safe_sentence(safe, worse, how, items):
    count = f"{sum(worse)} of {len(worse)} plans are worse, {how}"
    if safe[0] is None:
        return f"The plan with the least KL is worse already; {count}."
    return (f"Up to a KL of {short(safe[0])} no significant loss of accuracy was seen on these {items} items ({safe[1]} plans; "
            f"{count}). That is an observation of this model and task, never a promise.")


def uniform_sentence(found):
    front, uniform = found["front"], found["uniform"]
    if uniform is None:
        return "Every uniform plan is worse than the exact model."
    named = f"The uniform plan of the fewest bytes that is not worse is {uniform['name']}"
    if front is None or front["bytes_per_token"] >= uniform["bytes_per_token"]:
        return named + ", with as few bytes: a uniform plan is as good here."
    saved = 1 - front["bytes_per_token"] / uniform["bytes_per_token"]
    text = (f"{named} ({uniform['effective_bits']:.2f} bits, {100 * uniform['strict']:.1f} % right); the front's plan has "
            f"{percent(saved)} fewer bytes.")
    if uniform["spec"] != front["spec"] and uniform["kl"] <= front["kl"]:
        text += " The uniform plan has the smaller KL: whoever has the memory may as well take it."
    return text


def paper_part(result):
    paper = result.get("paper")
    if not paper:
        return "There is no result of it: it did not come to its end in the time of this measurement."
    exact = result["reference"]
    front = [plan for plan in of_kind(result, "front") if plan["name"] in paper["front_strict"]]
    rows, counts = [], {"more": 0, "fewer": 0, "as many": 0}
    for plan in sorted(paper["plans"], key=lambda plan: -plan["bytes_per_token"]):
        within = [own for own in front if own["bytes_per_token"] <= plan["bytes_per_token"]]
        own = min(within, key=lambda own: own["kl"], default=None)
        cells = ["none", "", "", ""]
        if own:
            strict = paper["front_strict"][own["name"]]
            cells = [own["name"], percent(own["bytes_per_token"] / exact["bytes_per_token"]), short(own["kl"]),
                     f"{100 * strict:.1f}"]
            counts["more" if strict > plan["strict"] else "fewer" if strict < plan["strict"] else "as many"] += 1
        rows.append([plan["name"], percent(plan["bytes_per_token"] / exact["bytes_per_token"]), short(plan["kl"]),
                     f"{100 * plan['search_strict']:.1f}", f"{100 * plan['strict']:.1f}", *cells])
    search = result["search"]
    text = (f"KVTuner's own loop searched by answers to {paper['search_items']} items: {paper['distinct_plans']} plans, "
            f"{paper['generated_tokens']:,} tokens generated. kvtune's search by KL generated {search['generated_tokens']:,} "
            f"for the answers of {search['answered_plans']} plans, all after the search, which itself only read prompts "
            f"({search['prompt_scores']:,} passes of a prompt under a plan). Both are compared on the {paper['test_items']} "
            f"items that the loop did not search on; the exact model has {100 * paper['exact_strict']:.1f} % of them right. "
            "Beside each plan of the loop stands the plan of kvtune's front with the least KL among those with no more "
            f"bytes: it has more right answers in {counts['more']} rows, fewer in {counts['fewer']}, and as many in "
            f"{counts['as many']}.")
    heads = ["plan of the loop", "share", "held-out KL", "right on searched items, %", "right, %", "kvtune's plan", "share",
             "held-out KL", "right, %"]
    return wrapped(text) + "\n\n" + table(heads, rows)


def section(result):
    run, exact = result["run"], result["reference"]
    front, shown = of_kind(result, "front"), shown_front(of_kind(result, "front"))
    kinds = {kind: len(of_kind(result, kind)) for kind in ("front", "uniform", "near", "further")}
    uniform = sorted(of_kind(result, "uniform"), key=lambda plan: -plan["bytes_per_token"])
    shapes = " and ".join(f"{shape['kv_heads']} KV heads of {shape['key_head_dim']} in layers {shape['layers']}"
                          for shape in run["layer_shapes"])
    head = (f"{run['layer_count']} layers, {shapes}, target `{run['target']}`, {run['dtype']} on {run['device']}. The task "
            f"\"{result['task']['task']}\" has {result['task']['items']} items, of which the exact model has "
            f"{100 * exact['strict']:.1f} % right. The search read {run['prompt_count']} prompts "
            f"({run['token_count']} tokens) and scored {result['search']['distinct_plans']} plans; KL is that of "
            f"{result['held_out']['prompts']} other prompts ({result['held_out']['tokens']} tokens). Answered plans: "
            f"{kinds['front']} of the front, {kinds['near']} near it, {kinds['uniform']} uniform ones and "
            f"{kinds['further']} further ones.")
    head = f"{MODELS[result['name']]} {head}" if result["name"] in MODELS else head
    which = "" if len(shown) == len(front) else f" ({len(shown)} of {len(front)} plans; the file has all)"
    return "\n\n".join([
        f"## {result['name']}", wrapped(head), findings(result), f"The front{which}:",
        table(PLAN_HEADS, [plan_row(plan, exact) for plan in shown]), "The uniform plans:",
        table(PLAN_HEADS, [plan_row(plan, exact) for plan in uniform]), "### Beside the paper's loop: " + result["name"],
        paper_part(result)])


def document(results):
    reading = wrapped(READING.format(significant=SIGNIFICANT, fewest=fewest_significant()))
    return "\n\n".join([INTRODUCTION.strip(), reading, summary_table(results), *map(section, results)]) + "\n"
