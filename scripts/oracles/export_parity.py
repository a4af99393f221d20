#!/usr/bin/env python3
"""Runs what `kvtune pareto export` writes with the libraries that it is written for: transformers with
HQQ and quanto, the cache classes of exllamav3, the loader of mlx-optiq.

Usage: export_parity.py --kvtune BINARY

exllamav3 has no CPU build and mlx-optiq wants no more than its loader here, so that their packages are
unpacked without what they depend on, once, into ${XDG_CACHE_HOME:-~/.cache}/kvtune; what cannot be had
is left out with a message.
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import types

import torch
import transformers
from transformers.cache_utils import DynamicLayer, HQQQuantizedLayer, QuantoQuantizedLayer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import cached_venv

MODEL = ROOT / "calib_data" / "demo_model"
GROUP_SIZE, RESIDUAL_LENGTH = 64, 128
EXACT = 16
# A prompt in pieces: the prefill, then the window of exact tokens just not full, full, and full again.
PIECES = [70, 1, 99, 27, 3, 60, 70, 10, 5]


class Export:
    """Writes plans of one target, by the bits of keys and values of every layer."""

    def __init__(self, kvtune: str, folder: pathlib.Path, target: str, prefix: str):
        self.kvtune, self.folder, self.prefix = kvtune, folder, prefix
        self.run = folder / target
        self.of_model = ["--model", MODEL, "--target", target, "--max-prompts", "1", "--max-tokens", "100", "--device", "cpu"]
        self.call("search", *self.of_model, "--out", self.run, "--held-out", "none", "--population", "8", "--generations",
                  "1", "--no-refine")

    def call(self, *arguments) -> str:
        done = subprocess.run([self.kvtune, *arguments, "-q"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, bits: list[tuple[int, int]], form: str) -> str:
        """The plan takes the place of the front that was found."""
        name_of = lambda width: "exact" if width == EXACT else f"{self.prefix}{width}"
        pairs = [f"{name_of(key)}/{name_of(value)}" for key, value in bits]
        spec = ";".join(pairs[:1] + [f"{layer}:{pair}" for layer, pair in enumerate(pairs)])
        scored = json.loads(self.call("evaluate", *self.of_model, "--plan", spec, "--json"))["plans"]
        front = json.loads((self.run / "front.json").read_text())
        front["plans"] = [scored[0] | {"name": "mine"}]
        (self.run / "front.json").write_text(json.dumps(front))
        return self.call("pareto", "export", self.run, "--plan", "mine", "--format", form)


def execute(snippet: str) -> types.ModuleType:
    module = types.ModuleType("exported")
    exec(compile(snippet, "exported snippet", "exec"), module.__dict__)  # pylint: disable=exec-used
    return module


def record(layer) -> list:
    """Every later update of a cache layer: what was put in and what came out, keys and values."""
    calls, update = [], layer.update

    def recorded(keys, values, *arguments, **keywords):
        returned = update(keys, values, *arguments, **keywords)
        calls.append(((keys.clone(), values.clone()), tuple(side.clone() for side in returned)))
        return returned

    layer.update = recorded
    return calls


def levels(stored: torch.Tensor) -> int:
    """The most distinct values in a group of neighbouring channels of one token."""
    return max(len(group.unique()) for group in stored.reshape(-1, GROUP_SIZE))


def check_transformers(export: Export, form: str, library_layer: type, axis: int, widths: list[int]) -> None:
    """Every layer returns what the library's own layer of that width does, and the exact ones all that
    was put in."""
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    layer_count = model.config.num_hidden_layers
    pairs = [(key, value) for key in widths for value in widths]
    bits = ([pairs[1], (EXACT, EXACT)] + pairs + [(EXACT, EXACT)] * layer_count)[:layer_count - 1] + [(EXACT, EXACT)]
    snippet = execute(export.write(bits, form))
    cache = snippet.kv_cache()
    calls, most_levels = [record(layer) for layer in cache.layers], {}
    ids = torch.randint(1, model.config.vocab_size, (1, sum(PIECES)), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for piece in ids.split(PIECES, dim=-1):
            model(piece, past_key_values=cache)

        for layer, of_layer in enumerate(calls):
            for side, width in enumerate(bits[layer]):
                expected = DynamicLayer() if width == EXACT else library_layer(
                    nbits=width, axis_key=axis, axis_value=axis, q_group_size=GROUP_SIZE, residual_length=RESIDUAL_LENGTH)
                assert len(of_layer) == len(PIECES)
                for put, returned in of_layer:
                    kept = expected.update(*put)[side]
                    assert torch.equal(returned[side], kept), f"{form}: layer {layer}, side {side}, {width} bits"
                put_in = torch.cat([put[side] for put, _ in of_layer], dim=-2)
                assert torch.equal(returned[side], put_in) == (width == EXACT), (form, layer, side)
                if width != EXACT:
                    count = levels(returned[side][:, :, :sum(PIECES[:5])])
                    most_levels[width] = max(most_levels.get(width, 0), count)
    # Apart from the library: so many levels, no more.
    for width, count in most_levels.items():
        assert min(2 ** (width - 1), GROUP_SIZE // 2) < count <= 2 ** width, (form, width, count)
    check_generation(snippet, bits, form)
    check_any_length(snippet, bits, library_layer, axis, form)


@torch.inference_mode()
def check_generation(snippet: types.ModuleType, bits: list[tuple[int, int]], form: str) -> None:
    """generate() goes on past a full window of new tokens, as one token at a time does; in the type that
    models are served in."""
    new_tokens = RESIDUAL_LENGTH + 5
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    prompt = torch.randint(1, model.config.vocab_size, (1, 40), generator=torch.Generator().manual_seed(1))
    cache = snippet.kv_cache()
    generated = model.generate(prompt, past_key_values=cache, max_new_tokens=new_tokens, do_sample=False)
    assert generated.shape[-1] == prompt.shape[-1] + new_tokens
    assert [type(layer) is DynamicLayer for layer in cache.layers] == [pair == (EXACT, EXACT) for pair in bits]
    assert {layer.get_seq_length() for layer in cache.layers} == {generated.shape[-1] - 1}

    by_hand, ids = snippet.kv_cache(), prompt
    for _ in range(new_tokens):
        logits = model(ids[:, by_hand.get_seq_length():], past_key_values=by_hand).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=-1)
    assert torch.equal(generated, ids), form


@torch.inference_mode()
def check_any_length(snippet: types.ModuleType, bits: list[tuple[int, int]], library_layer: type, axis: int, form: str) -> None:
    """Prompts of any number of tokens are stored, also where HQQ packs several groups into one byte: as the library
    stores them when zeros fill them up. HQQ's solver ends by the error of the whole tensor, to which zeros add none."""
    # The layer with the fewest bits packs the most groups into one byte.
    layer, widths = min(enumerate(bits), key=lambda entry: sum(entry[1]))
    for tokens in (69, 71, 72):
        prompt = torch.randn((2, 1, 2, tokens, GROUP_SIZE), generator=torch.Generator().manual_seed(tokens))
        taken = torch.nn.functional.pad(prompt, (0, 0, 0, -tokens % 4)) if form == "hf" else prompt
        one = torch.ones((1, 2, 1, GROUP_SIZE))
        cache = snippet.kv_cache().layers[layer]
        cache.update(*prompt)
        returned = cache.update(one, one)
        for side, width in enumerate(widths):
            expected = library_layer(nbits=width, axis_key=axis, axis_value=axis, q_group_size=GROUP_SIZE,
                                     residual_length=RESIDUAL_LENGTH)
            expected.update(*taken)
            kept = expected.update(one, one)[side][..., :tokens, :]
            assert torch.equal(returned[side][..., :tokens, :], kept), (form, tokens, layer, side)
        # A full window joins what is stored, whatever the number of tokens.
        more = torch.randn((1, 2, RESIDUAL_LENGTH + 1, GROUP_SIZE), generator=torch.Generator().manual_seed(1))
        for piece in more.split(64, dim=-2):
            returned = cache.update(piece, piece)
        assert all(side.shape[-2] == tokens + 1 + more.shape[-2] and side.isfinite().all() for side in returned), (form, tokens)


