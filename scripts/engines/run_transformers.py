"""transformers with its quantized cache layers (HQQ, quanto); see joint_kl.py.

A prompt is fed in pieces of the cache's residual length: the first is the prefill, which attends
exactly; a later query reads what came before its piece as quantized, and its own piece exactly.
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
REQUANTIZING = "quantizes again what it has quantized"


class Once:
    """Mixed into a quantized layer: a token is quantized once, where the layer quantizes all that it
    holds whenever its residual is full."""

    def update(self, key_states, value_states, *args, **kwargs):
        self.cumulative_length += key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.stored = [key_states[:, :, :0], value_states[:, :, :0]]
        returned = []
        for i, (new, axis) in enumerate([(key_states, self.axis_key), (value_states, self.axis_value)]):
            returned.append(torch.cat([self.stored[i], new], dim=-2))
            kept = self._dequantize(self._quantize(new.contiguous(), axis=axis))
            self.stored[i] = torch.cat([self.stored[i], kept.reshape(new.shape)], dim=-2)
        return tuple(returned)


class OnceHqq(Once, HQQQuantizedLayer):
    pass


class OnceQuanto(Once, QuantoQuantizedLayer):
    pass


ONCE = {HQQQuantizedLayer: OnceHqq, QuantoQuantizedLayer: OnceQuanto}


def make_layer(layer: dict, once: bool):
    if layer["key"] != layer["value"]:
        raise SystemExit(f"transformers has one width for both sides, found {layer}")
    if layer["key"] == "exact":
        return DynamicLayer()
    library, bits = re.fullmatch(r"(hqq|quanto)_int(\d)", layer["key"]).groups()
    kind, axis = LAYERS[library]
    return (ONCE[kind] if once else kind)(
        nbits=int(bits), axis_key=axis, axis_value=axis, q_group_size=GROUP_SIZE, residual_length=RESIDUAL_LENGTH)


def run(job: dict) -> dict:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()

    def logits_with(layers: list[dict], once: bool) -> joint_kl.Logits:
        @torch.inference_mode()
        def logits(ids: list[int]):
            cache = Cache(layers=[make_layer(layer, once) for layer in layers])
            pieces = torch.tensor([ids]).split(RESIDUAL_LENGTH, dim=-1)
            return torch.cat([model(piece, past_key_values=cache).logits[0] for piece in pieces]).numpy()
        return logits

    caches = []
    for plan in job["plans"]:
        caches.append(joint_kl.Cache(plan["name"], logits_with(plan["layers"], once=False)))
        caches.append(joint_kl.Cache(plan["name"], logits_with(plan["layers"], once=True), REQUANTIZING))
    exact = logits_with([{"key": "exact", "value": "exact"}] * model.config.num_hidden_layers, once=False)
    return joint_kl.answer(job, exact, caches)


if __name__ == "__main__":
    joint_kl.serve(run)
