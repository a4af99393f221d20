"""Builds the wheel: the program, its data and its libraries, less libtorch, which is the package torch's.

A build backend of PEP 517 without dependencies. It packs the program of a build folder that is there already
(KVTUNE_BUILD, or `--config-setting build=DIR` of pip), otherwise it builds the preset release.
"""
import base64
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TORCH = "torch==2.11.*"


def version():
    return re.search(r"project\(kvtune VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)


def metadata():
    text = (ROOT / "README.md").read_text()
    return (f"Metadata-Version: 2.1\nName: kvtune\nVersion: {version()}\n"
            "Summary: Layer-wise KV cache precision, found offline\nLicense: Apache-2.0\n"
            f"Requires-Python: >=3.9\nRequires-Dist: {TORCH}\n"
            f"Description-Content-Type: text/markdown\n\n{text}")


def tag():
    """The oldest C library that the program's symbols allow is that of the machine that built it."""
    _, glibc = platform.libc_ver()
    return f"py3-none-manylinux_{glibc.replace('.', '_')}_{platform.machine()}"


def build_folder(config_settings):
    chosen = (config_settings or {}).get("build") or os.environ.get("KVTUNE_BUILD")
    if chosen:
        return pathlib.Path(chosen).resolve()
    subprocess.run(["bash", "-c", 'source scripts/common.sh && configure_and_build release "$(detect_flavour)" kvtune_pages'],
                   cwd=ROOT, check=True)
    return ROOT / "build" / "release"


def stage(build, folder):
    """Lays out what the wheel holds: the package kvtune, and man page and completions for the environment's share/."""
    package = folder / "kvtune"
    for component in ("program", "libraries"):
        subprocess.run(["cmake", "--install", build, "--prefix", package, "--component", component, "--strip"],
                       check=True, stdout=subprocess.DEVNULL)
    for file in (pathlib.Path(__file__).parent / "kvtune").glob("*.py"):
        shutil.copy(file, package)
    shared = folder / f"kvtune-{version()}.data" / "data" / "share"
    shared.mkdir(parents=True)
    for name in ("man", "bash-completion", "zsh", "fish"):
        (package / "share" / name).rename(shared / name)


def write_record(folder, info):
    rows = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            rows.append(f"{path.relative_to(folder)},sha256={digest},{path.stat().st_size}\n")
    (info / "RECORD").write_text("".join(rows) + f"{info.name}/RECORD,,\n")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = f"kvtune-{version()}-{tag()}.whl"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        stage(build_folder(config_settings), folder)
        info = folder / f"kvtune-{version()}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata())
        (info / "WHEEL").write_text(
            f"Wheel-Version: 1.0\nGenerator: kvtune_build\nRoot-Is-Purelib: false\nTag: {tag()}\n")
        (info / "entry_points.txt").write_text("[console_scripts]\nkvtune = kvtune:main\n")
        shutil.copy(ROOT / "LICENSE", info)
        write_record(folder, info)
        with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    wheel.write(path, path.relative_to(folder))
    return name


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("kvtune has no source distribution on package indexes; build from a clone")
