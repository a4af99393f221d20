#!/usr/bin/env python3
"""Writes a dictionary for libFuzzer: the string literals of the sources that read an input.

Usage: dictionary_of.py OUT SOURCE...
"""
import pathlib
import re
import sys

LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
LONGEST = 40  # longer literals are messages


def words(source: str) -> set[str]:
    found = set()
    for line in source.splitlines():
        if line.lstrip().startswith(("#include", "//")):
            continue
        for literal in LITERAL.findall(line):
            if 0 < len(literal) <= LONGEST and "{}" not in literal and "found" not in literal:
                found.add(literal)
    return found


def main() -> None:
    out, *sources = map(pathlib.Path, sys.argv[1:])
    entries = {'{"', '":', '",', "[]", "{}", "null", "true", "false", "1e308", "-1", "9223372036854775807",
               "18446744073709551616", "\\\\u0000", "\\xff", "[[[["}
    for source in sources:
        entries |= words(source.read_text())
    # libFuzzer reads \\, \" and \xNN in an entry, and no other escape.
    lines = []
    for entry in sorted(entries):
        text = re.sub(r"\\([ntr])", lambda match: {"n": "\\x0a", "t": "\\x09", "r": "\\x0d"}[match.group(1)], entry)
        if re.search(r'\\(?![\\"x])', text):
            continue
        text = re.sub(r"[^ -~]", lambda match: "".join(f"\\x{byte:02x}" for byte in match.group().encode()), text)
        lines.append('"' + re.sub(r'(?<!\\)"', r'\\"', text) + '"')
    out.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
