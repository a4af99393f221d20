#!/usr/bin/env python3
"""Measures how well processes share their work: simulated ones, or the GPUs of this host.

    scripts/bench_scale.py                               # 64 simulated processes, 3 jobs of 20 s for each process
    scripts/bench_scale.py --processes 16 --jobs 5
    scripts/bench_scale.py --gpus 1 2 4                  # a checkpoint of an 8B model's shape with random weights

Simulated processes and their store are real, and so are the sizes of requests and results; only the model's work is
replaced by waiting, so that many processes fit on a few cores. A job is what a search asks for at a time: 128 plans on 40
prompts of 2048 tokens. Its leases take about 2 s each, a fifth more or less. Prints the share of the time in which a
process had work.

With --gpus, as many processes as each number says share the work of `kvtune evaluate --stdin`, one GPU each: losses of
random plans on random tokens, then answers to a task of random text under random plans. All numbers get the same plans.
A first round, which is not timed, loads the model. Prints the seconds of a round, their ratio to those of the first
number, and how far losses are apart.
"""
import argparse
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAIRS = ["KV8", "K8V4", "KV4", "K4V2", "K8V2", "KV2"]
SECONDS_TO_WAIT = 300  # for a process to end


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]


def simulate(arguments: argparse.Namespace) -> int:
    environment = {**os.environ, "WORLD_SIZE": str(arguments.processes), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = [str(arguments.build / "tests/distributed/scale_bench"), str(arguments.seconds), str(arguments.jobs),
               str(arguments.start)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**environment, "RANK": str(rank)})
                 for rank in range(arguments.processes)]
    answers = []
    for rank, process in enumerate(processes):
        output = process.communicate()[0]
        if process.returncode != 0:
            sys.exit(f"bench_scale: rank {rank} ended with {process.returncode}")
        answers.append(json.loads(output))
    wall = answers[0]["jobs"]
    busy = 100 * sum(answer["waited"] for answer in answers) / (wall * len(answers))
    least = 100 * min(answer["waited"] for answer in answers) / wall
    print(f"{len(answers)} processes on {os.cpu_count()} cores, {arguments.jobs} jobs in {wall:.1f} s: "
          f"{busy:.1f} % busy, the idlest {least:.1f} %")
    return int(busy < arguments.least)


