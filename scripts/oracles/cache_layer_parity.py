"""Compares generated tokens with transformers and its own quantized cache layers (HQQ, quanto).

Usage: cache_layer_parity.py --tool ORACLE_TOOL MODEL_DIR...

Prompts are stretches of 300 tokens of the model's calibration texts (calibration.jsonl in its folder, or the bundled
ones). transformers quantizes what its first call brings and then whenever its residual window is full. kvtune's groups
begin with the prompt, so the first call brings one window, within which a query reads exact keys in both; all other
tokens come one by one. Both run in float32 and decode greedily.

Where two texts differ, they do so from a near tie on: the two tokens have to be within TIE of each other in
transformers' logits. transformers quantizes again what it had quantized, each time a window is full, and HQQ improves
the zeros of all rows of a call together (docs/targets.md), so the values of the two are the same but for a few levels.
A text that differs by more is generated once more in transformers, by itself and over the same layers but for one
thing: what is quantized stays as it is. That text has to be the same but for a near tie ("kept").

A code of 2 bits whose value lies in the middle between two levels changes a text for good, and which of them it gets is
decided by the rounding of float32. A text that differs still is therefore generated DRAWS times in transformers, each
time with every weight moved to a neighbouring float32. If at least half of these texts are the same as kvtune's but for
a near tie, it is transformers' first text that rounding has made ("rounding").
Exit code 0 when nothing else differs.
"""

import argparse
import collections
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers.cache_utils import Cache, DynamicLayer, HQQQuantizedLayer, QuantoQuantizedLayer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIE = 5e-3  # of the largest logit at the first token that differs
DRAWS = 10
OUTCOMES = ("equal", "near ties", "kept", "rounding", "differ")
WINDOW, GROUP, PROMPT_TOKENS = 128, 64, 300
FORMATS = {"exact": None, "hqq_int8": (HQQQuantizedLayer, 8, 1), "hqq_int4": (HQQQuantizedLayer, 4, 1),
           "hqq_int2": (HQQQuantizedLayer, 2, 1), "quanto_int4": (QuantoQuantizedLayer, 4, 0),
           "quanto_int2": (QuantoQuantizedLayer, 2, 0)}


class KeptLayer(DynamicLayer):
    """What a quantized layer of transformers returns, if it quantized every window once."""

    def __init__(self, quantizing):
        super().__init__()
        self.quantizing, self.tokens, self.kept = quantizing, 0, None

    def update(self, keys, values, *arguments, **named):
        self.tokens += keys.shape[-2]
        if self.kept is None:
            self.quantizing.lazy_initialization(keys, values)
            self.kept, self.newest = self.stored(keys, values), [keys[..., :0, :], values[..., :0, :]]
            return keys, values
        self.newest = [torch.cat(pair, -2) for pair in zip(self.newest, (keys, values))]
        returned = [torch.cat(pair, -2) for pair in zip(self.kept, self.newest)]
        if self.newest[0].shape[-2] >= WINDOW:
            self.kept = [torch.cat(pair, -2) for pair in zip(self.kept, self.stored(*self.newest))]
            self.newest = [x[..., :0, :] for x in self.newest]
        return tuple(returned)

    def stored(self, keys, values):
        layer = self.quantizing
        return [layer._dequantize(layer._quantize(x.contiguous(), axis=axis))
                for x, axis in ((keys, layer.axis_key), (values, layer.axis_value))]

    def get_seq_length(self) -> int:
        return self.tokens


def make_layer(name: str, is_kept: bool):
    if FORMATS[name] is None:
        return DynamicLayer()
    kind, bits, axis = FORMATS[name]
    layer = kind(nbits=bits, axis_key=axis, axis_value=axis, q_group_size=GROUP, residual_length=WINDOW)
    return KeptLayer(layer) if is_kept else layer


