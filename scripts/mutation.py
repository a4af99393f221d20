#!/usr/bin/env python3
"""Changes one operator or constant at a time and counts how many of the changes the unit tests notice.

    python3 scripts/mutation.py --jobs 16 --count 200 --seed 1

A changed source is a mutant. It is killed when a test program fails or takes too long, and survives otherwise. The seed
and the changed line alone say when a mutant's turn comes, and the first `--count` of them that compile are tried. So the
same seed gives the same mutants, whatever the number of jobs, and a change of the sources leaves the others in the
sample.

Everything is built once in `--build`, without libtorch, without optimization, and with the standard library's checks
of indices. After that nothing of it and nothing of the tree is changed: a job compiles its mutant from a copy in a
folder of its own, and links each test program again with that object in front of the libraries. The linker then has
no need for the library's own member. The test program of the mutant's folder runs first: the suites of the test file
that mirrors the source, then all of them. If the mutant survives, the programs of the folders that build on it run.
A test that fails on the unchanged sources, as where the machine lacks a package, is named and left out.

Mutants that change no behaviour are listed in scripts/mutation_equivalents.toml, each with its reason, and are not
drawn. A share of killed mutants below `--threshold` is exit code 1.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

from check_includes import ALLOWED

ROOT = pathlib.Path(__file__).resolve().parent.parent
EQUIVALENTS = ROOT / "scripts" / "mutation_equivalents.toml"
FOLDERS = ["search", "lib/core", "lib/gate", "lib/targets", "lib/tasks", "lib/report", "lib/io", "lib/run"]
# The folders that have a test program of their own without libtorch.
TESTED = ["lib/base", "lib/core", "lib/io", "lib/tokenizer", "lib/kernels", "lib/targets", "lib/tasks", "lib/report",
          "lib/gate", "search", "lib/run"]

# What is changed into what. Spaces around an operator are those of the project's format, which tells a comparison
# from a template's bracket and a difference from a sign.
RULES = [(r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
         (r" && ", " || "), (r" \|\| ", " && "), (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " / "), (r" / ", " * "),
         (r" % ", " / "), (r" \+= ", " -= "), (r" -= ", " += "), (r"\bstd::min\b", "std::max"),
         (r"\bstd::max\b", "std::min"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"(?<=[(\s])!(?=[\w(])", ""),
         (r"(?<![\w.])0(?![\w.])", "1"), (r"(?<![\w.])1(?![\w.])", "2"), (r"(?<![\w.])2(?![\w.])", "3")]
# Lines whose change no test can see: directives, declarations of names, and room that is reserved ahead.
SKIPPED = re.compile(r"^\s*(#|using |namespace |static_assert|template ?<)|\.reserve\(")

# What a test program may use at most: 4 GiB of addresses, so that a mutant which never stops growing fails, and 64 MiB
# for a file, so that one which never stops talking does.
LIMITED = ["sh", "-c", 'ulimit -v 4194304; ulimit -f 131072; exec "$@"', "sh"]

# A program of which more tests fail on the unchanged sources is broken, and not short of a package.
MOST_FAILING = 60
MOST_SECONDS = 600  # that a program may take there


@dataclasses.dataclass(frozen=True)
class Mutant:
    path: str    # of the source, from the root
    line: int    # from 1
    column: int  # from 0
    old: str
    new: str
    before: str  # the line, without its indent
    after: str   # the line as it becomes

    def key(self) -> tuple[str, str, str]:
        return self.path, self.before, self.after


@dataclasses.dataclass
class Result:
    mutant: Mutant
    outcome: str     # "killed", "survived", "does not build", "not tried"
    program: str     # the test program that killed it
    test: str        # the first test that failed, or what ended the program
    seconds: float


def code_only(text: str) -> str:
    """The text with the insides of comments, strings and characters blanked; lines and columns stay."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
                       re.DOTALL)

    def blank(match: re.Match) -> str:
        # A digit separator is no character literal.
        if match.group().startswith("'") and match.start() and text[match.start() - 1].isdigit():
            return match.group()
        return re.sub(r"[^\n]", "_", match.group())

    return token.sub(blank, text)


def mutants_of(path: str) -> list[Mutant]:
    text = (ROOT / path).read_text()
    found = []
    for number, (line, code) in enumerate(zip(text.split("\n"), code_only(text).split("\n")), 1):
        if SKIPPED.search(code):
            continue
        for pattern, new in RULES:
            for match in re.finditer(pattern, code):
                after = line[:match.start()] + new + line[match.end():]
                found.append(Mutant(path, number, match.start(), match.group(), new, line.strip(), after.strip()))
    return found


