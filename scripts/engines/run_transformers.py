"""transformers with its quantized cache layers (HQQ, quanto); see joint_kl.py.

A prompt's first tokens, as many as the cache's residual length, are the prefill, which attends exactly. The
others are decoded one by one: a query reads exactly what came since the layer quantized last.
"""

import re

import torch
import transformers
from transformers.cache_utils import Cache, DynamicLayer, HQQQuantizedLayer, QuantoQuantizedLayer

import joint_kl

RESIDUAL_LENGTH = 128
GROUP_SIZE = 64
# The layer, and the axis whose groups are neighbouring channels of a token.
LAYERS = {"hqq": (HQQQuantizedLayer, 1), "quanto": (QuantoQuantizedLayer, 0)}


def make_layer(layer: dict):
    if layer["key"] != layer["value"]:
        raise SystemExit(f"transformers has one width for both sides, found {layer}")
    if layer["key"] == "exact":
        return DynamicLayer()
    library, bits = re.fullmatch(r"(hqq|quanto)_int(\d)", layer["key"]).groups()
    kind, axis = LAYERS[library]
    return kind(nbits=int(bits), axis_key=axis, axis_value=axis, q_group_size=GROUP_SIZE, residual_length=RESIDUAL_LENGTH)


def run(job: dict) -> dict:
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()

    def logits_with(layers: list[dict]) -> joint_kl.Logits:
        @torch.inference_mode()
        def logits(ids: list[int]):
            cache = Cache(layers=[make_layer(layer) for layer in layers])
            prefill, decoded = ids[:RESIDUAL_LENGTH], ids[RESIDUAL_LENGTH:]
            return torch.cat([model(torch.tensor([piece]), past_key_values=cache).logits[0]
                              for piece in (prefill, *([token] for token in decoded))]).numpy()
        return logits

    caches = [joint_kl.Cache(plan["name"], logits_with(plan["layers"])) for plan in job["plans"]]
    exact = logits_with([{"key": "exact", "value": "exact"}] * model.config.num_hidden_layers)
    return joint_kl.answer(job, exact, caches)


if __name__ == "__main__":
    joint_kl.serve(run)
