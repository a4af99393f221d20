"""Weights that are read layer by layer: the same files, less memory."""
import pathlib
import sys
import unittest

from cli_test_case import BINARY, CliTestCase

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_streaming  # noqa: E402


class StreamingTest(CliTestCase):

    def test_streamed_search_writes_the_same_bytes(self):
        self.search("resident", "--weights", "resident", "--no-refine")
        self.search("streamed", "--weights", "stream", "--no-refine",
                    "--max-activation-memory", "1K")
        for name in ("sensitivity.json", "front.json", "evaluations.jsonl"):
            self.assertEqual((self.folder / "streamed" / name).read_bytes(),
                             (self.folder / "resident" / name).read_bytes(), name)

    def test_memory_stays_far_below_the_checkpoint(self):
        peaks, sizes = [], []
        for gigabytes in (0.001, 0.24):  # the first shows what the program takes by itself
            folder = self.folder / f"of_{gigabytes}"
            folder.mkdir()
            sizes.append(check_streaming.write_checkpoint(folder, gigabytes))
            status, peak, _ = check_streaming.search(
                BINARY, folder, folder / "run", "--weights", "stream", "--max-activation-memory", "1M",
                "--threads", "1", verbose=False)
            self.assertEqual(status, 0)
            peaks.append(peak)
        self.assertGreater(sizes[1], 230e6)
        # Two layers of 24 in float32 are a sixth of a file of bfloat16, and the embedding nearly a tenth; a third
        # layer would be a twelfth more, and all of them twice the file.
        self.assertLess(peaks[1] - peaks[0], 0.35 * sizes[1])

    def test_sizes_have_units(self):
        for size in ("0", "-1", "2X", "G", "", "9999999999G"):
            message = self.run_error("evaluate", *self.model_arguments(), "--plan", "KV4",
                                     "--max-activation-memory", size, exit_code=2)
            self.assertIn(f'found "{size}", expected a size such as 500M, 24GiB or', message)

    def test_unknown_mode(self):
        self.assertIn('found "disk", expected auto, resident, stream',
                      self.run_error("evaluate", *self.model_arguments(), "--plan", "KV4",
                                     "--weights", "disk", exit_code=2))

    def test_noise_floor_is_printed_and_kept(self):
        done = self.run_kvtune("evaluate", *self.model_arguments(), "--plan", "KV4", "--json")
        self.assertRegex(done.stderr, r"losses that differ by less than \S+ are ties")
        self.search("floor", "--no-refine", "--dtype", "bfloat16")
        floor = self.read_json("floor", "front.json")["run"]["noise_floor"]
        self.assertGreater(floor, 1e-9)
        self.assertNotIn("noise_floor", self.read_json("floor", "groups.json")["run"])
        wide = self.run_json("evaluate", *self.model_arguments(), "--plan", "KV4")["noise_floor"]
        self.assertLess(wide, floor / 1000)
        self.run_kvtune("pareto", "list", "floor")


if __name__ == "__main__":
    unittest.main()
