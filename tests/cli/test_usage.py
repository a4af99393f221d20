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
                        "tokenize", "targets"):
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

    def test_group_without_command(self):
        self.assertIn("expected one of list, show, pick, export",
                      self.run_error("pareto", exit_code=2))

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

    def test_evaluate_without_plans(self):
        self.assertIn("--stdin", self.run_error("evaluate", *self.model_arguments(), exit_code=2))


if __name__ == "__main__":
    unittest.main()