@torch.inference_mode()
def reference(model, prompts: np.ndarray, name: str, new_tokens: int,
              is_kept: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The generated tokens, [prompts, new_tokens], and the logits from which each was chosen."""
    cache = Cache(layers=[make_layer(name, is_kept) for _ in range(model.config.num_hidden_layers)])
    ids = torch.from_numpy(prompts).long()
    step = lambda tokens: model(tokens, past_key_values=cache).logits[:, -1]
    logits = step(ids[:, :WINDOW])
    for i in range(WINDOW, ids.shape[1]):
        logits = step(ids[:, i:i + 1])
    all_logits, tokens = [], []
    for _ in range(new_tokens):
        all_logits.append(logits.numpy())
        tokens.append(logits.argmax(-1, keepdim=True))
        logits = step(tokens[-1])
    return torch.cat(tokens, 1).numpy(), np.stack(all_logits, 1)


def kvtune(tool: str, model_directory: pathlib.Path, prompts: np.ndarray, formats: list[str], new_tokens: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        prompts_file, out_file = pathlib.Path(folder, "prompts"), pathlib.Path(folder, "tokens")
        prompts_file.write_text("".join(" ".join(map(str, ids)) + "\n" for ids in prompts))
        subprocess.run([tool, "generate", str(model_directory), str(prompts_file), " ".join(formats), str(new_tokens),
                        str(out_file)], check=True)
        lines = [list(map(int, line.split())) for line in out_file.read_text().splitlines()]
    return {name: lines[i * len(prompts):(i + 1) * len(prompts)] for i, name in enumerate(formats)}


def is_near(logits: np.ndarray, expected: np.ndarray, tokens: list[int]) -> bool:
    """Whether the texts are equal up to a near tie. logits: those of each expected token"""
    differ = [at for at, (a, b) in enumerate(zip(expected, tokens)) if a != b]
    if not differ:
        return len(tokens) == len(expected)
    at = logits[differ[0]]
    return bool(at.max() - at[tokens[differ[0]]] <= TIE * np.abs(at).max())


@torch.no_grad()
def moved(model, seed: int):
    """A copy of the model in which every weight is a neighbouring float32, the greater or the smaller one by chance."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model)
    for weight in model.parameters():
        is_up = torch.rand(weight.shape, generator=generator) < 0.5
        weight.copy_(torch.nextafter(weight, torch.where(is_up, torch.inf, -torch.inf)))
    return model


def share_of_draws(model, prompt: np.ndarray, name: str, tokens: list[int]) -> float:
    """In how many of the DRAWS transformers writes these tokens, but for a near tie. prompt: [1, PROMPT_TOKENS]"""
    drawn = (reference(moved(model, seed), prompt, name, len(tokens)) for seed in range(DRAWS))
    return sum(is_near(logits[0], expected[0], tokens) for expected, logits in drawn) / DRAWS


def outcome(model, prompt: np.ndarray, name: str, tokens: list[int], expected: np.ndarray, logits: np.ndarray) -> str:
    """Which of OUTCOMES kvtune's tokens are. prompt: [1, PROMPT_TOKENS]; expected, logits: of transformers"""
    if list(expected) == tokens:
        return "equal"
    if is_near(logits, expected, tokens):
        return "near ties"
    own, own_logits = reference(model, prompt, name, len(expected), is_kept=True)
    if is_near(own_logits[0], own[0], tokens):
        return "kept"
    share = share_of_draws(model, prompt, name, tokens)
    print(f"  {name}: one text is kvtune's in {share:.0%} of {DRAWS} draws")
    return "rounding" if share >= 0.5 else "differ"


def prompts_of(model_directory: pathlib.Path, count: int) -> np.ndarray:
    own = model_directory / "calibration.jsonl"
    file = own if own.exists() else ROOT / "calib_data/calibration.jsonl"
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(model_directory / "tokenizer.json"))
    ids = [i for line in file.read_text().splitlines() for i in tokenizer(json.loads(line)["text"])["input_ids"]]
    starts = np.linspace(0, len(ids) - PROMPT_TOKENS, count).astype(int)
    return np.array([ids[start:start + PROMPT_TOKENS] for start in starts])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--new-tokens", type=int, default=100, help="enough for the cache to fill a window")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    failed = False
    print(f"{'model':<16}{'format':<14}{'texts':>6}" + "".join(f"{each:>10}" for each in OUTCOMES))
    for model_directory in arguments.models:
        if not model_directory.is_dir():
            print(f"{model_directory.name:<16}skipped: found no {model_directory}")
            continue
        model = transformers.AutoModelForCausalLM.from_pretrained(model_directory, dtype=torch.float32).eval()
        prompts = prompts_of(model_directory, arguments.prompts)
        found = kvtune(arguments.tool, model_directory, prompts, arguments.formats, arguments.new_tokens)
        for name in arguments.formats:
            expected, logits = reference(model, prompts, name, arguments.new_tokens)
            found_outcomes = collections.Counter(
                outcome(model, prompts[i:i + 1], name, tokens, expected[i], logits[i])
                for i, tokens in enumerate(found[name]))
            failed |= found_outcomes["differ"] > 0
            print(f"{model_directory.name:<16}{name:<14}{len(prompts):>6}"
                  + "".join(f"{found_outcomes[each]:>10}" for each in OUTCOMES), flush=True)
    print("FAILED" if failed else "ok")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
