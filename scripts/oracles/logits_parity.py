"""Compares kvtune's logits with those of transformers in float32.

Usage: logits_parity.py --tool ORACLE_TOOL MODEL_DIR...
Exit code 0 when every model agrees within TOLERANCE of its largest logit.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

TOLERANCE = 1e-4
TOKENS = 300


def reference_logits(model_directory: pathlib.Path, ids: np.ndarray) -> np.ndarray:
    """[tokens, vocab] of the installed transformers, float32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_directory, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.from_numpy(ids).long()[None]).logits[0].numpy()


def kvtune_logits(tool: str, model_directory: pathlib.Path, ids: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        ids_file, out_file = pathlib.Path(folder, "ids"), pathlib.Path(folder, "logits")
        ids_file.write_text(" ".join(map(str, ids)))
        subprocess.run([tool, "logits", str(model_directory), str(ids_file), str(out_file)], check=True)
        return np.fromfile(out_file, dtype=np.float32).reshape(len(ids), -1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    failed = False
    print(f"{'model':<16}{'tokens':>8}{'largest logit':>16}{'largest difference':>20}{'relative':>12}")
    for model_directory in arguments.models:
        if not model_directory.is_dir():
            print(f"{model_directory.name:<16}skipped: found no {model_directory}")
            continue
        config = transformers.AutoConfig.from_pretrained(model_directory)
        tokens = min(TOKENS, config.max_position_embeddings)
        ids = np.random.default_rng(0).integers(3, config.vocab_size, tokens)
        expected = reference_logits(model_directory, ids)
        found = kvtune_logits(arguments.tool, model_directory, ids)
        largest = np.abs(expected).max()
        difference = np.abs(expected - found).max()
        relative = difference / largest
        # A NaN compares false: it fails.
        failed |= not relative <= TOLERANCE
        print(f"{model_directory.name:<16}{tokens:>8}{largest:>16.4f}{difference:>20.3e}{relative:>12.2e}")
    print("FAILED" if failed else "ok", f"(tolerance {TOLERANCE:g} of the largest logit)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
