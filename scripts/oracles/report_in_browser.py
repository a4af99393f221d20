#!/usr/bin/env python3
"""Opens the HTML report of the bundled model in headless Chromium and uses it as a person would.

Exits with 77, which ctest calls skipped, where chromium or chromedriver is not installed. Where axe-core cannot be had
either, the rest is tested and a line says so.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import cached_venv  # noqa: E402
import web_browser  # noqa: E402

TAB, ENTER, ESCAPE, UP, RIGHT, DOWN = "\ue004", "\ue007", "\ue00c", "\ue013", "\ue014", "\ue015"
HOSTILE = "<img src=x onerror=window.broken=1>"
THEMES = ("light", "dark")
WIDTHS = (1280, 700, 400)
# What the page calls the points, the cells and so on.
POINTS = "#front-chart [role=option]"
CELLS = "#heat tbody td"


def make_pages(kvtune: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The pages of a whole run, of one with hostile names, of one without held-out prompts and of a calibration."""
    def run(*arguments):
        subprocess.run([kvtune, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    model = folder / HOSTILE
    shutil.copytree(ROOT / "calib_data/demo_model", model)
    quick = ["--max-prompts", "12", "--generations", "2", "--refine-evaluations", "8", "--device", "cpu"]
    run("search", "--model", model, "--out", "whole", *quick)
    run("search", "--model", model, "--out", "blind", "--held-out", "none", *quick,
        "--known-scores", "whole/evaluations.jsonl")
    run("calibrate", "--model", model, "--out", "calibrated", "--max-prompts", "4", "--device", "cpu")
    front = json.loads((folder / "whole/front.json").read_text())
    shutil.copytree(folder / "whole", folder / "hostile")
    front["plans"][0]["name"] = HOSTILE
    front["plans"][1]["name"] = "</script><script>window.broken=1</script>"
    (folder / "hostile/front.json").write_text(json.dumps(front))
    shutil.copytree(folder / "whole", folder / "answered")
    answer(folder / "answered/front.json")
    names = ("whole", "hostile", "blind", "calibrated", "answered")
    for name in names:
        run("report", name)
    return {name: folder / name / "report.html" for name in names}


def answer(file: pathlib.Path) -> None:
    """Gives every plan of a front answers to a task: the smaller the plan, the more of them are wrong."""
    front = json.loads(file.read_text())
    exact = {"task": HOSTILE, "items": 100, "strict": 0.9, "flexible": 0.9, "stderr": 0.03, "invalid": 0, "tokens": 900,
             "lost": 0, "gained": 0, "mcnemar_p": 1.0, "difference_interval": [-0.02, 0.02], "items_to_decide": None,
             "items_to_see_a_point": 700}
    front["reference"]["accuracy"] = exact
    for plan in front["plans"] + front["uniform"]:
        lost = round(40 - 5 * plan["effective_bits"]) if plan["effective_bits"] < 8 else 0
        plan["accuracy"] = {**exact, "strict": 0.9 - lost / 100, "lost": lost, "mcnemar_p": 2.0 ** -lost,
                            "difference_interval": [-lost / 100 - 0.05, -lost / 100 + 0.04]}
    file.write_text(json.dumps(front))


class Page:
    """A page in the browser, with its data."""

    def __init__(self, browser: web_browser.Browser, file: pathlib.Path):
        self.browser = browser
        browser.open(file)
        self.data = browser.run("return JSON.parse(document.getElementById('kvtune-data').textContent)")

    def run(self, script: str, *arguments):
        return self.browser.run(script, *arguments)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def attributes(self, selector: str, name: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])]"
                        ".map((node) => node.getAttribute(arguments[1]))", selector, name)

    def is_shown(self, selector: str) -> bool:
        return self.run("""
            const node = document.querySelector(arguments[0]);
            return node !== null && node.checkVisibility() && node.getBoundingClientRect().height > 0""", selector)

    def mouse_to(self, selector: str, click: bool = False) -> None:
        """Moves the mouse to the middle of an element, after scrolling there."""
        x, y = self.run("""
            const node = document.querySelector(arguments[0]);
            node.scrollIntoView({block: 'center'});
            const box = node.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]""", selector)
        self.browser.point(x, y, click)

    def assert_clean(self, where: str) -> None:
        messages = self.browser.messages()
        assert not messages, f"{where}: the console has {messages}"
        assert self.run("return window.broken === undefined"), f"{where}: a name was run"
        assert self.count("img, iframe, object, link") == 0, where
        loaded = self.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert loaded == [], f"{where}: {loaded} were loaded"


