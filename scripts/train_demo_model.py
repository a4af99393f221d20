"""Trains the bundled demo model, or evaluates it.

    train_demo_model.py --out DIR        trains, makes two layers fragile, saves, evaluates
    train_demo_model.py --evaluate DIR   prints the accuracy table of a saved model

The model is a small Qwen2-style decoder with a byte-level BPE tokenizer of its own. Its text comes from
demo_text.py, its accuracy table from demo_evaluation.py. After training, some key channels of
two layers are scaled without changing the model's function (see `scale_keys`). Trained alone, the
model loses nothing with 4-bit keys; the scaling gives it key outliers, which make a per-layer plan
better than a uniform one.

The script needs numpy, torch, transformers and tokenizers. Training is meant for one data-centre GPU. The
evaluation also runs on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import multiprocessing
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from demo_evaluation import (
    HEAD_DIM,
    LAYERS,
    Item,
    Plan,
    QuantizedCache,
    ScaledKeys,
    evaluate,
    fragile_plan,
    make_items,
    print_table,
    scale_keys,
    scaling,
    uniform,
)
from demo_text import documents
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SEED = 1
VOCABULARY_SIZE = 640
KEY_VALUE_HEADS = 2
END_OF_TEXT = "<|endoftext|>"
# This is Qwen2's own pattern: single digits, and words with at most one leading character.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LONGEST_CONTEXT = 2048
ROW_TOKENS = 1024
PROMPT_WEIGHT = 0.2  # weight of a prompt token's loss; an answer's is 1
TEST_ITEMS = 480


# --- tokenizer and model --------------------------------------------------------------------------


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (document.text for document in itertools.islice(documents("training", 0), 4000))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def new_model(tokenizer: Tokenizer) -> Qwen2ForCausalLM:
    torch.manual_seed(SEED)
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=192,
            intermediate_size=352,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=KEY_VALUE_HEADS,
            head_dim=HEAD_DIM,
            max_position_embeddings=LONGEST_CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            initializer_range=0.04,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            pad_token_id=end_of_text,
        )
    )


# --- training -------------------------------------------------------------------------------------

_worker_tokenizer: Tokenizer | None = None


def _start_worker(tokenizer_json: str) -> None:
    global _worker_tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker_tokenizer = Tokenizer.from_str(tokenizer_json)


def _make_rows(task: tuple[int, int]) -> np.ndarray:
    """Returns token ids and a mask of the answers, as [rows, 2, ROW_TOKENS + 1].

    A row begins with a document; the last document of a row is cut off.
    """
    seed, row_count = task
    assert _worker_tokenizer is not None
    end_of_text = _worker_tokenizer.token_to_id(END_OF_TEXT)
    stream = documents("training", seed)
    rows = np.empty((row_count, 2, ROW_TOKENS + 1), dtype=np.int16)
    for row in rows:
        ids: list[int] = []
        in_answer: list[bool] = []
        while len(ids) <= ROW_TOKENS:
            for before, answer in next(stream).exchanges:
                before_ids = _worker_tokenizer.encode(before).ids
                answer_ids = _worker_tokenizer.encode(answer).ids
                ids += before_ids + answer_ids
                in_answer += [False] * len(before_ids) + [True] * len(answer_ids)
            ids.append(end_of_text)
            in_answer.append(True)
        row[0], row[1] = ids[: ROW_TOKENS + 1], in_answer[: ROW_TOKENS + 1]
    return rows


def make_pool(tokenizer: Tokenizer, row_count: int) -> np.ndarray:
    """Makes the training rows, which are the same for any number of processes."""
    chunk = min(row_count, 500)
    tasks = [(seed, chunk) for seed in range(1, 1 + math.ceil(row_count / chunk))]
    with multiprocessing.Pool(initializer=_start_worker, initargs=(tokenizer.to_str(),)) as pool:
        return np.concatenate(list(pool.imap(_make_rows, tasks)))[:row_count]


def train(
    model: Qwen2ForCausalLM, rows: np.ndarray, steps: int, batch_rows: int, learning_rate: float = 3e-3
) -> float:
    """Trains to predict the next token. Returns the mean loss of the last 5 % of the steps.

    Answers weigh more than the rest, most of which nobody can predict (names, numbers, order).
    """
    device = model.device
    data = torch.from_numpy(rows).to(device)
    on_gpu = device.type == "cuda"
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
        fused=on_gpu,
    )
    warm_up = max(1, steps // 25)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01),
    )

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        ids, in_answer = batch.unbind(1)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float().flatten(0, 1)
        losses = F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
        weights = torch.where(in_answer[:, 1:].flatten() > 0, 1.0, PROMPT_WEIGHT)
        return (losses * weights).sum() / weights.sum()

    step_loss = torch.compile(loss_of) if on_gpu else loss_of
    generator = torch.Generator().manual_seed(SEED)
    order = torch.empty(0, dtype=torch.long)
    losses = []
    started = time.monotonic()
    model.train()
    for step in range(steps):
        if len(order) < batch_rows:
            order = torch.randperm(len(rows), generator=generator)
        picked, order = order[:batch_rows].to(device), order[batch_rows:]
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            loss = step_loss(data[picked].long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.detach())
        if step % 250 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            print(f"step {step} loss {loss.item():.4f} after {seconds:.1f} s", flush=True)
    model.eval()
    return torch.stack(losses[-max(1, steps // 20) :]).mean().item()


# --- fragile layers -------------------------------------------------------------------------------


@torch.no_grad()
def largest_key_pairs(model: Qwen2ForCausalLM, items: list[Item]) -> list[list[int]]:
    """For each layer and KV head, the rotary pair whose keys have the largest mean length."""
    cache = QuantizedCache(uniform("exact"))
    ids = list(itertools.chain.from_iterable(item.prompt_ids for item in items))[:ROW_TOKENS]
    model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache)
    half = HEAD_DIM // 2
    return [
        layer.keys.unflatten(-1, (2, half)).norm(dim=-2).mean((0, 2)).argmax(-1).tolist()
        for layer in cache.layers
    ]


def choose_scaled_keys(
    model: Qwen2ForCausalLM, items: list[Item], factors: tuple[int, ...]
) -> list[ScaledKeys]:
    """Chooses two layers and a factor by exact match on items that no reported figure uses.

    The rule: KV8 and the per-layer plan stay within a point of the exact cache, and KV4 loses as
    near to 20 points as possible.
    """
    exact = evaluate(model, items, uniform("exact")).accuracy["all"]

    def points_lost(scaled: list[ScaledKeys], plan: Plan) -> float:
        with scaling(model, scaled):
            return 100 * (exact - evaluate(model, items, plan).accuracy["all"])

    pairs = largest_key_pairs(model, items)
    choices = []
    for layers in itertools.combinations(range(LAYERS), 2):
        for factor in factors:
            scaled = [ScaledKeys(layer, pairs[layer], factor) for layer in layers]
            choices.append((points_lost(scaled, uniform("KV4")), layers, scaled))
    for lost, layers, scaled in sorted(choices, key=lambda choice: abs(choice[0] - 20)):
        lost_by_kv8 = points_lost(scaled, uniform("KV8"))
        lost_by_plan = points_lost(scaled, fragile_plan(layers))
        print(
            f"layers {layers}, factor {scaled[0].factor}: points lost by KV4 {lost:.1f}, "
            f"by KV8 {lost_by_kv8:.1f}, by the per-layer plan {lost_by_plan:.1f}"
        )
        if max(lost_by_kv8, lost_by_plan) <= 1:
            return scaled
    raise SystemExit("no two layers and factor satisfy the rule")


# --- commands -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How much of everything a run makes."""

    steps: int = 18_000
    batch_rows: int = 64
    rows: int = 200_000
    selection_items: int = 240
    test_items: int = TEST_ITEMS
    factors: tuple[int, ...] = (2, 4, 8, 16)  # One of them is chosen.


