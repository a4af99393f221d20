#!/usr/bin/env python3
"""Measures how busy many processes are that share the work of a model which only waits.

    scripts/bench_scale.py                               # 64 processes, 3 jobs of 20 s for each process
    scripts/bench_scale.py --processes 16 --jobs 5

The processes and their store are real, and so are the sizes of requests and results; only the model's work is replaced
by waiting, so that many processes fit on a few cores. A job is what a search asks for at a time: 128 plans on 40 prompts
of 2048 tokens. Its leases take about 2 s each, a fifth more or less. Prints the share of the time in which a process
had work.
"""
import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/dev")
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="work of a job for each process")
    parser.add_argument("--start", type=int, default=60, help="seconds until all processes have come")
    parser.add_argument("--least", type=float, default=0, help="fail where processes are less busy, in percent")
    arguments = parser.parse_args()

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


if __name__ == "__main__":
    sys.exit(main())
