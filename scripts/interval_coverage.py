#!/usr/bin/env python3
"""Measures how often the printed 95 % intervals hold the truth.

    interval_coverage.py RUN... [--tool build/dev/tests/base/interval_tool] [--draws 4000] [--plans 12]

The prompts of a run are the population: its evaluations.jsonl has the loss of every prompt under every plan.
Sets of 8, 16 and 32 prompts are drawn from them without replacement, the program computes the interval of
each set, and the table says in how many of the sets with an interval it holds the population's value. There
is a line for the mean loss of each plan and one for its paired ratio to the first uniform plan. A second table
has the difference of their means, as the gate judges it; its widths are in multiples of the difference.

Many prompts and few plans make a run fit for this:

    kvtune search --model calib_data/demo_model --prompts FILE --out RUN --held-out none --max-tokens 10000000 \\
        --no-racing --no-refine --max-evaluations 34
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = (8, 16, 32)
RATIO, DIFFERENCE = ("numerators", "denominators"), ("differences", "weights")  # what the program is asked for


def read_population(run):
    """The tokens of the prompts, and the summed loss of each by plan; plans that lose nothing are left out."""
    tokens, losses = None, {}
    for line in (run / "evaluations.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "expected_kl" in record:
            continue  # racing stopped it
        if tokens is None:
            tokens = record["prompt_tokens"]
        if record["prompt_tokens"] == tokens and sum(record["prompt_kl"]) > 0:
            losses[record["spec"]] = record["prompt_kl"]
    return tokens, losses


def coverage(tool, names, numerators, denominators, draws, rng):
    """For each size: in what share of the sets with an interval it holds the ratio, in how many sets there is
    one, and the median factor between its ends, or for differences the median width over the true one."""
    truth = sum(numerators) / sum(denominators)
    sets = [rng.sample(range(len(numerators)), size) for size in SIZES for _ in range(draws)]
    lines = [json.dumps(dict(zip(names, (numerators, denominators))))]
    lines += [" ".join(map(str, indices)) for indices in sets]
    done = subprocess.run([tool], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    answers = [None if line == "none" else tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(answers) == len(sets)
    results = []
    for i in range(len(SIZES)):
        claimed = [answer for answer in answers[i * draws:(i + 1) * draws] if answer]
        if not claimed:
            results.append((None, 0.0, None))
            continue
        held = sum(low <= truth <= high for low, high in claimed) / len(claimed)
        widths = sorted((high - low) / abs(truth) if names == DIFFERENCE else high / low for low, high in claimed)
        results.append((held, len(claimed) / draws, widths[len(widths) // 2]))
    return results


def text_of(results):
    cells = []
    for held, share, width in results:
        cells.append("none claimed        " if held is None else f"{held:6.1%} {share:6.1%} {width:6.3g}")
    return " | ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    parser.add_argument("--tool", default=str(ROOT / "build" / "dev" / "tests" / "base" / "interval_tool"))
    parser.add_argument("--draws", type=int, default=4000, help="sets of each size (default: %(default)s)")
    parser.add_argument("--plans", type=int, default=12, help="plans of each run (default: the first 12)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    for run in arguments.runs:
        rng = random.Random(arguments.seed)
        tokens, losses = read_population(run)
        if not losses or len(tokens) < max(SIZES):
            sys.exit(f"{run}: found {len(losses)} plans on {len(tokens)} prompts, expected one at least on {max(SIZES)}")
        plans = list(losses)[:arguments.plans]
        reference = plans[0]
        print(f"{run}: {len(tokens)} prompts; held, sets with an interval, median factor between its ends")
        print(f"{'':34}   largest " + " | ".join(f"{size} prompts".ljust(20) for size in SIZES))
        lines = [(plan, losses[plan], tokens) for plan in plans]
        lines += [(f"{plan} / {reference}", losses[plan], losses[reference]) for plan in plans[1:]]
        for name, numerators, denominators in lines:
            largest = max(numerators) * len(numerators) / sum(numerators)
            results = coverage(arguments.tool, RATIO, numerators, denominators, arguments.draws, rng)
            print(f"{name[:34]:34} {largest:9.1f} {text_of(results)}", flush=True)
        print("differences of means; held, sets with an interval, median width over the difference")
        for plan in plans[1:]:
            differences = [one - other for one, other in zip(losses[plan], losses[reference])]
            results = coverage(arguments.tool, DIFFERENCE, differences, tokens, arguments.draws, rng)
            print(f"{f'{plan} - {reference}'[:34]:34} {'':9} {text_of(results)}", flush=True)


if __name__ == "__main__":
    main()
