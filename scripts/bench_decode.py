#!/usr/bin/env python3
"""Times decode steps over packed caches on a GPU, beside what else decodes there, in one run.

The shape is that of Llama-3.1-8B. `kvtune bench` times the attention of every pair and the steps of whole plans;
beside it stands torch's attention over a bfloat16 cache (SDPA with its cuDNN and its flash kernels), and that of
FlashInfer over bfloat16 and FP8 where it is installed. Everything is measured in the same run, and shares are of the copy bandwidth that
`kvtune bench` measures in it. Figures of other systems that are quoted in docs/benchmarks.md come from their papers.

The result is printed as tables in Markdown and written to --out as JSON.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import subprocess
import tempfile

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
          "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
          "num_hidden_layers": 32, "vocab_size": 128256, "rope_theta": 500000.0, "rms_norm_eps": 1e-5,
          "max_position_embeddings": 131072, "hidden_act": "silu", "tie_word_embeddings": False}
ATTENTION = [(32, 8192), (8, 32768)]
# 24 layers of 3 nominal bits and 8 of 4: 3.25 bits, as KVTuner's plans for this model have.
PLAN = "K4V2;0-7:KV4"
STEP_CONTEXT = 8192
# Share of the copy bandwidth, and times the speed of torch's bfloat16 attention.
GOALS = {"KV8": (0.85, 1.6), "KV4": (0.70, 2.6), "K4V2": (0.60, 2.9), "KV2": (0.45, 3.2)}


def bench(kvtune: str, config: pathlib.Path, *arguments: str) -> dict:
    command = [kvtune, "bench", str(config), "--synthetic", "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def milliseconds(work, repeats: int = 7, replays: int = 20) -> float:
    import torch

    for _ in range(5):
        work()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(replays):
            work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / replays)
    return statistics.median(times)


@dataclasses.dataclass
class Peer:
    """Another system's attention over a cache of its own."""

    name: str
    cache: str
    milliseconds: float


def torch_peers(batch: int, context: int) -> list[Peer]:
    import torch
    import torch.nn.functional as functional
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def random(*shape: int):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    query, key, value = random(batch, 32, 1, 128), random(batch, 8, context, 128), random(batch, 8, context, 128)
    found = []
    for name, backend in {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}.items():
        with sdpa_kernel(backend):
            time = milliseconds(lambda: functional.scaled_dot_product_attention(query, key, value, enable_gqa=True))
        found.append(Peer(f"torch SDPA, {name}", "bf16", time))
    return found


def flashinfer_peers(batch: int, context: int) -> list[Peer]:
    """FlashInfer compiles its kernels when they are first asked for, which needs nvcc and a minute."""
    try:
        import flashinfer
    except ImportError:
        return []
    import torch

    tokens_of_page = 16
    pages = context // tokens_of_page
    indices = {"device": "cuda", "dtype": torch.int32}
    query = torch.randn(batch, 32, 128, device="cuda", dtype=torch.bfloat16)
    cache = torch.randn(batch * pages, 2, 8, tokens_of_page, 128, device="cuda", dtype=torch.bfloat16)
    found = []
    for cache_name, kind in {"bf16": torch.bfloat16, "fp8_e4m3": torch.float8_e4m3fn}.items():
        for name, on_tensor_cores in {"": False, ", tensor cores": True}.items():
            wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
                torch.empty(128 << 20, dtype=torch.uint8, device="cuda"), "HND", use_tensor_cores=on_tensor_cores)
            wrapper.plan(torch.arange(0, (batch + 1) * pages, pages, **indices), torch.arange(batch * pages, **indices),
                         torch.full((batch,), tokens_of_page, **indices), 32, 8, 128, tokens_of_page,
                         q_data_type=torch.bfloat16, kv_data_type=kind)
            stored = cache.to(kind)
            time = milliseconds(lambda: wrapper.run(query, stored))
            found.append(Peer(f"FlashInfer {flashinfer.__version__}{name}", cache_name, time))
    return found


