"""Compares prompts, answers and verdicts with lm-evaluation-harness itself.

Usage: harness_parity.py --kvtune KVTUNE MODEL_DIR...

The harness (the version that scripts/requirements/lm-eval.lock pins) runs its own gsm8k with 4 and 5 shots on problems
that are made here in GSM8K's form, through a local model of transformers in float32 on a CPU; kvtune answers the same
items with the exact plan. Every prompt, answer, extraction and verdict has to be equal, and so have both scores. The
models cannot solve such problems, so two items in three get what the model answers as their right answer. An
answer may differ where greedy decoding meets a near tie; such items are counted, and their verdicts are left out.
Exit code 0 when nothing else differs, 77 when the harness cannot be installed.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import cached_venv  # noqa: E402

NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve")
THINGS = ("apples", "books", "coins", "stamps", "shells")
ITEMS, SHOTS_FILE, NEW_TOKENS = 12, 40, 64


def problems(count: int, seed: int) -> list[dict]:
    """Word problems with solutions in GSM8K's form."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        name, thing = draw.choice(NAMES), draw.choice(THINGS)
        first, more, times = draw.randint(2, 900), draw.randint(2, 900), draw.randint(2, 9)
        total = (first + more) * times
        rows.append({
            "question": f"{name} has {first} {thing} and buys {more} more. Then the pile becomes {times} times as big. "
                        f"How many {thing} does {name} have now?",
            "answer": f"{first} + {more} = <<{first}+{more}={first + more}>>{first + more}.\n{first + more} * {times} = "
                      f"<<{first + more}*{times}={total}>>{total}.\n#### {total:,}"})
    return rows


def harness_on_path() -> bool:
    """Makes the harness importable beside the packages of this interpreter, which has torch and transformers."""
    try:
        folder = cached_venv.CACHE / f"lm-eval-{cached_venv.version_of('lm-eval', 'lm-eval')}"
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cached_venv.CACHE) as parent:
                partial = pathlib.Path(parent) / "lm-eval"
                cached_venv.pip_install(sys.executable, "lm-eval", "--no-deps", "--target", partial)
                partial.rename(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skipped: lm-eval cannot be installed: {error}")
        return False
    sys.path.append(str(folder))  # behind our own, so that numpy stays this interpreter's
    return True


def run_harness(model: pathlib.Path, folder: pathlib.Path, shots: int) -> dict:
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=str(folder / "datasets"), TOKENIZERS_PARALLELISM="false")
    import lm_eval
    import yaml
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    class Loader(yaml.SafeLoader):
        pass

    path = pathlib.Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml"
    config = yaml.load(path.read_text(), Loader=Loader)
    config.update(dataset_path="json", dataset_name=None, num_fewshot=shots, dataset_kwargs={
        "data_files": {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")}})
    config["generation_kwargs"]["max_gen_toks"] = NEW_TOKENS
    language_model = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
    return lm_eval.simple_evaluate(model=language_model, tasks=[ConfigurableTask(config=config)], num_fewshot=shots,
                                   log_samples=True, bootstrap_iters=0, random_seed=None, verbosity="ERROR")


def run_kvtune(kvtune: str, model: pathlib.Path, folder: pathlib.Path, shots: int) -> tuple[dict, list[dict]]:
    task = {"protocol": "gsm8k", "name": "gsm8k", "items": "test.jsonl", "shots": "train.jsonl", "fewshot": shots,
            "max_new_tokens": NEW_TOKENS}
    (folder / "task.json").write_text(json.dumps(task))
    samples = folder / f"samples{shots}.jsonl"
    done = subprocess.run([kvtune, "evaluate", "--model", str(model), "--task", str(folder / "task.json"), "--plan",
                           "exact", "--samples", str(samples), "--dtype", "float32", "--device", "cpu", "--json", "-q"],
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout), [json.loads(line) for line in samples.read_text().splitlines()]


def with_right_answers(rows: list[dict], lines: list[dict]) -> list[dict]:
    """Makes what the model answered right: of every third row by the strict rule (by the flexible one where that found
    nothing), of every next one by the flexible rule. `lines` are the samples of kvtune."""
    for line in lines:
        strict, flexible = line["extracted"], line["flexible_extracted"]
        answer = {0: flexible if strict == "[invalid]" else strict, 1: flexible}.get(line["item"] % 3, "[invalid]")
        if answer != "[invalid]":
            rows[line["item"]]["answer"] = f"It is {answer}\n#### {answer.rstrip('.')}"
    return rows


def write_lines(file: pathlib.Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def compare(result: dict, document: dict, lines: list[dict]) -> dict[str, int]:
    """How many items differ, by what differs first."""
    (logged,) = result["samples"].values()
    differences = {"prompt": 0, "answer": 0, "extraction": 0, "verdict": 0}
    for line in lines:
        of_item = {sample["filter"]: sample for sample in logged if sample["doc_id"] == line["item"]}
        strict, flexible = of_item["strict-match"], of_item["flexible-extract"]
        (answer,), = strict["resps"]
        text = line["generation"]
        for stop in ("Question:", "</s>", "<|im_end|>"):
            text = text.split(stop)[0]
        if strict["arguments"][0][0] != line["prompt"]:
            differences["prompt"] += 1
        elif answer != text:
            differences["answer"] += 1
        elif ([strict["filtered_resps"][0], flexible["filtered_resps"][0]]
              != [line["extracted"], line["flexible_extracted"]]):
            differences["extraction"] += 1
        elif ([bool(strict["exact_match"]), bool(flexible["exact_match"])]
              != [line["correct"], line["flexible_correct"]]):
            differences["verdict"] += 1
    (scores,) = result["results"].values()
    accuracy = document["reference"]["accuracy"]
    for field, filtered in (("strict", "strict-match"), ("flexible", "flexible-extract")):
        if differences["answer"] == 0 and abs(scores[f"exact_match,{filtered}"] - accuracy[field]) > 1e-9:
            differences["verdict"] += 1
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if not harness_on_path():
        return 77
    failed = False
    print(f"{'model':<16}{'shots':>6}{'items':>7}{'strict':>8}{'flexible':>10}   differ")
    for model in arguments.models:
        if not model.is_dir():
            print(f"{model.name:<16}skipped: found no {model}")
            continue
        for shots in (4, 5):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                rows = problems(ITEMS, 2)
                write_lines(folder / "train.jsonl", problems(SHOTS_FILE, 1))
                write_lines(folder / "test.jsonl", rows)
                _, lines = run_kvtune(arguments.kvtune, model, folder, shots)
                write_lines(folder / "test.jsonl", with_right_answers(rows, lines))
                document, lines = run_kvtune(arguments.kvtune, model, folder, shots)
                differences = compare(run_harness(model, folder, shots), document, lines)
            accuracy = document["reference"]["accuracy"]
            failed |= any(count for what, count in differences.items() if what != "answer")
            failed |= differences["answer"] > len(lines) // 10
            print(f"{model.name:<16}{shots:>6}{len(lines):>7}{accuracy['strict']:>8.3f}{accuracy['flexible']:>10.3f}   "
                  + ", ".join(f"{count} {what}s" for what, count in differences.items()))
    print("FAILED" if failed else "ok")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
