#!/usr/bin/env python3
"""Inputs that serving engines' users have and that were once misread: each gives its right value or its
refusal. The cases stand here in full; those of ../shared/cases, made by others, are run as they are too.

Usage: input_cases.py --kvtune BINARY [--cases DIR]

Plans are read by `kvtune evaluate`. Checkpoints get the nll that transformers computes.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4  # of the nll; two float32 programs
SIZES = dict(vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)

# Place in the folder of cases: target, what the plan of four layers is or what the refusal says, and the text.
PLANS = {
    "plan_file_silently_exact/vllm_under.sh":
        ("vllm", "exact;2-3:fp8_e4m3", "vllm serve m --kv_cache_dtype fp8 --kv_cache_dtype_skip_layers 0 1\n"),
    "plan_file_silently_exact/vllm_config.yaml":
        ("vllm", "exact;2-3:fp8_e4m3", 'model: m\nkv-cache-dtype: fp8\nkv-cache-dtype-skip-layers: ["0", "1"]\n'),
    "plan_file_silently_exact/vllm_config2.yaml": ("vllm", "fp8_e4m3", "model: m\nkv_cache_dtype: fp8\n"),
    "plan_file_silently_exact/compose.yaml":
        ("vllm", "exact;2-3:fp8_e4m3", 'services:\n  vllm:\n    command: ["--model","m","--kv-cache-dtype","fp8",'
         '"--kv-cache-dtype-skip-layers","0","1"]\n'),
    "plan_file_silently_exact/ollama.sh": ("llama.cpp", "q8_0", "OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve\n"),
    "plan_file_silently_exact/llama_env.sh":
        ("llama.cpp", "q8_0", "LLAMA_ARG_CACHE_TYPE_K=q8_0 LLAMA_ARG_CACHE_TYPE_V=q8_0 llama-server -m m.gguf\n"),
    "plan_file_silently_exact/garbage.txt": ("vllm", "found no word about the KV cache", "hello world\n"),
    "plan_file_exit3/empty.txt": ("sglang", "found no word about the KV cache", "\n"),
    "plan_file_exit3/trt_serve.sh":
        ("tensorrt-llm", "fp8_e4m3_calibrated", "trtllm-serve m --kv_cache_dtype fp8 --port 8000\n"),
    "vllm_words/vllm_bf16.sh": ("vllm", "exact", "vllm serve m --kv-cache-dtype bfloat16\n"),
    "vllm_words/vllm_calc.sh":
        ("vllm", "fp8_e4m3_calibrated", "vllm serve m --kv-cache-dtype fp8 --calculate-kv-scales\n"),
    "vllm_words/vllm_quote.sh":
        ("vllm", "exact;2-3:fp8_e4m3", 'vllm serve m --kv-cache-dtype "fp8" --kv-cache-dtype-skip-layers "0" "1"\n'),
    "vllm_words/vllm_redirect.sh": ("vllm", "fp8_e4m3", "vllm serve m --kv-cache-dtype fp8 > log.txt 2>&1 &\n"),
    # No layer of the model slides.
    "vllm_words/vllm_sw.sh":
        ("vllm", "fp8_e4m3", "vllm serve m --kv-cache-dtype fp8 --kv-cache-dtype-skip-layers sliding_window\n"),
    "lmdeploy_words/lmd_fp8.sh": ("lmdeploy", "fp8_e4m3", "lmdeploy serve api_server m --quant-policy fp8\n"),
    "lmdeploy_words/lmd_e5m2.sh": ("lmdeploy", "fp8_e5m2", "lmdeploy serve api_server m --quant-policy fp8_e5m2\n"),
    "lmdeploy_words/lmd_enum.py":
        ("lmdeploy", "fp8_e4m3", "engine_config = PytorchEngineConfig(quant_policy=QuantPolicy.FP8)\n"),
    "lmdeploy_words/lmd_42.sh": ("lmdeploy", "TurboQuant", "lmdeploy serve api_server m --quant-policy 42\n"),
    "lmdeploy_words/lmd_commented.py":
        ("lmdeploy", "KV8", "# quant_policy: 4 (int4), 8 (int8)\nengine_config = TurbomindEngineConfig(quant_policy=8)\n"),
}
TEXTS = ["Once upon a time there was a girl.", "Tom had a red ball. He was happy to play with it."]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
PROMPTS = {"lines.json": LINES, "lines.ndjson": LINES, "lines.JSONL": LINES,
           "array.json": json.dumps([{"text": text} for text in TEXTS])}
SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
# Checkpoints: class, its options, then what of config.json is set or taken out (None) after the weights are made.
CHECKPOINTS = {
    "tied_own_head": ("LlamaConfig", {"tie_word_embeddings": False}, {"tie_word_embeddings": True}),
    "missing_query_scalar": ("Gemma2Config", {"head_dim": 32}, {"query_pre_attn_scalar": None}),
    "missing_rope_gpt_oss": ("GptOssConfig", {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2},
                             {"rope_parameters": None}),
    "windows_of_ministral": ("MistralConfig", {"sliding_window": 8}, {}),
    "rope_side_by_side": ("LlamaConfig", {}, {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
}
# The weights are plain floats: the nll is that of the model without these fields.
KV_ONLY = {
    "ct": {"quant_method": "compressed-tensors", "format": "dense", "config_groups": {}, "ignore": [], "kv_cache_scheme": SCHEME},
    "modelopt": {"quant_method": "modelopt", "quant_algo": None, "kv_cache_scheme": SCHEME},
}
HF_QUANT = {"producer": {"name": "modelopt", "version": "0.33.0"},
            "quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}


class Cases:
    def __init__(self, kvtune: str, folder: pathlib.Path):
        self.kvtune, self.folder, self.failed, self.count = kvtune, folder, 0, 0

    def judge(self, name: str, problem: str) -> None:
        self.count += 1
        self.failed += bool(problem)
        if problem:
            print(f"{name}: {problem}", flush=True)

    def evaluate(self, model: pathlib.Path, *arguments) -> tuple[dict | None, str]:
        """The first plan and the messages; no plan where the input is refused in one line with exit code 1."""
        done = subprocess.run([self.kvtune, "evaluate", "--model", model, "--json", "--device", "cpu", "--threads", "1",
                               *arguments], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)["plans"][0], done.stderr
        refusal = done.stderr.splitlines()[-1] if done.stderr else ""
        assert done.returncode == 1 and refusal.startswith("kvtune: error: "), (done.returncode, done.stderr)
        return None, refusal

    def make(self, name: str, class_name: str, options: dict) -> pathlib.Path:
        folder = self.folder / name
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, class_name)(**(SIZES | options)))
        with torch.no_grad():
            for parameter, tensor in model.named_parameters():
                tensor.normal_(1.0 if parameter.endswith("norm.weight") else 0.0, 0.3)
        model.save_pretrained(folder)
        random = np.random.default_rng(0)
        rows = [[int(i) for i in random.integers(3, 512, 45)] for _ in range(2)]
        (folder / "ids.jsonl").write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
        return folder

    @staticmethod
    def edit(folder: pathlib.Path, changes: dict) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    @staticmethod
    def library_nll(folder: pathlib.Path) -> float:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        total = count = 0
        with torch.no_grad():
            for line in (folder / "ids.jsonl").read_text().splitlines():
                row = torch.tensor([json.loads(line)["input_ids"]])
                log = torch.log_softmax(model(row, use_cache=False).logits[0][:-1].double(), -1)
                total -= log[torch.arange(row.shape[1] - 1), row[0, 1:]].sum().item()
                count += row.shape[1] - 1
        return total / count

    def check_nll(self, name: str, folder: pathlib.Path, expected: float) -> None:
        plan, refusal = self.evaluate(folder, "--prompts", folder / "ids.jsonl", "--plan", "exact")
        found = plan["calibration"]["nll"] if plan else refusal
        good = plan and abs(found - expected) < TOLERANCE * abs(expected)
        self.judge(name, "" if good else f"found {found}, expected the nll {expected}")

    def check_plan(self, name: str, model: pathlib.Path, file: pathlib.Path, target: str, expected: str) -> None:
        plan, refusal = self.evaluate(model, "--prompts", model / "ids.jsonl", "--target", target, "--plan", file)
        found = plan["spec"] if plan else refusal
        good = found == expected if plan else expected in refusal
        self.judge(name, "" if good else f"found {found}, expected {expected}")


def check_own(cases: Cases) -> pathlib.Path:
    """The cases of this file. Returns a checkpoint for plans."""
    model = cases.make("plans", "LlamaConfig", {"head_dim": 64})
    for name, (target, expected, text) in PLANS.items():
        file = cases.folder / pathlib.Path(name).name
        file.write_text(text)
        cases.check_plan(name, model, file, target, expected)
    for name, (class_name, options, changes) in CHECKPOINTS.items():
        folder = cases.make(name, class_name, options)
        cases.edit(folder, changes)
        cases.check_nll(name, folder, cases.library_nll(folder))
    plain = cases.make("kv_only", "LlamaConfig", {})
    expected = cases.library_nll(plain)
    for name, quantization in KV_ONLY.items():
        cases.edit(plain, {"quantization_config": quantization})
        cases.check_nll(f"kv_only_checkpoint/{name}", plain, expected)
    cases.edit(plain, {"quantization_config": None})
    (plain / "hf_quant_config.json").write_text(json.dumps(HF_QUANT))
    cases.check_nll("kv_only_checkpoint/hf_quant", plain, expected)
    demo = ROOT / "calib_data" / "demo_model"
    texts = cases.folder / "texts.jsonl"
    texts.write_text(LINES)
    expected = cases.evaluate(demo, "--prompts", texts, "--plan", "exact")[0]
    for name, content in PROMPTS.items():
        file = cases.folder / name
        file.write_text(content)
        plan, refusal = cases.evaluate(demo, "--prompts", file, "--plan", "exact")
        same = plan and plan["calibration"] == expected["calibration"]
        cases.judge(f"prompts_other_suffix/{name}", "" if same else f"found {plan or refusal}, expected {expected}")
    return model


def check_shared(cases: Cases, shared: pathlib.Path, model: pathlib.Path) -> None:
    """The files of others, where they are."""
    for name, (target, expected, _) in PLANS.items():
        cases.check_plan(f"shared {name}", model, shared / name, target, expected)
    copy = cases.folder / "shared"
    shutil.copytree(shared, copy)
    tokenizer = {**os.environ, "TOKENIZER": str(shared.parent / "data" / "models" / "stories260K")}
    for script in sorted(copy.glob("*/make.py")):
        done = subprocess.run([sys.executable, "-B", "make.py"], cwd=script.parent, env=tokenizer, capture_output=True, text=True,
                              check=True)
        values = [float(value) for value in re.findall(r"(?:transformers|expected nll) ([0-9.]+)", done.stdout)]
        folders = sorted({path.parent for path in script.parent.glob("*/config.json")})
        assert values and folders, done.stdout
        for folder in folders:  # the checkpoints of one script have equal weights
            cases.check_nll(f"shared {script.parent.name}/{folder.name}", folder, values[0])
    stories = shared.parent / "data" / "models" / "stories260K"
    values = {}
    for file in sorted((shared / "prompts_other_suffix").iterdir()):
        arguments = ["--prompts", file, "--plan", "exact"]
        if file.name == "sharegpt.json":  # needs a chat template, which this model has not
            _, refusal = cases.evaluate(stories, *arguments)
            cases.judge(f"shared {file.name}", "" if "found no chat template" in refusal else refusal)
            continue
        plan, refusal = cases.evaluate(stories, *arguments)
        values[file.name] = plan["calibration"] if plan else refusal
    same = len({json.dumps(value) for value in values.values()}) == 1 and all(isinstance(v, dict) for v in values.values())
    cases.judge("shared prompts_other_suffix", "" if same else f"found {values}, expected equal scores")
    check_shared_chats(cases, shared)
    inspected = subprocess.run([cases.kvtune, "inspect", "--model", shared / "inspect_no_head_dim" / "config.json"],
                               capture_output=True, text=True, check=False)
    good = inspected.returncode == 0 and "128" in inspected.stdout
    cases.judge("shared inspect_no_head_dim", "" if good else f"found {inspected}, expected heads of 128 channels")
    own = cases.folder / "own_export"
    shutil.copytree(ROOT / "calib_data" / "demo_model", own)
    shutil.copy(shared / "modelopt_own_export" / "hf_quant_config.json", own)
    inspected = subprocess.run([cases.kvtune, "inspect", "--model", own], capture_output=True, text=True, check=False)
    cases.judge("shared modelopt_own_export", inspected.stderr if inspected.returncode else "")


def check_shared_chats(cases: Cases, shared: pathlib.Path) -> None:
    model = cases.folder / "chat"
    shutil.copytree(shared.parent / "data" / "models" / "stories260K", model)
    template = shared.parent / "data" / "chat_templates" / "Qwen-Qwen3-0.6B.jinja"
    shutil.copy(template, model / "chat_template.jinja")
    for file in sorted((shared / "chat").glob("*.jsonl")):
        plan, messages = cases.evaluate(model, "--prompts", file, "--plan", "exact", "--long-prompts", "cut")
        good = plan and "rendered with the model's chat template" in messages
        cases.judge(f"shared chat/{file.name}", "" if good else messages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--cases", type=pathlib.Path)
    arguments = parser.parse_args()
    os.environ["KVTUNE_PYTHON"] = sys.executable  # it has jinja2
    with tempfile.TemporaryDirectory() as temporary:
        cases = Cases(arguments.kvtune, pathlib.Path(temporary))
        model = check_own(cases)
        if arguments.cases and arguments.cases.is_dir():
            check_shared(cases, arguments.cases.resolve(), model)
        else:
            print(f"left out: found no {arguments.cases}")
    print(f"{cases.count} cases, {cases.failed} failed")
    return int(cases.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
