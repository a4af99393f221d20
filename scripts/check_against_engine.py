#!/usr/bin/env python3
"""Compares kvtune's predictions with what the serving engine itself shows, plan by plan.

    scripts/check_against_engine.py --engine llama.cpp|mlx|transformers [--model DIR]

The engine runs the model on the CPU in float32 with its own quantized cache, and its joint KL against
its own exact cache is compared with what `kvtune evaluate --target T` predicts on the same token ids.
What the engine does beside the format is a named difference: the engine also runs without it, and must
then agree. The exit code is 0 when every plan agrees within --tolerance, with the engine or with the
engine less its named difference, and the order of the plans is the same. It is 4 when one of these fails,
and 77 when the engine cannot be installed.

The engine's packages are installed once, into ${XDG_CACHE_HOME:-~/.cache}/kvtune. For llama.cpp that takes
minutes, because it is compiled. --python takes an interpreter that has them.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

from cached_venv import python_with

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENGINES = ROOT / "scripts/engines"
NOT_INSTALLED = 77  # tells ctest that the check was skipped


@dataclasses.dataclass
class Engine:
    name: str                    # NAME in scripts/engines/run_NAME.py and scripts/requirements/engine-NAME.txt
    plans: dict[str, list[str]]  # for each target of kvtune


ENGINE_OF = {
    "llama.cpp": Engine("llama_cpp", {
        "llama.cpp": ["q8_0", "q8_0/q4_0", "q5_1/q4_1", "iq4_nl", "q4_0"],
        # Its plain formats are llama.cpp's with the rotation off.
        "ik_llama.cpp": ["ik_q8_0", "ik_q8_0/ik_q4_0", "ik_q5_1/ik_q4_1", "ik_iq4_nl", "ik_q4_0"],
    }),
    "mlx": Engine("mlx", {"mlx-optiq": [
        "mlx_int8;1-3:mlx_int4", "mlx_int4;0:mlx_int8;5:mlx_int8", "mlx_int4;0:exact;1:mlx_int8;5:exact"]}),
    "transformers": Engine("transformers", {
        "hf": ["hqq_int8", "hqq_int4", "hqq_int2", "hqq_int4;0:hqq_int8;5:hqq_int8"],
        "hf-quanto": ["quanto_int4", "quanto_int2"]}),
}


@dataclasses.dataclass
class Comparison:
    plan: str
    predicted: float
    shown: float               # what the engine shows
    without: dict[str, float]  # the same without a named difference

    def agrees(self, tolerance: float) -> bool:
        return is_near(self.predicted, self.shown, tolerance)

    def is_explained(self, tolerance: float) -> bool:
        return any(is_near(self.predicted, kl, tolerance) for kl in self.without.values())

    def explained(self, tolerance: float) -> float:
        """What the engine shows, or shows without a difference where only that agrees with the prediction."""
        if self.agrees(tolerance) or not self.without:
            return self.shown
        return min(self.without.values(), key=lambda kl: abs(kl - self.predicted))


def is_near(predicted: float, shown: float, tolerance: float) -> bool:
    return abs(shown - predicted) <= tolerance * abs(predicted)


def is_same_order(comparisons: list[Comparison], tolerance: float) -> bool:
    """Whether both order the plans alike. Plans whose KL differs by less than the tolerance have no order."""
    for a in comparisons:
        for b in comparisons:
            if a.predicted * (1 + tolerance) < b.predicted and a.explained(tolerance) >= b.explained(tolerance):
                return False
    return True


def engine_python(engine: Engine) -> pathlib.Path:
    """The interpreter of the engine's cached environment."""
    try:
        return python_with(f"engine-{engine.name}")
    except subprocess.CalledProcessError as error:
        print(f"check_against_engine: installing engine-{engine.name}.lock: {error}", file=sys.stderr)
        sys.exit(NOT_INSTALLED)


def tokenize(kvtune: pathlib.Path, model: pathlib.Path, prompts: pathlib.Path, count: int,
             longest: int) -> list[list[int]]:
    lines = prompts.read_text().splitlines()[:count]
    done = subprocess.run([kvtune, "tokenize", "--model", model, "--jsonl", "-q"], input="\n".join(lines) + "\n",
                          stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line)[:longest] for line in done.stdout.splitlines()]


