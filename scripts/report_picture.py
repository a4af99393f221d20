#!/usr/bin/env python3
"""Takes the README's picture of the HTML report: the top of the page in headless Chromium.

  build/release/apps/kvtune/kvtune report build/demo-run
  scripts/report_picture.py build/demo-run/report.html

scripts/demo.sh makes build/demo-run. It needs the Debian packages chromium and chromium-driver.
"""
import argparse
import pathlib
import sys

import web_browser

ROOT = pathlib.Path(__file__).resolve().parents[1]
WIDTH = 1200
MOST_BYTES = 200_000
HIDDEN = ("nav", ".theme", "#fragile table", "#front-caption p", "#plan-card button", "#chips")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=pathlib.Path, help="report.html of a run")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/images/report.png")
    arguments = parser.parse_args()
    if not web_browser.is_installed():
        sys.exit(f"report_picture.py: found no chromium or no chromedriver; install {web_browser.PACKAGES}")
    with web_browser.open_browser() as browser:
        browser.set_view(WIDTH)
        browser.open(arguments.page)
        # Down to the end of the layers, without what a picture cannot use or has no room for.
        browser.run("document.head.append(Object.assign(document.createElement('style'), {textContent: arguments[0]}))",
                    ", ".join(HIDDEN) + " { display: none !important; }")
        height = browser.run("return Math.ceil(document.getElementById('layers').getBoundingClientRect().bottom) + 16")
        picture = browser.picture(WIDTH, height)
    if len(picture) > MOST_BYTES:
        sys.exit(f"report_picture.py: found a picture of {len(picture)} bytes, expected at most {MOST_BYTES}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(picture)
    print(f"wrote {arguments.out} ({len(picture)} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
