"""Compares what kvtune makes of random config.json files with transformers' configuration classes.

Usage: config_property.py --kvtune KVTUNE [--count N] [--seed N] [CLASS...]

Each file starts from a small model of one class. Fields are then removed, set to null, moved between
the old and the new rotary spelling, or given in both with different values. Where transformers takes
the file, kvtune has to say the same of heads, head_dim, the window and the rotation of every layer, the
query scale and the tied head, or refuse it. Exit code 0 when all agree and at most half are refused.
"""

import argparse
import collections
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import transformers

from class_defaults import CLASSES

SIZES = dict(vocab_size=512, hidden_size=128, intermediate_size=96, num_hidden_layers=6, num_attention_heads=8,
             num_key_value_heads=2, max_position_embeddings=256)
# The class of a causal model that the file names; text models of wrappers are in no file of their own.
ARCHITECTURES = {name: name.replace("TextConfig", "Config").replace("Config", "ForCausalLM") for name in CLASSES
                 if "VLText" not in name}
REMOVABLE = """
num_hidden_layers num_attention_heads num_key_value_heads head_dim hidden_act hidden_activation
max_position_embeddings original_max_position_embeddings rms_norm_eps layer_norm_eps norm_eps norm_epsilon
tie_word_embeddings attention_bias mlp_bias sliding_window use_sliding_window max_window_layers layer_types
no_rope_layers no_rope_layer_interval query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping
num_local_experts num_experts num_experts_per_tok moe_intermediate_size embedding_multiplier logits_scaling
residual_multiplier attention_multiplier rope_parameters
""".split()