def attention_rows(table: dict, setting: dict, others: list[Peer]) -> list[str]:
    copy = table["copy_bytes_per_second"]
    best = min(peer.milliseconds for peer in others if peer.name.startswith("torch"))
    bytes_of_bf16 = next(pair["bytes"] for pair in setting["pairs"] if pair["pair"] == "exact")
    # A cache of FP8 has no scales beside its values.
    bytes_of = {"bf16": bytes_of_bf16, "fp8_e4m3": bytes_of_bf16 / 2}
    rows = [f"| {peer.name} | {peer.cache} | {1000 * peer.milliseconds:.1f} | "
            f"{bytes_of[peer.cache] / peer.milliseconds * 1000 / copy:.0%} | {best / peer.milliseconds:.2f} | |"
            for peer in others]
    for pair in setting["pairs"]:
        time = pair["attention_ms"]["median"]
        share, speed = pair["bytes"] / time * 1000 / copy, best / time
        goal = GOALS.get(pair["pair"])
        verdict = ""
        if goal:
            verdict = f"{goal[0]:.0%}, {goal[1]} x: " + ("met" if share >= goal[0] and speed >= goal[1] else "missed")
        rows.append(f"| kvtune | {pair['pair']} | {1000 * time:.1f} | {share:.0%} | {speed:.2f} | {verdict} |")
    return rows


def step_rows(setting: dict) -> list[str]:
    reference = next((step for step in setting["steps"] if step["name"] == "KV8"), None)
    rows = []
    for step in setting["steps"]:
        time = step["step_ms"]
        against = "-" if reference is None else f"{reference['step_ms']['median'] / time['median']:.2f}"
        batch = "-" if reference is None else f"{step['largest_batch'] / reference['largest_batch']:.2f}"
        rows.append(f"| {step['name']} | {time['median']:.2f} [{time['lowest']:.2f}, {time['highest']:.2f}] | "
                    f"{step['attention_ms']:.2f} | {step['tokens_per_second']:.0f} | {against} | "
                    f"{step['largest_batch']} | {batch} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", default="build/cuda/apps/kvtune/kvtune", help="the program")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file with everything that was measured")
    arguments = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "config.json")
        config.write_text(json.dumps(CONFIG))
        for target in ("kvtuner", "kvtuner-kivi"):
            for batch, context in ATTENTION:
                table = bench(arguments.kvtune, config, "--target", target, "--attention-only", "--batch", str(batch),
                              "--context", str(context))
                others = [*torch_peers(batch, context), *flashinfer_peers(batch, context)]
                measured[f"{target} {batch} x {context}"] = {
                    "kvtune": table, "peers": [dataclasses.asdict(peer) for peer in others]}
                print(f"\n{table['device']}, {target}, batch {batch}, {context} tokens, copies at "
                      f"{table['copy_bytes_per_second'] / 1e12:.2f} TB/s\n\n"
                      "| | cache | attention, µs | of copy bandwidth | times torch bf16 | goal |\n"
                      "|---|---|---|---|---|---|")
                print("\n".join(attention_rows(table, table["settings"][0], others)), flush=True)
        steps = ("--plan", PLAN, "--context", str(STEP_CONTEXT))
        first = bench(arguments.kvtune, config, *steps, "--batch", "64")
        largest = next(step["largest_batch"] for step in first["settings"][0]["steps"] if step["name"] == "KV8")
        second = bench(arguments.kvtune, config, *steps, "--batch", str(largest))
        for table in (first, second):
            setting = table["settings"][0]
            measured[f"steps {setting['batch']} x {STEP_CONTEXT}"] = {"kvtune": table}
            print(f"\n{table['device']}, whole steps, batch {setting['batch']}, {STEP_CONTEXT} tokens\n\n"
                  "| plan | step, ms | attention, ms | tokens/s | times KV8 | largest batch | times KV8's |\n"
                  "|---|---|---|---|---|---|---|")
            print("\n".join(step_rows(setting)), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
