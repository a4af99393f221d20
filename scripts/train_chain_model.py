"""Teaches the demo model sums in which one wrong digit spoils the answer, and writes its task and its prompts.

    train_chain_model.py --out DIR [--steps N] [--smoke]

A problem is a list of named digits, and the answer adds them one after another, modulo 10:

    a4 b3 c8 =
    a4 b3:7 c8:5 #5

So each step looks up a digit far back in the prompt and adds it to the sum of the step before: a model that mistakes
one digit goes on from a wrong sum. DIR gets the model, task.json for `kvtune evaluate --task`, and calibration.jsonl and
held_out.jsonl. No two of these files, and no row of the training, share a list of digits.

The model is calib_data/demo_model, trained further: it can look up values in its prompt already, which takes a model with
random weights far longer to learn than the sums.

The script needs numpy, torch, transformers and tokenizers. Training is meant for one data-centre GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import torch
from tokenizers import Tokenizer
from train_demo_model import DEVICE, END_OF_TEXT, SEED, load, save, train, write_json
from transformers import Qwen2ForCausalLM

DEMO_MODEL = Path(__file__).resolve().parent.parent / "calib_data/demo_model"
ROW_TOKENS = 172  # one problem of the most digits
FEWEST_DIGITS, MOST_DIGITS = 2, 26
TEST_DIGITS = 24  # of every problem of the task and of the prompts
ITEMS, PROMPTS = 400, 32
SPLITS = ("training", "test", "calibration", "held-out")


def split_of(digits: list[int]) -> str:
    """Every list of digits belongs to one split: most to training, a sixteenth to each of the others."""
    place = hashlib.sha256(bytes(digits)).digest()[0] % 16
    return SPLITS[place] if place < len(SPLITS) else SPLITS[0]


def problems(split: str, seed: int, count: int | None = None) -> Iterator[tuple[str, str]]:
    """Yields prompts with their answers, of `count` digits or of any count."""
    generator = random.Random(f"{split} {seed}")
    while True:
        digits = [generator.randrange(10) for _ in range(count or generator.randint(FEWEST_DIGITS, MOST_DIGITS))]
        if split_of(digits) != split:
            continue
        named = [f"{name}{digit}" for name, digit in zip(ascii_lowercase, digits)]
        sums = [total % 10 for total in accumulate(digits)]
        steps = [named[0], *(f"{step}:{total}" for step, total in zip(named[1:], sums[1:]))]
        yield " ".join(named) + " =\n", " ".join(steps) + f" #{sums[-1]}\n"


def make_rows(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Returns token ids and a mask of the answers, as [rows, 2, ROW_TOKENS + 1]. Every row is one problem."""
    rows = np.zeros((count, 2, ROW_TOKENS + 1), dtype=np.int16)
    rows[:, 0] = tokenizer.token_to_id(END_OF_TEXT)
    chosen = [pair for pair, _ in zip(problems("training", SEED), range(count))]
    prompts = tokenizer.encode_batch([prompt for prompt, _ in chosen])
    answers = tokenizer.encode_batch([answer for _, answer in chosen])
    for row, prompt, answer in zip(rows, prompts, answers):
        begin, end = len(prompt.ids), len(prompt.ids) + len(answer.ids)
        row[0, :end] = prompt.ids + answer.ids
        row[1, begin : end + 1] = 1
    return rows


def take(split: str, count: int) -> list[tuple[str, str]]:
    stream = problems(split, SEED, TEST_DIGITS)
    return [next(stream) for _ in range(count)]


def write_inputs(out: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, out)
    write_json(
        out / "task.json",
        {"schema_version": 1, "name": "chains of sums", "protocol": "custom", "stop": ["\n"],
         "max_new_tokens": 5 * TEST_DIGITS,
         "items": [{"prompt": prompt, "answer": answer.strip()} for prompt, answer in take("test", ITEMS)]},
    )
    for split, name in (("calibration", "calibration.jsonl"), ("held-out", "held_out.jsonl")):
        lines = [json.dumps({"text": prompt + answer}) + "\n" for prompt, answer in take(split, PROMPTS)]
        (out / name).write_text("".join(lines))


@torch.no_grad()
def share_right(model: Qwen2ForCausalLM, tokenizer: Tokenizer, problem_list: list[tuple[str, str]]) -> float:
    """The share of problems whose answer is right to the last letter. All prompts and answers have the same length."""
    prompts = torch.tensor([tokenizer.encode(prompt).ids for prompt, _ in problem_list], device=model.device)
    answers = [tokenizer.encode(answer).ids for _, answer in problem_list]
    made = model.generate(prompts, max_new_tokens=len(answers[0]), do_sample=False)[:, prompts.shape[1] :].tolist()
    return sum(a == b for a, b in zip(made, answers)) / len(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model on chains of sums.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--smoke", action="store_true", help="train for three small steps, to try the script")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_inputs(arguments.out)
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    rows = make_rows(tokenizer, 8 if arguments.smoke else 200_000)
    model = load(DEMO_MODEL)
    torch.set_float32_matmul_precision("high")
    steps, batch_rows = (3, 2) if arguments.smoke else (arguments.steps, 128)
    loss = train(model, rows, steps, batch_rows, learning_rate=1e-3)
    save(model, arguments.out)
    right = share_right(model, tokenizer, take("test", 4 if arguments.smoke else ITEMS))
    print(f"mean weighted loss of the last 5 % of the steps: {loss:.4f}; {right:.1%} of the answers right", flush=True)


if __name__ == "__main__":
    main()
