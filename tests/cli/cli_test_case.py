"""Runs the built program, whose path is in $KVTUNE_BINARY, as a user would."""
import fcntl
import json
import os
import pathlib
import pty
import shutil
import struct
import subprocess
import tempfile
import termios
import unittest

import tiny_model

BINARY = os.environ["KVTUNE_BINARY"]
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same float32 on every machine

# Small enough for a second, large enough for a front.
QUICK_SEARCH = ["--population", "8", "--generations", "3"]


def run_on_terminal(command, folder, columns=80, stderr_too=False, environment=None):
    """The exit code and the stdout of a command, or both its streams, when they are a terminal of so many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    started = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=follower,
        stderr=follower if stderr_too else subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | {
            "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm"} | (environment or {}))
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return started.wait(), b"".join(chunks).decode().replace("\r\n", "\n")


def has_jinja():
    return any(shutil.which(python) and subprocess.run([python, "-c", "import jinja2"], capture_output=True,
                                                       check=False).returncode == 0
               for python in ("python3", "/usr/bin/python3"))


class CliTestCase(unittest.TestCase):
    """One folder for a class, with a model and prompts in it."""

    @classmethod
    def setUpClass(cls):
        cls._folder = tempfile.TemporaryDirectory(prefix="kvtune_cli_")
        cls.addClassCleanup(cls._folder.cleanup)
        cls.folder = pathlib.Path(cls._folder.name)
        cls.model = tiny_model.write_model(cls.folder / "tiny")
        cls.prompts = tiny_model.write_prompts(cls.folder / "prompts.jsonl")

    def run_kvtune(self, *arguments, text=None, exit_code=0, environment=None):
        """Runs and checks the exit code; a failure is one line on stderr and nothing on stdout."""
        done = subprocess.run(
            [BINARY, *map(str, arguments)], input=text, capture_output=True, cwd=self.folder,
            env={**os.environ, **(environment or {})}, encoding="utf-8", errors="surrogateescape",
            timeout=300, check=False)
        self.assertEqual(done.returncode, exit_code, done.stderr)
        if exit_code in (1, 2):
            self.assertIn("kvtune: error: ", done.stderr)
            self.assertTrue(done.stderr.splitlines()[-1].startswith("kvtune: error: "), done.stderr)
        return done

    def run_error(self, *arguments, exit_code=1, **keywords):
        """The message of a run that must fail."""
        done = self.run_kvtune(*arguments, exit_code=exit_code, **keywords)
        self.assertEqual(done.stdout, "")
        return done.stderr.splitlines()[-1].removeprefix("kvtune: error: ")

    def run_json(self, *arguments, **keywords):
        return json.loads(self.run_kvtune(*arguments, "--json", **keywords).stdout)

    def model_arguments(self, model=None, prompts=None):
        return ["--model", model or self.model, "--prompts", prompts or self.prompts,
                "--threads", "1"]

    def search(self, out, *options, **keywords):
        return self.run_kvtune("search", *self.model_arguments(), "--out", out, *QUICK_SEARCH,
                               *options, **keywords)

    def read_json(self, *path):
        return json.loads(self.folder.joinpath(*path).read_text())

    def assert_no_leftovers(self, out):
        """Nothing half-written: no temporary files, and every JSON file parses."""
        folder = self.folder / out
        if not folder.exists():
            return
        for file in folder.iterdir():
            self.assertNotIn(".tmp", file.name)
            if file.suffix == ".json":
                json.loads(file.read_text())
