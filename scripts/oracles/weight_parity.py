"""Checks that quantized weights are dequantized as the formats' own definitions say.

A tiny random Llama is saved once in every stored form and once more, beside it, as the float32
weights that the definition makes of it: transformers' own code for FP8 and MXFP4, the package
compressed-tensors for its formats, NumPy from the layouts of AWQ and GPTQ. Both go through kvtune,
whose logits must be the same bit for bit.

Usage: weight_parity.py --tool ORACLE_TOOL
"""

import argparse
import json
import pathlib
import sys
import tempfile
import types

import numpy as np
import torch
import transformers
from compressed_tensors.compressors.naive_quantized import FloatQuantizationCompressor, IntQuantizationCompressor
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from logits_parity import kvtune_logits

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, LAYERS, VOCAB = 256, 384, 8, 4, 32, 2, 96
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": VOCAB,
    "tie_word_embeddings": False,
}


def float_weights(seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    weights = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN],
               "lm_head.weight": [VOCAB, HIDDEN]}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}{norm}.weight"] = [HIDDEN]
        for name, rows, columns in (("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
                                    ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
                                    ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
                                    ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
                                    ("mlp.gate_proj", INTERMEDIATE, HIDDEN), ("mlp.up_proj", INTERMEDIATE, HIDDEN),
                                    ("mlp.down_proj", HIDDEN, INTERMEDIATE)):
            weights[f"{layer}{name}.weight"] = [rows, columns]
    return {name: torch.ones(shape) if len(shape) == 1
            else torch.randn(shape, generator=random) * (2 * shape[1] ** -0.5) for name, shape in weights.items()}


def fp8(block, scale_fmt="float"):
    """DeepSeek's FP8: the weights, and transformers' dequantization of them."""
    config = types.SimpleNamespace(weight_block_size=block, scale_fmt=scale_fmt)
    quantizer = types.SimpleNamespace(quantization_config=config)

    def store(weight):
        parts = Fp8Quantize(quantizer)._quantize_one("weight", weight)
        if block is None:
            parts["weight_scale_inv"] = parts["weight_scale_inv"].reshape(())
            parts["activation_scale"] = torch.tensor(0.5)
        twin = Fp8Dequantize(quantizer)._dequantize_one(parts["weight"], parts["weight_scale_inv"], torch.float32)
        return parts, twin

    settings = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": block, "scale_fmt": scale_fmt,
                "activation_scheme": "dynamic" if block else "static", "modules_to_not_convert": ["lm_head"]}
    return settings, store


def compressed(layout, compressor, scale_type=torch.float32, **arguments):
    """A scheme of compressed-tensors, quantized and dequantized by the package."""
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    highest = 448.0 if args.type == "float" else 2.0 ** (args.num_bits - 1) - 1

    def store(weight):
        rows, columns = weight.shape
        block = {"tensor": (rows, columns), "channel": (1, columns), "group": (1, args.group_size),
                 "block": args.block_structure}[args.strategy]
        tiles = weight.reshape(rows // block[0], block[0], columns // block[1], block[1])
        low, high = tiles.amin(dim=(1, 3)), tiles.amax(dim=(1, 3))
        state = {"weight": weight}
        if args.symmetric:
            scale = torch.maximum(high, -low) / highest
            if args.type == "int":
                state["weight_zero_point"] = torch.zeros_like(scale, dtype=torch.int8)
        else:
            scale = (high - low) / (2 * highest + 1)
            zeros = torch.round(-low / scale) - (highest + 1)
            state["weight_zero_point"] = zeros.clamp(-highest - 1, highest).to(torch.int8)
        scale = scale.to(scale_type)
        state["weight_scale"] = (scale.reshape(1) if args.strategy == "tensor" else scale).float()
        parts = compressor.compress(state, scheme)
        twin = compressor.decompress(parts, scheme)["weight"]
        parts["weight_scale"] = parts["weight_scale"].to(scale_type)
        return parts, twin

    group = {"targets": ["Linear"], "weights": args.model_dump(mode="json"), "input_activations": None}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group},
            "ignore": ["lm_head"], "quantization_status": "compressed"}, store


