"""The page of results is what its files say, and the statistics on it are right."""
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "configs" / "benchmarks" / "results"
SCRIPT = ROOT / "scripts" / "results.py"
sys.path.append(str(ROOT / "scripts"))
import results  # noqa: E402
import results_page  # noqa: E402


def plan(name, size, kl, lost, gained=0, kind="front"):
    """A plan of a task with 100 items, all of which the exact model has right but five."""
    flips = lost + gained
    tail = sum(math.comb(flips, i) for i in range(min(lost, gained) + 1)) / 2 ** flips
    strict = (95 - lost + gained) / 100
    return {"name": name, "kind": kind, "spec": f"spec-{name}", "nominal_bits": size / 256, "effective_bits": size / 256,
            "bytes_per_token": float(size), "kl": kl, "kl_interval": None, "strict": strict, "stderr": 0.02, "lost": lost,
            "gained": gained, "mcnemar_p": min(1, 2 * tail), "difference_interval": [strict - 1, strict - 0.9], "tokens": 900}


def made_up(plans, **more):
    run = {"target": "kvtuner", "dtype": "bfloat16", "device": "cuda", "layer_count": 4, "prompt_count": 3,
           "token_count": 300, "layer_shapes": [{"layers": "0-3", "kv_heads": 2, "key_head_dim": 64}]}
    return {"name": "made-up", "run": run, "task": {"task": "sums", "items": 100}, "held_out": {"prompts": 2, "tokens": 90},
            "reference": plan("exact", 4096, 0.0, 0, kind="exact"), "plans": plans,
            "search": {"distinct_plans": 20, "prompt_scores": 60, "answered_plans": 9, "generated_tokens": 8100}, **more}


PLANS = [plan("p0", 2048, 1e-6, 0), plan("p1", 1536, 1e-4, 2), plan("p2", 1024, 1e-3, 4, 1), plan("p3", 640, 0.2, 40),
         plan("KV8", 2048, 1e-6, 0, kind="uniform"), plan("KV4", 1100, 0.01, 6, kind="uniform"),
         plan("KV2", 640, 0.4, 60, kind="uniform"), plan("r00", 900, 0.05, 3, kind="further")]


class StatisticsTest(unittest.TestCase):

    def test_ranks_share_the_mean_of_ties(self):
        self.assertEqual(results_page.ranks([3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0])

    def test_spearman(self):
        # The example of scipy.stats.spearmanr.
        self.assertAlmostEqual(results_page.spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]), 0.8207826816681233)
        self.assertAlmostEqual(results_page.spearman([1, 2, 3], [9, 4, 1]), -1)
        self.assertIsNone(results_page.spearman([1, 2, 3], [5, 5, 5]))

    def test_holm_stops_at_the_first_that_stays(self):
        self.assertEqual(results_page.holm([0.01, 0.04, 0.03, 0.005]), [True, False, False, True])
        self.assertEqual(results_page.holm([0.02, 0.03]), [True, True])
        self.assertEqual(results_page.holm([0.026, 0.03]), [False, False])

    def test_a_plan_is_worse_where_it_lost_more_than_chance(self):
        self.assertEqual(results_page.fewest_significant(), 6)
        self.assertTrue(results_page.is_worse(plan("a", 1, 1, 6)))
        self.assertFalse(results_page.is_worse(plan("a", 1, 1, 5)))
        self.assertFalse(results_page.is_worse(plan("a", 1, 1, 0, 9)))

    def test_safe_loss_ends_below_the_first_plan_that_is_worse(self):
        worse = [results_page.is_worse(each) for each in PLANS]
        self.assertEqual(results_page.safe_loss(PLANS, worse), (1e-3, 4))
        self.assertEqual(results_page.safe_loss(PLANS[3:4], [True]), (None, 0))

    def test_the_lowest_plan_has_no_worse_one_above_it(self):
        front = [plan("a", 4, 0.1, 0), plan("b", 3, 0.2, 9), plan("c", 2, 0.3, 1)]
        self.assertEqual(results_page.lowest_kept(front)["name"], "a")
        self.assertIsNone(results_page.lowest_kept(front[1:]))
        self.assertEqual(results_page.lowest_not_worse(front)["name"], "c")

    def test_further_plans_reach_from_the_least_loss_to_the_largest(self):
        def layers(*bits):
            return [{"key": f"int{key}", "value": f"int{value}"} for key, value in bits]

        front = {"run": {"seed": 0, "layer_count": 6}, "reference": {"layers": layers(*[(16, 16)] * 6)},
                 "plans": [{"layers": layers(*[(8, 8)] * 5, (2, 2))}], "near": [{"layers": layers((4, 4), *[(8, 8)] * 5)}],
                 "uniform": [{"name": f"KV{bits}", "bytes_per_token": bits, "layers": layers(*[(bits, bits)] * 6)}
                             for bits in (8, 4, 2)]}
        logged = [{"spec": f"scored-{i}", "layers": layers((i, i), *[(3, 3)] * 5), "calibration": {"kl_mean": 10.0 ** -i}}
                  for i in range(20)]
        logged += [{"spec": "KV8", "layers": front["uniform"][0]["layers"], "calibration": {"kl_mean": 1e-30}}]
        found = results.further_plans(front, logged, 30)
        self.assertEqual(len(found), 25)
        self.assertEqual(len({each["name"] for each in found}), 25)
        specs = [each["spec"] for each in found]
        self.assertEqual(len(set(specs)), 25)
        self.assertNotIn("KV8", specs)
        self.assertIn("scored-0", specs)
        self.assertIn("scored-12", specs)  # smaller losses than 1e-12 count as that
        self.assertIn("KV8;4:KV2", specs)
        self.assertNotIn("KV8;5:KV2", specs)  # on the front
        self.assertEqual(found, results.further_plans(front, logged, 30))

    def test_a_small_model_has_only_so_many_plans(self):
        front = {"run": {"seed": 0, "layer_count": 1}, "reference": {"layers": [{"key": "exact", "value": "exact"}]},
                 "plans": [], "uniform": [{"name": f"KV{bits}", "bytes_per_token": bits,
                                           "layers": [{"key": f"int{bits}", "value": f"int{bits}"}]} for bits in (8, 2)]}
        self.assertEqual(results.further_plans(front, [], 30), [])

    def test_shown_plans_of_a_long_front_include_those_where_losses_begin(self):
        front = [plan(f"p{i:02}", 4096 - i, i / 100, 0 if i < 38 else 20) for i in range(60)]
        names = [each["name"] for each in results_page.shown_front(front)]
        self.assertLessEqual(len(names), results_page.SHOWN_FRONT + 2)
        for name in ("p00", "p37", "p38", "p59"):
            self.assertIn(name, names)


