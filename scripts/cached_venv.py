"""Makes virtual environments of pinned packages for the benchmarks, once, and keeps them in the cache."""
import os
import pathlib
import subprocess
import sys
import venv


def python_with(name: str, *requirements: str) -> pathlib.Path:
    """The interpreter of an environment that holds exactly what `requirements` (pinned) ask for."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "kvtune"
    folder = cache / name
    python, done = folder / "bin/python", folder / "requirements.txt"
    wanted = "".join(f"{requirement}\n" for requirement in requirements)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {', '.join(requirements)} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
                       check=True, stdout=sys.stderr)
        done.write_text(wanted)
    return python
