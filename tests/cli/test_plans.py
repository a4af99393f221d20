"""Scoring plans, taking them out of a front and reading them back."""
import json
import subprocess
import unittest

from cli_test_case import BINARY, CliTestCase


class PlansTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").search("run")
        cls.front = cls("run_kvtune").read_json("run", "front.json")

    def evaluate(self, *arguments, **keywords):
        return self.run_json("evaluate", *self.model_arguments(), *arguments, **keywords)["plans"]

    def test_specs(self):
        plans = self.evaluate("--plan", "KV4;0:KV8", "--plan", "exact", "--plan", "int8/int2")
        self.assertEqual([plan["name"] for plan in plans], ["KV4;0:KV8", "exact", "int8/int2"])
        self.assertEqual(plans[0]["layers"][0], {"key": "int8", "value": "int8"})
        self.assertEqual(plans[0]["nominal_bits"], (8 + 4 + 4) / 3)
        self.assertEqual(plans[1]["calibration"]["kl_mean"], 0)
        self.assertEqual(plans[2]["spec"], "K8V2")

    def test_uniform_plans_score_as_in_the_search(self):
        plans = self.evaluate("--uniform", "all")
        for plan, known in zip(plans, self.front["uniform"], strict=True):
            self.assertEqual(plan["name"], known["name"])
            self.assertEqual(plan["bytes_per_token"], known["bytes_per_token"])
            self.assertAlmostEqual(plan["calibration"]["kl_mean"],
                                   known["calibration"]["kl_mean"], delta=1e-9)

    def test_fewer_bits_lose_more(self):
        kl = {plan["name"]: plan["calibration"]["kl_mean"]
              for plan in self.evaluate("--uniform", "all")}
        self.assertLess(0, kl["KV8"])
        self.assertLess(kl["KV8"], kl["KV4"])
        self.assertLess(kl["KV4"], kl["KV2"])

    def test_plan_of_a_run(self):
        name = self.front["plans"][0]["name"]
        plan, = self.evaluate("--plan", f"run:{name}")
        self.assertEqual(plan["layers"], self.front["plans"][0]["layers"])

    def test_table(self):
        text = self.run_kvtune("evaluate", *self.model_arguments(), "--plan", "KV4").stdout
        self.assertIn("KV4", text.splitlines()[1])

    def test_kivi_target(self):
        arguments = ["--target", "kvtuner-kivi", "--context", "64"]
        plan, = self.evaluate("--plan", "KV4", *arguments)
        self.assertEqual(plan["layers"][0], {"key": "kivi_int4", "value": "kivi_int4"})
        # One row of 16 channels is shorter than a group: 4 + 32 / 16 bits a value, 5 a key.
        self.assertEqual(plan["effective_bits"], (5 + 6) / 2)

    def test_exported_plans_read_back(self):
        name = self.front["plans"][-1]["name"]
        layers = self.front["plans"][-1]["layers"]
        for form in ("kvtuner", "json"):
            file = self.folder / f"plan.{form}"
            self.run_kvtune("pareto", "export", "run", "--plan", name, "--format", form,
                            "--out", file)
            plan, = self.evaluate("--plan", file)
            self.assertEqual(plan["layers"], layers, form)
            text = self.run_kvtune("pareto", "export", "run", "--plan", name, "--format",
                                   form).stdout
            self.assertEqual(text, file.read_text())

    def test_kvtuner_export_is_one_entry_a_layer(self):
        text = self.run_kvtune("pareto", "export", "run", "--plan", "K8V4", "--format",
                               "kvtuner").stdout
        entries = [line for line in text.splitlines() if not line.startswith("#")]
        self.assertEqual(entries, [line for layer in range(3)
                                   for line in (f"{layer}:", "  nbits_key: 8", "  nbits_value: 4")])

    def test_exact_plan_has_no_kvtuner_export(self):
        message = self.run_error("pareto", "export", "run", "--plan", "exact", "--format",
                                 "kvtuner")
        self.assertIn("layer 0 takes exact", message)

    def test_bad_plans(self):
        for spec, exit_code, expected in (
                ("KV5", 2, "KV5"), ("KV4;3:KV8", 2, "expected 0 to 2"),
                ("KV4;0-KV8", 2, "LAYER:PAIR"), ("run:p99", 1, 'no "p99"'),
                ("nowhere:p00", 1, "nowhere"), ("missing.yaml", 1, "missing.yaml"),
                ("kivi_int4", 1, "expected what the target kvtuner has")):
            message = self.run_error("evaluate", *self.model_arguments(), "--plan", spec,
                                     exit_code=exit_code)
            self.assertIn(expected, message)

    def test_stdin(self):
        lines = ['{"spec": "KV4"}', "not json", "", '{"layers": []}',
                 json.dumps({"name": "mine", "layers": [{"key": "int8", "value": "int4"}] * 3}),
                 '{"spec": "KV4"}']
        done = self.run_kvtune("evaluate", *self.model_arguments(), "--stdin",
                               text="\n".join(lines) + "\n")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), 5)
        self.assertEqual(answers[0]["spec"], "KV4")
        self.assertIn("line 2", answers[1]["error"])
        self.assertIn("line 4", answers[2]["error"])
        self.assertEqual((answers[3]["name"], answers[3]["spec"]), ("mine", "K8V4"))
        self.assertEqual(answers[4], answers[0])

    def test_stdin_survives_bytes_that_are_no_text(self):
        lines = b'{"spec": "KV4"}\n{"name": "\xff\xfe", "spec": "KV4"}\n{"spec": "\xff"}\n{"spec": "KV4"}\n'
        command = [BINARY, "evaluate", *map(str, self.model_arguments()), "--stdin", "-q"]
        done = subprocess.run(command, input=lines, capture_output=True)
        self.assertEqual(done.returncode, 0)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(["error" in answer for answer in answers], [False, True, True, False])

    def test_stdin_answers_at_once(self):
        command = [BINARY, "evaluate", *map(str, self.model_arguments()), "--stdin", "-q"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as asked:
            for spec in ("KV8", "KV2"):
                asked.stdin.write(json.dumps({"spec": spec}) + "\n")
                asked.stdin.flush()
                self.assertEqual(json.loads(asked.stdout.readline())["spec"], spec)
            asked.stdin.close()
        self.assertEqual(asked.returncode, 0)


class ParetoTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").search("run")
        cls.front = cls("run_kvtune").read_json("run", "front.json")

    def test_list(self):
        text = self.run_kvtune("pareto", "list", "run", "--all").stdout
        for plan in self.front["uniform"]:
            self.assertIn(plan["name"], text)
        self.assertIn("uniform", text)
        self.assertEqual(self.run_json("pareto", "list", "run"), self.front)

    def test_show(self):
        text = self.run_kvtune("pareto", "show", "run", "K8V4").stdout
        self.assertIn("int8  int4    K8V4", text)
        self.assertEqual(self.run_json("pareto", "show", "run", "KV4")["name"], "KV4")

    def test_pick_by_bytes_takes_the_least_loss(self):
        limit = sorted(plan["bytes_per_token"] for plan in self.front["plans"])[1]
        fitting = [plan for plan in self.front["plans"] if plan["bytes_per_token"] <= limit]
        best = min(fitting, key=lambda plan: plan["calibration"]["kl_mean"])
        picked = self.run_json("pareto", "pick", "run", "--max-bytes", limit)
        self.assertNotIn(best["name"], picked.pop("ties", []))
        self.assertEqual(picked, best)

    def test_pick_by_loss_takes_the_fewest_bytes(self):
        limit = sorted(plan["calibration"]["kl_mean"] for plan in self.front["plans"])[1]
        fitting = [plan for plan in self.front["plans"]
                   if plan["calibration"]["kl_mean"] <= limit]
        smallest = min(fitting, key=lambda plan: plan["bytes_per_token"])
        self.assertEqual(self.run_json("pareto", "pick", "run", "--max-loss", limit), smallest)

    def test_pick_without_rule(self):
        self.assertIn("--lossless", self.run_error("pareto", "pick", "run", exit_code=2))

    def test_pick_that_nothing_satisfies(self):
        self.assertIn("nearest", self.run_error("pareto", "pick", "run", "--max-bits", "1"))

    def test_unknown_names(self):
        self.assertIn("expected one of", self.run_error("pareto", "show", "run", "p99"))
        self.assertIn("kvtuner, json", self.run_error(
            "pareto", "export", "run", "--plan", "KV4", "--format", "vllm", exit_code=2))

    def test_export_into_a_folder_that_is_not_there(self):
        self.run_error("pareto", "export", "run", "--plan", "KV4", "--format", "json", "--out",
                       self.folder / "no" / "plan.json")

    def test_export_as_json_document(self):
        document = self.run_json("pareto", "export", "run", "--plan", "KV4", "--format", "json")
        self.assertEqual(json.loads(document["content"])["target"], "kvtuner")


if __name__ == "__main__":
    unittest.main()
