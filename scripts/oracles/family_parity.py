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
import safetensors.torch
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
    edits: dict = dataclasses.field(default_factory=dict)  # of config.json; Ellipsis removes the key
    kvtune_edits: dict = dataclasses.field(default_factory=dict)  # of config.json, after the reference has read it
    norm_mean: float = 1.0    # of the norms' weights; 0 where the model adds 1 and would grow too much to compare
    rename: tuple[str, str] = ("", "")  # what tensors' names begin with, and what with instead

    @property
    def layer_count(self) -> int:
        return self.options.get("text_config", self.options)["num_hidden_layers"]


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
    # Without rotary fields the class's YaRN is what turns.
    Case("gpt-oss-class-rope", "gpt-oss", "GptOssConfig",
         SIZES | dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW),
         edits=dict(rope_parameters=...)),
    Case("gemma", "Gemma", "GemmaConfig", SIZES, norm_mean=0.0),
    Case("ministral", "Ministral", "MinistralConfig",
         SIZES | dict(sliding_window=WINDOW, layer_types=["full_attention", "sliding_attention"] * 2)),
    Case("mistral-with-layer-types", "Ministral", "MinistralConfig",
         SIZES | dict(sliding_window=WINDOW, layer_types=["full_attention", "sliding_attention"] * 2),
         architecture="MistralForCausalLM", kvtune_edits=dict(model_type="mistral")),
    Case("ministral3", "Ministral 3", "Ministral3Config", SIZES | dict(rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, mscale=1.0,
        mscale_all_dim=1.0, llama_4_scaling_beta=0.4))),
    Case("olmo3", "OLMo 3", "Olmo3Config", DIVIDED | dict(num_hidden_layers=5, sliding_window=WINDOW)),
    Case("olmo3-yarn", "OLMo 3", "Olmo3Config",
         DIVIDED | dict(sliding_window=WINDOW, rope_parameters={
             "full_attention": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16,
                                    rope_theta=500000.0),
             "sliding_attention": dict(rope_type="default", rope_theta=500000.0)})),
    Case("olmoe", "OLMoE", "OlmoeConfig",
         DIVIDED | dict(num_experts=6, num_experts_per_tok=3, norm_topk_prob=False)),
    Case("flex-olmo", "FlexOlmo", "FlexOlmoConfig",
         DIVIDED | dict(num_experts=6, num_experts_per_tok=3, norm_topk_prob=True)),
    Case("qwen2-moe", "Qwen2 MoE", "Qwen2MoeConfig",
         DIVIDED | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=26,
                        shared_expert_intermediate_size=38, mlp_only_layers=[1])),
    Case("qwen2-moe-windows", "Qwen2 MoE", "Qwen2MoeConfig",
         DIVIDED | dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=26, norm_topk_prob=True,
                        shared_expert_intermediate_size=38, use_sliding_window=True, sliding_window=WINDOW)),
    Case("granite", "Granite", "GraniteConfig",
         DIVIDED | dict(embedding_multiplier=3.0, logits_scaling=2.5, residual_multiplier=0.4,
                        attention_multiplier=0.2, tie_word_embeddings=True)),
    Case("granite-biases", "Granite", "GraniteConfig", DIVIDED | dict(attention_bias=True, mlp_bias=True)),
    Case("seed-oss", "Seed-OSS", "SeedOssConfig", SIZES),
    Case("seed-oss-biases", "Seed-OSS", "SeedOssConfig", SIZES | dict(attention_out_bias=True, mlp_bias=True)),
    Case("exaone4", "EXAONE 4", "Exaone4Config", DIVIDED | dict(sliding_window=WINDOW, sliding_window_pattern=2)),
    Case("exaone4-no-windows", "EXAONE 4", "Exaone4Config",
         DIVIDED | dict(sliding_window=None, layer_types=["full_attention"] * 4)),
    Case("hunyuan", "HunYuan dense", "HunYuanDenseV1Config", SIZES | rope(rope_type="dynamic", alpha=50.0, factor=1.0)),
    Case("glm", "GLM-4 (first)", "GlmConfig", SIZES | dict(head_dim=20)),
    Case("glm4", "GLM-4", "Glm4Config", SIZES | dict(head_dim=20)),
    Case("glm4-whole-heads", "GLM-4", "Glm4Config",
         SIZES | dict(attention_bias=False, partial_rotary_factor=1.0, tie_word_embeddings=True)),
    Case("ernie4.5", "ERNIE 4.5", "Ernie4_5Config", SIZES),
    Case("ernie4.5-biases", "ERNIE 4.5", "Ernie4_5Config", SIZES | dict(use_bias=True)),
    Case("helium", "Helium", "HeliumConfig", SIZES | dict(hidden_size=60)),
    Case("cohere", "Cohere", "CohereConfig", DIVIDED),
    Case("cohere2", "Cohere 2", "Cohere2Config", DIVIDED | dict(sliding_window=WINDOW, num_hidden_layers=5)),
    Case("arcee", "Arcee", "ArceeConfig", DIVIDED),
    Case("arcee-biases", "Arcee", "ArceeConfig", DIVIDED | dict(attention_bias=True, mlp_bias=True)),
    Case("starcoder2", "StarCoder 2", "Starcoder2Config", DIVIDED | dict(sliding_window=WINDOW)),
    Case("starcoder2-no-biases", "StarCoder 2", "Starcoder2Config", DIVIDED | dict(use_bias=False)),
    Case("nemotron", "Nemotron", "NemotronConfig", SIZES | dict(head_dim=20, hidden_size=120), norm_mean=0.0),
    Case("nemotron-biases", "Nemotron", "NemotronConfig",
         SIZES | dict(head_dim=20, hidden_size=120, attention_bias=True, mlp_bias=True), norm_mean=0.0),
    Case("stablelm", "StableLM", "StableLmConfig",
         SIZES | dict(hidden_size=96, head_dim=16, partial_rotary_factor=0.5, use_qkv_bias=True)),
    # Fields that the file leaves out are those of the class; a stored head comes before a tied one.
    Case("gemma2-class-scale", "Gemma 2", "Gemma2Config", SIZES | dict(hidden_size=48),
         edits=dict(query_pre_attn_scalar=...)),
    Case("qwen3-class-head-dim", "Qwen3", "Qwen3Config", SIZES | dict(head_dim=128), edits=dict(head_dim=...)),
    Case("llama-own-head", "Llama", "LlamaConfig", SIZES, edits=dict(tie_word_embeddings=True)),
    Case("llama-rope-fields-disagree", "Llama", "LlamaConfig", SIZES | rope(rope_theta=77.0),
         edits=dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16))),
    Case("llama-without-prefix", "Llama", "LlamaConfig", SIZES, rename=("model.", "")),
    # Text models of those that also read images.
    Case("gemma3-vision", "Gemma 3", "Gemma3Config",
         dict(text_config=SIZES | dict(hidden_size=48, num_hidden_layers=7, sliding_window=WINDOW,
                                       query_pre_attn_scalar=17),
              vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                 image_size=28, patch_size=14), mm_tokens_per_image=1)),
    Case("mistral3-vision", "Mistral 3", "Mistral3Config",
         dict(text_config=SIZES | dict(model_type="mistral", sliding_window=WINDOW), vision_config=dict(
             model_type="pixtral", hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
             head_dim=8, image_size=28, patch_size=14))),
    Case("llava-vision", "LLaVA", "LlavaConfig",
         dict(text_config=SIZES | dict(model_type="llama"), vision_config=dict(
             model_type="clip_vision_model", hidden_size=16, intermediate_size=16, num_hidden_layers=2,
             num_attention_heads=2, image_size=28, patch_size=14))),
    Case("qwen2-vl", "Qwen2-VL", "Qwen2VLConfig",
         dict(text_config=DIVIDED | dict(rope_parameters=dict(rope_type="default", mrope_section=[1, 2, 2],
                                                              rope_theta=10000.0)),
              vision_config=dict(depth=1, embed_dim=16, hidden_size=60, num_heads=2, mlp_ratio=1))),
    Case("qwen2.5-vl", "Qwen2.5-VL", "Qwen2_5_VLConfig",
         dict(text_config=DIVIDED | dict(rope_parameters=dict(rope_type="default", mrope_section=[1, 2, 2],
                                                              rope_theta=10000.0)),
              vision_config=dict(depth=1, hidden_size=16, out_hidden_size=60, num_heads=2, intermediate_size=16,
                                 fullatt_block_indexes=[0]))),
    Case("qwen3-vl", "Qwen3-VL", "Qwen3VLConfig",
         dict(text_config=SIZES | dict(rope_parameters=dict(rope_type="default", mrope_section=[1, 2, 2],
                                                            rope_theta=10000.0, mrope_interleaved=True)),
              vision_config=dict(depth=1, hidden_size=16, out_hidden_size=54, num_heads=2, intermediate_size=16,
                                 deepstack_visual_indexes=[0]))),
    Case("internvl", "InternVL", "InternVLConfig",
         dict(text_config=DIVIDED | dict(model_type="qwen2"), vision_config=dict(
             hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=[28, 28],
             patch_size=[14, 14]))),
    Case("idefics3", "Idefics 3, SmolVLM", "Idefics3Config",
         dict(text_config=SIZES | dict(model_type="llama"), vision_config=dict(
             hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28,
             patch_size=14), scale_factor=1)),
]


