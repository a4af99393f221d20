"""Writes the bundled prompts, calib_data/calibration.jsonl, held_out.jsonl and agents.jsonl.

    make_prompts.py           writes the files
    make_prompts.py --check   exits with 1 if a file differs from what would be written
    make_prompts.py --population N FILE   writes N further prompts of the same kinds, for interval_coverage.py

Each line of a file is {"text": ..., "kind": ...} with a complete text, problem and worked answer. The kinds
take turns. Texts come from demo_text.py, those of agents.jsonl from agent_text.py, and are the same on every run. The script needs the package
tokenizers, because it counts in tokens of the demo model.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import agent_text
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


def make_prompts(
    split: str, tokenizer: Tokenizer, seed: str, per_kind: int = PROMPTS_PER_KIND
) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Draws documents of the split until each kind has its prompts of a fitting length."""
    rng = random.Random(seed)
    prompts: list[dict[str, str]] = []
    tokens = dict.fromkeys(KINDS, 0)
    while len(prompts) < per_kind * len(KINDS):
        kind = KINDS[len(prompts) % len(KINDS)]
        document = make_document(kind, split, rng)
        length = len(tokenizer.encode(document.text).ids)
        if TOKENS[kind][0] <= length <= TOKENS[kind][1]:
            # Everything the demo model was trained on is of another split, so that not a single
            # problem of a prompt can be known to it.
            assert all(split_of(unit) == split for unit in document.units)
            prompts.append({"text": document.text, "kind": kind})
            tokens[kind] += length
    print(f"{split}: {len(prompts)} prompts, {sum(tokens.values())} tokens {tokens}")
    return prompts, tokens


def make_bundled(split: str, tokenizer: Tokenizer) -> list[dict[str, str]]:
    prompts, tokens = make_prompts(split, tokenizer, f"prompts {split} {SEED}")
    assert FEWEST_TOKENS <= sum(tokens.values()) <= MOST_TOKENS, tokens
    return prompts


AGENT_PROMPTS_PER_KIND = 16
AGENT_TOKENS = (500, 1500)


def make_agent_prompts(tokenizer: Tokenizer) -> list[dict[str, str]]:
    """Draws texts with calls of tools and long conversations in turns."""
    rng = random.Random(f"prompts agents {SEED}")
    prompts: list[dict[str, str]] = []
    tokens = dict.fromkeys(agent_text.KINDS, 0)
    while len(prompts) < AGENT_PROMPTS_PER_KIND * len(agent_text.KINDS):
        kind = agent_text.KINDS[len(prompts) % len(agent_text.KINDS)]
        text = agent_text.make_text(kind, rng)
        length = len(tokenizer.encode(text).ids)
        if AGENT_TOKENS[0] <= length <= AGENT_TOKENS[1]:
            prompts.append({"text": text, "kind": kind})
            tokens[kind] += length
    print(f"agents: {len(prompts)} prompts, {sum(tokens.values())} tokens {tokens}")
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the bundled prompts.")
    parser.add_argument("--check", action="store_true", help="compare with the files instead")
    parser.add_argument("--population", nargs=2, metavar=("N", "FILE"), help="write N further prompts to FILE")
    arguments = parser.parse_args()
    check = arguments.check

    tokenizer = Tokenizer.from_file(str(CALIB_DATA / "demo_model" / "tokenizer.json"))
    if arguments.population:
        count, path = int(arguments.population[0]), Path(arguments.population[1])
        if count <= 0 or count % len(KINDS) != 0:
            parser.error(f"--population: found {count}, expected a multiple of {len(KINDS)}, so many kinds there are")
        further, _ = make_prompts("held_out", tokenizer, f"population {SEED}", count // len(KINDS))
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in further))
        return

    prompts = {split: make_bundled(split, tokenizer) for split in SPLITS}
    prompts["agents"] = make_agent_prompts(tokenizer)
    texts = [prompt["text"] for of_file in prompts.values() for prompt in of_file]
    assert len(set(texts)) == len(texts), "a text occurs twice"

    differing = []
    for name, of_file in prompts.items():
        path = CALIB_DATA / f"{name}.jsonl"
        content = "".join(json.dumps(prompt) + "\n" for prompt in of_file)
        if not check:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            differing.append(path.name)
    if differing:
        sys.exit(f"not what make_prompts.py writes: {', '.join(differing)}")


if __name__ == "__main__":
    main()
