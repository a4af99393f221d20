"""Compares kvtune's decoder with transformers, family by family, in float32.

Usage: family_parity.py --tool ORACLE_TOOL [--markdown] [NAME...]

Every case is a tiny random checkpoint that transformers makes: odd sizes, grouped queries, biases,
windows shorter than the prompt, tied and untied heads. Compared are the logits and, of every layer,
keys and values as cached and the attention output before its projection. Exit code 0 when the largest
difference is at most TOLERANCE of the largest value, of each kind and in each layer.
--markdown prints the table of docs/models.md.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

TOLERANCE = 1e-4
TOKENS = 45

SIZES = dict(vocab_size=83, hidden_size=54, intermediate_size=70, num_hidden_layers=4,
             num_attention_heads=6, num_key_value_heads=2, head_dim=10,
             max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
# Families without a head_dim of their own divide the hidden size.
DIVIDED = SIZES | dict(hidden_size=60, head_dim=10)
WINDOW = 7
LLAMA3 = dict(rope_type="llama3", rope_theta=1000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


def longrope(rotated: int) -> dict:
    return dict(rope_type="longrope", rope_theta=10000.0,
                short_factor=[1 + 0.1 * i for i in range(rotated // 2)],
                long_factor=[2 + 0.5 * i for i in range(rotated // 2)])


@dataclasses.dataclass
class Case:
    name: str
    family: str               # as in the table
    config: str               # the class of transformers
    options: dict
    architecture: str = ""    # in config.json in place of the one that transformers writes


def rope(**parameters) -> dict:
    return dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0) | parameters)


CASES = [
    Case("llama", "Llama", "LlamaConfig", SIZES),
    Case("llama-biases-untied", "Llama", "LlamaConfig",
         SIZES | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False)),
    Case("llama-one-kv-head-tied", "Llama", "LlamaConfig",
         SIZES | dict(num_key_value_heads=1, tie_word_embeddings=True)),
    Case("llama3-rope", "Llama", "LlamaConfig", SIZES | rope(**LLAMA3)),
    Case("linear-rope", "Llama", "LlamaConfig", SIZES | rope(rope_type="linear", factor=3.0)),
    Case("dynamic-rope", "Llama", "LlamaConfig", SIZES | rope(rope_type="dynamic", factor=3.0)),
    Case("yarn-rope", "Llama", "LlamaConfig",
         SIZES | rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
    Case("yarn-rope-mscale", "Llama", "LlamaConfig",
         SIZES | rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=8.0,
                      beta_slow=0.5, mscale=1.2, mscale_all_dim=0.7)),
    Case("mistral", "Mistral", "MistralConfig", SIZES | dict(sliding_window=WINDOW)),
    Case("mistral-no-window", "Mistral", "MistralConfig", SIZES | dict(sliding_window=None)),
    Case("qwen2", "Qwen2", "Qwen2Config", DIVIDED | dict(tie_word_embeddings=True)),
    Case("qwen2-windows", "Qwen2", "Qwen2Config",
         DIVIDED | dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2)),
    Case("mimo", "MiMo", "Qwen2Config", DIVIDED, architecture="MiMoForCausalLM"),
    Case("qwen3", "Qwen3", "Qwen3Config", SIZES),
    Case("qwen3-windows-biases", "Qwen3", "Qwen3Config",
         SIZES | dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1, attention_bias=True,
                      tie_word_embeddings=True)),
    Case("gemma2", "Gemma 2", "Gemma2Config",
         SIZES | dict(hidden_size=48, sliding_window=WINDOW, query_pre_attn_scalar=17, attn_logit_softcapping=3.0,
                      final_logit_softcapping=2.0)),
    Case("gemma2-no-caps", "Gemma 2", "Gemma2Config",
         SIZES | dict(hidden_size=48, sliding_window=WINDOW, attn_logit_softcapping=None,
                      final_logit_softcapping=None, tie_word_embeddings=False)),
    Case("gemma3", "Gemma 3 (text)", "Gemma3TextConfig",
         SIZES | dict(hidden_size=48, num_hidden_layers=7, sliding_window=WINDOW, query_pre_attn_scalar=17)),
    Case("gemma3-linear-rope", "Gemma 3 (text)", "Gemma3TextConfig",
         SIZES | dict(hidden_size=48, num_hidden_layers=7, sliding_window=WINDOW, rope_parameters={
             "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
             "sliding_attention": dict(rope_type="default", rope_theta=10000.0)})),
    Case("phi3", "Phi-3, Phi-3.5, Phi-4", "Phi3Config", DIVIDED | dict(sliding_window=WINDOW)),
    Case("phi3-longrope-long", "Phi-3, Phi-3.5, Phi-4", "Phi3Config",
         DIVIDED | dict(original_max_position_embeddings=32, rope_parameters=longrope(10))),
    Case("phi3-longrope-short", "Phi-3, Phi-3.5, Phi-4", "Phi3Config",
         DIVIDED | dict(original_max_position_embeddings=50, rope_parameters=longrope(10))),
    Case("phi4-partial-rotary", "Phi-3, Phi-3.5, Phi-4", "Phi3Config",
         DIVIDED | dict(num_attention_heads=5, num_key_value_heads=1, head_dim=12, tie_word_embeddings=True,
                        original_max_position_embeddings=32,
                        rope_parameters=longrope(6) | dict(partial_rotary_factor=0.5))),
    Case("olmo2", "OLMo 2", "Olmo2Config", DIVIDED),
    Case("olmo2-biases", "OLMo 2", "Olmo2Config", DIVIDED | dict(attention_bias=True)),
    Case("smollm3", "SmolLM 3", "SmolLM3Config", DIVIDED | dict(no_rope_layer_interval=2)),
    Case("smollm3-windows", "SmolLM 3", "SmolLM3Config",
         DIVIDED | dict(no_rope_layers=[1, 0, 0, 1], use_sliding_window=True, sliding_window=WINDOW,
                        tie_word_embeddings=False)),
    Case("mixtral", "Mixtral", "MixtralConfig",
         SIZES | dict(num_local_experts=5, num_experts_per_tok=2, sliding_window=WINDOW)),
    Case("qwen3-moe", "Qwen3 MoE", "Qwen3MoeConfig",
         SIZES | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=26, norm_topk_prob=True,
                      mlp_only_layers=[1])),
    Case("qwen3-moe-raw-weights", "Qwen3 MoE", "Qwen3MoeConfig",
         SIZES | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=26, norm_topk_prob=False,
                      decoder_sparse_step=2, use_sliding_window=True, sliding_window=WINDOW)),
    Case("gpt-oss", "gpt-oss", "GptOssConfig",
         SIZES | dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW, rope_parameters=dict(
             rope_type="yarn", rope_theta=150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
             original_max_position_embeddings=16))),
]


class Recorder:
    """An attention function that keeps what every layer computes and calls the model's own."""

    def __init__(self):
        self.layers = []

    def __call__(self, module, query, key, value, attention_mask, **kwargs):
        eager = sys.modules[type(module).__module__].eager_attention_forward
        output, weights = eager(module, query, key, value, attention_mask, **kwargs)
        self.layers.append((key[0].numpy(), value[0].numpy(), output[0].numpy()))
        return output, weights


