"""Runs docs/tutorial.md on a terminal of 80 columns and holds its transcripts against what is printed.

A `sh` block is one command, and the `text` block behind it is its transcript, in which [...] stands for lines that are
left out. Numbers, and which layers a plan spares, may differ between machines, because sums of floating-point numbers
do; the words around them may not, and neither may the engine's own words, which are the answer.
"""
import os
import pathlib
import re
import shutil
import unittest

from cli_test_case import BINARY, CliTestCase, run_on_terminal

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
STEP = re.compile(r"^```sh\n(?P<command>.*?)^```\n\n```text\n(?P<transcript>.*?)^```$", re.DOTALL | re.MULTILINE)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BARS = re.compile(r"[█▉▊▋▌▍▎▏]+")
ENGINE_WORDS = re.compile(r"^(-ctk|--kv-cache-dtype)\b")  # lines that are arguments of an engine
LAYERS = re.compile(r"[\d,-]+ (?:exact|K\d+V?\d*|KV\d)[;,]?")


def lines_of(text):
    """What stands on the screen at the end: a line that is drawn again hides what it showed before."""
    shown = [ESCAPES.sub("", line.split("\r")[-1].split("\x1b[K")[-1]) for line in text.split("\n")]
    return [line.rstrip() for line in shown if line.strip()]


def pattern_of(line):
    """The words of a line, without bars, layers and numbers."""
    words = LAYERS.sub("LAYERS", BARS.sub("", line))
    words = re.sub(r"(LAYERS\s*)+", "LAYERS", words)
    return " ".join(re.sub(r"\d[\d.e+-]*", "N", words).split())


class TutorialTest(CliTestCase):

    def setUp(self):
        self.place = self.folder / "tutorial"
        self.place.mkdir()
        shutil.copytree(ROOT / "calib_data", self.place / "calib_data")
        programs = self.place / "bin"
        programs.mkdir()
        (programs / "kvtune").symlink_to(BINARY)

    def assert_transcript(self, transcript, printed):
        """Every line of the transcript is printed, in this order."""
        words = [pattern_of(line) for line in printed]
        begin = 0
        for line in lines_of(transcript):
            # Below a table's row stands what was too long for it, which layers decide.
            if line == "[...]" or line.startswith(" " * 20):
                continue
            if ENGINE_WORDS.match(line):
                self.assertIn(line, printed)
            wanted = pattern_of(line)
            self.assertIn(wanted, words[begin:], "\n".join(printed))
            begin += words[begin:].index(wanted) + 1

    def test_the_jobs(self):
        environment = {"PATH": f"{self.place / 'bin'}:{os.environ['PATH']}"}
        steps = list(STEP.finditer(PAGE.read_text()))
        self.assertGreaterEqual(len(steps), 7)
        for step in steps:
            command = step["command"].replace("\\\n", " ").strip()
            with self.subTest(command=command):
                exit_code, text = run_on_terminal(["bash", "-c", command], self.place, stderr_too=True,
                                                  environment=environment)
                self.assertEqual(exit_code, 0, text)
                self.assert_transcript(step["transcript"], lines_of(text))


if __name__ == "__main__":
    unittest.main()
