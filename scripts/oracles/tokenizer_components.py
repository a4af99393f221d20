"""Compares every normalizer, pre-tokenizer and post-processor that kvtune has with those of Hugging
Face's `tokenizers`, each put alone into one tokenizer.

Usage: tokenizer_components.py --kvtune BINARY
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tokenizer_parity import REPOSITORY, SEED, Generator, compare

LINES = 1500
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


WRAPPED = {"sep": ["b", 5], "cls": ["a", 4]}
COMPONENTS = {
    "normalizer": [
        {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Nmt"},
        {"type": "Strip", "strip_left": True, "strip_right": False},
        {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Prepend", "prepend": "▁"},
        replace({"String": " "}, "▁"), replace({"Regex": r"\s+|\d"}, " "),
        {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]},
    ],
    "pre_tokenizer": [
        BYTE_LEVEL | {"use_regex": True}, BYTE_LEVEL | {"use_regex": True, "add_prefix_space": True},
        {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Punctuation", "behavior": "MergedWithNext"},
        {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "a"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False},
        *(split({"Regex": r"\p{L}+|\p{N}{1,3}|[^\s\p{L}\p{N}]+"}, behavior)
          for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")),
        split({"String": " "}, "MergedWithNext"), split({"Regex": r"\s+"}, "Removed", invert=True),
    ],
    "post_processor": [
        {"type": "BertProcessing"} | WRAPPED,
        {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False} | WRAPPED,
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}},
                                                  {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"a": {"id": "a", "ids": [4, 5], "tokens": ["a", "b"]}}},
    ],
}


def name_of(component):
    options = {key: value for key, value in component.items() if key not in ("type", "single", "pair")}
    return f"{component['type']} {json.dumps(options, ensure_ascii=False) if options else ''}"[:76]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True, metavar="BINARY")
    arguments = parser.parse_args()
    base = json.loads((REPOSITORY / "calib_data" / "demo_model" / "tokenizer.json").read_text(encoding="utf-8"))
    generator = Generator(SEED, [token["content"] for token in base["added_tokens"]])
    texts = [generator.line() for _ in range(LINES)]
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        for part, components in COMPONENTS.items():
            for component in components:
                tokenizer = base | {part: component}
                if part == "pre_tokenizer" and component["type"] != "ByteLevel":
                    # The vocabulary is of bytes: every word becomes bytes in the end.
                    tokenizer[part] = {"type": "Sequence", "pretokenizers": [component, BYTE_LEVEL]}
                folder = Path(temporary, "model")
                folder.mkdir(exist_ok=True)
                (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
                lines, differing, first, _ = compare(arguments.kvtune, folder, texts)
                failed |= differing > 0
                print(f"{part:<15}{name_of(component):<78}{differing:>4} of {lines} differ {first}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
