#!/usr/bin/env python3
"""Searches a generated checkpoint that is read layer by layer and measures the memory that this takes.

    scripts/check_streaming.py                    # a checkpoint of 3 GB within 1.5 GB
    scripts/check_streaming.py --gigabytes 0.25 --limit 0.75

It prints the time and the peak of resident memory, in which pages of mapped files count, and fails if the
peak is above the limit. It needs the standard library alone.
"""
import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GIGABYTE = 1e9
LAYERS = 24
HEAD_DIM = 64
VOCAB = 8192
# The high bytes of bfloat16 numbers of both signs from 0.008 to 0.12.
HIGH_BYTES = bytes((0x3C, 0x3D, 0xBC, 0xBD)[i % 4] for i in range(256))


def config_of(gigabytes):
    """The configuration of a Llama whose layers together take about this size in bfloat16."""
    hidden = HEAD_DIM * max(2, round((gigabytes * GIGABYTE / (2 * LAYERS * 14.5)) ** 0.5 / HEAD_DIM))
    heads = hidden // HEAD_DIM
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": LAYERS,
        "num_attention_heads": heads, "num_key_value_heads": heads // 4 if heads % 4 == 0 else 1,
        "head_dim": HEAD_DIM, "vocab_size": VOCAB, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True,
    }


def shards_of(config):
    """Names and shapes of the tensors: one shard holds what is outside the layers, the others six layers each."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    kv_width = config["num_key_value_heads"] * HEAD_DIM
    yield {"model.embed_tokens.weight": (VOCAB, hidden), "model.norm.weight": (hidden,)}
    for first in range(0, LAYERS, 6):
        shard = {}
        for layer in range(first, first + 6):
            prefix = f"model.layers.{layer}."
            shard[prefix + "input_layernorm.weight"] = (hidden,)
            shard[prefix + "post_attention_layernorm.weight"] = (hidden,)
            for name, rows in (("q", hidden), ("k", kv_width), ("v", kv_width), ("o", hidden)):
                shard[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
            shard[prefix + "mlp.gate_proj.weight"] = (wide, hidden)
            shard[prefix + "mlp.up_proj.weight"] = (wide, hidden)
            shard[prefix + "mlp.down_proj.weight"] = (hidden, wide)
        yield shard


def random_block(source, size):
    block = bytearray(size)
    block[0::2] = source.randbytes(size // 2)
    block[1::2] = source.randbytes(size // 2).translate(HIGH_BYTES)
    return bytes(block)


def write_checkpoint(folder, gigabytes):
    """Writes the checkpoint and returns the bytes of all its shards."""
    source = random.Random(0)
    config = config_of(gigabytes)
    (folder / "config.json").write_text(json.dumps(config))
    block = random_block(source, 1 << 23)  # Every tensor repeats it from another place on.
    weight_map, total = {}, 0
    for number, shard in enumerate(shards_of(config)):
        name = f"model-{number}.safetensors"
        header, end = {}, 0
        for tensor, shape in shard.items():
            size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
            end += size
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in header.values():
                size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
                start = 2 * source.randrange(len(block) // 2)
                while size > 0:
                    size -= file.write(block[start:start + size])
                    start = 0
        total += (folder / name).stat().st_size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with open(folder / "prompts.jsonl", "w", encoding="utf-8") as file:
        for _ in range(2):
            file.write(json.dumps({"input_ids": source.choices(range(VOCAB), k=12)}) + "\n")
    return total


def search(kvtune, folder, out, *options, verbose=True):
    """Runs a search. Returns its exit status, its peak of resident memory in bytes, and its seconds. The allocator
    gives freed tensors of more than a megabyte back at once: what it would keep of those that are smaller than 32
    MB differs from run to run by a layer of a small checkpoint."""
    command = [kvtune, "search", "--model", folder, "--prompts", folder / "prompts.jsonl", "--out", out,
               "--held-out", "none", "--population", "8", "--generations", "2", "--no-refine", *options]
    start = time.monotonic()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL,
                          stderr=None if verbose else subprocess.DEVNULL,
                          env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/dev/apps/kvtune/kvtune")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="of the layers (default: 3)")
    parser.add_argument("--limit", type=float, default=1.5, help="gigabytes of resident memory")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvtune_streaming_") as name:
        folder = pathlib.Path(name)
        size = write_checkpoint(folder, arguments.gigabytes)
        status, peak, seconds = search(
            arguments.kvtune, folder, folder / "run", "--weights", "stream", "--max-activation-memory", "100M",
            "--threads", arguments.threads)
    print(f"checkpoint {size / GIGABYTE:.2f} GB, peak of resident memory {peak / GIGABYTE:.2f} GB "
          f"(limit {arguments.limit:.2f}), {seconds:.0f} s")
    if status != 0:
        sys.exit(f"check_streaming: kvtune ended with {status}")
    if peak > arguments.limit * GIGABYTE:
        sys.exit("check_streaming: above the limit")


if __name__ == "__main__":
    main()
