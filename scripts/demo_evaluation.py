"""Measures the accuracy of the demo model when its KV cache is quantized.

The items are the documents of a split. A plan gives each layer's key and value bits. The table compares
uniform plans with one that spares the layers whose keys were scaled (see `scale_keys`), and shows that
without the scaling there would be nothing to spare.

Needs torch, transformers and tokenizers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from demo_text import KINDS, Document, documents
from tokenizers import Tokenizer
from transformers import DynamicCache, Qwen2ForCausalLM

SEED = 1  # the seed of the items
LAYERS, HEAD_DIM = 8, 64
EXACT_BITS = 16
CHECKED_ITEMS = 16  # items on which greedy generation is compared with the one-pass verdict


# --- quantized cache ------------------------------------------------------------------------------


def fake_quantize(x: torch.Tensor, bits: int) -> torch.Tensor:
    """KVTuner's asymmetric quantizer. A row is what one KV head holds for one token."""
    if bits >= EXACT_BITS:
        return x
    q_max, q_min = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    scale = (high - low).clamp(min=1e-5) / (q_max - q_min)
    zero = torch.round(low / scale) - q_min
    return (torch.round(x / scale - zero).clamp(q_min, q_max) + zero) * scale


Plan = list[tuple[int, int]]  # (key bits, value bits) of every layer
UNIFORM = {
    "exact": (EXACT_BITS, EXACT_BITS),
    "KV8": (8, 8),
    "K8V4": (8, 4),
    "K4V8": (4, 8),
    "KV4": (4, 4),
    "K4V2": (4, 2),
    "KV2": (2, 2),
}


def uniform(name: str) -> Plan:
    return [UNIFORM[name]] * LAYERS


def fragile_plan(layers: Sequence[int]) -> Plan:
    """K4V2 everywhere but in the fragile layers, which get K8V4."""
    return [UNIFORM["K8V4" if layer in layers else "K4V2"] for layer in range(LAYERS)]


