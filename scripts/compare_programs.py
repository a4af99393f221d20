#!/usr/bin/env python3
"""Compares what two builds of kvtune write and print, byte for byte: for changes that must change no result.

    scripts/compare_programs.py BEFORE AFTER [--model DIR] [--quick] [--ignore-key KEY]...

BEFORE and AFTER are two kvtune programs. Both run the same commands on the bundled demo model: search, prune,
cluster, evaluate, check, export of every format, inspect and targets. Text is compared as it is; JSON is compared
after the keys that hold times, and those named by --ignore-key, are taken out. Exits with 1 when anything differs.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What differs between two runs of one program.
VOLATILE_KEYS = {"command", "started", "seconds", "device_free_bytes", "fitting_tokens", "checksum"}
SEARCH_OPTIONS = ["--max-prompts", "8", "--population", "8", "--generations", "3", "--refine-evaluations", "8"]
TARGETS = ["kvtuner", "kvtuner-kivi", "vllm", "llama.cpp", "hf", "modelopt", "mlx-optiq"]


def without(value, keys):
    if isinstance(value, dict):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    if isinstance(value, list):
        return [without(item, keys) for item in value]
    return value


def canonical(text: str, keys: set) -> str:
    """JSON and JSON lines without the keys; any other text without durations."""
    try:
        return json.dumps(without(json.loads(text), keys), indent=1)
    except ValueError:
        pass
    try:
        lines = [json.dumps(without(json.loads(line), keys)) for line in text.splitlines()]
        if lines:
            return "\n".join(lines)
    except ValueError:
        pass
    text = re.sub(r'time="[0-9.]+"', 'time=""', text)
    return re.sub(r"\b[0-9.]+ s\b", "N s", text)


class Program:
    def __init__(self, path: pathlib.Path, model: pathlib.Path, folder: pathlib.Path):
        self.path, self.model, self.folder = path, model, folder
        self.outputs = {}

    def run(self, name: str, *arguments: str):
        environment = dict(os.environ, KVTUNE_DATA_DIR=str(ROOT / "calib_data"), OMP_WAIT_POLICY="passive")
        done = subprocess.run([self.path, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True)
        self.outputs[f"{name}: exit code"] = str(done.returncode)
        self.outputs[f"{name}: stdout"] = done.stdout
        return done.stdout

    def run_all(self, quick: bool):
        model = str(self.model)
        for target in TARGETS[:1] if quick else TARGETS:
            run = f"run-{target}"
            self.run(f"search {target}", "search", "--model", model, "--target", target, "--out", run, *SEARCH_OPTIONS)
            self.run(f"list {target}", "pareto", "list", run, "--json")
            self.run(f"pick {target}", "pareto", "pick", run, "--max-loss", "0.01")
            self.run(f"show {target}", "pareto", "show", run, "p00")
            front = self.folder / run / "front.json"
            if not front.exists():
                continue
            plans = [plan["name"] for plan in json.loads(front.read_text())["plans"]]
            description = json.loads(self.run(f"targets {target}", "targets", target, "--json"))
            for export in self.exports(description):
                for plan in (plans[0], plans[len(plans) // 2], plans[-1]):
                    self.run(f"export {target} {export} {plan}", "pareto", "export", run, "--plan", plan, "--format",
                             export, "--project")
        self.run("prune", "prune", "run-kvtuner", "--json")
        self.run("cluster", "cluster", "run-kvtuner", "--json")
        self.run("inspect", "inspect", "--model", model, "--json")
        self.run("targets", "targets")
        self.run("evaluate", "evaluate", "--model", model, "--plan", "KV4;0:KV8", "--plan", "exact", "--uniform", "all",
                 "--max-prompts", "6", "--json")
        self.run("evaluate exact prefill", "evaluate", "--model", model, "--plan", "K8V4", "--max-prompts", "4",
                 "--prefill", "exact")
        plan = json.loads((self.folder / "run-kvtuner" / "front.json").read_text())["plans"][0]["name"]
        self.run("check init", "check", "--init", f"run-kvtuner:{plan}", "--out", "gate.json")
        self.run("check update", "check", "--config", "gate.json", "--update-baseline")
        self.run("check", "check", "--config", "gate.json", "--junit", "junit.xml", "--markdown", "gate.md", "--json")
        for command in ("search", "calibrate", "prune", "cluster", "evaluate", "check", "pareto pick", "pareto export"):
            self.run(f"help {command}", *command.split(), "--help")
        for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            self.outputs[f"file {file.relative_to(self.folder)}"] = file.read_text()

    @staticmethod
    def exports(description) -> list:
        targets = description.get("targets", [description])
        return [export["name"] for target in targets for export in target["export_formats"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "calib_data" / "demo_model")
    parser.add_argument("--quick", action="store_true", help="one target instead of %d" % len(TARGETS))
    parser.add_argument("--ignore-key", action="append", default=[], metavar="KEY")
    arguments = parser.parse_args()
    keys = VOLATILE_KEYS | set(arguments.ignore_key)
    outputs = []
    for path in (arguments.before, arguments.after):
        # The same folder for both, so that paths in outputs are equal.
        folder = pathlib.Path(tempfile.gettempdir()) / "kvtune-compare"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        program = Program(path.resolve(), arguments.model.resolve(), folder)
        program.run_all(arguments.quick)
        outputs.append(program.outputs)
        shutil.rmtree(folder)
    before, after = outputs
    differing = [name for name in sorted(before | after)
                 if name not in before or name not in after
                 or canonical(before[name], keys) != canonical(after[name], keys)]
    for name in differing:
        print(f"differs: {name}")
        for text in (before.get(name, "(missing)"), after.get(name, "(missing)")):
            print("    " + canonical(text, keys)[:600].replace("\n", "\n    "))
    print(f"{len(before | after) - len(differing)} outputs are equal, {len(differing)} differ")
    return int(bool(differing) or not before)


if __name__ == "__main__":
    sys.exit(main())
