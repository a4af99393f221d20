"""The gate: plans that hold, plans that do not, and what cannot be judged."""
import json
import shutil
import unittest
import xml.etree.ElementTree

import tiny_model
from cli_test_case import QUICK_SEARCH, CliTestCase


class CheckTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls("run_kvtune")
        case.search("run")
        case.run_kvtune("check", "--init", "run:KV8", "--out", "kv8.json")
        case.check("kv8.json", "--update-baseline")

    def check(self, *arguments, **keywords):
        threads = () if "--threads" in arguments else ("--threads", "1")
        return self.run_kvtune("check", "--config", *arguments, *threads, **keywords)

    def check_json(self, *arguments, **keywords):
        return json.loads(self.check(*arguments, "--json", **keywords).stdout)

    def config(self, file, **changes):
        """A copy of the config of KV8 with other fields; None leaves one out."""
        fields = {**self.read_json("kv8.json"), **changes}
        (self.folder / file).write_text(json.dumps({key: value for key, value in fields.items()
                                                    if value is not None}))
        return file

    def not_judged(self, file, *arguments):
        """The message about a config that cannot be judged, beside one that is."""
        answer = self.check_json(file, "kv8.json", "--baseline", "baselines/kv8.json", *arguments,
                                 exit_code=1)
        bad, good = answer["configs"]
        self.assertEqual((bad["status"], good["status"]), ("not judged", "passed"), answer)
        self.assertFalse(answer["passed"])
        self.assertNotIn("\n", bad["message"])
        return bad["message"]

    def test_init_writes_what_the_run_says(self):
        config = self.read_json("kv8.json")
        run = self.read_json("run", "run.json")["run"]
        self.assertEqual(config["name"], "kv8")
        self.assertEqual((config["model"], config["plan"]), ("tiny", "KV8"))
        for key in ("model_hash", "prompts_hash", "target", "context", "prefill"):
            self.assertEqual(config[key], run[key])
        self.assertIn("there already", self.run_error("check", "--init", "run:KV8", "--out", "kv8.json"))
        self.assertIn("expected one of", self.run_error("check", "--init", "run:p99", "--out", "new.json"))
        self.assertIn("--out", self.run_error("check", "--init", "run:KV8", exit_code=2))

    def test_init_with_a_task(self):
        items = [{"prompt": f"the value of item {i}: {i * i}", "answer": "?"} for i in range(20)]
        task = {"name": "noise", "protocol": "custom", "stop": ["\n\n"], "max_new_tokens": 8, "items": items}
        (self.folder / "noise.json").write_text(json.dumps(task))
        self.run_kvtune("check", "--init", "run:KV8", "--task", "noise.json", "--limit", "16", "--out", "answers.json")
        config = self.read_json("answers.json")
        self.assertEqual(config["task"], {"file": "noise.json", "limit": 16, "against": "baseline"})
        self.check("answers.json", "--update-baseline")
        self.assertEqual(len(self.read_json("baselines", "answers.json")["baselines"][0]["measured"]["answers"]), 16)
        result, = self.check_json("answers.json")["configs"]
        self.assertEqual(result["status"], "passed")
        self.assertIn("accuracy", [metric["metric"] for metric in result["metrics"]])
        self.assertIn("--init", self.run_error("check", "--config", "kv8.json", "--task", "noise.json", exit_code=2))

    def test_the_unchanged_plan_passes_twenty_times(self):
        for seed in range(20):
            threads = 1 + seed % 4
            result, = self.check_json("kv8.json", "--threads", threads, "--seed", seed)["configs"]
            self.assertEqual(result["status"], "passed")
            self.assertEqual(result["message"], "the same as the baseline")

    def test_a_fragile_layer_is_named(self):
        self.config("worse.json", plan="KV8;1:KV2", limits={})
        done = self.check("worse.json", "--baseline", "baselines/kv8.json", exit_code=4)
        result, = self.check_json("worse.json", "--baseline", "baselines/kv8.json", exit_code=4)["configs"]
        self.assertEqual(result["blame"]["layer"], 1)
        self.assertEqual((result["blame"]["pair"], result["blame"]["replacement"]), ("KV2", "KV8"))
        kl = result["metrics"][0]
        self.assertEqual((kl["metric"], kl["outcome"]), ("kl_mean", "worse"))
        self.assertGreater(kl["change_interval"][0], kl["allowed"])
        for text in (f"kl_mean {kl['before']:.4g} -> {kl['after']:.4g}", "layer 1 explains it best"):
            self.assertIn(text, result["message"])
            self.assertIn(text, done.stdout)
        # Back to the baseline's formats, the plan is the baseline's.
        self.assertAlmostEqual(result["blame"]["replaced"], kl["before"], delta=1e-12)

    def test_limits_hold_without_a_change(self):
        limits = self.read_json("kv8.json")["limits"]
        self.config("limit.json", name="limit")
        self.check("limit.json", "--update-baseline")
        self.config("limit.json", name="limit", plan="KV8;0:KV4", limits={**limits, "relative": {"kl_mean": 1e6, "kl_p999": 1e6}},
                    tolerance={"top1_agreement": 1, "delta_nll": 9})
        result, = self.check_json("limit.json", exit_code=4)["configs"]
        self.assertIn("limit", result["message"])
        self.assertIn("beyond the limit", [metric["outcome"] for metric in result["metrics"]])

    def test_a_baseline_is_not_written_over_a_broken_limit(self):
        self.config("over.json", name="over", limits={"kl_mean": 0})
        done = self.check("over.json", "--update-baseline", exit_code=4)
        self.assertIn("is as it was", done.stdout)
        self.assertFalse((self.folder / "baselines" / "over.json").exists())

    def test_update_says_what_changed(self):
        self.config("moved.json", name="moved")
        self.assertIn("new baseline", self.check("moved.json", "--update-baseline").stdout)
        self.config("moved.json", name="moved", plan="KV4", limits={})
        done = self.check("moved.json", "--update-baseline")
        self.assertIn("plan: KV8 -> KV4", done.stdout)
        self.assertIn("kl_mean: ", done.stdout)
        self.assertEqual(self.check_json("moved.json")["configs"][0]["status"], "passed")
        # Fewer bytes and less loss than before are no reason to fail.
        self.config("moved.json", name="moved", plan="K4V8", limits={"relative": {"bytes_per_token": 1}})
        self.check("moved.json")

    def test_what_cannot_be_judged(self):
        plan = {"schema_version": 1, "target": "kvtuner", "layers": [{"key": "int8", "value": "int8"}] * 4}
        (self.folder / "four.json").write_text(json.dumps(plan))
        for changes, expected in (
                ({"plan": "missing.yaml"}, "missing.yaml"),
                ({"plan": "KV5"}, "KV5"),
                ({"plan": "run:p99"}, 'no "p99"'),
                ({"plan": "four.json"}, "found 4 layers, expected the model's 3"),
                ({"limits": {"kl_mean": 0.5, "kl_p999": 0.1}}, "found kl_p999 0.1 below kl_mean 0.5"),
                ({"limits": {"top1_agreement": 2}}, "found 2, expected at most 1"),
                ({"model": "nowhere"}, "nowhere"),
                ({"target": "nothing"}, "nothing"),
                ({"speed": 1}, 'unknown key "speed"'),
                ({"model_hash": "xxh3:0"}, "expected xxh3:0"),
                ({"prompts_hash": "xxh3:1"}, "expected xxh3:1"),
                ({"prompts": ["no.jsonl"]}, "no.jsonl")):
            with self.subTest(changes):
                self.config("bad.json", **{"name": "bad", **changes})
                self.assertIn(expected, self.not_judged("bad.json"))
        (self.folder / "empty.json").write_text("")
        self.assertIn("empty file", self.not_judged("empty.json"))
        self.assertIn("gone.json", self.not_judged("gone.json"))

    def test_a_baseline_that_does_not_fit(self):
        for changes, expected in (
                ({"context": 4096}, "context: found 8192, expected 4096"),
                ({"target": "kvtuner-kivi"}, "target: found kvtuner, expected kvtuner-kivi"),
                ({"prefill": "exact"}, "prefill: found quantized, expected exact"),
                ({"limits": {"kl_mean": 1e-12}}, "expected a limit that the baseline holds")):
            with self.subTest(changes):
                self.config("bad.json", **changes)
                answer = self.check_json("bad.json", "--baseline", "baselines/kv8.json", exit_code=1)
                self.assertIn(expected, answer["configs"][0]["message"])

    def test_too_few_prompts(self):
        few = tiny_model.write_prompts(self.folder / "few.jsonl", 4)
        self.run_kvtune("search", *self.model_arguments(prompts=few), "--out", "few", *QUICK_SEARCH)
        self.run_kvtune("check", "--init", "few:KV8", "--out", "few.json")
        self.assertIn("expected at least 5", self.check("few.json", "--update-baseline", exit_code=1).stderr)

    def test_two_configs_with_one_name(self):
        self.config("twin.json")
        answer = self.check_json("kv8.json", "twin.json", exit_code=1)
        self.assertEqual([config["status"] for config in answer["configs"]], ["passed", "not judged"])
        self.assertIn("found kv8 in kv8.json too", answer["configs"][1]["message"])

    def test_broken_baselines(self):
        whole = (self.folder / "baselines" / "kv8.json").read_text()
        for text, expected in (("", "empty file"), (whole[:len(whole) // 2], "not valid JSON at line"),
                               ('{"schema_version": 1, "baselines": []}', "found none"),
                               (whole.replace('"schema_version": 1', '"schema_version": 7', 1), "found 7, expected 1"),
                               (whole.replace('"name": "kv8"', '"name": "other"'), "found only other, expected one of kv8"),
                               (None, "found nothing, expected a file")):
            with self.subTest(expected):
                (self.folder / "broken.json").unlink(missing_ok=True)
                if text is not None:
                    (self.folder / "broken.json").write_text(text)
                done = self.check("kv8.json", "--baseline", "broken.json", exit_code=1)
                self.assertIn(expected, done.stderr)
                self.assertIn("kv8: not judged", done.stdout)

    def test_a_failed_gate_decides_over_one_not_judged(self):
        self.config("worse.json", plan="KV2", limits={})
        answer = self.check_json("gone.json", "worse.json", "--baseline", "baselines/kv8.json", exit_code=4)
        self.assertEqual(answer["exit_code"], 4)

    def test_equal_models_are_equal(self):
        model = tiny_model.write_model(self.folder / "same", shards=3)
        (model / "tokenizer.json").write_text(json.dumps(tiny_model.tokenizer(), indent=3))
        (model / "config.json").write_text(json.dumps({**tiny_model.config(), "transformers_version": "9"}))
        self.config("same.json", model="same")
        result, = self.check_json("same.json", "--baseline", "baselines/kv8.json")["configs"]
        self.assertEqual(result["message"], "the same as the baseline")

    def test_another_model_has_to_be_accepted(self):
        tiny_model.write_model(self.folder / "tuned", tensors=tiny_model.weights(seed=8))
        self.config("tuned.json", name="tuned", model="tuned", limits={})
        shutil.copy(self.folder / "baselines" / "kv8.json", self.folder / "baselines" / "tuned.json")
        text = (self.folder / "baselines" / "tuned.json").read_text()
        (self.folder / "baselines" / "tuned.json").write_text(text.replace('"name": "kv8"', '"name": "tuned"'))
        done = self.check("tuned.json", exit_code=1)
        self.assertIn(f"expected {self.read_json('kv8.json')['model_hash']}", done.stderr)
        self.config("tuned.json", name="tuned", model="tuned", tolerance={
            "kl_mean": 9, "kl_p999": 99, "top1_agreement": 1, "delta_nll": 9}, limits={})
        self.assertIn("another model", self.check("tuned.json", "--accept-model").stdout)
        self.check("tuned.json", "--accept-model", "--update-baseline")
        self.assertEqual(self.check("tuned.json").returncode, 0)  # the config names the new model now

    def test_cache(self):
        cold = self.check("kv8.json", "--cache", "cache")
        self.assertNotIn("cache:", cold.stderr)
        entry, = (self.folder / "cache").iterdir()
        warm = self.check("kv8.json", "--cache", "cache")
        self.assertIn("exact model's pass over 6 prompts is in", warm.stderr)
        self.assertEqual(warm.stdout, cold.stdout)
        for damage, expected in ((lambda data: data[:-1], "checksum"),
                                 (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "checksum"),
                                 (lambda data: b"", "no header")):
            entry.write_bytes(damage(entry.read_bytes()))
            done = self.check("kv8.json", "--cache", "cache")
            self.assertIn("made anew", done.stderr)
            self.assertIn(expected, done.stderr)
            self.assertEqual(done.stdout, cold.stdout)
        self.assertIn("is in", self.check("kv8.json", "--cache", "cache").stderr)

    def test_formats_with_calibrated_scales(self):
        self.config("scaled.json", name="scaled", target="tensorrt-llm", plan="fp8_e4m3_calibrated", limits={})
        self.check("scaled.json", "--update-baseline")
        result, = self.check_json("scaled.json")["configs"]
        self.assertEqual(result["message"], "the same as the baseline")

    def test_another_type_passes_or_says_why_not(self):
        # 8 bits lose less than bfloat16's own rounding.
        done = self.check("kv8.json", "--dtype", "bfloat16", exit_code=1)
        self.assertIn("nats of rounding in bfloat16 against a mean KL", done.stderr)
        self.config("kv2.json", name="kv2", plan="KV2", limits={})
        self.check("kv2.json", "--update-baseline")
        done = self.check("kv2.json", "--dtype", "bfloat16")
        self.assertIn("computed in bfloat16, the baseline in float32", done.stdout)

    def test_reports(self):
        self.config("worse.json", plan="KV2", limits={})
        done = self.check("worse.json", "gone.json", "--baseline", "baselines/kv8.json", "--junit", "junit.xml",
                          "--markdown", "comment.md", "--github", exit_code=4)
        suite = xml.etree.ElementTree.parse(self.folder / "junit.xml").getroot().find("testsuite")
        self.assertEqual((suite.get("tests"), suite.get("failures"), suite.get("errors")), ("2", "1", "1"))
        self.assertIn("0 of 2 plans hold", (self.folder / "comment.md").read_text())
        self.assertIn("::error file=worse.json,title=kvtune check kv8 failed::kl_mean", done.stdout)
        done = self.check("worse.json", "--baseline", "baselines/kv8.json", "--github", "--json", exit_code=4)
        json.loads(done.stdout)
        self.assertIn("::error file=worse.json", done.stderr)

    def test_a_lost_report_does_not_lose_the_verdict(self):
        self.config("worse.json", plan="KV2")
        for option in ("--junit", "--markdown"):
            done = self.check("worse.json", "--baseline", "baselines/kv8.json", option, "no/such/folder/report",
                              exit_code=4)
            self.assertIn("kv8: failed: ", done.stdout)
            self.assertIn("no/such/folder/report", done.stderr)
            done = self.check("kv8.json", option, "no/such/folder/report", exit_code=1)
            self.assertIn("kv8: passed: ", done.stdout)

    def test_no_report_is_written_over_what_is_read(self):
        for file in ("kv8.json", "baselines/kv8.json"):
            before = (self.folder / file).read_bytes()
            message = self.run_error("check", "--config", "kv8.json", "--junit", file, exit_code=2)
            self.assertIn(f"--junit {file}: found the input", message)
            self.assertEqual((self.folder / file).read_bytes(), before)
        for file, what in ((self.prompts, "the input"), (self.model / "config.json", "a file of a model"),
                           (self.model / "model.safetensors", "a file of a model")):
            before = file.read_bytes()
            self.assertIn(f"found {what}", self.run_error("check", "--config", "kv8.json", "--markdown", file, exit_code=2))
            self.assertEqual(file.read_bytes(), before)
        self.assertIn("found x.xml for --junit and for --markdown, expected two files",
                      self.run_error("check", "--config", "kv8.json", "--junit", "x.xml", "--markdown", "x.xml",
                                     exit_code=2))
        front = (self.folder / "run" / "front.json").read_bytes()
        message = self.run_error("pareto", "export", "run", "--plan", "KV8", "--format", "json", "--out",
                                 "run/front.json", exit_code=2)
        self.assertIn("a file of the run", message)
        self.assertEqual((self.folder / "run" / "front.json").read_bytes(), front)

    def test_usage(self):
        self.assertIn("expected one of --config", self.run_error("check", exit_code=2))
        self.run_error("check", "--schema", "--config", "kv8.json", exit_code=2)
        self.assertIn("additionalProperties", self.run_kvtune("check", "--schema").stdout)


if __name__ == "__main__":
    unittest.main()