class PageTest(unittest.TestCase):

    def test_the_page_is_what_the_files_say(self):
        self.assertGreaterEqual(len(list(RESULTS.glob("*.json"))), 1)
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "results.md"
            subprocess.run([sys.executable, "-B", SCRIPT, "--write", page, RESULTS], check=True)
            self.assertEqual(page.read_text(), (ROOT / "docs" / "results.md").read_text(),
                             "write it anew: scripts/results.py --write docs/results.md configs/benchmarks/results")

    def test_a_folder_without_results_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-B", SCRIPT, "--write", folder + "/page.md",
                                   folder], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, f"results: found no results in {folder}, expected NAME.json\n"))

    def test_a_model_has_a_name_a_folder_and_a_task(self):
        for text in ("model,task.json", "name=model", "name=model,,prompts.jsonl", "name=a,b,c,d,e"):
            done = subprocess.run([sys.executable, "-B", SCRIPT, "--model", text, "--out", "out"], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"found {text!r}, expected NAME=DIR,TASKFILE", done.stderr)

    def test_text(self):
        paper = {"search_items": 60, "test_items": 40, "distinct_plans": 30, "generated_tokens": 8000, "exact_strict": 0.95,
                 "plans": [{**plan("q0", 1100, 0.02, 9, kind="paper"), "search_strict": 0.99},
                           {**plan("q1", 600, 0.9, 70, kind="paper"), "search_strict": 0.4}],
                 "front_strict": {"p0": 0.95, "p1": 0.95, "p2": 0.925, "p3": 0.5}}
        text = " ".join(results_page.document([made_up(PLANS, paper=paper)]).split())
        for sentence in (
                "| made-up | 100 | 95.0 | p2: 4.00 bits, 25.0 % | KV8: 8.00 bits, 50.0 % |",
                "The lowest plan of the front without a significant loss is p2 (`spec-p2`): 4.00 bits, 25.0 % of a bf16 cache, 4 "
                "answers lost and 1 gained of 100",
                "the front's plan has 50.0 % fewer bytes",
                "over all 8 plans",
                "Up to a KL of 0.001 no significant loss of accuracy was seen on these 100 items (4 plans; 3 of 8 plans are "
                "worse, without",
                "Up to a KL of 0.05 no significant loss of accuracy was seen on these 100 items (6 plans; 2 of 8 plans are "
                "worse, by Holm's",
                "never a promise",
                "more right answers in 1 rows, fewer in 0, and as many in 0",
                "| q1 | 14.6 % | 0.9 | 40.0 | 25.0 | none |"):
            self.assertIn(sentence, text)
        self.assertIn("There is no result of it", results_page.document([made_up(PLANS)]))

    def test_text_without_losses(self):
        text = " ".join(results_page.document([made_up(PLANS[:2] + PLANS[4:5])]).split())
        self.assertIn("No plan is worse", text)
        text = " ".join(results_page.document([made_up([PLANS[3], PLANS[6]])]).split())
        self.assertIn("Every plan of the front is worse than the exact model", text)
        self.assertIn("Every uniform plan is worse than the exact model.", text)
        self.assertIn("The plan with the least KL is worse already", text)


if __name__ == "__main__":
    unittest.main()
