"""Inputs that never end, systems that refuse, numbers beyond reason: one line, at once."""
import json
import os
import resource
import subprocess
import time
import unittest

import tiny_model
from cli_test_case import BINARY, CliTestCase

LONGEST_SECONDS = 20  # far more than an answer takes, far less than a hang


class FaultsTestCase(CliTestCase):

    def run_limited(self, *arguments, **keywords):
        """Runs a command that must neither wait nor read for ever."""
        return subprocess.run([BINARY, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True,
                              timeout=LONGEST_SECONDS, check=False, **keywords)

    def refusal(self, *arguments, exit_code=1, **keywords):
        done = self.run_limited(*arguments, **keywords)
        self.assertEqual(done.returncode, exit_code, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("kvtune: error: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertNotIn("bug in kvtune", errors[0])
        return errors[0].removeprefix("kvtune: error: ")

    def broken_model(self, name):
        return tiny_model.write_model(self.folder / name, shards=2)

    def config_of(self, name, **changes):
        model = tiny_model.write_model(self.folder / name)
        (model / "config.json").write_text(json.dumps(tiny_model.config() | changes))
        return model


class PipesAndDevicesTest(FaultsTestCase):

    def replaced(self, path):
        """The same path as a pipe that nobody writes, as a device and as a folder, in turn."""
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        yield "a pipe"
        path.unlink()
        path.symlink_to("/dev/zero")
        yield "a device"
        path.unlink()
        path.mkdir()
        yield "a folder"
        path.rmdir()

    def test_a_file_of_options(self):
        for kind in self.replaced(self.folder / "options.toml"):
            message = self.refusal("search", *self.model_arguments(), "--config", "options.toml")
            self.assertIn(f"options.toml: found {kind}, expected a regular file", message)

    def test_files_of_a_model(self):
        for file in ("config.json", "tokenizer.json", "model.safetensors.index.json",
                     "model-00001-of-00002.safetensors"):
            model = self.broken_model("of_" + file)
            for kind in self.replaced(model / file):
                message = self.refusal("search", *self.model_arguments(model=model), "--out", "out")
                self.assertIn(f"{file}: found {kind}, expected a regular file", message)
                self.assertFalse((self.folder / "out").exists())

    def test_prompts_and_plans(self):
        for kind in self.replaced(self.folder / "input.jsonl"):
            expected = f"input.jsonl: found {kind}, expected a regular file"
            self.assertIn(expected, self.refusal("search", *self.model_arguments(prompts="input.jsonl")))
            self.assertIn(expected, self.refusal("search", *self.model_arguments(), "--held-out", "input.jsonl"))
            self.assertIn(expected, self.refusal("tokenize", "--model", self.model, "input.jsonl"))
        for kind in self.replaced(self.folder / "plan.json"):
            self.assertIn(f"plan.json: found {kind}, expected a regular file",
                          self.refusal("evaluate", *self.model_arguments(), "--plan", "plan.json"))

    def test_gate(self):
        for kind in self.replaced(self.folder / "gate.json"):
            done = self.run_limited("check", "--config", "gate.json")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"gate.json: found {kind}, expected a regular file", done.stderr)

    def test_files_of_a_run(self):
        self.search("run", "--no-refine")
        for file in ("front.json", "run.json"):
            kept = (self.folder / "run" / file).read_bytes()
            for kind in self.replaced(self.folder / "run" / file):
                command = ("pareto", "list", "run") if file == "front.json" else ("prune", "run")
                self.assertRegex(self.refusal(*command), "found (that|a) .*, expected a regular file")
            (self.folder / "run" / file).write_bytes(kept)
        self.run_kvtune("pareto", "list", "run")

    def test_standard_input_without_an_end(self):
        with open("/dev/zero", "rb") as zeros:
            message = self.refusal("tokenize", "--model", self.model, stdin=zeros)
        self.assertIn("found a line of more than", message)

    def test_links_are_followed(self):
        (self.folder / "link.jsonl").symlink_to(self.prompts)
        self.run_kvtune("tokenize", "--model", self.model, "link.jsonl")


class RefusedBySystemTest(FaultsTestCase):

    def test_too_little_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))

        if subprocess.run([BINARY, "--version"], preexec_fn=limit, capture_output=True, check=False).returncode != 0:
            self.skipTest("the libraries alone need more, as libtorch's for CUDA do")
        line = json.dumps({"text": "x" * (200 << 20)})
        (self.folder / "huge.jsonl").write_text(line)
        message = self.refusal("tokenize", "--model", self.model, "--jsonl", "huge.jsonl", preexec_fn=limit)
        self.assertIn("found too little of it", message)

    def test_missing_temporary_folder(self):
        message = self.refusal("evaluate", *self.model_arguments(), "--plan", "KV4", "--weights", "stream",
                               "--max-activation-memory", "1", env={**os.environ, "TMPDIR": "/no/such/folder"})
        self.assertIn("in /no/such/folder: No such file or directory", message)

    def test_thousands_of_threads(self):
        start = time.monotonic()
        done = self.run_kvtune("evaluate", "--model", self.model, "--prompts", self.prompts, "--plan", "KV4",
                               "--threads", "10000")
        self.assertIn("--threads 10000: ", done.stderr)
        self.assertIn("are used, one for each processor", done.stderr)
        self.assertLess(time.monotonic() - start, LONGEST_SECONDS)


