"""kvtune search --models: many models, one after another."""
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

import tiny_model
from cli_test_case import BINARY, QUICK_SEARCH, CliTestCase


class ModelsTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, seed in (("one", 1), ("two", 2)):
            tiny_model.write_model(cls.folder / "models" / name, tensors=tiny_model.weights(seed=seed))
        (cls.folder / "models.txt").write_text("# fine-tunes\nmodels/one\n\nmodels/two\n")

    def arguments(self, *models, out):
        return ["search", "--models", *models, "--prompts", self.prompts, "--threads", "1", *QUICK_SEARCH, "--out", out]

    def single_front(self, name):
        """The front of the model by itself."""
        out = f"single_{name}"
        if not (self.folder / out).exists():
            self.search_model(name, out)
        return self.folder.joinpath(out, "front.json").read_bytes()

    def search_model(self, name, out):
        self.run_kvtune("search", *self.model_arguments(f"models/{name}"), *QUICK_SEARCH, "--out", out)

    def test_each_gets_the_run_that_it_would_get_alone(self):
        done = self.run_kvtune(*self.arguments("models.txt", out="all"))
        for name in ("one", "two"):
            self.assertEqual(self.folder.joinpath("all", name, "front.json").read_bytes(), self.single_front(name))
            self.assertIn(f"of 2: {name}", done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["model", "one", "two"])
        self.assertIn("held-out loss", lines[0])
        # The plan and the loss are those that the run itself recommends.
        for name, line in zip(("one", "two"), lines[1:], strict=True):
            recommended = self.read_json_of("pareto", "show", f"all/{name}", line.split()[1])
            self.assertIn(f"{recommended['bytes_per_token']:.0f}", line)

    def read_json_of(self, *arguments):
        return json.loads(self.run_kvtune(*arguments, "--json").stdout)

    def test_a_model_that_fails_does_not_stop_the_others(self):
        (self.folder / "with_missing.txt").write_text("models/one\nmissing\n")
        done = self.run_kvtune(*self.arguments("with_missing.txt", "models/two", out="some"), "--json", exit_code=1)
        models = json.loads(done.stdout)["models"]
        self.assertEqual([model["name"] for model in models], ["one", "missing", "two"])
        self.assertEqual([model["problem"] for model in models], [None, "failed, exit code 1", None])
        self.assertEqual([model["recommended"] is None for model in models], [False, True, False])
        self.assertEqual(models[2]["run"], "some/two")
        self.assertEqual(self.folder.joinpath("some", "two", "front.json").read_bytes(), self.single_front("two"))
        errors = [line for line in done.stderr.splitlines() if "kvtune: error: " in line]
        self.assertEqual(len(errors), 2, done.stderr)  # its own, and the last line
        self.assertIn("found nothing, expected a Hugging Face checkpoint directory", errors[0])
        self.assertIn("searching 3 models: found that 1 failed, expected none", errors[1])

    def test_an_interrupted_one_goes_on(self):
        command = [BINARY, *map(str, self.arguments("models.txt", out="interrupted"))]
        process = subprocess.Popen(command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        log = self.folder / "interrupted" / "one" / "evaluations.jsonl"
        while not log.exists() or log.stat().st_size == 0:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)  # to it alone; the search has to hear of it
        stdout, stderr = process.communicate(timeout=120)
        self.assertEqual((process.returncode, stdout), (130, ""), stderr)
        self.assertIn("stopped; the same command goes on from here", stderr)
        self.assertFalse((self.folder / "interrupted" / "two").exists())
        self.run_kvtune(*self.arguments("models.txt", out="interrupted"))
        for name in ("one", "two"):
            self.assertEqual(self.folder.joinpath("interrupted", name, "front.json").read_bytes(), self.single_front(name))

    def test_its_search_ends_when_it_is_killed(self):
        command = [BINARY, *map(str, self.arguments("models.txt", out="killed")), "--devices", "2"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = self.folder / "killed" / "one" / "evaluations.jsonl"
        while not log.exists() or log.stat().st_size == 0:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        child, = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        end = time.monotonic() + 20
        while pathlib.Path(f"/proc/{child}").exists() and "State:\tZ" not in pathlib.Path(
                f"/proc/{child}/status").read_text():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        self.run_kvtune(*self.arguments("models/one", out="killed"), "--devices", "2")
        self.assertEqual(self.folder.joinpath("killed", "one", "front.json").read_bytes(), self.single_front("one"))

    def test_mistakes(self):
        (self.folder / "empty.txt").write_text("\n# nothing\n")
        tiny_model.write_model(self.folder / "elsewhere" / "one")
        ranks = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
        for models, exit_code, message, environment in (
                (["empty.txt"], 1, "found no model, expected one folder a line", None),
                (["mistyped.txt"], 1, "mistyped.txt", None),
                (["models/one", "elsewhere/one"], 2, "expected models of different names", None),
                (["models/one"], 2, "found --models in a process that a launcher started", ranks)):
            self.assertIn(message, self.run_error(*self.arguments(*models, out="none"), exit_code=exit_code,
                                                  environment=environment))
        self.assertFalse((self.folder / "none").exists())
        self.run_error(*self.arguments("models/one", out="none"), "--model", self.model, exit_code=2)
        self.assertIn("required", self.run_error("search", "--out", "none", exit_code=2))


if __name__ == "__main__":
    os.environ.pop("RANK", None)
    unittest.main()
