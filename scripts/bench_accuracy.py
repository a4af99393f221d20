#!/usr/bin/env python3
"""Times how fast kvtune lets a model answer a task under many plans, beside transformers.generate, in one run.

    scripts/bench_accuracy.py --program build/cuda/apps/kvtune/kvtune       # one GPU
    scripts/bench_accuracy.py --quick --program build/dev/apps/kvtune/kvtune   # a tiny shape, to try the script

It makes a checkpoint of a real model's shape with random weights (bench_gpu.py) and a task whose answers never stop
early: no stop texts, and an end-of-sequence token that is never the likeliest one. `kvtune evaluate --task` answers
every prompt under every plan. A step of decoding is compared with the time in which the card could copy as many bytes
as the step has: the weights, and the caches of all its sequences, in the bytes of their plans where they are packed.
The same plans answer some of the prompts too, because the more sequences a step has, the more of it are matrix
products. Then transformers generates from the same prompts in batches; its rates count whole calls, and its steps
alone.

The result is printed and written as JSON.
"""

import argparse
import json
import pathlib
import random
import re
import statistics
import subprocess
import threading
import time

import bench_gpu

TINY = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_hidden_layers": 2, "vocab_size": 512,
        "rope_theta": 10000.0}
FIRST_BYTE = 2  # the ids before it are the special tokens
TIMES = re.compile(r"generated (\d+) tokens in (\d+) batches of up to (\d+) sequences: prompts ([\d.]+) s, (\d+) steps "
                   r"([\d.]+) s; their cache: (\d+) layers, (\d+) of them packed")
# What one H200 should do (Llama-3.1-8B's shape).
GOAL_TOKENS_PER_S = 15000
GOAL_STEP_RATIO = 2.0


def byte_symbols() -> list[str]:
    """The visible character of every byte in byte-level tokenizers (GPT-2's table)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte if byte in visible else 256 + hidden.index(byte)) for byte in range(256)]


def tokenizer(vocab: int) -> dict:
    """One token a byte; the other ids are words that no text is made of."""
    special = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, text in enumerate(("<s>", "</s>"))]
    words = {token["content"]: token["id"] for token in special}
    words |= {symbol: FIRST_BYTE + byte for byte, symbol in enumerate(byte_symbols())}
    words |= {f"word{i}": i for i in range(FIRST_BYTE + 256, vocab)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": None,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": words,
                      "merges": []}}


def write_task(directory: pathlib.Path, arguments) -> list[str]:
    draw = random.Random(9)
    prompts = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz    ") for _ in range(arguments.prompt_tokens))
               for _ in range(arguments.prompts)]
    task = {"schema_version": 1, "name": "fixed length", "protocol": "custom",
            "max_new_tokens": arguments.new_tokens, "items": [{"prompt": text, "answer": "0"} for text in prompts]}
    (directory / "task.json").write_text(json.dumps(task))
    return prompts


def random_plans(count: int, layers: int) -> list[dict]:
    draw = random.Random(3)
    return [{"name": f"r{i}",
             "spec": "KV8;" + ";".join(f"{layer}:{draw.choice(bench_gpu.PAIRS)}" for layer in range(layers))}
            for i in range(count)]


class Evaluator:
    """`kvtune evaluate --task --stdin`, whose messages tell the times of its generation."""

    def __init__(self, arguments, prompts: int):
        command = [arguments.program, "evaluate", "--model", str(arguments.model), "--task",
                   str(arguments.model / "task.json"), "--device", arguments.device, "--prefill", arguments.prefill,
                   "--target", arguments.target, "--limit", str(prompts), "--stdin", "-v"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.messages = []
        self.reader = threading.Thread(target=lambda: self.messages.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def ask(self, plans: list[dict]) -> tuple[float, list[dict]]:
        begin = time.perf_counter()
        self.process.stdin.write(json.dumps(plans) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.reader.join(timeout=10)
            raise SystemExit("kvtune evaluate ended: " + "".join(self.messages[-5:]))
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise SystemExit(f"kvtune evaluate: {answer['error']}")
        return time.perf_counter() - begin, answer

    def close(self) -> None:
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            raise SystemExit(f"kvtune evaluate ended with {self.process.returncode}: {''.join(self.messages[-5:])}")
        self.reader.join(timeout=10)

    def times(self) -> list[re.Match]:
        return [found for found in map(TIMES.search, self.messages) if found]


def measure_kvtune(arguments, config: dict, prompts: int) -> dict:
    """All plans on the first prompts of the task."""
    evaluator = Evaluator(arguments, prompts)
    # The first answer also loads the model and answers under the exact plan, with which all others are compared.
    load_s, _ = evaluator.ask([{"name": "first", "spec": "KV8"}])
    plans = random_plans(arguments.plans, config["num_hidden_layers"])
    seconds, answers = evaluator.ask(plans)
    evaluator.close()
    rows = arguments.plans * prompts
    tokens = sum(plan["accuracy"]["tokens"] for plan in answers)
    if tokens != rows * arguments.new_tokens:
        raise SystemExit(f"found {tokens} tokens, expected {rows * arguments.new_tokens}: some answers ended early")
    times = evaluator.times()[-1]
    steps, steps_s = int(times[5]), float(times[6])
    packed = times[7] == times[8]
    return {"prompts": prompts, "load_and_first_s": load_s, "seconds": seconds, "tokens": tokens, "places": int(times[3]),
            "batches": int(times[2]), "prompts_s": float(times[4]), "steps": steps, "steps_s": steps_s,
            "layers": int(times[7]), "packed_layers": int(times[8]),
            "packed_bytes_per_token": statistics.mean(plan["bytes_per_token"] for plan in answers) if packed else None,
            "tokens_per_s": tokens / seconds, "step_tokens_per_s": (tokens - rows) / steps_s,
            "step_s": steps_s / steps, "step_rows": (tokens - rows) / steps}


def cpu_limits(repeats: int) -> dict:
    import torch

    a = torch.randn(1024, 1024)
    source = torch.ones(2**26, dtype=torch.uint8)
    target = torch.empty_like(source)

    def seconds(work) -> float:
        times = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return statistics.median(times[1:])

    return {"device": "CPU", "matrix_tflops": 2 * 1024**3 / seconds(lambda: a @ a) / 1e12,
            "copy_tb_per_s": 2 * 2**26 / seconds(lambda: target.copy_(source)) / 1e12}


def step_bytes(config: dict, rows: float, tokens: float, element_bytes: int,
               packed_bytes_per_token: float | None) -> tuple[float, float]:
    """What a step has: weights, and the cache of so many sequences of so many tokens (their mean)."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key = config["num_key_value_heads"] * config["head_dim"]
    weights = config["num_hidden_layers"] * hidden * (2 * query + 2 * key + 3 * width) + hidden * config["vocab_size"]
    token = packed_bytes_per_token or config["num_hidden_layers"] * 2 * key * element_bytes
    return weights * element_bytes, rows * tokens * token


