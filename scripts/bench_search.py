#!/usr/bin/env python3
"""Measures how near searches come to the best front that there is, with a twentieth of its plans scored.

    scripts/bench_search.py RUN --max-prompts 16                                            # the demo model
    scripts/bench_search.py RUN --model DIR --prompts FILE --max-prompts 4 --no-cluster --max-groups 5

First every plan of the grouped space is scored in the run directory RUN (`kvtune search --exact`), which is the
costly part and can be done on another machine (--only-enumerate, then the same command without it). Then every
algorithm of `kvtune search`, and Optuna's NSGA-II on `kvtune evaluate --stdin`, search that space with several
seeds. What they score is known, so no model pass is made and racing has nothing to save; the refinement is off
because it leaves the space. Every search counts the exact and the uniform plans as scored.

The script prints each search's hypervolume in (log10 KL, bytes per token) as a share of that of the enumerated
front. The hypervolume is bounded by the worst uniform plan's loss and the exact plan's bytes. --store FILE keeps the
front and the shares as JSON. Finished searches are kept in RUN.searches/ and are not run again.
"""
import argparse
import concurrent.futures
import gzip
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from cached_venv import python_with, version_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
POPULATION = 16
ALGORITHMS = ("nsga2", "moead", "random", "greedy", "ilp")
# These do not draw random numbers, so one run of each is enough.
DETERMINISTIC = ("greedy", "ilp")
STAGE_FILES = ("sensitivity.json", "candidates.json", "groups.json")
REACHED = 0.99


def run_kvtune(arguments, *options, **settings):
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    return subprocess.run([*map(str, (arguments.kvtune, *options))], check=True, text=True, env=environment,
                          **settings)


def model_options(arguments):
    options = ["--model", arguments.model, "--max-prompts", arguments.max_prompts, "--device", arguments.device,
               "--dtype", "float32"]
    if arguments.prompts:
        options += ["--prompts", arguments.prompts]
    if arguments.threads:
        options += ["--threads", arguments.threads]
    return options


def search_options(arguments):
    options = [*model_options(arguments), "--held-out", "none", "--no-refine"]
    if arguments.max_groups:
        options += ["--max-groups", arguments.max_groups]
    return options + (["--no-cluster"] if arguments.no_cluster else [])


def read(file):
    return json.loads(file.read_text())


def is_finished(run):
    return (run / "run.json").exists() and read(run / "run.json")["stages"].get("search", {}).get("finished", False)


def read_log(run):
    """The scored plans in their order without the exact one, and the bytes of the exact one."""
    records = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    plans = [{"spec": record["spec"], "kl": record["calibration"]["kl_mean"],
              "bytes": record["bytes_per_token"]} for record in records]
    return ([plan for plan in plans if plan["spec"] != "exact"],
            next(plan["bytes"] for plan in plans if plan["spec"] == "exact"))


def objectives(plan):
    return math.log10(max(plan["kl"], 1e-12)), plan["bytes"]


def front_of(plans):
    """The plans that no other one beats, fewest bytes first."""
    front, least = [], math.inf
    for plan in sorted(plans, key=lambda plan: (plan["bytes"], plan["kl"])):
        if plan["kl"] < least:
            front.append(plan)
            least = plan["kl"]
    return front


def hypervolume(plans, worst):
    area, bytes_so_far = 0.0, worst[1]
    for loss, size in sorted(map(objectives, plans)):
        if loss < worst[0] and size < bytes_so_far:
            area += (worst[0] - loss) * (bytes_so_far - size)
            bytes_so_far = size
    return area


def enumerate_space(arguments):
    run_kvtune(arguments, "search", *search_options(arguments), "--exact", "--population", 256, "--out",
               arguments.run, stdout=subprocess.DEVNULL)


