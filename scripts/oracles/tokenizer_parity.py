#!/usr/bin/env python3
"""Compares `kvtune tokenize` with Hugging Face's `tokenizers`, id by id.

Every prompt file under DIR/prompts and thousands of generated lines go through both, with and
without special tokens. Exit code 0 only if every line agrees.

    pip install tokenizers==0.23.1     # what transformers 5.17.0 asks for
    scripts/oracles/tokenizer_parity.py --kvtune build/release/apps/kvtune/kvtune --shared ../shared
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

try:
    import tokenizers
except ImportError:
    sys.exit(
        "tokenizer_parity: the package 'tokenizers' is missing: pip install tokenizers==0.23.1"
    )

PINNED_VERSION = "0.23.1"
TOKENIZERS = ["qwen3", "mistral_v0.3", "gpt2", "llama2", "phi-2"]
MODELS = ["ref-llama", "stories260K"]
GENERATED_LINES = 12000
SEED = 20240917
REPOSITORY = Path(__file__).resolve().parents[2]


def texts_in(value):
    """All strings of a JSON value, depth first."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)


def prompt_texts(folder):
    """Each line of text files, whole short text files, and each string of JSON lines."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            for line in content.splitlines():
                texts.extend(texts_in(json.loads(line)))
        else:
            texts.extend(content.split("\n"))
            if len(content) < 2_000_000:
                texts.append(content)
    return texts


# The recent ones are younger than the Unicode tables of Debian's libraries.
# `--all-code-points` asks for everything.
SCRIPTS = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A)],
    "latin extended": [(0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "greek": [(0x391, 0x3A1), (0x3A3, 0x3FF), (0x1F00, 0x1F15)],
    "cyrillic": [(0x400, 0x4FF)],
    "armenian": [(0x531, 0x556)],
    "hebrew": [(0x5D0, 0x5EA), (0x5B0, 0x5BD)],
    "arabic": [(0x621, 0x64A), (0x64B, 0x652), (0x660, 0x669)],
    "devanagari": [(0x904, 0x939), (0x93E, 0x94D), (0x966, 0x96F)],
    "tamil": [(0xB85, 0xB8A), (0xBAE, 0xBB9), (0xBE6, 0xBEF)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE4E)],
    "tibetan": [(0xF40, 0xF47), (0xF71, 0xF84)],
    "georgian": [(0x10D0, 0x10FA)],
    "hangul": [(0xAC00, 0xD7A3)],
    "jamo": [(0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)],
    "kana": [(0x3041, 0x3096), (0x30A1, 0x30FA)],
    "cjk": [(0x4E00, 0x9FA5)],
    "cjk extension": [(0x20000, 0x2A6D6), (0xF900, 0xFA2D)],
    "math": [(0x2200, 0x22FF), (0x1D400, 0x1D454)],
    "symbols": [(0x2190, 0x21FF), (0x2500, 0x25FF), (0x2460, 0x24FF)],
    "numbers": [
        (0x30, 0x39),
        (0xB2, 0xB3),
        (0xBC, 0xBE),
        (0x2150, 0x215F),
        (0x2160, 0x2188),
        (0xFF10, 0xFF19),
    ],
    "recent letters": [
        (0x2EBF0, 0x2EE5D),
        (0x31350, 0x323AF),
        (0x11F12, 0x11F33),
        (0x1E4D0, 0x1E4EB),
    ],
    "recent digits and marks": [
        (0x1E4F0, 0x1E4F9),
        (0x10D40, 0x10D49),
        (0x1ABF, 0x1AC4),
        (0x1133B, 0x1133B),
        (0x7FD, 0x7FD),
    ],
    "private": [(0xE000, 0xE0FF), (0xF0000, 0xF00FF)],
    "controls": [
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0xFEFF, 0xFEFF),
        (0xFFFD, 0xFFFF),
    ],
}
WHITESPACE = " \t\n\r\x0b\x0c\x85\u00a0\u1680\u2002\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "👨🏿‍🚀", "☕", "1️⃣", "🫠", "🤷🏻‍♀️"]
MARKS = "".join(map(chr, range(0x300, 0x370))) + "\u1ab0\u20d0\u20dd\ufe00\ufe0f\u3099"
WORDS = (
    "the of and to in I'm you're they'll it's we've DON'T I'D he'S naïve café résumé Straße "
    "coöperate def return __init__ kPascal snake_case x=1; != <= >= -> :: // /* */ ``` $100 50% a@b.c "
    "http://a.b/c?d=e&f#g "
    "3.14159 1,000,000 2024-09-17 12:34:56 0xFF 1e-9 №5 ½ ² Ⅷ"
).split()
MARK_TEXTS = [
    "▁",
    "▁▁",
    "Ġ",
    "Ċ",
    "<0x0A>",
    "<0xE2>",
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<|bos|>",
    "<|eos|>",
    "[control_7]",
    "<|im_start",
    "<s",
    "s>",
    "<|",
    "|>",
]


class Generator:
    """Random lines that aim at every rule of a tokenizer; the same for the same seed."""

    def __init__(self, seed, special_texts):
        self.random = random.Random(seed)
        self.special_texts = special_texts + MARK_TEXTS

    def character(self, script):
        low, high = self.random.choice(SCRIPTS[script])
        return chr(self.random.randint(low, high))

    def word(self):
        script = self.random.choice(list(SCRIPTS))
        return "".join(self.character(script) for _ in range(self.random.randint(1, 12)))

    def marked_word(self):
        base = self.random.choice(
            ["latin", "latin extended", "greek", "cyrillic", "arabic", "devanagari", "jamo", "kana"]
        )
        parts = []
        for _ in range(self.random.randint(1, 6)):
            parts.append(self.character(base))
            parts.extend(self.random.choice(MARKS) for _ in range(self.random.randint(0, 3)))
        return "".join(parts)

    def space(self):
        kind = self.random.random()
        if kind < 0.5:
            return self.random.choice(" \t\n") * self.random.randint(1, 40)
        return "".join(self.random.choice(WHITESPACE) for _ in range(self.random.randint(1, 8)))

    def number(self):
        return "".join(self.character("numbers") for _ in range(self.random.randint(1, 20)))

    def anything(self):
        return "".join(
            self.character(self.random.choice(list(SCRIPTS)))
            for _ in range(self.random.randint(1, 20))
        )

    def repeated(self):
        return self.random.choice("aA0=-_#.*é你▁ ") * self.random.randint(1, 300)

    def line(self):
        makers = [
            lambda: self.random.choice(WORDS),
            lambda: self.random.choice(WORDS),
            self.word,
            self.marked_word,
            self.space,
            self.number,
            self.anything,
            self.repeated,
            lambda: "".join(self.random.choice(EMOJI) for _ in range(self.random.randint(1, 5))),
            lambda: self.random.choice(self.special_texts),
            lambda: "".join(
                chr(self.random.randint(0x20, 0x7E)) for _ in range(self.random.randint(1, 30))
            ),
        ]
        count = self.random.choice([0, 1, 2, 3, 5, 8, 13, 30])
        separators = ["", "", " ", " ", " ", "\n", "  "]
        return "".join(
            self.random.choice(makers)() + self.random.choice(separators) for _ in range(count)
        )


def all_code_points():
    """Each assigned or unassigned code point but surrogates, alone and between letters."""
    for code_point in range(0x110000):
        if not 0xD800 <= code_point <= 0xDFFF:
            yield f"a{chr(code_point)}b\u0301{chr(code_point)} 1{chr(code_point)}"


def kvtune_ids(binary, folder, texts, special):
    command = [binary, "tokenize", "--model", str(folder), "--jsonl"] + (
        [] if special else ["--no-special"]
    )
    text = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    done = subprocess.run(
        command,
        input=text.encode("utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()}"
        )
    return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]


def reference_ids(reference, texts):
    """By whether special tokens are added, the ids of each text. The library encodes it once and then adds them itself."""
    ids = {True: [], False: []}
    for begin in range(0, len(texts), 2000):
        for encoding in reference.encode_batch_fast(texts[begin : begin + 2000], add_special_tokens=False):
            ids[False].append(encoding.ids)
            ids[True].append(reference.post_process(encoding, add_special_tokens=True).ids)
    return ids


def compare(binary, folder, texts):
    """Number of lines, of differing lines, and the first difference in words."""
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    expected = reference_ids(reference, texts)
    lines, differing, first, examples = 0, 0, "", []
    for special in (True, False):
        ours = kvtune_ids(binary, folder, texts, special)
        theirs = expected[special]
        if len(ours) != len(theirs):
            raise RuntimeError(f"{folder.name}: {len(ours)} lines of ids for {len(theirs)} texts")
        for text, our, their in zip(texts, ours, theirs):
            lines += 1
            if our == their:
                continue
            differing += 1
            examples.append(text)
            if not first:
                at = next(
                    (i for i, (a, b) in enumerate(zip(our, their)) if a != b),
                    min(len(our), len(their)),
                )
                first = (
                    f"{text[:40]!r}{'' if special else ' --no-special'}: "
                    f"id {at} is {our[at:at + 4]}, "
                    f"expected {their[at:at + 4]}"
                )
    return lines, differing, first, examples


def check_invalid_utf8(binary, folder):
    """Not UTF-8: exit code 1 and one line that says so. Returns what went wrong, or nothing."""
    for name, arguments, data in [
        ("plain", [], b"fine\nbroken \xff\xfe here\n"),
        ("plain, truncated", [], b"caf\xc3\n"),
        ("plain, surrogate", [], b"\xed\xa0\x80\n"),
        ("JSON lines", ["--jsonl"], b'{"text": "broken \xc0\xaf here"}\n'),
    ]:
        done = subprocess.run(
            [binary, "tokenize", "--model", str(folder)] + arguments,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        message = done.stderr.decode(errors="replace").strip()
        if done.returncode != 1 or len(message.splitlines()) != 1:
            return (
                f"{name}: exit code {done.returncode}, message {message!r}, expected 1 and one line"
            )
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", required=True, metavar="BINARY")
    parser.add_argument(
        "--shared",
        required=True,
        type=Path,
        metavar="DIR",
        help="holds data/tokenizers and data/prompts",
    )
    parser.add_argument(
        "--lines", type=int, default=GENERATED_LINES, help="generated lines for each tokenizer"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this tokenizer; may be repeated"
    )
    parser.add_argument(
        "--all-code-points",
        action="store_true",
        help="every code point instead of prompts: shows where Unicode versions differ",
    )
    parser.add_argument("--dump", type=Path, help="write the differing texts here as JSON lines")
    arguments = parser.parse_args()

    if tokenizers.__version__ != PINNED_VERSION:
        print(
            f"note: tokenizers {tokenizers.__version__} instead of {PINNED_VERSION}",
            file=sys.stderr,
        )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    data = arguments.shared / "data" if (arguments.shared / "data").is_dir() else arguments.shared
    folders = [data / "tokenizers" / name for name in TOKENIZERS] + [
        data / "models" / name for name in MODELS
    ]
    folders.append(REPOSITORY / "calib_data" / "demo_model")
    for folder in folders:
        if not (folder / "tokenizer.json").is_file():
            print(f"skipped {folder.name}: found no {folder / 'tokenizer.json'}")
    folders = [
        folder
        for folder in folders
        if (folder / "tokenizer.json").is_file()
        and (not arguments.only or folder.name in arguments.only)
    ]
    if not folders:
        sys.exit(f"tokenizer_parity: found no tokenizer of the name {arguments.only}")

    prompts = [] if arguments.all_code_points else prompt_texts(data / "prompts")
    rows, failed, differing_texts = [], False, []
    for folder in folders:
        start = time.monotonic()
        added = (
            json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")).get("added_tokens")
            or []
        )
        if arguments.all_code_points:
            texts = list(all_code_points())
        else:
            generator = Generator(arguments.seed, [token["content"] for token in added])
            texts = prompts + [generator.line() for _ in range(arguments.lines)]
        lines, differing, first, examples = compare(arguments.kvtune, folder, texts)
        refused = check_invalid_utf8(arguments.kvtune, folder)
        failed = failed or differing > 0 or bool(refused)
        differing_texts.extend(examples)
        rows.append(
            (
                folder.name,
                str(lines),
                str(differing),
                first or refused or "-",
                f"{time.monotonic() - start:.1f} s",
            )
        )

    head = ("tokenizer", "lines", "differing", "first difference", "time")
    widths = [max(len(row[i]) for row in rows + [head]) for i in range(len(head))]
    for row in [head, *rows]:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if arguments.dump:
        arguments.dump.write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in differing_texts), encoding="utf-8"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
