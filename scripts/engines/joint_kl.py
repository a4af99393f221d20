"""Joint KL of an engine's quantized caches against its own exact one, for scripts/check_against_engine.py.

A job is one JSON object on stdin:
  {"model": DIR, "prompts": [[token id, ...], ...],
   "plans": [{"name": NAME, "layers": [{"key": FORMAT, "value": FORMAT}, ...]}, ...]}
The answer is one JSON object on stdout:
  {"tokens": N, "nll": of the exact cache,
   "plans": {NAME: {"kl": nats per scored token, "without": {DIFFERENCE: kl, ...}}, ...}}
A difference is something that the engine does and kvtune does not; its kl is what the engine shows
without it.
"""

import dataclasses
import json
import sys
from collections.abc import Callable

import numpy as np

# Token ids and a way to keep the cache in; gives the logits [tokens, vocabulary], float32.
Logits = Callable[[list[int]], np.ndarray]


@dataclasses.dataclass
class Cache:
    plan: str
    logits: Logits
    without: str = ""  # the difference that this variant of the engine does not have


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def answer(job: dict, exact: Logits, caches: list[Cache]) -> dict:
    tokens, nll = 0, 0.0
    sums = [0.0] * len(caches)
    for ids in job["prompts"]:
        scored = len(ids) - 1  # positions that have a next token
        expected = log_softmax(exact(ids)[:scored])
        tokens += scored
        nll -= expected[np.arange(scored), ids[1:]].sum()
        for i, cache in enumerate(caches):
            found = log_softmax(cache.logits(ids)[:scored])
            sums[i] += (np.exp(expected) * (expected - found)).sum()
    plans = {plan["name"]: {"kl": 0.0, "without": {}} for plan in job["plans"]}
    for cache, total in zip(caches, sums):
        if cache.without:
            plans[cache.plan]["without"][cache.without] = total / tokens
        else:
            plans[cache.plan]["kl"] = total / tokens
    return {"tokens": tokens, "nll": nll / tokens, "plans": plans}


def serve(run: Callable[[dict], dict]) -> None:
    """Other output of the engine goes to stderr."""
    print(json.dumps(run(json.load(sys.stdin))))
