"""Compares kvtune's fake quantization with the engines' own code, value by value in float32.

Usage: quantizer_parity.py --tool ORACLE_TOOL [--table FILE] [--only WORD] [--seed N]
Where an engine's package runs on a CPU it is called live (quantizer_packages.py); else its kernel is
written out in NumPy (quantizer_formulas.py). Values must be equal, where 0 equals -0 (attention cannot
tell them apart) and except for the tolerances below, each with its reason.
--table FILE: writes the measured differences into the format table of docs/targets.md.
Rows: random, constant, zero, negative zero, tiny range, outliers, one sign, large, subnormal.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import torch

import quantizer_formulas as formulas
import quantizer_packages as packages

F = np.float32

# Largest difference by the largest magnitude of a head, where the engine's order of operations is not kept.
ULP = 2.0 ** -23
EXLLAMA_TOLERANCE = 16 * ULP  # one factor before the rotation back instead of after it
# HQQ's sums of 64 terms in another order move the zero by a few ulps of up to 255 steps. Where a value then lies on
# the other side of a middle, its row goes another way: about one row in a thousand.
HQQ_TOLERANCE, HQQ_OTHER_ROWS = 256 * ULP, 0.005


TOKENS = 37
BOTH = ("key", "value")  # sides whose layouts differ


@dataclasses.dataclass
class Oracle:
    source: str
    # [heads, tokens, head_dim], side -> the same
    quantize: Callable[[np.ndarray, str], np.ndarray]
    head_dims: tuple[int, ...] = (64, 96, 128)
    tolerance: float = 0.0
    other_rows: float = 0.0  # share of tokens and heads that may differ by more
    sides: tuple[str, ...] = ("key",)


def grouped(quantize: Callable[[np.ndarray], np.ndarray], group: int) -> Callable:
    """Rows of `group` channels; the last one may be shorter."""
    def run(x: np.ndarray, _side: str) -> np.ndarray:
        return np.concatenate([quantize(x[..., i:i + group]) for i in range(0, x.shape[-1], group)], axis=-1)
    return run


def tokens32(bits: int) -> Callable:
    """KIVI: keys in groups of 32 tokens, values in groups of 32 channels."""
    def run(x: np.ndarray, side: str) -> np.ndarray:
        if side == "value":
            return grouped(lambda row: formulas.kvtuner(row, bits), 32)(x, side)
        full = x.shape[1] // 32 * 32
        parts = [formulas.kvtuner(x[:, i:i + 32], bits, axis=1) for i in range(0, full, 32)]
        return np.concatenate(parts + [x[:, full:]], axis=1)
    return run


def largest_power_of_two(n: int) -> int:
    return n & -n


def llama(name: str) -> Callable:
    """llama.cpp rotates heads of a multiple of 64: keys as far as it goes, values in blocks of 64."""
    def run(x: np.ndarray, side: str) -> np.ndarray:
        if x.shape[-1] % 64 != 0:
            return packages.ggml(x, name)
        block = largest_power_of_two(x.shape[-1]) if side == "key" else 64
        return formulas.rotated(lambda y: packages.ggml(y, name), x, block)
    return run


def ik(name: str, hadamard: bool) -> Callable:
    def plain(x: np.ndarray) -> np.ndarray:
        return grouped(formulas.ik_q6_0, 32)(x, "") if name == "q6_0" else packages.ggml(x, name)

    def run(x: np.ndarray, _side: str) -> np.ndarray:
        if not hadamard or x.shape[-1] % 64 != 0:
            return plain(x)
        return formulas.rotated(plain, x, largest_power_of_two(x.shape[-1]))
    return run


def fp8(kind: torch.dtype, scale_of: Callable[[np.ndarray], np.ndarray]) -> Callable:
    return lambda x, _side: packages.float8(x, kind, scale_of(x))


def unit(_x: np.ndarray) -> np.ndarray:
    return F(1)


def whole(x: np.ndarray) -> np.ndarray:
    return np.abs(x).max() / F(448)


def of_row(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x).max(axis=-1, keepdims=True) / F(448), F(1e-6))


def vllm_fp8(x: np.ndarray, _side: str) -> np.ndarray:
    scale = of_row(x)
    return packages.float8(x * (F(1) / scale), torch.float8_e4m3fn, F(1)) * scale


def nvfp4_calibrated(x: np.ndarray, _side: str) -> np.ndarray:
    """The written-out kernel with a global scale: E4M3 by torch, E2M1 by its table."""
    scale = np.abs(x).max() / F(6 * 448)
    rows = x.reshape(-1, 16)
    block = packages.float8(np.abs(rows).max(axis=-1, keepdims=True) / F(6) / scale, torch.float8_e4m3fn, F(1)) * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(block == 0, F(0), rows / block)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=F)
    middles, even = (values[1:] + values[:-1]) / 2, np.array([0, 1, 0, 1, 0, 1, 0])
    magnitude = np.abs(scaled)[..., None]
    index = ((magnitude > middles) | ((magnitude == middles) & (even == 1))).sum(axis=-1)
    return (np.where(scaled < 0, -values[index], values[index]) * block).reshape(x.shape)


def oracles() -> dict[str, Oracle]:
    table = {}
    for b in (8, 4, 2):
        formula = lambda row, b=b: formulas.kvtuner(row, b)
        table[f"int{b}"] = Oracle("arXiv 2502.04420, written out", lambda x, _s, f=formula: f(x), (8, 64, 80, 128))
        table[f"kivi_int{b}"] = Oracle("arXiv 2402.02750, written out", tokens32(b), (8, 64, 80, 128),
                                         sides=BOTH)
    e4m3, e5m2 = torch.float8_e4m3fn, torch.float8_e5m2
    table["fp8_e4m3"] = Oracle("torch cast", fp8(e4m3, unit))
    table["fp8_e4m3_calibrated"] = Oracle("torch cast", fp8(e4m3, whole))
    table["fp8_e5m2"] = Oracle("torch cast", fp8(e5m2, unit))
    table["fp8_per_token_head"] = Oracle("vLLM kernel with torch cast", vllm_fp8)
    table["int8_per_token_head"] = Oracle("vLLM kernel, written out", lambda x, _s: formulas.vllm_int8(x))
    table["int4_per_token_head"] = Oracle(
        "vLLM kernel, written out; signs by torch",
        lambda x, _s: formulas.vllm_int4(x, packages.vllm_signs(x.shape[-1])), (64, 128))
    for b in (4, 3):
        table[f"tq_k{b}"] = Oracle("vLLM kernel, written out", lambda x, _s, b=b: formulas.turboquant_key(x, b),
                                   (64, 128, 256))
        table[f"tq_v{b}"] = Oracle("vLLM kernel, written out", lambda x, _s, b=b: formulas.turboquant_value(x, b),
                                   sides=("value",))
    table["nvfp4"] = Oracle("mlx", lambda x, _s: packages.mlx(x, 4, 16, "nvfp4"))
    table["nvfp4_calibrated"] = Oracle("vLLM kernel, written out", nvfp4_calibrated)
    table["mxfp4"] = Oracle("gguf", lambda x, _s: packages.ggml(x, "mxfp4"))
    table["fp4_e2m1"] = Oracle("SGLang kernel, written out", grouped(formulas.sglang_fp4, 16))
    for b in (8, 4):
        table[f"lmdeploy_int{b}"] = Oracle("LMDeploy kernel, written out", lambda x, _s, b=b: formulas.lmdeploy(x, b))
    for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"):
        source = "gguf; scale and codes written out" if name == "iq4_nl" else "gguf"
        table[name] = Oracle(source, llama(name), sides=BOTH)
    for name in ("q8_0", "q6_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"):
        source = {"q6_0": "ik_llama.cpp kernel, written out", "iq4_nl": "gguf; scale and codes written out"}
        for hadamard in (False, True):
            suffix = "_had" if hadamard else ""
            table[f"ik_{name}{suffix}"] = Oracle(source.get(name, "gguf"), ik(name, hadamard))
    for b in (8, 6, 5, 4, 3, 2):
        table[f"mlx_int{b}"] = Oracle("mlx", lambda x, _s, b=b: packages.mlx(x, b, 64, "affine"), (64, 128))
    for b in (8, 4, 2):
        table[f"hqq_int{b}"] = Oracle("hqq, all rounds", lambda x, _s, b=b: packages.hqq(x, b), (64,),
                                      HQQ_TOLERANCE, HQQ_OTHER_ROWS)
    for b in (4, 2):
        table[f"quanto_int{b}"] = Oracle("optimum-quanto", lambda x, _s, b=b: packages.quanto(x, b), (64, 128))
    for b in range(2, 9):
        table[f"exl3_int{b}"] = Oracle("exllamav3 kernel, written out",
                                       grouped(lambda row, b=b: formulas.exllama(row, b), 32), tolerance=EXLLAMA_TOLERANCE)
    return table


def rows(rng: np.random.Generator, tokens: int, head_dim: int) -> np.ndarray:
    """[heads, tokens, head_dim], heads of every kind."""
    shape = (2, tokens, head_dim)
    normal = rng.standard_normal(shape).astype(F)
    outliers = normal.copy()
    outliers[..., 3] *= F(60)
    outliers[1, :, 5] = F(-1000)
    return np.concatenate([
        normal,
        np.full(shape, F(-0.7371)),
        np.zeros(shape, F),
        np.full(shape, F(-0.0)),
        (F(0.25) + normal * F(1e-7)).astype(F),  # a range under the smallest scales
        outliers,
        np.abs(normal) + F(3),                   # one sign
        normal * F(1e3),
        normal * F(1e-40)])                      # subnormal


def fake_quantized(tool: str, inputs: list[tuple[str, str, np.ndarray]]) -> list[np.ndarray]:
    """What kvtune makes of each (format, side, numbers), by one process for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for at, (name, side, x) in enumerate(inputs):
            source, target = pathlib.Path(folder, f"{at}.in"), pathlib.Path(folder, f"{at}.out")
            x.tofile(source)
            jobs.append(" ".join(map(str, [name, side, *x.shape, source, target])) + "\n")
        jobs_file = pathlib.Path(folder, "jobs")
        jobs_file.write_text("".join(jobs))
        subprocess.run([tool, "fake-quantize", jobs_file], check=True)
        return [np.fromfile(pathlib.Path(folder, f"{at}.out"), dtype=F).reshape(x.shape)
                for at, (_, _, x) in enumerate(inputs)]


