"""Runs the commands of docs/ci.md, in order, in a folder of their own."""
import pathlib
import re
import shlex
import shutil
import subprocess
import unittest

from cli_test_case import CliTestCase

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXIT_CODE = re.compile(r"# exits with (\d+)")


def commands(page):
    """Every `kvtune` and `sed` line of the page's code blocks, also of workflows, with its exit code."""
    for block in re.findall(r"```(?:sh|yaml)\n(.*?)```", page, re.DOTALL):
        exit_code = 0
        for line in block.replace("\\\n", " ").splitlines():
            if stated := EXIT_CODE.search(line):
                exit_code = int(stated.group(1))
            words = line.strip().removeprefix("- ").removeprefix("run: ")
            if words.startswith(("kvtune ", "sed ")):
                yield words, exit_code
                exit_code = 0


class CiPageTest(CliTestCase):

    def test_every_command_of_the_page(self):
        shutil.copytree(ROOT / "calib_data", self.folder / "calib_data")
        shutil.copytree(ROOT / "configs", self.folder / "configs")
        ran = 0
        for line, exit_code in commands((ROOT / "docs" / "ci.md").read_text()):
            with self.subTest(line):
                program, *arguments = shlex.split(line, comments=True)
                if program == "sed":
                    subprocess.run(["bash", "-c", line], cwd=self.folder, check=True)
                    continue
                words = [word for argument in arguments
                         for word in (sorted(map(str, self.folder.glob(argument))) if "*" in argument else [argument])]
                if "--init" not in words and "--schema" not in words:
                    words += ["--device", "cpu"]
                self.run_kvtune(*words, exit_code=exit_code)
                ran += 1
        self.assertGreaterEqual(ran, 8)


if __name__ == "__main__":
    unittest.main()
