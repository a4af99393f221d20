"""kvtune bench: times of decode steps over a packed cache."""
import json
import unittest

import tiny_model
from cli_test_case import CliTestCase

QUICK = ("--batch", "2", "--context", "40", "--device", "cpu")


class BenchTest(CliTestCase):

    def config(self, head_dim=32):
        path = self.folder / f"config_{head_dim}.json"
        path.write_text(json.dumps(tiny_model.config(head_dim=head_dim)))
        return path

    def bench(self, *arguments, **options):
        return self.run_kvtune("bench", self.config(), "--synthetic", *QUICK, *arguments, **options)

    def test_table_of_steps_and_pairs(self):
        file = self.folder / "latency.json"
        table = json.loads(self.bench("--plan", "KV4;0:K8V4", "--out", file, "--json").stdout)
        self.assertEqual(table, json.loads(file.read_text()))
        setting, = table["settings"]
        self.assertEqual((setting["batch"], setting["context"]), (2, 40))
        self.assertEqual([step["name"] for step in setting["steps"]],
                         ["bf16", "fp8_e4m3", "KV8", "KV4", "KV4;0:K8V4"])
        pairs = {pair["pair"]: pair for pair in setting["pairs"]}
        self.assertEqual(len(pairs), 11)  # nine of the target, exact and FP8
        # 41 tokens of one KV head of two sequences; a row has 32 bits of scale and zero
        self.assertEqual(pairs["KV4"]["bytes"], 2 * 41 * 2 * (32 // 2 + 4))
        self.assertEqual(pairs["exact"]["bytes"], 2 * 41 * 2 * 32 * 2)
        for step in setting["steps"]:
            time = step["step_ms"]
            self.assertGreater(time["lowest"], 0)
            self.assertTrue(time["lowest"] <= time["median"] <= time["highest"])
            self.assertAlmostEqual(step["tokens_per_second"], 2000 / time["median"])
        # a page of 64 tokens for each of the sequences and layers
        self.assertEqual(setting["steps"][3]["cache_bytes"], 2 * 3 * 64 * 2 * (32 // 2 + 4))
        # of which 41 tokens are counted
        self.assertEqual(setting["steps"][3]["counted_bytes"], 2 * 3 * 41 * 2 * (32 // 2 + 4))

    def test_windows_of_kivi(self):
        table = json.loads(self.bench("--target", "kvtuner-kivi", "--attention-only", "--json").stdout)
        setting, = table["settings"]
        self.assertEqual(setting["steps"], [])
        pairs = {pair["pair"]: pair for pair in setting["pairs"]}
        # 32 tokens in groups, and 9 exact ones in the window
        packed = 32 * 2 * (32 * 4 // 8 + 4)
        self.assertEqual(pairs["KV4"]["bytes"], 2 * (packed + 9 * 2 * 32 * 2))

    def test_writes_over_nothing_that_is_read(self):
        config = self.config()
        before = config.read_bytes()
        self.assertIn("found the input", self.bench("--out", config, exit_code=2).stderr)
        self.assertEqual(config.read_bytes(), before)
        weights = (self.model / "model.safetensors").read_bytes()
        self.assertIn("found a file of a model", self.bench("--out", self.model / "model.safetensors", exit_code=2).stderr)
        self.assertEqual((self.model / "model.safetensors").read_bytes(), weights)

    def test_text(self):
        text = self.bench().stdout
        for expected in ("batch 2, 40 tokens in the cache", "tokens/s", "K8V4", "largest batch", "counted", "copies at"):
            self.assertIn(expected, text)

    def test_every_batch_with_every_context(self):
        table = json.loads(self.bench("--attention-only", "--batch", "1", "--context", "33", "--json").stdout)
        self.assertEqual([(one["batch"], one["context"]) for one in table["settings"]],
                         [(2, 40), (2, 33), (1, 40), (1, 33)])

    def test_refusals(self):
        result = self.run_kvtune("bench", self.config(16), "--synthetic", *QUICK, exit_code=1)
        self.assertIn("found heads of 16 channels, expected 32, 64, 96, 128, 192 or 256", result.stderr)
        result = self.bench("--target", "lmdeploy", exit_code=1)
        self.assertIn("found the format lmdeploy_int", result.stderr)
        model = self.folder / "config_only"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(tiny_model.config(head_dim=32)))
        result = self.run_kvtune("bench", model, *QUICK, exit_code=1)
        self.assertIn("found no weights, expected a checkpoint, or --synthetic", result.stderr)
        self.assertIn("step", self.run_kvtune("bench", model, "--synthetic", *QUICK).stdout)


if __name__ == "__main__":
    unittest.main()