def search(arguments, algorithm, seed, budget):
    """Runs one search of the known space. Returns its scored plans in their order and its hypervolume."""
    out = arguments.searches / f"{algorithm}-{seed}"
    if not is_finished(out):
        print(f"{algorithm}, seed {seed}", file=sys.stderr)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for file in STAGE_FILES:
            shutil.copy(arguments.run / file, out)
        record = read(arguments.run / "run.json")
        del record["stages"]["search"]
        (out / "run.json").write_text(json.dumps(record))
        run_kvtune(arguments, "search", *search_options(arguments), "--algorithm", algorithm, "--search-seed", seed,
                   "--population", POPULATION, "--generations", 1000, "--max-evaluations", budget,
                   "--known-scores", arguments.run / "evaluations.jsonl", "--out", out, "-q",
                   stdout=subprocess.DEVNULL)
    plans, _ = read_log(out)
    return plans, read(out / "front.json")["search"]["generations"][-1]["hypervolume"]


def optuna_runs(arguments, groups, formats, uniform, budget, population):
    """For each seed the plans that Optuna scored after the uniform ones."""
    file = arguments.searches / f"optuna-{population}.json"
    if not file.exists():
        print(f"Optuna, population {population}", file=sys.stderr)
        # Uniform plans that the space holds are Optuna's first trials. The others only count as scored.
        first = [[group["candidates"].index(pair) for group in groups] for pair in uniform
                 if all(pair in group["candidates"] for group in groups)]
        task = {"command": [str(word) for word in (
                    arguments.kvtune, "evaluate", *model_options(arguments), "--stdin", "-q", "--known-scores",
                    arguments.run / "evaluations.jsonl")],
                "layers": sum(len(group["layers"]) for group in groups),
                "genes": [{"layers": group["layers"],
                           "candidates": [formats[pair] for pair in group["candidates"]]} for group in groups],
                "first": first, "budget": budget - 1 - len(uniform) + len(first), "population": population,
                "seeds": arguments.seeds}
        script = pathlib.Path(__file__).with_name("bench_search_optuna.py")
        done = subprocess.run([python_with("bench-optuna"), script],
                              input=json.dumps(task), check=True, text=True, stdout=subprocess.PIPE)
        file.write_text(done.stdout)
    return read(file)


def measure(plans, known, worst, best, in_order, few):
    """The figures of one search. `known` plans are part of every search. Where the order of the plans means
    something (`in_order`), the figures include the share with `few` plans scored and the plans to 99 %."""
    specs = {plan["spec"] for plan in known}
    fresh = [plan for plan in plans if plan["spec"] not in specs]
    result = {"plans": 1 + len(known) + len(fresh), "share": hypervolume(known + fresh, worst) / best}
    if in_order:
        reached = (n for n in range(len(fresh) + 1) if hypervolume(known + fresh[:n], worst) >= REACHED * best)
        first = next(reached, None)
        result["share_with_few"] = hypervolume(known + fresh[:few - 1 - len(known)], worst) / best
        result["plans_to_99_percent"] = None if first is None else 1 + len(known) + first
    return result


def compare(arguments):
    plans, exact_bytes = read_log(arguments.run)
    summary = read(arguments.run / "front.json")
    if not summary["search"]["exhaustive"]:
        sys.exit(f"bench_search: {arguments.run} does not hold the whole space")
    groups_file = read(arguments.run / "groups.json")
    groups = groups_file["groups"]
    formats = dict(zip(groups_file["pairs"], groups_file["pair_formats"]))
    uniform = [plan["name"] for plan in summary["uniform"]]
    known = [plan for plan in plans if plan["spec"] in uniform]
    space = math.prod(len(group["candidates"]) for group in groups)
    budget = int(space * arguments.share)
    worst = (max(objectives(plan)[0] for plan in known), exact_bytes)
    best = hypervolume(plans, worst)

    arguments.searches.mkdir(parents=True, exist_ok=True)
    results = {}
    own = [algorithm for algorithm in ALGORITHMS if algorithm in arguments.algorithms]
    wanted = [(algorithm, seed) for algorithm in own
              for seed in range(1 if algorithm in DETERMINISTIC else arguments.seeds)]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        searches = list(pool.map(lambda each: search(arguments, *each, budget), wanted))
    # `few` is the number of plans that the integer program has to offer.
    few = next((1 + len(found) for (algorithm, _), (found, _) in zip(wanted, searches) if algorithm == "ilp"), budget)
    for (algorithm, seed), (found, hypervolume_of_kvtune) in zip(wanted, searches):
        measured = measure(found, known, worst, best, algorithm not in DETERMINISTIC, few)
        if not math.isclose(hypervolume_of_kvtune, measured["share"] * best, rel_tol=1e-9):
            sys.exit(f"bench_search: {algorithm}, seed {seed}: kvtune's own hypervolume is {hypervolume_of_kvtune}, "
                     f"found {measured['share'] * best}")
        results.setdefault(algorithm, []).append(measured)
    for population in (POPULATION, 50) if "optuna" in arguments.algorithms else ():  # 50 is Optuna's default
        results[f"optuna {version_of('bench-optuna', 'optuna')}, NSGA-II of {population}"] = [
            measure(found, known, worst, best, True, few)
            for found in optuna_runs(arguments, groups, formats, uniform, budget, population)]
    run = summary["run"] | {"model": arguments.model.resolve().name}
    del run["prompts"]  # These are paths of this machine. Their hash stays.
    return {"run": run, "groups": groups, "grouped_plans": space, "max_evaluations": budget, "few": few,
            "worst": {"log10_kl": worst[0], "bytes_per_token": worst[1]}, "hypervolume": best,
            "front": front_of(plans), "searches": results}


