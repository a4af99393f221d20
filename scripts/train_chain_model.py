"""Trains a small model on sums in which one wrong digit spoils the answer, and writes its task and its prompts.

    train_chain_model.py --out DIR [--steps N] [--smoke]

A problem is a list of named digits, and the answer adds them one after another, modulo 10:

    a4 b3 c8 =
    a4 b3:7 c8:5 #5

So each step looks up a digit far back in the prompt and adds it to the sum of the step before: a model that mistakes
one digit goes on from a wrong sum. DIR gets the model (a Llama of 8 layers with single bytes as tokens), task.json for
`kvtune evaluate --task`, and calibration.jsonl and held_out.jsonl. No two of these files, and no row of the training,
share a list of digits.

The script needs numpy, torch, transformers and tokenizers. Training is meant for one data-centre GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from train_demo_model import DEVICE, SEED, save, train, write_json
from transformers import LlamaConfig, LlamaForCausalLM

END_OF_TEXT = "<|endoftext|>"
LONGEST_CONTEXT = 1024
ROW_TOKENS = 212  # one problem of the most digits
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


def make_tokenizer() -> Tokenizer:
    """A token for each byte and one for the end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def make_rows(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Returns token ids and a mask of the answers, as [rows, 2, ROW_TOKENS + 1]. Every row is one problem."""
    tokens = np.zeros(256, dtype=np.int16)
    for letter in ascii_lowercase + "0123456789: #=\n":
        tokens[ord(letter)] = tokenizer.encode(letter).ids[0]
    rows = np.zeros((count, 2, ROW_TOKENS + 1), dtype=np.int16)
    rows[:, 0] = tokenizer.token_to_id(END_OF_TEXT)
    stream = problems("training", SEED)
    for row in rows:
        prompt, answer = next(stream)
        end = len(prompt) + len(answer)
        row[0, :end] = tokens[np.frombuffer((prompt + answer).encode(), dtype=np.uint8)]
        row[1, len(prompt) : end + 1] = 1
    return rows


def new_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=LONGEST_CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            pad_token_id=end_of_text,
        )
    )


def take(split: str, count: int) -> list[tuple[str, str]]:
    stream = problems(split, SEED, TEST_DIGITS)
    return [next(stream) for _ in range(count)]


def write_inputs(tokenizer: Tokenizer, out: Path) -> None:
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(
        out / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT,
         "model_max_length": LONGEST_CONTEXT, "clean_up_tokenization_spaces": False},
    )
    write_json(
        out / "task.json",
        {"schema_version": 1, "name": "chains of sums", "protocol": "custom", "stop": ["\n"],
         "max_new_tokens": 5 * TEST_DIGITS + 8,
         "items": [{"prompt": prompt, "answer": answer.strip()} for prompt, answer in take("test", ITEMS)]},
    )
    for split, name in (("calibration", "calibration.jsonl"), ("held-out", "held_out.jsonl")):
        lines = [json.dumps({"text": prompt + answer}) + "\n" for prompt, answer in take(split, PROMPTS)]
        (out / name).write_text("".join(lines))


@torch.no_grad()
def share_right(model: LlamaForCausalLM, tokenizer: Tokenizer, problem_list: list[tuple[str, str]]) -> float:
    """The share of problems whose answer is right to the last letter. All prompts and answers have the same length."""
    prompts = torch.tensor([tokenizer.encode(prompt).ids for prompt, _ in problem_list], device=model.device)
    answers = [tokenizer.encode(answer).ids for _, answer in problem_list]
    made = model.generate(prompts, max_new_tokens=len(answers[0]), do_sample=False)[:, prompts.shape[1] :].tolist()
    return sum(a == b for a, b in zip(made, answers)) / len(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small model on chains of sums.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--smoke", action="store_true", help="train for three small steps, to try the script")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    write_inputs(tokenizer, arguments.out)
    rows = make_rows(tokenizer, 8 if arguments.smoke else 200_000)
    model = new_model(tokenizer).to(DEVICE)
    torch.set_float32_matmul_precision("high")
    loss = train(model, rows, 3 if arguments.smoke else arguments.steps, 2 if arguments.smoke else 224)
    save(model, arguments.out)
    right = share_right(model, tokenizer, take("test", 4 if arguments.smoke else ITEMS))
    print(f"mean weighted loss of the last 5 % of the steps: {loss:.4f}; {right:.1%} of the answers right", flush=True)


if __name__ == "__main__":
    main()