def add_step_limits(mine: dict, arguments, config: dict, limits: dict) -> None:
    """Adds in what time the card would copy the bytes of a step, and multiply its matrices."""
    mean_tokens = arguments.prompt_tokens + arguments.new_tokens / 2
    element_bytes = 4 if arguments.device == "cpu" else 2
    weights, cache = step_bytes(config, mine["step_rows"], mean_tokens, element_bytes, mine["packed_bytes_per_token"])
    copy_s = (weights + cache) / limits["copy_tb_per_s"] / 1e12
    mine |= {"step_weight_bytes": weights, "step_cache_bytes": cache, "step_copy_s": copy_s,
             "step_ratio": mine["step_s"] / copy_s,
             "step_products_s": 2 * weights / element_bytes * mine["step_rows"] / limits["matrix_tflops"] / 1e12}


def measure_transformers(arguments, prompts: list[str]) -> dict:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if arguments.device == "cpu" else torch.bfloat16
    network = AutoModelForCausalLM.from_pretrained(str(arguments.model), dtype=dtype, attn_implementation="sdpa")
    network = network.to(arguments.device).eval()
    ids = [[FIRST_BYTE + byte for byte in text.encode()] for text in prompts]

    @torch.inference_mode()
    def seconds(batch: int, new_tokens: int) -> float:
        rows = torch.tensor([ids[i % len(ids)] for i in range(batch)], device=arguments.device)
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        out = network.generate(rows, attention_mask=torch.ones_like(rows), do_sample=False, eos_token_id=None,
                               pad_token_id=0, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
        out = out.cpu()
        if out.shape[1] - rows.shape[1] != new_tokens:
            raise SystemExit(f"transformers generated {out.shape[1] - rows.shape[1]} tokens, expected {new_tokens}")
        return time.perf_counter() - begin

    result = {}
    for batch, new_tokens in zip(arguments.batches, arguments.batch_tokens):
        seconds(batch, 2)  # warms up
        first, whole = seconds(batch, 1), seconds(batch, new_tokens)
        result[str(batch)] = {"new_tokens": new_tokens, "seconds": whole, "tokens_per_s": batch * new_tokens / whole,
                              "step_tokens_per_s": batch * (new_tokens - 1) / (whole - first)}
    return result


def print_result(arguments, result: dict) -> None:
    limits = result["limits"]
    print(f"{limits['device']}: matrix products {limits['matrix_tflops']:.3g} TFLOP/s, copies (read and write) "
          f"{limits['copy_tb_per_s']:.3g} TB/s")
    for mine in result["kvtune"]:
        print(f"kvtune: {arguments.plans} plans x {mine['prompts']} prompts of {arguments.prompt_tokens} tokens, "
              f"{arguments.new_tokens} new ones each: {mine['tokens']} tokens in {mine['seconds']:.2f} s = "
              f"{mine['tokens_per_s']:.0f} tokens/s in all (goal {GOAL_TOKENS_PER_S} on one H200)")
        print(f"  prompts {mine['prompts_s']:.2f} s; {mine['steps']} steps {mine['steps_s']:.2f} s in {mine['batches']} "
              f"batches of {mine['places']} sequences, {mine['packed_layers']} of {mine['layers']} layers packed = "
              f"{mine['step_tokens_per_s']:.0f} tokens/s; loading and the first "
              f"answers {mine['load_and_first_s']:.1f} s")
        weights, cache = mine["step_weight_bytes"], mine["step_cache_bytes"]
        print(f"  a step: {1000 * mine['step_s']:.2f} ms for {mine['step_rows']:.0f} sequences; copying its "
              f"{weights / 1e9:.3g} GB of weights and {cache / 1e9:.3g} GB of cache takes "
              f"{1000 * mine['step_copy_s']:.2f} ms: {mine['step_ratio']:.2f} times (goal {GOAL_STEP_RATIO:.0f} times); "
              f"its matrix products take {1000 * mine['step_products_s']:.2f} ms")
    mine = result["kvtune"][0]
    for batch, peer in result.get("transformers", {}).items():
        print(f"transformers.generate, batch {batch}, {peer['new_tokens']} new tokens: {peer['tokens_per_s']:.1f} "
              f"tokens/s (steps alone {peer['step_tokens_per_s']:.1f}): kvtune is "
              f"{mine['tokens_per_s'] / peer['tokens_per_s']:.1f} times as fast (steps "
              f"{mine['step_tokens_per_s'] / peer['step_tokens_per_s']:.1f})")


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/cuda/apps/kvtune/kvtune")
    parser.add_argument("--shape", choices=bench_gpu.SHAPES, default="llama-3.1-8b")
    parser.add_argument("--model", type=pathlib.Path, help="where the checkpoint is made, or is already")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--target", default="kvtuner")
    parser.add_argument("--prefill", choices=["exact", "quantized"], default="exact")
    parser.add_argument("--plans", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--fewer-prompts", type=int, nargs="*", default=[4, 6, 8],
                        help="steps of fewer sequences are measured too (default: %(default)s)")
    parser.add_argument("--prompt-tokens", type=int, default=1000)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256], help="of transformers")
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[64, 48], help="new tokens of each batch")
    parser.add_argument("--quick", action="store_true", help="a tiny shape and few tokens, on the CPU")
    parser.add_argument("--skip-transformers", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file of the result")
    arguments = parser.parse_args()
    if len(arguments.batches) != len(arguments.batch_tokens):
        parser.error("--batches and --batch-tokens: expected as many of both")
    if arguments.quick:
        arguments.device, arguments.plans, arguments.prompts = "cpu", 4, 3
        arguments.fewer_prompts = [1]
        arguments.prompt_tokens, arguments.new_tokens = 50, 8
        arguments.batches, arguments.batch_tokens = [1, 4], [8, 8]
    arguments.model = arguments.model or pathlib.Path(f"build/bench-model{'-tiny' if arguments.quick else ''}")
    return arguments


def main() -> None:
    arguments = parsed_arguments()
    config = dict(TINY if arguments.quick else bench_gpu.SHAPES[arguments.shape])
    begin = time.perf_counter()
    bench_gpu.require_checkpoint(arguments.model, config, arguments.device)
    (arguments.model / "tokenizer.json").write_text(json.dumps(tokenizer(config["vocab_size"])))
    prompts = write_task(arguments.model, arguments)
    on_cpu = arguments.device == "cpu"
    result = {"shape": "tiny" if arguments.quick else arguments.shape, "prefill": arguments.prefill,
              "limits": cpu_limits(3) if on_cpu else bench_gpu.measure_limits(3)}
    if not on_cpu:
        import torch

        torch.cuda.empty_cache()
    result["kvtune"] = [measure_kvtune(arguments, config, prompts)
                        for prompts in (arguments.prompts, *arguments.fewer_prompts)]
    for mine in result["kvtune"]:
        add_step_limits(mine, arguments, config, result["limits"])
    if not arguments.skip_transformers:
        result["transformers"] = measure_transformers(arguments, prompts)
    result["whole_s"] = time.perf_counter() - begin
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print_result(arguments, result)
    print(f"all of this took {result['whole_s']:.0f} s")


if __name__ == "__main__":
    main()
