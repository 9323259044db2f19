"""The web page in a real browser: how soon hits are painted, and what axe finds.

Headless Chromium (`CHROMIUM`, or the first on the path) searches a gallery of photographs from pictures that
are picked one after another, on loopback, beside the server on the same cores. Times are the browser's own,
from the last byte of the answer to the paint that shows the first thumbnail (Element Timing).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from harness import Target, arguments, write
from playwright.sync_api import Page, sync_playwright
from service import Server, pieces

from grainhash.gallery import Gallery

ISSUE = "service"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SERIOUS = ("serious", "critical")

LISTEN = """(() => {
  performance.setResourceTimingBufferSize(100_000); // 250 requests are noted otherwise
  window.painted = [];
  const note = (list) => window.painted.push(...list.getEntries().map((entry) => entry.renderTime));
  new PerformanceObserver(note).observe({ type: "element" });
})()"""

TOOK = """(n) => {
  const answers = performance.getEntriesByType("resource").filter((entry) => entry.name.endsWith("/search"));
  if (answers.length < n || document.getElementById("found").hasAttribute("aria-busy")) return null;
  const answered = answers.at(-1).responseEnd;
  const after = window.painted.filter((at) => at > answered);
  return after.length > 0 ? Math.min(...after) - answered : null;
}"""
"""Milliseconds from the n-th answer to its first thumbnail, null where it is not there yet."""


def main() -> None:
    """Measure, and write the results."""
    options = arguments(__doc__)
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        print("not measured: there is no Chromium; install it, or name it in CHROMIUM")
        return
    n_pictures, n_searches = (60, 20) if options.quick else (200, 50)
    with tempfile.TemporaryDirectory() as folder:
        pictures = pieces(Path(folder) / "photographs", n_pictures)
        with Gallery.open(Path(folder) / "gallery", create=True) as gallery:
            gallery.index(Path(folder) / "photographs")
        with Server(Path(folder) / "gallery") as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            took = [round(each, 1) for each in searches(chromium, server.url, pictures, n_searches)]
            violations = audits(chromium, server.url, pictures[0])
            version = chromium.version
            chromium.close()
    median, worst = float(np.median(took)), max(took)
    n_serious = sum(len(each) for each in violations.values())
    figures: dict[str, Any] = {
        "browser": f"Chromium {version}, headless",
        "gallery": n_pictures,
        "searches": n_searches,
        "painted_after_answer_ms": {"median": median, "worst": worst, "all": took},
        "violations": violations,
    }
    name = "first results painted after the answer, ms"
    targets = [
        Target(ISSUE, f"{name} (median)", "< 300", median, median < 300),
        Target(ISSUE, f"{name} (worst of {n_searches})", "< 300", worst, worst < 300),
        Target(ISSUE, "serious violations that axe finds", "0", n_serious, n_serious == 0),
    ]
    write(
        options,
        "browser",
        packages=["playwright", "axe-playwright-python", "fastapi"],
        seeds=[0],
        figures=figures,
        targets=[] if options.quick else targets,
    )


def searches(chromium: Any, url: str, pictures: list[Path], n: int) -> list[float]:
    """Milliseconds from each of `n` answers to its first thumbnail on the screen."""
    page = chromium.new_page(viewport={"width": 1280, "height": 860})
    page.add_init_script(LISTEN)
    page.goto(url)
    page.wait_for_load_state("networkidle")  # a person looks before the first search
    took = []
    for number in range(n):
        page.set_input_files("#file", pictures[number * 7 % len(pictures)])
        took.append(eventually(page, number + 1))
    page.close()
    return took


def eventually(page: Page, n: int) -> float:
    """What `TOOK` says in the end."""
    deadline = time.monotonic() + 60
    while (found := page.evaluate(TOOK, n)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the answer to search {n} was not painted")
        page.wait_for_timeout(20)
    return float(found)


def audits(chromium: Any, url: str, picture: Path) -> dict[str, list[str]]:
    """What axe finds that is serious or worse, by view, scheme and language."""
    found = {}
    for scheme in ("light", "dark"):
        for language in ("en", "zh-CN"):
            context = chromium.new_context(color_scheme=scheme, locale=language, reduced_motion="reduce")
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector("#samples img")
            found[f"start, {scheme}, {language}"] = violations(page)
            page.set_input_files("#file", picture)
            page.wait_for_selector(".hit")
            page.locator("#settings summary").click()
            page.locator("#query-actions button").first.click()
            found[f"search, {scheme}, {language}"] = violations(page)
            page.locator(".hit").nth(1).click()
            page.wait_for_selector("canvas.heat:visible")
            found[f"detail, {scheme}, {language}"] = violations(page)
            page.keyboard.press("Escape")
            page.locator("#tab-browse").click()
            page.wait_for_selector("#wall img")
            found[f"browse, {scheme}, {language}"] = violations(page)
            page.locator("#wall button").first.click()
            found[f"picture, {scheme}, {language}"] = violations(page)
            context.close()
    return found


def violations(page: Page) -> list[str]:
    """The rules that are broken, one an element."""
    page.wait_for_timeout(300)
    broken = Axe().run(page).response["violations"]
    return [each["id"] for each in broken if each["impact"] in SERIOUS for _ in each["nodes"]]


if __name__ == "__main__":
    main()
