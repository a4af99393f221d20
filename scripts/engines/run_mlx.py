"""mlx-lm with a quantized cache a layer; see joint_kl.py."""

import glob
import json
import pathlib
import re

import mlx.core as mx
import numpy as np
from mlx_lm.models import llama
from mlx_lm.models.cache import KVCache, QuantizedKVCache

import joint_kl

GROUP_SIZE = 64


def load(directory: pathlib.Path) -> llama.Model:
    """In float32. Llama and Qwen2, the latter as a Llama whose output projection has a bias of 0: mlx-lm's
    own Qwen2 takes no head_dim."""
    config = json.loads((directory / "config.json").read_text())
    if config["model_type"] not in ("llama", "qwen2"):
        raise SystemExit(f"{directory}: found a model of type {config['model_type']}, expected llama or qwen2")
    weights = {}
    for file in glob.glob(str(directory / "*.safetensors")):
        weights |= mx.load(file)
    weights = {name: tensor.astype(mx.float32) for name, tensor in weights.items()}
    if config["model_type"] == "qwen2":
        config |= {"model_type": "llama", "attention_bias": True}
        for layer in range(config["num_hidden_layers"]):
            weights[f"model.layers.{layer}.self_attn.o_proj.bias"] = mx.zeros(config["hidden_size"])
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config.pop("layer_types", None)
    model = llama.Model(llama.ModelArgs.from_dict(config))
    model.load_weights(list(model.sanitize(weights).items()))
    return model


def make_cache(layer: dict):
    if layer["key"] != layer["value"]:
        raise SystemExit(f"mlx-lm has one width for both sides, found {layer}")
    if layer["key"] == "exact":
        return KVCache()
    bits = int(re.fullmatch(r"mlx_int(\d)", layer["key"]).group(1))
    return QuantizedKVCache(group_size=GROUP_SIZE, bits=bits)


def run(job: dict) -> dict:
    mx.set_default_device(mx.cpu)
    model = load(pathlib.Path(job["model"]))

    def logits_with(layers: list[dict]) -> joint_kl.Logits:
        def logits(ids: list[int]) -> np.ndarray:
            return np.array(model(mx.array([ids]), cache=[make_cache(layer) for layer in layers])[0])
        return logits

    caches = [joint_kl.Cache(plan["name"], logits_with(plan["layers"])) for plan in job["plans"]]
    exact = logits_with([{"key": "exact", "value": "exact"}] * len(model.model.layers))
    return joint_kl.answer(job, exact, caches)


if __name__ == "__main__":
    joint_kl.serve(run)
