#!/usr/bin/env python3
"""Kills searches at random moments and checks that every one ends in the same front.

A search that is killed with SIGKILL and started again by the same command must leave front.json and the
logs of an uninterrupted search, byte for byte. With --processes N, N processes share each search, and one
of them other than rank 0 is killed: the others must end by themselves, with the same files. Without --model
the script writes a tiny random model.
"""
import argparse
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ("front.json", "evaluations.jsonl", "scouting.jsonl", "held_out.jsonl", "groups.json")


def start_together(command: list[str], folder: pathlib.Path, count: int) -> list[subprocess.Popen]:
    """The processes of one search, rank 0 first."""
    with socket.socket() as server:
        server.bind(("", 0))
        port = server.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [subprocess.Popen([*command, "--out", "run"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             env={**environment, "RANK": str(rank)}) for rank in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--processes", type=int, default=1, help="that share a search")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("options", nargs="*", help="further options of `kvtune search`, after --")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="kvtune_kills_") as name:
        folder = pathlib.Path(name)
        model = arguments.model
        options = arguments.options or ["--population", "8", "--generations", "6", "--no-cluster"]
        if model is None:
            sys.path.insert(0, str(ROOT / "tests/cli"))
            import tiny_model
            model = tiny_model.write_model(folder / "tiny")
            options += ["--prompts", str(tiny_model.write_prompts(folder / "prompts.jsonl", count=8))]
        command = [str(arguments.kvtune.resolve()), "search", "--model", str(model.resolve()), "--threads", "1",
                   "-q", *options]

        def start(out: str) -> subprocess.Popen:
            return subprocess.Popen([*command, "--out", out], cwd=folder, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE)

        def finish(process: subprocess.Popen) -> None:
            messages = process.communicate()[1].decode()
            if process.returncode != 0:
                sys.exit(f"check_kills: a search ended with {process.returncode}: {messages}")

        began = time.monotonic()
        finish(start("whole"))
        seconds = time.monotonic() - began
        expected = {file: (folder / "whole" / file).read_bytes() for file in FILES}

        def compare() -> None:
            for file, content in expected.items():
                if (folder / "run" / file).read_bytes() != content:
                    sys.exit(f"check_kills: {file} differs from that of the uninterrupted search")
            shutil.rmtree(folder / "run")

        moments = random.Random(arguments.seed)
        if arguments.processes > 1:
            for _ in range(arguments.kills):
                processes = start_together(command, folder, arguments.processes)
                time.sleep(moments.uniform(0, 1.5 * seconds))
                moments.choice(processes[1:]).kill()
                finish(processes[0])
                for process in processes[1:]:
                    process.communicate()
                compare()
            print(f"{arguments.kills} kills of one of {arguments.processes} processes, all with the front of the "
                  "uninterrupted search")
            return 0
        kills = ends = 0
        while kills < arguments.kills:
            process = start("run")
            try:
                process.wait(moments.uniform(0, 1.1 * seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            process.communicate()
            if process.returncode == 0:
                ends += 1
                compare()
            elif process.returncode > 0:
                sys.exit(f"check_kills: a search ended with {process.returncode}")
        finish(start("run"))
        compare()
    print(f"{kills} kills, {ends + 1} searches, all with the front of the uninterrupted one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
