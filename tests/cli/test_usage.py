"""Help, versions and mistyped command lines."""
import subprocess
import unittest

from cli_test_case import BINARY, CliTestCase


class HelpTest(CliTestCase):

    def test_program_help_fits_a_terminal(self):
        lines = self.run_kvtune("--help").stdout.splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_help_lists_every_command(self):
        text = self.run_kvtune("--help").stdout
        for command in ("search", "calibrate", "prune", "cluster", "evaluate", "pareto", "inspect",
                        "bench", "tokenize", "targets"):
            self.assertIn(f"  {command}", text)

    def test_help_of_a_command(self):
        text = self.run_kvtune("search", "--help").stdout
        for option in ("--model", "--prompts", "--target", "--out", "--device", "--dtype",
                       "--threads", "--seed", "--max-prompts", "--max-tokens", "--context",
                       "--prefill", "--json", "--population"):
            self.assertIn(option, text)
        self.assertEqual(self.run_kvtune("help", "search").stdout, text)

    def test_version(self):
        first, *facts = self.run_kvtune("--version").stdout.splitlines()
        self.assertRegex(first, r"^kvtune \d+\.\d+\.\d+$")
        names = [fact.split(":")[0] for fact in facts]
        self.assertEqual(names, ["commit", "libtorch", "CUDA kernels", "pagmo2", "compiler", "data"])
        self.assertEqual(self.run_kvtune("-V").stdout, self.run_kvtune("--version").stdout)

    def test_no_command_shows_help_as_usage_error(self):
        done = subprocess.run([BINARY], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "")
        self.assertIn("Usage:", done.stderr)


class UsageErrorTest(CliTestCase):

    def test_mistyped_command_gets_a_suggestion(self):
        self.assertIn('did you mean "search"?', self.run_error("serach", exit_code=2))
        self.assertIn('did you mean "export"?', self.run_error("pareto", "exprot", exit_code=2))

    def test_word_that_is_no_command_gets_none(self):
        message = self.run_error("xylophone", exit_code=2)
        self.assertIn('found the command "xylophone"', message)
        self.assertNotIn("did you mean", message)

    def test_group_alone_prints_its_help(self):
        text = self.run_kvtune("pareto").stdout
        for command in ("list", "show", "pick", "export"):
            self.assertIn(f"  pareto {command} ", text)
        self.assertNotIn("  search", text)
        for words in (["pareto", "help"], ["pareto", "--help"], ["help", "pareto"]):
            self.assertEqual(self.run_kvtune(*words).stdout, text)
        help_of_pick = self.run_kvtune("pareto", "pick", "--help").stdout
        self.assertEqual(self.run_kvtune("pareto", "help", "pick").stdout, help_of_pick)
        self.assertEqual(self.run_kvtune("help", "pareto", "pick").stdout, help_of_pick)

    def test_word_of_a_group_alone(self):
        self.assertIn("did you mean `pareto pick`?", self.run_error("pick", exit_code=2))
        self.assertIn("did you mean `pareto export`?", self.run_error("exprt", exit_code=2))

    def test_mistyped_option_gets_a_suggestion(self):
        message = self.run_error("inspect", "--model", "x", "--contxt", "5", exit_code=2)
        self.assertIn('did you mean "--context"?', message)

    def test_missing_option(self):
        self.assertIn("--model", self.run_error("search", exit_code=2))

    def test_bad_values(self):
        for option, value in (("--dtype", "int7"), ("--seed", "-1"), ("--context", "0"),
                              ("--prefill", "maybe"), ("--max-prompts", "many"),
                              ("--epsilon", "1"), ("--threads", "0")):
            message = self.run_error("search", "--model", self.model, option, value, exit_code=2)
            self.assertIn(option, message)

    def test_unknown_target(self):
        message = self.run_error("search", *self.model_arguments(), "--target", "vlm", exit_code=2)
        self.assertIn("kvtuner-kivi", message)
        self.assertIn('did you mean "vllm"?', message)
        message = self.run_error("inspect", self.model, "--target", "llamacpp", exit_code=2)
        self.assertIn('did you mean "llama.cpp"?', message)

    def test_the_model_may_stand_alone(self):
        self.assertEqual(self.run_kvtune("inspect", self.model).stdout,
                         self.run_kvtune("inspect", "--model", self.model).stdout)
        self.assertIn("nowhere", self.run_error("search", "nowhere"))
        self.assertIn("nowhere", self.run_error("calibrate", "nowhere"))
        self.assertIn("nowhere", self.run_error("evaluate", "nowhere", "--plan", "KV4"))

    def test_mistyped_plan(self):
        def message(plan, target):
            return self.run_error("evaluate", self.model, "--plan", plan, "--target", target, exit_code=2)
        text = message("KV3", "kvtuner")
        self.assertIn('did you mean "KV8"?', text)
        for format_of_others in ("q8_0", "fp8", "kivi"):
            self.assertNotIn(format_of_others, text)
        self.assertIn('did you mean "fp8_e4m3"?', message("fp8", "vllm"))

    def test_numbers_may_have_units(self):
        self.assertEqual(self.run_json("inspect", self.model, "--context", "32k")["context"], 32768)
        for text in ("32kB", "1.5", "0", "k"):
            self.assertIn("32k (32768)", self.run_error("inspect", self.model, "--context", text, exit_code=2))
        self.assertIn("24GiB", self.run_error("inspect", self.model, "--memory", "24Q", exit_code=2))

    def test_evaluate_without_plans(self):
        self.assertIn("--stdin", self.run_error("evaluate", *self.model_arguments(), exit_code=2))


if __name__ == "__main__":
    unittest.main()
