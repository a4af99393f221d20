"""kvtune search --objective-latency: plans by loss, bytes and the time of attention."""
import itertools
import json
import pathlib
import unittest

import tiny_model
from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase, run_on_terminal

DEMO = pathlib.Path(__file__).resolve().parents[2] / "calib_data" / "demo_model"


def dominates(a, b):
    """Whether plan a is nowhere worse than b and somewhere better."""
    def values(plan):
        return plan["calibration"]["kl_mean"], plan["bytes_per_token"], plan["latency_ms"]
    return all(x <= y for x, y in zip(values(a), values(b))) and values(a) != values(b)


class LatencyTest(CliTestCase):
    """The demo model, with times that `kvtune bench` measures on this machine."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.table = cls.folder / "latency.json"
        test = cls("run_kvtune")
        test.run_kvtune("bench", "--model", DEMO, "--batch", "2", "--context", "256", "--context", "512",
                        "--attention-only", "--device", "cpu", "--out", cls.table)
        test.search_demo("timed", "--objective-latency", cls.table, "--latency-context", "512")

    def search_demo(self, out, *options, **keywords):
        return self.run_kvtune("search", "--model", DEMO, "--device", "cpu", "--threads", "1", "--max-prompts", "3",
                               "--max-tokens", "300", "--held-out", "none", *QUICK_SEARCH, "--no-refine",
                               *options, "--out", out, **keywords)

    def milliseconds(self, plan, context=512):
        """The time of a plan as the table has it."""
        setting, = [one for one in json.loads(self.table.read_text())["settings"] if one["context"] == context]
        times = {json.dumps(pair["formats"]): pair["attention_ms"]["median"] for pair in setting["pairs"]}
        return sum(times[json.dumps(layer)] for layer in plan["layers"])

    def test_the_front_has_the_times_of_the_table(self):
        front = self.read_json("timed", "front.json")
        self.assertEqual((front["latency"]["batch"], front["latency"]["context"]), (2, 512))
        for plan in front["plans"] + front["uniform"] + [front["reference"]]:
            self.assertAlmostEqual(plan["latency_ms"], self.milliseconds(plan), delta=1e-5)
        for a, b in itertools.permutations(front["plans"], 2):
            self.assertFalse(dominates(a, b), (a["name"], b["name"]))
        options = self.read_json("timed", "run.json")["stages"]["search"]["options"]
        self.assertEqual(options["--objective-latency"], front["latency"]["table"])
        self.assertEqual((options["--latency-batch"], options["--latency-context"]), (2, 512))
        with (self.folder / "timed" / "evaluations.jsonl").open() as lines:
            for line in lines:
                self.assertIn("latency_ms", json.loads(line))

    def test_every_view_shows_them(self):
        table = self.run_kvtune("pareto", "list", "timed").stdout
        self.assertIn("  ms  ", table)
        self.assertIn("ms: attention of all layers in a decode step of 2 sequences with 512 tokens each", table)
        front = self.read_json("timed", "front.json")
        first, last = front["plans"][0]["name"], front["plans"][-1]["name"]
        self.assertIn("ms of attention", self.run_kvtune("pareto", "plot", "timed", "--time").stdout)
        self.assertIn("bytes per token", self.run_kvtune("pareto", "plot", "timed").stdout)
        self.assertIn("ms: attention", self.run_kvtune("pareto", "show", "timed", first).stdout)
        self.assertIn("Attention of a decode step", self.run_kvtune("pareto", "diff", "timed", first, last).stdout)
        self.run_kvtune("report", "timed")
        page = (self.folder / "timed" / "report.html").read_text()
        self.assertIn("latency_ms", page)
        self.assertRegex(run_on_terminal([BINARY, "pareto", "list", "timed"], self.folder, 100)[1],
                         r"size vs bf16 +ms  loss \(KL\)")

    def test_an_exported_plan_is_read_back(self):
        plan = self.read_json("timed", "front.json")["plans"][0]
        self.run_kvtune("pareto", "export", "timed", "--plan", plan["name"], "--format", "json", "--out", "plan.json")
        self.assertEqual(self.read_json("plan.json")["latency_ms"], plan["latency_ms"])
        again, = self.run_json("evaluate", "--model", DEMO, "--plan", "plan.json", "--max-prompts", "1", "--max-tokens",
                               "50", "--device", "cpu", "--threads", "1")["plans"]
        self.assertEqual(again["layers"], plan["layers"])
        self.assertNotIn("latency_ms", again)

    def test_pick_by_time(self):
        front = self.read_json("timed", "front.json")
        times = sorted(plan["latency_ms"] for plan in front["plans"])
        limit = times[len(times) // 2]
        picked = self.run_json("pareto", "pick", "timed", "--max-milliseconds", limit)
        self.assertLessEqual(picked["latency_ms"], limit)
        for plan in front["plans"] + front["uniform"]:
            if plan["latency_ms"] <= limit:
                self.assertLessEqual(picked["calibration"]["kl_mean"], plan["calibration"]["kl_mean"])
        self.assertIn("; the nearest is ",
                      self.run_error("pareto", "pick", "timed", "--max-milliseconds", times[0] / 2))

    def test_the_same_command_reads_the_run_again(self):
        before = (self.folder / "timed" / "front.json").read_bytes()
        done = self.search_demo("timed", "--objective-latency", self.table, "--latency-context", "512")
        self.assertIn("reusing", done.stderr)
        self.assertEqual((self.folder / "timed" / "front.json").read_bytes(), before)
        self.assertIn("--latency-context: found 512 there, expected 256",
                      self.search_demo("timed", "--objective-latency", self.table, "--latency-context", "256",
                                       exit_code=1).stderr)
        self.assertIn("--objective-latency: found xxh3:", self.search_demo("timed", exit_code=1).stderr)

    def test_stage_by_stage(self):
        model = ("--model", DEMO, "--device", "cpu", "--threads", "1", "--max-prompts", "3", "--max-tokens", "300",
                 "--held-out", "none")
        times = ("--objective-latency", self.table, "--latency-context", "512")
        self.run_kvtune("calibrate", *model, "--out", "staged")
        self.run_kvtune("prune", "staged", *times)
        self.run_kvtune("cluster", "staged")
        self.search_demo("staged", *times)
        self.assertEqual((self.folder / "staged" / "front.json").read_bytes(),
                         (self.folder / "timed" / "front.json").read_bytes())
        self.run_kvtune("calibrate", *model, "--out", "other")
        self.run_kvtune("prune", "other")
        self.run_kvtune("cluster", "other")
        self.assertIn("--objective-latency: found null there, expected xxh3:",
                      self.search_demo("other", *times, exit_code=1).stderr)

    def test_refusals(self):
        done = self.search_demo("x", "--objective-latency", self.table, exit_code=2)
        self.assertIn("found 2 settings for the batch and context any x any, expected one of those that were measured "
                      "(--latency-batch, --latency-context): 2 x 256, 2 x 512", done.stderr)
        done = self.search_demo("x", "--objective-latency", self.table, "--latency-context", "1k", exit_code=2)
        self.assertIn("found no time for the batch and context any x 1024", done.stderr)
        done = self.search_demo("x", "--objective-latency", self.folder / "none.json", exit_code=1)
        self.assertIn("found no such file, expected one written by `kvtune bench --out latency.json`", done.stderr)
        done = self.search_demo("x", "--objective-latency", self.table, "--algorithm", "greedy", exit_code=2)
        self.assertIn("found --objective-latency with an --algorithm of two objectives", done.stderr)
        done = self.search_demo("x", "--latency-batch", "2", exit_code=2)
        self.assertIn("--objective-latency", done.stderr)
        changed = json.loads(self.table.read_text())
        changed["settings"] = changed["settings"][:1]
        for what, expected in ((lambda table: table["layer_shapes"][0].update(kv_heads=4),
                                "found layer 0 with 4 KV heads of 64 and 64 channels and full attention, expected 2"),
                               (lambda table: table.update(query_heads=64), "found 64 query heads, expected "),
                               (lambda table: table["settings"][0]["pairs"].pop(),
                                "found no time of "),
                               (lambda table: table.update(schema_version=2), "a newer kvtune than"),
                               (lambda table: table.pop("device"), '"device"')):
            other = json.loads(json.dumps(changed))
            what(other)
            file = self.folder / "other.json"
            file.write_text(json.dumps(other))
            self.assertIn(expected, self.search_demo("x", "--objective-latency", file, exit_code=1).stderr)
        self.assertFalse((self.folder / "x").exists())


class MeasuredLatencyTest(CliTestCase):
    """Without a table the search measures one and keeps it in its run."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = tiny_model.write_model(cls.folder / "wide", head_dim=32)

    def test_it_is_measured_once(self):
        command = ("--objective-latency", "--latency-batch", "2", "--latency-context", "40", "--device", "cpu",
                   "--no-refine")
        done = self.search("run", *command)
        self.assertIn("measuring the attention of every pair at batch 2 and 40 tokens", done.stderr)
        table = (self.folder / "run" / "latency.json").read_bytes()
        setting, = json.loads(table)["settings"]
        self.assertEqual((setting["batch"], setting["context"], setting["steps"]), (2, 40, []))
        self.assertEqual(len(setting["pairs"]), 10)
        front = (self.folder / "run" / "front.json").read_bytes()
        self.assertIn("latency_ms", front.decode())
        done = self.search("run", *command)
        self.assertNotIn("measuring", done.stderr)
        self.assertEqual((self.folder / "run" / "latency.json").read_bytes(), table)
        self.assertEqual((self.folder / "run" / "front.json").read_bytes(), front)

    def test_options_in_a_file(self):
        text = self.run_kvtune("search", *self.model_arguments(), "--objective-latency", "--latency-context", "40",
                               "--print-config").stdout
        self.assertIn('objective-latency = ""\n', text)
        (self.folder / "options.toml").write_text(text)
        again = self.run_kvtune("search", "--config", "options.toml", "--print-config").stdout
        self.assertEqual(text, again)

    def test_formats_that_are_not_packed_are_refused(self):
        self.assertIn("packing the cache of layer 0 as ",
                      self.search("engine", "--target", "lmdeploy", "--objective-latency", exit_code=1).stderr)
        self.assertFalse((self.folder / "engine").exists())


if __name__ == "__main__":
    unittest.main()
