"""Every shell script explains itself and does nothing else when it is asked to."""
import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


class HelpTest(unittest.TestCase):

    def test_help(self):
        scripts = [script for script in sorted(SCRIPTS.glob("*.sh")) if script.name != "common.sh"]
        self.assertGreaterEqual(len(scripts), 6)
        for script in scripts:
            with self.subTest(script.name), tempfile.TemporaryDirectory() as home:
                done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False, cwd=home,
                                      env={"PATH": "/usr/bin:/bin", "HOME": home, "KVTUNE_TORCH_ROOT": "/nonexistent"})
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(f"scripts/{script.name}", done.stdout)
                self.assertEqual(os.listdir(home), [])


if __name__ == "__main__":
    unittest.main()
