"""scripts/release.sh makes no release of what nobody could build again: it refuses before it builds anything."""
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class ReleaseTest(unittest.TestCase):
    """A repository that has the script, a version and a changelog, and nothing to build."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "scripts").mkdir()
        for name in ("release.sh", "common.sh"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        shutil.copytree(ROOT / "scripts/requirements", self.folder / "scripts/requirements")
        (self.folder / "CMakeLists.txt").write_text("project(kvtune VERSION 1.2.3 LANGUAGES CXX)\n")
        (self.folder / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-01-31\n\n## [1.2.2] - 2026-01-01\n")
        # Instead of a set-up and a build. It tells how far the script came.
        set_up = self.folder / "scripts/setup.sh"
        set_up.write_text("#!/bin/sh\necho set-up began >&2\nexit 9\n")
        set_up.chmod(0o755)
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], cwd=self.folder, check=True,
                       capture_output=True)

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "m")

    def release(self, *options):
        return subprocess.run([self.folder / "scripts/release.sh", "--cpu", *options], capture_output=True, text=True,
                              check=False)

    def assert_refused(self, reason):
        done = self.release()
        self.assertEqual((done.returncode, done.stderr), (1, f"error: release.sh: {reason}\n"))
        rehearsal = self.release("--rehearse")
        self.assertEqual(rehearsal.returncode, 9)
        self.assertIn(f"rehearsal: {reason}\n", rehearsal.stderr)
        self.assertIn("set-up began", rehearsal.stderr)

    def test_a_version_with_its_section_in_a_clean_tree_is_built(self):
        done = self.release()
        self.assertEqual((done.returncode, done.stderr), (9, "set-up began\n"))

    def test_a_tree_with_changes_is_refused(self):
        (self.folder / "new").touch()
        self.assert_refused("the tree has changes that are not committed")

    def test_a_version_without_a_section_of_the_changelog_is_refused(self):
        (self.folder / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]: 1.2.3\n")
        self.commit()
        self.assert_refused('CHANGELOG.md has no section "## [1.2.3] - DATE"')

    def test_a_version_that_has_a_tag_is_refused(self):
        self.git("tag", "v1.2.3")
        self.assert_refused("the tag v1.2.3 is there already")

    def test_other_words_are_refused(self):
        done = self.release("now")
        self.assertEqual((done.returncode, done.stderr),
                         (1, "error: release.sh: found now, expected --cpu, --cuda or --rehearse\n"))


class VersionTest(unittest.TestCase):

    def test_the_version_of_the_project_stands_in_one_place(self):
        version = subprocess.run(["sed", "-n", r"s/^project(kvtune VERSION \([0-9.]*\).*/\1/p", ROOT / "CMakeLists.txt"],
                                 capture_output=True, text=True, check=True).stdout.strip()
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertIn(version, (ROOT / "CHANGELOG.md").read_text())
        quoted = re.compile(rf"""["'\s]{re.escape(version)}["'\s]""")
        for folder in ("cmake", "packaging", "scripts", "apps", "lib"):
            for path in sorted((ROOT / folder).rglob("*")):
                if path.suffix in (".cmake", ".txt", ".py", ".sh", ".h", ".cc") and "requirements" not in path.parts:
                    code = re.sub(r"^\s*(//|#).*$", "", path.read_text(), flags=re.MULTILINE)
                    self.assertNotRegex(code, quoted, path)


if __name__ == "__main__":
    unittest.main()
