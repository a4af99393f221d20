"""Writes the bundled prompts, calib_data/calibration.jsonl and calib_data/held_out.jsonl.

    make_prompts.py           writes both files
    make_prompts.py --check   exits with 1 if a file differs from what would be written

Each line of a file is {"text": ..., "kind": ...} with a complete text, problem and worked answer. The kinds
take turns. Texts come from demo_text.py and are the same on every run. The script needs the package
tokenizers, because it counts in tokens of the demo model.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from demo_text import KINDS, make_document, split_of
from tokenizers import Tokenizer

CALIB_DATA = Path(__file__).resolve().parents[1] / "calib_data"
SEED = 1
SPLITS = ("calibration", "held_out")
PROMPTS_PER_KIND = 8
# The fewest and the most tokens of a prompt.
TOKENS = {
    "chat": (100, 220),
    "code": (100, 220),
    "mathematics": (100, 220),
    "long_context": (250, 700),
}
FEWEST_TOKENS, MOST_TOKENS = 6000, 8000  # of all prompts of a file together


def make_prompts(split: str, tokenizer: Tokenizer) -> list[dict[str, str]]:
    """Draws documents of the split until each kind has its prompts of a fitting length."""
    rng = random.Random(f"prompts {split} {SEED}")
    prompts: list[dict[str, str]] = []
    tokens = dict.fromkeys(KINDS, 0)
    while len(prompts) < PROMPTS_PER_KIND * len(KINDS):
        kind = KINDS[len(prompts) % len(KINDS)]
        document = make_document(kind, split, rng)
        length = len(tokenizer.encode(document.text).ids)
        if TOKENS[kind][0] <= length <= TOKENS[kind][1]:
            # Everything the demo model was trained on is of another split, so that not a single
            # problem of a prompt can be known to it.
            assert all(split_of(unit) == split for unit in document.units)
            prompts.append({"text": document.text, "kind": kind})
            tokens[kind] += length
    assert FEWEST_TOKENS <= sum(tokens.values()) <= MOST_TOKENS, tokens
    print(f"{split}: {len(prompts)} prompts, {sum(tokens.values())} tokens {tokens}")
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the bundled prompts.")
    parser.add_argument("--check", action="store_true", help="compare with the files instead")
    check = parser.parse_args().check

    tokenizer = Tokenizer.from_file(str(CALIB_DATA / "demo_model" / "tokenizer.json"))
    prompts = {split: make_prompts(split, tokenizer) for split in SPLITS}
    texts = [prompt["text"] for split in SPLITS for prompt in prompts[split]]
    assert len(set(texts)) == len(texts), "a text occurs twice"

    differing = []
    for split in SPLITS:
        path = CALIB_DATA / f"{split}.jsonl"
        content = "".join(json.dumps(prompt) + "\n" for prompt in prompts[split])
        if not check:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            differing.append(path.name)
    if differing:
        sys.exit(f"not what make_prompts.py writes: {', '.join(differing)}")


if __name__ == "__main__":
    main()
