"""The verdicts of scripts/check_against_engine.py."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from check_against_engine import Comparison, judge, show  # noqa: E402

TOLERANCE = 0.15


class EngineCheckTest(unittest.TestCase):

    def test_agreement_within_the_tolerance_passes(self):
        self.assertEqual([], judge([Comparison("KV4", 1.0, 1.14, {}), Comparison("KV2", 4.0, 3.5, {})], TOLERANCE))

    def test_a_plan_beyond_the_tolerance_fails_by_name(self):
        self.assertEqual(["KV4: predicted 1, the engine shows 1.2"],
                         judge([Comparison("KV4", 1.0, 1.2, {})], TOLERANCE))

    def test_a_named_difference_explains_only_what_agrees_without_it(self):
        self.assertEqual([], judge([Comparison("KV4", 1.0, 1.5, {"rounds": 1.1})], TOLERANCE))
        self.assertEqual(1, len(judge([Comparison("KV4", 1.0, 1.5, {"rounds": 1.3})], TOLERANCE)))

    def test_another_order_fails_though_each_plan_agrees(self):
        turned = [Comparison("KV4", 1.0, 1.14, {}), Comparison("KV3", 1.2, 1.05, {})]
        self.assertEqual(["the order of the plans differs"], judge(turned, TOLERANCE))

    def test_plans_nearer_than_the_tolerance_have_no_order(self):
        self.assertEqual([], judge([Comparison("a", 1.0, 1.1, {}), Comparison("b", 1.1, 1.0, {})], TOLERANCE))

    def test_the_table_has_the_ratio_of_engine_to_prediction(self):
        self.assertEqual("| `KV4` | 2 | 3 | 1.500 | 2.2 | 1.100 |",
                         show([Comparison("KV4", 2.0, 3.0, {"rounds": 2.2})]).splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