def shown_plans(page: Page) -> list[dict]:
    return [plan for plan in page.data["plans"] if plan["kind"] != "exact"]


def test_everything_is_there(page: Page) -> None:
    plans = shown_plans(page)
    assert page.count(POINTS) == len(plans) > 10
    assert page.count("#front-chart .point.uniform") == sum(plan["kind"] == "uniform" for plan in plans) == 9
    with_interval = [plan for plan in plans if plan["held_out"]["interval"]]  # none is claimed where prompts are too few
    found = page.count("#front-chart .point .whisker")
    assert found == len(with_interval) > 0, f"{found} whiskers for {len(with_interval)} intervals"
    assert page.count(CELLS) == len(page.data["pairs"]) * page.data["layer_count"] == 72
    pruned = sum(by is not None for row in page.data["dominated_by"] for by in row)
    assert page.count("#heat td.pruned") == pruned > 0
    fragile = {layer["index"] for layer in page.data["diagnosis"]["fragile"]}
    assert fragile == {0, 5}
    assert page.attributes("#heat th.fragile", "data-layer") == ["0", "5"]
    assert page.count("#strips tbody tr") == 2 * len(page.data["selected"]) > 0
    assert page.count("#plan-table tbody tr") == len(page.data["plans"])
    for selector in ("#front", "#layers", "#tail", "#fit", "#exports", "#plans", "#provenance"):
        assert page.is_shown(selector), selector


def test_nothing_overflows(page: Page, width: int, theme: str) -> None:
    wide = page.run("return document.documentElement.scrollWidth")
    assert wide <= width, f"{theme}: the page is {wide} wide in a window of {width}"
    outside = page.run("""
        const chart = document.querySelector('#front-chart svg').getBoundingClientRect();
        return [...document.querySelectorAll('#front-chart text, #front-chart .mark')].filter((node) => {
          const box = node.getBoundingClientRect();
          return box.left < chart.left - 1 || box.right > chart.right + 1 ||
                 box.top < chart.top - 1 || box.bottom > chart.bottom + 1;
        }).map((node) => node.textContent || node.outerHTML)""")
    assert outside == [], f"{theme}, {width}: {outside} leave the chart"


def test_theme(page: Page, theme: str) -> None:
    light = page.run("""
        const channels = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
        return channels.slice(0, 3).reduce((sum, channel) => sum + channel, 0) / 3 > 128""")
    assert light == (theme == "light"), theme


def test_a_click_selects_everywhere(page: Page) -> None:
    name = next(plan["name"] for plan in shown_plans(page) if plan["name"] not in page.data["selected"])
    selector = f'#front-chart [data-plan="{name}"]'
    page.mouse_to(selector + " .mark", click=True)
    # The nearest point may be a neighbour that covers it.
    name = page.run("return state.focused")
    chosen = page.run("return state.selected")
    assert chosen == [*page.data["selected"], name] or name not in chosen, chosen
    assert page.count("#strips tbody tr") == 2 * len(chosen)
    assert page.count("#tail-table tbody tr") == len(chosen)
    assert page.count("#chips .chip") == len(chosen)
    assert page.count("#plan-table [aria-pressed=true]") == len(chosen)
    assert page.count(f"{POINTS}[aria-selected=true]") == len(chosen)
    assert name in page.text("#plan-card h3")
    assert f"--plan {name} " in page.text("#export-list pre")
    page.run("document.querySelector('#chips .chip button:last-child').click()")
    assert page.run("return state.selected") == chosen[1:]
    assert page.count("#strips tbody tr") == 2 * len(chosen) - 2


