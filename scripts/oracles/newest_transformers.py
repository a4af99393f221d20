#!/usr/bin/env python3
"""Compares the configurations that kvtune reads with a newer transformers than the oracles' own.

Usage: newest_transformers.py --kvtune BINARY

Class defaults (class_defaults.py) and heads, windows and rotations of random configurations
(config_property.py) need no torch, so that the package is installed alone, into a virtual environment of its
own in ${XDG_CACHE_HOME:-~/.cache}/kvtune. Run it by hand: when transformers has a new release, change
scripts/requirements/newest-transformers.txt, lock it (scripts/lock_requirements.sh newest-transformers), and see
what its classes have changed.
"""

import argparse
import os
import pathlib
import subprocess
import sys

ORACLES = pathlib.Path(__file__).resolve().parent
sys.path.append(str(ORACLES.parent))

from cached_venv import python_with, version_of  # noqa: E402

LOCK = "newest-transformers"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    python = python_with(LOCK)
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error"}
    checks = [[ORACLES / "class_defaults.py", ORACLES.parents[1] / "lib" / "core" / "class_defaults.inc"],
              [ORACLES / "config_property.py", "--kvtune", arguments.kvtune]]
    results = [subprocess.run([python, "-B", *check], env=environment, check=False).returncode for check in checks]
    print(f"transformers {version_of(LOCK, 'transformers')}: {'differences, see above' if any(results) else 'no difference'}")
    return int(any(results))


if __name__ == "__main__":
    sys.exit(main())
