#!/usr/bin/env python3
"""Searches a grouped space with Optuna's NSGA-II. bench_search.py runs it in an environment with Optuna.

Standard input holds {"command": [...], "layers": n, "genes": [...], "first": [[index, ...], ...], "budget": n,
"population": n, "seeds": n}. `command` is a `kvtune evaluate --stdin`, one process that scores for all seeds. A gene
is {"layers": [...], "candidates": [{"key": format, "value": format}, ...]}. `first` are the plans of the first
trials. Standard output gets, for each seed, the scored plans {"spec", "kl", "bytes"} in the order of scoring.
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
        # A repeated plan costs a trial but no score. A study that only repeats itself has to end.
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