def sources_of(place: str) -> list[str]:
    path = ROOT / place
    if path.is_file():
        return [path.relative_to(ROOT).as_posix()]
    sources = sorted(source.relative_to(ROOT).as_posix() for source in path.glob("*.cc"))
    if not sources:
        sys.exit(f"error: found no source in {place}, expected a folder or a source such as lib/core")
    return sources


def equivalents() -> set[tuple[str, str, str]]:
    """The listed mutants. An entry that is no mutant of today's sources is an error, since it excuses nothing."""
    entries = tomllib.loads(EQUIVALENTS.read_text()).get("mutant", [])
    there = {}
    for entry in entries:
        path = entry["file"]
        if path not in there:
            there[path] = {mutant.key() for mutant in mutants_of(path)} if (ROOT / path).exists() else set()
        if (path, entry["before"], entry["after"]) not in there[path]:
            sys.exit(f"error: {EQUIVALENTS.name}: found an entry that is no mutant of {path}: "
                     f"{entry['before']}  =>  {entry['after']}; expected one of today's source")
    return {(entry["file"], entry["before"], entry["after"]) for entry in entries}


def folder_of(path: str) -> str:
    return str(pathlib.PurePath(path).parent)


def program_of(folder: str) -> str:
    name = pathlib.PurePath(folder).name
    return f"tests/{name}/{name}_test"


def programs_for(folder: str) -> list[str]:
    """The test program of a folder, then those of the folders that may include it."""
    own = [folder] if folder in TESTED else []
    users = [user for user in TESTED if folder in ALLOWED[user]]
    return [program_of(each) for each in own + users]


def suites_of(path: str) -> str:
    """A filter for the suites of the test file that mirrors the source; empty where there is none."""
    source = pathlib.PurePath(path)
    file = ROOT / "tests" / source.parent.name / f"{source.stem}_test.cc"
    if not file.exists():
        return ""
    suites = re.findall(r"^TEST(?:_[FP])?\((\w+),", file.read_text(), re.MULTILINE)
    return ":".join(f"*{suite}.*" for suite in dict.fromkeys(suites))


class Build:
    """The build that is shared by all jobs, and only read after it is made."""

    def __init__(self, folder: pathlib.Path, programs: list[str], options: list[str], jobs: int):
        self.folder = folder
        self.scratch = folder / "jobs"
        subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
                        "-DCMAKE_CXX_FLAGS_DEBUG=-O0", "-DCMAKE_CXX_FLAGS=-w -D_GLIBCXX_ASSERTIONS",
                        "-DKVTUNE_WITH_TORCH=OFF", *options],
                       check=True, stdout=subprocess.DEVNULL)
        names = [pathlib.PurePath(program).name for program in programs]
        subprocess.run(["ninja", "-C", folder, f"-j{jobs}", *names], check=True, stdout=sys.stderr)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        commands = json.loads((folder / "compile_commands.json").read_text())
        self.compile = {pathlib.Path(entry["file"]).relative_to(ROOT).as_posix(): shlex.split(entry["command"])
                        for entry in commands if pathlib.Path(entry["file"]).is_relative_to(ROOT)}
        self.link = {program: self._link_command(program) for program in programs}

    def _link_command(self, program: str) -> list[str]:
        text = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", "-s", program],
                              check=True, capture_output=True, text=True).stdout
        for part in text.replace("\n", " && ").split(" && "):
            words = shlex.split(part) if f"-o {program}" in part else []
            if program in words:
                return words
        sys.exit(f"error: found no command that links {program} in {self.folder}, expected one of Ninja's")

    def compile_command(self, path: str, source: pathlib.Path, output: pathlib.Path) -> list[str]:
        words = list(self.compile[path])
        words[words.index("-o") + 1] = str(output)
        words[words.index(str(ROOT / path))] = str(source)
        # A quoted include of the source's own folder is written from the root, which stays on the path.
        return words

    def link_command(self, program: str, first: pathlib.Path, output: pathlib.Path) -> list[str]:
        words = list(self.link[program])
        words[words.index("-o") + 1] = str(output)
        library = next(i for i, word in enumerate(words) if word.endswith(".a"))
        return words[:library] + [str(first)] + words[library:]


