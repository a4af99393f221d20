"""Python packages that a lock of scripts/requirements/ pins, with their hashes, kept in the cache once they are installed."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import venv

REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "kvtune"


def pip_install(python: str | pathlib.Path, lock: str, *options: str | pathlib.Path) -> None:
    """Does what pip_install of scripts/common.sh does. Throws CalledProcessError."""
    temporary = CACHE / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
                    "--require-hashes", "--no-build-isolation", *options, "-r", REQUIREMENTS / f"{lock}.lock"],
                   check=True, stdout=sys.stderr,
                   env=os.environ | {"TMPDIR": str(temporary), "PIP_CACHE_DIR": str(CACHE / "downloads")})


def version_of(lock: str, package: str) -> str:
    """The version of a package that a lock pins."""
    return re.search(rf"^{re.escape(package)}==(\S+)", (REQUIREMENTS / f"{lock}.lock").read_text(), re.MULTILINE).group(1)


def python_with(lock: str) -> pathlib.Path:
    """The interpreter of an environment that holds exactly what the lock pins."""
    folder = CACHE / lock
    python, done = folder / "bin/python", folder / "requirements.lock"
    wanted = (REQUIREMENTS / f"{lock}.lock").read_text()
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {lock}.lock into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        pip_install(python, "build")
        pip_install(python, lock)
        done.write_text(wanted)
    return python


def unpacked(lock: str, package: str) -> pathlib.Path:
    """The folder with a package's files, without what it depends on. Throws CalledProcessError."""
    folder = CACHE / f"{package}-{version_of(lock, package)}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as parent:
            partial = pathlib.Path(parent) / package
            pip_install(sys.executable, lock, "--no-deps", "--target", partial)
            partial.rename(folder)
    return folder