class Evaluation:
    """`kvtune evaluate --stdin` on so many processes, one GPU each."""

    def __init__(self, command: list[str], world: int):
        self.losses = []  # of all plans that were asked for
        ranks = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.first, *self.others = (
            subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL if rank else subprocess.PIPE,
                             stdout=subprocess.DEVNULL if rank else subprocess.PIPE,
                             env={**os.environ, **ranks, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(world))

    def seconds(self, plans: list[dict]) -> float:
        start = time.perf_counter()
        self.first.stdin.write(json.dumps(plans) + "\n")
        self.first.stdin.flush()
        line = self.first.stdout.readline()
        answers = json.loads(line) if line else {"error": "no answer"}
        if isinstance(answers, dict):
            self.end()
            sys.exit(f"bench_scale: kvtune evaluate: {answers['error']}")
        seconds = time.perf_counter() - start
        self.losses += [answer["calibration"]["kl_mean"] for answer in answers if answer["calibration"]]
        return seconds

    def end(self) -> None:
        self.first.stdin.close()
        for process in (self.first, *self.others):
            try:
                process.wait(timeout=SECONDS_TO_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()


def random_plans(source: random.Random, count: int, layers: int) -> list[dict]:
    return [{"name": "x", "spec": "KV8;" + ";".join(f"{layer}:{source.choice(PAIRS)}" for layer in range(layers))}
            for _ in range(count)]


def write_prompts(path: pathlib.Path, arguments: argparse.Namespace, vocab: int) -> None:
    source = random.Random(5)
    path.write_text("".join(
        json.dumps({"input_ids": [source.randrange(2, vocab) for _ in range(arguments.tokens)]}) + "\n"
        for _ in range(arguments.prompts)))


def write_task(path: pathlib.Path, arguments: argparse.Namespace) -> None:
    source = random.Random(6)
    items = [{"prompt": "".join(source.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(arguments.item_bytes)),
              "answer": "?"} for _ in range(arguments.items)]
    path.write_text(json.dumps({"schema_version": 1, "name": "random", "protocol": "custom", "items": items,
                                "stop": ["\n\nQuestion:"], "max_new_tokens": arguments.new_tokens}))


def write_tokenizer(path: pathlib.Path, vocab: int) -> None:
    """One token for a byte, and names for the rest of the vocabulary, which no text is made of."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    tokens = [chr(byte) for byte in visible] + [chr(256 + i) for i in range(len(hidden))]
    tokens += [f"token{i}" for i in range(len(tokens), vocab)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    path.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []}}))


def make_model(directory: pathlib.Path) -> None:
    from bench_gpu import SHAPES, make_checkpoint

    make_checkpoint(directory, SHAPES["llama-3.1-8b"])


def measure(arguments: argparse.Namespace, name: str, options: list[str], first_plans: int, plan_count: int,
            layers: int) -> None:
    command = [arguments.program, "evaluate", "--model", str(arguments.model), "--device", arguments.device, "--stdin",
               "-q", *options]
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
    base, losses = None, []
    ways = [(f"{world} of {arguments.device}", world, []) for world in arguments.gpus]
    ways += [(f"layers split over {count} of {arguments.device}", 1, ["--split-layers", str(count)])
             for count in arguments.split_layers]
    for way, world, more in ways:
        plans_of = random.Random(3)  # the same for all
        start = time.perf_counter()
        evaluation = Evaluation(command + more, world)
        evaluation.seconds(random_plans(plans_of, first_plans, layers))
        loaded = time.perf_counter() - start
        rounds = [evaluation.seconds(random_plans(plans_of, plan_count, layers)) for _ in range(arguments.repeats)]
        evaluation.end()
        mean = sum(rounds) / len(rounds)
        base = base or mean
        print(f"{name}, {way}: {mean:.2f} s a round ({', '.join(f'{one:.2f}' for one in rounds)}), "
              f"{base / mean:.2f} times {arguments.gpus[0]}; the first round and the start {loaded:.1f} s", flush=True)
        if losses:
            apart = max(abs(a - b) / b for a, b in zip(evaluation.losses, losses, strict=True))
            print(f"  losses differ by {apart:.2g} of themselves at most", flush=True)
        losses = losses or evaluation.losses


def measure_gpus(arguments: argparse.Namespace) -> int:
    # The index is written last, so that without it a checkpoint is not complete.
    if not any((arguments.model / name).exists() for name in ("model.safetensors.index.json", "model.safetensors")):
        start = time.perf_counter()
        make_model(arguments.model)
        print(f"{arguments.model} was made in {time.perf_counter() - start:.1f} s", flush=True)
    config = json.loads((arguments.model / "config.json").read_text())
    layers = config["num_hidden_layers"]
    if not (arguments.model / "tokenizer.json").exists():
        write_tokenizer(arguments.model / "tokenizer.json", config["vocab_size"])
    with tempfile.TemporaryDirectory(prefix="kvtune_bench_") as name:
        folder = pathlib.Path(name)
        if "scoring" in arguments.work:
            write_prompts(folder / "prompts.jsonl", arguments, config["vocab_size"])
            title = f"scoring {arguments.plans} plans on {arguments.prompts} x {arguments.tokens} tokens"
            measure(arguments, title, ["--prompts", str(folder / "prompts.jsonl")], arguments.plans, arguments.plans,
                    layers)
        if "answers" in arguments.work:
            write_task(folder / "task.json", arguments)
            title = (f"{arguments.new_tokens} tokens for {arguments.items} items of {arguments.item_bytes} tokens under "
                     f"{arguments.task_plans} plans")
            measure(arguments, title, ["--task", str(folder / "task.json")], 2, arguments.task_plans, layers)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/dev")
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="work of a job for each process")
    parser.add_argument("--start", type=int, default=60, help="seconds until all processes have come")
    parser.add_argument("--least", type=float, default=0, help="fail where processes are less busy, in percent")
    gpus = parser.add_argument_group("on GPUs")
    gpus.add_argument("--gpus", type=int, nargs="+", help="numbers of GPUs to measure")
    gpus.add_argument("--work", nargs="+", choices=["scoring", "answers"], default=["scoring", "answers"])
    gpus.add_argument("--split-layers", type=int, nargs="*", default=[],
                      help="also one process whose layers are split over so many GPUs")
    gpus.add_argument("--program", default="build/cuda/apps/kvtune/kvtune")
    gpus.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bench-model",
                      help="where the checkpoint is made, or is already")
    gpus.add_argument("--device", default="cuda", help="cpu: processes of it, to try this script")
    gpus.add_argument("--threads", type=int, default=0)
    gpus.add_argument("--repeats", type=int, default=2)
    gpus.add_argument("--plans", type=int, default=32)
    gpus.add_argument("--prompts", type=int, default=8)
    gpus.add_argument("--tokens", type=int, default=2048)
    gpus.add_argument("--items", type=int, default=32)
    gpus.add_argument("--item-bytes", type=int, default=300)
    gpus.add_argument("--new-tokens", type=int, default=64)
    gpus.add_argument("--task-plans", type=int, default=16)
    arguments = parser.parse_args()
    return measure_gpus(arguments) if arguments.gpus else simulate(arguments)


if __name__ == "__main__":
    sys.exit(main())
