"""Compares the accuracy of uniform plans with figures that transformers gave, by quantizing every update of its cache.

Usage: uniform_accuracy.py --kvtune PROGRAM MODEL_DIR [--limit N] [-- ARGUMENT...]

MODEL_DIR holds task_test.json, items {"prompt", "answer"}, and uniform_accuracy.json, {"K16V16": share, "K8V4": share,
...} of all of them. Each share has to agree within one item in a hundred, or one item of fewer: with few items that is
luck, so this is no test of ctest. Other arguments, such as --device cuda, go to `kvtune evaluate`. Exit code 0 when all
agree, 77 where there is no such folder.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOM = 0.01
TASK = {"schema_version": 1, "name": "word problems", "protocol": "custom", "stop": ["\n\n"], "max_new_tokens": 110,
        "extract": "#### *([^\\n]*)$", "which": "last"}


def spec_of(name: str) -> str:
    key, value = re.fullmatch(r"K(\d+)V(\d+)", name).groups()
    if key == value:
        return "exact" if key == "16" else f"KV{key}"
    return name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--limit", type=int, help="the first N items")
    parser.add_argument("model", type=pathlib.Path)
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end])
    figures = arguments.model / "uniform_accuracy.json"
    if not figures.exists():
        print(f"skipped: found no {figures}")
        return 77
    expected = json.loads(figures.read_text())
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task = pathlib.Path(folder, "task.json")
        task.write_text(json.dumps({**TASK, "items": str(arguments.model.resolve() / "task_test.json")}))
        command = [arguments.kvtune, "evaluate", "--model", str(arguments.model), "--task", str(task), "--json"]
        command += [argument for name in expected for argument in ("--plan", spec_of(name))]
        command += ["--limit", str(arguments.limit)] if arguments.limit else []
        done = subprocess.run(command + words[end + 1:], check=True, stdout=subprocess.PIPE)
    found = {plan["name"]: plan["accuracy"] for plan in json.loads(done.stdout)["plans"]}
    failed = False
    print(f"{'plan':<10}{'expected':>10}{'found':>10}{'items':>8}")
    for name, share in expected.items():
        score = found[spec_of(name)]
        differs = abs(score["strict"] - share) > max(ROOM, 1 / score["items"]) + 1e-9
        failed |= differs
        print(f"{name:<10}{share:>10.4f}{score['strict']:>10.4f}{score['items']:>8}{'  differs' if differs else ''}")
    print(f"{'FAILED' if failed else 'ok'} in {time.perf_counter() - begin:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
