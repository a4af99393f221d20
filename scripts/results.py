#!/usr/bin/env python3
"""Measures what plans do to the answers of models, and writes docs/results.md from the measurements.

    scripts/results.py --kvtune PROGRAM --model NAME=DIR,TASKFILE[,PROMPTS[,HELD_OUT]]... --out configs/benchmarks/results
    scripts/results.py --write docs/results.md configs/benchmarks/results

For each model, the first command

1. searches by KL (`kvtune search`);
2. lets the model answer the task (`kvtune evaluate --task --stdin`, one process) under what `search --task` answers, the
   front, every uniform plan and the plans near the front, and under further plans from lossless to broken, so that there
   are --plans in all: plans that the search scored, spread evenly over the logarithm of their loss; plans of KV8 with
   one layer of 2 bits; and plans of KV8 in which a random share of the layers takes random pairs;
3. searches by answers as KVTuner's paper does (`--algorithm paper`), until about as many tokens were generated as for
   the plans of kvtune's search. Its plans are tested on the items that it did not search on.

Each model becomes OUT/NAME.json, which is written after every step, so that a model whose --seconds are over has what was
measured until then. Runs and answers stay in --work; the same command goes on from there.

Without PROMPTS, the bundled prompts are used. Without HELD_OUT, the last quarter of PROMPTS is held out. The second
command needs no program, no model and no GPU.
"""
import argparse
import contextlib
import json
import math
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import results_page

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCHEMA_VERSION = 1
CHUNK = 16  # plans that are answered together in the second step
SEARCH_SHARE, ANSWER_SHARE = 0.3, 0.7  # of a model's seconds: end of the search, and of the second step


# --- measuring ------------------------------------------------------------------------------------


class Unfinished(Exception):
    """Says why the measurement of a model ended early. Others go on."""


