"""Compares kvtune's fake quantization with the formula written out in NumPy, bit for bit in float32.

Usage: quantizer_parity.py --tool ORACLE_TOOL
Rows: random, constant, tiny range (under the smallest scale), outliers, both signs, subnormal.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

F = np.float32


def asymmetric(x: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """KVTuner's "vanilla" quantizer (arXiv 2502.04420) along `axis`, every step in float32."""
    q_max, q_min = F(2 ** (bits - 1) - 1), F(-(2 ** (bits - 1)))
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    scale = np.maximum(high - low, F(1e-5)) / (q_max - q_min)
    zero = np.rint(low / scale) - q_min
    q = np.clip(np.rint(x / scale - zero), q_min, q_max)
    return (q + zero) * scale


def per_token(x: np.ndarray, bits: int, group: int) -> np.ndarray:
    """x: [count, tokens, head_dim]; rows of `group` channels, the last one may be shorter."""
    parts = [asymmetric(x[..., i:i + group], bits, -1) for i in range(0, x.shape[-1], group)]
    return np.concatenate(parts, axis=-1)


def per_channel(x: np.ndarray, bits: int, group: int) -> np.ndarray:
    """Rows of `group` tokens of one channel; tokens that fill no group stay exact."""
    full = x.shape[1] // group * group
    parts = [asymmetric(x[:, i:i + group], bits, 1) for i in range(0, full, group)]
    return np.concatenate(parts + [x[:, full:]], axis=1)


def cases(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """By name, each [count, tokens, head_dim]."""
    inputs = {}
    for head_dim in (8, 64, 80, 128):
        shape = (3, 77, head_dim)
        normal = rng.standard_normal(shape).astype(F)
        outliers = normal.copy()
        outliers[..., 3] *= F(60)
        outliers[1, :, 5] = F(-1000)
        kinds = [normal,                                       # random
                 np.full(shape, F(-0.7371)),                   # constant
                 np.zeros(shape, F),
                 (F(0.25) + normal * F(1e-7)).astype(F),       # a range under the smallest scale
                 outliers,
                 np.abs(normal) + F(3),                        # one sign
                 normal * F(1e18),                             # large
                 normal * F(1e-40)]                            # subnormal
        inputs[f"head_dim {head_dim}"] = np.concatenate(kinds)
    return inputs


FORMATS = {
    **{(f"int{b}", side): (lambda x, b=b: per_token(x, b, x.shape[-1])) for b in (8, 4, 2) for side in ("key", "value")},
    **{(f"kivi_int{b}", "key"): (lambda x, b=b: per_channel(x, b, 32)) for b in (8, 4, 2)},
    **{(f"kivi_int{b}", "value"): (lambda x, b=b: per_token(x, b, 32)) for b in (8, 4, 2)},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    differing = compared = 0
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        for name, x in cases(rng).items():
            x.tofile(source)
            for (format_name, side), formula in FORMATS.items():
                subprocess.run([arguments.tool, "fake-quantize", format_name, side, *map(str, x.shape),
                                str(source), str(target)], check=True)
                found = np.fromfile(target, dtype=F).reshape(x.shape)
                expected = formula(x)
                different = int((found.view(np.uint32) != expected.view(np.uint32)).sum())
                compared += x.size
                differing += different
                if different:
                    at = np.argwhere(found.view(np.uint32) != expected.view(np.uint32))[0]
                    print(f"{format_name} {side}, {name}: {different} of {x.size} differ, "
                          f"first at {tuple(at)}: found {found[tuple(at)]!r}, expected {expected[tuple(at)]!r}")
    print(f"{compared} values compared bit for bit, {differing} differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
