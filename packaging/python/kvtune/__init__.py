"""Starts the program kvtune with the libtorch of the package torch."""
import importlib.metadata
import importlib.util
import os
import pathlib
import sys

TORCH = "2.11."


def main():
    torch = importlib.util.find_spec("torch")
    found = importlib.metadata.version("torch") if torch else "none"
    if not found.startswith(TORCH):
        sys.exit(f"kvtune: error: looking for the package torch: found {found}, expected {TORCH}*")
    libraries = [str(pathlib.Path(torch.origin).parent / "lib"), os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    os.execv(pathlib.Path(__file__).parent / "bin" / "kvtune", ["kvtune", *sys.argv[1:]])
