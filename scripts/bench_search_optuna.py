#!/usr/bin/env python3
"""Optuna's NSGA-II over a grouped space, for bench_search.py, which runs it with an Optuna of its own.

Standard input: {"command": [...], "layers": n, "genes": [...], "first": [[index, ...], ...], "budget": n,
"population": n, "seeds": n}. `command` is a `kvtune evaluate --stdin`: one process scores for all seeds. A gene
is {"layers": [...], "candidates": [{"key": format, "value": format}, ...]}. `first` are the plans of the first
trials. Standard output: by seed the scored plans {"spec", "kl", "bytes"} in the order of scoring.
"""
import json
import math
import subprocess
import sys

import optuna


def main() -> None:
    task = json.load(sys.stdin)
    genes = task["genes"]
    process = subprocess.Popen(task["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def score(choice: tuple[int, ...]) -> dict:
        layers = [None] * task["layers"]
        for gene, index in zip(genes, choice):
            for layer in gene["layers"]:
                layers[layer] = gene["candidates"][index]
        process.stdin.write(json.dumps({"layers": layers}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            sys.exit(f"bench_search_optuna: {answer['error']}")
        return {"spec": answer["spec"], "kl": answer["calibration"]["kl_mean"], "bytes": answer["bytes_per_token"]}

    runs = []
    for seed in range(task["seeds"]):
        sampler = optuna.samplers.NSGAIISampler(population_size=task["population"], seed=seed)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        for choice in task["first"]:
            study.enqueue_trial({f"g{i}": index for i, index in enumerate(choice)})
        scored = {}
        # Repeated plans cost a trial, not a score; a study that only repeats itself ends.
        for _ in range(20 * task["budget"]):
            if len(scored) == task["budget"]:
                break
            trial = study.ask()
            choice = tuple(trial.suggest_int(f"g{i}", 0, len(gene["candidates"]) - 1)
                           for i, gene in enumerate(genes))
            if choice not in scored:
                scored[choice] = score(choice)
            study.tell(trial, [math.log10(max(scored[choice]["kl"], 1e-12)), scored[choice]["bytes"]])
        runs.append(list(scored.values()))
    process.stdin.close()
    if process.wait() != 0:
        sys.exit(f"bench_search_optuna: kvtune evaluate ended with {process.returncode}")
    json.dump(runs, sys.stdout)


if __name__ == "__main__":
    main()
