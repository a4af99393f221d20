"""Compares the table of class defaults with the installed transformers' configuration classes.

Usage: class_defaults.py [--write] TABLE        TABLE: lib/core/class_defaults.inc

A config.json may leave fields out; transformers then takes those of the model's configuration class.
The table holds them for every class that kvtune reads: all fields that change what is computed or
cached. A field of a class that is neither in FIELDS nor known to change nothing (HARMLESS) is a
difference too, so that a new one is noticed. --write replaces the table by what is installed.
"""

import argparse
import dataclasses
import inspect
import json
import pathlib
import re
import sys

import transformers
from transformers import PreTrainedConfig

CLASSES = """
ArceeConfig Cohere2Config CohereConfig Ernie4_5Config Exaone4Config FlexOlmoConfig Gemma2Config Gemma3TextConfig GemmaConfig
Glm4Config GlmConfig GptOssConfig GraniteConfig HeliumConfig HunYuanDenseV1Config LlamaConfig Ministral3Config
MinistralConfig MistralConfig MixtralConfig NemotronConfig Olmo2Config Olmo3Config OlmoeConfig Phi3Config
Qwen2Config Qwen2MoeConfig Qwen2VLTextConfig Qwen2_5_VLTextConfig Qwen3Config Qwen3MoeConfig Qwen3VLTextConfig
SeedOssConfig SmolLM3Config StableLmConfig Starcoder2Config
""".split()
# Of models that also read images, the field that their text model takes from them.
WRAPPERS = """
Gemma3Config Idefics3Config InternVLConfig LlavaConfig LlavaNextConfig
LlavaOnevisionConfig Mistral3Config Qwen2VLConfig Qwen2_5_VLConfig Qwen3VLConfig SmolVLMConfig
""".split()
FIELDS = """
vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
hidden_act hidden_activation max_position_embeddings original_max_position_embeddings rms_norm_eps
layer_norm_eps norm_eps norm_epsilon tie_word_embeddings attention_bias attention_out_bias mlp_bias use_bias
use_qkv_bias qkv_bias sliding_window use_sliding_window max_window_layers sliding_window_pattern layer_types
no_rope_layers no_rope_layer_interval query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping
use_bidirectional_attention num_local_experts num_experts num_experts_per_tok moe_intermediate_size
shared_expert_intermediate_size norm_topk_prob decoder_sparse_step mlp_only_layers embedding_multiplier
logits_scaling residual_multiplier attention_multiplier logit_scale clip_qkv qk_layernorm
use_parallel_residual use_qk_norm
""".split()
HARMLESS = """
initializer_range use_cache attention_dropout hidden_dropout embedding_dropout residual_dropout resid_pdrop
embd_pdrop pretraining_tp output_router_logits router_aux_loss_coef router_jitter_noise pad_token_id
bos_token_id eos_token_id eod_token_id rope_parameters swiglu_alpha swiglu_limit
""".split()  # rope_parameters: rotary_defaults; swiglu_*: kvtune refuses other values than its own


def rotary_defaults(config_class: type) -> dict:
    """The base, the rotated part and, where the class has one, its scaling."""
    found = {}
    parameters = config_class().rope_parameters
    if "full_attention" in parameters:
        found["rope_theta"] = parameters["full_attention"]["rope_theta"]
        found["rope_local_theta"] = parameters["sliding_attention"]["rope_theta"]
        return found
    # A base of the file replaces the class's, except where the class's scaling brings its own.
    own_base = config_class(rope_theta=12345.0).rope_parameters["rope_theta"] != 12345.0
    found["rope_theta"] = getattr(config_class, "default_theta", 10000.0) if own_base else parameters["rope_theta"]
    if parameters.get("partial_rotary_factor", 1) not in (None, 1):
        found["partial_rotary_factor"] = parameters["partial_rotary_factor"]
    if parameters["rope_type"] != "default":
        found["rope_parameters"] = {key: value for key, value in parameters.items()
                                    if key not in ("type", "max_position_embeddings")
                                    and (key != "rope_theta" or own_base)}
    return found


def reads_head_dim(config_class: type) -> bool:
    """Whether the attention takes head_dim from the configuration."""
    # Read and not imported: the module needs torch.
    configuration = pathlib.Path(inspect.getfile(config_class))
    source = configuration.with_name(configuration.name.replace("configuration_", "modeling_")).read_text()
    attentions = re.findall(r"\nclass \w*Attention\(.*?(?=\nclass |\Z)", source, re.DOTALL)
    return any(re.search(r"config(\.|, \")head_dim", text) for text in attentions)


def defaults_of(config_class: type) -> dict:
    base = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    unknown = set(fields) - set(FIELDS) - set(HARMLESS) - base
    if unknown:
        raise SystemExit(f"class_defaults: {config_class.__name__} has fields that nobody looked at: {sorted(unknown)}")
    found = {"model_type": config_class.model_type}
    found |= {name: fields[name] for name in FIELDS if name in fields}
    if "head_dim" not in found and reads_head_dim(config_class):
        found["head_dim"] = None
    found |= rotary_defaults(config_class)
    # A second name of a field; where a file has both, it is read last.
    for pair in config_class.attribute_map.items():
        if set(pair) <= set(FIELDS):
            alias, name = pair if pair[1] in fields else pair[::-1]
            found["aliases"] = found.get("aliases", {}) | {alias: name}
    return found


def installed() -> dict:
    table = {name: defaults_of(getattr(transformers, name)) for name in CLASSES}
    table |= {name: {"tie_word_embeddings": bool(getattr(getattr(transformers, name)(), "tie_word_embeddings", False))}
              for name in WRAPPERS}
    return dict(sorted(table.items()))


def write(path: pathlib.Path, table: dict) -> None:
    lines = []
    for name, fields in table.items():
        line = f'"{name}": {{'
        for index, (key, value) in enumerate(fields.items()):
            item = f"{json.dumps(key)}: {json.dumps(value)}" + ("}" if index + 1 == len(fields) else ",")
            if len(line) + len(item) > 96:
                lines.append(line)
                line = "   "
            line += ("" if line.endswith("{") else " ") + item
        lines.append(line + ("" if name == list(table)[-1] else ","))
    path.write_text('// Written by scripts/oracles/class_defaults.py --write, from transformers.\n'
                    'R"json({\n' + "\n".join(lines) + '\n})json"\n')


def read(path: pathlib.Path) -> dict:
    return json.loads(re.search(r'R"json\((.*)\)json"', path.read_text(), re.DOTALL).group(1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("table", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    expected = installed()
    if arguments.write:
        write(arguments.table, expected)
    found = read(arguments.table)
    differences = [f"{name}: found {found.get(name)}, expected {expected.get(name)}"
                   for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    for difference in differences:
        print("class_defaults:", difference)
    print("FAILED" if differences else "ok", f"({len(expected)} classes of transformers {transformers.__version__})")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