MULTIMODAL = {case.config for case in CASES if "text_config" in case.options}


class Recorder:
    """An attention function that keeps what every layer computes and calls the model's own."""

    def __init__(self):
        self.layers = []

    def __call__(self, module, query, key, value, attention_mask, **kwargs):
        eager = sys.modules[type(module).__module__].eager_attention_forward
        output, weights = eager(module, query, key, value, attention_mask, **kwargs)
        self.layers.append((key[0].numpy(), value[0].numpy(), output[0].numpy()))
        return output, weights


def edit(folder: pathlib.Path, changes: dict) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def model_class(case: Case) -> type:
    of_text = case.config not in MULTIMODAL
    return transformers.AutoModelForCausalLM if of_text else transformers.AutoModelForImageTextToText


def make_checkpoint(case: Case, folder: pathlib.Path) -> None:
    torch.manual_seed(sum(map(ord, case.name)))
    config = getattr(transformers, case.config)(**case.options)
    model = model_class(case).from_config(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            # Large enough that every part moves the result: caps, norms, biases, sinks, routers.
            tensor.normal_(case.norm_mean if name.endswith("norm.weight") else 0.0, 0.3)
    model.save_pretrained(folder)
    edit(folder, case.edits)
    if case.rename[0]:
        path = folder / "model.safetensors"
        tensors = safetensors.torch.load_file(path)
        old, new = case.rename
        tensors = {new + name[len(old):] if name.startswith(old) else name: tensor for name, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def reference(case: Case, folder: pathlib.Path, ids: np.ndarray) -> tuple[np.ndarray, list]:
    recorder = Recorder()
    transformers.AttentionInterface.register("recorder", recorder)
    transformers.AttentionMaskInterface.register("recorder", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    model = model_class(case).from_pretrained(folder, dtype=torch.float32, attn_implementation="recorder",
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
        edit(folder, case.kvtune_edits | ({"architectures": [case.architecture]} if case.architecture else {}))
        if len(layers) != case.layer_count:
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
