"""Broken models, prompts and folders: one line says what was found, nothing is left behind."""
import json
import os
import struct
import subprocess
import unittest

import tiny_model
from cli_test_case import BINARY, CliTestCase


class BadModelTest(CliTestCase):

    def broken(self, name, **options):
        return tiny_model.write_model(self.folder / name, **options)

    def message(self, model):
        message = self.run_error("search", *self.model_arguments(model=model), "--out", "out")
        self.assertFalse((self.folder / "out").exists())
        return message

    def test_missing_directory(self):
        self.assertIn("nowhere", self.message(self.folder / "nowhere"))

    def test_directory_without_config(self):
        (self.folder / "empty").mkdir()
        self.assertIn("config.json", self.message(self.folder / "empty"))

    def test_missing_weights(self):
        model = self.broken("no_weights")
        (model / "model.safetensors").unlink()
        self.assertIn("safetensors", self.message(model))

    def test_missing_shard(self):
        model = self.broken("no_shard", shards=3)
        (model / "model-00002-of-00003.safetensors").unlink()
        self.assertIn("model-00002-of-00003.safetensors", self.message(model))

    def test_shard_outside_the_directory(self):
        model = self.broken("escape", shards=2)
        index = json.loads((model / "model.safetensors.index.json").read_text())
        index["weight_map"]["model.norm.weight"] = "../tiny/model.safetensors"
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        self.assertIn("../tiny/model.safetensors", self.message(model))

    def test_truncated_header(self):
        model = self.broken("short_header")
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
        self.assertIn("model.safetensors", self.message(model))

    def test_truncated_data(self):
        model = self.broken("short_data")
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        self.assertIn("model.safetensors", self.message(model))

    def test_lying_header_length(self):
        model = self.broken("long_header")
        weights = model / "model.safetensors"
        weights.write_bytes(struct.pack("<Q", 1 << 62) + weights.read_bytes()[8:])
        self.assertIn("model.safetensors", self.message(model))

    def test_lying_shape(self):
        model = self.broken("lying_shape")
        weights = model / "model.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content.replace(b'"shape": [257, 32]', b'"shape": [257, 99]', 1))
        self.assertIn("model.embed_tokens.weight", self.message(model))

    def test_misshapen_tensor(self):
        tensors = tiny_model.weights()
        name = "model.layers.1.self_attn.k_proj.weight"
        shape, values = tensors[name]
        tensors[name] = ([shape[1], shape[0]], values)
        message = self.message(self.broken("misshapen", tensors=tensors))
        self.assertIn(name, message)
        self.assertIn("[16, 32]", message)

    def test_missing_tensor(self):
        tensors = tiny_model.weights()
        del tensors["model.layers.2.mlp.up_proj.weight"]
        self.assertIn("model.layers.2.mlp.up_proj.weight",
                      self.message(self.broken("incomplete", tensors=tensors)))

    def test_nan_weights(self):
        tensors = tiny_model.weights()
        tensors["model.layers.0.mlp.down_proj.weight"][1][5] = float("nan")
        self.assertIn("model.layers.0.mlp.down_proj.weight",
                      self.message(self.broken("nan", tensors=tensors)))

    def test_unknown_architecture(self):
        model = self.broken("architecture")
        config = tiny_model.config() | {"architectures": ["MambaForCausalLM"]}
        (model / "config.json").write_text(json.dumps(config))
        self.assertIn("MambaForCausalLM", self.message(model))

    def test_unknown_quantization(self):
        model = self.broken("quantization")
        config = tiny_model.config() | {"quantization_config": {"quant_method": "bitsandbytes"}}
        (model / "config.json").write_text(json.dumps(config))
        self.assertIn('"quant_method": found "bitsandbytes", expected awq', self.message(model))

    def test_tensor_in_two_shards(self):
        model = self.broken("twice", shards=2)
        for shard in model.glob("model-*.safetensors"):
            tiny_model.write_safetensors(shard, tiny_model.weights())
        self.assertIn("too, expected it in model-0000", self.message(model))

    def test_vocabulary_beyond_the_embedding(self):
        tensors = tiny_model.weights()
        name = "model.embed_tokens.weight"
        tensors[name] = ([200, tiny_model.HIDDEN], tensors[name][1][:200 * tiny_model.HIDDEN])
        model = self.broken("vocabulary", tensors=tensors)
        (model / "config.json").write_text(json.dumps(tiny_model.config() | {"vocab_size": 200}))
        self.assertIn("found a vocabulary of 256 tokens, expected at most the 200", self.message(model))

    def test_bad_json_names_its_line(self):
        model = self.broken("bad_json")
        (model / "config.json").write_text('{\n  "architectures": ["LlamaForCausalLM"],\n  oops\n}')
        self.assertIn("line 3", self.message(model))

    def test_absent_device(self):
        for device, exit_code in (("tpu", 2), ("cuda:99", 1)):
            message = self.run_error("search", *self.model_arguments(), "--device", device,
                                     "--out", "out", exit_code=exit_code)
            self.assertIn(device, message)