class Comparison:
    def __init__(self, tool: str, seed: int) -> None:
        self.tool = tool
        self.seed = seed
        self.compared = 0
        self.other_rows = 0
        self.failures = 0

    def inputs_of(self, name: str, oracle: Oracle) -> list[tuple[str, str, np.ndarray]]:
        """What the format is compared on, for each size of a head and each side."""
        rng = np.random.default_rng(self.seed)  # of this format: others do not change its rows
        return [(name, side, x) for x in (rows(rng, TOKENS, head_dim) for head_dim in oracle.head_dims)
                for side in oracle.sides]

    def run(self, formats: dict[str, Oracle]) -> dict[str, float]:
        """The largest difference of each format, as compare() says."""
        inputs = {name: self.inputs_of(name, oracle) for name, oracle in formats.items()}
        found = iter(fake_quantized(self.tool, [of_one for of_format in inputs.values() for of_one in of_format]))
        return {name: max(self.compare(name, oracle, side, x, next(found)) for _, side, x in inputs[name])
                for name, oracle in formats.items()}

    def compare(self, name: str, oracle: Oracle, side: str, x: np.ndarray, found: np.ndarray) -> float:
        """The largest difference by the largest magnitude of its head, but for the rows that may differ by more."""
        expected = oracle.quantize(x, side)
        size = np.abs(x).max(axis=-1, keepdims=True).astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.abs(found.astype(np.float64) - expected) / np.maximum(size, 1e-30)
        # Infinite or undefined is fine where both are (half precision overflows).
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
        self.compared += x.size
        wrong = difference > oracle.tolerance
        others = wrong.any(axis=-1)
        self.other_rows += int(others.sum())
        if others.mean() <= oracle.other_rows:
            difference[others] = 0
        else:
            self.failures += 1
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            print(f"{name} {side}, head_dim {x.shape[-1]}: {int(wrong.sum())} of {x.size} differ, first at {at}: "
                  f"{x[at]!r} gives {found[at]!r}, expected {expected[at]!r}")
        return float(difference.max())