def unpacked(name: str) -> pathlib.Path | None:
    """The folder with a package's files; None where they cannot be had."""
    try:
        return cached_venv.unpacked(f"export-{name}", name)
    except subprocess.CalledProcessError:
        print(f"{name} cannot be installed: its export is not compared")
        return None


class ExllamaModel:
    """What exllamav3's Cache asks of a model."""

    def __init__(self, paged_layers: list[int]):
        self.config, self.recurrent_state_cls, self.cache_weakrefs = object(), None, {}
        self.modules = [types.SimpleNamespace(layer_idx=layer, num_kv_heads=2, head_dim=64, cache_layers=[])
                        for layer in paged_layers]

    def get_cache_layers(self):
        return self.modules

    def get_recurrent_layers(self):
        return []

    def get_layer_instances(self, layer_idx):
        return [(layer_idx, 0)]


def load_exllamav3_cache(folder: pathlib.Path) -> types.ModuleType:
    """exllamav3.cache alone: its kernels and the rest of the package are stood in for."""
    parent = types.ModuleType("exllamav3")
    parent.__path__ = [str(folder / "exllamav3")]
    sys.modules["exllamav3"] = parent
    sys.modules["exllamav3.ext"] = types.SimpleNamespace(exllamav3_ext=None)
    sys.modules["exllamav3.model"] = types.SimpleNamespace(Model=object, Config=object)
    return importlib.import_module("exllamav3.cache")


