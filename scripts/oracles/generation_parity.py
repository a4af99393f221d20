"""Compares generated tokens with transformers, whose cache quantizes keys and values on every update.

Usage: generation_parity.py --tool ORACLE_TOOL MODEL_DIR...

transformers.generate decodes greedily over a DynamicCache that gives back what KVTuner's asymmetric integers, written
out here in PyTorch, make of each token's keys and values: prompt and generated tokens alike, which is what
`--prefill quantized` means. Both run in float32. Rounding may turn a near tie, so that two texts differ from one token
on: there the two likeliest tokens have to be within TIE of each other. Exit code 0 when nothing else differs.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

TIE = 2e-3  # of the logits at the first token that differs
PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 6, 120, 40
PAIRS = {"KV8": (8, 8), "K8V4": (8, 4), "KV4": (4, 4), "K4V2": (4, 2), "exact": (16, 16)}


def quantized(x: torch.Tensor, bits: int) -> torch.Tensor:
    """KVTuner's asymmetric integers, one row for each token of each head. x: [batch, heads, tokens, head_dim]"""
    if bits == 16:
        return x
    q_max, q_min = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    scale = (high - low).clamp(min=1e-5) / (q_max - q_min)
    zero = (low / scale).round() - q_min
    return ((x / scale - zero).round().clamp(q_min, q_max) + zero) * scale


class QuantizingCache(transformers.DynamicCache):
    """Quantizes what it is given and gives back what it holds."""

    def __init__(self, key_bits: int, value_bits: int):
        super().__init__()
        self.key_bits, self.value_bits = key_bits, value_bits

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        return super().update(quantized(key_states, self.key_bits), quantized(value_states, self.value_bits), layer_idx,
                              *args, **kwargs)


def reference(model, prompt: np.ndarray, bits: tuple[int, int]) -> tuple[list[int], np.ndarray]:
    """The generated tokens, and the logits from which each was chosen: [tokens, vocab]."""
    ids = torch.from_numpy(prompt).long()[None]
    with torch.no_grad():
        result = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS,
                                min_new_tokens=NEW_TOKENS, past_key_values=QuantizingCache(*bits), eos_token_id=None,
                                pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    return result.sequences[0, len(prompt):].tolist(), torch.cat(result.logits).numpy()


def kvtune(tool: str, model_directory: pathlib.Path, prompts: list[np.ndarray]) -> list[list[list[int]]]:
    """Tokens by pair and prompt."""
    with tempfile.TemporaryDirectory() as folder:
        prompts_file, out_file = pathlib.Path(folder, "prompts"), pathlib.Path(folder, "tokens")
        prompts_file.write_text("".join(" ".join(map(str, ids)) + "\n" for ids in prompts))
        subprocess.run([tool, "generate", str(model_directory), str(prompts_file), " ".join(PAIRS), str(NEW_TOKENS),
                        str(out_file)], check=True)
        lines = [list(map(int, line.split())) for line in out_file.read_text().splitlines()]
    return [lines[i * len(prompts):(i + 1) * len(prompts)] for i in range(len(PAIRS))]


def prompts_of(vocab: int) -> list[np.ndarray]:
    """Random tokens, of lengths that differ."""
    random = np.random.default_rng(0)
    return [random.integers(3, vocab, PROMPT_TOKENS - 17 * i) for i in range(PROMPTS)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    failed = False
    print(f"{'model':<16}{'pair':<8}{'texts':>6}{'equal':>7}{'near ties':>11}{'differ':>8}")
    for model_directory in arguments.models:
        if not model_directory.is_dir():
            print(f"{model_directory.name:<16}skipped: found no {model_directory}")
            continue
        model = transformers.AutoModelForCausalLM.from_pretrained(
            model_directory, dtype=torch.float32, attn_implementation="eager")
        prompts = prompts_of(model.config.vocab_size)
        found = kvtune(arguments.tool, model_directory, prompts)
        for pair, of_pair in zip(PAIRS, found):
            equal = ties = 0
            for prompt, tokens in zip(prompts, of_pair):
                expected, logits = reference(model, prompt, PAIRS[pair])
                differ = [i for i, (a, b) in enumerate(zip(expected, tokens)) if a != b]
                if not differ and len(tokens) == NEW_TOKENS:
                    equal += 1
                elif differ:
                    at = differ[0]
                    ties += int(logits[at].max() - logits[at, tokens[at]] <= TIE * np.abs(logits[at]).max())
            wrong = len(prompts) - equal - ties
            failed |= wrong > 0
            print(f"{model_directory.name:<16}{pair:<8}{len(prompts):>6}{equal:>7}{ties:>11}{wrong:>8}")
    print("FAILED" if failed else "ok")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