def run_program(command: list[str], scratch: pathlib.Path, seconds: float) -> list[str]:
    """The tests that failed, or what ended the program; nothing when it passed."""
    environment = {**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
                   "CUDA_VISIBLE_DEVICES": ""}
    log = scratch / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen([*LIMITED, *command, "--gtest_color=no"], cwd=scratch, env=environment,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return [f"over {seconds:.0f} s"]
    if code == 0:
        return []
    text = log.read_bytes()[:10_000_000].decode(errors="replace")
    failed = re.findall(r"^\[  FAILED  \] ([^\s,]+\.[^\s,]+)", text, re.MULTILINE)
    running = re.findall(r"\[ RUN      \] (\S+)", text)
    return list(dict.fromkeys(failed)) or [f"{running[-1] if running else 'start'} (exit {code})"]


def unchanged(build: Build, program: str) -> tuple[float, list[str]]:
    """How long a program takes on the unchanged sources, and the tests that fail there, as for a package that this
    machine lacks: they tell nothing about a mutant."""
    left_out = []
    while len(left_out) < MOST_FAILING:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=build.scratch) as scratch:
            command = [str(build.folder / program), *filter_of("", left_out)]
            failed = run_program(command, pathlib.Path(scratch), MOST_SECONDS)
        if not failed:
            return time.monotonic() - began, left_out
        if failed[0].startswith("over "):
            sys.exit(f"error: {program}: found it running {failed[0]} on the unchanged sources, expected an end")
        print(f"{program}: left out, since it fails on the unchanged sources: {', '.join(failed)}", file=sys.stderr,
              flush=True)
        left_out += [test.split(" ")[0] for test in failed]
    sys.exit(f"error: {program}: found {len(left_out)} tests that fail on the unchanged sources, expected fewer")


def filter_of(suites: str, left_out: list[str]) -> list[str]:
    """The option of a test program that runs the suites, or everything, but what is left out."""
    if not suites and not left_out:
        return []
    return [f"--gtest_filter={suites or '*'}" + ("-" + ":".join(left_out) if left_out else "")]


def tried(mutant: Mutant, build: Build, limits: dict[str, float], left_out: dict[str, list[str]], end: float) -> Result:
    """Tries one mutant. Past `end` it gives up, which says nothing about the mutant."""
    began = time.monotonic()

    def result(outcome: str, program: str = "", test: str = "") -> Result:
        return Result(mutant, outcome, pathlib.PurePath(program).name, test, time.monotonic() - began)

    scratch = pathlib.Path(tempfile.mkdtemp(dir=build.scratch))
    try:
        lines = (ROOT / mutant.path).read_text().split("\n")
        line = lines[mutant.line - 1]
        lines[mutant.line - 1] = line[:mutant.column] + mutant.new + line[mutant.column + len(mutant.old):]
        source, changed = scratch / pathlib.PurePath(mutant.path).name, scratch / "mutant.o"
        source.write_text("\n".join(lines))
        # A mutant is compiled once, so it would only fill the compiler's cache.
        environment = {**os.environ, "CCACHE_DISABLE": "1", "TMPDIR": str(scratch)}
        quiet = {"cwd": build.folder, "env": environment, "capture_output": True}
        if subprocess.run(build.compile_command(mutant.path, source, changed), **quiet).returncode:
            return result("does not build")
        for number, program in enumerate(programs_for(folder_of(mutant.path))):
            binary = scratch / pathlib.PurePath(program).name
            if subprocess.run(build.link_command(program, changed, binary), **quiet).returncode:
                return result("does not build", program)
            place = scratch / f"run{number}"
            place.mkdir()
            suites = suites_of(mutant.path) if number == 0 else ""
            for each in [suites, ""] if suites else [""]:
                options = ["--gtest_fail_fast", *filter_of(each, left_out[program])]
                left = max(1, end - time.monotonic())
                failed = run_program([str(binary), *options], place, min(limits[program], left))
                if failed:
                    is_late = failed[0].startswith("over ") and limits[program] > left
                    return result("not tried" if is_late else "killed", program, failed[0])
            binary.unlink()
        return result("survived")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def first_that_build(mutants: list[Mutant], count: int, jobs: int, trial, end: float) -> list[Result]:
    """Tries the shortest beginning of the list that has `count` mutants which compile, and begins none after `end`."""
    results = {}

    def in_time(mutant: Mutant) -> Result:
        return trial(mutant) if time.monotonic() < end else Result(mutant, "not tried", "", "", 0)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(in_time, mutant): i for i, mutant in enumerate(mutants[:count])}
        following = count
        while waiting:
            done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                i, result = waiting.pop(future), future.result()
                if result.outcome == "not tried":
                    continue
                results[i] = result
                where = f"{result.mutant.path}:{result.mutant.line}"
                by = f" by {result.program}: {result.test}" if result.outcome == "killed" else ""
                print(f"{len(results):4} {result.outcome}{by}  {where}  {result.mutant.before}  =>  "
                      f"{result.mutant.after}  ({result.seconds:.0f} s)", file=sys.stderr, flush=True)
                if result.outcome == "does not build" and following < len(mutants):
                    waiting[pool.submit(in_time, mutants[following])] = following
                    following += 1
    return [results[i] for i in sorted(results)]


