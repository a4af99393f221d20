"""llama.cpp through its C API, on a GGUF file made of the checkpoint; see joint_kl.py.

A plan is one type for the keys and one for the values of all layers. Formats of ik_llama.cpp without
its Hadamard option stand for llama.cpp with its rotation off.
"""

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import subprocess
import tempfile

import gguf
import llama_cpp
import numpy as np

import joint_kl

ROUNDING = "rounds the query to 8 bits (on the CPU)"
TYPES = {name: int(getattr(gguf.GGMLQuantizationType, name.upper()))
         for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")} | {"exact": llama_cpp.GGML_TYPE_F32}

# Key rows times a query that stays float32: what the CPU kernel computes but for the rounding.
DOT_SOURCE = """
#include <stddef.h>
#include <stdint.h>
void (*to_float)(const void*, float*, int64_t);
void dot(int n, float* sum, size_t bs, const void* key, size_t bk, const void* query, size_t bq, int rows) {
  float row[1024];
  double total = 0;
  to_float(key, row, n);
  for (int i = 0; i < n; ++i) total += (double)row[i] * ((const float*)query)[i];
  *sum = (float)total;
}
"""


class TypeTraits(ctypes.Structure):  # ggml.h
    _fields_ = [("type_name", ctypes.c_char_p), ("block_size", ctypes.c_int64), ("interleave", ctypes.c_int64),
                ("type_size", ctypes.c_size_t), ("is_quantized", ctypes.c_bool), ("to_float", ctypes.c_void_p),
                ("from_float_ref", ctypes.c_void_p)]


class CpuTypeTraits(ctypes.Structure):  # ggml-cpu.h
    _fields_ = [("from_float", ctypes.c_void_p), ("vec_dot", ctypes.c_void_p), ("vec_dot_type", ctypes.c_int),
                ("nrows", ctypes.c_int64)]


class ExactQuery:
    """While entered, keys of the type are multiplied with the query as it is."""

    def __init__(self, folder: pathlib.Path, libraries: pathlib.Path, key_type: int):
        source, library = folder / "dot.c", folder / "dot.so"
        source.write_text(DOT_SOURCE)
        if not library.exists():
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        self.dot = ctypes.CDLL(str(library))
        base, cpu = (ctypes.CDLL(str(libraries / f"{name}.so.0")) for name in ("libggml-base", "libggml-cpu"))
        base.ggml_get_type_traits.restype = ctypes.POINTER(TypeTraits)
        cpu.ggml_get_type_traits_cpu.restype = ctypes.POINTER(CpuTypeTraits)
        self.to_float = base.ggml_get_type_traits(key_type).contents.to_float
        self.traits = cpu.ggml_get_type_traits_cpu(key_type).contents
        self.kept = (self.traits.vec_dot, self.traits.vec_dot_type)

    def set(self, vec_dot: int, vec_dot_type: int) -> None:
        page = ctypes.addressof(self.traits) // mmap.PAGESIZE * mmap.PAGESIZE  # the table is read-only
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(page), 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
            raise OSError(ctypes.get_errno(), "making ggml's table of types writable")
        self.traits.vec_dot, self.traits.vec_dot_type = vec_dot, vec_dot_type

    def __enter__(self):
        ctypes.c_void_p.in_dll(self.dot, "to_float").value = self.to_float
        self.set(ctypes.cast(self.dot.dot, ctypes.c_void_p).value, llama_cpp.GGML_TYPE_F32)

    def __exit__(self, *_):
        self.set(*self.kept)


def read_tensors(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """The checkpoint's tensors in float32."""
    tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        content = file.read_bytes()
        header_size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8:8 + header_size])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = (8 + header_size + offset for offset in entry["data_offsets"])
            data = content[begin:end]
            if entry["dtype"] == "BF16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype(np.float32)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rotary pairs side by side, as llama.cpp's Llama has them; checkpoints have two halves."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(directory: pathlib.Path, file: pathlib.Path) -> dict:
    """As llama.cpp's converter does it: a Llama has its rotary pairs side by side. A Qwen2 keeps two halves; it
    becomes a "seed_oss", of which llama.cpp's own Qwen2 is the special case without a head_dim."""
    config = json.loads((directory / "config.json").read_text())
    if config["model_type"] not in ("llama", "qwen2"):
        raise SystemExit(f"{directory}: found a model of type {config['model_type']}, expected llama or qwen2")
    architecture = {"llama": "llama", "qwen2": "seed_oss"}[config["model_type"]]
    heads, kv_heads, layers = (config[f"num_{what}"] for what in
                               ("attention_heads", "key_value_heads", "hidden_layers"))
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], layers)
    for name, tensor in read_tensors(directory).items():
        if architecture == "llama" and ".q_proj." in name:
            tensor = interleaved(tensor, heads)
        if architecture == "llama" and ".k_proj." in name:
            tensor = interleaved(tensor, kv_heads)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config


def one_format(layers: list[dict], side: str) -> str:
    formats = {layer[side] for layer in layers}
    if len(formats) != 1:
        raise SystemExit(f"llama.cpp has one type for the {side}s of all layers, found {sorted(formats)}")
    return formats.pop()


@llama_cpp.llama_log_callback
def be_quiet(level, text, data):
    pass


def run(job: dict) -> dict:
    llama_cpp.llama_log_set(be_quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory(prefix="kvtune_engine_") as name:
        return run_in(pathlib.Path(name), job)


def load(file: pathlib.Path):
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp does not load {file}")
    return model


def decode(model, ids: list[int], vocabulary: int, key_type: int, value_type: int) -> np.ndarray:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = (len(ids) + 255) // 256 * 256
    params.type_k, params.type_v, params.flash_attn_type = key_type, value_type, 1
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit(f"llama.cpp does not decode a prompt of {len(ids)} tokens")
    logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(ids), vocabulary)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return logits


def run_in(folder: pathlib.Path, job: dict) -> dict:
    config = write_gguf(pathlib.Path(job["model"]), folder / "model.gguf")
    model = load(folder / "model.gguf")
    libraries = pathlib.Path(llama_cpp.__file__).parent / "lib"

    def logits_with(key: str, value: str, exact_query: bool = False) -> joint_kl.Logits:
        key_type, value_type = TYPES[key.removeprefix("ik_")], TYPES[value.removeprefix("ik_")]
        is_plain = key.startswith("ik_") or value.startswith("ik_")

        def logits(ids: list[int]) -> np.ndarray:
            os.environ["LLAMA_ATTN_ROT_DISABLE"] = str(int(is_plain))
            query = ExactQuery(folder, libraries, key_type) if exact_query else contextlib.nullcontext()
            with query:
                return decode(model, ids, config["vocab_size"], key_type, value_type)
        return logits

    caches = []
    for plan in job["plans"]:
        formats = one_format(plan["layers"], "key"), one_format(plan["layers"], "value")
        caches.append(joint_kl.Cache(plan["name"], logits_with(*formats)))
        if formats[0] != "exact":
            caches.append(joint_kl.Cache(plan["name"], logits_with(*formats, exact_query=True), ROUNDING))
    return joint_kl.answer(job, logits_with("exact", "exact"), caches)


if __name__ == "__main__":
    joint_kl.serve(run)
