#!/usr/bin/env python3
"""Times kvtune on a GPU against the card's limits and against a plain loop in transformers, in one run.

It makes a checkpoint of a real model's shape with random weights and prompts of random tokens, measures the rate of
copies and of matrix products, of these for milliseconds and for seconds, in which the card comes to its power limit,
then times

- the joint score of random plans (`kvtune evaluate --stdin`, model loaded once),
- the sensitivity of all pairs in all layers, without loading the model,
- calibration and a whole search as commands, from start to end, and the plans of one of its batches,
- of a shape whose weights are quantized, a search with streamed layers instead of all these,
- in transformers: the forward pass, the forward pass with quantized keys and values, and the KL of its logits, which
  is what a loop that scores one plan after another costs.

Times are medians of --repeats, with the device synchronized. The result is printed as a table and written as JSON.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import time

SHAPES = {
    "llama-3.1-8b": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
                     "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                     "num_hidden_layers": 32, "vocab_size": 128256, "rope_theta": 500000.0},
    "qwen2.5-7b": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584,
                   "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128,
                   "num_hidden_layers": 28, "vocab_size": 152064, "rope_theta": 1000000.0},
    "qwen3-30b-a3b": {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
                      "intermediate_size": 6144, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
                      "num_hidden_layers": 48, "vocab_size": 151936, "rope_theta": 1000000.0, "num_experts": 128,
                      "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True},
    "llama-3.1-70b-awq": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192,
                          "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8,
                          "head_dim": 128, "num_hidden_layers": 80, "vocab_size": 128256, "rope_theta": 500000.0,
                          "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128,
                                                  "version": "gemm", "zero_point": True}},
}
PROMPTS = {"2k": (8, 2048), "8k": (2, 8192), "short": (32, 225)}
STREAMED_PROMPTS = {"1k": (4, 1024), "one": (1, 225)}
STREAMED_GIB = 20
LASTING = 1000  # matrix products, each of 1.5 ms on an H200
PAIRS = ["KV8", "K8V4", "KV4", "K4V2", "K8V2", "KV2"]


def require_checkpoint(directory: pathlib.Path, config: dict, device: str = "cuda") -> None:
    """Makes the checkpoint where none is. Ends the program where one of another shape is."""
    if not (directory / "model.safetensors.index.json").exists():
        with timed_stage("making the checkpoint"):
            make_checkpoint(directory, config, device)
    there = json.loads((directory / "config.json").read_text())
    for key, value in json.loads(json.dumps(config)).items():
        if there.get(key) != value:
            sys.exit(f"{directory}: found a checkpoint with {key} {there.get(key)}, expected {value}; "
                     "--model names another folder")


def make_checkpoint(directory: pathlib.Path, config: dict, device: str = "cuda") -> None:
    """Writes random weights, scaled so that activations stay near 1, one file a layer. The end-of-sequence token is
    never the likeliest one."""
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    config = {**config, "rms_norm_eps": 1e-5, "max_position_embeddings": 131072, "hidden_act": "silu",
              "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1}
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator(device=device).manual_seed(1)
    weight_map = {}

    def weight(*shape: int, std: float = 0.02):
        return (torch.randn(*shape, generator=generator, device=device) * std).to(torch.bfloat16).cpu()

    def awq(name: str, rows: int, columns: int) -> dict:
        """Random codes around a zero of 8, whose values are as far apart as those of weight()."""
        groups = columns // config["quantization_config"]["group_size"]
        words = torch.randint(-2**31, 2**31 - 1, (columns, rows // 8), generator=generator, device=device,
                              dtype=torch.int32)
        return {name + ".qweight": words.cpu(),
                name + ".qzeros": torch.full((groups, rows // 8), -0x77777778, dtype=torch.int32),
                name + ".scales": torch.full((groups, rows), 0.02 / 4.6, dtype=torch.float16)}

    def linear(name: str, rows: int, columns: int) -> dict:
        if "quantization_config" in config:
            return awq(name, rows, columns)
        return {name + ".weight": weight(rows, columns)}

    def save(tensors: dict) -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(tensors, str(directory / name))
        weight_map.update({key: name for key in tensors})

    hidden, width, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key = config["num_key_value_heads"] * config["head_dim"]
    ones = torch.ones(hidden, dtype=torch.bfloat16)

    def mlp(name: str, width: int) -> dict:
        return {**linear(name + "gate_proj", width, hidden), **linear(name + "up_proj", width, hidden),
                **linear(name + "down_proj", hidden, width)}

    head = weight(vocab, hidden)
    head[config["eos_token_id"]] = 0
    save({"model.embed_tokens.weight": weight(vocab, hidden, std=1.0), "model.norm.weight": ones.clone(),
          "lm_head.weight": head})
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        tensors = {**linear(name + "self_attn.q_proj", query, hidden),
                   **linear(name + "self_attn.k_proj", key, hidden),
                   **linear(name + "self_attn.v_proj", key, hidden),
                   **linear(name + "self_attn.o_proj", hidden, query),
                   name + "input_layernorm.weight": ones.clone(),
                   name + "post_attention_layernorm.weight": ones.clone()}
        if "num_experts" in config:
            tensors[name + "mlp.gate.weight"] = weight(config["num_experts"], hidden)
            for expert in range(config["num_experts"]):
                tensors |= mlp(f"{name}mlp.experts.{expert}.", config["moe_intermediate_size"])
        else:
            tensors |= mlp(name + "mlp.", width)
        if config["model_type"] == "qwen3_moe":
            for part in ("q", "k"):
                tensors[f"{name}self_attn.{part}_norm.weight"] = torch.ones(config["head_dim"], dtype=torch.bfloat16)
        if config["model_type"] == "qwen2":
            for part, rows in (("q", query), ("k", key), ("v", key)):
                tensors[f"{name}self_attn.{part}_proj.bias"] = weight(rows)
        save(tensors)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    generator_of_tokens = random.Random(5)
    for name, (count, length) in {**PROMPTS, **STREAMED_PROMPTS}.items():
        lines = [json.dumps({"input_ids": [generator_of_tokens.randrange(2, vocab) for _ in range(length)]})
                 for _ in range(count)]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def timed_stage(stage: str):
    """Says on standard error how long a stage took, because the whole takes minutes."""
    start = time.perf_counter()
    yield
    print(f"{stage}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def median_seconds(work, repeats: int) -> float:
    import torch

    work()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lasting_seconds(work, repeats: int) -> float:
    """The mean time of `repeats` calls without a pause, after as many that are not counted."""
    import torch

    for _ in range(2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def measure_limits(repeats: int) -> dict:
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    source = torch.empty(2**31, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    pinned = torch.empty(2**31, dtype=torch.uint8, pin_memory=True)
    return {"device": torch.cuda.get_device_name(),
            "matrix_tflops": 2 * 8192**3 / median_seconds(lambda: a @ a, repeats) / 1e12,
            "copy_tb_per_s": 2 * 2**31 / median_seconds(lambda: target.copy_(source), repeats) / 1e12,
            "upload_gb_per_s": 2**31 / median_seconds(lambda: target.copy_(pinned, non_blocking=True), repeats) / 1e9,
            "lasting_matrix_tflops": 2 * 8192**3 / lasting_seconds(lambda: a @ a, LASTING) / 1e12}


def flops_of_forward(config: dict, prompts: str) -> float:
    """Matrix products of the layers and the head, and causal attention."""
    count, length = PROMPTS[prompts]
    hidden = config["hidden_size"]
    if "num_experts" in config:
        width = config["num_experts_per_tok"] * config["moe_intermediate_size"]
    else:
        width = config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key = config["num_key_value_heads"] * config["head_dim"]
    layer = 2 * hidden * (2 * query + 2 * key + 3 * width) + 2 * query * length
    return count * length * (config["num_hidden_layers"] * layer + 2 * hidden * config["vocab_size"])


class Evaluator:
    """`kvtune evaluate --stdin` on one set of prompts."""

    def __init__(self, program: str, model: pathlib.Path, prompts: str, extra: list[str], environment=None):
        command = [program, "evaluate", "--model", str(model), "--prompts", str(model / f"{prompts}.jsonl"),
                   "--device", "cuda", "--stdin", "-q", *extra]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)

    def seconds(self, plans: object) -> float:
        start = time.perf_counter()
        self.process.stdin.write(json.dumps(plans) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise SystemExit(f"kvtune evaluate: {answer['error']}")
        return time.perf_counter() - start

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def single_plan(i: int) -> str:
    """The i-th plan that is scored alone. One that was scored before would be answered from memory, so all differ."""
    return f"KV4;{i // len(PAIRS)}:{PAIRS[i % len(PAIRS)]}"


def measure_scoring(arguments, model: pathlib.Path, config: dict, target: str) -> dict:
    plans_of = random.Random(3)

    def plan() -> dict:
        overrides = ";".join(f"{layer}:{plans_of.choice(PAIRS)}" for layer in range(config["num_hidden_layers"]))
        return {"name": "x", "spec": f"KV8;{overrides}"}

    result = {}
    for prompts in PROMPTS:
        evaluator = Evaluator(arguments.program, model, prompts, ["--target", target])
        first = evaluator.seconds({"name": "a", "spec": "KV8"})
        one = statistics.median(evaluator.seconds({"name": "a", "spec": single_plan(i)})
                                for i in range(arguments.repeats))
        many = statistics.median(evaluator.seconds([plan() for _ in range(arguments.plans)])
                                 for _ in range(arguments.repeats))
        evaluator.close()
        result[prompts] = {"load_exact_and_first_plan_s": first, "one_plan_s": one,
                           "random_plan_s": many / arguments.plans}
    return result


def measure_sensitivity(arguments, model: pathlib.Path) -> dict:
    """Seconds of the sensitivity pass alone, as `kvtune calibrate` tells them, which do not include the loading."""
    result = {}
    for prompts in ("2k", "8k"):
        run = model / "run" / f"sensitivity-{prompts}"
        shutil.rmtree(run, ignore_errors=True)  # a finished run would be read again
        told = subprocess.run(
            [arguments.program, "calibrate", "--model", str(model), "--prompts", str(model / f"{prompts}.jsonl"),
             "--held-out", "none", "--device", "cuda", "--out", str(run)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
        count = PROMPTS[prompts][0]
        result[prompts] = float(re.search(rf"calibrating: {count} prompts in ([0-9.]+) s", told)[1])
    return result


def measure_streaming(arguments, model: pathlib.Path, config: dict) -> dict:
    """A model whose layers come from the host for every pass, with STREAMED_GIB of the card's memory: a search, which
    begins with the calibration, and one pass over a short prompt, which does nothing but wait for its layers."""
    import torch

    share = STREAMED_GIB * 2**30 / torch.cuda.get_device_properties(0).total_memory
    environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": f"per_process_memory_fraction:{share:.4f}"}
    streamed = ["--weights", "stream", "--max-activation-memory", "4G"]
    run = model / "run"
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run([arguments.program, "search", "--max-evaluations", "40", "--model", str(model), "--prompts",
                    str(model / "1k.jsonl"), "--held-out", "none", "--device", "cuda", *streamed, "--out",
                    str(run)], check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds, stages = time.perf_counter() - start, stages_of(run)
    result = {"search_s": seconds, "sensitivity_s": stages["calibrate"]["seconds"],
              "peak_gib": peak_gib(stages["search"])}
    evaluator = Evaluator(arguments.program, model, "one", ["--target", "kvtuner", *streamed], environment)
    evaluator.seconds({"name": "a", "spec": "KV8"})
    result["pass_s"] = statistics.median(evaluator.seconds({"name": "a", "spec": single_plan(i)})
                                         for i in range(arguments.repeats))
    evaluator.close()
    result["layer_bytes"] = sum(path.stat().st_size for path in sorted(model.glob("model-*.safetensors"))[1:])
    return result


def measure_commands(arguments, model: pathlib.Path) -> dict:
    run = model / "run"
    common = ["--model", str(model), "--prompts", str(model / "2k.jsonl"), "--device", "cuda", "-q"]
    result = {}
    for name, command in (("calibrate_s", ["calibrate", *common, "--out", str(run / "calibrate")]),
                          ("search_s", ["search", *common, "--held-out", "none", "--max-evaluations", "80", "--out",
                                        str(run / "search")])):
        start = time.perf_counter()
        subprocess.run([arguments.program, *command], check=True, stdout=subprocess.DEVNULL)
        result[name] = time.perf_counter() - start
    result["search_peak_gib"] = peak_gib(stages_of(run / "search")["search"])
    return result


def stages_of(run: pathlib.Path) -> dict:
    return json.loads((run / "run.json").read_text())["stages"]


def peak_gib(stage: dict) -> float:
    return stage["peak_device_bytes"] / 2**30


def measure_generation(arguments, model: pathlib.Path) -> dict:
    """The largest batch that the search of measure_commands has scored, scored again."""
    batches = collections.defaultdict(list)
    for line in (model / "run" / "search" / "evaluations.jsonl").read_text().splitlines():
        record = json.loads(line)
        batches[record.get("batch")].append(record)
    batch = max((batch for number, batch in batches.items() if number is not None), key=len)
    plans = [{"name": "x", "spec": record["spec"]} for record in batch]
    evaluator = Evaluator(arguments.program, model, "2k", ["--target", "kvtuner"])
    evaluator.seconds({"name": "a", "spec": "KV8"})
    seconds = evaluator.seconds(plans)
    evaluator.close()
    return {"plans": len(plans), "plan_s": seconds / len(plans), **steps_of(batch)}


def steps_of(batch: list) -> dict:
    """How many steps of plans through a layer there are, and how many after one joins those with the same past."""
    pasts = [json.dumps(record["layers"][:depth + 1]) for record in batch for depth in range(len(record["layers"]))]
    return {"steps": len(pasts), "distinct_steps": len(set(pasts))}


def measure_transformers(arguments, model: pathlib.Path) -> dict:
    import torch
    import torch.nn.functional as functional
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.bfloat16, attn_implementation="sdpa")
    network = network.cuda().eval()
    plain_attention = functional.scaled_dot_product_attention

    def quantized(x):
        wide = x.float()
        low = wide.amin(-1, True)
        scale = (wide.amax(-1, True) - low).clamp(min=1e-5) / 15
        zero = (low / scale).round()
        return ((wide / scale - zero).round().clamp(0, 15) + zero).mul(scale).to(x.dtype)

    result = {}
    for prompts in PROMPTS:
        ids = [torch.tensor(json.loads(line)["input_ids"]).cuda()[None]
               for line in (model / f"{prompts}.jsonl").read_text().splitlines()]

        @torch.inference_mode()
        def forward():
            for row in ids:
                network(row, use_cache=False)

        @torch.inference_mode()
        def kl():
            for p, q in zip(exact, exact):
                for begin in range(0, p.shape[0], 1024):
                    a = functional.log_softmax(p[begin:begin + 1024].float(), -1)
                    b = functional.log_softmax(q[begin:begin + 1024].float(), -1)
                    (a.exp() * (a - b)).sum(-1).mean().item()

        plain = median_seconds(forward, arguments.repeats)
        functional.scaled_dot_product_attention = lambda q, k, v, **named: plain_attention(
            q, quantized(k), quantized(v), **named)
        with_cache = median_seconds(forward, arguments.repeats)
        functional.scaled_dot_product_attention = plain_attention
        with torch.inference_mode():
            exact = [network(row, use_cache=False).logits[0] for row in ids]
        result[prompts] = {"forward_s": plain, "quantized_forward_s": with_cache,
                           "kl_s": median_seconds(kl, arguments.repeats)}
        del exact
    return result


def print_streaming(streaming: dict, limits: dict) -> None:
    rate = streaming["layer_bytes"] / streaming["pass_s"] / 1e9
    print(f"streamed with {STREAMED_GIB} GiB: search of 40 plans {streaming['search_s']:.0f} s from start to end, in it "
          f"the sensitivity pass {streaming['sensitivity_s']:.1f} s, peak {streaming['peak_gib']:.1f} GiB; one pass "
          f"over a short prompt {streaming['pass_s']:.1f} s "
          f"for {streaming['layer_bytes'] / 1e9:.1f} GB of layers: {rate:.1f} GB/s, "
          f"{100 * rate / limits['upload_gb_per_s']:.0f} % of {limits['upload_gb_per_s']:.1f} GB/s")


def beside_transformers(result: dict, prompts: str, seconds: float) -> str:
    """What a line about a plan's seconds ends with, where the loop in transformers was measured."""
    peer = result.get("transformers", {}).get(prompts)
    if not peer:
        return ""
    loop = peer["quantized_forward_s"] + peer["kl_s"]
    return f"; transformers loop {loop:.3f} s: {loop / seconds:.2f} times"


