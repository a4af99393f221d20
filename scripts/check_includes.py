#!/usr/bin/env python3
"""Checks that every file includes only what the table of folders in docs/architecture.md allows.

On Debian <ATen/...> compiles without any -I flag and a missing link dependency does not stop a leak
into a static library, so the compiler does not guard these walls.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# For each folder, the folders of ours that it may include. It may always include itself.
ALLOWED = {
    "lib/base": [],
    "lib/core": ["lib/base"],
    "lib/io": ["lib/base", "lib/core"],
    "lib/tokenizer": ["lib/base", "lib/io"],
    "lib/kernels": ["lib/base", "lib/core"],
    "lib/runner": ["lib/base", "lib/core", "lib/io", "lib/kernels"],
    "lib/calib": ["lib/base", "lib/core", "lib/io", "lib/tokenizer", "lib/runner"],
    "lib/targets": ["lib/base", "lib/core"],
    "lib/report": ["lib/base", "lib/core"],
    "lib/gate": ["lib/base", "lib/core", "lib/report"],
    "search": ["lib/base", "lib/core"],
    "apps/kvtune": ["lib/base", "lib/core", "lib/io", "lib/tokenizer", "lib/runner", "lib/calib", "lib/targets",
                    "lib/report", "lib/gate", "search"],
}

# For each prefix of third-party includes, the files that may have them. A folder with a trailing slash
# stands for all its files, "*.cc" for its sources only.
THIRD_PARTY = {
    ("ATen/", "c10/", "torch/"): ["lib/runner/torch.h"],
    ("pagmo/",): ["search/*.cc"],
    ("CLI/",): ["apps/kvtune/cli.cc", "apps/kvtune/command_table.cc", "apps/kvtune/option_groups.cc"],
    ("oniguruma.h", "utf8proc.h"): ["lib/tokenizer/*.cc"],
    ("spdlog/",): ["lib/base/*.cc"],
    ("xxhash.h",): ["lib/base/*.cc"],
    ("yaml-cpp/",): ["lib/targets/*.cc"],
    ("cuda",): ["lib/kernels/cuda/"],
}

# fmt is for sources only, and not for the runner, which sees the copy that libtorch brings.
FMT_FORBIDDEN = "lib/runner"

# The runner's headers that others may include: all torch-free.
PUBLIC_RUNNER_HEADERS = {"lib/runner/device.h", "lib/runner/model_runner.h"}


def folder_of(path: str) -> str | None:
    return next((folder for folder in ALLOWED if path.startswith(folder + "/")), None)


def may_have(path: str, places: list[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else pathlib.PurePath(path).match(place)
               for place in places)


def problems_of(path: str, text: str) -> list[str]:
    folder = folder_of(path)
    problems = []
    for include in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE):
        target = folder_of(include)
        if target and target != folder:
            if target not in ALLOWED[folder]:
                problems.append(f"{path}: includes {include}, but {folder} may not include {target}")
            elif target == "lib/runner" and include not in PUBLIC_RUNNER_HEADERS:
                problems.append(f"{path}: includes {include}, a private header of lib/runner")
        for prefixes, places in THIRD_PARTY.items():
            if include.startswith(prefixes) and not may_have(path, places):
                problems.append(f"{path}: includes <{include}>, expected only in {', '.join(places)}")
        if include.startswith("fmt/") and (path.endswith(".h") or folder == FMT_FORBIDDEN):
            problems.append(f"{path}: includes <{include}>, expected in sources outside of {FMT_FORBIDDEN}")
    if path.endswith(".h") and "#pragma once" not in text:
        problems.append(f"{path}: found no #pragma once, expected one")
    return problems


def main() -> int:
    files = sorted(path for folder in ALLOWED for path in (ROOT / folder).rglob("*") if path.suffix in (".h", ".cc", ".cu"))
    problems = [problem for path in files for problem in problems_of(str(path.relative_to(ROOT)), path.read_text())]
    print("\n".join(problems) or f"{len(files)} files keep the walls")
    return int(bool(problems) or not files)


if __name__ == "__main__":
    sys.exit(main())
