"""The smallest and the most extreme inputs that are still valid: one layer, one scored token, odd sizes, overflow."""
import json
import math
import unittest

import tiny_model
from cli_test_case import QUICK_SEARCH, CliTestCase


class CornerCasesTest(CliTestCase):

    def prompts_of(self, name, *prompts):
        path = self.folder / name
        path.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in prompts))
        return path

    def front_of(self, out, *options, model=None, prompts=None, size=QUICK_SEARCH):
        """The front of a search, every number of which has to be finite."""
        front = self.run_json("search", *self.model_arguments(model, prompts), "--out", out, *size,
                              "--held-out", "none", *options)
        self.assertTrue(front["plans"])
        for plan in [*front["plans"], *front["uniform"], front["reference"]]:
            by_position = plan["calibration"].pop("by_position")
            numbers = [*plan["calibration"].items(), *(item for part in by_position for item in part.items())]
            for name, number in numbers:
                self.assertTrue(math.isfinite(number), f"{plan['name']}: {name} is {number}")
        return front

    def test_one_layer(self):
        model = tiny_model.write_model(self.folder / "one_layer", layers=1)
        front = self.front_of("one", model=model)
        # The uniform plans are all plans that there are.
        self.assertEqual({len(plan["layers"]) for plan in front["plans"]}, {1})
        self.assertLessEqual({plan["spec"] for plan in front["plans"]}, {plan["spec"] for plan in front["uniform"]})

    def test_one_scored_token(self):
        front = self.front_of("token", prompts=self.prompts_of("token.jsonl", [5, 6]))
        self.assertEqual(front["reference"]["calibration"]["tokens"], 1)
        self.assertEqual(front["reference"]["calibration"]["kl_mean"], 0)

    def test_prompts_around_the_window_of_kivi(self):
        lengths = (2, 31, 32, 33, 63, 64, 65, 127, 128)
        prompts = self.prompts_of("lengths.jsonl", *([i % 250 for i in range(length)] for length in lengths))
        front = self.front_of("lengths", "--target", "kvtuner-kivi", prompts=prompts)
        self.assertEqual(front["reference"]["calibration"]["tokens"], sum(lengths) - len(lengths))
        # What does not fill a window stays exact, so the short prompts alone lose nothing.
        short = self.prompts_of("short.jsonl", [1, 2], list(range(31)))
        plan, = self.run_json("evaluate", *self.model_arguments(prompts=short), "--target", "kvtuner-kivi", "--plan",
                              "KV2")["plans"]
        self.assertEqual(plan["calibration"]["kl_mean"], 0)

    def test_heads_that_a_group_does_not_divide(self):
        model = tiny_model.write_model(self.folder / "ragged", head_dim=40)
        for target in ("kvtuner", "kvtuner-kivi"):
            front = self.front_of(f"ragged-{target}", "--target", target, model=model)
            loss = {plan["name"]: plan["calibration"]["kl_mean"] for plan in front["uniform"]}
            self.assertLess(loss["KV8"], loss["KV2"])

    def test_keys_of_zero_lose_nothing_in_any_format(self):
        tensors = tiny_model.weights()
        for name, (shape, values) in tensors.items():
            if "k_proj" in name:
                tensors[name] = (shape, [0.0] * len(values))
        model = tiny_model.write_model(self.folder / "zero_keys", tensors=tensors)
        plans = self.run_json("evaluate", *self.model_arguments(model), "--plan", "int2/exact", "--plan",
                              "int4/exact")["plans"]
        self.assertEqual([plan["calibration"]["kl_mean"] for plan in plans], [0, 0])
        self.front_of("zero_keys_run", model=model)

    def test_activations_that_overflow_half_precision(self):
        tensors = tiny_model.weights()
        for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"):
            tensors[name] = (tensors[name][0], [1e4 * value for value in tensors[name][1]])
        model = tiny_model.write_model(self.folder / "overflow", tensors=tensors)
        self.front_of("wide", model=model)
        message = self.run_error("search", *self.model_arguments(model), "--dtype", "float16", "--out", "narrow")
        self.assertIn("found nan", message)
        self.assert_no_leftovers("narrow")
        self.assertFalse((self.folder / "narrow" / "front.json").exists())

    def test_populations_that_are_rounded_up(self):
        for population in ("1", "4", "7"):
            front = self.front_of(f"population-{population}",
                                  size=("--population", population, "--generations", "2", "--no-refine"))
            reported = [each["generation"] for each in front["search"]["generations"] if each["stage"] == "grouped"]
            self.assertEqual(reported, sorted(reported))
            self.assertTrue(reported)

    def test_no_evaluation_is_left_after_the_uniform_plans(self):
        front = self.front_of("limit", "--max-evaluations", "10")
        self.assertEqual(front["search"]["distinct_plans"], 10)
        front = self.front_of("limit-and-one", "--max-evaluations", "11")
        self.assertEqual(front["search"]["distinct_plans"], 11)

    def test_one_group(self):
        front = self.front_of("group", "--max-groups", "1", "--no-refine")
        self.assertEqual(len(self.read_json("group", "groups.json")["groups"]), 1)
        for plan in front["plans"]:
            self.assertEqual(len({json.dumps(layer) for layer in plan["layers"]}), 1)


if __name__ == "__main__":
    unittest.main()