def random_scaling(generator: random.Random) -> dict:
    kind = generator.choice(["default", "linear", "dynamic", "llama3", "yarn"])
    scaling = {generator.choice(["rope_type", "rope_type", "type"]): kind}
    if kind != "default":
        scaling["factor"] = generator.choice([2.0, 4.0, 8.0])
    if kind == "llama3":
        scaling |= dict(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    if kind == "yarn":
        scaling |= generator.choice([{}, dict(original_max_position_embeddings=64),
                                     dict(beta_fast=16.0, beta_slow=2.0, truncate=False), dict(attention_factor=1.5),
                                     dict(mscale=1.0, mscale_all_dim=0.5)])
    if generator.random() < 0.5:
        scaling["rope_theta"] = generator.choice([500.0, 20000.0])
    return scaling


def random_rotation(config: dict, generator: random.Random) -> None:
    by_type = "full_attention" in (config.get("rope_parameters") or {})
    config.pop("rope_parameters", None)
    if generator.random() < 0.5:
        config["rope_theta"] = generator.choice([3000.0, 1000000.0])
    if generator.random() < 0.4:
        config["rope_scaling"] = generator.choice([None, {}, random_scaling(generator), random_scaling(generator)])
    if generator.random() < 0.6:
        parameters = random_scaling(generator)
        if by_type:
            parameters = {"full_attention": parameters, "sliding_attention": random_scaling(generator)}
        config["rope_parameters"] = generator.choice([None, parameters, parameters, parameters])
    if by_type and generator.random() < 0.3:
        config["rope_local_base_freq"] = 700.0


def random_config(name: str, generator: random.Random) -> dict:
    config_class = getattr(transformers, name)
    known = config_class().to_dict()
    config = {key: value for key, value in known.items() if key in REMOVABLE or key in SIZES}
    config |= {key: value for key, value in SIZES.items() if key in known}
    for key in ("layer_types", "no_rope_layers"):
        config.pop(key, None)
    if "sliding_window" in config and generator.random() < 0.7:
        config["sliding_window"] = generator.choice([16, 100, 256, 1000, None])
    if "use_sliding_window" in config:
        config["use_sliding_window"] = generator.random() < 0.5
        config["max_window_layers"] = generator.choice([0, 2, 6])
    if ("layer_types" in known or name == "MistralConfig") and generator.random() < 0.4:
        config["layer_types"] = [generator.choice(["full_attention", "sliding_attention"]) for _ in range(6)]
    if generator.random() < 0.4:
        config["sliding_window_pattern"] = generator.choice([2, 3])
    if "no_rope_layers" in known and generator.random() < 0.4:
        config["no_rope_layers"] = [generator.choice([0, 1]) for _ in range(6)]
    config["head_dim"] = generator.choice([16, 32, 64])
    if "query_pre_attn_scalar" in known:
        config["query_pre_attn_scalar"] = generator.choice([64, 144])
    random_rotation(config, generator)
    for key in [key for key in config if key in REMOVABLE]:
        chance = generator.random()
        if chance < 0.2:
            del config[key]
        elif chance < 0.25:
            config[key] = None
    return config | {"architectures": [ARCHITECTURES[name]], "model_type": config_class.model_type}


def read_by_transformers(config: dict):
    """With one rule of newer versions: Mistral with layer_types is Ministral."""
    if config["model_type"] == "mistral" and "layer_types" in config:
        config = config | {"model_type": "ministral"}
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        return transformers.AutoConfig.from_pretrained(folder)


def rotation_of(parameters: dict, head_dim: int, config) -> dict:
    """As inspect says it."""
    kind = parameters["rope_type"]
    rotation = {"type": "default" if kind == "dynamic" else kind, "theta": parameters["rope_theta"],
                "rotary_dim": int(head_dim * (parameters.get("partial_rotary_factor") or 1.0))}
    if rotation["type"] == "default":
        return rotation
    rotation["factor"] = factor = parameters["factor"]
    if kind == "llama3":
        rotation |= {key: parameters[key] for key in ("low_freq_factor", "high_freq_factor",
                                                      "original_max_position_embeddings")}
    if kind == "yarn":
        rotation |= {"original_max_position_embeddings": parameters["original_max_position_embeddings"],
                     "beta_fast": parameters.get("beta_fast") or 32, "beta_slow": parameters.get("beta_slow") or 1,
                     "truncated": parameters.get("truncate", True)}
        function = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"]
        layer_type = "full_attention" if "full_attention" in config.rope_parameters else None
        if layer_type is None or config.rope_parameters[layer_type] is parameters:
            rotation["attention_factor"] = function(config, "cpu", layer_type=layer_type)[1]
    return rotation


def slides(config) -> list[bool]:
    layers = config.num_hidden_layers
    if config.model_type == "qwen3_moe" or not hasattr(type(config), "layer_types"):
        has_window = "sliding_window" in type(config).__dataclass_fields__
        return [has_window and config.sliding_window is not None] * layers
    return [kind == "sliding_attention" for kind in config.layer_types]


def expected_of(config) -> dict:
    if config.num_key_value_heads is None:
        raise ValueError("no model can be built of it")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sliding = slides(config)
    window = getattr(config, "sliding_window", None) or 0
    scalar = getattr(config, "query_pre_attn_scalar", head_dim)
    parameters = config.rope_parameters
    by_type = "full_attention" in parameters
    turned = [True] * config.num_hidden_layers
    if config.model_type == "smollm3":
        turned = [bool(value) for value in config.no_rope_layers]
    if config.model_type == "cohere2":
        turned = [is_sliding and window > 0 for is_sliding in sliding]
    if config.model_type == "exaone4" and config.sliding_window is not None:
        turned = sliding
    rotations = [rotation_of(parameters[("sliding" if is_sliding else "full") + "_attention"] if by_type else
                             parameters, head_dim, config) if turns else None
                 for is_sliding, turns in zip(sliding, turned)]
    return {"layer_count": config.num_hidden_layers, "query_heads": config.num_attention_heads,
            "kv_heads": config.num_key_value_heads, "head_dim": head_dim,
            # A window that the context never fills is none.
            "window_tokens": [window if is_sliding and window < config.max_position_embeddings else 0
                              for is_sliding in sliding],
            "rotations": rotations, "tied_embeddings": config.tie_word_embeddings,
            "attention_scale": getattr(config, "attention_multiplier", None) or 1 / math.sqrt(scalar)}


def found_by(kvtune: str, path: pathlib.Path) -> dict | str:
    done = subprocess.run([kvtune, "inspect", "--model", str(path), "--json", "--device", "cpu"],
                          capture_output=True, text=True)
    if done.returncode == 1:
        return done.stderr.strip()
    if done.returncode != 0:
        raise SystemExit(f"config_property: exit code {done.returncode} for {path.read_text()}: {done.stderr}")
    said = json.loads(done.stdout)
    said["rotations"] = [None if index is None else said["rope"][index] for index in said["rope_of_layer"]]
    return said


def differs(expected, found) -> bool:
    if isinstance(expected, dict):
        return any(differs(value, found.get(key)) for key, value in expected.items())
    if isinstance(expected, list):
        return len(expected) != len(found) or any(map(differs, expected, found))
    if isinstance(expected, float):
        return not math.isclose(expected, found, rel_tol=1e-9)
    return expected != found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--count", type=int, default=16, help="files of each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="show each refusal")
    parser.add_argument("classes", nargs="*")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    counts = collections.Counter()
    for name in arguments.classes or ARCHITECTURES:
        generator = random.Random(f"{arguments.seed} {name}")
        for index in range(arguments.count):
            config = random_config(name, generator)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "config.json"
                path.write_text(json.dumps(config))
                try:
                    expected = expected_of(read_by_transformers(config))
                except Exception:  # transformers itself does not take the file
                    counts["refused by transformers"] += 1
                    continue
                found = found_by(arguments.kvtune, path)
            if isinstance(found, str):
                counts["refused by kvtune"] += 1
                if arguments.verbose:
                    print(f"{name} {index}: {found}")
            elif differing := [key for key, value in expected.items() if differs(value, found[key])]:
                counts["differ"] += 1
                print(f"{name} {index}: {json.dumps(config)}")
                for key in differing:
                    print(f"  {key}: found {found[key]}, expected {expected[key]}")
            else:
                counts["agree"] += 1
    print(dict(counts))
    failed = counts["differ"] > 0 or counts["agree"] < counts["refused by kvtune"]
    print("FAILED" if failed else "ok")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
