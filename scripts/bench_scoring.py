#!/usr/bin/env python3
"""Times how much faster a generation of plans is scored together than one by one, and what each part saves.

    scripts/bench_scoring.py                                       # the demo model
    scripts/bench_scoring.py --model DIR --prompts FILE --log RUN/evaluations.jsonl

It scores two generations: the largest batch of a search's log (without --log, of a search that this script
runs), and as many random plans. Each run scores both in every way, one after another, so that other work on
the machine slows all of them alike. Each way shares what those before it share, and more:

    one by one        every plan in a call of its own
    together          all plans in one call, sharing nothing: weights stay in the caches
    reference logits  also the exact model's logits, computed once for all plans
    prefixes          also the layers up to the first one in which plans differ
    attention         also the stored keys, values and attention weights of equal formats over one prefix
"""
import argparse
import collections
import json
import pathlib
import random
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WAYS = {"one_by_one": "one by one", "nothing": "together", "reference_logits": "reference logits",
        "prefixes": "prefixes", "attention": "attention"}
FORMATS = ("int8", "int4", "int2")


def largest_batch(log):
    """The largest batch of the log: plans as lists of [key format, value format] by layer."""
    batches = collections.defaultdict(list)
    for line in log.read_text().splitlines():
        record = json.loads(line)
        batches[record["batch"]].append([[side["key"], side["value"]] for side in record["layers"]])
    return max(batches.values(), key=len)


def random_plans(layers, count):
    source = random.Random(0)
    return [[[source.choice(FORMATS), source.choice(FORMATS)] for _ in range(layers)]
            for _ in range(count)]


def run_search(arguments, prompts, out):
    subprocess.run([arguments.build / "apps/kvtune/kvtune", "search", "--model", arguments.model,
                    "--prompts", prompts, "--held-out", "none", "--population", "32", "--generations", "4",
                    "--no-refine", "--threads", str(arguments.threads), "--out", out, "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    return out / "evaluations.jsonl"


def time_plans(arguments, ids, plans, folder):
    file = folder / "plans.jsonl"
    file.write_text("".join(json.dumps(plan) + "\n" for plan in plans))
    done = subprocess.run([arguments.build / "tests/runner/scoring_bench", arguments.model, ids, file,
                           arguments.device, arguments.dtype, str(arguments.threads), str(arguments.runs)],
                          check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def report(title, runs):
    steps, plans = runs[0]["steps"], runs[0]["plans"]
    print(f"\n{title}: {plans} plans, {steps['alone']} steps through a layer one by one, {steps['prefixes']} "
          f"with shared prefixes ({steps['prefixes'] / steps['alone']:.0%}), {steps['keys']} attention "
          f"softmaxes ({steps['keys'] / steps['alone']:.0%})")
    print(f"{'way':18}{'ms a plan':>10}{'wall':>16}{'processors':>20}{'saved':>9}")
    print(f"{'':18}{'(min)':>10}{'ratio':>9}{'median':>7}{'ratio':>12}{'median':>8}{'(proc.)':>9}")
    base = [run["seconds"]["one_by_one"] for run in runs]
    before = 1.0
    for way, name in WAYS.items():
        times = [run["seconds"][way] for run in runs]
        cells = []
        for clock in ("wall", "processors"):
            cells.append(min(b[clock] for b in base) / min(t[clock] for t in times))
            cells.append(statistics.median(b[clock] / t[clock] for b, t in zip(base, times)))
        share = 1 / cells[3]
        print(f"{name:18}{min(t['wall'] for t in times) / plans * 1000:10.1f}{cells[0]:9.2f}{cells[1]:7.2f}"
              f"{cells[2]:12.2f}{cells[3]:8.2f}{before - share:9.1%}")
        before = share


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "calib_data/demo_model")
    parser.add_argument("--prompts", type=pathlib.Path, default=ROOT / "calib_data/calibration.jsonl")
    parser.add_argument("--log", type=pathlib.Path, help="evaluations.jsonl of a search with --population 32")
    parser.add_argument("--max-prompts", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/dev")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvtune_bench_") as name:
        folder = pathlib.Path(name)
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(arguments.prompts.read_text().splitlines(True)[:arguments.max_prompts]))
        ids = folder / "ids.jsonl"
        ids.write_text(subprocess.run(
            [arguments.build / "apps/kvtune/kvtune", "tokenize", "--model", arguments.model, "--jsonl", prompts],
            check=True, capture_output=True, text=True).stdout)
        plans = largest_batch(arguments.log or run_search(arguments, prompts, folder / "run"))
        lengths = [len(json.loads(line)) for line in ids.read_text().splitlines()]
        print(f"{arguments.model.name}: {len(plans[0])} layers, {len(lengths)} prompts of {min(lengths)} to "
              f"{max(lengths)} tokens, {arguments.device}, {arguments.dtype}, {arguments.threads} threads, "
              f"{arguments.runs} runs")
        report("generation of the search", time_plans(arguments, ids, plans, folder))
        report("random generation", time_plans(arguments, ids, random_plans(len(plans[0]), len(plans)), folder))


if __name__ == "__main__":
    main()
