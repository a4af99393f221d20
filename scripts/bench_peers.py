#!/usr/bin/env python3
"""Compares kvtune with mlx-optiq, which measures layers one at a time and chooses greedily: time, tokens, loss.

    scripts/bench_peers.py WORK --model DIR --texts FILE

The texts of FILE (`.jsonl` with "text") are split: kvtune searches on the first three quarters, and all plans are
judged on the last quarter. mlx-optiq, which is installed from PyPI into a cached environment, brings its own
calibration texts. It measures once, and its allocation then makes a plan for each of --target-bits. kvtune searches
twice: with keys and values tied, as that engine needs (`--target mlx-optiq`), and untied (`--target kvtuner`, whose
rows are MLX's groups of 64 where head_dim is 64). The script judges mlx-optiq's plans and, at the effective bits of
each, the plan of kvtune's fronts with the smallest calibration loss and no more bits. `kvtune evaluate` scores all of
them in MLX's arithmetic (affine, groups of 64). With --mlx-texts MLX itself also scores them on the first of those
texts, which is slow on a CPU.

The time is that of the processors, so that other work on the machine does not count. Tokens are counted once for
every plan that they are scored under. What WORK already holds is not measured again.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

from cached_venv import python_with

ROOT = pathlib.Path(__file__).resolve().parent.parent
MLX = ROOT / "scripts/bench_peers_mlx.py"
SAMPLES = 5  # texts that mlx-optiq measures on by default
GROUP_SCALES = 0.5  # bits per element that a 16-bit scale and a 16-bit bias of 64 elements take
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}


def timed(command, seconds_file):
    """Runs the command and writes how long it took to `seconds_file`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*map(str, command)], check=True, env=ENVIRONMENT, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds_file.write_text(json.dumps({
        "wall": time.monotonic() - began,
        "processors": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}))


def output_of(command, text=None):
    return subprocess.run([*map(str, command)], check=True, env=ENVIRONMENT, text=True, input=text,
                          stdout=subprocess.PIPE).stdout


def write_ids(file, texts, count, length):
    """Writes at most `count` texts, each cut to `length` tokens, and returns them."""
    kept = [ids[:length] for ids in texts][:count]
    file.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in kept))
    return kept


class Peer:
    """The plans of mlx-optiq, one for each number of target bits."""

    def __init__(self, arguments, layers):
        python = python_with("bench-peers")
        folder = arguments.work / "optiq"
        seconds = folder / "seconds.json"
        if not seconds.exists():
            folder.mkdir(parents=True, exist_ok=True)
            timed([python.parent / "optiq", "kv-cache", arguments.model, "-o", folder, "--candidate-bits",
                   ",".join(map(str, arguments.candidate_bits)), "--seq-len", arguments.tokens, "--target-bits",
                   arguments.target_bits[0]], seconds)
        self.seconds = json.loads(seconds.read_text())
        self.tokens = (1 + layers * len(arguments.candidate_bits)) * SAMPLES * arguments.tokens
        plans = json.loads(output_of([python, MLX, "allocate", folder / "kv_sensitivity.json",
                                      *arguments.target_bits]))
        self.plans = {f"mlx-optiq, {target} bits asked for": [(bits, bits) for bits in plan]
                      for target, plan in zip(arguments.target_bits, plans)}


class Search:
    """A search of kvtune and its front, whose plans are (key bits, value bits) by layer."""

    def __init__(self, arguments, name, target, prompts):
        run, seconds = arguments.work / name, arguments.work / f"{name}.seconds.json"
        if not seconds.exists():
            timed([arguments.kvtune, "search", "--model", arguments.model, "--prompts", prompts, "--held-out", "none",
                   "--target", target, "--device", "cpu", "--threads", arguments.threads, "--out", run, "-q"], seconds)
        self.seconds = json.loads(seconds.read_text())
        front = json.loads((run / "front.json").read_text())
        self.front = front["plans"]
        self.scored = front["search"]["distinct_plans"]
        # The logs are summed, because racing and scouting score plans on a part of the prompts only.
        self.tokens = sum(record["calibration"]["tokens"] for log in ("evaluations.jsonl", "scouting.jsonl")
                          for record in map(json.loads, (run / log).read_text().splitlines()))

    def best(self, effective_bits):
        fitting = [plan for plan in self.front if plan["effective_bits"] <= effective_bits + 1e-9]
        plan = min(fitting, key=lambda plan: plan["calibration"]["kl_mean"])
        return [tuple(int("".join(filter(str.isdigit, layer[side]))) for side in ("key", "value"))
                for layer in plan["layers"]]


