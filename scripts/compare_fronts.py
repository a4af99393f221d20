#!/usr/bin/env python3
"""Compares the fronts of searches by scores of one program: whether a faster search has found less.

    scripts/compare_fronts.py RUN RUN... --model DIR --prompts FILE [--kvtune PROGRAM] [--options OPTION...]

Each RUN is the directory of a search, also of another version of kvtune. All plans of all fronts are scored together
by `kvtune evaluate --stdin`. The script prints each front's hypervolume in (log10 KL, bytes per token), as a share of
that of all fronts together, and how many of a front's plans another front beats: by a plan with no more bytes and
no more loss, and less of one of them. The hypervolume is bounded by the worst loss of all these plans and the bytes
of the exact plan.
"""

import argparse
import json
import pathlib
import subprocess

from bench_search import hypervolume, objectives

ROOT = pathlib.Path(__file__).resolve().parent.parent


def specs_of(run: pathlib.Path) -> list[str]:
    return [plan["spec"] for plan in json.loads((run / "front.json").read_text())["plans"]]


def scored(arguments, specs: list[str]) -> dict[str, dict]:
    """The loss and the bytes of every plan, by its spec."""
    command = [arguments.kvtune, "evaluate", "--model", arguments.model, "--prompts", arguments.prompts, "--stdin",
               "-q", *arguments.options]
    plans = [{"name": f"p{i}", "spec": spec} for i, spec in enumerate(specs)]
    told = subprocess.run(list(map(str, command)), input=json.dumps(plans) + "\n", check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    answers = json.loads(told)
    if isinstance(answers, dict):
        raise SystemExit(f"kvtune evaluate: {answers['error']}")
    return {spec: {"kl": answer["calibration"]["kl_mean"], "bytes": answer["bytes_per_token"]}
            for spec, answer in zip(specs, answers, strict=True)}


def is_beaten(plan: dict, others: list[dict]) -> bool:
    return any(other["kl"] <= plan["kl"] and other["bytes"] <= plan["bytes"] and other != plan for other in others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--prompts", required=True, type=pathlib.Path)
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[],
                        help="what follows are options of `kvtune evaluate`")
    arguments = parser.parse_args()

    fronts = {run: specs_of(run) for run in arguments.runs}
    known = scored(arguments, sorted({spec for specs in fronts.values() for spec in specs} | {"exact"}))
    exact = known.pop("exact")
    worst = max(objectives(plan)[0] for plan in known.values()), exact["bytes"]
    plans = {run: [known[spec] for spec in specs if spec != "exact"] for run, specs in fronts.items()}
    best = hypervolume(list(known.values()), worst)
    print("| run | plans | hypervolume | beaten by another front |\n|---|---|---|---|")
    for run, own in plans.items():
        others = [plan for other, found in plans.items() if other != run for plan in found]
        beaten = sum(is_beaten(plan, others) for plan in own)
        print(f"| {run.name} | {len(own)} | {hypervolume(own, worst) / best:.2%} | {beaten} |")


if __name__ == "__main__":
    main()
