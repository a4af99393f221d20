"""Quantizers of the engines' own packages: gguf, MLX, torch, HQQ, quanto.

Each function takes rows on the last axis and gives what the cache returns, in float32.
"""

from unittest import mock

import gguf
import mlx.core as mx
import numpy as np
import torch
from hqq.core.optimize import optimize_weights_proximal_legacy_step
from hqq.core.quantize import Quantizer
from optimum.quanto import MaxOptimizer, qint2, qint4, quantize_weight

import quantizer_formulas as formulas

F = np.float32


def ggml(x: np.ndarray, name: str) -> np.ndarray:
    """Rows of 32 through gguf's quantize and dequantize."""
    rows = np.ascontiguousarray(x.reshape(-1, 32))
    kind = getattr(gguf.GGMLQuantizationType, name.upper())
    with np.errstate(all="ignore"):
        if name == "iq4_nl":  # gguf only dequantizes it
            codes, scale = formulas.iq4_nl(rows)
            codes = codes.astype(np.uint8)
            packed = codes[:, :16] | (codes[:, 16:] << 4)
            blocks = np.concatenate([scale.astype(np.float16).view(np.uint8), packed], axis=-1)
        else:
            blocks = gguf.quants.quantize(rows, kind)
        return gguf.quants.dequantize(blocks, kind).reshape(x.shape).astype(F)


def mlx(x: np.ndarray, bits: int, group: int, mode: str) -> np.ndarray:
    rows = mx.array(np.ascontiguousarray(x.reshape(-1, x.shape[-1])))
    with mx.stream(mx.cpu):
        parts = mx.quantize(rows, group_size=group, bits=bits, mode=mode)
        values = mx.dequantize(*parts, group_size=group, bits=bits, mode=mode)
    return np.array(values.astype(mx.float32)).reshape(x.shape)


def float8(x: np.ndarray, kind: torch.dtype, scale: np.ndarray) -> np.ndarray:
    """A saturating cast of x / scale and back."""
    largest = torch.finfo(kind).max
    scaled = torch.from_numpy(x / scale).clamp(-largest, largest)
    return scaled.to(kind).float().numpy() * scale


def hqq(x: np.ndarray, bits: int) -> np.ndarray:
    """As transformers' HQQQuantizedLayer (axis 1, group 64), with all rounds for every row: HQQ itself stops
    them by the mean error of all rows of a call."""
    rows = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 64)))
    with mock.patch.object(Quantizer, "optimize_weights", hqq_rounds):
        codes, meta = Quantizer.quantize(rows, nbits=bits, group_size=64, axis=1, device="cpu",
                                         compute_dtype=torch.float32, bitpack=False)
    meta["compute_dtype"] = torch.float32
    return Quantizer.dequantize(codes, meta).reshape(x.shape).numpy()


def hqq_rounds(tensor, scale, zero, min_max, axis, device):
    for _ in range(20):
        _, _, zero, scale = optimize_weights_proximal_legacy_step(tensor, scale, zero, min_max, 10, 0.7, axis)
    return torch.round(tensor * scale + zero).clamp(*min_max), scale, zero


def quanto(x: np.ndarray, bits: int) -> np.ndarray:
    """As transformers' QuantoQuantizedLayer with axis 0, group 64."""
    rows = torch.from_numpy(np.ascontiguousarray(x.reshape(-1, 64)))
    kind = {4: qint4, 2: qint2}[bits]
    scale, shift = MaxOptimizer()(rows, kind, 0, 64)
    return quantize_weight(rows, kind, 0, scale, shift, 64).dequantize().reshape(x.shape).numpy()


def vllm_signs(head_dim: int) -> np.ndarray:
    """_get_rht_signs of vllm/v1/attention/ops/int4_per_token_head.py, drawn by torch itself."""
    generator = torch.Generator(device="cpu").manual_seed(0x9E3779B9)
    return (2.0 * torch.bernoulli(torch.full((head_dim,), 0.5), generator=generator) - 1.0).numpy()
