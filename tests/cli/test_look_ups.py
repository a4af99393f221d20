"""Commands that run no model: inspect, tokenize and targets."""
import json
import unittest

import tiny_model
from cli_test_case import CliTestCase


class InspectTest(CliTestCase):

    def test_counts(self):
        result = self.run_json("inspect", "--model", self.model)
        count = sum(shape[0] * (shape[1] if len(shape) == 2 else 1)
                    for shape in tiny_model.shapes().values())
        self.assertEqual(result["parameters"], count)
        self.assertEqual(result["layer_count"], 3)
        self.assertEqual(result["shards"], 1)
        self.assertEqual(result["weight_bytes"],
                         (self.model / "model.safetensors").stat().st_size)

    def test_cache_bytes(self):
        caches = {cache["name"]: cache
                  for cache in self.run_json("inspect", "--model", self.model)["kv_cache"]}
        elements = 2 * 3 * tiny_model.KV_HEADS * tiny_model.HEAD_DIM
        self.assertEqual(caches["exact"]["bytes_per_token"], 2 * elements)
        self.assertEqual(caches["KV4"]["effective_bits"], 4 + 32 / tiny_model.HEAD_DIM)
        self.assertEqual(caches["KV4"]["bytes_per_token"], elements * 6 / 8)
        self.assertEqual(caches["KV4"]["bytes_at_context"]["8192"], 8192 * elements * 6 / 8)
        self.assertEqual(len(caches), 10)

    def test_context_counts_the_window(self):
        def bytes_at(context):
            caches = self.run_json("inspect", "--model", self.model, "--target", "kvtuner-kivi",
                                   "--context", context)["kv_cache"]
            return {cache["name"]: cache["bytes_per_token"] for cache in caches}
        self.assertEqual(bytes_at(32)["KV2"], bytes_at(32)["exact"])
        self.assertLess(bytes_at(1000)["KV2"], bytes_at(100)["KV2"])

    def test_text(self):
        text = self.run_kvtune("inspect", "--model", self.model).stdout
        for expected in ("LlamaForCausalLM", "3 layers", "head_dim 16", "bf16", "KV2", "128k"):
            self.assertIn(expected, text)

    def test_config_alone(self):
        model = self.folder / "config_only"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(tiny_model.config()))
        self.assertIn("only config.json", self.run_kvtune("inspect", "--model", model).stdout)
        self.assertIsNone(self.run_json("inspect", "--model", model)["weight_bytes"])

    def test_a_config_file_without_a_checkpoint(self):
        path = self.folder / "config.json"
        path.write_text(json.dumps(tiny_model.config()))
        result = self.run_json("inspect", "--model", path)
        self.assertEqual(result["model"], self.folder.name)
        self.assertIsNone(result["weight_bytes"])

    def test_windows(self):
        model = self.folder / "sliding"
        model.mkdir()
        config = tiny_model.config() | {
            "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "head_dim": tiny_model.HEAD_DIM,
            "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 24}
        (model / "config.json").write_text(json.dumps(config))
        result = self.run_json("inspect", "--model", model)
        self.assertEqual(result["window_tokens"], [24, 0, 24])
        elements = 2 * tiny_model.KV_HEADS * tiny_model.HEAD_DIM
        exact = result["kv_cache"][0]
        self.assertEqual(exact["bytes_at_context"]["8192"], 2 * elements * (8192 + 2 * 24))
        text = self.run_kvtune("inspect", "--model", model).stdout
        self.assertIn("1 sliding over 24 tokens, 1 full, and so on", text)
        self.assertIn("all layers full", self.run_kvtune("inspect", "--model", self.model).stdout)

    def test_device(self):
        result = self.run_json("inspect", "--model", self.model, "--device", "cpu")
        self.assertEqual(result["device"], "cpu")
        self.assertTrue(result["fits_device"])
        self.assertGreater(result["device_free_bytes"], 0)
        self.assertIn("cpu has", self.run_kvtune("inspect", "--model", self.model, "--device", "cpu").stdout)
        self.assertIn("found \"tpu\"", self.run_error("inspect", "--model", self.model, "--device", "tpu",
                                                      exit_code=2))

    def place(self, **sizes):
        """What inspect says of a config.json of these sizes."""
        path = self.folder / "place.json"
        path.write_text(json.dumps(tiny_model.config() | {"hidden_size": 1024, "tie_word_embeddings": True} | sizes))
        arguments = ["inspect", "--model", path, "--device", "cpu"]
        return self.run_json(*arguments), self.run_kvtune(*arguments).stdout

    def test_weights_that_fit_are_streamed_or_fit_nowhere(self):
        wide = {"intermediate_size": 65536}  # layers of 0.8 GB
        two, text = self.place(**wide, num_hidden_layers=2, vocab_size=257)
        self.assertEqual(two["streamed_bytes"], 4 * two["parameters"])  # two layers are all
        free = two["device_free_bytes"]
        many = 2 + free // (two["streamed_bytes"] // 2)
        result, text = self.place(**wide, num_hidden_layers=many, vocab_size=257)
        self.assertEqual((result["fits_device"], result["weights_mode"]), (False, "stream"))
        self.assertEqual(result["streamed_bytes"], two["streamed_bytes"])
        self.assertIn("float32 is streamed (--weights stream), which takes at least", text)

        result, text = self.place(num_hidden_layers=2, vocab_size=free // (4 * 1024) * 2)
        self.assertEqual((result["fits_device"], result["weights_mode"]), (False, None))
        self.assertIn("float32 does not fit, nor do the", text)

        result, text = self.place(num_hidden_layers=2, vocab_size=257)
        self.assertEqual((result["fits_device"], result["weights_mode"]), (True, "resident"))
        self.assertIn("float32 fits", text)

    def test_tokens_that_fit_beside_the_weights(self):
        result = self.run_json("inspect", "--model", self.model, "--device", "cpu", "--target", "vllm")
        for cache in result["kv_cache"]:
            self.assertEqual(cache["fitting_tokens"],
                             (result["device_free_bytes"] - result["weight_bytes"]) // cache["bytes_per_token"])
        # Without weight files: in bfloat16, and none beside weights that do not fit.
        result, text = self.place(num_hidden_layers=2, vocab_size=257)
        exact = result["kv_cache"][0]
        self.assertEqual(exact["fitting_tokens"],
                         (result["device_free_bytes"] - 2 * result["parameters"]) // exact["bytes_per_token"])
        self.assertIn("of weights (bfloat16);", text)
        result, text = self.place(num_hidden_layers=2, vocab_size=result["device_free_bytes"] // 1024)
        self.assertEqual({cache["fitting_tokens"] for cache in result["kv_cache"]}, {0})

    def test_nothing_depends_on_this_machine_unless_asked(self):
        result = self.run_json("inspect", self.model)
        for field in ("device", "device_free_bytes", "fits_device", "weights_mode", "memory_bytes", "budget"):
            self.assertIsNone(result[field], field)
        self.assertEqual({cache["fitting_tokens"] for cache in result["kv_cache"]}, {None})
        text = self.run_kvtune("inspect", self.model).stdout
        self.assertNotIn("free", text)
        self.assertIn("--gpu NAME says what fits", text)

    def test_a_memory_says_what_fits(self):
        weights = self.run_json("inspect", self.model)["weight_bytes"]
        exact = 2 * 2 * 3 * tiny_model.KV_HEADS * tiny_model.HEAD_DIM
        # Room for half of the bf16 cache of two sequences of 1k tokens.
        memory = weights + exact * 1024
        arguments = ["inspect", self.model, "--memory", memory, "--context", "1k", "--parallel", "2"]
        result = self.run_json(*arguments)
        self.assertEqual(result["context"], 1024)
        self.assertEqual(result["budget"]["left_bytes"], exact * 1024)
        self.assertTrue(result["budget"]["needs_quantization"])
        fits = {cache["name"]: cache["fits"] for cache in result["kv_cache"]}
        self.assertEqual((fits["exact"], fits["K8V4"], fits["KV4"]), (False, True, True))
        text = self.run_kvtune(*arguments).stdout
        self.assertIn("2 x 1k tokens", text)
        self.assertIn("does not fit", text)
        enough = self.run_kvtune("inspect", self.model, "--gpu", "rtx-4090").stdout
        self.assertIn("RTX 4090 (24.0 GiB)", enough)
        self.assertIn("No quantization is needed", enough)
        self.assertIn("the weights take 1.00 TiB and do not fit",
                      self.run_kvtune("inspect", self.model, "--memory", "24GB", "--weights-size", "1TiB").stdout)
        message = self.run_error("inspect", self.model, "--gpu", "h10", exit_code=2)
        self.assertIn('did you mean "H100"?', message)
        self.run_error("inspect", self.model, "--gpu", "h100", "--memory", "1G", exit_code=2)

    def test_refused_architecture(self):
        model = self.folder / "refused"
        model.mkdir()
        config = tiny_model.config() | {"architectures": ["DeepseekV3ForCausalLM"]}
        (model / "config.json").write_text(json.dumps(config))
        self.assertIn("multi-head latent attention", self.run_error("inspect", "--model", model))

    def test_shards(self):
        model = tiny_model.write_model(self.folder / "sharded", shards=3)
        self.assertEqual(self.run_json("inspect", "--model", model)["shards"], 3)

    def test_missing_model(self):
        self.assertIn("opening the model nowhere: found nothing", self.run_error("inspect", "--model", "nowhere"))


class TokenizeTest(CliTestCase):

    def tokenize(self, *arguments, text=None):
        done = self.run_kvtune("tokenize", "--model", self.model, *arguments, text=text)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_stdin(self):
        self.assertEqual(self.tokenize(text="ab\ncd\n"), [[256, 97, 98], [256, 99, 100]])

    def test_last_line_without_a_break(self):
        self.assertEqual(self.tokenize(text="ab\n\ncd"), [[256, 97, 98], [256], [256, 99, 100]])

    def test_no_special(self):
        self.assertEqual(self.tokenize("--no-special", text="hé\n"), [[104, 195, 169]])

    def test_file(self):
        path = self.folder / "text.txt"
        path.write_text("ab\n")
        self.assertEqual(self.tokenize(path), [[256, 97, 98]])

    def test_jsonl(self):
        lines = json.dumps({"text": "a\nb", "id": 1}) + "\n"
        self.assertEqual(self.tokenize("--jsonl", "--no-special", text=lines), [[97, 10, 98]])

    def test_needs_the_tokenizer_only(self):
        model = self.folder / "tokenizer_only"
        model.mkdir()
        (model / "tokenizer.json").write_text(json.dumps(tiny_model.tokenizer()))
        self.assertEqual(self.run_kvtune("tokenize", "--model", model, text="a\n").stdout,
                         "[256,97]\n")

    def test_empty_input(self):
        self.assertEqual(self.tokenize(text=""), [])

    def test_large_input(self):
        line = "The quick brown fox jumps over the lazy dog. " * 20
        self.assertEqual(len(self.tokenize(text=(line + "\n") * 500)), 500)

    def test_invalid_utf8_names_its_line(self):
        done = self.run_kvtune("tokenize", "--model", self.model, text="fine\ncaf\udce9\n",
                               exit_code=1)
        self.assertIn("line 2", done.stderr)
        self.assertEqual(done.stdout, "[256,102,105,110,101]\n")

    def test_bad_jsonl_names_its_line(self):
        for line, expected in (("nope", "line 1"), ('{"txt": "a"}', '"text"')):
            message = self.run_error("tokenize", "--model", self.model, "--jsonl",
                                     text=line + "\n")
            self.assertIn(expected, message)

    def test_missing_tokenizer_and_file(self):
        self.assertIn("opening the model nowhere: found nothing", self.run_error("tokenize", "--model", "nowhere", text=""))
        (self.folder / "no_tokenizer").mkdir()
        self.assertIn("tokenizer.json", self.run_error("tokenize", "--model", "no_tokenizer", text=""))
        self.assertIn("no.txt", self.run_error("tokenize", "--model", self.model, "no.txt"))


class TargetsTest(CliTestCase):

    def test_all(self):
        text = self.run_kvtune("targets").stdout
        for expected in ("kvtuner:", "kvtuner-kivi:", "int4", "kivi_int2", "K8V4", "exports"):
            self.assertIn(expected, text)

    def test_one(self):
        targets = self.run_json("targets", "kvtuner-kivi")["targets"]
        self.assertEqual([target["name"] for target in targets], ["kvtuner-kivi"])
        self.assertEqual(targets[0]["formats"][1]["key_effective_bits"], 5)
        self.assertEqual(targets[0]["formats"][1]["residual_window_tokens"], 32)

    def test_formats_of_one_side(self):
        target, = self.run_json("targets", "vllm")["targets"]
        bits = {each["name"]: (each["key_effective_bits"], each["value_effective_bits"]) for each in target["formats"]}
        self.assertEqual((bits["tq_k4"], bits["tq_v3"]), ((4.125, None), (None, 3.25)))
        self.assertIn("turboquant_4bit_nc", target["pairs"])
        self.assertIn("have the first 2 and the last 2", target["shape"])
        self.assertRegex(self.run_kvtune("targets", "vllm").stdout, r"\ntq_v4 +4 +- +4\.25 ")

    def test_unknown(self):
        self.assertIn('did you mean "vllm"?', self.run_error("targets", "vlm", exit_code=2))


if __name__ == "__main__":
    unittest.main()