def check_exllamav3(export: Export) -> bool:
    """The layers that a model would allocate are the plan's."""
    folder = unpacked("exllamav3")
    if folder is None:
        return False
    exllama = load_exllamav3_cache(folder)
    bits = [(8, 4), (EXACT, EXACT), (7, 2), (2, 7), (6, 5), (5, 3), (3, 8), (4, 4)]
    snippet = execute(export.write(bits, "exllamav3"))
    model = ExllamaModel(list(range(len(bits))))
    cache = exllama.Cache(model, max_num_tokens=512)
    snippet.set_kv_bits(cache)
    assert list(model.cache_weakrefs) == [id(cache)]
    for module, (key_bits, value_bits) in zip(model.modules, bits, strict=True):
        layer, = module.cache_layers
        assert cache.layers[module.layer_idx, 0] is layer and layer.cache_id == id(cache) and layer.attention is module
        if key_bits == EXACT:
            assert type(layer) is exllama.CacheLayer_fp16
            continue
        assert type(layer) is exllama.CacheLayer_quant and (layer.k_bits, layer.v_bits) == (key_bits, value_bits)
        layer.alloc("cpu")
        bytes_stored = sum(tensor.nbytes for tensor in layer.get_tensors())
        assert bytes_stored == 512 * 2 * 64 * (key_bits + value_bits + 1) // 8  # a half for 32 values: half a bit

    # Layers with a sliding window are not in the paged cache: only a plan that leaves them alone can be set.
    windows = exllama.Cache(ExllamaModel([0, 2, 3, 4, 5, 6, 7]), max_num_tokens=512)
    snippet.set_kv_bits(windows)
    missing = exllama.Cache(ExllamaModel([0, 1, 3, 4, 5, 6, 7]), max_num_tokens=512)
    try:
        snippet.set_kv_bits(missing)
    except ValueError as error:
        assert "[2]" in str(error), error
    else:
        raise AssertionError("bits for a layer that the cache does not have were dropped")
    return True


def check_mlx_optiq(export: Export) -> bool:
    folder = unpacked("mlx-optiq")
    if folder is None:
        return False
    sys.path.append(str(folder))
    serve = importlib.import_module("optiq.serve")
    bits = [8, 6, EXACT, 5, 4, 3, 2, EXACT]
    file = export.folder / "kv_config.json"
    file.write_text(export.write([(width, width) for width in bits], "mlx-optiq"))
    loaded = serve._load_kv_config(str(file))  # pylint: disable=protected-access
    # Layers that are not in its list keep their cache as it is (install_mixed_kv, install_batch_kv_quant).
    assert [(c.layer_idx, c.bits, c.group_size) for c in loaded] == [(i, b, 64) for i, b in enumerate(bits) if b != EXACT]
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvtune", required=True)
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        def export(target: str, prefix: str) -> Export:
            return Export(arguments.kvtune, pathlib.Path(folder), target, prefix)

        check_transformers(export("hf", "hqq_int"), "hf", HQQQuantizedLayer, 1, [8, 4, 2])
        check_transformers(export("hf-quanto", "quanto_int"), "hf-quanto", QuantoQuantizedLayer, 0, [4, 2])
        ran = ["hf", "hf-quanto"]
        ran += ["exllamav3"] if check_exllamav3(export("exllamav3", "exl3_int")) else []
        ran += ["mlx-optiq"] if check_mlx_optiq(export("mlx-optiq", "mlx_int")) else []
    print(f"exports of {', '.join(ran)}: run with the libraries, every layer has the plan's bits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
