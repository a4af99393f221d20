"""What the scripts download is pinned and checked, and they write into their own folder of the cache alone."""
import hashlib
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "scripts/requirements"
# The two functions that call pip, and what a line that calls it looks like. In Python "pip install" by itself is
# advice in a message.
PIP_CALLS = {"scripts/common.sh": 1, "scripts/cached_venv.py": 1}
PYTHON_CALL = re.compile(r"""-m["', ]+pip["', ]+(install|download|wheel)|["']pip3?["'], ["'](install|download|wheel)""")
SHELL_CALL = re.compile(PYTHON_CALL.pattern + r"""|^[^#]*\bpip3?["']? (install|download|wheel)""")
DOWNLOAD = re.compile(r"""(^|[\s"'(])(curl|wget)\s|git["', ]+clone|urllib\.request|urlretrieve|npm install|pipx""")


def script_files():
    for folder in ("scripts", ".ci", "tests", "cmake"):
        for path in sorted((ROOT / folder).rglob("*")):
            is_code = path.suffix in (".sh", ".py", ".cmake") or path.name in ("run", "CMakeLists.txt")
            if path.is_file() and is_code and path != pathlib.Path(__file__).resolve():
                yield path


def entries(lock):
    """The requirements of a lock: lines that belong together joined."""
    return [line for line in lock.read_text().replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def wanted(requirements):
    return [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]


class PinnedTest(unittest.TestCase):

    def test_pip_is_called_by_the_functions_that_check_hashes_alone(self):
        calls = {}
        for path in script_files():
            text = path.read_text()
            call = PYTHON_CALL if path.suffix == ".py" else SHELL_CALL
            found = sum(1 for line in text.splitlines() if call.search(line))
            if found:
                calls[str(path.relative_to(ROOT))] = found
                self.assertIn("--require-hashes", text, path)
        self.assertEqual(calls, PIP_CALLS)

    def test_nothing_else_is_downloaded(self):
        for path in script_files():
            for number, line in enumerate(path.read_text().splitlines(), 1):
                self.assertNotRegex(line, DOWNLOAD, f"{path}:{number}")

    def test_the_patterns_see_a_call(self):
        for line in ('"$python" -m pip install --quiet torch', '[python, "-m", "pip", "install", "torch"]', '["pip", "install", x]'):
            self.assertRegex(line, PYTHON_CALL)
        for line in ("  pip install torch", '"$place/bin/pip" install torch', "sudo pip3 install torch", "if pip download torch; then"):
            self.assertRegex(line, SHELL_CALL)
        self.assertNotRegex('sys.exit("found no package tokenizers: pip install tokenizers==0.23.1")', PYTHON_CALL)
        self.assertNotRegex("# pip_install PYTHON LOCK [OPTION of pip install]...: installs", SHELL_CALL)
        for line in ("curl -O https://example.org/a", "git clone x", '["git", "clone", url]', "import urllib.request"):
            self.assertRegex(line, DOWNLOAD)

    def test_every_requirement_is_locked_with_hashes(self):
        inputs = sorted(REQUIREMENTS.glob("*.txt"))
        self.assertEqual([path.stem for path in inputs], [path.stem for path in sorted(REQUIREMENTS.glob("*.lock"))])
        for path in inputs:
            lock = entries(path.with_suffix(".lock"))
            for entry in lock:
                self.assertRegex(entry, r"^[a-z0-9._-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", path)
            for requirement in wanted(path):
                self.assertRegex(requirement, r"^[^=<>~ ]+==[^=<>~ ]+$", path)
                pinned = re.sub(r"\[.*\]", "", requirement).lower()
                self.assertTrue(any(entry.split()[0] == pinned for entry in lock), f"{path.name}: {requirement}")

    def test_all_environments_have_the_same_libtorch(self):
        versions = {line for path in REQUIREMENTS.glob("*.lock") for line in path.read_text().splitlines()
                    if line.startswith("torch==")}
        self.assertEqual(len(versions), 1, versions)


def write_wheel(folder):
    """A package of one module."""
    wheel = folder / "kvtune_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("kvtune_probe.py", "answer = 42\n")
        archive.writestr("kvtune_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: kvtune-probe\nVersion: 1.0\n")
        archive.writestr("kvtune_probe-1.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("kvtune_probe-1.0.dist-info/RECORD", "")
    return wheel


class PipInstallTest(unittest.TestCase):
    """The functions of common.sh, with a package and a home of the test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name in ("home", "cache", "temporary", "packages"):
            (self.folder / name).mkdir()
        self.wheel = write_wheel(self.folder / "packages")
        self.lock = self.folder / "probe.lock"
        self.place = self.folder / "cache/kvtune/probe"

    def call(self, commands):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        # pip asks a Rust compiler that is there for its version, and rustup would make a folder of its own for that.
        environment.setdefault("RUSTUP_HOME", str(pathlib.Path.home() / ".rustup"))
        environment |= {"HOME": str(self.folder / "home"), "XDG_CACHE_HOME": str(self.folder / "cache"),
                        "TMPDIR": str(self.folder / "temporary"), "PIP_NO_INDEX": "1",
                        "PIP_FIND_LINKS": str(self.folder / "packages")}
        return subprocess.run(["bash", "-c", f"source '{ROOT}/scripts/common.sh'\n{commands}"], env=environment,
                              capture_output=True, text=True, check=False)

    def install(self, digest):
        self.lock.write_text(f"kvtune-probe==1.0 --hash=sha256:{digest}\n")
        return self.call(f"pip_install '{self.place}/bin/python' '{self.lock}'")

    def test_it_installs_what_the_lock_lists_alone_and_writes_nowhere_else(self):
        before = sorted(path.name for path in self.folder.iterdir())
        made = self.call(f"make_environment '{self.place}'")
        self.assertEqual(made.returncode, 0, made.stderr)

        refused = self.install("0" * 64)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("DO NOT MATCH THE HASHES", refused.stderr)
        self.assertEqual(list(self.place.rglob("kvtune_probe.py")), [])

        done = self.install(hashlib.sha256(self.wheel.read_bytes()).hexdigest())
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = subprocess.run([self.place / "bin/python", "-B", "-c", "import kvtune_probe; print(kvtune_probe.answer)"],
                                capture_output=True, text=True, check=True).stdout
        self.assertEqual(answer, "42\n")
        for name in ("home", "temporary"):
            self.assertEqual(list((self.folder / name).iterdir()), [])
        self.assertEqual([path.name for path in (self.folder / "cache").iterdir()], ["kvtune"])
        self.assertEqual(sorted(path.name for path in self.folder.iterdir() if path != self.lock), before)


if __name__ == "__main__":
    unittest.main()
