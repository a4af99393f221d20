#!/usr/bin/env python3
"""How long `kvtune inspect` takes to read the names of a checkpoint, by their number.

    scripts/bench_names.py --kvtune build/dev/apps/kvtune/kvtune

Writes checkpoints with more and more tensors, once as the header of one file and once as an index over two, and
prints the seconds that each takes. The time should grow as the number does.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "cli"))
import tiny_model  # noqa: E402


def names(count):
    return [f"model.layers.{i % 61}.mlp.experts.{i // 61:06}.up_proj.weight_scale_inv" for i in range(count)]


def write_header(folder, count):
    """One file that also has `count` tensors of one byte."""
    tiny_model.write_model(folder)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    length, = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    for i, name in enumerate(names(count)):
        header[name] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data) + i, len(data) + i + 1]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data + bytes(count))


def write_index(folder, count):
    """Two shards and an index that also names `count` tensors."""
    tiny_model.write_model(folder, shards=2)
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"] |= {name: "model-00001-of-00002.safetensors" for name in names(count)}
    file.write_text(json.dumps(index))


def seconds(kvtune, folder):
    start = time.monotonic()
    subprocess.run([kvtune, "inspect", "--model", folder, "-q"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    arguments = parser.parse_args()
    print(f"{'names':>8} {'header, s':>10} {'index, s':>10}")
    for count in arguments.counts:
        taken = []
        for write in (write_header, write_index):
            with tempfile.TemporaryDirectory(prefix="kvtune_names_") as folder:
                write(pathlib.Path(folder), count)
                taken.append(seconds(arguments.kvtune, pathlib.Path(folder)))
        print(f"{count:>8} {taken[0]:>10.2f} {taken[1]:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
