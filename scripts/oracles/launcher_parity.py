#!/usr/bin/env python3
"""Runs a search under a launcher of processes and compares its files with those of one process, byte for byte.

    python3 scripts/oracles/launcher_parity.py --launcher torchrun --kvtune build/release/apps/kvtune/kvtune

The launcher (torchrun, mpirun of Open MPI, or srun of Slurm) starts 1, 2 and 4 processes of the demo model's search on the
CPU, each with a store of its own. In one more run a process is killed. torchrun ends the others and starts all anew, and
the search goes on from what it kept. Under srun the others finish the search. mpirun ends the others for good, and the
same command goes on.
"""
import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = ("sensitivity.json", "evaluations.jsonl", "front.json")
SECONDS = 300  # far more than a search takes
SKIPPED = 77


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(program: str, processes: int) -> list[str]:
    return [program, "--no-python", "--standalone", "--nproc-per-node", str(processes), "--max-restarts", "1"]


def mpirun(program: str, processes: int) -> list[str]:
    return [program, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(processes),
            "-x", f"MASTER_PORT={free_port()}"]


def srun(program: str, processes: int) -> list[str]:
    return [program, "--overcommit", "--kill-on-bad-exit=0", "-n", str(processes)]


LAUNCHERS = {"torchrun": torchrun, "mpirun": mpirun, "srun": srun}


def processes_of(out: str, folder: pathlib.Path) -> dict[int, int]:
    """The processes in `folder` that search into its folder `out`, by their rank. Others may do so elsewhere."""
    found = {}
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().split(b"\0")
            variables = dict(entry.split(b"=", 1) for entry in (place / "environ").read_bytes().split(b"\0") if b"=" in entry)
            is_here = (place / "cwd").samefile(folder)
        except OSError:
            continue  # it ended meanwhile, or is of another user
        if not is_here or not command[0].endswith(b"kvtune") or out.encode() not in command:
            continue
        for name in (b"RANK", b"OMPI_COMM_WORLD_RANK", b"SLURM_PROCID"):
            if name in variables:
                found[int(variables[name])] = int(place.name)
                break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", type=pathlib.Path, required=True)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="torchrun")
    arguments = parser.parse_args()
    name = arguments.launcher
    beside = pathlib.Path(sys.executable).parent
    program = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        print(f"launcher_parity: skipped, because {name} is neither beside this Python nor on the path")
        return SKIPPED
    if name == "srun" and subprocess.run([program, "-n", "1", "true"], capture_output=True, timeout=60).returncode != 0:
        print("launcher_parity: skipped, because srun has no cluster to start a process on")
        return SKIPPED

    with tempfile.TemporaryDirectory(prefix="kvtune_launcher_") as place:
        folder = pathlib.Path(place)
        command = [str(arguments.kvtune.resolve()), "search", "--model", str(ROOT / "calib_data/demo_model"), "--device",
                   "cpu", "--threads", "1", "--max-prompts", "2", "--held-out", "none", "--population", "8",
                   "--generations", "2", "--max-evaluations", "24"]

        def start(processes: int, out: str) -> subprocess.Popen:
            launcher = LAUNCHERS[name](program, processes) if processes else []
            with open(folder / f"{out}.txt", "a", encoding="utf-8") as messages:
                return subprocess.Popen([*launcher, *command, "--out", out], cwd=folder, stdout=messages,
                                        stderr=subprocess.STDOUT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

        def finish(process: subprocess.Popen, out: str) -> None:
            if process.wait(SECONDS) != 0:
                sys.exit(f"launcher_parity: {out} ended with {process.returncode}: {(folder / f'{out}.txt').read_text()}")

        def compare(out: str) -> None:
            for file in FILES:
                if (folder / out / file).read_bytes() != (folder / "alone" / file).read_bytes():
                    sys.exit(f"launcher_parity: {file} of {out} differs from that of one process")

        finish(start(0, "alone"), "alone")
        for processes in (1, 2, 4):
            out = f"of_{processes}"
            finish(start(processes, out), out)
            compare(out)

        launched = start(2, "killed")
        log = folder / "killed" / "evaluations.jsonl"
        while not log.exists() or log.stat().st_size == 0:
            if launched.poll() is not None:
                sys.exit("launcher_parity: the search was over before a process could be killed")
            time.sleep(0.01)
        os.kill(processes_of("killed", folder)[1], signal.SIGKILL)
        if name == "srun":
            launched.wait(SECONDS)  # its code is that of the killed process
        elif name == "mpirun":
            if launched.wait(SECONDS) == 0:
                sys.exit("launcher_parity: mpirun ended with 0, expected the code of the killed process")
            launched = start(2, "killed")
        if name != "srun":
            finish(launched, "killed")
            if "resuming killed" not in (folder / "killed.txt").read_text():
                sys.exit("launcher_parity: found no second start in killed.txt, expected the search to go on from its files")
        compare("killed")
    print(f"1, 2 and 4 processes under {name}, and 2 of which one was killed: the files of one process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