class BadPromptsTest(CliTestCase):

    def message(self, content, name="bad.jsonl"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        message = self.run_error("search", *self.model_arguments(prompts=path), "--out", "out")
        self.assertFalse((self.folder / "out").exists())
        return message

    def test_missing_file(self):
        message = self.run_error("search", *self.model_arguments(prompts="nowhere.jsonl"))
        self.assertIn("nowhere.jsonl", message)

    def test_empty_file(self):
        self.assertIn("bad.jsonl", self.message(""))
        self.assertIn("bad.jsonl", self.message("\n\n"))

    def test_prompt_longer_than_the_context(self):
        line = json.dumps({"text": "x" * (tiny_model.CONTEXT + 1)})
        message = self.message('{"text": "short enough"}\n' + line + "\n")
        self.assertIn("line 2", message)
        self.assertIn(f"context of {tiny_model.CONTEXT}", message)

    def test_prompt_without_a_next_token(self):
        self.assertIn("line 1", self.message('{"input_ids": [5]}\n'))

    def test_token_outside_the_vocabulary(self):
        self.assertIn("257", self.message('{"input_ids": [5, 257]}\n'))

    def test_line_without_text(self):
        message = self.message('{"question": "what?"}\n')
        self.assertIn("question", message)
        self.assertIn("line 1", message)

    def test_line_that_is_not_json(self):
        self.assertIn("line 2", self.message('{"text": "fine"}\nnot json\n'))

    def test_chat_messages(self):
        self.assertIn("found no chat template", self.message('{"messages": [{"role": "user", "content": "x"}]}\n'))

    def test_invalid_utf8(self):
        self.assertIn("bad.txt", self.message(b"caf\xe9", name="bad.txt"))


class BadFolderTest(CliTestCase):

    def test_folder_below_a_file(self):
        file = self.folder / "file"
        file.write_text("not a folder")
        for out in (file, file / "run"):
            message = self.run_error("search", *self.model_arguments(), "--out", out)
            self.assertIn("not a directory", message)
        self.assertEqual(file.read_text(), "not a folder")

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_read_only_folder(self):
        folder = self.folder / "read_only"
        folder.mkdir(mode=0o555)
        self.run_error("search", *self.model_arguments(), "--out", folder / "run")

    def test_closed_stdout(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([BINARY, "targets"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("writing the result to stdout", done.stderr)

    def shell(self, redirection, *arguments):
        """Runs with streams that the shell redirects or closes."""
        return subprocess.run(["sh", "-c", f'exec "$0" "$@" {redirection}', BINARY, *map(str, arguments)],
                              capture_output=True, cwd=self.folder, text=True, timeout=300, check=False)

    def test_lost_messages_stop_nothing(self):
        expected = self.run_kvtune("prune", self.a_run()).stdout
        for redirection in ("2>/dev/full", "2>&-", "<&- 2>&-"):
            done = self.shell(redirection, "prune", self.a_run())
            self.assertEqual((done.returncode, done.stdout), (0, expected), redirection)

    def test_a_closed_stdout_is_an_error(self):
        done = self.shell(">&-", "prune", self.a_run())
        self.assertEqual(done.returncode, 1)
        self.assertIn("writing the result to stdout", done.stderr)
        self.assertEqual((self.folder / self.a_run() / "run.lock").read_text(), "")
        self.assertEqual(self.shell(">&-", "--help").returncode, 1)
        self.assertEqual(self.shell(">/dev/full", "--version").returncode, 1)

    def a_run(self):
        if not (self.folder / "a_run").exists():
            self.run_kvtune("calibrate", *self.model_arguments(), "--out", "a_run")
        return "a_run"

    def test_a_reader_of_messages_may_end(self):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([BINARY, "prune", self.a_run()], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=writing, timeout=300, check=False)
        os.close(writing)
        self.assertEqual(done.returncode, 0)

    def test_what_the_system_refuses_is_no_bug(self):
        (self.folder / "loop").symlink_to("loop")
        for model in ("m" * 300, "loop", "loop/model"):
            self.run_error("inspect", "--model", model)
            self.run_error("search", *self.model_arguments(model), "--out", "refused")
        for out in ("o" * 300, "loop", "loop/run"):
            self.run_error("search", *self.model_arguments(), "--out", out)
            self.run_error("prune", out)
            self.run_error("pareto", "list", out)
        self.run_error("search", *self.model_arguments(prompts="p" * 300), "--out", "refused")

    def test_names_are_shown_and_not_obeyed(self):
        name = "a\x1b]0;title\x07\n::error::b"
        message = self.run_error("inspect", "--model", name)
        self.assertIn("a\\x1b]0;title\\x07 ::error::b", message)

    def test_files_of_others_are_not_overwritten(self):
        mine = self.folder / "mine"
        mine.mkdir()
        for name in ("held_out.jsonl", "evaluations.jsonl", "front.json"):
            file = mine / name
            file.write_bytes(self.prompts.read_bytes())
            message = self.run_error("search", *self.model_arguments(), "--held-out", file, "--out", mine)
            self.assertIn(f"found {name} but no run.json", message)
            self.assertEqual([path.name for path in mine.iterdir()], [name])
            self.assertEqual(file.read_bytes(), self.prompts.read_bytes())
            file.unlink()
        self.assertIn("root of the file system", self.run_error("search", *self.model_arguments(), "--out", "/"))
        self.assertIn("is the input", self.run_error("search", *self.model_arguments(), "--out", self.model))


if __name__ == "__main__":
    unittest.main()
