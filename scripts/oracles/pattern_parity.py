"""Checks that properties of characters in regular expressions hold the same code points as in `tokenizers`.

Usage: pattern_parity.py --kvtune BINARY

Each property replaces its characters in a normalizer. The tokens are bytes, so that they show which code
points were replaced.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import Regex, normalizers

POSIX = "alnum alpha ascii blank cntrl digit graph lower print punct space upper xdigit word".split()
NAMES = ("Alpha Alnum Alphabetic Lower Upper Word Punct Graph Print Digit Space Cased Assigned Any Emoji Han Latin Cyrillic "
         "Hiragana Katakana Arabic Devanagari Kannada Lao Myanmar Balinese Khojki Greek Hebrew Thai Hangul Letter "
         "Uppercase_Letter lowercase-letter Mark Number Decimal_Number Punctuation Symbol Other Unassigned Format L Lu ll M "
         "Mn N Nd P Po S So C Cn Cf Z LC").split()
PROPERTIES = ([f"[[:{name}:]]" for name in POSIX] + [f"[[:^{name}:]]" for name in POSIX] + [r"\p{%s}" % name for name in NAMES] +
              [r"\P{%s}" % name for name in ("Alpha", "L", "Cn", "Han")] +
              [r"\w", r"\W", r"[\w]", r"[^\w]", r"[\W]", r"\d", r"\D", r"\s", r"\S", r"\h", r"[^\w\s]", r"[[:alpha:]&&[^a-f]]",
               r"[^\r\n\p{L}\p{N}]", r"[\p{Han}\p{Latin}]", r"[^[:punct:]\s]", r"[[:alpha:][:digit:]_]"])
# Where Unicode 10 to 16 added something, and all of the basic plane but ideographs and syllables.
RANGES = [(0x1, 0x3500), (0x4DB0, 0x4E20), (0x9F00, 0xAC20), (0xD780, 0xD800), (0xE000, 0xE010), (0xF8F0, 0x11FFF),
          (0x13400, 0x14440), (0x16100, 0x16FFF), (0x18CD0, 0x18D10), (0x1B000, 0x1B300), (0x1BC00, 0x1BD00), (0x1CC00, 0x1D400),
          (0x1DF00, 0x1E600), (0x1E900, 0x1E960), (0x1F000, 0x1FC00), (0x2B730, 0x2B750), (0x2EBE0, 0x2EE70), (0x31340, 0x323C0)]
PER_LINE = 64


def byte_symbols() -> dict[int, str]:
    """The visible character of every byte in byte-level tokenizers."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def tokenizer_with(expression: str) -> dict:
    """Characters that the expression matches vanish; every other byte is a token."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": {"type": "Replace", "pattern": {"Regex": expression}, "content": ""},
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {symbol: byte for byte, symbol in byte_symbols().items()}, "merges": []}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    arguments = parser.parse_args()
    characters = [chr(code) for first, end in RANGES for code in range(first, end)]
    lines = ["".join(characters[i:i + PER_LINE]) for i in range(0, len(characters), PER_LINE)]
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "lines.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        for expression in PROPERTIES:
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer_with(expression)))
            done = subprocess.run([arguments.kvtune, "tokenize", "--model", folder, "--jsonl", folder / "lines.jsonl"],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{expression}: {done.stderr.strip()}")
                failed = True
                continue
            replace = normalizers.Replace(Regex(expression), "").normalize_str
            differing = [line for line, ids in zip(lines, done.stdout.splitlines(), strict=True)
                         if bytes(json.loads(ids)) != replace(line).encode()]
            if differing:
                first = differing[0]
                print(f"{expression}: {len(differing)} of {len(lines)} lines differ, the first from U+{ord(first[0]):04X} on")
                failed = True
    print(f"{len(PROPERTIES)} expressions, {len(characters)} code points, tokenizers {tokenizers.__version__}: "
          + ("differences" if failed else "no difference"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
