#!/usr/bin/env python3
"""Compares the speed of `kvtune tokenize` with that of Hugging Face's `tokenizers`, on one core and in one run.

    scripts/bench_tokenizer.py --kvtune build/release/apps/kvtune/kvtune --text FILE TOKENIZER_DIR...

Each program tokenizes the lines of FILE. The start, in which tokenizer.json is read, is measured apart
and taken off. What counts is the CPU time of the best of several runs, so that other work on the machine
does little harm. The exit code is 1 if kvtune is slower than 1 MB/s anywhere.
"""

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

try:
    import tokenizers
except ImportError:
    sys.exit("bench_tokenizer: found no package tokenizers: pip install tokenizers==0.23.1")

LEAST_MB_PER_SECOND = 1.0
RUNS = 3


def cpu_seconds() -> float:
    """The CPU time of this process and of the children that it waited for."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def best_seconds(run) -> float:
    times = []
    for _ in range(RUNS):
        start = cpu_seconds()
        run()
        times.append(cpu_seconds() - start)
    return min(times)


def kvtune_seconds(binary: str, folder: Path, text: bytes) -> float:
    def tokenize(data: bytes):
        subprocess.run([binary, "tokenize", "--model", folder], input=data, stdout=subprocess.DEVNULL, check=True)

    return best_seconds(lambda: tokenize(text)) - best_seconds(lambda: tokenize(b""))


def reference_seconds(folder: Path, text: str) -> float:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines = text.split("\n")
    return best_seconds(lambda: tokenizer.encode_batch_fast(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True, metavar="BINARY")
    parser.add_argument("--text", required=True, type=Path, metavar="FILE")
    parser.add_argument("folders", nargs="+", type=Path, metavar="TOKENIZER_DIR")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = arguments.text.read_bytes()
    megabytes = len(text) / 1e6
    slow = False
    print(f"{megabytes:.2f} MB of {arguments.text.name}, one core, best of {RUNS}")
    print(f"{'tokenizer':<16}{'kvtune MB/s':>12}{'tokenizers MB/s':>17}{'ratio':>8}")
    for folder in arguments.folders:
        ours = megabytes / kvtune_seconds(arguments.kvtune, folder, text)
        theirs = megabytes / reference_seconds(folder, text.decode("utf-8"))
        slow |= ours < LEAST_MB_PER_SECOND
        print(f"{folder.name:<16}{ours:>12.2f}{theirs:>17.2f}{ours / theirs:>8.2f}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