class Measurement:
    """What is measured of one model. `result` is written after every step."""

    def __init__(self, named, arguments):
        name, model, task, *prompts = named
        self.name, self.arguments = name, arguments
        self.folder = arguments.work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.begin = time.monotonic()
        self.calibration, self.held_out = self._prompts([pathlib.Path(path) for path in prompts])
        self.task = ["--task", task, *(["--limit", arguments.limit] if arguments.limit else [])]
        self.running = ["--model", model, "--device", arguments.device, "--long-prompts", "cut", "-q"]
        if arguments.max_prompts:
            self.running += ["--max-prompts", arguments.max_prompts]
        if arguments.threads:
            self.running += ["--threads", arguments.threads]
        self.result = {"schema_version": SCHEMA_VERSION, "name": name}

    def _prompts(self, files):
        if len(files) == 2:
            return files
        if not files:
            return [ROOT / "calib_data" / "calibration.jsonl", ROOT / "calib_data" / "held_out.jsonl"]
        lines = files[0].read_text().splitlines(keepends=True)
        parts = self.folder / "calibration.jsonl", self.folder / "held_out.jsonl"
        for part, chosen in zip(parts, (lines[:len(lines) * 3 // 4], lines[len(lines) * 3 // 4:])):
            part.write_text("".join(chosen))
        return parts

    def seconds_left(self, share=1.0):
        return self.arguments.seconds * share - (time.monotonic() - self.begin)

    def write(self):
        self.arguments.out.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps(plan) for plan in self.result.get("plans", [])]
        rest = json.dumps({**self.result, "plans": []}, indent=1)
        plans = "\"plans\": [\n  " + ",\n  ".join(rows) + "\n ]"
        (self.arguments.out / f"{self.name}.json").write_text(rest.replace('"plans": []', plans, 1) + "\n")

    def kvtune(self, *words):
        command = [str(word) for word in (self.arguments.kvtune, *words, *self.running)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_or_stop(process, self.seconds_left())

    def run(self):
        for step, measure in (("search", self.search), ("answers", self.answers), ("the paper's loop", self.paper)):
            if self.seconds_left() < 1:
                raise Unfinished(f"{self.name}: no time is left for {step}")
            start = time.monotonic()
            measure()
            self.result["seconds"] = {**self.result.get("seconds", {}), step: round(time.monotonic() - start, 1)}
            if "plans" in self.result:
                self.write()
            print(f"{self.name}: {step}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)

    # The three steps.

    def search(self):
        limits = ["--max-evaluations", self.arguments.max_evaluations] if self.arguments.max_evaluations else []
        self.kvtune("search", "--prompts", self.calibration, "--held-out", self.held_out, "--out", self.folder / "search",
                    *limits, "--max-seconds", max(1, int(self.seconds_left(SEARCH_SHARE))))
        front = self.front = read(self.folder / "search" / "front.json")
        if front["reference"].get("held_out") is None:
            raise Unfinished(f"{self.name}: the search was stopped before its plans were scored on the held-out prompts")
        self.result |= {
            "run": {key: front["run"][key] for key in (
                "version", "model_hash", "target", "device", "dtype", "prefill", "seed", "context", "layer_count",
                "layer_shapes", "prompt_count", "token_count", "noise_floor")},
            "held_out": {key: front["reference"]["held_out"][key] for key in ("prompts", "tokens")},
            "search": {key: front["search"][key] for key in ("distinct_plans", "prompt_scores")}}

    def answers(self):
        log = self.folder / "search" / "evaluations.jsonl"
        logged = [json.loads(line) for line in log.read_text().splitlines()]
        further = further_plans(self.front, logged, self.arguments.plans)
        # A uniform plan on the front is asked for once, and is an entry of both kinds.
        self.entries, asked = {}, []
        for kind, plans in (("exact", [self.front["reference"]]), ("front", self.front["plans"]),
                            ("uniform", self.front["uniform"]), ("further", further), ("near", self.front.get("near", []))):
            for plan in plans:
                if plan["spec"] not in self.entries:
                    asked.append({"name": plan["name"], "spec": plan["spec"]})
                if kind != "further":
                    self.entries.setdefault(plan["spec"], []).append((kind, plan["name"], plan["held_out"]))
        command = [str(word) for word in (
            self.arguments.kvtune, "evaluate", *self.running, *self.task, "--prompts", self.held_out, "--stdin",
            "--samples", self.folder / "answers.jsonl")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Reading blocks, so that a timer has to end a process that is too slow.
        timer = threading.Timer(max(1, self.seconds_left()), process.send_signal, (signal.SIGINT,))
        timer.daemon = True
        timer.start()
        try:
            for i in range(0, len(asked), CHUNK):
                if self.seconds_left(ANSWER_SHARE) < 0:
                    print(f"{self.name}: {i} of {len(asked)} plans were answered in time", file=sys.stderr)
                    break
                process.stdin.write(json.dumps(asked[i:i + CHUNK]) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    break
                self.add(json.loads(line))
        finally:
            timer.cancel()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            wait_or_stop(process, max(20, self.seconds_left()))
        if "plans" not in self.result:
            raise Unfinished(f"{self.name}: no plan was answered")

    def add(self, answers):
        """Adds plans that were answered, in the order in which they were asked for."""
        if "error" in answers:
            raise Unfinished(f"{self.name}: {answers['error']}")
        for plan in answers:
            score = plan["calibration"]  # The prompts of this command are the held-out ones.
            if {key: score[key] for key in ("prompts", "tokens")} != self.result["held_out"]:
                raise Unfinished(f"{self.name}: found {score['prompts']} prompts of {score['tokens']} tokens, expected "
                         f"the search's held-out ones: {self.result['held_out']}")
            if any(plan["spec"] == known["spec"] for known in self.result.get("plans", [])):
                continue  # a further plan that is another one in other words
            for kind, name, held_out in self.entries.get(plan["spec"], [("further", plan["name"], None)]):
                # What the search scored has an interval.
                entry = figures({**plan, "name": name, "held_out": held_out or score}, kind)
                if kind == "exact":
                    self.result |= {"task": {key: plan["accuracy"][key] for key in ("task", "items")}, "reference": entry}
                else:
                    self.result.setdefault("plans", []).append(entry)
        searched = {plan["spec"]: plan["tokens"] for plan in self.result["plans"] if plan["kind"] != "further"}
        self.result["search"] |= {"answered_plans": len(searched) + 1,
                                  "generated_tokens": sum(searched.values()) + self.result["reference"]["tokens"]}
        self.write()

    def paper(self):
        items, tokens = self.result["task"]["items"], self.result["reference"]["tokens"]
        searched = min(200, items // 2)
        goal = self.result["search"]["generated_tokens"]
        evaluations = max(24, round(goal / (searched * tokens / items)))
        out = self.folder / "paper"
        self.kvtune("search", *self.task, "--prompts", self.calibration, "--held-out", self.held_out, "--algorithm",
                    "paper", "--objective", "accuracy", "--search-items", searched, "--max-evaluations", evaluations,
                    "--generations", 500, "--out", out, "--max-seconds", max(1, int(self.seconds_left() * 0.6)))
        front = read(out / "front.json")
        if front["reference"].get("accuracy") is None:
            raise Unfinished(f"{self.name}: the paper's loop was stopped before its plans were tested")
        mine = verdicts(self.folder / "answers.jsonl")
        theirs = verdicts(out / "answers.jsonl")
        test = set(range(items)) - set(front["search"]["answers"]["searched"])
        for plan in front["plans"]:
            share = sum(theirs[plan["spec"], item] for item in test) / len(test)
            if len(test) != plan["accuracy"]["items"] or not math.isclose(share, plan["accuracy"]["strict"], abs_tol=1e-9):
                raise Unfinished(f"{self.name}: found {share:.4f} right of {len(test)} test items under {plan['name']} of "
                         f"the paper's loop, expected {plan['accuracy']['strict']:.4f} of {plan['accuracy']['items']}")
        fronts = [plan for plan in self.result["plans"] if plan["kind"] == "front"]
        self.result["paper"] = {
            "search_items": searched, "test_items": len(test), "distinct_plans": front["search"]["distinct_plans"],
            "generated_tokens": front["search"]["answers"]["generated_tokens"],
            "plans": [{**figures(plan, "paper"), "search_strict": plan["search_accuracy"]["strict"]}
                      for plan in front["plans"]],
            # What kvtune's front does on the same test items.
            "front_strict": {plan["name"]: sum(mine[plan["spec"], item] for item in test) / len(test) for plan in fronts},
            "exact_strict": front["reference"]["accuracy"]["strict"]}


def named_model(text):
    """NAME=DIR,TASKFILE[,PROMPTS[,HELD_OUT]] as its parts."""
    name, equals, paths = text.partition("=")
    parts = paths.split(",")
    if not (name and equals and 2 <= len(parts) <= 4 and all(parts)):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=DIR,TASKFILE[,PROMPTS[,HELD_OUT]]")
    return name, *parts


def wait_or_stop(process, seconds):
    """Waits for a process, and stops it as a user would when its time is over. Throws Unfinished."""
    try:
        code = process.wait(max(1, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            raise Unfinished(f"stopped after its time: {' '.join(process.args[:2])}") from None
    if code not in (0, 130):
        raise Unfinished(f"exit code {code} of: {' '.join(process.args)}")


def figures(plan, kind):
    """What a result keeps of a PLAN with `held_out` and `accuracy`."""
    held_out, accuracy = plan["held_out"], plan["accuracy"]
    return {"name": plan["name"], "kind": kind, "spec": plan["spec"], "nominal_bits": rounded(plan["nominal_bits"]),
            "effective_bits": rounded(plan["effective_bits"]), "bytes_per_token": rounded(plan["bytes_per_token"]),
            "kl": rounded(held_out["kl_mean"]),
            "kl_interval": held_out.get("kl_mean_interval") and [rounded(end) for end in held_out["kl_mean_interval"]],
            "strict": accuracy["strict"], "stderr": rounded(accuracy["stderr"]), "lost": accuracy["lost"],
            "gained": accuracy["gained"], "mcnemar_p": rounded(accuracy["mcnemar_p"]),
            "difference_interval": [rounded(end) for end in accuracy["difference_interval"]],
            "tokens": accuracy["tokens"]}


def rounded(number):
    return float(f"{number:.6g}")


def verdicts(file):
    """Whether each (spec, item) of a file of samples is right."""
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return {(line["spec"], line["item"]): bool(line["correct"]) for line in lines}


def formats_of(plan):
    return tuple((layer["key"], layer["value"]) for layer in plan["layers"])


def further_plans(front, logged, wanted):
    """Names and specs of plans beside the front, those near it and the uniform ones."""
    draw = random.Random(front["run"]["seed"])
    layers = range(front["run"]["layer_count"])
    by_bytes = sorted(front["uniform"], key=lambda plan: plan["bytes_per_token"])
    formats = {plan["name"]: formats_of(plan)[0] for plan in by_bytes}
    least, widest = by_bytes[0]["name"], by_bytes[-1]["name"]
    # One plan can be written in several ways, so that plans are told apart by their formats.
    taken = {formats_of(plan) for key in ("plans", "uniform", "near") for plan in front.get(key, [])}
    taken.add(formats_of(front["reference"]))
    count = max(wanted - (len(taken) - 1), wanted // 3)
    found = []

    def add(kind, spec, own):
        if own not in taken:
            taken.add(own)
            found.append({"name": f"{kind}{len(found):02}", "spec": spec})

    def add_changed(kind, pairs):
        """KV8, or the pair of the most bytes, with other pairs in some layers."""
        add(kind, ";".join([widest, *(f"{layer}:{pair}" for layer, pair in pairs.items())]),
            tuple(formats[pairs.get(layer, widest)] for layer in layers))

    scored = {formats_of(record): record for record in logged}
    losses = {own: math.log(max(record.get("expected_kl", record["calibration"]["kl_mean"]), 1e-12))
              for own, record in scored.items() if own not in taken}
    for own in spread(losses, count // 2):
        add("e", scored[own]["spec"], own)
    for layer in layers[::max(1, math.ceil(len(layers) / max(1, count // 4)))]:
        add_changed("s", {layer: least})
    for _ in range(100 * count):  # A small model may have too few plans.
        if len(found) >= count:
            break
        share = draw.random()
        add_changed("r", {layer: draw.choice(list(formats)) for layer in layers if draw.random() < share})
    return found


def spread(places, count):
    """So many of the keys, whose values lie as evenly as those of all allow."""
    ordered = sorted(places, key=places.get)
    if len(ordered) <= count:
        return ordered
    chosen, left = [], set(ordered)
    low, high = places[ordered[0]], places[ordered[-1]]
    for i in range(count):
        aim = low + (high - low) * i / max(1, count - 1)
        nearest = min(left, key=lambda key: (abs(places[key] - aim), key))
        chosen.append(nearest)
        left.remove(nearest)
    return chosen


# --- commands -------------------------------------------------------------------------------------


def read(file):
    return json.loads(file.read_text())


def write_document(page, folder):
    files = sorted(folder.glob("*.json"))
    if not files:
        sys.exit(f"results: found no results in {folder}, expected NAME.json")
    page.write_text(results_page.document([read(file) for file in files]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", nargs=2, type=pathlib.Path, metavar=("PAGE", "DIR"), help="the document from DIR/*.json")
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    parser.add_argument("--model", action="append", default=[], type=named_model,
                        metavar="NAME=DIR,TASKFILE[,PROMPTS[,HELD_OUT]]")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, help="runs and answers (default: OUT.work)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--limit", type=int, help="items of each task")
    parser.add_argument("--plans", type=int, default=72, help="distinct plans of each model, at least (%(default)s)")
    parser.add_argument("--seconds", type=float, default=86400, help="for each model (%(default)s)")
    parser.add_argument("--max-prompts", type=int, help="as of kvtune search")
    parser.add_argument("--max-evaluations", type=int, help="as of kvtune search, of the search by KL")
    arguments = parser.parse_args()
    if arguments.write:
        return write_document(*arguments.write)
    if not arguments.model or not arguments.out:
        parser.error("expected --model and --out, or --write")
    arguments.work = arguments.work or arguments.out.with_name(arguments.out.name + ".work")
    complete = True
    for named in arguments.model:
        try:
            Measurement(named, arguments).run()
        except Unfinished as error:
            print(f"results: {error}", file=sys.stderr)
            complete = False
    return 0 if complete else 1


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