def table(results: list[Result]) -> str:
    rows = collections.defaultdict(collections.Counter)
    for result in results:
        folder = folder_of(result.mutant.path)
        own = result.program == pathlib.PurePath(program_of(folder)).name
        rows[folder][result.outcome if result.outcome != "killed" else "own" if own else "other"] += 1
    lines = ["| folder | mutants | killed by its own tests | by tests of other folders | survived |",
             "|---|--:|--:|--:|--:|"]
    total = collections.Counter()
    for folder in sorted(rows):
        total.update(rows[folder])
    for name, row in [*sorted(rows.items()), ("all", total)]:
        tried_ones = row["own"] + row["other"] + row["survived"]
        lines.append(f"| {name} | {tried_ones} | {row['own']} | {row['other']} | {row['survived']} |")
    return "\n".join(lines)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="how many mutants (default 40)")
    parser.add_argument("--seed", type=int, default=1, help="which mutants (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time (default: all processors)")
    parser.add_argument("--folders", nargs="+", default=FOLDERS, metavar="PLACE", help="folders or sources to change")
    parser.add_argument("--timeout", type=float, default=0, metavar="SECONDS",
                        help="of one test program (default: 5 times what it takes unchanged, at least 20 s)")
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="begin no mutant after so many, build included, give up on those that run a minute later, "
                             "and report on the others (default: all)")
    parser.add_argument("--threshold", type=float, default=0.9, help="the share to be killed (default 0.9)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "mutation", help="the build folder")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="writes every result there")
    parser.add_argument("--list", action="store_true", help="prints the mutants that would be tried, and ends")
    parser.add_argument("--cmake-options", nargs=argparse.REMAINDER, default=[], metavar="OPTION",
                        help="the rest of the line goes to CMake, for example -DCMAKE_PREFIX_PATH=DIR")
    return parser.parse_args()


def in_turn(mutants: list[Mutant], seed: int) -> list[Mutant]:
    """The mutants in the order in which they are tried. Equal changes of equal lines are told apart by their number."""
    seen = collections.Counter()
    turns = {}
    for mutant in mutants:
        seen[mutant.key()] += 1
        text = "\0".join((str(seed), str(seen[mutant.key()]), *mutant.key()))
        turns[mutant] = hashlib.sha256(text.encode()).digest()
    return sorted(mutants, key=turns.get)


def main() -> int:
    arguments = parsed_arguments()
    excused = equivalents()
    mutants = [mutant for place in arguments.folders for source in sources_of(place) for mutant in mutants_of(source)]
    possible = len(mutants)
    mutants = [mutant for mutant in mutants if mutant.key() not in excused]
    mutants = in_turn(mutants, arguments.seed)
    if arguments.list:
        for mutant in mutants[:arguments.count]:
            print(f"{mutant.path}:{mutant.line}  {mutant.before}  =>  {mutant.after}")
        return 0

    began = time.monotonic()
    programs = sorted({program for mutant in mutants for program in programs_for(folder_of(mutant.path))})
    build = Build(arguments.build.resolve(), programs, arguments.cmake_options, arguments.jobs)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = dict(zip(programs, pool.map(lambda program: unchanged(build, program), programs)))
    limits = {program: arguments.timeout or max(20, 5 * seconds) for program, (seconds, _) in runs.items()}
    left_out = {program: failing for program, (_, failing) in runs.items()}
    print(f"{possible} possible mutants, {possible - len(mutants)} listed as equivalent; build and unchanged tests: "
          f"{time.monotonic() - began:.0f} s", file=sys.stderr)

    end = began + arguments.seconds
    results = first_that_build(mutants, arguments.count, arguments.jobs,
                               lambda mutant: tried(mutant, build, limits, left_out, end + 60), end)
    killed = sum(result.outcome == "killed" for result in results)
    survived = [result for result in results if result.outcome == "survived"]
    elapsed = time.monotonic() - began
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "seed": arguments.seed, "jobs": arguments.jobs, "seconds": round(elapsed, 1), "possible": possible,
            "killed": killed, "survived": len(survived),
            "mutants": [dataclasses.asdict(result) for result in results]}, indent=1) + "\n")
    print(table(results))
    for result in survived:
        print(f"survived: {result.mutant.path}:{result.mutant.line}  {result.mutant.before}  =>  {result.mutant.after}")
    if len(results) - sum(result.outcome == "does not build" for result in results) < arguments.count:
        print(f"{arguments.count} mutants were asked for; --seconds or the sources ended before")
    share = killed / max(killed + len(survived), 1)
    print(f"{killed} of {killed + len(survived)} killed ({share:.1%}), {elapsed:.0f} s with {arguments.jobs} jobs")
    return int(share < arguments.threshold)


if __name__ == "__main__":
    sys.exit(main())
