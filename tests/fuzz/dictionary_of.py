#!/usr/bin/env python3
"""Writes a dictionary for libFuzzer: the string literals of the sources that read an input.

Usage: dictionary_of.py OUT SOURCE...
"""
import pathlib
import re
import sys

LITERAL = re.compile(r'R"\((?P<raw>.*?)\)"|"(?P<plain>(?:[^"\\\n]|\\.)*)"')
# libFuzzer reads \\, \" and \xNN in an entry, and no other escape.
ENTRY = re.compile(r'(?:[^\\]|\\[\\"]|\\x[0-9a-fA-F]{2})*')
CONTROLS = {"n": "\\x0a", "t": "\\x09", "r": "\\x0d"}
LONGEST = 40  # longer literals are messages


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def words(source: str) -> set[str]:
    found = set()
    for line in source.splitlines():
        if line.lstrip().startswith(("#include", "//")):
            continue
        for match in LITERAL.finditer(line):
            literal = escaped(match["raw"]) if match["plain"] is None else match["plain"]
            if 0 < len(literal) <= LONGEST and "{}" not in literal and "found" not in literal:
                found.add(literal)
    return found


def main() -> None:
    out, *sources = map(pathlib.Path, sys.argv[1:])
    entries = set(map(escaped, ['{"', '":', '",', "[]", "{}", "null", "true", "false", "1e308", "-1",
                                "9223372036854775807", "18446744073709551616", "\\u0000", "[[[["])) | {"\\xff"}
    for source in sources:
        entries |= words(source.read_text())
    lines = []
    for entry in sorted(entries):
        text = re.sub(r"\\(.)", lambda match: CONTROLS.get(match.group(1), match.group()), entry)
        text = re.sub(r"[^ -~]", lambda match: "".join(f"\\x{byte:02x}" for byte in match.group().encode()), text)
        if ENTRY.fullmatch(text):
            lines.append(f'"{text}"')
    out.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