def format_table(formats: list[dict], worst: dict[str, float]) -> str:
    """The table of docs/targets.md."""
    lines = ["| format | effective bits, head_dim 64 | head_dim 128 | oracle | largest difference |", "|---|---|---|---|---|"]
    table = oracles()
    for entry in formats:
        name = entry["name"]
        if name == "exact":
            continue
        bits = []
        for head_dim in ("64", "128"):
            key, value = entry["effective_bits"][head_dim]
            bits.append(f"{key:.5g}" if key == value else f"{key:.5g} / {value:.5g}")
        difference = "0" if worst[name] == 0 else f"{worst[name]:.0e}"
        lines.append(f"| `{name}` | {bits[0]} | {bits[1]} | {table[name].source} | {difference} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- formats: begin -->\n", "<!-- formats: end -->\n"


def says_the_same(document: str, table: str) -> bool:
    """Differences that are not 0 may be others on other processors."""
    written = re.search(f"{BEGIN}(.*){END}", document, flags=re.DOTALL)
    return written is not None and re.sub(r"\de-\d\d", "small", written[1]) == re.sub(r"\de-\d\d", "small", table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--table", type=pathlib.Path, help="document whose table is written anew")
    parser.add_argument("--check-table", type=pathlib.Path, help="document whose table has to say the same")
    parser.add_argument("--only", help="formats whose name holds this")
    parser.add_argument("--seed", type=int, default=0, help="of the rows; the table is of 0")
    arguments = parser.parse_args()
    formats = json.loads(subprocess.run([arguments.tool, "formats"], check=True, capture_output=True).stdout)
    table = oracles()
    names = [entry["name"] for entry in formats if entry["name"] != "exact"]
    if set(names) != set(table):
        print(f"formats without an oracle, or the reverse: {sorted(set(names) ^ set(table))}")
        return 1
    comparison = Comparison(arguments.tool, arguments.seed)
    worst = comparison.run({name: table[name] for name in names if arguments.only is None or arguments.only in name})
    print(f"{len(worst)} formats, {comparison.compared} values compared, {comparison.failures} comparisons failed; "
          f"{comparison.other_rows} rows beyond a tolerance")
    for name, difference in worst.items():
        if difference > 0:
            print(f"  {name}: largest difference {difference:.2e} of the head's largest magnitude")
    if arguments.only is None and arguments.seed == 0:
        inside = format_table(formats, worst)
        if arguments.table:
            text = arguments.table.read_text()
            arguments.table.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: BEGIN + inside + END, text, flags=re.DOTALL))
        if arguments.check_table and not says_the_same(arguments.check_table.read_text(), inside):
            print(f"{arguments.check_table}: found another table, expected (--table writes it):\n{inside}")
            return 1
    return int(comparison.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
