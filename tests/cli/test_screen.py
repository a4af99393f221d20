"""What a person sees on a terminal: tables that fit, one line of progress, and pictures."""
import re
import unittest

from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase, run_on_terminal

WIDTHS = (60, 80, 100, 120)


class ScreenTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").search("run")

    def on_terminal(self, *arguments, columns=80, stderr_too=False, environment=None):
        """The program's stdout, or both streams, when they are a terminal of so many columns."""
        exit_code, text = run_on_terminal([BINARY, *map(str, arguments)], self.folder, columns, stderr_too, environment)
        self.assertEqual(exit_code, 0)
        return text

    def assert_fits(self, text, columns):
        for line in text.splitlines():
            self.assertLessEqual(len(line), columns, text)

    def test_tables_never_overflow(self):
        for columns in WIDTHS:
            for command in (["pareto", "list", "run"], ["pareto", "list", "run", "--all"],
                            ["pareto", "show", "run", "KV4"], ["pareto", "pick", "run", "--max-bits", "5"],
                            ["pareto", "plot", "run"], ["pareto", "diff", "run", "KV8", "KV4"],
                            ["prune", "run"], ["cluster", "run"],
                            ["inspect", self.model], ["inspect", self.model, "--gpu", "h100"],
                            ["inspect", self.model, "--target", "vllm"],
                            ["calibrate", *self.model_arguments(), "--out", "run"],
                            ["calibrate", *self.model_arguments(), "--out", "run", "--table"],
                            ["evaluate", *self.model_arguments(), "--plan", "KV4;0:KV8;1:K8V4;2:K8V2"],
                            ["search", *self.model_arguments(), "--out", "run", *QUICK_SEARCH]):
                with self.subTest(command=command, columns=columns):
                    text = self.on_terminal(*command, columns=columns)
                    self.assertTrue(text.strip())
                    self.assert_fits(text, columns)

    def test_the_environment_may_say_the_width(self):
        self.assert_fits(self.on_terminal("prune", "run", columns=200, environment={"COLUMNS": "60"}), 60)

    def test_columns_go_in_order_and_the_interval_last(self):
        headers = {columns: self.on_terminal("pareto", "list", "run", "--all", columns=columns).splitlines()[0]
                   for columns in range(60, 160, 5)}
        order = ["  bits", "KL 99.9 %", "bytes/token"]
        gone = 0
        for columns in sorted(headers, reverse=True):
            while gone < len(order) and order[gone] not in headers[columns]:
                gone += 1
            for name in order[gone:]:
                self.assertIn(name, headers[columns])

    def test_a_pipe_gets_every_column(self):
        done = self.run_kvtune("pareto", "list", "run", "--all", environment={"COLUMNS": "60"})
        header = done.stdout.splitlines()[0]
        for name in ("eff. bits", "bits", "bytes/token", "KL", "KL 99.9 %", "top-1", "layers"):
            self.assertIn(name, header)

    def test_progress_is_one_line(self):
        text = self.on_terminal("search", *self.model_arguments(), "--out", "shown", *QUICK_SEARCH,
                                stderr_too=True)
        lines = [line for line in re.split(r"\r\x1b\[K", text) if "░" in line or "█" in line]
        drawn = [line.split("\n")[0] for line in lines if re.search(r"\d+:\d\d", line)]
        self.assertTrue(drawn, text)
        self.assertNotIn("search: generation", text)
        self.assertIn("the search takes about", text)
        for line in drawn:
            self.assertLess(len(line), 80)

    def test_picture(self):
        self.assertIn("●", self.run_kvtune("pareto", "plot", "run").stdout)
        ascii_only = self.run_kvtune("pareto", "plot", "run", "--ascii").stdout
        self.assertTrue(ascii_only.isascii())
        self.assertRegex(ascii_only, r"[*o]KV2")


if __name__ == "__main__":
    unittest.main()
