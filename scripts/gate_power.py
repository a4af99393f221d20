#!/usr/bin/env python3
"""Measures the power of the gate: how often it fails on perturbed copies of the demo model.

A copy is the demo model with normal noise on every matrix, as a share of the matrix's own standard
deviation. The gate judges the plan on the copy against the original's baseline (--accept-model). The table
counts failures by the true change of loss, which is that of the plan's mean KL on the held-out prompts; the
gate never sees them. Copies that are only sharded anew or whose tokenizer file is laid out otherwise are
judged without --accept-model, and each failure there is a false alarm.

The script needs torch and safetensors (scripts/requirements/oracles.txt).

  scripts/gate_power.py --kvtune build/release/apps/kvtune/kvtune [--copies 50]
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import safetensors.torch
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "calib_data" / "demo_model"
PLAN = "KV4;0:K8V4;5:K8V4"
SHARES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3)


class Gate:
    """Runs kvtune on one plan, with the original's baseline once `accept` has run."""

    def __init__(self, arguments, folder):
        self.folder = folder
        self.kvtune = str(arguments.kvtune)
        self.max_tokens = arguments.max_tokens
        self.run_options = ["--threads", str(arguments.threads), "--device", "cpu", "-q", "--json"]

    def run(self, *words):
        return subprocess.run([self.kvtune, *map(str, words), *self.run_options], capture_output=True, text=True, check=False)

    def held_out_kl(self, model):
        done = self.run("evaluate", "--model", model, "--plan", PLAN, "--max-tokens", self.max_tokens, "--long-prompts", "cut",
                        "--prompts", ROOT / "calib_data" / "held_out.jsonl")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["plans"][0]["calibration"]["kl_mean"]

    def accept(self):
        self.config = json.loads((ROOT / "configs" / "kvtuner.json").read_text())
        self.config.update(max_tokens=self.max_tokens, plan=PLAN, limits={})
        code, result = self.check(MODEL, "--update-baseline")
        if code == 1:  # There are fewer prompts than in the shipped config. The gate says their hash.
            self.config["prompts_hash"] = re.search(r"found the prompts (\S+)", result["message"])[1]
            code, result = self.check(MODEL, "--update-baseline")
        assert code == 0, result

    def check(self, model, *options):
        file = self.folder / "gate.json"
        file.write_text(json.dumps({**self.config, "model": str(model)}))
        done = self.run("check", "--config", file, "--baseline", self.folder / "baseline.json", *options)
        return done.returncode, json.loads(done.stdout)["configs"][0]


def copy_model(folder, change):
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(MODEL / name, folder)
    tensors = safetensors.torch.load_file(MODEL / "model.safetensors")
    safetensors.torch.save_file(change(tensors), folder / "model.safetensors")
    return folder


def perturbed(folder, share, seed):
    draw = torch.Generator().manual_seed(seed)

    def change(tensors):
        for name, tensor in tensors.items():
            if tensor.ndim == 2:
                values = tensor.float()
                noise = torch.randn(values.shape, generator=draw) * (share * values.std())
                tensors[name] = (values + noise).to(tensor.dtype)
        return tensors
    return copy_model(folder, change)


def equal_copies(folder):
    """Writes copies of the same model, sharded anew and with another layout of their JSON files."""
    tensors = safetensors.torch.load_file(MODEL / "model.safetensors")
    names = sorted(tensors)
    for shards in (1, 2, 5):
        copy = folder / f"equal-{shards}"
        copy.mkdir()
        index = {}
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = {name: tensors[name].contiguous() for name in names[i::shards]}
            safetensors.torch.save_file(part, copy / file)
            index.update(dict.fromkeys(part, file))
        (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        for name in ("config.json", "tokenizer.json"):
            (copy / name).write_text(json.dumps(json.loads((MODEL / name).read_text()), indent=shards))
        yield copy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", type=pathlib.Path, required=True)
    parser.add_argument("--copies", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Gate(arguments, pathlib.Path(name)), arguments.copies)


def measure(gate, copies):
    gate.accept()
    false_alarms = [gate.check(copy)[0] for copy in equal_copies(gate.folder)]
    before = gate.held_out_kl(MODEL)
    rows = {}
    for i in range(copies):
        share = SHARES[i % len(SHARES)]
        model = perturbed(gate.folder / f"copy-{i}", share, seed=i)
        code, result = gate.check(model, "--accept-model")
        assert code in (0, 4), result
        rows.setdefault(share, []).append((gate.held_out_kl(model) - before, code == 4))
        shutil.rmtree(model)
    print(f"Equal copies: {len(false_alarms)}, false alarms: {sum(code != 0 for code in false_alarms)}.")
    print(f"Mean KL of the plan on the held-out prompts, original: {before:.3g}.\n")
    show("noise", {f"{100 * share:g} %": judged for share, judged in sorted(rows.items())})
    ranked = sorted(judged for group in rows.values() for judged in group)
    show("copies by true change", {
        f"fifth {i + 1}": fifth for i in range(5)
        if (fifth := ranked[len(ranked) * i // 5:len(ranked) * (i + 1) // 5])})


def show(what, groups):
    """Prints a row for each group of (true change, did the gate fail)."""
    print(f"| {what} | copies | true change of the mean KL: smallest | median | largest | gates that failed |\n"
          "|---|--:|--:|--:|--:|--:|")
    for name, judged in groups.items():
        changes = sorted(change for change, _ in judged)
        print(f"| {name} | {len(judged)} | {changes[0]:+.2g} | {changes[len(changes) // 2]:+.2g} | {changes[-1]:+.2g} | "
              f"{sum(failed for _, failed in judged)} |")
    print()


if __name__ == "__main__":
    main()