def make_checkpoint(case: Case, folder: pathlib.Path) -> None:
    torch.manual_seed(sum(map(ord, case.name)))
    config = getattr(transformers, case.config)(**case.options)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            # Large enough that every part moves the result: caps, norms, biases, sinks, routers.
            tensor.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.3)
    model.save_pretrained(folder)
    if case.architecture:
        path = folder / "config.json"
        stored = json.loads(path.read_text())
        stored["architectures"] = [case.architecture]
        path.write_text(json.dumps(stored))


def reference(case: Case, folder: pathlib.Path, ids: np.ndarray) -> tuple[np.ndarray, list]:
    recorder = Recorder()
    transformers.AttentionInterface.register("recorder", recorder)
    transformers.AttentionMaskInterface.register("recorder", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    model_class = transformers.AutoModelForCausalLM
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="recorder",
                                        experts_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(ids).long()[None], use_cache=False).logits[0].numpy()
    return logits, recorder.layers


def found(tool: str, folder: pathlib.Path, ids: np.ndarray, logits: np.ndarray, layers: list) -> tuple:
    ids_file, out_file = folder / "ids", folder / "states"
    ids_file.write_text(" ".join(map(str, ids)))
    subprocess.run([tool, "states", str(folder), str(ids_file), str(out_file)], check=True)
    values = np.fromfile(out_file, dtype=np.float32)
    shapes = [logits.shape] + [part.shape for layer in layers for part in layer]
    sizes = [int(np.prod(shape)) for shape in shapes]
    if values.size != sum(sizes):
        raise SystemExit(f"family_parity: found {values.size} numbers, expected {sum(sizes)}")
    parts = [part.reshape(shape) for part, shape in zip(np.split(values, np.cumsum(sizes)[:-1]), shapes)]
    return parts[0], [parts[i:i + 3] for i in range(1, len(parts), 3)]


def relative(expected: np.ndarray, actual: np.ndarray) -> float:
    return float(np.abs(expected - actual).max() / np.abs(expected).max())


def compare(case: Case, tool: str) -> list[float]:
    """Largest relative differences of logits, keys, values and attention outputs."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_checkpoint(case, folder)
        ids = np.random.default_rng(0).integers(3, SIZES["vocab_size"], TOKENS)
        logits, layers = reference(case, folder, ids)
        if len(layers) != case.options["num_hidden_layers"]:
            raise SystemExit(f"family_parity: {case.name}: recorded {len(layers)} layers")
        found_logits, found_layers = found(tool, folder, ids, logits, layers)
        return [relative(logits, found_logits)] + [
            max(relative(a[part], b[part]) for a, b in zip(layers, found_layers)) for part in range(3)]


def print_table(results: dict[str, list[float]], cases: list[Case]) -> None:
    print("| family | checkpoints | logits | keys | values | attention |")
    print("|---|---|---|---|---|---|")
    for family in dict.fromkeys(case.family for case in cases):
        of_family = [case.name for case in cases if case.family == family]
        worst = np.max([results[name] for name in of_family], axis=0)
        print(f"| {family} | {len(of_family)} | " + " | ".join(f"{value:.1e}" for value in worst) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("names", nargs="*", help="cases to run; default: all")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    cases = [case for case in CASES if not arguments.names or case.name in arguments.names]
    results = {}
    failed = False
    if not arguments.markdown:
        print(f"{'case':<26}{'logits':>10}{'keys':>10}{'values':>10}{'attention':>10}")
    for case in cases:
        results[case.name] = compare(case, arguments.tool)
        # A NaN compares false: it fails.
        agrees = all(value <= TOLERANCE for value in results[case.name])
        failed |= not agrees
        if not arguments.markdown or not agrees:
            print(f"{case.name:<26}" + "".join(f"{value:>10.1e}" for value in results[case.name]) +
                  ("" if agrees else "  FAILED"), flush=True)
    if arguments.markdown:
        print_table(results, cases)
    else:
        print("FAILED" if failed else "ok", f"(tolerance {TOLERANCE:g} of the largest value)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