class NumbersTest(FaultsTestCase):

    def test_options_out_of_range(self):
        search = ("search", *self.model_arguments(), "--out", "numbers")
        for option, value in (("--max-seconds", "nan"), ("--max-seconds", "-1"), ("--max-seconds", "inf"),
                              ("--max-seconds", "0"), ("--context", "18446744073709551615"),
                              ("--context", "9223372036854775807"), ("--population", "99999999999999999999"),
                              ("--generations", "2147483648"), ("--threads", "4294967297"),
                              ("--seed", "18446744073709551616"), ("--seed", "-1"), ("--epsilon", "nan"),
                              ("--max-tokens", "18446744073709551615")):
            message = self.refusal(*search, option, value, exit_code=2)
            self.assertIn(f'{option}: found "{value}", expected ', message)
            self.assertLess(len(message), 200)
        for option, expected in (("--max-loss", "a number from 0 on"), ("--max-bits", "a number from 0 on"),
                                 ("--max-bytes", "a size such as 500M")):
            for value in ("nan", "-1", "inf", "1e999"):
                self.assertIn(f'found "{value}", expected {expected}',
                              self.refusal("pareto", "pick", "run", option, value, exit_code=2))
        self.assertFalse((self.folder / "numbers").exists())

    def test_a_seed_of_64_bits_is_read_back(self):
        seed = str(2**64 - 1)
        self.search("seeded", "--no-refine", "--seed", seed)
        self.run_kvtune("check", "--init", "seeded:KV8", "--out", "seeded.json")
        self.assertEqual(str(self.read_json("seeded.json")["seed"]), seed)
        self.run_kvtune("check", "--config", "seeded.json", "--update-baseline", "--threads", "1")
        self.run_kvtune("check", "--config", "seeded.json", "--threads", "1")
        self.search("seeded", "--no-refine", "--seed", seed)

    def test_fields_of_a_config(self):
        for field, value in (("rms_norm_eps", -1), ("rms_norm_eps", 1e300), ("rope_theta", 1e-300),
                             ("rope_theta", 1e300)):
            model = self.config_of("config", **{field: value})
            message = self.refusal("evaluate", *self.model_arguments(model=model), "--plan", "KV4")
            self.assertIn(f'"{field}": found ', message)

    def test_weights_that_overflow(self):
        tensors = tiny_model.weights()
        name = "model.layers.1.mlp.up_proj.weight"
        tensors[name] = (tensors[name][0], [3e38] * len(tensors[name][1]))
        model = tiny_model.write_model(self.folder / "overflow", tensors=tensors)
        message = self.refusal("evaluate", *self.model_arguments(model=model), "--plan", "KV4")
        self.assertIn(f"tensor {name}: found 3e+38, expected finite weights", message)

    def test_runaway_patterns(self):
        for pattern in ("re:(a+)+$x" * 50, "re:" + "(" * 900 + ")" * 900, "re:(?:(?:m|o|d|e|l|\\.)*)*\\1$",
                        "*m*o*d*e*l" * 150):
            quantization = {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": [pattern],
                            "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float",
                                                                      "strategy": "tensor"}}}}
            model = self.config_of("patterns", quantization_config=quantization)
            done = self.run_limited("evaluate", *self.model_arguments(model=model), "--plan", "KV4")
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertNotIn("bug in kvtune", done.stderr)


class OutputsTest(FaultsTestCase):

    def setUp(self):
        super().setUp()
        if not (self.folder / "run").exists():
            self.search("run", "--no-refine")

    def export(self, out):
        return ("pareto", "export", "run", "--plan", "KV8", "--format", "json", "--out", out)

    def test_links_stay_and_lead_to_the_file(self):
        (self.folder / "elsewhere").mkdir()
        (self.folder / "elsewhere" / "plan.json").write_text("old")
        (self.folder / "link.json").symlink_to("elsewhere/plan.json")
        self.run_kvtune(*self.export("link.json"))
        self.assertTrue((self.folder / "link.json").is_symlink())
        self.assertEqual(self.read_json("elsewhere", "plan.json")["spec"], "KV8")

    def test_devices_and_pipes_are_refused(self):
        os.mkfifo(self.folder / "fifo")
        (self.folder / "stream").symlink_to("/proc/self/fd/1")  # as /dev/stdout is
        for out, kind in (("fifo", "a pipe"), (".", "a folder"), ("stream", "a stream of the process")):
            self.assertIn(f"writing {out}: found {kind}, expected a regular file", self.refusal(*self.export(out)))
            self.assertIn(f"writing {out}: found {kind}, expected a regular file",
                          self.refusal("check", "--config", "gate.json", "--junit", out))
        self.assertTrue((self.folder / "fifo").is_fifo())
        self.assertTrue((self.folder / "stream").is_symlink())


if __name__ == "__main__":
    unittest.main()