SMOKE = Size(steps=3, batch_rows=2, rows=8, selection_items=4, test_items=4, factors=(8,))


def build(out: Path, size: Size) -> None:
    """Trains, makes two layers fragile, saves the model and prints the table."""
    tokenizer = train_tokenizer()
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "model_max_length": LONGEST_CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    write_json(out / "tokenizer_config.json", tokenizer_config)

    rows = make_pool(tokenizer, size.rows)
    print(f"{len(rows)} rows of {ROW_TOKENS} tokens, {rows[:, 1].mean():.1%} answers", flush=True)
    model = new_model(tokenizer).to(DEVICE)
    torch.set_float32_matmul_precision("high")
    loss = train(model, rows, size.steps, size.batch_rows)
    torch.set_float32_matmul_precision("highest")
    print(f"mean weighted loss of the last 5 % of {size.steps} steps: {loss:.4f}", flush=True)
    save(model, out)  # Kept in case that no choice of layers satisfies the rule.

    # What is measured from here on is the file's model, in float32.
    model = load(out)
    scaled = choose_scaled_keys(
        model, make_items(tokenizer, "selection", size.selection_items), size.factors
    )
    scale_keys(model, scaled)
    save(model, out)
    write_json(out / "scaled_keys.json", [asdict(layer) for layer in scaled])
    print_table(model, tokenizer, scaled, size.test_items)


def save(model: Qwen2ForCausalLM, directory: Path) -> None:
    # The cast is done on a copy, because it also rounds the rotary frequencies, which no file holds.
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(directory)


def load(directory: Path) -> Qwen2ForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.to(DEVICE).eval()


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train or evaluate the bundled demo model.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="train and write the model to this directory")
    action.add_argument("--evaluate", type=Path, metavar="DIR", help="print a model's accuracy")
    parser.add_argument("--smoke", action="store_true", help="a few tiny steps, to test the script")
    arguments = parser.parse_args()
    if arguments.evaluate:
        directory = arguments.evaluate
        entries = json.loads((directory / "scaled_keys.json").read_text())
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        scaled = [ScaledKeys(**entry) for entry in entries]
        print_table(load(directory), tokenizer, scaled, TEST_ITEMS)
    else:
        build(arguments.out, SMOKE if arguments.smoke else Size())


if __name__ == "__main__":
    main()
