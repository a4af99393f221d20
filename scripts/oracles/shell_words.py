#!/usr/bin/env python3
"""Compares lib/targets/shell_words.cc with Python's shlex on random lines.

Two kinds of lines: random characters (quotes, backslashes, blanks) as words of one command, and words with
operators and redirections between them. Left out is what shlex does otherwise than a shell: comments
within words, "\\$" between double quotes, continued lines; tests/targets/shell_words_test.cc has those.
"""

import argparse
import json
import random
import shlex
import subprocess
import sys

LINES = 20000
SEPARATORS = ["&&", "||", ";", "|", "&", "(", ")"]


def random_characters(rng: random.Random) -> str:
    return "".join(rng.choice("ab01-_=./, \t'\"\\") for _ in range(rng.randrange(24)))


def expected_of_characters(line: str) -> tuple[list[list[str]], bool]:
    """The words of one command, and whether something is missing at the end."""
    try:
        words = shlex.split(line)
    except ValueError:
        return [], True
    return [words] if words else [], False


def quoted(word: str, rng: random.Random) -> str:
    """The word in one of the ways in which a shell can have it."""
    way = rng.randrange(3)
    if way == 0:
        return shlex.quote(word)
    if way == 1:
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "".join(c if c.isalnum() or c in "-_=./" else "\\" + c for c in word)


def random_command(rng: random.Random) -> str:
    pieces = []
    for _ in range(rng.randrange(1, 8)):
        kind = rng.randrange(8)
        if kind == 0:
            pieces.append(rng.choice(SEPARATORS))
        elif kind == 1:
            pieces.append(rng.choice([">", ">>", "<", "2>", "2>>"]) + rng.choice(["", " "]) + "log")
        else:
            word = "w" + "".join(rng.choice("ab01 '\"\\&|;<>()-=") for _ in range(rng.randrange(6)))
            pieces.append(quoted(word, rng))
    return rng.choice([" ", "  ", "\t"]).join(pieces)


def expected_of_command(line: str) -> list[list[str]]:
    """From shlex's tokens. Words begin with a letter here, so an operator is never taken for one of them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands, drop_next = [[]], False
    for token in lexer:
        if set(token) <= set("<>"):
            if commands[-1] and commands[-1][-1] == "2":
                commands[-1].pop()
            drop_next = True
        elif set(token) <= set("&|;()"):
            commands.append([])
            drop_next = False
        elif drop_next:
            drop_next = False
        else:
            commands[-1].append(token)
    return [command for command in commands if command]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the built shell_words_tool")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    lines = [random_characters(rng) if i % 2 else random_command(rng) for i in range(LINES)]
    output = subprocess.run([arguments.tool], input="".join(json.dumps(line) + "\n" for line in lines), text=True,
                            capture_output=True, check=True).stdout.splitlines()
    wrong = 0
    for i, (line, answer) in enumerate(zip(lines, map(json.loads, output), strict=True)):
        commands, missing = expected_of_characters(line) if i % 2 else (expected_of_command(line), False)
        found = answer["commands"], bool(answer["missing"])
        if missing and found[1] or found == (commands, missing):
            continue
        wrong += 1
        if wrong <= 10:
            print(f"{line!r}: found {found}, expected {(commands, missing)}")
    print(f"{LINES} lines, {wrong} split otherwise than by shlex")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
