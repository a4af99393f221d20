"""Options in a file, and what is written from the table of commands: man page and completions."""
import os
import re
import shutil
import subprocess
import tomllib
import unittest

from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase


class OptionsFileTest(CliTestCase):

    def write(self, text):
        (self.folder / "options.toml").write_text(text)
        return self.folder / "options.toml"

    def in_effect(self, *arguments, **keywords):
        return tomllib.loads(self.run_kvtune(*arguments, "--print-config", **keywords).stdout)

    def test_what_is_printed_is_toml_with_values_and_defaults(self):
        config = self.in_effect("search", "--model", self.model, "--max-tokens", "512", "--no-cluster",
                                "--prompt-template", 'a "quoted" # text')
        self.assertEqual(config["model"], str(self.model))
        self.assertEqual(config["max-tokens"], 512)
        self.assertEqual(config["generations"], 8)
        self.assertEqual(config["dtype"], "auto")
        self.assertEqual(config["prompt-template"], 'a "quoted" # text')
        self.assertIs(config["no-cluster"], True)
        self.assertIs(config["exact"], False)
        self.assertNotIn("max-prompts", config)  # it has no default
        self.assertNotIn("print-config", config)

    def test_what_is_printed_can_be_read(self):
        options = ["search", "--model", self.model, "--prompts", self.prompts, "--prompts", "b.jsonl", "--epsilon",
                   "0.25", "--no-racing", "--max-activation-memory", "500M", "--prompt-template", "{q}\\n#{a}"]
        first = self.run_kvtune(*options, "--print-config").stdout
        again = self.run_kvtune("search", "--config", self.write(first), "--print-config").stdout
        self.assertEqual(again, first)
        self.assertEqual(tomllib.loads(first)["prompts"], [str(self.prompts), "b.jsonl"])

    def test_options_that_exclude_each_other_can_be_read_too(self):
        first = self.run_kvtune("search", "--model", self.model, "--no-refine", "--print-config").stdout
        self.assertNotIn("refine-evaluations", first)
        again = self.run_kvtune("search", "--config", self.write(first), "--print-config").stdout
        self.assertEqual(again, first)

    def test_command_line_wins(self):
        file = self.write('dtype = "bfloat16"\nseed = 3\n')
        config = self.in_effect("search", "--model", self.model, "--config", file, "--seed", "4")
        self.assertEqual((config["seed"], config["dtype"]), (4, "bfloat16"))

    def test_search_by_a_file_is_the_same_search(self):
        self.search("by_options", "--no-refine")
        values = dict(zip(QUICK_SEARCH[::2], QUICK_SEARCH[1::2]))
        lines = [f"{option.removeprefix('--')} = {value}" for option, value in values.items()]
        self.write("\n".join([f'model = "{self.model}"', f'prompts = ["{self.prompts}"]', "threads = 1",
                              "no-refine = true", *lines, ""]))
        self.run_kvtune("search", "--config", "options.toml", "--out", "by_file")
        fronts = [self.read_json(run, "front.json") for run in ("by_options", "by_file")]
        for front in fronts:
            front["run"].pop("command_line", None)
        self.assertEqual(*fronts)

    def test_mistakes_are_named(self):
        for text, expected in (
                ("generation = 4\n", ('found "generation" in line 1', 'did you mean "generations"?')),
                ("\nseed = \n", ("found no TOML in line 2",)),
                ("[search]\nseed = 1\n", ('found "search" in line 1',)),
                ("seed = 1979-05-27\n", ('found a date for "seed"',)),
                ("prompts = [[1]]\n", ('found a nested array for "prompts"',)),
                ("print-config = true\n", ('found "print-config"',))):
            message = self.run_error("search", "--model", self.model, "--config", self.write(text))
            for part in expected:
                self.assertIn(part, message)
        message = self.run_error("search", "--model", self.model, "--config", self.write("seed = -1\n"), exit_code=2)
        self.assertIn("--seed", message)
        self.run_error("search", "--model", self.model, "--config", "absent.toml", exit_code=2)

    def test_check_keeps_its_own_config(self):
        self.assertNotIn("--print-config", self.run_kvtune("check", "--help").stdout)


class PagesTest(CliTestCase):

    def complete_in_bash(self, *words):
        script = ('eval "$("$0" completions bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '_kvtune 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, BINARY, *words], capture_output=True, text=True, check=True,
                              cwd=self.folder)
        return done.stdout.split()

    def test_bash_completes(self):
        self.assertEqual(self.complete_in_bash("kvtune", "sea"), ["search"])
        self.assertEqual(self.complete_in_bash("kvtune", "pareto", "e"), ["export"])
        self.assertEqual(self.complete_in_bash("kvtune", "pareto", "pick", "--loss"), ["--lossless"])
        self.assertEqual(self.complete_in_bash("kvtune", "evaluate", "--uniform", ""), ["all"])
        self.assertEqual(self.complete_in_bash("kvtune", "search", "--dtype", ""),
                         ["auto", "float32", "bfloat16", "float16"])
        self.assertIn("ik_llama.cpp", self.complete_in_bash("kvtune", "inspect", "--target", "ik"))
        self.assertEqual(self.complete_in_bash("kvtune", "search", "--model", "ti"), ["tiny"])
        self.assertEqual(self.complete_in_bash("kvtune", "search", "--seed", ""), [])

    def test_other_shells_take_the_scripts(self):
        for shell, check in (("zsh", ["-n"]), ("fish", ["--no-execute"])):
            program = shutil.which(shell)
            text = self.run_kvtune("completions", shell).stdout
            self.assertIn("max-activation-memory", text)
            if program:
                subprocess.run([program, *check], input=text, text=True, check=True)
        if fish := shutil.which("fish"):
            (self.folder / "kvtune.fish").write_text(text)
            done = subprocess.run([fish, "-c", "source kvtune.fish; complete -C 'kvtune pareto pi'"], text=True,
                                  capture_output=True, check=True, cwd=self.folder,
                                  env={**os.environ, "HOME": str(self.folder)})
            self.assertIn("pick", done.stdout.split())

    def test_unknown_shell(self):
        self.assertIn("bash, zsh, fish", self.run_error("completions", "tcsh", exit_code=2))

    def test_man_page_has_every_command_and_option(self):
        page = self.run_kvtune("man-page").stdout.replace("\\-", "-")
        for command in ("search", "pareto export", "check"):
            self.assertTrue(f".SS kvtune {command}\n" in page, command)
            text = self.run_kvtune(*command.split(), "--help").stdout
            options = re.findall(r"^ +(?:[A-Z]+,)?(?:-\w,)?(--[a-z-]+)", text, re.MULTILINE)
            self.assertGreaterEqual(len(options), 5)
            for option in options:
                self.assertTrue(f"\\fB{option}\\fR" in page, option)


if __name__ == "__main__":
    unittest.main()
