"""Every stage alone gives what the chain gives."""
import math
import re
import shutil
import unittest

from cli_test_case import QUICK_SEARCH, CliTestCase


def layers_of(text):
    """[0, 1, 2, 7] of "0-2,7"."""
    layers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        layers += range(int(first), int(last or first) + 1)
    return layers


class StagesTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").search("chain")

    def copy(self, name):
        return shutil.copytree(self.folder / "chain", self.folder / name)

    def test_stages_alone_leave_the_files_of_the_chain(self):
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "steps")
        self.run_kvtune("prune", "steps")
        self.run_kvtune("cluster", "steps")
        before = (self.folder / "steps" / "sensitivity.json").stat().st_mtime_ns
        done = self.search("steps")
        self.assertIn("reusing", done.stderr)
        self.assertEqual((self.folder / "steps" / "sensitivity.json").stat().st_mtime_ns, before)
        for name in ("sensitivity.json", "candidates.json", "groups.json", "evaluations.jsonl",
                     "front.json"):
            self.assertEqual((self.folder / "chain" / name).read_bytes(),
                             (self.folder / "steps" / name).read_bytes(), name)

    def test_fields_that_scripts_read(self):
        sensitivity = self.read_json("chain", "sensitivity.json")
        self.assertEqual(sensitivity["pairs"][0], "KV8")
        layer = sensitivity["layers"][2]
        self.assertEqual(layer["index"], 2)
        self.assertLessEqual({"e_k", "e_v", "e_a", "e_o", "bits"}, set(layer["errors"]["K8V4"]))
        candidates = self.read_json("chain", "candidates.json")
        self.assertIn("KV8", candidates["layers"][0]["kept"])
        groups = self.read_json("chain", "groups.json")["groups"]
        self.assertEqual(sorted(layer for group in groups for layer in group["layers"]), [0, 1, 2])

    def test_tables(self):
        """The tables say what the files say, number by number."""
        self.copy("tables")
        self.assert_candidates_table(self.run_kvtune("prune", "tables").stdout)
        self.assert_groups_table(self.run_kvtune("cluster", "tables").stdout)
        self.assert_sensitivity_table(
            self.run_kvtune("calibrate", *self.model_arguments(), "--out", "tables", "--table").stdout)

    def rows(self, table, header):
        """The rows below the line of these headers, whose columns are two or more spaces apart."""
        lines = table.splitlines()
        start = next(i for i, line in enumerate(lines) if line.split() == header)
        rows = []
        for line in lines[start + 1:]:
            cells = re.split(r"\s{2,}", line.strip())
            if len(cells) != len(header):
                break
            rows.append(cells)
        return rows

    def assert_sensitivity_table(self, text):
        document = self.read_json("tables", "sensitivity.json")
        self.assertEqual(
            self.rows(text, ["layer", *document["pairs"]]),
            [[str(layer["index"]), *(f"{layer['errors'][pair]['e_o']:.4f}" for pair in document["pairs"])]
             for layer in document["layers"]])

    def assert_candidates_table(self, text):
        document = self.read_json("tables", "candidates.json")
        layers = document["layers"]
        self.assertTrue(any(layer["dropped"] for layer in layers), "the example drops nothing")
        self.assertEqual(
            self.rows(text, ["layer", "kept", "dropped"]),
            [[str(layer["index"]), " ".join(layer["kept"]),
              ", ".join(f"{pair['pair']}<{pair['dominated_by']}" for pair in layer["dropped"]) or "-"]
             for layer in layers])
        kept = sum(len(layer["kept"]) for layer in layers)
        dropped = sum(len(layer["dropped"]) for layer in layers)
        self.assertIn(f"Kept {kept} of {kept + dropped} pairs by {document['metric']} and {document['bits']} bits.",
                      text)

    def assert_groups_table(self, text):
        groups = self.read_json("tables", "groups.json")["groups"]
        table = self.rows(text, ["group", "layers", "candidates"])
        self.assertEqual([row[0] for row in table], [str(i) for i in range(len(groups))])
        self.assertEqual([layers_of(row[1]) for row in table], [group["layers"] for group in groups])
        self.assertEqual([row[2].split() for row in table], [group["candidates"] for group in groups])
        plans = math.prod(len(group["candidates"]) for group in groups)
        said = re.search(r"^(\d+) groups, (\S+) plans\.$", text, re.MULTILINE)
        self.assertEqual(int(said[1]), len(groups))
        self.assertAlmostEqual(float(said[2]) / plans, 1, delta=0.005)  # three digits are printed

    def test_calibrate_names_fragile_layers(self):
        done = self.run_kvtune("calibrate", *self.model_arguments(), "--out", "named")
        self.assertIn("No layer stands out; int", done.stdout)
        bars = [line for line in done.stdout.splitlines() if line.split()[:1] in (["0"], ["1"], ["2"])]
        self.assertEqual(len(bars), 3)
        self.assertTrue(any("#" * 30 in line or "█" * 30 in line for line in bars), done.stdout)
        diagnosis = self.read_json("named", "diagnosis.json")
        self.assertEqual(diagnosis["fragile"], [])
        # A second run reuses the table and says the same.
        document = self.run_json("calibrate", *self.model_arguments(), "--out", "named")
        self.assertEqual(document.pop("diagnosis"), diagnosis)
        self.assertEqual(document, self.read_json("named", "sensitivity.json"))

    def test_json(self):
        self.copy("json")
        self.assertEqual(self.run_json("prune", "json"), self.read_json("json", "candidates.json"))
        self.assertEqual(self.run_json("cluster", "json"), self.read_json("json", "groups.json"))

    def test_pruning_again_with_other_options_is_refused_once_it_was_used(self):
        self.copy("used")
        self.assertIn("--epsilon: found 0.0 there, expected 0.5",
                      self.run_error("prune", "used", "--epsilon", "0.5"))

    def test_pruning_again_before_it_was_used(self):
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "again")
        self.run_kvtune("prune", "again")
        kept = self.run_json("prune", "again", "--min-pairs", "9")["layers"][0]["kept"]
        self.assertEqual(len(kept), 9)

    def test_isolated_kl(self):
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "kl", "--sensitivity", "kl")
        self.assertIn("kl", self.read_json("kl", "sensitivity.json")["layers"][0]["errors"]["KV4"])
        self.run_kvtune("prune", "kl", "--sensitivity", "kl")
        self.assertEqual(self.read_json("kl", "candidates.json")["metric"], "kl")

    def test_kl_pruning_needs_kl_calibration(self):
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "no_kl")
        self.assertIn("kl", self.run_error("prune", "no_kl", "--sensitivity", "kl"))

    def test_missing_stage_names_the_command(self):
        self.assertIn("kvtune calibrate", self.run_error("prune", "nowhere"))
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "half")
        self.assertIn("kvtune prune", self.run_error("cluster", "half"))
        self.assertIn("kvtune search", self.run_error("pareto", "list", "half"))

    def test_failed_stage_leaves_no_file(self):
        self.run_error("cluster", "half2")
        self.assertFalse((self.folder / "half2").exists())

    def test_edited_artifact_is_refused(self):
        run = self.copy("edited")
        path = run / "candidates.json"
        path.write_text(path.read_text().replace('"kept"', '"keept"', 1))
        (run / "groups.json").unlink()
        self.assertIn('"kept": found nothing', self.run_error("cluster", "edited"))

    def test_broken_json_names_its_line(self):
        run = self.copy("broken")
        (run / "run.json").write_text('{\n  "schema_version": 1,\n  "run" {}\n}\n')
        self.assertIn("line 3", self.run_error("prune", "broken"))

    def test_other_schema_version_is_refused(self):
        run = self.copy("future")
        path = run / "front.json"
        path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2', 1))
        self.assertIn("found 2, expected 1", self.run_error("pareto", "list", "future"))

    def test_search_options_belong_to_their_stage(self):
        done = self.run_kvtune("search", *self.model_arguments(), "--out", "whole", *QUICK_SEARCH,
                               "--no-cluster", "--bits", "nominal", "--min-pairs", "2")
        self.assertIn("search", done.stderr)
        stages = self.read_json("whole", "run.json")["stages"]
        self.assertEqual(stages["prune"]["options"]["--bits"], "nominal")
        self.assertEqual(stages["cluster"]["options"]["--no-cluster"], True)
        self.assertEqual(stages["search"]["finished"], True)


if __name__ == "__main__":
    unittest.main()
