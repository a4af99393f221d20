"""Answers to the items of a task under plans."""
import json
import pathlib
import signal
import subprocess
import sys
import time
import unittest

import tiny_model
from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase, has_jinja

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "results.py"


class TasksTest(CliTestCase):
    """The tiny model writes noise, but always the same: what it writes with an exact cache is the right answer."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").write_answered_task("task.json", 12)

    def write_answered_task(self, name, count, **more):
        """A task of so many items to which the exact model's answers are right."""
        items = [{"prompt": f"the value of item {i}: {i * i}", "answer": "?"} for i in range(count)]
        self.write_task("unknown.json", items, **more)
        self.run_kvtune("evaluate", *self.arguments("unknown.json"), "--plan", "exact", "--samples", "exact.jsonl")
        for item, line in zip(items, self.read_lines("exact.jsonl"), strict=True):
            item["answer"] = line["generation"].split("\n\n")[0]
        self.write_task(name, items, **more)

    @classmethod
    def write_task(cls, name, items, **more):
        task = {"schema_version": 1, "name": "noise", "protocol": "custom", "stop": ["\n\n"], "max_new_tokens": 24,
                "items": items, **more}
        (cls.folder / name).write_text(json.dumps(task))

    @classmethod
    def read_lines(cls, name):
        return [json.loads(line) for line in (cls.folder / name).read_text().splitlines()]

    def arguments(self, task="task.json"):
        return ["--model", self.model, "--task", task, "--threads", "1"]

    def evaluate(self, *arguments, **keywords):
        return self.run_json("evaluate", *self.arguments(), *arguments, **keywords)

    def test_accuracy_of_plans(self):
        document = self.evaluate("--uniform", "all", "--plan", "exact", "--samples", "all.jsonl")
        self.assertEqual(document["task"]["name"], "noise")
        self.assertEqual(document["task"]["items"], 12)
        reference = document["reference"]["accuracy"]
        self.assertEqual((reference["strict"], reference["flexible"], reference["stderr"]), (1, 1, 0))
        plans = {plan["name"]: plan for plan in document["plans"]}
        self.assertEqual(plans["exact"]["accuracy"], reference)
        lines = self.read_lines("all.jsonl")
        self.assertEqual(len(lines), 12 * len(plans))
        for name, plan in plans.items():
            accuracy = plan["accuracy"]
            own = [line for line in lines if line["plan"] == name]
            self.assertEqual([line["item"] for line in own], list(range(12)))
            right = sum(line["correct"] for line in own)
            self.assertEqual(accuracy["strict"], right / 12)
            self.assertEqual((accuracy["lost"], accuracy["gained"]), (12 - right, 0))
            self.assertEqual(accuracy["tokens"], sum(line["tokens"] for line in own))
            self.assertIsNone(plan["calibration"])
        self.assertLess(plans["KV2"]["accuracy"]["strict"], plans["KV8"]["accuracy"]["strict"])
        self.assertLess(plans["KV2"]["accuracy"]["mcnemar_p"], 0.05)

    def test_losses_too_where_prompts_are_named(self):
        plan, = self.evaluate("--plan", "KV4", "--prompts", self.prompts)["plans"]
        alone, = self.run_json("evaluate", *self.model_arguments(), "--plan", "KV4")["plans"]
        self.assertEqual(plan["calibration"], alone["calibration"])
        self.assertEqual(plan["accuracy"]["items"], 12)

    def test_prefill_and_limit(self):
        document = self.evaluate("--plan", "KV2", "--prefill", "exact", "--limit", "5")
        self.assertEqual(document["task"]["prefill"], "exact")
        self.assertEqual(document["plans"][0]["accuracy"]["items"], 5)
        self.assertEqual(self.evaluate("--plan", "KV2", "--limit", "1k")["task"]["items"], 12)

    def test_table(self):
        text = self.run_kvtune("evaluate", *self.arguments(), "--plan", "exact", "--plan", "KV2").stdout
        self.assertIn("exact", text.splitlines()[1])
        self.assertTrue(text.splitlines()[2].endswith("worse"), text)
        self.assertIn('The exact model has 100.0 % of 12 items of "noise" right', text)
        self.assertIn("Fewest bytes and not worse: exact", text)

    def test_stdin(self):
        text = '{"name": "a", "spec": "KV8"}\nno plan\n[{"spec": "KV4"}, {"spec": "exact"}]\n'
        lines = [json.loads(line) for line in
                 self.run_kvtune("evaluate", *self.arguments(), "--stdin", text=text).stdout.splitlines()]
        self.assertEqual(lines[0]["name"], "a")
        self.assertEqual(lines[0]["accuracy"]["items"], 12)
        self.assertIn("standard input, line 2", lines[1]["error"])
        self.assertEqual(lines[2][1]["accuracy"]["strict"], 1)

    def test_plans_of_a_front(self):
        self.search("run")
        front = self.read_json("run", "front.json")
        document = self.evaluate("--front", "run")
        self.assertEqual([plan["name"] for plan in document["plans"]], [plan["name"] for plan in front["plans"]])

    def test_search_answers_at_its_end(self):
        arguments = [*self.model_arguments(), "--out", "answered", *QUICK_SEARCH, "--task", "task.json"]
        text = self.run_kvtune("search", *arguments).stdout
        front = self.read_json("answered", "front.json")
        plans = front["plans"] + front["uniform"] + [front["reference"]]
        self.assertEqual({plan["accuracy"]["items"] for plan in plans}, {12})
        self.assertEqual(front["reference"]["accuracy"]["strict"], 1)
        self.assertIn('The exact model has 100.0 % of 12 items of "noise" right', text)
        self.assertIn("and wrong answers have a rank correlation of", text)
        self.assertTrue(text.endswith(self.run_kvtune("pareto", "list", "answered").stdout))
        self.assertIn("points (95 %)", self.run_kvtune("pareto", "list", "answered", "--all").stdout)
        before = (self.folder / "answered/front.json").read_bytes()
        again = self.run_kvtune("search", *arguments)
        self.assertIn("answers are in the file of samples already", again.stderr)
        self.assertEqual(again.stdout, text)
        self.assertEqual((self.folder / "answered/front.json").read_bytes(), before)
        # The run is the same without the task.
        self.search("plain")
        plain = self.read_json("plain", "front.json")
        for plan in plans + front.get("near", []):
            del plan["accuracy"]
        self.assertEqual([plan for plan in plain["plans"]], front["plans"])

    def run_results(self, *arguments, exit_code=0):
        done = subprocess.run(
            [sys.executable, "-B", RESULTS, "--kvtune", BINARY, "--model",
             f"tiny={self.model},{self.folder / 'task.json'},{self.prompts}", "--out", self.folder / "results", "--device",
             "cpu", "--threads", "1", "--max-evaluations", "20", "--plans", "40", *arguments],
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, exit_code, done.stderr)
        return done.stderr

    def test_script_of_results(self):
        self.assertIn("tiny: no time is left for search", self.run_results("--seconds", "0", exit_code=1))
        self.assertFalse((self.folder / "results").exists())
        self.run_results()
        result = self.read_json("results", "tiny.json")
        self.assertEqual(result["task"], {"task": "noise", "items": 12})
        plans = {plan["spec"]: plan for plan in result["plans"]}
        self.assertGreaterEqual(len(plans), 40)
        self.assertEqual({plan["kind"] for plan in plans.values()} - {"near"}, {"front", "uniform", "further"})
        # Figures are those of the commands that a user would type.
        front = self.read_json("results.work", "tiny", "search", "front.json")
        for plan in front["plans"]:
            loss = plan["held_out"]["kl_mean"]
            self.assertAlmostEqual(plans[plan["spec"]]["kl"], loss, delta=1e-5 * loss)
        further = [spec for spec, plan in plans.items() if plan["kind"] == "further"][:3]
        for plan in self.evaluate(*[word for spec in further for word in ("--plan", spec)])["plans"]:
            self.assertEqual(plan["accuracy"]["lost"], plans[plan["spec"]]["lost"])
            self.assertEqual(plan["accuracy"]["strict"], plans[plan["spec"]]["strict"])
        paper = result["paper"]
        self.assertEqual((paper["search_items"], paper["test_items"], paper["exact_strict"]), (6, 6, 1))
        self.assertEqual(set(paper["front_strict"]), {plan["name"] for plan in front["plans"]})

        page = self.folder / "results.md"
        subprocess.run([sys.executable, "-B", RESULTS, "--write", page, self.folder / "results"], check=True)
        self.assertIn(f"over all {len(plans)} plans", page.read_text().replace("\n  ", " "))

    def test_search_leaves_answers_of_someone_else(self):
        (self.folder / "notes").mkdir()
        (self.folder / "notes/answers.jsonl").write_text("mine\n")
        message = self.run_error("search", *self.model_arguments(), "--out", "notes", *QUICK_SEARCH, "--task",
                                 "task.json")
        self.assertIn("found answers.jsonl but no run.json", message)
        self.assertEqual((self.folder / "notes/answers.jsonl").read_text(), "mine\n")

    def gate(self, name, *arguments, exit_code=0, **changes):
        """The verdict of `check` on the config gate.json with another name and other fields."""
        config = {**self.read_json("gate.json"), "name": name, **changes}
        (self.folder / f"{name}.json").write_text(json.dumps(config))
        done = self.run_kvtune("check", "--config", f"{name}.json", "--threads", "1", "--json", *arguments,
                               exit_code=exit_code)
        result, = json.loads(done.stdout)["configs"]
        return result

    def searched(self, out, *arguments, items=8, task="task.json", **keywords):
        return self.run_kvtune("search", *self.model_arguments(), "--out", out, *QUICK_SEARCH, "--no-cluster",
                               "--task", task, "--objective", "accuracy", "--search-items", items, *arguments, **keywords)

    def test_search_by_accuracy(self):
        done = self.searched("by_answers")
        front = self.read_json("by_answers", "front.json")
        answers = front["search"]["answers"]
        self.assertEqual((answers["search_items"], answers["test_items"]), (8, 4))
        said = f"Plans were searched on 8 items of the task, for which {answers['generated_tokens']} tokens were"
        self.assertIn(said, " ".join(done.stdout.split()))
        self.assertIn("points (95 %)", done.stdout)
        plans = front["plans"] + front["uniform"] + [front["reference"]]
        for plan in plans:
            self.assertEqual((plan["search_accuracy"]["items"], plan["accuracy"]["items"]), (8, 4))
        # The losses are those on the prompts, as for any other plan.
        uniform = self.evaluate("--uniform", "all", "--prompts", self.prompts)["plans"]
        self.assertEqual([plan["calibration"]["kl_mean"] for plan in front["uniform"]],
                         [plan["calibration"]["kl_mean"] for plan in uniform])
        # No plan of the front is beaten in bytes and answers to the search's items.
        for plan in front["plans"]:
            for other in front["plans"] + front["uniform"]:
                self.assertFalse(other["bytes_per_token"] <= plan["bytes_per_token"] and
                                 other["search_accuracy"]["strict"] > plan["search_accuracy"]["strict"])
        # Every answer is counted once: the tokens of the search's items under all scored plans.
        searched = {line["item"] for line in self.read_lines("by_answers/answers.jsonl")}
        self.assertEqual(searched, set(range(12)))
        lines = self.read_lines("by_answers/answers.jsonl")
        self.assertEqual(len(lines), len({(line["spec"], line["item"]) for line in lines}))
        self.assertGreater(sum(line["tokens"] for line in lines), answers["generated_tokens"])
        again = self.searched("by_answers")
        self.assertEqual(again.stdout, done.stdout)
        self.assertEqual(self.read_json("by_answers", "front.json"), front)
        self.assertIn("search-items", self.searched("by_answers", items=7, exit_code=1).stderr)

    def test_search_by_accuracy_goes_on_from_its_answers(self):
        self.searched("whole_search")
        whole = (self.folder / "whole_search/front.json").read_bytes()
        lines = (self.folder / "whole_search/answers.jsonl").read_bytes().splitlines(keepends=True)
        for name in ("front.json", "evaluations.jsonl", "held_out.jsonl"):
            (self.folder / "whole_search" / name).unlink(missing_ok=True)
        run = self.read_json("whole_search", "run.json")
        run["stages"]["search"]["finished"] = False
        (self.folder / "whole_search/run.json").write_text(json.dumps(run))
        (self.folder / "whole_search/answers.jsonl").write_bytes(b"".join(lines[:40]) + lines[40][:30])
        self.assertIn("answers are in the file of samples already", self.searched("whole_search").stderr)
        self.assertEqual((self.folder / "whole_search/front.json").read_bytes(), whole)

    def test_search_by_accuracy_stops_plans_that_lose(self):
        self.write_answered_task("many.json", 40, max_new_tokens=1)  # short enough to be right often
        self.searched("raced", items=32, task="many.json")
        self.searched("unraced", "--no-racing", items=32, task="many.json")
        raced, whole = (self.read_json(run, "front.json")["search"] for run in ("raced", "unraced"))
        self.assertEqual(raced["prompt_scores"] + raced["prompt_scores_saved"], 32 * raced["distinct_plans"])
        self.assertGreater(raced["prompt_scores_saved"], 0)
        self.assertEqual(whole["prompt_scores_saved"], 0)
        answers = [(line["spec"], line["item"]) for line in self.read_lines("raced/answers.jsonl")]
        self.assertEqual(len(answers), len(set(answers)))

    def test_search_by_the_papers_loop(self):
        text = " ".join(self.searched("paper", "--algorithm", "paper").stdout.split())
        search = self.read_json("paper", "front.json")["search"]
        self.assertEqual(search["algorithm"], "paper")
        self.assertIsNone(search["surrogate_hypervolume"])
        self.assertEqual(search["prompt_scores_saved"], 0)
        self.assertEqual(search["prompt_scores"], 8 * search["distinct_plans"])
        self.assertIn(f"{search['answers']['generated_tokens']} tokens were generated", text)

    def test_search_by_accuracy_mistakes(self):
        search = ["search", *self.model_arguments(), "--out", "mistaken"]
        for arguments, expected in (
                (["--objective", "accuracy"], "without a task, expected --task FILE"),
                (["--task", "task.json", "--search-items", "3"], "--search-items without --objective accuracy"),
                (["--task", "task.json", "--algorithm", "paper"], "--algorithm paper without --objective accuracy"),
                (["--task", "task.json", "--objective", "accuracy", "--algorithm", "ilp"], "one that reads answers"),
                (["--task", "task.json", "--objective", "accuracy", "--search-items", "12"],
                 "found 12 to search on of 12"),
                (["--task", "task.json", "--objective", "accuracy", "--known-scores", "prompts.jsonl"],
                 "found both --known-scores and --objective accuracy")):
            with self.subTest(expected):
                self.assertIn(expected, self.run_error(*search, *arguments, exit_code=2))
        self.assertFalse((self.folder / "mistaken").exists())

    def make_gate(self, run):
        self.search(run)
        (self.folder / "gate.json").unlink(missing_ok=True)
        self.run_kvtune("check", "--init", f"{run}:KV8", "--out", "gate.json")

    def test_gate(self):
        self.make_gate("gated")
        everything = {"plan": "exact", "limits": {"relative": {"kl_mean": 1e9, "kl_p999": 1e9, "bytes_per_token": 9}},
                      "tolerance": {"top1_agreement": 1, "delta_nll": 1e9}}
        fields = {**everything, "task": {"file": "task.json"}}
        exact = {**everything, "task": {"file": "task.json", "against": "exact"}}
        self.assertEqual(self.gate("answers", "--update-baseline", **fields)["status"], "passed")
        self.assertEqual(self.gate("exact", "--update-baseline", **exact)["status"], "passed")
        baseline, = self.read_json("baselines/answers.json")["baselines"]
        self.assertEqual(len(baseline["measured"]["answers"]), 12)
        held = self.gate("answers", **fields)
        self.assertEqual((held["status"], held["message"]), ("passed", "the same as the baseline"))
        for name, changes in (("answers", fields), ("exact", exact)):
            with self.subTest(name):
                worse = self.gate(name, "--junit", "gate.xml", "--markdown", "gate.md", exit_code=4,
                                  **{**changes, "plan": "KV2"})
                verdict = worse["metrics"][-1]
                self.assertEqual((verdict["metric"], verdict["outcome"]), ("accuracy", "worse"))
                self.assertEqual(verdict["items"], 12)
                self.assertLess(verdict["mcnemar_p"], 0.01)
                self.assertAlmostEqual(verdict["change"], (verdict["gained"] - verdict["lost"]) / 12)
                flips = f"{verdict['lost']} lost and {verdict['gained']} gained of 12 items"
                self.assertIn(flips, worse["message"])
                self.assertIn(flips, (self.folder / "gate.xml").read_text())
                self.assertIn(flips, (self.folder / "gate.md").read_text())
        # A limit on the accuracy itself.
        limit = {**fields, "limits": {**everything["limits"], "accuracy": 1.0}, "plan": "KV2"}
        self.assertIn("limit 1", self.gate("answers", "--update-baseline", exit_code=4, **limit)["message"])

    def test_gate_that_cannot_judge_answers(self):
        self.make_gate("judged")
        self.gate("answered", "--update-baseline", task={"file": "task.json"})
        self.gate("plain", "--update-baseline")
        other = [{"prompt": f"the value of item {i}: {i * i}", "answer": "other"} for i in range(12)]
        self.write_task("other.json", other)
        for name, changes, expected in (
                ("answered", {"task": {"file": "task.json", "limit": 11}},
                 "items of the task: found 12, expected 11 as it is now (--update-baseline replaces it)"),
                ("answered", {"task": {"file": "other.json"}}, "task_hash: found xxh3:"),
                ("answered", {}, "items of the task: found 12, expected 0"),
                ("plain", {"task": {"file": "task.json"}}, "items of the task: found 0, expected 12"),
                ("answered", {"task": {"file": "task.json", "limit": 7}}, '"task": found 7 items, expected at least 8'),
                ("answered", {"task": {"file": "none.json"}}, "none.json"),
                ("plain", {"limits": {"accuracy": 0.5}}, "found accuracy without a task")):
            with self.subTest(expected):
                result = self.gate(name, exit_code=1, **changes)
                self.assertEqual(result["status"], "not judged")
                self.assertIn(expected, result["message"])
                self.assertNotIn("\n", result["message"])

    def interrupted(self, name, how):
        """Runs an evaluation that takes seconds and ends it once a few answers are there; the exit code."""
        (self.folder / name).unlink(missing_ok=True)
        with subprocess.Popen([BINARY, "evaluate", *self.slow(name)], cwd=self.folder, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(0.02)
                if (self.folder / name).exists() and (self.folder / name).read_bytes().count(b"\n") >= 3:
                    break
            process.send_signal(how)
            return process.wait()

    def slow(self, name):
        items = [{"prompt": f"{i}", "answer": "?"} for i in range(64)]
        self.write_task("slow.json", items, max_new_tokens=100)
        return ["--model", str(self.model), "--task", "slow.json", "--threads", "1", "--uniform", "all", "--samples",
                name]

    def check_resumed(self, how, exit_code):
        """What the second run says, and how many answers the first one left."""
        self.assertEqual(self.interrupted("part.jsonl", how), exit_code)
        kept = self.read_lines_that_are_whole("part.jsonl")
        self.assertGreaterEqual(len(kept), 3)
        self.assertLess(len(kept), 64 * 10)
        done = self.run_kvtune("evaluate", *self.slow("part.jsonl"), "--json")
        whole = self.run_kvtune("evaluate", *self.slow("whole.jsonl"), "--json")
        self.assertEqual(done.stdout, whole.stdout)
        self.assertEqual((self.folder / "part.jsonl").read_bytes(), (self.folder / "whole.jsonl").read_bytes())
        (self.folder / "whole.jsonl").unlink()
        return done.stderr, len(kept)

    def read_lines_that_are_whole(self, name):
        return [line for line in (self.folder / name).read_bytes().split(b"\n")[:-1] if line]

    def test_kill_and_resume(self):
        said, kept = self.check_resumed(signal.SIGKILL, -signal.SIGKILL)
        self.assertIn(f"{kept} answers are in the file of samples already", said)

    def test_interrupt_and_resume(self):
        self.check_resumed(signal.SIGINT, 130)

    def test_choices(self):
        items = [{"prompt": "a", "choices": ["b", "c d"], "answer": 0},
                 {"prompt": "e ", "choices": ["f", "g"], "answer": 1}]
        self.write_task("choices.json", items)
        task = json.loads((self.folder / "choices.json").read_text())
        task["protocol"] = "multiple_choice"
        del task["stop"], task["max_new_tokens"]
        (self.folder / "choices.json").write_text(json.dumps(task))
        document = self.run_json("evaluate", *self.arguments("choices.json"), "--plan", "KV8")
        self.assertEqual(document["plans"][0]["accuracy"]["items"], 2)
        self.assertEqual(document["plans"][0]["accuracy"]["tokens"], 0)
        self.assertIn("found multiple choice with --prefill exact, expected quantized",
                      self.run_error("evaluate", *self.arguments("choices.json"), "--plan", "KV8", "--prefill", "exact",
                                     exit_code=2))

    @unittest.skipUnless(has_jinja(), "found no python3 with jinja2 (python3-jinja2)")
    def test_choices_behind_a_chat_template_have_no_space(self):
        model = tiny_model.write_model(self.folder / "chat")
        (model / "chat_template.jinja").write_text("{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}")
        (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))

        def hash_of(choices, *options):
            task = {"protocol": "multiple_choice", "items": [{"prompt": "a", "choices": choices, "answer": 0}]}
            (self.folder / "chat.json").write_text(json.dumps(task))
            return self.run_json("evaluate", "--model", model, "--task", "chat.json", "--threads", "1", "--plan", "KV8",
                                 *options)["task"]["hash"]

        plain = hash_of(["b", "c d"])
        self.assertEqual(hash_of([" b", " c d"], "--apply-chat-template"), plain)
        self.assertNotEqual(hash_of(["b", "c d"], "--apply-chat-template"), plain)

    def test_samples_are_written_over_nothing_that_is_read(self):
        items = [{"prompt": "The keys", "answer": "a"}, {"prompt": "Two bits", "answer": "b"}]
        (self.folder / "items.json").write_text(json.dumps(items))
        (self.folder / "of_items.json").write_text(json.dumps(
            {"protocol": "custom", "items": "items.json", "max_new_tokens": 2}))
        for file in (self.folder / "of_items.json", self.folder / "items.json", self.model / "tokenizer.json",
                     self.model / "model.safetensors"):
            before = file.read_bytes()
            self.run_error("evaluate", *self.arguments("of_items.json"), "--plan", "KV8", "--samples", file, exit_code=2)
            self.assertEqual(file.read_bytes(), before)
        options = self.folder / "options.toml"
        options.write_text('samples = "options.toml"\n')
        self.assertIn("found the input options.toml there", self.run_error(
            "evaluate", *self.arguments("of_items.json"), "--plan", "KV8", "--config", "options.toml", exit_code=2))
        self.assertEqual(options.read_text(), 'samples = "options.toml"\n')

    def test_samples_follow_a_link(self):
        (self.folder / "linked.jsonl").write_text("earlier\n")
        (self.folder / "link.jsonl").symlink_to("linked.jsonl")
        self.evaluate("--plan", "KV8", "--limit", "2", "--samples", "link.jsonl")
        self.assertTrue((self.folder / "link.jsonl").is_symlink())
        self.assertEqual(len((self.folder / "linked.jsonl").read_text().splitlines()), 4)

    def test_mistakes(self):
        self.assertIn("no-task.json", self.run_error("evaluate", *self.arguments("no-task.json"), "--plan", "KV8"))
        self.assertIn("expected plans (--plan, --uniform all, --front) or --stdin",
                      self.run_error("evaluate", *self.arguments(), exit_code=2))
        self.assertIn("--samples requires --task",
                      self.run_error("evaluate", *self.model_arguments(), "--plan", "KV8", "--samples", "s", exit_code=2))
        self.assertIn("found both --task and --known-scores, expected one of them",
                      self.run_error("evaluate", *self.arguments(), "--plan", "KV8", "--known-scores", "x", exit_code=2))
        self.assertIn("found --fewshot 2, expected none",
                      self.run_error("evaluate", *self.arguments(), "--plan", "KV8", "--fewshot", "2", exit_code=2))
        (self.folder / "overlap.jsonl").write_text(json.dumps({"text": "Q: the value of item 3: 9\nA: no"}) + "\n")
        self.assertIn('task "noise": found its item 4 among the calibration prompts',
                      self.run_error("evaluate", *self.arguments(), "--plan", "KV8", "--prompts", "overlap.jsonl"))


if __name__ == "__main__":
    unittest.main()
