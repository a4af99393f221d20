"""A decoder of a few thousand random weights, written with the standard library alone.

It has everything that a real checkpoint has (config.json, tokenizer.json, safetensors, shards), so
that the command line tool can be tested where there is no real model.
"""
import json
import random
import struct

HIDDEN = 32
INTERMEDIATE = 48
HEADS = 2
KV_HEADS = 1
HEAD_DIM = 16
CONTEXT = 128
BOS = 256
VOCAB = 257


def config(layers=3, head_dim=HEAD_DIM):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": head_dim,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "vocab_size": VOCAB, "tie_word_embeddings": True, "attention_bias": False,
        "mlp_bias": False, "torch_dtype": "float32",
    }


def shapes(layers=3, head_dim=HEAD_DIM):
    """Tensor names and their shapes."""
    query, kv = HEADS * head_dim, KV_HEADS * head_dim
    tensors = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN]}
    for i in range(layers):
        layer = f"model.layers.{i}."
        tensors[layer + "input_layernorm.weight"] = [HIDDEN]
        tensors[layer + "post_attention_layernorm.weight"] = [HIDDEN]
        tensors[layer + "self_attn.q_proj.weight"] = [query, HIDDEN]
        tensors[layer + "self_attn.k_proj.weight"] = [kv, HIDDEN]
        tensors[layer + "self_attn.v_proj.weight"] = [kv, HIDDEN]
        tensors[layer + "self_attn.o_proj.weight"] = [HIDDEN, query]
        tensors[layer + "mlp.gate_proj.weight"] = [INTERMEDIATE, HIDDEN]
        tensors[layer + "mlp.up_proj.weight"] = [INTERMEDIATE, HIDDEN]
        tensors[layer + "mlp.down_proj.weight"] = [HIDDEN, INTERMEDIATE]
    return tensors


def weights(layers=3, seed=7, head_dim=HEAD_DIM):
    """Values by tensor name: (shape, floats)."""
    draw = random.Random(seed)
    tensors = {}
    for name, shape in shapes(layers, head_dim).items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if len(shape) == 1:
            tensors[name] = (shape, [1.0] * count)
        else:
            scale = 0.5 if "embed" in name else 2.0 * shape[1] ** -0.5
            tensors[name] = (shape, [draw.gauss(0.0, scale) for _ in range(count)])
    return tensors


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def byte_symbols():
    """The visible character of every byte in byte-level tokenizers (GPT-2's table)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, extra = {}, 0
    for byte in range(256):
        if byte in visible:
            symbols[byte] = chr(byte)
        else:
            symbols[byte] = chr(256 + extra)
            extra += 1
    return symbols


def tokenizer():
    """One token a byte, and a beginning-of-sequence token in front."""
    bos = {"id": BOS, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [bos],
        "normalizer": None, "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {symbol: byte for byte, symbol in byte_symbols().items()},
                  "merges": []},
    }


def write_model(directory, layers=3, shards=1, tensors=None, head_dim=HEAD_DIM):
    """Writes a checkpoint; more than one shard comes with an index, as published models do."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config(layers, head_dim), indent=1))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer(), ensure_ascii=False))
    tensors = tensors or weights(layers, head_dim=head_dim)
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors)
        return directory
    names = list(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        write_safetensors(directory / file, {name: tensors[name] for name in part})
        weight_map.update({name: file for name in part})
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


TEXTS = [
    "The keys of a cache are read by every later query.",
    "A scale and a zero belong to every row of a token.",
    "Two bits are few, and eight bits are often enough.",
    "Layers differ: some of them need more than others.",
    "What is quantized once is read many times after it.",
    "A plan says for every layer how it shall be stored.",
    "Prompts of a search and of its check never overlap.",
    "The front holds the plans which no other one beats.",
]


def write_prompts(path, count=6):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:count]))
    return path
