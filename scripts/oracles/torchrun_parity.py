#!/usr/bin/env python3
"""Runs a search under torchrun and compares its files with those of one process, byte for byte.

    python3 scripts/oracles/torchrun_parity.py --kvtune build/release/apps/kvtune/kvtune

torchrun starts 1, 2 and 4 processes of the demo model's search on the CPU, each with a store of its own. In one more run
a process is killed: torchrun ends the others and starts all anew, and the search goes on from what it kept.
"""
import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = ("sensitivity.json", "evaluations.jsonl", "front.json")
SECONDS = 300  # far more than a search takes


def children_of(process: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", type=pathlib.Path, required=True)
    parser.add_argument("--torchrun", type=pathlib.Path, default=pathlib.Path(sys.executable).parent / "torchrun")
    arguments = parser.parse_args()
    if not arguments.torchrun.exists():
        print(f"torchrun_parity: found no {arguments.torchrun}, expected torchrun beside this Python")
        return 77

    with tempfile.TemporaryDirectory(prefix="kvtune_torchrun_") as name:
        folder = pathlib.Path(name)
        command = [str(arguments.kvtune.resolve()), "search", "--model", str(ROOT / "calib_data/demo_model"), "--device",
                   "cpu", "--threads", "1", "--max-prompts", "2", "--held-out", "none", "--population", "8",
                   "--generations", "2", "--max-evaluations", "24"]

        def start(processes: int, out: str, *options: str) -> subprocess.Popen:
            launcher = [str(arguments.torchrun), "--no-python", "--standalone", "--nproc-per-node", str(processes),
                        *options] if processes else []
            with open(folder / f"{out}.txt", "w", encoding="utf-8") as messages:
                return subprocess.Popen([*launcher, *command, "--out", out], cwd=folder, stdout=messages,
                                        stderr=subprocess.STDOUT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

        def finish(process: subprocess.Popen, out: str) -> None:
            if process.wait(SECONDS) != 0:
                sys.exit(f"torchrun_parity: {out} ended with {process.returncode}: {(folder / f'{out}.txt').read_text()}")

        def compare(out: str) -> None:
            for file in FILES:
                if (folder / out / file).read_bytes() != (folder / "alone" / file).read_bytes():
                    sys.exit(f"torchrun_parity: {file} of {out} differs from that of one process")

        finish(start(0, "alone"), "alone")
        for processes in (1, 2, 4):
            out = f"of_{processes}"
            finish(start(processes, out), out)
            compare(out)

        launched = start(2, "killed", "--max-restarts", "1")
        log = folder / "killed" / "evaluations.jsonl"
        while not log.exists() or log.stat().st_size == 0:
            if launched.poll() is not None:
                sys.exit("torchrun_parity: the search was over before a process could be killed")
            time.sleep(0.01)
        os.kill(children_of(launched.pid)[-1], signal.SIGKILL)
        finish(launched, "killed")
        if "resuming killed" not in (folder / "killed.txt").read_text():
            sys.exit("torchrun_parity: found no second start in killed.txt, expected the search to go on from its files")
        compare("killed")
    print("1, 2 and 4 processes under torchrun, and 2 of which one was killed: the files of one process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