def group_codes(weight: np.ndarray, groups: np.ndarray, bits: int):
    """Codes [rows, columns], and scales and zero points [groups, rows] of the smallest range."""
    count, (rows, columns) = int(groups.max()) + 1, weight.shape
    scales, zeros = np.zeros((count, rows), np.float16), np.zeros((count, rows), np.int64)
    codes = np.zeros((rows, columns), np.int64)
    for group in range(count):
        members = groups == group
        low, high = weight[:, members].min(1), weight[:, members].max(1)
        scales[group] = (high - low) / (2 ** bits - 1)
        scale = scales[group].astype(np.float32)
        zeros[group] = np.clip(np.round(-low / scale), 0, 2 ** bits - 1)
        codes[:, members] = np.clip(np.round(weight[:, members] / scale[:, None]) + zeros[group][:, None],
                                    0, 2 ** bits - 1)
    twin = (codes - zeros.T[:, groups]).astype(np.float32) * scales.astype(np.float32).T[:, groups]
    return codes, scales, zeros, twin


def pack(values: np.ndarray, bits: int, order: list[int]) -> np.ndarray:
    """Words of 32 bits along the last axis; place i of a word, from the lowest bits, holds value order[i]."""
    words = values.reshape(*values.shape[:-1], -1, 32 // bits)[..., order].astype(np.uint64)
    shifts = np.arange(0, 32, bits, dtype=np.uint64)
    return (words << shifts).sum(-1, dtype=np.uint64).astype(np.uint32).view(np.int32)


def awq(settings):
    group_size = settings.get("group_size") or settings["q_group_size"]

    def store(weight):
        columns = weight.shape[1]
        groups = np.arange(columns) // (columns if group_size == -1 else group_size)
        codes, scales, zeros, twin = group_codes(weight.numpy(), groups, 4)
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        return {"qweight": torch.from_numpy(pack(codes.T, 4, order)), "qzeros": torch.from_numpy(pack(zeros, 4, order)),
                "scales": torch.from_numpy(scales)}, torch.from_numpy(twin)

    return {"quant_method": "awq", "version": "gemm", "zero_point": True, "modules_to_not_convert": None} | settings, store


def gptq(bits, group_size, layout, act_order):
    def store(weight):
        columns = weight.shape[1]
        groups = np.arange(columns) // (columns if group_size == -1 else group_size)
        if act_order:
            groups = np.random.default_rng(5).permutation(groups)
        codes, scales, zeros, twin = group_codes(weight.numpy(), groups, bits)
        order = list(range(32 // bits))
        stored_zeros = (zeros - (layout != "gptq_v2")) & (2 ** bits - 1)
        return {"qweight": torch.from_numpy(np.ascontiguousarray(pack(codes, bits, order).T)),
                "qzeros": torch.from_numpy(pack(stored_zeros, bits, order)), "scales": torch.from_numpy(scales),
                "g_idx": torch.from_numpy(groups.astype(np.int32)),
                "bias": torch.zeros(weight.shape[0], dtype=torch.float16)}, torch.from_numpy(twin)

    settings = {"quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": act_order, "sym": False}
    return settings | ({"checkpoint_format": layout} if layout else {}), store


FORMATS = {
    "fp8, blocks": fp8([128, 128]),
    "fp8, blocks, powers of two": fp8([128, 128], "ue8m0"),
    "fp8, tensor": fp8(None),
    "float-quantized, tensor": compressed("float-quantized", FloatQuantizationCompressor, num_bits=8, type="float",
                                          strategy="tensor"),
    "float-quantized, channel": compressed("float-quantized", FloatQuantizationCompressor, torch.bfloat16, num_bits=8,
                                           type="float", strategy="channel"),
    "float-quantized, block": compressed("float-quantized", FloatQuantizationCompressor, num_bits=8, type="float",
                                         strategy="block", block_structure=[128, 128]),
    "int-quantized, channel": compressed("int-quantized", IntQuantizationCompressor, torch.bfloat16, num_bits=8,
                                         type="int", strategy="channel"),
    "pack-quantized, symmetric": compressed("pack-quantized", PackedQuantizationCompressor, torch.float16, num_bits=4,
                                            type="int", strategy="group", group_size=32),
    "pack-quantized, zero points": compressed("pack-quantized", PackedQuantizationCompressor, torch.bfloat16,
                                              num_bits=4, type="int", strategy="group", group_size=64,
                                              symmetric=False),
    "pack-quantized, channel": compressed("pack-quantized", PackedQuantizationCompressor, num_bits=4, type="int",
                                          strategy="channel"),
    "awq, groups of 128": awq({"bits": 4, "group_size": 128}),
    "awq, old names": awq({"w_bit": 4, "q_group_size": 64, "version": "GEMM"}),
    "gptq, groups of 128": gptq(4, 128, None, act_order=False),
    "gptq, act order": gptq(4, 32, "gptq", act_order=True),
    "gptq v2, whole rows": gptq(4, -1, "gptq_v2", act_order=False),
    "gptq, 8 bits": gptq(8, 64, "gptq", act_order=False),
}


def save(folder: pathlib.Path, config: dict, tensors: dict[str, torch.Tensor]) -> pathlib.Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def gpt_oss() -> tuple[dict, dict, dict]:
    """A tiny gpt-oss: its config, its tensors with MXFP4 experts, and with transformers' floats of them."""
    config = transformers.GptOssConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=VOCAB, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
        sliding_window=16, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, dtype="float32")
    torch.manual_seed(4)
    twins = transformers.GptOssForCausalLM(config).state_dict()
    stored = {}
    for name, values in twins.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = values
            continue
        experts, columns, rows = values.shape
        stored[name + "_blocks"] = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
        stored[name + "_scales"] = torch.randint(121, 125, (experts, rows, columns // 32), dtype=torch.uint8)
        twins[name] = convert_moe_packed_tensors(
            stored[name + "_blocks"], stored[name + "_scales"], dtype=torch.float32)
    return json.loads(config.to_json_string()) | {"architectures": ["GptOssForCausalLM"]}, stored, twins


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    tool = parser.parse_args().tool
    ids = np.random.default_rng(1).integers(0, VOCAB, 40)
    weights = float_weights(seed=3)
    failed = False
    print(f"{'stored as':<30}{'largest logit':>14}{'moved by storing':>18}{'largest difference':>20}")
    with tempfile.TemporaryDirectory() as temporary:
        plain = kvtune_logits(tool, save(pathlib.Path(temporary, "plain"), CONFIG, weights), ids)
        for number, (name, (settings, store)) in enumerate(FORMATS.items()):
            stored, twins = {}, {}
            for tensor, values in weights.items():
                if not tensor.endswith("_proj.weight"):
                    stored[tensor] = twins[tensor] = values
                    continue
                parts, twins[tensor] = store(values)
                stored |= {tensor.removesuffix("weight") + part: content for part, content in parts.items()}
            place = pathlib.Path(temporary, str(number))
            found = kvtune_logits(tool, save(place / "stored", CONFIG | {"quantization_config": settings}, stored), ids)
            expected = kvtune_logits(tool, save(place / "twin", CONFIG, twins), ids)
            difference = np.abs(found - expected).max()
            moved = np.abs(expected - plain).max()
            # Quantization that moves nothing, or everything, has not tested a thing.
            failed |= not (difference == 0 and 0 < moved < np.abs(plain).max())
            print(f"{name:<30}{np.abs(expected).max():>14.4f}{moved:>18.4f}{difference:>20.3e}")
        config, stored, twins = gpt_oss()
        settings = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
        place = pathlib.Path(temporary, "gpt_oss")
        found = kvtune_logits(tool, save(place / "stored", config | {"quantization_config": settings}, stored), ids)
        expected = kvtune_logits(tool, save(place / "twin", config, twins), ids)
        difference = np.abs(found - expected).max()
        failed |= not (difference == 0 and np.abs(expected).max() > 0)
        print(f"{'mxfp4':<30}{np.abs(expected).max():>14.4f}{'':>18}{difference:>20.3e}")
    print("FAILED" if failed else "ok (stored weights give the logits of their definition bit for bit)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