def test_the_mouse_links_the_views(page: Page) -> None:
    plan = page.run("return state.selected.at(-1)")
    page.mouse_to(f'#front-chart [data-plan="{plan}"] .mark')
    assert page.run("return state.hovered") is not None
    hovered = page.run("return state.hovered")
    assert page.attributes("#plan-table tr.hover", "data-plan") == [hovered]
    assert page.count("#heat td.used") == page.data["layer_count"]
    tip = page.run("const box = document.getElementById('tip').getBoundingClientRect();"
                   "return [box.left >= 0, box.top >= 0, box.right <= innerWidth, box.bottom <= innerHeight]")
    assert tip == [True] * 4, tip
    assert hovered in page.text("#tip")
    page.mouse_to(CELLS, click=True)
    uses = page.run("return plans.filter((plan) => usesCell(plan, state.pinned)).length")
    assert page.count(f"{POINTS}:not(.dim)") == uses < page.count(POINTS)
    assert f"{uses} of {page.count(POINTS)} plans" in page.text("#pinned")
    page.mouse_to("#title")
    assert page.count(f"{POINTS}:not(.dim)") == uses, "a click is kept when the mouse leaves"
    page.run("document.querySelector('#pinned button').click()")
    assert page.count(f"{POINTS}.dim") == 0
    assert not page.is_shown("#tip")


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.run("document.querySelector('#front-controls input').focus()")
    for _ in range(10):
        page.browser.press(TAB)
        if page.run("return document.activeElement.getAttribute('role')") == "option":
            break
    focused = "return document.activeElement.dataset.plan"
    first = page.run(focused)
    assert first is not None, "Tab does not reach the points"
    page.browser.press(RIGHT)
    second = page.run(focused)
    assert second not in (None, first), "an arrow does not move along the points"
    assert page.run("return state.hovered") == second and second in page.text("#tip")
    before = second in page.run("return state.selected")
    page.browser.press(ENTER)
    assert (second in page.run("return state.selected")) != before
    assert page.run(focused) == second, "the focus is lost by a selection"
    page.browser.press(ESCAPE)
    assert not page.is_shown("#tip")
    page.run("document.querySelector('#heat td[tabindex=\"0\"]').focus()")
    page.browser.press(RIGHT, DOWN)
    assert page.run("return heat.cells[1][1] === document.activeElement")
    page.browser.press(ENTER)
    assert page.run("return state.pinned") == {"pair": 1, "layer": 1}
    page.browser.press(ENTER)
    assert page.run("return state.pinned") is None
    outlined = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outlined != "none", "the focus is not seen"


def test_settings(page: Page) -> None:
    for size in ("bytes_per_token", "gib", "tokens", "effective_bits"):
        page.run("document.querySelector(`input[name=size][value=${arguments[0]}]`).click()", size)
        assert page.run("return state.size") == size
        assert page.count(POINTS) == len(shown_plans(page)), size
        places = page.attributes(f"{POINTS} .mark", "transform")
        assert not any("NaN" in place or "Infinity" in place for place in places), size
    page.run("document.querySelector('input[name=set][value=calibration]').click()")
    assert page.count("#front-chart .other") > 0
    page.run("document.querySelector('input[name=set][value=held_out]').click()")
    assert page.count("#front-chart .other") == 0
    exact = next(plan for plan in page.data["plans"] if plan["kind"] == "exact")
    page.run("const field = document.querySelector('#fit-controls input'); field.value = 1;"
             "field.dispatchEvent(new Event('change'))")
    weights = page.run("return state.weights")
    tokens = page.run("return tokensThatFit(exact, memoryForCache())")
    expected = (1 - weights) * 2**30 / exact["bytes_per_token"]
    assert abs(tokens / expected - 1) < 1e-3, (tokens, expected)
    # With no memory left nothing can be drawn, which is said.
    page.run("state.size = 'tokens'; state.weights = 2; draw()")
    assert page.count(POINTS) == 0 and "no memory" in page.text("#front-chart")
    page.run("state.size = 'effective_bits'; state.weights = arguments[0]; draw()", weights)
    test_fields_keep_the_focus(page)
    test_odd_losses_and_sizes(page)
    before = page.attributes("#plan-table tbody tr", "data-plan")
    page.run("document.querySelector('#plan-table thead button').click()")
    names = page.attributes("#plan-table tbody tr", "data-plan")
    assert len(names) == len(page.data["plans"]) and names != before, (names, before)
    assert page.attributes("#plan-table thead th", "aria-sort")[0] == "ascending"
    button = page.run("document.querySelector('#export-list .command button').click();"
                      "return new Promise((done) => setTimeout(() => "
                      "done(document.querySelector('#export-list .command button').textContent), 300))")
    assert button in ("Copied", "Selected"), button


