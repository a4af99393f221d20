#!/usr/bin/env python3
"""Writes the tables of docs/failure_modes.md from tests/failure_modes.toml, and checks them against the tests.

    python3 scripts/failure_modes.py            # writes the tables
    python3 scripts/failure_modes.py --check    # fails where the page or a row is not true any more (a test of ctest)

A row of the file says what goes wrong, what the user then sees, and the test that proves it. The test has to exist, and
what the user sees has to stand in the string literals of that very test. So a message that changes, or a test that is
renamed or deleted, fails the check. In a message "…" stands for what differs from case to case. Text in parentheses
describes what is seen in place of a message, and is not looked for.
"""

import ast
import functools
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "failure_modes.toml"
PAGE = ROOT / "docs" / "failure_modes.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"

CPP_TEST = re.compile(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", re.MULTILINE)
CPP_LITERAL = re.compile(r'R"(?P<mark>[^(\s]*)\((?P<raw>.*?)\)(?P=mark)"|"(?P<plain>(?:\\.|[^"\\\n])*)"', re.DOTALL)
CPP_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def cpp_literals(body: str) -> list[str]:
    """The string literals of C++ text, with those that stand beside each other joined."""
    literals, end = [], None
    for match in CPP_LITERAL.finditer(body):
        raw = match.group("raw")
        text = raw if raw is not None else re.sub(r"\\(.)", lambda m: CPP_ESCAPES.get(m.group(1), m.group(1)),
                                                  match.group("plain"))
        if end is not None and not body[end:match.start()].strip():
            literals[-1] += text
        else:
            literals.append(text)
        end = match.end()
    return literals


@functools.cache
def tests_of(path: str) -> dict[str, list[str]]:
    """The tests of a file, each with its string literals."""
    text = (ROOT / path).read_text()
    if path.endswith(".cc"):
        starts = list(CPP_TEST.finditer(text))
        ends = [match.start() for match in starts[1:]] + [len(text)]
        return {f"{match.group(1)}.{match.group(2)}": cpp_literals(text[match.end():end])
                for match, end in zip(starts, ends)}
    tests = {}
    for suite in ast.parse(text).body:
        for test in suite.body if isinstance(suite, ast.ClassDef) else []:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                tests[f"{suite.name}.{test.name}"] = [node.value for node in ast.walk(test)
                                                      if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return tests


def located(test: str, table: dict) -> tuple[str, str]:
    """The file and the name of a row's test, which may name another file than its table: "FILE: NAME"."""
    file, colon, name = test.rpartition(": ")
    return (file, name) if colon else (table["file"], test)


def row_problems(row: list[str], table: dict) -> list[str]:
    fault, shown, test = row
    file, name = located(test, table)
    if not (ROOT / file).exists():
        return [f"{fault}: found no file {file}, expected the file of its test"]
    literals = tests_of(file).get(name)
    if literals is None:
        return [f"{fault}: found no test {name} in {file}, expected the one that proves it"]
    if shown.startswith("("):
        return []
    return [f'{fault}: found no "{part}" in the strings of {name} ({file}), expected what the user sees'
            for part in map(str.strip, shown.split("…")) if part and not any(part in text for text in literals)]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def code(text: str) -> str:
    """Text in backticks, also where it holds some."""
    if text.startswith("("):
        return cell(text[1:-1])
    return cell(f"`` {text} ``" if "`" in text else f"`{text}`")


def link(test: str, table: dict) -> str:
    file, name = located(test, table)
    return f"[{cell(name)}](../{file})"


def fault_tables(data: dict) -> str:
    lines = []
    for table in data["faults"]:
        lines += ["", f"### {table['title']}", "", f"Exit code {table['exit']}. {table['kept']}", "",
                  "| what goes wrong | what the user sees | test |", "|---|---|---|"]
        lines += [f"| {cell(fault)} | {code(shown)} | {link(test, table)} |" for fault, shown, test in table["rows"]]
    return "\n".join(lines).strip() + "\n"


def number_tables(data: dict) -> str:
    lines = ["| case | what holds | test |", "|---|---|---|"]
    for table in data["numbers"]:
        lines += [f"| {cell(case)} | {cell(holds)} | {link(test, table)} |" for case, holds, test in table["rows"]]
    return "\n".join(lines) + "\n"


def page_with(page: str, name: str, tables: str) -> str:
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"error: {PAGE.name}: found no {begin} and {end}, expected both around the generated tables")
    return f"{before}{begin}\n\n{tables}\n{end}{after}"


def main() -> int:
    data = tomllib.loads(DATA.read_text())
    problems = [problem for table in data["faults"] for row in table["rows"] for problem in row_problems(row, table)]
    problems += [problem for table in data["numbers"] for case, _, test in table["rows"]
                 for problem in row_problems([case, "()", test], table)]
    rows = [(table["title"], row[0]) for table in data["faults"] for row in table["rows"]]
    problems += [f"{title}: {fault}: found twice, expected once" for title, fault in sorted(set(rows))
                 if rows.count((title, fault)) > 1]
    old = PAGE.read_text()
    new = page_with(page_with(old, "faults", fault_tables(data)), "numbers", number_tables(data))
    if "--check" in sys.argv[1:]:
        if new != old:
            problems.append(f"{PAGE.name}: found tables that differ from {DATA.name}, expected those that "
                            "scripts/failure_modes.py writes")
    else:
        PAGE.write_text(new)
    print("\n".join(problems) or f"{len(rows)} faults, each with its test")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
