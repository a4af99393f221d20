"""Compares `kvtune inspect` with transformers on published config.json files.

Usage: inspect_parity.py --kvtune KVTUNE --configs DIR [--markdown]

DIR holds one directory with a config.json a model. For each, layer count, heads, head_dim, sliding
windows, parameters and bytes of the KV cache are computed from transformers' configuration class, its
cache and its model without weights; or kvtune has to refuse it for the reason below. Exit code 0 when
all agree. --markdown prints the table of docs/models.md.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import torch
import transformers

CONTEXTS = (8192, 32768, 131072)
# nominal bits of the target kvtuner's formats; each row of head_dim elements has 32 bits of scale and zero
BITS = (8, 4, 2)
REFUSED = {
    "DeciLMForCausalLM": "no attention",
    "DeepseekV3ForCausalLM": "multi-head latent attention",
    "GPT2LMHeadModel": "learned positions",
    "Gemma4ForConditionalGeneration": "share the keys and values",
    "InternLM2ForCausalLM": "names and an order of their own",
    "PhiForCausalLM": "attention beside the MLP",
    "Qwen3_5ForConditionalGeneration": "linear attention",
}
# Not in transformers; the published code derives it from Qwen2.
STAND_INS = {"MiMoForCausalLM": transformers.Qwen2Config}


def read_config(path: pathlib.Path):
    stored = json.loads(path.read_text())
    stand_in = STAND_INS.get(stored["architectures"][0])
    return stand_in(**stored) if stand_in else transformers.AutoConfig.from_pretrained(path.parent)


def windows_of(config) -> list[int]:
    """Tokens that each layer's cache keeps, 0 for all, as transformers' own cache is laid out."""
    layers = transformers.DynamicCache(config=config).layers
    windows = [getattr(layer, "sliding_window", None) or 0 for layer in layers]
    if not layers:  # a cache of full layers grows as it is used
        windows = [0] * config.num_hidden_layers
    # One that the context never fills is none.
    return [window if window < config.max_position_embeddings else 0 for window in windows]


def cache_bytes(config, head_dim: int, windows: list[int], bits: tuple[float, float], tokens: int) -> float:
    held = sum(min(tokens, window) if window else tokens for window in windows)
    return held * config.num_key_value_heads * head_dim * sum(bits) / 8


def expected(path: pathlib.Path) -> dict:
    config = read_config(path)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    windows = windows_of(config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    pairs = {"exact": (16, 16)}
    for key in BITS:
        for value in BITS:
            name = f"KV{key}" if key == value else f"K{key}V{value}"
            pairs[name] = (key + 32 / head_dim, value + 32 / head_dim)
    return {
        "layer_count": config.num_hidden_layers,
        "query_heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": head_dim,
        "window_tokens": windows,
        "parameters": model.num_parameters(),
        "kv_cache": {name: {str(tokens): cache_bytes(config, head_dim, windows, bits, tokens) for tokens in CONTEXTS}
                     for name, bits in pairs.items()},
    }


def inspect(kvtune: str, path: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([kvtune, "inspect", "--model", str(path), "--device", "cpu", "--json"],
                          capture_output=True, text=True)


def differences(path: pathlib.Path, result: subprocess.CompletedProcess, wanted: dict) -> list[str]:
    if result.returncode != 0:
        return [result.stderr.strip()]
    found = json.loads(result.stdout)
    found["kv_cache"] = {cache["name"]: cache["bytes_at_context"] for cache in found["kv_cache"]}
    wrong = [f"{key}: found {found[key]}, expected {wanted[key]}"
             for key in wanted if key != "kv_cache" and found[key] != wanted[key]]
    for name, by_context in wanted["kv_cache"].items():
        for tokens, size in by_context.items():
            value = found["kv_cache"].get(name, {}).get(tokens)
            if value is None or abs(value - size) > 1e-9 * size:
                wrong.append(f"{name} at {tokens}: found {value}, expected {size}")
    return wrong


def window_text(windows: list[int]) -> str:
    sliding = [window for window in windows if window]
    return f"{sliding[0]} in {len(sliding)}" if sliding else "-"


def row(name: str, wanted: dict) -> str:
    caches = wanted["kv_cache"]
    gib = [f"{caches['exact'][str(tokens)] / 2**30:.3g}" for tokens in CONTEXTS]
    per_token = caches["exact"]["8192"] / 8192
    return (f"| {name} | {wanted['layer_count']} | {wanted['query_heads']}/{wanted['kv_heads']} | "
            f"{wanted['head_dim']} | {window_text(wanted['window_tokens'])} | {wanted['parameters'] / 1e9:.2f} B | "
            f"{per_token:.0f} | {' / '.join(gib)} | {caches['KV4']['131072'] / 2**30:.3g} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--configs", required=True, type=pathlib.Path)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    if not arguments.configs.is_dir():
        print(f"inspect_parity: skipped: found no {arguments.configs}")
        return 0
    transformers.logging.set_verbosity_error()
    paths = sorted(arguments.configs.glob("*/config.json"), key=lambda path: path.parent.name.lower())
    rows, refusals, failed = [], [], 0
    for path in paths:
        architecture = json.loads(path.read_text())["architectures"][0]
        result = inspect(arguments.kvtune, path)
        if architecture in REFUSED:
            ok = result.returncode == 1 and architecture in result.stderr and REFUSED[architecture] in result.stderr
            wrong = [] if ok else [f"found {result.stderr.strip() or 'no refusal'}, expected {REFUSED[architecture]}"]
            reason = result.stderr.strip().split("does not run: ")[-1]
            refusals.append(f"| {path.parent.name} | {architecture} | {reason} |")
        else:
            wanted = expected(path)
            wrong = differences(path, result, wanted)
            rows.append(row(path.parent.name, wanted))
        failed += bool(wrong)
        for line in wrong:
            print(f"{path.parent.name}: {line}")
    if arguments.markdown:
        print("| model | layers | heads (query/KV) | head_dim | window | parameters | bytes a token at 8k | "
              "GiB at 8k / 32k / 128k | GiB at 128k with KV4 |\n|---|---|---|---|---|---|---|---|---|")
        print("\n".join(rows))
        print("\n| model | architecture | why not |\n|---|---|---|")
        print("\n".join(refusals))
    else:
        print("FAILED" if failed else "ok", f"({len(rows)} configurations read, {len(refusals)} refused, {failed} wrong)")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