def test_fields_keep_the_focus(page: Page) -> None:
    """Arrow keys change a field above the front as often as they are pressed."""
    page.run("document.querySelector('input[name=size][value=tokens]').click();"
             "const field = document.querySelector('#front-controls input[type=number]');"
             "field.value = 24; field.focus()")
    page.browser.press(UP, UP, UP)
    assert page.run("return [document.activeElement.value, state.memory]") == ["27", 27]
    assert page.run("return document.querySelector('#fit-controls input').value") == "27"
    page.run("document.querySelector('input[name=size][value=gib]').click();"
             "document.querySelector('#front-controls select').focus()")
    index = page.run("return document.activeElement.selectedIndex")
    page.browser.press(DOWN if index == 0 else UP)
    assert page.run("return document.activeElement.selectedIndex") == (1 if index == 0 else index - 1)
    page.run("document.querySelector('input[name=size][value=effective_bits]').click()")


def test_odd_losses_and_sizes(page: Page) -> None:
    """Losses near one power of ten have a scale, and a cache that stops growing is no lack of memory."""
    for losses in ([[9.8e-4]], [[0.0097, 0.0104]], [[1e-3], [1e-3]]):
        low, high = page.run("return lossDomain(arguments[0])", losses)
        assert 0 < low < min(map(min, losses)) and high > max(map(max, losses)), (low, high)
    assert page.run("return lossDomain([[2e-5], [3e-2]])") == [1e-5, 0.1]
    text = page.run("const of = SIZES.tokens.of; SIZES.tokens.of = () => Infinity; state.size = 'tokens'; draw();"
                    "const text = document.querySelector('#front-chart').textContent;"
                    "SIZES.tokens.of = of; state.size = 'effective_bits'; draw(); return text")
    assert "any number of tokens fits" in text, text


def test_paper(page: Page) -> None:
    page.browser.set_view(794, theme="dark", media="print")
    test_theme(page, "light")
    for selector in ("#front-controls", "#fit-controls", "nav", "#theme", ".command button", "#plan-card button"):
        assert not page.is_shown(selector), f"{selector} is printed"
    for selector in ("#front-chart svg", "#heat table", "#plan-table table", ".command pre"):
        assert page.is_shown(selector), f"{selector} is not printed"
    assert page.browser.pdf().startswith(b"%PDF")


def test_for_all_people(page: Page, axe: str | None, where: str) -> None:
    """axe-core finds nothing: contrast, labels, roles."""
    if axe is None:
        return
    if not page.run("return typeof axe === 'object'"):
        page.run(axe + "; window.axe = axe;")
    found = page.run("""
        return axe.run().then((result) => result.violations.map(({id, nodes}) =>
          [id, nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + node.failureSummary)]))""")
    assert found == [], f"{where}: axe-core found {json.dumps(found, indent=1)}"


def test_cells_are_readable(page: Page, theme: str) -> None:
    """The text of a cell has a contrast of at least 4.5 on every colour. axe-core leaves mixed colours out."""
    least = page.run("""
        const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const luminance = (colour) => {
          pen.fillStyle = colour;
          pen.fillRect(0, 0, 1, 1);
          const linear = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
          return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        };
        const cell = document.querySelector('#heat td > span'), contrasts = [];
        const measure = (style) => {
          cell.style = style;
          const {color, backgroundColor} = getComputedStyle(cell);
          const [dark, light] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
          contrasts.push((light + 0.05) / (dark + 0.05));
        };
        for (let share = 0; share <= 1; share += 0.01) measure(heatStyle(share));
        for (let bits = 2; bits <= 16; ++bits) measure(bitStyle(bits));
        return Math.min(...contrasts)""")
    assert least >= 4.5, f"{theme}: a cell has a contrast of {least}"


def test_hostile_names(page: Page) -> None:
    names = [plan["name"] for plan in page.data["plans"]]
    assert HOSTILE in names or HOSTILE in [plan.get("alias") for plan in page.data["plans"]]
    page.run("for (const plan of plans.slice(0, 3)) toggle(plan.name)")
    page.run("for (const plan of plans) setHovered(plan.name)")
    assert HOSTILE in page.text("#title")


