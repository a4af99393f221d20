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
    "lib/distributed": ["lib/base", "lib/core"],
    "lib/calib": ["lib/base", "lib/core", "lib/io", "lib/tokenizer"],
    "lib/targets": ["lib/base", "lib/core"],
    "lib/tasks": ["lib/base", "lib/core"],
    "lib/report": ["lib/base", "lib/core"],
    "lib/gate": ["lib/base", "lib/core", "lib/calib", "lib/tasks", "lib/report"],
    "search": ["lib/base", "lib/core"],
    "lib/run": ["lib/base", "lib/core", "lib/io", "lib/tokenizer", "lib/calib", "lib/targets", "lib/tasks", "lib/report",
                "lib/gate", "search"],
    "apps/kvtune": ["lib/base", "lib/core", "lib/io", "lib/tokenizer", "lib/runner", "lib/distributed", "lib/calib",
                    "lib/targets", "lib/tasks", "lib/report", "lib/gate", "lib/run", "search"],
}

# A name of our own: the only files outside of its folder that may have it.
CONFINED_NAMES = {
    "ModelRunner": ("lib/runner", ["apps/kvtune/open_model.cc"]),
}

# For each prefix of third-party includes, the files that may have them. A folder with a trailing slash
# stands for all its files, "*.cc" for its sources only.
THIRD_PARTY = {
    ("ATen/", "c10/", "torch/"): ["lib/runner/torch.h", "lib/distributed/tcp_store.cc"],
    ("pagmo/",): ["search/*.cc"],
    ("CLI/",): ["apps/kvtune/cli.cc", "apps/kvtune/command_description.cc", "apps/kvtune/command_table.cc",
                 "apps/kvtune/config_file.cc", "apps/kvtune/option_groups.cc"],
    ("toml++/",): ["apps/kvtune/config_file.cc"],
    ("oniguruma.h",): ["lib/base/*.cc"],
    ("utf8proc.h",): ["lib/tokenizer/*.cc"],
    ("spdlog/",): ["lib/base/*.cc"],
    ("xxhash.h",): ["lib/base/*.cc"],
    ("yaml-cpp/",): ["lib/targets/*.cc"],
    ("cuda",): ["lib/kernels/cuda/"],
}

# fmt is for sources only, and not for the folders that see the copy that libtorch brings.
FMT_FORBIDDEN = ("lib/runner", "lib/distributed")

# The lists of headers that a folder's CMakeLists.txt gives to kvtune_library: those that other folders
# may include, and those for the folder itself and for its own tests.
HEADER_LISTS = ("HEADERS", "PRIVATE_HEADERS")
OTHER_LISTS = ("SOURCES", "ALONE", "PUBLIC", "PRIVATE")


def folder_of(path: str) -> str | None:
    return next((folder for folder in ALLOWED if path.startswith(folder + "/")), None)


