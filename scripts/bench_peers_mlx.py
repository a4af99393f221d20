#!/usr/bin/env python3
"""Answers what bench_peers.py asks of mlx-optiq and MLX, which are installed in an environment of their own.

    bench_peers_mlx.py allocate SENSITIVITY BITS...     prints mlx-optiq's plans for mean bits, as bits by layer
    bench_peers_mlx.py judge MODEL                      prints the KL of plans on texts, computed by MLX

`judge` reads {"texts": [[id, ...], ...], "plans": [[[key bits, value bits], ...], ...]} from standard input and
writes the mean forward KL in nats per token of each plan. The model runs in float32. Each layer's keys and values
become bfloat16, in which MLX would keep them, are quantized by mx.quantize (affine, groups of 64) and read back by
mx.dequantize.
"""
import contextlib
import json
import sys

GROUP_SIZE = 64


def allocate(sensitivity: str, targets: list[str]) -> list[list[int]]:
    from optiq.core.kv_cache import KVSensitivityResult, optimize_kv_cache
    with open(sensitivity) as file:
        layers = json.load(file)
    # The file does not hold the bytes. They are not needed, since all layers are alike.
    results = [KVSensitivityResult(**layer | {
        "sensitivities": {int(bits): loss for bits, loss in layer["sensitivities"].items()},
        "cache_bytes_per_token": 0}) for layer in layers]
    candidates = sorted(results[0].sensitivities)
    return [[config.bits for config in optimize_kv_cache(results, target_kv_bits=float(target),
                                                         candidate_bits=candidates, group_size=GROUP_SIZE)]
            for target in targets]


def judge(folder: str, texts: list, plans: list) -> list[float]:
    import mlx.core as mx
    import numpy
    from mlx_lm import load
    from mlx_lm.models.cache import KVCache

    def stored(tensor, bits):
        quantized = mx.quantize(tensor.astype(mx.bfloat16), group_size=GROUP_SIZE, bits=bits)
        return mx.dequantize(*quantized, group_size=GROUP_SIZE, bits=bits).astype(tensor.dtype)

    class QuantizedPairCache(KVCache):
        def __init__(self, bits):
            super().__init__()
            self.pair = bits  # mlx_lm takes a cache with `bits` for one of its own quantized ones

        def update_and_fetch(self, keys, values):
            return super().update_and_fetch(stored(keys, self.pair[0]), stored(values, self.pair[1]))

    model, _ = load(folder)
    model.set_dtype(mx.float32)

    def log_probabilities(text, caches):
        logits = numpy.array(model(mx.array([text]), cache=caches)[0]).astype(numpy.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - numpy.log(numpy.exp(logits).sum(axis=-1, keepdims=True))

    sums, tokens = [0.0] * len(plans), sum(map(len, texts))
    for text in texts:
        exact = log_probabilities(text, [KVCache() for _ in model.layers])
        for i, plan in enumerate(plans):
            d = exact - log_probabilities(text, [QuantizedPairCache(bits) for bits in plan])
            sums[i] += float((numpy.exp(exact) * (d + numpy.exp(-d) - 1)).sum())
    return [total / tokens for total in sums]


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):  # because both libraries print
        if sys.argv[1] == "allocate":
            result = allocate(sys.argv[2], sys.argv[3:])
        else:
            result = judge(sys.argv[2], **json.load(sys.stdin))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
