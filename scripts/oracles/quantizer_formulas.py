"""Quantizers written out in NumPy from the engines' sources, every step in float32.

For engines whose kernels need a GPU, and for the rotations around others. Each function takes rows on
the last axis and gives what the cache returns. The sources are named in SOURCES of quantizer_parity.py.
"""

import numpy as np

F = np.float32


def kvtuner(x: np.ndarray, bits: int, axis: int = -1) -> np.ndarray:
    q_max, q_min = F(2 ** (bits - 1) - 1), F(-(2 ** (bits - 1)))
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    scale = np.maximum(high - low, F(1e-5)) / (q_max - q_min)
    zero = np.rint(low / scale) - q_min
    q = np.clip(np.rint(x / scale - zero), q_min, q_max)
    return (q + zero) * scale


def to_half(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(F)


def extreme(x: np.ndarray) -> np.ndarray:
    """The element of the largest magnitude, the first of several."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def nearest(x: np.ndarray, table: list[float]) -> np.ndarray:
    """Index of the nearest entry of a rising table; the middle goes up."""
    table = np.array(table, dtype=F)
    above = np.clip(np.searchsorted(table, x, side="right"), 1, len(table) - 1)
    return np.where(x - table[above - 1] < table[above] - x, above - 1, above)


def round_half_away(x: np.ndarray) -> np.ndarray:
    return np.trunc(np.where(x >= 0, x + F(0.5), x - F(0.5)))


def walsh_hadamard(x: np.ndarray, block: int) -> np.ndarray:
    """Without its factor 1 / sqrt(block)."""
    y = x.reshape(-1, block)
    half = 1
    while half < block:
        y = y.reshape(-1, block // (2 * half), 2, half)
        y = np.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], axis=2)
        half *= 2
    return y.reshape(x.shape)


def rotated(quantize, x: np.ndarray, block: int) -> np.ndarray:
    """Rotation, `quantize`, rotation back (the orthonormal transform is its own inverse)."""
    factor = F(1) / np.sqrt(F(block))
    return walsh_hadamard(quantize(walsh_hadamard(x, block) * factor), block) * factor


def vllm_int8(x: np.ndarray) -> np.ndarray:
    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True) / F(127), F(1e-6))
    # tl.store to an int8 pointer: a cast, which truncates.
    return np.clip(x * (F(1) / scale), F(-128), F(127)).astype(np.int8).astype(F) * scale


def vllm_int4(x: np.ndarray, signs: np.ndarray) -> np.ndarray:
    y = walsh_hadamard(x * signs, x.shape[-1])
    low, high = y.min(axis=-1, keepdims=True), y.max(axis=-1, keepdims=True)
    scale = np.maximum((high - low) / F(15), F(1e-6))
    zero = np.clip(round_half_away(-low / scale), F(0), F(15))
    q = np.clip(round_half_away(y * (F(1) / scale) + zero), F(0), F(15))
    packed = (scale.view(np.int32) & -16) | zero.astype(np.int32)
    read_scale, read_zero = (packed & -16).view(F), (packed & 0xF).astype(F)
    return walsh_hadamard((q - read_zero) * read_scale, x.shape[-1]) * signs / F(x.shape[-1])


def lloyd_max(head_dim: int, bits: int) -> np.ndarray:
    """Levels for N(0, 1 / head_dim), as solve_lloyd_max of vLLM: at most 200 steps of Lloyd's iteration, integrals by
    the trapezoidal rule over 200 intervals."""
    count, variance = 2 ** bits, 1.0 / head_dim
    high = 3.5 * np.sqrt(variance)
    levels = -high + 2 * high * (np.arange(count) + 0.5) / count
    for _ in range(200):
        edges = np.concatenate([[-3 * high], (levels[:-1] + levels[1:]) / 2, [3 * high]])
        x = np.linspace(edges[:-1], edges[1:], 201, axis=-1)
        density = np.exp(-x * x / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        mass, moment = (np.trapezoid(y, x, axis=-1) for y in (density, x * density))
        new = np.where(mass > 1e-15, moment / np.maximum(mass, 1e-300), levels)
        if np.abs(new - levels).max() < 1e-10:
            break
        levels = new
    return levels.astype(F)


def running_sum(x: np.ndarray) -> np.ndarray:
    """In the order of the elements, in float32."""
    return np.cumsum(x, axis=-1, dtype=F)[..., -1:]


def turboquant_key(x: np.ndarray, bits: int) -> np.ndarray:
    head_dim, levels = x.shape[-1], lloyd_max(x.shape[-1], bits)
    norm = np.sqrt(running_sum(x * x))
    factor = F(1) / np.sqrt(F(head_dim))
    y = walsh_hadamard(x / (norm + F(1e-8)), head_dim) * factor
    y = levels[np.searchsorted((levels[:-1] + levels[1:]) / F(2), y, side="right")]
    y = y * (F(1) / np.sqrt(running_sum(y * y) + F(1e-16)))  # norm correction
    return walsh_hadamard(to_half(norm) * y, head_dim) * factor


def turboquant_value(x: np.ndarray, bits: int) -> np.ndarray:
    levels = F(2 ** bits - 1)
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    scale = np.maximum((high - low) / levels, F(1e-8))
    q = np.clip(((x - low) / scale + F(0.5)).astype(np.int32), 0, int(levels)).astype(F)
    return q * to_half(scale) + to_half(low)


def sglang_fp4(x: np.ndarray) -> np.ndarray:
    largest = np.abs(x).max(axis=-1, keepdims=True)
    exponent = np.ceil(np.log2(np.maximum(largest / F(6), F(1e-10))))
    scaled = x / np.exp2(exponent)
    bounds = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], dtype=F)
    magnitude = (np.abs(scaled)[..., None] >= bounds).sum(axis=-1)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=F)[magnitude]
    return np.where(scaled < 0, -values, values) * np.exp2(exponent)


def lmdeploy(x: np.ndarray, bits: int) -> np.ndarray:
    levels = F(2 ** bits - 1)
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    scale = (high - low) / levels
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = -low / scale
        q = (x / scale + zero + F(0.5)).astype(np.uint8).astype(F)
        value = (q - to_half(zero)) * to_half(scale)
    # LMDeploy divides by 0 where a row is constant; kvtune stores the constant as the scale, a half.
    return np.where(scale == 0, to_half(low), value)


def ik_q6_0(x: np.ndarray) -> np.ndarray:
    d = extreme(x) / F(-32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = np.where(d == 0, F(0), F(1) / d)
        q = np.clip(np.nan_to_num(np.trunc(x * inverse + F(32.5))), F(0), F(63)) - F(32)
        weight = (x * inverse) * (x * inverse)
        sum_qx, sum_q2 = np.zeros_like(d), np.zeros_like(d)
        for j in range(16):  # the order of the sums is the kernel's
            k = j + 16
            sum_qx = sum_qx + (weight[..., j:j + 1] * x[..., j:j + 1] * q[..., j:j + 1]
                               + weight[..., k:k + 1] * x[..., k:k + 1] * q[..., k:k + 1])
            sum_q2 = sum_q2 + (weight[..., j:j + 1] * q[..., j:j + 1] * q[..., j:j + 1]
                               + weight[..., k:k + 1] * q[..., k:k + 1] * q[..., k:k + 1])
        best = np.where(sum_q2 > 0, sum_qx / sum_q2, d)
    best = np.where(np.abs(d) < F(2.0 ** -25), F(0), best)  # the kernel's sums are not finite there
    return q * to_half(best)


IQ4_NL = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]


def iq4_nl(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and float32 scale; gguf has the dequantization."""
    largest = extreme(x)
    is_zero = np.abs(largest) < F(1e-15)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = F(1) / (largest / F(-127))
        codes = nearest(np.nan_to_num(inverse * x), IQ4_NL)
    q = np.array(IQ4_NL, dtype=F)[codes]
    weight = x * x
    sum_qx, sum_q2 = np.zeros_like(largest), np.zeros_like(largest)
    for j in range(32):
        sum_qx = sum_qx + weight[..., j:j + 1] * q[..., j:j + 1] * x[..., j:j + 1]
        sum_q2 = sum_q2 + weight[..., j:j + 1] * q[..., j:j + 1] * q[..., j:j + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(is_zero | ~(sum_q2 > 0), F(0), sum_qx / sum_q2)
    return codes, scale


def exllama(x: np.ndarray, bits: int) -> np.ndarray:
    factor, half = F(0.17677669529663688110), F(2 ** (bits - 1))
    y = walsh_hadamard(x, 32) * factor
    scale = np.abs(y).max(axis=-1, keepdims=True) + F(1e-10)
    q = np.clip(np.floor(y * (F(1) / scale) * half + half), F(0), F(2) * half - F(1))
    step = to_half(scale) * factor * (F(1) / half)
    return walsh_hadamard((q - (half - F(0.5))) * step, 32)