def may_have(path: str, places: list[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else pathlib.PurePath(path).match(place)
               for place in places)


def headers_of(folder: str) -> dict[str, list[str]]:
    """What each of HEADER_LISTS names in the folder's CMakeLists.txt, as paths from the root."""
    file = ROOT / folder / "CMakeLists.txt"
    call = re.search(r"kvtune_library\((.*?)\)", file.read_text(), re.DOTALL) if file.exists() else None
    lists = {name: [] for name in HEADER_LISTS}
    current = None
    for word in call.group(1).split() if call else []:
        if word in HEADER_LISTS + OTHER_LISTS:
            current = word
        elif current in HEADER_LISTS:
            lists[current].append(f"{folder}/{word}")
    return lists


def tested_folder(path: str) -> str | None:
    """The folder that a test of tests/NAME/ mirrors."""
    parts = pathlib.PurePath(path).parts
    names = {pathlib.PurePath(folder).name: folder for folder in ALLOWED}
    return names.get(parts[1]) if parts[0] == "tests" else None


def includes_of(text: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE)


def torch_problems(files: dict[str, str], public: list[str]) -> list[str]:
    """Public headers must not bring libtorch along, however far down."""
    problems = []
    for header in public:
        reached, waiting = set(), [header]
        while waiting:
            path = waiting.pop()
            if path in files and path not in reached:
                reached.add(path)
                waiting += includes_of(files[path])
        problems += [f"{header}: includes {path} in the end, which no public header may" for path in reached
                     if path in THIRD_PARTY["ATen/", "c10/", "torch/"]]
    return problems


def header_problems(files: dict[str, str]) -> list[str]:
    """The lists name every header once, as public where others include it and as private elsewhere.

    Fuzzers are tests of all folders, so that they may include any header and make none public.
    """
    files = {path: text for path, text in files.items() if not path.startswith("tests/fuzz/")}
    lists = {folder: headers_of(folder) for folder in ALLOWED if folder.startswith("lib/") or folder == "search"}
    included_elsewhere = {include for path, text in files.items() for include in includes_of(text)
                          if folder_of(include) not in (folder_of(path), tested_folder(path))}
    problems = []
    for folder, of_folder in lists.items():
        public, private = (of_folder[name] for name in HEADER_LISTS)
        listed = public + private
        problems += torch_problems(files, public)
        there = [path for path in files if folder_of(path) == folder and path.endswith(".h")]
        problems += [f"{folder}/CMakeLists.txt: found no {path} under {' or '.join(HEADER_LISTS)}, expected it once"
                     for path in there if path not in listed]
        problems += [f"{folder}/CMakeLists.txt: found {path} twice, expected it once"
                     for path in set(listed) if listed.count(path) > 1]
        problems += [f"{folder}/CMakeLists.txt: found {path} under HEADERS, but no other folder includes it; "
                     "expected it under PRIVATE_HEADERS" for path in public if path not in included_elsewhere]
        private_headers = set(private)
        problems += [f"{path}: includes {include}, a private header of {folder}"
                     for path, text in files.items() if folder not in (folder_of(path), tested_folder(path))
                     for include in includes_of(text) if include in private_headers]
    return problems


def problems_of(path: str, text: str) -> list[str]:
    folder = folder_of(path)
    problems = []
    for include in includes_of(text):
        target = folder_of(include)
        if target and target != folder and target not in ALLOWED[folder]:
            problems.append(f"{path}: includes {include}, but {folder} may not include {target}")
        for prefixes, places in THIRD_PARTY.items():
            if include.startswith(prefixes) and not may_have(path, places):
                problems.append(f"{path}: includes <{include}>, expected only in {', '.join(places)}")
        if include.startswith("fmt/") and (path.endswith(".h") or folder in FMT_FORBIDDEN):
            problems.append(f"{path}: includes <{include}>, expected in sources outside of {' and '.join(FMT_FORBIDDEN)}")
    for name, (home, places) in CONFINED_NAMES.items():
        if folder != home and path not in places and re.search(rf"\b{name}\b", text):
            problems.append(f"{path}: names {name}, expected only in {home} and {', '.join(places)}")
    if path.endswith(".h") and "#pragma once" not in text:
        problems.append(f"{path}: found no #pragma once, expected one")
    own_header = path.removesuffix(".cc") + ".h"
    if path.endswith(".cc") and (ROOT / own_header).exists() and includes_of(text)[0] != own_header:
        problems.append(f"{path}: includes {includes_of(text)[0]} first, expected {own_header}, which is so compiled alone")
    return problems


def document_problems() -> list[str]:
    """The table of folders in docs/architecture.md says the same as ALLOWED."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    problems = []
    for folder, allowed in ALLOWED.items():
        row = re.search(rf"^\| `{folder}/` \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
        expected = ", ".join(name.removeprefix("lib/") for name in allowed) or "nothing of ours"
        found = row.group(1).strip() if row else "no row"
        if found != expected:
            problems.append(f"docs/architecture.md: {folder}: found {found}, expected {expected}")
    return problems


def main() -> int:
    paths = sorted(path for folder in [*ALLOWED, "tests"] for path in (ROOT / folder).rglob("*")
                   if path.suffix in (".h", ".cc", ".cu", ".cuh"))
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    walled = {path: text for path, text in files.items() if folder_of(path)}
    problems = [problem for path, text in walled.items() for problem in problems_of(path, text)]
    problems += header_problems(files) + document_problems()
    print("\n".join(problems) or f"{len(walled)} files keep the walls")
    return int(bool(problems) or not walled)


if __name__ == "__main__":
    sys.exit(main())