def effective_bits(plan):
    return sum(map(sum, plan)) / (2 * len(plan)) + GROUP_SCALES


def judge(arguments, prompts, plans):
    line = json.dumps([{"layers": [{"key": f"mlx_int{key}", "value": f"mlx_int{value}"} for key, value in plan]}
                       for plan in plans])
    answer = json.loads(output_of([arguments.kvtune, "evaluate", "--model", arguments.model, "--prompts", prompts,
                                   "--target", "mlx-optiq", "--device", "cpu", "--threads", arguments.threads,
                                   "--stdin", "-q"], line))
    if "error" in answer:
        sys.exit(f"bench_peers: {answer['error']}")
    return [scored["calibration"]["kl_mean"] for scored in answer]


def judge_by_mlx(texts, model, plans):
    return json.loads(output_of([python_with("bench-peers"), MLX, "judge", model],
                                json.dumps({"texts": texts, "plans": plans})))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=pathlib.Path, help="folder of results")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--target-bits", default="3,4,6")
    parser.add_argument("--candidate-bits", default="2,4,8")
    parser.add_argument("--tokens", type=int, default=128, help="of a calibration text, for both")
    parser.add_argument("--max-prompts", type=int, default=8, help="of kvtune's search")
    parser.add_argument("--judged-tokens", type=int, default=256, help="of a held-out text")
    parser.add_argument("--mlx-texts", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    arguments = parser.parse_args()
    arguments.target_bits = arguments.target_bits.split(",")
    arguments.candidate_bits = [int(bits) for bits in arguments.candidate_bits.split(",")]
    arguments.work.mkdir(parents=True, exist_ok=True)

    ids = [json.loads(line) for line in output_of(
        [arguments.kvtune, "tokenize", "--model", arguments.model, "--jsonl", arguments.texts]).splitlines()]
    split = len(ids) * 3 // 4
    calibration, held_out = arguments.work / "calibration.jsonl", arguments.work / "held_out.jsonl"
    write_ids(calibration, ids[:split], arguments.max_prompts, arguments.tokens)
    judged = write_ids(held_out, ids[split:], len(ids), arguments.judged_tokens)
    layers = json.loads((arguments.model / "config.json").read_text())["num_hidden_layers"]

    searches = {"tied": Search(arguments, "tied", "mlx-optiq", calibration),
                "untied": Search(arguments, "untied", "kvtuner", calibration)}
    peer = Peer(arguments, layers)
    names, plans = [], []
    for name, plan in peer.plans.items():
        names.append(name)
        plans.append(plan)
        for kind, search in searches.items():
            names.append(f"kvtune, {kind}")
            plans.append(search.best(effective_bits(plan)))

    print("| who | plans | seconds of processors | tokens through the model |\n|---|---|---|---|")
    print(f"| mlx-optiq | {len(peer.plans)}, from one measurement | {peer.seconds['processors']:.0f} | {peer.tokens} |")
    for kind, search in searches.items():
        print(f"| kvtune, {kind} | a front of {len(search.front)}, {search.scored} scored | "
              f"{search.seconds['processors']:.0f} | {search.tokens} |")
    print(f"\n{len(judged)} held-out texts of at most {arguments.judged_tokens} tokens\n")
    columns = {"held-out KL": judge(arguments, held_out, plans)}
    if arguments.mlx_texts:
        columns[f"by MLX, {arguments.mlx_texts} texts"] = judge_by_mlx(judged[:arguments.mlx_texts],
                                                                       str(arguments.model), plans)
    print("| plan | effective bits | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    for i, (name, plan) in enumerate(zip(names, plans)):
        losses = " | ".join(f"{column[i]:.3g}" for column in columns.values())
        print(f"| {name} | {effective_bits(plan):.3f} | {losses} |")


if __name__ == "__main__":
    main()
