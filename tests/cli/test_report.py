"""The HTML report of a run."""
import html.parser
import json
import shutil
import unittest

from cli_test_case import CliTestCase


class DataElement(html.parser.HTMLParser):
    """The elements of a page, and the text of the one that holds the data."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.text = ""
        self._is_inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._is_inside = dict(attrs).get("id") == "kvtune-data"

    def handle_endtag(self, tag):
        self._is_inside = False

    def handle_data(self, data):
        if self._is_inside:
            self.text += data


class ReportTest(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("run_kvtune").search("run")

    def page(self, *path):
        return DataElement(self.folder.joinpath(*path).read_text(encoding="utf-8"))

    def test_the_page_goes_into_the_run(self):
        done = self.run_kvtune("report", "run")
        self.assertEqual(done.stdout, "run/report.html\n")
        data = json.loads(self.page("run", "report.html").text)
        front = self.read_json("run", "front.json")
        specs = {plan["spec"] for plan in front["plans"] + front["uniform"]} | {"exact"}
        self.assertEqual({plan["spec"] for plan in data["plans"]}, specs)
        self.assertEqual(len(data["plans"]), len(specs))
        sensitivity = self.read_json("run", "sensitivity.json")
        self.assertEqual([len(row) for row in data["output_errors"]],
                         [len(sensitivity["layers"])] * len(sensitivity["pairs"]))
        # The prompts of the tests are too few for the run to keep some of them out of the search.
        self.assertEqual(len(data["missing"]), 1)
        self.assertIn("no held-out prompts", data["missing"][0]["what"])

    def test_the_same_run_gives_the_same_page(self):
        self.run_kvtune("report", "run", "--out", "one.html")
        self.run_kvtune("report", "run", "--out", "two.html")
        one = (self.folder / "one.html").read_bytes()
        self.assertEqual(one, (self.folder / "two.html").read_bytes())
        self.assertLess(len(one), 2_000_000)

    def test_json(self):
        result = self.run_json("report", "run", "--out", "page.html")
        self.assertEqual(list(result), ["schema_version", "out", "missing"])
        self.assertEqual(result["out"], "page.html")
        self.assertEqual(len(result["missing"]), 1)

    def test_what_is_missing_is_said(self):
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "calibrated")
        done = self.run_kvtune("report", "calibrated")
        self.assertIn("warning: No plans have been searched yet", done.stderr)
        data = json.loads(self.page("calibrated", "report.html").text)
        self.assertEqual(data["plans"], [])
        commands = [part["command"] for part in data["missing"]]
        self.assertEqual(commands[0], "kvtune prune calibrated")
        self.assertIn(" search --model ", commands[-1])

    def test_names_of_files_stay_text(self):
        name = "<img src=x onerror=alert(1)>"
        shutil.copytree(self.folder / "run", self.folder / name)
        self.run_kvtune("report", name, "--out", "hostile.html")
        page = self.page("hostile.html")
        self.assertNotIn("img", page.tags)
        data = json.loads(page.text)
        self.assertEqual(data["run_path"], name)
        command = next(iter(data["exports"][0]["plans"].values()))["command"]
        self.assertIn(f"export '{name}' --plan", command)

    def test_a_file_of_the_run_is_never_written_over(self):
        before = (self.folder / "run" / "front.json").read_bytes()
        self.assertIn("found --out run/front.json to be a file of the run",
                      self.run_error("report", "run", "--out", "run/front.json", exit_code=2))
        self.assertEqual((self.folder / "run" / "front.json").read_bytes(), before)

    def test_no_run(self):
        self.assertIn("run.json: found no such file", self.run_error("report", "nowhere"))


if __name__ == "__main__":
    unittest.main()
