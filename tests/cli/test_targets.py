"""Every target: its search ends with plans that it can run, and its exports read back."""
import json
import struct
import unittest

import tiny_model
from cli_test_case import CliTestCase

ONE_SHOT = ["--population", "8", "--generations", "1", "--refine-evaluations", "8"]


def read_safetensors(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + length])
    data = raw[8 + length:]
    return {name: struct.unpack("<f", data[slice(*entry["data_offsets"])])[0]
            for name, entry in header.items() if name != "__metadata__"}


class TargetsTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Heads that every engine's blocks fit.
        cls.model = tiny_model.write_model(cls.folder / "wide", head_dim=64)
        cls.prompts = tiny_model.write_prompts(cls.folder / "two.jsonl", 2)

    def search_target(self, target):
        run = self.folder / f"run-{target}"
        if not run.exists():
            self.run_kvtune("search", *self.model_arguments(), "--target", target, "--out", run,
                            "--held-out", "none", *ONE_SHOT)
        return run, self.read_json(run, "front.json")

    def test_searches_end_with_plans_that_the_target_reads_back(self):
        for target in self.run_json("targets", "--model", self.model)["targets"]:
            with self.subTest(target["name"]):
                self.assertIsNone(target["refusal"])
                self.check_target(target["name"], [f["name"] for f in target["export_formats"]])

    def check_target(self, target, formats):
        run, front = self.search_target(target)
        arguments, expected = [], []
        some = front["plans"][::len(front["plans"]) // 3 + 1]
        for number, plan in enumerate(some):
            for form in formats:
                # What the search found is what the first format and kvtune's own can express.
                options = [] if form in (formats[0], "json") else ["--project"]
                file = self.folder / f"{target}-{number}.{form}"
                answer = self.run_json("pareto", "export", run, "--plan", plan["name"], "--format",
                                       form, "--out", file, *options)
                if not options:
                    self.assertEqual(answer["spec"], plan["spec"])
                arguments += ["--plan", file]
                expected.append(answer["spec"])
        plans = self.run_json("evaluate", *self.model_arguments(), "--target", target,
                              *arguments)["plans"]
        self.assertEqual([plan["spec"] for plan in plans], expected)

    def test_calibrated_scales_go_beside_the_plan(self):
        run, front = self.search_target("modelopt")
        file = self.folder / "hf_quant_config.json"
        for plan in front["uniform"]:
            answer = self.run_json("pareto", "export", run, "--plan", plan["name"], "--format",
                                   "modelopt", "--out", file)
            scales = read_safetensors(file.with_suffix(".safetensors"))
            self.assertEqual(answer["scales"], str(file.with_suffix(".safetensors")))
            self.assertEqual(len(scales), 2 * len(plan["layers"]))
            for layer in self.read_json(run, "sensitivity.json")["layers"]:
                formats = plan["layers"][layer["index"]]
                for side, name in (("key", "k_proj.k_scale"), ("value", "v_proj.v_scale")):
                    largest = 448 if formats[side].startswith("fp8") else 6 * 448
                    self.assertAlmostEqual(
                        scales[f"model.layers.{layer['index']}.self_attn.{name}"],
                        max(layer[f"{side}_max"]) / largest, places=7)
        # The scales get the name of the plan, which may be that of the weights.
        weights = (self.model / "model.safetensors").read_bytes()
        for out, what in (("model.json", "found a file of a model"), ("model.safetensors", "found a file of a model")):
            self.assertIn(what, self.run_error("pareto", "export", run, "--plan", front["uniform"][0]["name"],
                                               "--format", "modelopt", "--out", self.model / out, exit_code=2))
        self.assertFalse((self.model / "model.json").exists())
        self.assertEqual((self.model / "model.safetensors").read_bytes(), weights)
        self.assertIn("expected another ending for the plan",
                      self.run_error("pareto", "export", run, "--plan", front["uniform"][0]["name"], "--format",
                                     "modelopt", "--out", "new.safetensors", exit_code=2))
        answer = self.run_json("pareto", "export", run, "--plan", "exact", "--format", "modelopt")
        self.assertIsNone(answer["scales"])

    def test_plans_that_a_format_cannot_express(self):
        run, front = self.search_target("kvtuner")
        export = ["pareto", "export", run, "--plan", "exact", "--format", "kvtuner"]
        message = self.run_error(*export)
        loss = next(plan for plan in front["uniform"] if plan["name"] == "KV8")["calibration"]["kl_mean"]
        self.assertIn(f"the nearest plan that it can express (--project): KV8, which loses {loss:.3g}",
                      message)
        done = self.run_kvtune(*export, "--project")
        self.assertIn("cannot express exact", done.stderr)
        self.assertEqual(done.stdout.count("nbits_key: 8"), 3)

    def test_page_padding_is_said_with_every_saving(self):
        model = tiny_model.write_model(self.folder / "windows", head_dim=64)
        config = json.loads((model / "config.json").read_text())
        config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 24}
        (model / "config.json").write_text(json.dumps(config))
        of_model = ["--model", model, "--prompts", self.prompts, "--threads", "1"]
        note = "Some layers have sliding windows: vllm may pad the pages of all layers to one size, and then "

        evaluate = ["evaluate", *of_model, "--target", "vllm", "--plan", "fp8_e4m3;0:exact"]
        plan, = self.run_json(*evaluate)["plans"]
        # One layer of 16 bits, two of 8.
        self.assertAlmostEqual(plan["padded_bytes_per_token"] / plan["bytes_per_token"], 3 * 16 / (16 + 8 + 8))
        self.assertIn(note + f"fp8_e4m3;0:exact takes {plan['padded_bytes_per_token']:.0f} bytes per token, not "
                      f"{plan['bytes_per_token']:.0f}.\n", self.run_kvtune(*evaluate).stdout)

        run = self.folder / "run-windows"
        done = self.run_kvtune("search", *of_model, "--target", "vllm", "--out", run, "--held-out", "none", *ONE_SHOT)
        self.assertIn(note, done.stdout)
        self.assertIn(note, self.run_kvtune("pareto", "list", run).stdout)
        self.assertIn(note, self.run_kvtune("pareto", "show", run, "exact").stdout)
        self.assertIn(note, self.run_kvtune("pareto", "pick", run, "--max-bits", "9").stdout)
        for uniform in self.run_json("pareto", "list", run)["uniform"]:
            self.assertAlmostEqual(uniform["padded_bytes_per_token"], uniform["bytes_per_token"])

        inspect = ["inspect", "--model", model, "--target"]
        self.assertIn(note + "a plan of several formats takes more", self.run_kvtune(*inspect, "vllm").stdout)
        self.assertNotIn("sliding windows:", self.run_kvtune(*inspect, "llama.cpp").stdout)
        self.assertNotIn("padded_bytes_per_token", self.run_json(*inspect, "llama.cpp")["kv_cache"][0])
        self.assertNotIn("sliding windows:", self.run_kvtune("inspect", "--model", self.model, "--target", "vllm").stdout)

    def test_a_run_keeps_what_its_layers_cache(self):
        model = self.sliding_model()
        run = self.folder / "run-shapes"
        self.run_kvtune("search", "--model", model, "--prompts", self.prompts, "--threads", "1", "--target", "vllm",
                        "--out", run, "--held-out", "none", *ONE_SHOT)
        shape, = self.read_json(run, "front.json")["run"]["layer_shapes"]
        self.assertEqual(shape, {"layers": "0-2", "kv_heads": tiny_model.KV_HEADS, "key_head_dim": 64,
                                 "value_head_dim": 64, "window_tokens": 24})

    def sliding_model(self):
        model = tiny_model.write_model(self.folder / "sliding", head_dim=64)
        config = json.loads((model / "config.json").read_text())
        config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 24}
        (model / "config.json").write_text(json.dumps(config))
        return model

    def plan_of(self, content, target, model=None):
        file = self.folder / "plan.txt"
        file.write_text(content)
        plan, = self.run_json("evaluate", *self.model_arguments(model), "--target", target, "--plan", file)["plans"]
        return plan["spec"]

    def test_files_of_engines_are_read_as_the_engine_reads_them(self):
        self.assertEqual(self.plan_of("vllm serve m --kv_cache_dtype fp8 --kv_cache_dtype_skip_layers 0 > log 2>&1 &\n",
                                      "vllm"), "fp8_e4m3;0:exact")
        self.assertEqual(self.plan_of("vllm serve m --kv-cache-dtype fp8 --calculate-kv-scales", "vllm"),
                         "fp8_e4m3_calibrated")
        self.assertEqual(self.plan_of("OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve", "llama.cpp"), "q8_0")
        line = "vllm serve m --kv-cache-dtype fp8 --kv-cache-dtype-skip-layers sliding_window\n"
        self.assertEqual(self.plan_of(line, "vllm"), "fp8_e4m3")
        self.assertEqual(self.plan_of(line, "vllm", self.sliding_model()), "exact")

    def test_a_text_without_a_word_about_the_cache_is_no_plan(self):
        file = self.folder / "words.txt"
        for content in ("", "hello world\n", "vllm serve m --dtype auto\n", "# --kv-cache-dtype fp8\n"):
            file.write_text(content)
            for target in ("vllm", "sglang", "lmdeploy", "tensorrt-llm", "llama.cpp", "hf", "kvtuner"):
                message = self.run_error("evaluate", *self.model_arguments(), "--target", target, "--plan", file)
                self.assertIn("found no word about the KV cache", message)

    def test_a_checkpoint_with_our_own_export_is_read(self):
        run, _ = self.search_target("modelopt")
        model = tiny_model.write_model(self.folder / "exported", head_dim=64)
        self.run_kvtune("pareto", "export", run, "--plan", "p01", "--format", "modelopt", "--out",
                        model / "hf_quant_config.json")
        exact = ["evaluate", "--prompts", self.prompts, "--threads", "1", "--plan", "exact", "--model"]
        self.assertEqual(self.run_json(*exact, model)["plans"], self.run_json(*exact, self.model)["plans"])

    def test_heads_that_do_not_fit(self):
        narrow = tiny_model.write_model(self.folder / "narrow", head_dim=16)
        targets = {target["name"]: target
                   for target in self.run_json("targets", "--model", narrow)["targets"]}
        self.assertIn("expected a multiple of 32", targets["llama.cpp"]["refusal"])
        self.assertIsNone(targets["kvtuner"]["refusal"])
        message = self.run_error("search", *self.model_arguments(model=narrow), "--target",
                                 "llama.cpp", "--out", self.folder / "none")
        self.assertIn("the target llama.cpp cannot store this model's cache", message)
        self.assertFalse((self.folder / "none").exists())


if __name__ == "__main__":
    unittest.main()