class QuantizedCache(DynamicCache):
    """Stores and returns what a per-token quantized cache would hold, prompt and decode alike."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        key_bits, value_bits = self._plan[layer_idx]
        keys, values = fake_quantize(key_states, key_bits), fake_quantize(value_states, value_bits)
        return super().update(keys, values, layer_idx, *args, **kwargs)


# --- accuracy -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    kind: str
    prompt_ids: list[int]
    completion_ids: list[int]


def make_items(tokenizer: Tokenizer, split: str, count: int) -> list[Item]:
    def item(document: Document) -> Item:
        prompt_ids = tokenizer.encode(document.prompt).ids
        ids = tokenizer.encode(document.text).ids
        assert ids[: len(prompt_ids)] == prompt_ids
        return Item(document.kind, prompt_ids, ids[len(prompt_ids) :])

    return [item(document) for document in itertools.islice(documents(split, SEED), count)]


@dataclass(frozen=True)
class Result:
    accuracy: dict[str, float]  # of each kind, and "all"
    nll: float  # of the completions, nats per token


@torch.no_grad()
def evaluate(model: Qwen2ForCausalLM, items: list[Item], plan: Plan) -> Result:
    """Finds by one pass how many items greedy generation would answer exactly.

    Greedy generation writes the expected completion if and only if the expected token is the most
    likely one at each of its positions, given the prompt and the completion so far. Each cache
    entry is quantized by itself, so that one pass over the whole text sees what decoding token by
    token would see. `print_table` compares with real generation.
    """
    correct: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    loss = token_count = 0.0
    ordered = sorted(items, key=lambda item: len(item.prompt_ids) + len(item.completion_ids))
    batch_size = 128 if model.device.type == "cuda" else 8
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        rows = [torch.tensor(item.prompt_ids + item.completion_ids) for item in batch]
        # Padding is on the right, where no position of the text looks.
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
        logits = model(input_ids=ids, past_key_values=QuantizedCache(plan)).logits
        log_probs = logits[:, :-1].float().log_softmax(-1)
        token_loss = -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
        hit = log_probs.argmax(-1) == ids[:, 1:]
        first = torch.tensor([[len(item.prompt_ids) - 1] for item in batch], device=ids.device)
        last = torch.tensor([[len(row) - 1] for row in rows], device=ids.device)
        position = torch.arange(ids.shape[1] - 1, device=ids.device)
        in_completion = (position >= first) & (position < last)
        loss += (token_loss * in_completion).sum().item()
        token_count += in_completion.sum().item()
        for item, exact in zip(batch, (hit | ~in_completion).all(-1).tolist()):
            correct[item.kind].append(exact)
    accuracy = {kind: sum(hits) / max(1, len(hits)) for kind, hits in correct.items()}
    accuracy["all"] = sum(map(sum, correct.values())) / len(items)
    return Result(accuracy, loss / token_count)


@torch.no_grad()
def generate(model: Qwen2ForCausalLM, item: Item, plan: Plan) -> list[int]:
    """Generates greedily, token by token, as many tokens as the expected completion has."""
    cache, ids, written = QuantizedCache(plan), item.prompt_ids, []
    while len(written) < len(item.completion_ids):
        logits = model(
            input_ids=torch.tensor([ids], device=model.device), past_key_values=cache
        ).logits
        ids = [int(logits[0, -1].argmax())]
        written += ids
    return written


# --- scaled keys ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScaledKeys:
    """The keys that are scaled in a layer: one rotary pair of each KV head."""

    layer: int
    rotary_pairs: list[int]
    factor: float

    def inverse(self) -> ScaledKeys:
        return ScaledKeys(self.layer, self.rotary_pairs, 1 / self.factor)


@torch.no_grad()
def scale_keys(model: Qwen2ForCausalLM, scaled: Sequence[ScaledKeys]) -> None:
    """Multiplies one rotary pair of each KV head's keys, and divides the queries' by as much.

    The scores stay what they were: both channels of a pair turn together, so that scaling commutes
    with the rotary embedding, and a power of two changes no bit but the exponent. The rows to be
    quantized get a wider range, however, so that all other channels lose resolution.
    """
    for layer in scaled:
        attention = model.model.layers[layer.layer].self_attn
        queries = attention.q_proj.out_features // attention.k_proj.out_features  # of a KV head
        for head, pair in enumerate(layer.rotary_pairs):
            for channel in (pair, pair + HEAD_DIM // 2):
                attention.k_proj.weight[head * HEAD_DIM + channel] *= layer.factor
                attention.k_proj.bias[head * HEAD_DIM + channel] *= layer.factor
                for query in range(head * queries, (head + 1) * queries):
                    attention.q_proj.weight[query * HEAD_DIM + channel] /= layer.factor
                    attention.q_proj.bias[query * HEAD_DIM + channel] /= layer.factor


@contextmanager
def scaling(model: Qwen2ForCausalLM, scaled: Sequence[ScaledKeys]) -> Iterator[None]:
    """Scales the keys while the context lasts."""
    scale_keys(model, scaled)
    yield
    scale_keys(model, [layer.inverse() for layer in scaled])


# --- table ----------------------------------------------------------------------------------------


@torch.no_grad()
def print_table(
    model: Qwen2ForCausalLM, tokenizer: Tokenizer, scaled: list[ScaledKeys], item_count: int
) -> None:
    """Prints accuracy and loss on the test split, and checks what the figures rest on."""
    items = make_items(tokenizer, "test", item_count)
    print(f"{item_count} test items, exact match in percent; nll of the answers, nats per token\n")
    print("| plan | mean bits | " + " | ".join(KINDS) + " | all | nll |")
    print("|---|---|" + "---|" * (len(KINDS) + 2))

    def print_row(name: str, plan: Plan) -> None:
        result = evaluate(model, items, plan)
        bits = sum(map(sum, plan)) / (2 * LAYERS)
        shown = " | ".join(f"{100 * result.accuracy[kind]:.1f}" for kind in (*KINDS, "all"))
        print(f"| {name} | {bits:g} | {shown} | {result.nll:.4f} |", flush=True)

    for name in UNIFORM:
        print_row(name, uniform(name))
    layers = [layer.layer for layer in scaled]
    print_row("K4V2;" + ";".join(f"{layer}:K8V4" for layer in layers), fragile_plan(layers))
    ids = torch.tensor([items[0].prompt_ids], device=model.device)
    logits = model(input_ids=ids).logits
    with scaling(model, [layer.inverse() for layer in scaled]):
        print_row("KV4, scaling undone", uniform("KV4"))
        print_row("K4V2, scaling undone", uniform("K4V2"))
        difference = (model(input_ids=ids).logits - logits).abs().max().item()
    print(f"\nUndoing the scaling changes no logit of the first item by more than {difference:g}.")

    checked = items[:CHECKED_ITEMS]
    same = sum(
        (generate(model, item, uniform("KV4")) == item.completion_ids)
        == (evaluate(model, [item], uniform("KV4")).accuracy["all"] == 1)
        for item in checked
    )
    print(f"Generated token by token with KV4: {same} of {len(checked)} verdicts are the same.")
