"""Runs the command lines of the documents, page by page and in order, each page in a folder of its own.

A fenced block names its language, and `sh` blocks and the shell steps of `yaml` workflows are run. A block that no test
can run has a comment `<!-- not run: REASON -->` in the line before it. `# exits with N` before a command states its exit
code. In the folder of a page are calib_data/, some of configs/ and scripts/ of the project, DIR (the demo model), two files of
prompts, a few chats and, on PATH, kvtune.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from cli_test_case import BINARY, CliTestCase

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "calib_data").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
                   re.DOTALL | re.MULTILINE)
EXIT_CODE = re.compile(r"# exits with (\d+)")
STEP = re.compile(r"^\s*-? ?(?:run: |- )(?P<command>(?:kvtune|gh|sudo|pip|apt-get) .*)$")
INLINE = re.compile(r"`(kvtune [^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# The shims stand for what the runners of a CI system have and a test must not touch: scripts/check_install.sh runs
# these steps for real.
CONFIGS = ("kvtuner.json", "vllm.json")
SHIMS = ("gh", "sudo", "pip")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """The fenced blocks of a page as (line, language, text, reason why it is not run)."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        yield line, block["language"], block["text"], block["reason"]


def commands(language, text):
    """The commands of a block, each with the exit code that is stated for it."""
    exit_code = 0
    for line in text.replace("\\\n", " ").splitlines():
        if stated := EXIT_CODE.search(line):
            exit_code = int(stated.group(1))
        if language == "yaml":
            step = STEP.match(line)
            command = re.sub(r"\$\{\{.*?\}\}", "0", step["command"]) if step else ""
        else:
            command = line.strip()
        if command and not command.startswith("#"):
            yield command, exit_code
            exit_code = 0


def anchors(page):
    """The names that GitHub gives to a page's headings."""
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class DocumentsTest(CliTestCase):

    def make_folder(self, name):
        folder = self.folder / name.replace("/", "_")
        shutil.copytree(ROOT / "calib_data", folder / "calib_data")
        (folder / "configs" / "baselines").mkdir(parents=True)
        for config in CONFIGS:  # the test `gate` judges all of them
            for name in (config, f"baselines/{config}"):
                shutil.copy(ROOT / "configs" / name, folder / "configs" / name)
        (folder / "scripts").symlink_to(ROOT / "scripts")
        (folder / "DIR").symlink_to("calib_data/demo_model")
        lines = (ROOT / "calib_data" / "calibration.jsonl").read_text().splitlines(keepends=True)
        texts = sorted(lines, key=len)
        (folder / "prompts.jsonl").write_text("".join(texts[:8]))
        (folder / "other.jsonl").write_text("".join(texts[8:12]))
        chat = {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]}
        (folder / "chats.jsonl").write_text(json.dumps(chat) + "\n")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "kvtune").symlink_to(BINARY)
        for shim in SHIMS:
            (programs / shim).write_text("#!/bin/sh\nexit 0\n")
            (programs / shim).chmod(0o755)
        return folder

    def run_page(self, page):
        folder = self.make_folder(name_of(page))
        environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        ran = 0
        for line, language, text, reason in blocks(page):
            if language not in ("sh", "yaml") or reason:
                continue
            for command, exit_code in commands(language, text):
                with self.subTest(f"{name_of(page)}:{line}", command=command):
                    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True,
                                          text=True, timeout=300, check=False)
                    self.assertEqual(done.returncode, exit_code, done.stderr)
                    ran += 1
        return ran

    def test_commands_of_pages(self):
        # The test `tutorial` runs that page and reads what it prints.
        pages = [page for page in PAGES if page.name != "tutorial.md"]
        self.assertGreaterEqual(sum(self.run_page(page) for page in pages), 20)

    def test_commands_within_sentences_have_the_options_that_they_name(self):
        helps = {}
        for page in PAGES:
            for command in INLINE.findall(page.read_text()):
                words = command.split()[1:]
                names = words[:2] if words[0] == "pareto" else words[:1]
                if not re.fullmatch(r"[a-z]+", names[0]) or names[0] in ("completions", "help"):
                    continue
                key = " ".join(names)
                if key not in helps:
                    helps[key] = self.run_kvtune(*names, "--help").stdout
                for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", command):
                    self.assertRegex(helps[key], rf"{option}\b", f"{name_of(page)}: {command}")
        self.assertGreaterEqual(len(helps), 8)

    def test_links_lead_somewhere(self):
        seen = 0
        for page in PAGES:
            text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
            for link in LINK.findall(re.sub(r"`[^`]*`", "", text)):
                if "://" in link:
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{name_of(page)}: found a link to {link}, expected a file there")
                if anchor:
                    self.assertIn(anchor, list(anchors(target)), f"{name_of(page)}: {link}")
                seen += 1
        self.assertGreaterEqual(seen, 40)


if __name__ == "__main__":
    unittest.main()