def report(result):
    front = result["front"]
    print(f"{result['run']['model']}: {len(result['groups'])} groups, "
          f"{result['grouped_plans']} grouped plans, {result['run']['prompt_count']} prompts, "
          f"{result['run']['token_count']} tokens; the enumerated front has {len(front)} plans of "
          f"{front[0]['bytes']:.0f} to {front[-1]['bytes']:.0f} bytes per token; "
          f"at most {result['max_evaluations']} plans a search\n")
    print(f"| algorithm | seeds | plans scored | share, median | worst | with {result['few']} plans, median | worst | "
          "plans to 99 %, median | worst |\n|---|---|---|---|---|---|---|---|---|")
    for name, runs in result["searches"].items():
        shares = [run["share"] for run in runs]
        cells = [name, "no chance" if name in DETERMINISTIC else len(runs),
                 f"{statistics.median(run['plans'] for run in runs):.0f}",
                 f"{statistics.median(shares):.2%}", f"{min(shares):.2%}"]
        if "plans_to_99_percent" in runs[0]:
            few = [run["share_with_few"] for run in runs]
            cells += [f"{statistics.median(few):.2%}", f"{min(few):.2%}"]
            reached = sorted(run["plans_to_99_percent"] or math.inf for run in runs)
            for value in (statistics.median(reached), reached[-1]):
                cells.append("not reached" if value == math.inf else f"{value:.0f}")
        else:
            cells += ["", "", "", ""]
        print("| " + " | ".join(map(str, cells)).replace(" %", "%").replace("%", " %") + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="run directory of the enumeration")
    parser.add_argument("--only-enumerate", action="store_true")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "calib_data/demo_model")
    parser.add_argument("--prompts", type=pathlib.Path, help="default: kvtune's bundled ones")
    parser.add_argument("--max-prompts", type=int, default=16)
    parser.add_argument("--max-groups", type=int)
    parser.add_argument("--no-cluster", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--algorithms", default=",".join((*ALGORITHMS, "optuna")))
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time")
    parser.add_argument("--share", type=float, default=0.05, help="of the grouped plans that a search may score")
    parser.add_argument("--store", type=pathlib.Path, help="JSON of the front and the shares")
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    arguments = parser.parse_args()
    arguments.algorithms = arguments.algorithms.split(",")
    arguments.searches = arguments.run.with_name(arguments.run.name + ".searches")

    packed = arguments.run / "evaluations.jsonl.gz"
    if packed.exists() and not packed.with_suffix("").exists():
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    if not is_finished(arguments.run):
        enumerate_space(arguments)
    if arguments.only_enumerate:
        return
    result = compare(arguments)
    if arguments.store:
        arguments.store.parent.mkdir(parents=True, exist_ok=True)
        arguments.store.write_text(json.dumps(result, indent=1) + "\n")
    report(result)


if __name__ == "__main__":
    main()
