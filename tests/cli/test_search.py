"""The whole chain, resuming it, and refusing to mix runs."""
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import tiny_model
from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase

STAGE_FILES = ("run.json", "sensitivity.json", "diagnosis.json", "candidates.json",
               "groups.json", "evaluations.jsonl", "front.json")


class SearchTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.first = cls("run_kvtune").search("first")
        cls.front = cls("run_kvtune").read_json("first", "front.json")

    def file(self, *path):
        return self.folder.joinpath(*path).read_bytes()

    def test_leaves_every_file(self):
        for name in STAGE_FILES:
            self.assertTrue((self.folder / "first" / name).is_file(), name)
        self.assert_no_leftovers("first")

    def test_front_has_the_fields_that_scripts_read(self):
        self.assertEqual(set(self.front),
                         {"schema_version", "run", "plans", "uniform", "reference", "near", "search"})
        plan = self.front["plans"][0]
        self.assertEqual(set(plan), {"name", "spec", "layers", "nominal_bits", "effective_bits",
                                     "bytes_per_token", "calibration", "held_out"})
        self.assertEqual(len(plan["layers"]), 3)
        self.assertEqual(set(plan["calibration"]),
                         {"prompts", "tokens", "kl_mean", "kl_p99", "kl_p999", "top1_agreement",
                          "nll", "delta_nll", "total_variation", "effective_tokens", "by_position"})
        self.assertLess(0, plan["calibration"]["total_variation"])
        self.assertEqual(sum(part["tokens"] for part in plan["calibration"]["by_position"]),
                         plan["calibration"]["tokens"])
        self.assertEqual([plan["name"] for plan in self.front["uniform"]],
                         ["KV8", "K8V4", "K8V2", "K4V8", "KV4", "K4V2", "K2V8", "K2V4", "KV2"])

    def test_exact_plan_loses_nothing(self):
        self.assertEqual(self.front["reference"]["calibration"]["kl_mean"], 0)
        self.assertEqual(self.front["reference"]["calibration"]["top1_agreement"], 1)

    def test_no_plan_of_the_front_is_dominated(self):
        points = [(plan["bytes_per_token"], plan["calibration"]["kl_mean"])
                  for plan in self.front["plans"]]
        for a in points:
            for b in points:
                self.assertFalse(a != b and a[0] <= b[0] and a[1] <= b[1], (a, b))

    def test_table_is_on_stdout_and_progress_is_not(self):
        self.assertIn("eff. bits", self.first.stdout)
        self.assertIn("uniform plans", self.first.stdout)
        self.assertIn("Next: kvtune pareto export first --plan ", self.first.stdout)
        self.assertIn("bytes/token", self.run_kvtune("pareto", "list", "first", "--all").stdout)
        for word in ("nats", "ypervolume", "noise floor", "urrogate"):
            self.assertNotIn(word, self.first.stdout + self.first.stderr)
        self.assertNotIn("search: generation", self.first.stdout)
        self.assertIn("search: generation", self.first.stderr)

    def test_second_run_resumes_with_the_same_front(self):
        before = self.file("first", "front.json")
        done = self.search("first")
        self.assertIn("resuming", done.stderr)
        self.assertEqual(self.file("first", "front.json"), before)
        self.assertEqual(done.stdout, self.first.stdout)

    def test_other_folder_gives_the_same_bytes(self):
        self.search("second")
        for name in STAGE_FILES:
            if name != "run.json":
                self.assertEqual(self.file("first", name), self.file("second", name), name)

    def test_lost_front_is_made_again_without_scoring(self):
        shutil.copytree(self.folder / "first", self.folder / "lost")
        (self.folder / "lost" / "front.json").unlink()
        log = self.file("lost", "evaluations.jsonl")
        self.search("lost")
        self.assertEqual(self.file("lost", "front.json"), self.file("first", "front.json"))
        self.assertEqual(self.file("lost", "evaluations.jsonl"), log)

    def test_torn_log_is_continued(self):
        shutil.copytree(self.folder / "first", self.folder / "torn")
        (self.folder / "torn" / "front.json").unlink()
        log = self.file("torn", "evaluations.jsonl")
        (self.folder / "torn" / "evaluations.jsonl").write_bytes(log[:len(log) * 3 // 5])
        self.search("torn")
        self.assertEqual(self.file("torn", "front.json"), self.file("first", "front.json"))
        self.assertEqual(self.file("torn", "evaluations.jsonl"), log)

    def test_other_options_are_refused_by_name(self):
        before = self.file("first", "run.json")
        for options in (["--seed", "1"], ["--context", "64"], ["--target", "kvtuner-kivi"],
                        ["--epsilon", "0.1"], ["--max-groups", "1"], ["--max-evaluations", "11"],
                        ["--metric-reduction", "mean-of-ratios"], ["--prefill", "exact"],
                        ["--held-out", self.other_prompts()]):
            done = self.search("first", *options, exit_code=1)
            self.assertIn(f"{options[0]}: found ", done.stderr)
            self.assertIn("there, expected", done.stderr)
            self.assertEqual(done.stdout, "")
        self.assertEqual(self.file("first", "run.json"), before)

    def test_refused_options_do_not_bind_the_folder(self):
        done = self.search("retry", "--max-evaluations", "3", exit_code=2)
        self.assertIn("limit of 3 evaluations", done.stderr)
        self.search("retry")
        self.assertEqual(self.file("first", "front.json"), self.file("retry", "front.json"))

    def test_other_prompts_are_refused(self):
        message = self.run_error(
            "search", *self.model_arguments(prompts=self.other_prompts()), "--out", "first",
            *QUICK_SEARCH)
        self.assertIn("--prompts", message)

    def other_prompts(self):
        path = self.folder / "other.jsonl"
        path.write_text(json.dumps({"text": "Something else altogether."}) + "\n")
        return path

    def test_json_is_the_front(self):
        self.assertEqual(json.loads(self.search("first", "--json").stdout), self.front)

    def test_quiet_says_nothing_on_stderr(self):
        self.assertEqual(self.search("first", "-q").stderr, "")


class HeldOutTest(CliTestCase):

    def test_few_prompts_are_not_split(self):
        self.search("few")
        self.assertIsNone(self.read_json("few", "front.json")["plans"][0]["held_out"])

    def test_last_quarter_is_kept_out(self):
        prompts = tiny_model.write_prompts(self.folder / "eight.jsonl", count=8)
        front = self.run_json("search", *self.model_arguments(prompts=prompts), "--out", "split",
                              *QUICK_SEARCH)
        for plan in [*front["plans"], *front["uniform"], front["reference"]]:
            self.assertEqual(plan["calibration"]["prompts"], 6)
            held_out = plan["held_out"]
            self.assertEqual(held_out["prompts"], 2)
            # Two prompts allow no interval, except where nothing is lost.
            if held_out["kl_mean"] == 0:
                self.assertEqual(held_out["kl_mean_interval"], [0, 0])
            else:
                self.assertIsNone(held_out["kl_mean_interval"])
                self.assertGreaterEqual(held_out["prompts_for_interval"], 8)

    def test_plans_are_picked_prompt_by_prompt(self):
        texts = [json.dumps({"text": f"{one} {two}"}) + "\n" for one in tiny_model.TEXTS for two in tiny_model.TEXTS[:3]]
        prompts, held_out = self.folder / "twelve.jsonl", self.folder / "others.jsonl"
        prompts.write_text("".join(texts[::2]))
        held_out.write_text("".join(texts[1::2]))
        front = self.run_json("search", *self.model_arguments(prompts=prompts), "--out", "paired",
                              "--held-out", held_out, *QUICK_SEARCH)
        for plan in [*front["plans"], *front["uniform"], *front.get("near", [])]:
            low, high = plan["held_out"]["kl_mean_interval"]
            self.assertLessEqual(low, plan["held_out"]["kl_mean"])
            self.assertLessEqual(plan["held_out"]["kl_mean"], high)
        picked = self.run_json("pareto", "pick", "paired", "--lossless")
        self.assertEqual(picked["comparison"]["reference"], "KV8")
        self.assertEqual(picked["comparison"]["standing"], "as good")
        self.assertLessEqual(picked["comparison"]["interval"][1], 1.1)
        self.assertEqual(picked["comparison"]["prompts"], 12)
        self.assertEqual(self.run_json("pareto", "pick", "paired", "--like", "KV8"), picked)
        anything = self.run_json("pareto", "pick", "paired", "--like", "KV8", "--margin", "1e9")
        self.assertLess(anything["bytes_per_token"], picked["bytes_per_token"])
        shown = self.run_json("pareto", "show", "paired", "recommended")
        like = self.run_json("pareto", "pick", "paired", "--like", "recommended")
        self.assertEqual(like["comparison"]["reference"], shown["name"])
        self.assertIn('found no plan "p99"', self.run_error("pareto", "pick", "paired", "--like", "p99"))
        # Without the log of held-out scores there is nothing to compare prompt by prompt.
        (self.folder / "paired" / "held_out.jsonl").unlink()
        self.assertIn("found no losses by prompt of", self.run_error("pareto", "pick", "paired", "--lossless"))

    def test_held_out_file(self):
        path = self.folder / "held.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in tiny_model.TEXTS[6:]))
        self.search("file", "--held-out", path)
        front = self.read_json("file", "front.json")
        self.assertEqual(front["plans"][0]["held_out"]["prompts"], 2)

    def test_overlap_is_refused(self):
        done = self.search("overlap", "--held-out", self.prompts, exit_code=1)
        self.assertIn("found 6 of the 6 calibration prompts among them", done.stderr)

    def test_lossless_pick_needs_held_out_scores(self):
        self.search("none", "--held-out", "none")
        self.assertIn("held-out", self.run_error("pareto", "pick", "none", "--lossless"))


class KnownScoresTest(CliTestCase):

    def test_known_plans_cost_nothing_and_others_are_refused(self):
        groups = ["--max-groups", "2", "--held-out", "none", "--no-refine"]
        self.run_kvtune("search", *self.model_arguments(), "--out", "all", *groups, "--exact")
        known = self.folder / "all" / "evaluations.jsonl"
        best = self.read_json("all", "front.json")
        self.assertTrue(best["search"]["exhaustive"])
        for algorithm in ("nsga2", "moead", "random", "greedy", "ilp"):
            done = self.run_kvtune("search", *self.model_arguments(), "--out", algorithm, *groups,
                                   "--algorithm", algorithm, "--known-scores", known,
                                   "--search-seed", "5", *QUICK_SEARCH)
            front = self.read_json(algorithm, "front.json")
            self.assertEqual(front["search"]["algorithm"], algorithm)
            self.assertNotIn("scoring", done.stderr)
            self.assertIn("known scores", done.stderr)
            scores = {plan["spec"]: plan["calibration"] for plan in map(json.loads, known.read_text().splitlines())}
            for plan in front["plans"]:
                self.assertEqual(scores[plan["spec"]], plan["calibration"])
        message = self.run_error("search", *self.model_arguments(), "--prefill", "exact", "--out",
                                 "other", *groups, "--known-scores", known)
        self.assertIn("--prefill: found quantized there, expected exact", message)
        message = self.run_error("search", *self.model_arguments(), "--out", "nsga2", *groups,
                                 "--algorithm", "random", "--known-scores", known,
                                 "--search-seed", "5", *QUICK_SEARCH)
        self.assertIn("--algorithm: found nsga2 there, expected random", message)

    def test_array_of_plans_is_answered_by_an_array(self):
        text = json.dumps([{"spec": "KV8"}, {"spec": "KV4"}]) + "\n" + json.dumps({"spec": "KV8"})
        done = self.run_kvtune("evaluate", *self.model_arguments(), "--stdin", text=text + "\n[3]\n")
        pair, single, wrong = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([plan["name"] for plan in pair], ["KV8", "KV4"])
        self.assertEqual(pair[0]["calibration"], single["calibration"])
        self.assertIn("error", wrong)


class LockTest(CliTestCase):

    def test_second_process_is_refused(self):
        self.search("locked", "--held-out", "none")
        with open(self.folder / "locked" / "run.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.search("locked", "--held-out", "none", exit_code=1)
        self.assertIn("opening locked: found another kvtune at work in it, expected none",
                      done.stderr)


class InterruptTest(CliTestCase):

    def test_interrupted_search_keeps_its_scores_and_goes_on(self):
        options = ["--population", "8", "--generations", "60", "--no-cluster", "--seed", "3"]
        command = ["search", *self.model_arguments(), *options]
        reference = self.run_kvtune(*command, "--out", "whole")
        started = subprocess.Popen([BINARY, *map(str, command), "--out", "stopped"],
                                   cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        log = self.folder / "stopped" / "evaluations.jsonl"
        while started.poll() is None and not (log.exists() and log.stat().st_size > 0):
            time.sleep(0.005)
        os.kill(started.pid, signal.SIGINT)
        _, messages = started.communicate(timeout=120)
        self.assertEqual(started.returncode, 130, messages)
        self.assertIn("goes on from here", messages)
        self.assert_no_leftovers("stopped")
        self.assertLess(len(self.read_json("stopped", "front.json")["plans"]) - 1,
                        len(log.read_text().splitlines()))

        resumed = self.run_kvtune(*command, "--out", "stopped")
        self.assertEqual(resumed.stdout.replace("stopped", "whole"), reference.stdout)
        for name in ("front.json", "evaluations.jsonl"):
            self.assertEqual((self.folder / "stopped" / name).read_bytes(),
                             (self.folder / "whole" / name).read_bytes(), name)


if __name__ == "__main__":
    unittest.main()