def test_parts_of_runs(browser: web_browser.Browser, pages: dict[str, pathlib.Path], axe: str | None) -> None:
    page = Page(browser, pages["blind"])
    assert "no held-out prompts" in page.text("#missing")
    assert page.count(POINTS) == len(shown_plans(page))
    assert page.count("#front-controls input[name=set]") == 0
    page.assert_clean("without held-out prompts")
    page = Page(browser, pages["calibrated"])
    assert page.count("#missing .note") == 2
    assert page.count(CELLS) == 72 and not page.is_shown("#front") and not page.is_shown("#exports")
    test_for_all_people(page, axe, "a calibration")
    page.assert_clean("a calibration")


def test_answers(browser: web_browser.Browser, pages: dict[str, pathlib.Path], axe: str | None) -> None:
    page = Page(browser, pages["whole"])
    assert not page.is_shown("#answers")
    for theme in THEMES:
        for width in WIDTHS:
            browser.set_view(width, theme=theme)
            page = Page(browser, pages["answered"])
            plans = shown_plans(page)
            assert page.is_shown("#answers") and page.count("#answers tbody tr") == len(plans)
            assert f'of 100 items of "{HOSTILE}" right' in page.text("#answers-table p")
            worse = sum(plan["accuracy"]["is_worse"] for plan in plans)
            found = page.run("return [...document.querySelectorAll('#answers tbody td:last-child')]"
                             ".filter((cell) => cell.textContent === 'worse').length")
            assert found == worse > 0, f"{found} plans are called worse, and {worse} are"
            outside = page.run("""
                return [...document.querySelectorAll('#answers svg')].filter((chart) => {
                  const outer = chart.getBoundingClientRect();
                  return [...chart.querySelectorAll('text, .tail-dot, .tail-line')].some((node) => {
                    const box = node.getBoundingClientRect();
                    return box.left < outer.left - 1 || box.right > outer.right + 1;
                  });
                }).length""")
            assert outside == 0, f"{theme}, {width}: marks of {outside} charts leave them"
            test_nothing_overflows(page, width, theme)
            test_for_all_people(page, axe, f"answers, {theme}, {width}")
            page.assert_clean("answers")


def axe_script() -> str | None:
    try:
        package = cached_venv.unpacked("axe", "axe-playwright-python")
    except subprocess.CalledProcessError:
        print("axe-core cannot be installed: contrast, labels and roles are not checked")
        return None
    return (package / "axe_playwright_python/axe.min.js").read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True, help="the built program")
    arguments = parser.parse_args()
    if not web_browser.is_installed():
        print(f"{web_browser.PACKAGES} are not installed: the page is not opened")
        return 77
    axe = axe_script()
    with tempfile.TemporaryDirectory(prefix="kvtune_page_") as folder, web_browser.open_browser() as browser:
        pages = make_pages(arguments.kvtune, pathlib.Path(folder))
        for theme in THEMES:
            for width in WIDTHS:
                browser.set_view(width, theme=theme)
                page = Page(browser, pages["whole"])
                test_everything_is_there(page)
                test_theme(page, theme)
                test_nothing_overflows(page, width, theme)
                page.assert_clean(f"{theme}, {width}")
                if width == 1280:
                    test_cells_are_readable(page, theme)
                if width != 700:
                    test_for_all_people(page, axe, f"{theme}, {width}")
        browser.set_view(1280)
        for test in (test_a_click_selects_everywhere, test_the_mouse_links_the_views,
                     test_the_keyboard_reaches_everything, test_settings):
            page = Page(browser, pages["whole"])
            test(page)
            page.assert_clean(test.__name__)
        page = Page(browser, pages["whole"])
        page.run("const theme = document.getElementById('theme');"
                 "theme.value = 'dark'; theme.dispatchEvent(new Event('change'))")
        test_theme(page, "dark")
        test_paper(page)
        browser.set_view(1280)
        page = Page(browser, pages["hostile"])
        test_hostile_names(page)
        page.assert_clean("hostile names")
        test_parts_of_runs(browser, pages, axe)
        test_answers(browser, pages, axe)
    print("the page of the report works in " + " and ".join(THEMES) + ", at widths of " + ", ".join(map(str, WIDTHS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