def print_table(result: dict, config: dict) -> None:
    limits = result["limits"]
    print(f"{limits['device']}: matrix products {limits['matrix_tflops']:.0f} TFLOP/s for some milliseconds and "
          f"{limits['lasting_matrix_tflops']:.0f} for seconds, copies (read and write) "
          f"{limits['copy_tb_per_s']:.2f} TB/s, uploads {limits['upload_gb_per_s']:.1f} GB/s")
    if "streaming" in result:
        print_streaming(result["streaming"], limits)
    for target, scoring in result["scoring"].items():
        for prompts, times in scoring.items():
            count, length = PROMPTS[prompts]
            rate = flops_of_forward(config, prompts) / times["random_plan_s"] / 1e12
            share, lasting = (100 * rate / limits[name] for name in ("matrix_tflops", "lasting_matrix_tflops"))
            line = (f"{target}, {count} x {length}: first answer {times['load_exact_and_first_plan_s']:.1f} s, one plan "
                    f"{times['one_plan_s']:.2f} s, of many random plans {times['random_plan_s']:.3f} s each "
                    f"({share:.0f} % of the matrix rate, {lasting:.0f} % of the one that lasts)")
            print(line + beside_transformers(result, prompts, times["random_plan_s"]))
    if generation := result.get("generation"):
        print(f"a batch of {generation['plans']} plans of the search, of whose {generation['steps']} steps through a "
              f"layer {generation['distinct_steps']} are distinct, 8 x 2048: {generation['plan_s']:.3f} s each"
              + beside_transformers(result, "2k", generation["plan_s"]))
    for prompts, seconds in result.get("sensitivity", {}).items():
        count, length = PROMPTS[prompts]
        print(f"sensitivity of all pairs, {count} x {length}: {seconds:.1f} s")
    for name, figure in result.get("commands", {}).items():
        print(f"{name}: {figure:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/cuda/apps/kvtune/kvtune")
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has, for a quick look")
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("build/bench-model"),
                        help="where the checkpoint is made, or is already")
    parser.add_argument("--targets", nargs="+", default=["kvtuner", "kvtuner-kivi"])
    parser.add_argument("--plans", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=["transformers", "commands", "sensitivity"])
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of the result")
    arguments = parser.parse_args()

    config = dict(SHAPES[arguments.shape])
    config["num_hidden_layers"] = arguments.layers or config["num_hidden_layers"]
    require_checkpoint(arguments.model, config)
    result = {"shape": arguments.shape, "layers": config["num_hidden_layers"],
              "limits": measure_limits(arguments.repeats), "scoring": {}}
    if "quantization_config" in config:
        with timed_stage("streaming"):
            result["streaming"] = measure_streaming(arguments, arguments.model, config)
        arguments.targets = []
        arguments.skip = ["transformers", "commands", "sensitivity"]
    for target in arguments.targets:
        with timed_stage(f"scoring for {target}"):
            result["scoring"][target] = measure_scoring(arguments, arguments.model, config, target)
    if "sensitivity" not in arguments.skip:
        with timed_stage("sensitivity"):
            result["sensitivity"] = measure_sensitivity(arguments, arguments.model)
    if "commands" not in arguments.skip:
        with timed_stage("commands"):
            result["commands"] = measure_commands(arguments, arguments.model)
            result["generation"] = measure_generation(arguments, arguments.model)
    if "transformers" not in arguments.skip:
        with timed_stage("transformers"):
            result["transformers"] = measure_transformers(arguments, arguments.model)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print_table(result, config)


if __name__ == "__main__":
    main()
