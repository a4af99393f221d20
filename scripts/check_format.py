#!/usr/bin/env python3
"""Checks that every C++, CUDA and JavaScript file is as clang-format leaves it and has no line over 100 columns, and
that every fenced block of the documents names its language: the test cli_test.documents runs those in sh.

Versions of clang-format disagree about a few lambdas, so only version 14 judges (the package clang-format-14 of
Debian 12 and Ubuntu 24.04). Where that version is missing, the columns are checked alone and the exit status is 77,
which ctest counts as skipped. `--fix` formats the files in place.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("apps", "lib", "search", "tests")
SUFFIXES = (".h", ".cc", ".cu", ".cuh", ".js")
VERSION = 14
COLUMNS = 100
SKIPPED = 77


def sources() -> list[pathlib.Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)


def clang_format() -> str | None:
    """The clang-format of the version that judges; None where there is none."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        program = shutil.which(name)
        if program:
            version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
            if re.search(rf"version {VERSION}\.", version):
                return program
    return None


def long_lines(path: pathlib.Path) -> list[str]:
    """clang-format does not break a long string or an unbreakable comment, so the columns are counted here."""
    return [f"{path.relative_to(ROOT)}:{number}: found {len(line)} columns, expected at most {COLUMNS}"
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if len(line) > COLUMNS]


def documents() -> list[pathlib.Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "calib_data").rglob("*.md")]


def nameless_blocks(path: pathlib.Path) -> list[str]:
    fences = [(number, line) for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
              if line.startswith("```")]
    return [f"{path.relative_to(ROOT)}:{number}: found a block without a language, expected ```sh for commands that a "
            "test runs (after a line <!-- not run: REASON --> where it cannot), ```text or another"
            for number, line in fences[::2] if line == "```"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true", help="format the files instead of judging them")
    arguments = parser.parse_args()

    files = sources()
    program = clang_format()
    if program is None and arguments.fix:
        print(f"check_format: found no clang-format {VERSION}; install clang-format-{VERSION}", file=sys.stderr)
        return 1

    formatted = True
    if program is not None:
        mode = ["-i"] if arguments.fix else ["--dry-run", "-Werror"]
        formatted = subprocess.run([program, *mode, *files], cwd=ROOT).returncode == 0
    too_long = [problem for path in files for problem in long_lines(path)]
    nameless = [problem for path in documents() for problem in nameless_blocks(path)]
    for problem in too_long + nameless:
        print(problem)
    if nameless:
        return 1
    if too_long or not formatted or not files:
        print("check_format: run scripts/check_format.py --fix, and break long strings and comments by hand")
        return 1
    if program is None:
        print(f"{len(files)} files have at most {COLUMNS} columns; skipped the formatting: found no clang-format "
              f"{VERSION} (install clang-format-{VERSION})")
        return SKIPPED
    print(f"{len(files)} files are formatted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