def predict(kvtune: pathlib.Path, model: pathlib.Path, ids: list[list[int]], target: str,
            plans: list[str]) -> list[dict]:
    """Returns the PLAN objects (docs/artifacts.md) of the plans."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"input_ids": prompt}) + "\n" for prompt in ids)
        file.flush()
        command = [kvtune, "evaluate", "--model", model, "--target", target, "--prompts", file.name,
                   "--max-tokens", str(sum(map(len, ids))), "--device", "cpu", "--dtype", "float32", "--json", "-q"]
        for plan in plans:
            command += ["--plan", plan]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["plans"]


def show(comparisons: list[Comparison]) -> str:
    lines = ["| plan | predicted | engine | ratio | without differences | ratio |", "|---|---|---|---|---|---|"]
    for c in comparisons:
        rest = "| - | - |"
        if c.without:
            least = list(c.without.values())[-1]  # The last one leaves out all differences.
            rest = f"| {least:.3g} | {least / c.predicted:.3f} |"
        lines.append(f"| `{c.plan}` | {c.predicted:.3g} | {c.shown:.3g} | {c.shown / c.predicted:.3f} {rest}")
    return "\n".join(lines)


def judge(comparisons: list[Comparison], tolerance: float) -> list[str]:
    """Returns what fails, in words."""
    failures = [f"{c.plan}: predicted {c.predicted:.3g}, the engine shows {c.shown:.3g}" for c in comparisons
                if not c.agrees(tolerance) and not c.is_explained(tolerance)]
    if not is_same_order(comparisons, tolerance):
        failures.append("the order of the plans differs")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, choices=ENGINE_OF)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "calib_data/demo_model", metavar="DIR")
    parser.add_argument("--prompts", type=pathlib.Path, default=ROOT / "calib_data/calibration.jsonl",
                        metavar="FILE", help="JSONL with \"text\"")
    parser.add_argument("--max-prompts", type=int, default=32)
    parser.add_argument("--max-prompt-tokens", type=int, default=600, help="of each prompt")
    parser.add_argument("--tolerance", type=float, default=0.15)
    parser.add_argument("--kvtune", type=pathlib.Path, default=ROOT / "build/release/apps/kvtune/kvtune")
    parser.add_argument("--python", type=pathlib.Path, help="an interpreter that has the engine")
    arguments = parser.parse_args()

    engine = ENGINE_OF[arguments.engine]
    python = arguments.python or engine_python(engine)
    ids = tokenize(arguments.kvtune, arguments.model, arguments.prompts, arguments.max_prompts,
                   arguments.max_prompt_tokens)
    predictions = [plan for target, plans in engine.plans.items()
                   for plan in predict(arguments.kvtune, arguments.model, ids, target, plans)]
    job = {"model": str(arguments.model), "prompts": ids,
           "plans": [{"name": plan["name"], "layers": plan["layers"]} for plan in predictions]}
    done = subprocess.run([python, "-B", ENGINES / f"run_{engine.name}.py"], input=json.dumps(job),
                          stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(done.stdout)
    comparisons = [Comparison(plan["name"], plan["calibration"]["kl_mean"], answer["plans"][plan["name"]]["kl"],
                              answer["plans"][plan["name"]]["without"]) for plan in predictions]

    print(f"{arguments.engine}, {arguments.model.name}: {len(ids)} prompts, {answer['tokens']} scored tokens, "
          f"nll {predictions[0]['calibration']['nll'] - predictions[0]['calibration']['delta_nll']:.6f} in kvtune "
          f"and {answer['nll']:.6f} in the engine. Joint KL in nats per token:\n")
    print(show(comparisons))
    for difference in sorted({name for c in comparisons for name in c.without}):
        print(f"\nThe difference: {arguments.engine} {difference}.")
    failures = judge(comparisons, arguments.tolerance)
    for failure in failures:
        print(f"check_against_engine: {failure}", file=sys.stderr)
    return 4 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"check_against_engine: {error}")
