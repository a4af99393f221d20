"""What people feed it: prompts in many forms, models that are none, scales of checkpoints."""
import gzip
import json
import unittest

import tiny_model
from cli_test_case import QUICK_SEARCH, CliTestCase, has_jinja

TEMPLATE = "{% for m in messages %}{{ bos_token }}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


def scaled_model(directory, scales):
    """A checkpoint whose layers have these (k_scale, v_scale); None leaves a layer's out."""
    tensors = tiny_model.weights()
    for layer, pair in enumerate(scales):
        for name, value in zip(("k_proj.k_scale", "v_proj.v_scale"), pair or ()):
            tensors[f"model.layers.{layer}.self_attn.{name}"] = ([], [value])
    return tiny_model.write_model(directory, tensors=tensors)


class PromptsTest(CliTestCase):

    def nll(self, prompts, *options, model=None, target="kvtuner"):
        plan, = self.run_json("evaluate", "--model", model or self.model, "--prompts", prompts, "--threads", "1",
                              "--target", target, "--plan", "exact", *options)["plans"]
        return plan["calibration"]["nll"]

    def write(self, name, *records):
        (self.folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        return name

    def test_a_gate_measures_the_prompts_of_its_run(self):
        records = [{"q": text, "a": str(number)} for number, text in enumerate(tiny_model.TEXTS)]
        self.write("questions.jsonl", *records)
        template = ["--prompt-template", "Q: {q}\\nA: {a}"]
        self.run_kvtune("search", *self.model_arguments(prompts="questions.jsonl"), "--out", "asked", "--held-out",
                        "none", *template, *QUICK_SEARCH)
        self.run_kvtune("check", "--init", "asked:KV8", "--out", "asked.json")
        self.assertEqual(self.read_json("asked.json")["prompt_template"], "Q: {q}\\nA: {a}")
        self.run_kvtune("check", "--config", "asked.json", "--update-baseline", "--threads", "1")
        self.run_kvtune("check", "--config", "asked.json", "--threads", "1")
        texts = [{"text": f"Q: {record['q']}\nA: {record['a']}"} for record in records]
        self.assertEqual(self.nll("questions.jsonl", *template), self.nll(self.write("texts.jsonl", *texts)))

    def test_a_template_names_keys_that_are_there(self):
        self.write("asked.jsonl", {"q": "x", "a": "y"})
        run = ["evaluate", *self.model_arguments(prompts="asked.jsonl"), "--plan", "exact", "--prompt-template"]
        self.assertIn("found the keys q, a, expected \"question\"", self.run_error(*run, "{question}"))
        self.assertIn("found no key in \"text\"", self.run_error(*run, "text"))

    def test_compressed_prompts(self):
        plain = self.prompts.read_bytes()
        (self.folder / "p.jsonl.gz").write_bytes(gzip.compress(plain))
        self.assertEqual(self.nll("p.jsonl.gz"), self.nll(self.prompts))

    @unittest.skipUnless(has_jinja(), "found no python3 with jinja2 (python3-jinja2)")
    def test_chats_are_rendered_with_the_models_template(self):
        model = tiny_model.write_model(self.folder / "chat")
        (model / "chat_template.jinja").write_text(TEMPLATE)
        (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
        chats = [{"messages": [{"role": "user", "content": text}]} for text in tiny_model.TEXTS]
        self.write("chats.jsonl", *chats)
        texts = [{"text": f"<s>[user] {text}\n", "add_special_tokens": False} for text in tiny_model.TEXTS]
        self.assertEqual(self.nll("chats.jsonl", model=model), self.nll(self.write("said.jsonl", *texts), model=model))
        done = self.run_kvtune("search", "--model", model, "--prompts", "chats.jsonl", "--threads", "1", "--out", "chatty",
                               *QUICK_SEARCH)
        self.assertIn("chats.jsonl: 8 chats, rendered with the model's chat template", done.stderr)

    def test_chats_need_python(self):
        self.write("chats.jsonl", {"messages": [{"role": "user", "content": "hi"}]})
        message = self.run_error("evaluate", *self.model_arguments(prompts="chats.jsonl"), "--plan", "exact",
                                 environment={"KVTUNE_PYTHON": "/nowhere/python"})
        self.assertIn("found no /nowhere/python", message)
        self.assertIn("python3-jinja2", message)


class ModelsThatAreNoneTest(CliTestCase):

    def message(self, model):
        return self.run_error("evaluate", *self.model_arguments(model=model), "--plan", "exact")

    def test_a_hub_id(self):
        self.assertIn("hf download Qwen/Qwen3-8B --local-dir Qwen3-8B", self.message("Qwen/Qwen3-8B"))

    def test_a_gguf_file(self):
        (self.folder / "model.gguf").write_bytes(b"GGUF")
        self.assertIn("search the original checkpoint", self.message("model.gguf"))
        folder = self.folder / "gguf_folder"
        folder.mkdir()
        (folder / "q4.gguf").write_bytes(b"GGUF")
        self.assertIn("search the original checkpoint", self.message(folder))

    def test_an_lfs_pointer(self):
        model = tiny_model.write_model(self.folder / "pointers")
        (model / "model.safetensors").write_text(LFS_POINTER)
        self.assertIn("git lfs pull", self.message(model))
        (self.folder / "pointer.jsonl").write_text(LFS_POINTER)
        self.assertIn("git lfs pull", self.run_error("evaluate", *self.model_arguments(prompts="pointer.jsonl"), "--plan",
                                                     "exact"))


class CheckpointScalesTest(CliTestCase):

    def losses(self, model, plan, *options, **keywords):
        plans = self.run_json("evaluate", *self.model_arguments(model=model), "--target", "vllm", "--plan", plan,
                              *options, **keywords)["plans"]
        return plans[0]["spec"], plans[0]["calibration"]["kl_mean"]

    def test_stored_scales_are_what_is_scored(self):
        ones = scaled_model(self.folder / "ones", [(1.0, 1.0)] * 3)
        coarse = scaled_model(self.folder / "coarse", [(64.0, 64.0)] * 3)
        stored = ["--scales", "checkpoint"]
        unit_spec, unit = self.losses(ones, "fp8_e4m3")
        self.assertEqual(unit_spec, "fp8_e4m3")
        # An engine's word for FP8 means the stored scales, where there are some.
        self.assertEqual(self.losses(ones, "fp8_e4m3", *stored), ("fp8_e4m3_calibrated", unit))
        self.assertEqual(self.losses(coarse, "fp8_e4m3"), (unit_spec, unit))
        self.assertGreater(self.losses(coarse, "fp8_e4m3", *stored)[1], unit)
        (self.folder / "serve.sh").write_text("vllm serve m --kv-cache-dtype fp8\n")
        self.assertEqual(self.losses(coarse, "serve.sh", *stored), self.losses(coarse, "fp8_e4m3", *stored))

    def test_a_run_keeps_where_its_scales_come_from(self):
        model = scaled_model(self.folder / "kept", [(0.01, 0.02)] * 3)
        run = ["search", *self.model_arguments(model=model), "--target", "vllm", "--held-out", "none", "--out", "stored",
               *QUICK_SEARCH]
        self.run_kvtune(*run, "--scales", "checkpoint")
        front = self.read_json("stored", "front.json")
        self.assertEqual(front["run"]["scales"], "checkpoint")
        specs = [plan["name"] for plan in front["uniform"]]
        self.assertIn("fp8_e4m3_calibrated", specs)
        self.assertNotIn("fp8_e4m3", specs)
        self.assertIn("--scales", self.run_error(*run))
        # The checkpoint has its scales already.
        answer = self.run_json("pareto", "export", "stored", "--plan", "fp8_e4m3_calibrated", "--format", "vllm", "--out",
                               "stored.sh")
        self.assertIsNone(answer["scales"])
        self.run_kvtune("check", "--init", "stored:fp8_e4m3_calibrated", "--out", "stored.json")
        self.assertEqual(self.read_json("stored.json")["scales"], "checkpoint")
        self.run_kvtune("check", "--config", "stored.json", "--update-baseline", "--threads", "1")
        self.run_kvtune("check", "--config", "stored.json", "--threads", "1")

    def test_layers_without_scales_are_named(self):
        run = ["evaluate", "--target", "vllm", "--plan", "fp8_e4m3", "--scales", "checkpoint"]
        for name, scales in {"missing": [(1.0, 1.0), None, (1.0, 1.0)], "zero": [(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]}.items():
            model = scaled_model(self.folder / name, scales)
            self.assertIn("in layer 1, expected k_scale and v_scale above 0",
                          self.run_error(*run, *self.model_arguments(model=model)))
        self.assertIn("found the target kvtuner, which stores no static scales",
                      self.run_error("evaluate", *self.model_arguments(), "--plan", "KV8", "--scales", "checkpoint",
                                     exit_code=2))


class KernelsTest(CliTestCase):

    def test_pairs_without_default_kernels_are_searched_on_demand(self):
        model = tiny_model.write_model(self.folder / "wide", head_dim=64)
        run = ["search", *self.model_arguments(model=model), "--target", "llama.cpp", "--held-out", "none",
               *QUICK_SEARCH]
        done = self.run_kvtune(*run, "--out", "default")
        self.assertIn("(--kernels all searches them)", done.stderr)
        front = self.read_json("default", "front.json")
        self.assertEqual({plan["name"] for plan in front["uniform"]}, {"q8_0", "q4_0"})
        self.assertIn("--kernels", self.run_error(*run, "--out", "default", "--kernels", "all"))
        done = self.run_kvtune(*run, "--out", "all", "--kernels", "all")
        self.assertIn("GGML_CUDA_FA_ALL_QUANTS", done.stdout)
        uniform = [plan["name"] for plan in self.read_json("all", "front.json")["uniform"]]
        self.assertEqual(len(uniform), 36)
        mixed = self.run_kvtune("pareto", "export", "all", "--plan", "q8_0/q4_0", "--format", "llama.cpp")
        self.assertEqual(mixed.stdout, "-fa on -ctk q8_0 -ctv q4_0\n")
        self.assertIn("GGML_CUDA_FA_ALL_QUANTS", mixed.stderr)
        equal = self.run_kvtune("pareto", "export", "all", "--plan", "q8_0", "--format", "llama.cpp")
        self.assertNotIn("GGML_CUDA_FA_ALL_QUANTS", equal.stderr)

    def test_targets_answer_for_a_gpu(self):
        target, = self.run_json("targets", "vllm", "--gpu", "H100")["targets"]
        runs = {entry["name"]: entry["runs_on_gpu"] for entry in target["formats"]}
        self.assertTrue(runs["fp8_e4m3"])
        self.assertFalse(runs["nvfp4"])
        text = self.run_kvtune("targets", "vllm", "--gpu", "sm_90").stdout
        self.assertIn("runs on sm_90", text)
        self.assertIn("from sm_100 on: ", text)
        self.assertIn("GGML_CUDA_FA_ALL_QUANTS", self.run_kvtune("targets", "llama.cpp").stdout)
        self.assertIn("found \"H1000\"", self.run_error("targets", "--gpu", "H1000", exit_code=2))


if __name__ == "__main__":
    unittest.main()
