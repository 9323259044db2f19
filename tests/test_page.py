"""The web page, used in a real browser: headless Chromium, driven by Playwright.

The browser is the one that `CHROMIUM` names, else the first on the path. Screenshots go to build/page.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from grouping import gallery_of_pieces
from PIL import Image
from serving import TOKEN, serving

from grainhash import Gallery

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the page needs Playwright: pip install playwright"
)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

PATIENCE = 30_000
"""Milliseconds that anything on the page may take, on a machine that is busy with other tests."""
sync_api.expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).parent.parent
FILES = ROOT / "src/grainhash/service/page"
SHOTS = ROOT / "build/page"
READ_TOKEN = "a-token-for-reading"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

CARRY = """([type, name, kind, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: kind }));
  const event = type === "paste"
    ? new ClipboardEvent(type, { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""
"""Drops or pastes a file, as a person would; a page cannot be given one otherwise."""

LISTEN = """(() => {
  const own = window.fetch;
  window.answers = 0;
  window.fetch = async (...request) => {
    const response = await own(...request);
    if (/\\/(search|similar)(\\?|$)/.test(response.url)) {
      const text = await response.clone().text();
      window.answer = { url: response.url, text };
      window.answers += 1;
    }
    return response;
  };
})()"""
"""Keeps the latest answer to a search; the browser's own tools forget it too soon."""


# The browser, the server and a person who looks closely.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("NO BROWSER: the page is not tested; install chromium, or name one in CHROMIUM")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def indexed(photographs, tmp_path_factory) -> Path:
    """A gallery of real photographs, and of a collage in which a part of one must be found."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(photographs, folder / "photographs")
    pieces = [
        Image.open(photographs / name).convert("RGB").resize((320, 240))
        for name in ("animals/chelsea.png", "things/coffee.png", "places/china.jpg", "people/astronaut.png")
    ]
    collage = Image.new("RGB", (640, 480))
    for number, piece in enumerate(pieces):
        collage.paste(piece, (320 * (number % 2), 240 * (number // 2)))
    collage.save(folder / "photographs" / "collage.png")
    with Gallery.open(folder / "gallery", create=True) as gallery:
        gallery.index(folder / "photographs")
    return folder / "gallery"


@pytest.fixture(scope="module")
def server(indexed) -> Iterator[Any]:
    with serving(indexed, "--rate", "0") as running:
        yield running


@pytest.fixture(scope="module")
def pieces(photographs, tmp_path_factory) -> Iterator[Any]:
    """A server of pieces of photographs, some in a folder of their class and some in `inbox`."""
    with serving(gallery_of_pieces(tmp_path_factory.mktemp("pieces"), photographs), "--rate", "0") as running:
        yield running


@pytest.fixture
def opened(browser, server) -> Iterator[Any]:
    """Opens the page as somebody would who then minds every error, and every word to another host."""
    contexts, wrong = [], []

    def open_page(
        path: str = "", *, url: str = server.url, expects: str = "", waits: bool = True, **options: Any
    ) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: _is_wrong(said, expects) and wrong.append(said.text))
        page.on("request", lambda sent: _is_inside(sent.url, url) or wrong.append(f"asked {sent.url}"))
        page.add_init_script(LISTEN)
        page.goto(f"{url}/{path}")
        if waits:
            page.wait_for_selector("#tabs [aria-current]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def _is_wrong(said: Any, expected: str) -> bool:
    return said.type in ("error", "warning") and not (expected and expected in said.text)


def _is_inside(url: str, server: str) -> bool:
    return url.startswith((f"{server}/", "blob:", "data:"))


@pytest.fixture(scope="module")
def chelsea(photographs) -> Path:
    return photographs / "animals" / "chelsea.png"


def carry(page: Any, file: Path, how: str = "drop", kind: str = "image/png", name: str | None = None) -> None:
    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(CARRY, [how, name or file.name, kind, content])


def is_search(answer: Any) -> bool:
    return urlsplit(answer.url).path.endswith(("/search", "/similar"))


def until(page: Any, expression: str, seconds: float = PATIENCE / 1000) -> None:
    """Wait for a thing in the page; Playwright's own way is forbidden by the page's security policy."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"still not: {expression}"
        page.wait_for_timeout(20)


def search_of(page: Any, act: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Do something that makes the page search: what it asked, and what it was answered, which is shown."""
    before = page.evaluate("window.answers")
    act()
    until(page, f"window.answers > {before} && !document.getElementById('found').hasAttribute('aria-busy')")
    answer = page.evaluate("window.answer")
    asked = {key: values[0] for key, values in parse_qs(urlsplit(answer["url"]).query).items()}
    return asked, json.loads(answer["text"])


def searched(page: Any, file: Path) -> dict[str, Any]:
    return search_of(page, lambda: carry(page, file))[1]


def at_rest(page: Any, element: Any) -> dict[str, float]:
    """Where an element is once what loads beside it moves it no more."""
    places: list[dict[str, float]] = []
    for _ in range(100):
        places.append(element.bounding_box())
        if len(places) >= 4 and all(place == places[-1] for place in places[-4:]):
            return places[-1]
        page.wait_for_timeout(100)
    raise AssertionError("the element does not come to rest")


def drag(page: Any, element: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, between places that are fractions of an element."""
    at = at_rest(page, element)
    (x0, y0), (x1, y1) = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in (start, end)]
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up()


def shot(page: Any, name: str) -> None:
    until(page, "[...document.images].every((image) => image.loading === 'lazy' || image.complete)")
    page.wait_for_timeout(300)
    page.screenshot(path=SHOTS / f"{name}.png")


def region_of(asked: dict[str, str]) -> list[float]:
    return [float(edge) for edge in asked["region"].split(",")]


def stage_of(page: Any) -> Any:
    return page.locator("#query-stage .stage")


def hits_of(page: Any) -> list[str]:
    return page.locator(".hit .name").all_inner_texts()


# Pictures come in.


def test_a_dropped_picture_is_searched_and_the_hits_are_shown(opened, chelsea):
    page = opened()
    answer = searched(page, chelsea)
    assert hits_of(page) == [hit["name"] for hit in answer["hits"]]
    assert hits_of(page)[0] == "chelsea.png"
    first = page.locator(".hit").first
    assert f"score {answer['hits'][0]['score']:.3f} · 0 bits" in first.inner_text()
    assert "The whole matched: 0 of 256 bits differ" in first.inner_text()
    assert "hits in" in page.locator("#results-status").inner_text()
    page.locator("#plan summary").click()
    assert page.locator("#plan-table tbody tr").count() == len(answer["plan"])
    page.locator("#plan summary").click()
    page.evaluate("scrollTo(0, 0)")
    shot(page, "search-light")


def test_hits_that_chance_gives_too_are_told_apart(opened, chelsea):
    page = opened()
    hits = searched(page, chelsea)["hits"]
    n_sure = sum(hit["score"] >= 0.5 for hit in hits)
    assert 0 < n_sure < len(hits)
    assert page.locator("#hits .hit").count() == n_sure
    assert page.locator("#hits-chance .hit").count() == len(hits) - n_sure
    assert page.get_by_role("list", name="From here on, chance alone gives hits as close.").is_visible()
    page.locator("#settings summary").click()
    search_of(page, lambda: page.get_by_role("slider", name="Least score").fill("0.5"))
    assert page.locator(".hit").count() == n_sure
    assert not page.locator("#chance").is_visible()


def test_where_nothing_is_surely_alike_the_page_says_so(opened):
    page = opened('#/search?query=1&where=name+!=+"collage.png"+and+label+!=+"animals"')
    page.wait_for_selector(".hit")
    scores = [float(text.split()[1]) for text in page.locator(".hit .facts").all_inner_texts()]
    assert max(scores) < 0.5
    sync_api.expect(page.locator("#chance")).to_contain_text("No sure match")
    assert page.locator("#hits .hit").count() == 0


def test_a_picture_can_be_pasted_and_picked(opened, chelsea, photographs):
    page = opened()
    search_of(page, lambda: carry(page, chelsea, "paste"))
    assert hits_of(page)[0] == "chelsea.png"

    def pick() -> None:
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Another picture").click()
        chooser.value.set_files(photographs / "things" / "coffee.png")

    search_of(page, pick)
    assert hits_of(page)[0] == "coffee.png"
    assert page.locator("#query-title").inner_text() == "coffee.png"


def test_what_is_no_picture_is_refused_in_words(opened, tmp_path):
    page = opened(expects="415")
    (tmp_path / "notes.txt").write_text("no picture")
    carry(page, tmp_path / "notes.txt", kind="text/plain")
    assert page.get_by_role("alert").inner_text() == "notes.txt is not a picture."
    with page.expect_response(is_search) as answer:  # only the server can tell
        carry(page, tmp_path / "notes.txt", name="notes.png")
    assert answer.value.status >= 400
    sync_api.expect(page.get_by_role("alert")).to_contain_text("picture")
    assert page.locator(".hit").count() == 0


# The part that is looked for.


def test_a_box_is_drawn_moved_and_resized_with_the_mouse(opened, chelsea):
    page = opened()
    searched(page, chelsea)
    stage = stage_of(page)
    asked, answer = search_of(page, lambda: drag(page, stage, (0.2, 0.2), (0.6, 0.7)))
    assert region_of(asked) == pytest.approx([0.2, 0.2, 0.6, 0.7], abs=0.01)
    assert answer["query_box"] == pytest.approx([0.2, 0.2, 0.6, 0.7], abs=0.01)
    asked, _ = search_of(page, lambda: drag(page, stage, (0.4, 0.4), (0.5, 0.5)))
    assert region_of(asked) == pytest.approx([0.3, 0.3, 0.7, 0.8], abs=0.01)
    asked, _ = search_of(page, lambda: drag(page, stage, (0.7, 0.8), (0.9, 0.95)))
    assert region_of(asked) == pytest.approx([0.3, 0.3, 0.9, 0.95], abs=0.015)
    asked, _ = search_of(page, lambda: drag(page, stage, (0.6, 0.6), (1.4, 0.6)))
    assert region_of(asked) == pytest.approx([0.4, 0.3, 1.0, 0.95], abs=0.015), "it stays within the picture"
    shot(page, "box-light")
    asked, _ = search_of(page, lambda: page.get_by_role("button", name="Remove the frame").click())
    assert "region" not in asked


def test_a_box_is_drawn_with_a_finger(opened, chelsea):
    page = opened(**PHONE)
    searched(page, chelsea)
    at = at_rest(page, stage_of(page))
    places = [(at["x"] + share * at["width"], at["y"] + share * at["height"]) for share in (0.2, 0.5, 0.8)]
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        )

    def draw() -> None:
        send("touchStart", places[0])
        for place in places[1:]:
            send("touchMove", place)
        send("touchEnd")

    asked, _ = search_of(page, draw)
    assert region_of(asked) == pytest.approx([0.2, 0.2, 0.8, 0.8], abs=0.02)


def test_the_part_that_matched_is_framed_and_stands_out_when_pointed_at(opened, chelsea):
    page = opened()
    answer = searched(page, chelsea)
    hit = next(hit for hit in answer["hits"] if hit["name"] == "collage.png")
    card = page.locator(f".hit[data-id='{hit['id']}']")
    tile, frame = card.locator(".thumbnail").bounding_box(), card.locator(".match").bounding_box()
    found = [
        (frame["x"] - tile["x"]) / tile["width"],
        (frame["y"] - tile["y"]) / tile["height"],
        (frame["x"] + frame["width"] - tile["x"]) / tile["width"],
        (frame["y"] + frame["height"] - tile["y"]) / tile["height"],
    ]
    assert found == pytest.approx(hit["box"], abs=0.01)
    dim = "getComputedStyle(document.querySelector('.hit[data-id=\"%d\"] .match')).getPropertyValue('--dim')"
    assert page.evaluate(dim % hit["id"]) == ""
    card.hover()
    assert float(page.evaluate(dim % hit["id"])) > 0.3
    page.mouse.move(2, 2)
    page.locator(".hit").first.focus()
    page.keyboard.press("Tab")  # keyboards have what mice have
    page.evaluate("id => document.querySelector(`.hit[data-id='${id}']`).focus()", hit["id"])
    assert float(page.evaluate(dim % hit["id"])) > 0.3


# How it is searched.


def test_the_code_length_searches_while_it_moves(opened, chelsea):
    page = opened()
    searched(page, chelsea)
    lengths = page.evaluate("fetch('api/v1/info').then((answer) => answer.json())")["bit_lengths"]
    asked: list[str] = []
    page.on("request", lambda sent: is_search(sent) and asked.append(sent.url))
    slider = page.get_by_label("Code length")
    slide = """(slider) => { for (const value of [3, 2, 1, 0]) {
      slider.value = value; slider.dispatchEvent(new Event("input", { bubbles: true })); } }"""
    parameters, answer = search_of(page, lambda: slider.evaluate(slide))
    assert parameters["bits"] == str(lengths[0])
    assert answer["n_bits"] == lengths[0]
    assert len(asked) == 1, "one search for a movement, not one a step"
    assert page.locator("#bits-value").inner_text() == f"{lengths[0]} bits"
    assert f"of {lengths[0]} bits" in page.locator(".hit").first.inner_text()
    assert f"bits={lengths[0]}" in page.url
    parameters, _ = search_of(page, lambda: slider.press("End"))
    assert "bits" not in parameters


def test_settings_are_sent_and_kept_in_the_address(opened, chelsea):
    page = opened()
    searched(page, chelsea)
    page.locator("#settings summary").click()
    asked, answer = search_of(page, lambda: page.get_by_label("wholes").check())
    assert asked["granularity"] == answer["granularity"] == "whole"
    asked, answer = search_of(page, lambda: page.get_by_role("combobox", name="Hits").select_option("10"))
    assert asked["k"] == "10"
    assert len(answer["hits"]) == 10
    where = page.get_by_role("textbox", name="Filter")
    asked, answer = search_of(page, lambda: where.fill("label = animals"))
    assert asked["where"] == "label = animals"
    assert hits_of(page) == ["chelsea.png"]
    assert page.locator("#settings-changed").inner_text() == "3 changed"
    assert "granularity=whole" in page.url
    page.get_by_label("Verify point by point").scroll_into_view_if_needed()
    shot(page, "settings-light")
    asked, _ = search_of(page, lambda: page.get_by_role("button", name="Back to the defaults").click())
    assert asked == {}


def test_a_wrong_filter_says_what_is_wrong_and_the_hits_come_back(opened, chelsea):
    page = opened(expects="422")
    searched(page, chelsea)
    page.locator("#settings summary").click()
    with page.expect_response(is_search) as found:
        page.get_by_role("textbox", name="Filter").fill("label == = cat")
        page.keyboard.press("Enter")
    assert found.value.status >= 400
    sync_api.expect(page.get_by_role("alert")).to_be_visible()
    search_of(page, lambda: page.get_by_role("textbox", name="Filter").fill(""))
    sync_api.expect(page.get_by_role("alert")).to_be_hidden()
    assert hits_of(page)[0] == "chelsea.png"


# Why it was found.


def test_a_hit_is_explained_beside_its_query(opened, chelsea, tmp_path):
    crop = tmp_path / "crop.png"
    with Image.open(chelsea) as image:
        image.crop((60, 30, 360, 270)).save(crop)
    page = opened()
    answer = searched(page, crop)
    assert hits_of(page)[0] == "chelsea.png"
    page.locator(".hit").first.click()
    dialog = page.get_by_role("dialog")
    assert (
        dialog.get_by_role("heading", level=2).inner_text() == f"Hit 1 of {len(answer['hits'])}: chelsea.png"
    )
    sync_api.expect(dialog.locator("canvas.heat:visible")).to_have_count(2)
    seen = dialog.locator("canvas.heat").first.evaluate(
        "(canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, 200).data).size"
    )
    assert seen > 50, "a smooth map, not one colour"
    sync_api.expect(dialog.get_by_text("points match and lie alike")).to_be_visible()
    assert dialog.locator(".point-lines circle").count() >= 8
    assert "bits agree" in dialog.locator(".bits").get_attribute("aria-label")
    assert "of 256 differ" in dialog.locator("dl.facts").inner_text()
    shot(page, "detail-light")
    dialog.get_by_label("Heat map").first.uncheck()
    sync_api.expect(dialog.locator("canvas.heat:visible")).to_have_count(0)
    dialog.get_by_label("Match points").uncheck()
    sync_api.expect(dialog.locator(".point-lines")).to_be_hidden()
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()


def test_searching_goes_on_from_a_hit_or_a_part_of_it(opened, chelsea):
    page = opened()
    answer = searched(page, chelsea)
    hit = next(hit for hit in answer["hits"] if hit["name"] == "collage.png")
    page.locator(f".hit[data-id='{hit['id']}']").click()
    part = page.get_by_role("button", name="The part that matched")
    asked, _ = search_of(page, part.click)
    assert region_of(asked) == pytest.approx(hit["box"], abs=1e-3)
    assert page.locator("#query-title").inner_text() == "collage.png"
    assert f"query={hit['id']}" in page.url
    assert "chelsea.png" in hits_of(page)[:2]
    page.locator(".hit").first.click()
    sync_api.expect(page.locator("canvas.heat:visible")).to_have_count(2)
    drag(page, page.locator("dialog .stage").nth(1), (0.1, 0.1), (0.4, 0.4))
    asked, _ = search_of(page, page.get_by_role("button", name="The part I framed").click)
    assert region_of(asked) == pytest.approx([0.1, 0.1, 0.4, 0.4], abs=0.02)
    search_of(page, page.go_back)
    assert page.locator("#query-title").inner_text() == "collage.png"
    search_of(page, page.go_back)
    assert page.locator("#query-title").inner_text() == "chelsea.png"
    assert hits_of(page)[0] == "chelsea.png", "an upload is still known on the way back"


def test_a_link_opens_the_same_search(opened, server):
    id = next(
        each["id"]
        for each in server.client.get("/api/v1/pictures").json()["pictures"]
        if each["name"] == "coffee.png"
    )
    page = opened(f"#/search?query={id}&box=0.2,0.2,0.7,0.8&k=10")
    page.wait_for_selector(".hit")
    assert hits_of(page)[0] == "coffee.png"
    assert page.locator(".frame").is_visible()
    sync_api.expect(page.locator("#query-title")).to_have_text("coffee.png")
    assert page.title() == "coffee.png – grainhash"
    assert len(hits_of(page)) == 10


def test_a_link_is_searched_once(opened):
    """Also when its picture's name arrives later than its hits."""
    page = opened("#/search?query=1")
    page.wait_for_selector(".hit")
    asked: list[str] = []
    page.on("request", lambda sent: "similar" in sent.url and asked.append(sent.url))
    page.reload()
    page.wait_for_selector(".hit")
    page.wait_for_timeout(700)
    assert len(asked) == 1
    assert page.locator(".hit").count()


def test_back_to_another_search_closes_the_hit_of_this_one(opened):
    page = opened("#/search?query=1")
    page.wait_for_selector(".hit")
    search_of(page, lambda: drag(page, page.locator("#query-stage > *"), (0.2, 0.2), (0.7, 0.8)))
    page.locator(".hit").first.click()
    page.wait_for_selector("dialog[open]")
    page.go_back()
    sync_api.expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_hit_that_is_clicked_while_the_next_answer_is_on_its_way_opens(opened):
    page = opened("#/search?query=1")
    page.wait_for_selector(".hit")
    held: list[Any] = []
    page.route(re.compile(r"/(search|similar)\?.*region="), lambda route: held.append(route))
    drag(page, page.locator("#query-stage > *"), (0.2, 0.2), (0.7, 0.8))
    until(page, "document.getElementById('found').hasAttribute('aria-busy')")
    name = page.locator(".hit .name").nth(1).inner_text()
    page.locator(".hit").nth(1).click()
    sync_api.expect(page.locator("#detail-title")).to_contain_text(name)

    def answer_with_nothing() -> None:
        (route,) = held
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "hits": []})

    search_of(page, answer_with_nothing)
    sync_api.expect(page.locator("dialog[open]")).to_have_count(1)
    sync_api.expect(page.locator("#detail-title")).to_contain_text(name)
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("dialog[open]")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "results-title", "the keyboard goes on there"


def test_a_box_that_was_drawn_is_moved_by_keys_at_once(opened):
    page = opened("#/search?query=1")
    page.wait_for_selector(".hit")
    drag(page, page.locator("#query-stage > *"), (0.2, 0.2), (0.6, 0.6))
    page.wait_for_function("location.href.includes('box=')")
    before = page.evaluate("location.href")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => location.href !== before", arg=before)


def test_a_filter_that_ends_in_a_quote_is_searched_while_it_is_typed(opened, chelsea):
    page = opened()
    searched(page, chelsea)
    page.locator("#settings summary").click()
    search_of(page, lambda: page.get_by_role("textbox", name="Filter").fill('name = "coffee.png"'))
    page.wait_for_function("document.querySelectorAll('.hit').length === 1")
    assert hits_of(page) == ["coffee.png"]


def test_a_link_to_nothing_says_so(opened):
    page = opened("#/search?query=99999", expects="404")
    sync_api.expect(page.get_by_role("alert")).to_have_text("This picture is not in the gallery (any more).")


# With the keyboard alone.


def press_until(page: Any, key: str, selector: str) -> None:
    for _ in range(80):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach {selector}")


def test_all_of_it_by_keyboard_alone(opened):
    page = opened()
    page.wait_for_selector("#samples button")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    press_until(page, "Tab", "#samples button")
    search_of(page, lambda: page.keyboard.press("Enter"))
    press_until(page, "Shift+Tab", "#query-actions button:first-child")
    asked, _ = search_of(page, lambda: page.keyboard.press("Enter"))
    assert region_of(asked) == [0.25, 0.25, 0.75, 0.75]
    frame = page.locator("#query-stage .frame")
    assert frame.evaluate("(frame) => frame === document.activeElement")
    assert frame.get_attribute("aria-label").startswith("Frame: 25% to 75% across, 25% to 75% down.")
    asked, _ = search_of(page, lambda: [page.keyboard.press("ArrowRight") for _ in range(5)])
    assert region_of(asked) == pytest.approx([0.35, 0.25, 0.85, 0.75])
    asked, _ = search_of(page, lambda: [page.keyboard.press("Shift+ArrowUp") for _ in range(5)])
    assert region_of(asked) == pytest.approx([0.35, 0.25, 0.85, 0.65])
    assert "35% to 85% across" in page.locator("#announcer").inner_text()
    asked, _ = search_of(page, lambda: page.keyboard.press("Delete"))
    assert "region" not in asked
    press_until(page, "Tab", ".hit")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    sync_api.expect(dialog).to_be_visible()
    page.keyboard.press("ArrowRight")
    sync_api.expect(dialog.get_by_role("heading", level=2)).to_contain_text("Hit 2 of")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    sync_api.expect(dialog.get_by_role("heading", level=2)).to_contain_text("Hit 3 of")
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.querySelector('.rank').textContent") == "3"


# The gallery.


def test_the_gallery_is_browsed_filtered_and_searched_from(opened, server):
    n = server.client.get("/api/v1/info").json()["pictures"]
    page = opened("#/browse")
    sync_api.expect(page.locator("#wall li")).to_have_count(n)
    assert page.locator("#browse-status").inner_text() == f"All {n} pictures shown"
    shot(page, "browse-light")
    page.get_by_role("textbox", name="Filter").fill("label = animals")
    sync_api.expect(page.locator("#wall li")).to_have_count(1)
    assert page.locator("#browse-status").inner_text() == "1 picture passes the filter"
    page.locator("#wall button").click()
    dialog = page.get_by_role("dialog")
    sync_api.expect(dialog.get_by_label(re.compile("Show the .* regions"))).to_be_visible()
    dialog.get_by_label(re.compile("Show the .* regions")).check()
    assert dialog.locator(".outlines i").count() > 3
    shot(page, "picture-light")
    at = at_rest(page, dialog.locator(".stage"))
    page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    assert dialog.locator(".frame").is_visible(), "a click frames the region there"
    asked, _ = search_of(page, dialog.get_by_role("button", name="The part I framed").click)
    assert "region" in asked
    assert hits_of(page)[0] == "chelsea.png"


# Who may.


def test_groups_and_copies_are_shown_and_opened(opened, server, photographs, tmp_path):
    folder = tmp_path / "with-copies"
    shutil.copytree(photographs, folder)
    shutil.copy(folder / "animals/chelsea.png", folder / "again.png")
    with Gallery.open(tmp_path / "gallery", create=True) as gallery:
        gallery.index(folder)
    with serving(tmp_path / "gallery", "--rate", "0") as own:
        page = opened(url=own.url)
        page.get_by_role("link", name="Groups").click()
        page.wait_for_selector(".sheet")
        found = own.client.get("/api/v1/groups").json()
        assert page.locator(".sheet").count() == len(found["groups"])
        sync_api.expect(page.locator("#groups-map circle")).to_have_count(found["n_pictures"])
        shot(page, "groups-light")
        page.locator(".sheet button.picture").first.click()
        sync_api.expect(page.locator("dialog[open]")).to_contain_text(
            found["groups"][0]["pictures"][0]["name"]
        )
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Copies").click()
        sync_api.expect(page.locator("#groups-status")).to_contain_text("1 copy of 1 picture")
        assert {each.strip() for each in page.locator(".sheet .name").all_inner_texts()} == {
            "again.png",
            "chelsea.png",
        }
        sync_api.expect(page.locator(".sheet .kept")).to_contain_text("keep")
        assert page.url.endswith("#/groups?look=copies")
        shot(page, "copies-light")
        page.get_by_role("button", name="中文").click()
        sync_api.expect(page.locator("#groups-status")).to_contain_text("1 个副本")
        page.reload()
        page.wait_for_selector(".sheet")
        sync_api.expect(page.locator(".sheet .wall").first).to_contain_text("保留")


INBOX = "#/groups?look=labels&unlabelled=inbox"


def labelled(page: Any) -> None:
    page.wait_for_selector("#sheets:not([aria-busy]) .sheet img")


def test_pictures_are_shown_by_the_label_that_they_are_like(opened, pieces):
    page = opened(url=pieces.url)
    page.get_by_role("link", name="Groups").click()
    page.wait_for_selector(".sheet")
    assert page.locator("#labels-form").is_hidden()
    page.get_by_role("button", name="Labels").click()
    status, report = page.locator("#groups-status"), page.locator("#labels-report")
    sync_api.expect(status).to_contain_text("All 32 pictures have a label.")
    assert page.locator(".sheet").count() == 0
    assert page.locator("#groups-map").is_hidden()
    judged = pieces.client.get("/api/v1/labels").json()["evaluation"]
    assert 0 < judged["accuracy"] < 1
    assert f"all the others, {share_of(judged['accuracy'])} come out right." in report.inner_text()
    assert f"off by {share_of(judged['calibration']['error'])} on average." in report.inner_text()
    sync_api.expect(page.get_by_role("button", name="Store these labels…")).to_be_disabled()
    page.get_by_label("Yet to be labelled").select_option("inbox")
    labelled(page)
    found = pieces.client.get("/api/v1/labels", params={"unlabelled": "inbox"}).json()
    titles = [group["label"] or "None of these" for group in found["groups"]]
    assert titles[-1] == "None of these"
    assert len(titles) > 2
    assert page.locator(".sheet h2").all_inner_texts() == titles
    assert page.locator(".sheet.apart h2").all_inner_texts() == titles[-1:]
    for at, group in enumerate(found["groups"]):
        notes = page.locator(".sheet").nth(at).locator(".note").all_inner_texts()
        assert notes == [
            f"{picture['distance']} bits away, likeliest {picture['likeliest']}"
            if group["label"] is None
            else f"{share_of(picture['confidence'])} sure"
            for picture in group["pictures"]
        ]
        images = page.locator(".sheet").nth(at).locator("img")
        assert {image.get_attribute("loading") for image in images.all()} == {"lazy"}
    given = sum(group["size"] for group in found["groups"][:-1])
    assert (
        f"8 pictures without label, 24 with one of 3 classes: {given} are labelled here"
        in status.inner_text()
    )
    accuracy = share_of(found["evaluation"]["accuracy"])
    assert f"Of 24 labelled pictures, each labelled by all the others, {accuracy} come out right." in (
        report.inner_text()
    )
    report.locator("summary").click()
    rows = [row.split("\t") for row in report.locator("tbody tr").all_inner_texts()]
    assert [row[:2] for row in rows] == [[f"class {number}", "8"] for number in range(3)]
    assert sum(int(row[4]) for row in rows) == given
    assert page.url.endswith(INBOX)
    page.locator(".sheet button.picture").first.click()
    dialog = page.get_by_role("dialog")
    sync_api.expect(dialog).to_contain_text(found["groups"][0]["pictures"][0]["name"])
    page.keyboard.press("Escape")
    first = page.evaluate("document.activeElement.closest('li').dataset.id")
    assert int(first) == found["groups"][0]["pictures"][0]["id"]


def share_of(share: float) -> str:
    """As the page writes it."""
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.1f}".removesuffix(".0") + "%"


def test_how_to_label_is_asked_for_and_kept_in_the_address(opened, pieces):
    page = opened(INBOX, url=pieces.url, expects="422")
    labelled(page)

    def asked(act: Any) -> dict[str, list[str]]:
        with page.expect_response(lambda answer: "/api/v1/labels" in answer.url) as response:
            act()
        return parse_qs(urlsplit(response.value.url).query)

    assert asked(page.get_by_label("weights of bits").check)["method"] == ["linear"]
    assert asked(page.get_by_label("Judge by a fifth that is held out").check)["held_out"] == ["0.2"]
    sync_api.expect(page.locator("#labels-report")).to_contain_text("labelled pictures that were held out")
    assert "method=linear&held_out=0.2" in page.url
    page.reload()
    labelled(page)
    assert page.get_by_label("weights of bits").is_checked()
    assert page.get_by_label("Judge by a fifth that is held out").is_checked()
    assert page.get_by_label("Yet to be labelled").input_value() == "inbox"
    keys = {each["key"] for each in pieces.client.get("/api/v1/info").json()["meta_keys"]}
    offered = page.get_by_label("Labels are in").locator("option").all_inner_texts()
    assert set(offered) == keys
    assert "folder" in keys
    again = asked(lambda: page.get_by_label("Labels are in").select_option("folder"))
    assert again["label"] == ["folder"]
    assert "unlabelled" not in again, "a value of another key"
    sync_api.expect(page.locator("#groups-status")).to_contain_text("All 32 pictures have a label.")
    page.goto(f"{pieces.url}/#/groups?look=labels&label=colour")
    sync_api.expect(page.get_by_role("alert")).to_contain_text("None of 32 pictures has a label")
    sync_api.expect(page.get_by_role("button", name="Store these labels…")).to_be_disabled()
    page.get_by_label("Labels are in").select_option("label")
    sync_api.expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="Copies").click()
    sync_api.expect(page.locator("#labels-form")).to_be_hidden()
    sync_api.expect(page.locator("#labels-report")).to_be_hidden()


def test_labels_are_stored_under_the_key_that_is_asked_for(indexed, opened, pieces):
    page = opened(INBOX, url=pieces.url, expects="status of 4")
    labelled(page)

    def keys() -> set[str]:
        return {each["key"] for each in pieces.client.get("/api/v1/info").json()["meta_keys"]}

    press_until(page, "Tab", "#labels-label")
    press_until(page, "Tab", "#labels-store")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Store these labels")
    sync_api.expect(dialog.get_by_role("textbox", name="Under which key?")).to_be_focused()
    page.keyboard.press("Escape")
    sync_api.expect(dialog).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "labels-store"
    page.keyboard.press("Enter")
    page.keyboard.type("seen")
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Token").fill(TOKEN)
    assert "seen" not in keys()
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#groups-status")).to_have_text("Stored under “seen”.")
    assert {"seen", "seen_confidence"} <= keys()
    assert "seen" in page.get_by_label("Labels are in").locator("option").all_inner_texts()
    assert page.locator(".sheet").count() > 2, "they are still shown"
    page.locator(".sheet button.picture").first.click()
    sync_api.expect(page.get_by_role("dialog").locator("dl.facts")).to_contain_text("seen_confidence")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Store these labels…").click()
    dialog.get_by_role("textbox").fill("seen")
    page.keyboard.press("Enter")
    sync_api.expect(dialog.get_by_role("alert")).to_contain_text("'seen' already")
    dialog.get_by_label("Replace what is there").check()
    dialog.get_by_role("button", name="Store", exact=True).click()
    sync_api.expect(dialog).to_have_count(0)


def test_nothing_is_stored_where_nothing_can_be_written(indexed, opened, monkeypatch):
    monkeypatch.setattr("serving.TOKEN", "")
    with serving(indexed, "--rate", "0") as running:
        page = opened("#/groups?look=labels", url=running.url)
        page.wait_for_selector("#labels-report p")
        assert page.locator("#labels-store").is_hidden()
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_labels(opened, pieces, scheme):
    page = opened(INBOX, url=pieces.url, color_scheme=scheme, reduced_motion="reduce")
    labelled(page)
    page.locator("#labels-report summary").click()
    found = {"labels": violations(page)}
    shot(page, f"labels-{scheme}")
    page.get_by_role("button", name="Store these labels…").click()
    found["store"] = violations(page)
    shot(page, f"store-labels-{scheme}")
    assert not any(found.values()), found


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_labels_fit_on_narrow_screens_in_both_languages(opened, pieces, language):
    page = opened(
        INBOX, url=pieces.url, locale=language, **{**PHONE, "viewport": {"width": 320, "height": 740}}
    )
    labelled(page)
    page.locator("#labels-report summary").click()
    fits(page)
    shot(page, f"labels-320-{language}")
    page.locator("#labels-store").click()
    fits(page, "dialog[open]")
    page.keyboard.press("Escape")
    page.locator("#language").click()
    given = "没有标签" if language == "en-GB" else "pictures without label"
    sync_api.expect(page.locator("#groups-status")).to_contain_text(given)
    none = "不属于任何一类" if language == "en-GB" else "None of these"
    sync_api.expect(page.locator(".sheet.apart h2")).to_have_text(none)


def test_adding_and_removing_ask_for_a_token_once(indexed, opened, tmp_path, chelsea):
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)
    wicked = "<img src=x onerror=alert(1)>.png"
    with Image.open(chelsea) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).crop((0, 0, 300, 200)).save(tmp_path / "new.png")
    with serving(copy, "--rate", "0") as running:
        page = opened(url=running.url, expects="401")
        search_of(page, lambda: carry(page, tmp_path / "new.png", name=wicked))
        n = running.client.get("/api/v1/info").json()["pictures"]
        page.get_by_role("button", name="Add to the gallery").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token").fill("not-the-right-token")
        page.keyboard.press("Enter")
        sync_api.expect(dialog.get_by_role("alert")).to_have_text("This token was not accepted.")
        dialog.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#query-note")).to_contain_text(f"Added as {wicked}")
        assert running.client.get("/api/v1/info").json()["pictures"] == n + 1
        assert page.evaluate("document.cookie") == "", "no script can read the token"
        page.get_by_role("link", name="Browse").click()
        page.get_by_role("button", name=wicked).click()
        page.get_by_role("button", name="Remove from the gallery").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        sync_api.expect(page.locator("#wall li")).to_have_count(n)
        assert running.client.get("/api/v1/info").json()["pictures"] == n
        page.get_by_role("button", name="Forget the token").click()
        sync_api.expect(page.get_by_role("button", name="Forget the token")).to_have_count(0)
        page.context.close()  # before its server goes


def test_a_gallery_that_is_not_for_everybody_asks_first(indexed, opened, monkeypatch):
    monkeypatch.setenv("GRAINHASH_READ_TOKEN", READ_TOKEN)
    with serving(indexed, "--rate", "0") as running:
        page = opened(url=running.url, expects="401", waits=False)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token").fill(READ_TOKEN)
        dialog.get_by_role("button", name="Continue").click()
        page.locator("#samples img").first.wait_for()
        until(page, "document.querySelector('#samples img').naturalWidth > 0")
        page.context.close()


# For everybody.


def test_it_speaks_chinese_and_remembers(opened, chelsea):
    page = opened()
    searched(page, chelsea)
    page.get_by_role("button", name="切换到中文").click()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert "结果" in page.locator("#results-title").inner_text()
    assert "整体匹配：256 位中有 0 位不同" in page.locator(".hit").first.inner_text()
    assert page.locator("#query-stage img").get_attribute("alt") == "查询图片：chelsea.png"
    shot(page, "search-chinese")
    page.reload()
    assert page.get_by_role("heading", level=1).inner_text() == "用图片的一角，找到整张图片"
    shot(page, "start-chinese")
    assert opened(locale="zh-CN").get_by_role("button", name="选择图片").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, chelsea, scheme):
    page = opened(color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("#samples img")
    found = {"start": violations(page)}
    searched(page, chelsea)
    page.locator("#settings summary").click()
    search_of(page, lambda: page.get_by_role("button", name="Frame a part").click())
    found["search"] = violations(page)
    shot(page, f"frame-{scheme}")
    page.locator(".hit").first.click()
    sync_api.expect(page.locator("canvas.heat:visible")).to_have_count(2)
    found["detail"] = violations(page)
    shot(page, f"detail-of-frame-{scheme}")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Browse").click()
    page.wait_for_selector("#wall img")
    found["browse"] = violations(page)
    shot(page, f"browse-{scheme}")
    page.locator("#wall button").first.click()
    found["picture"] = violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Groups").click()
    page.wait_for_selector(".sheet img")
    found["groups"] = violations(page)
    shot(page, f"groups-{scheme}")
    assert not any(found.values()), found


def violations(page: Any) -> list[str]:
    """What axe finds that is serious or worse, by WCAG 2.2 AA and its own best practices."""
    page.wait_for_timeout(200)
    response = axe.Axe().run(page).response
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_cut_off_on_narrow_screens(opened, chelsea, width):
    page = opened(**{**PHONE, "viewport": {"width": width, "height": 740}})
    page.wait_for_selector("#samples img")
    shot(page, f"start-{width}")
    fits(page)
    searched(page, chelsea)
    if width < 400:  # a phone
        assert page.locator(".hit").first.bounding_box()["y"] < 680, "the best hit is seen at once"
    page.locator("#settings summary").click()
    fits(page)
    label, value = (page.locator("[for=setting-min-score]").nth(n).bounding_box() for n in range(2))
    assert value["x"] > label["x"] + label["width"] + 8
    page.locator("#settings summary").click()
    shot(page, f"search-{width}")
    page.locator(".hit").first.click()
    sync_api.expect(page.locator("canvas.heat:visible")).to_have_count(2)
    fits(page, "dialog[open]")
    shot(page, f"detail-{width}")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Browse").click()
    page.wait_for_selector("#wall img")
    fits(page)
    shot(page, f"browse-{width}")


def fits(page: Any, selector: str = "html") -> None:
    """Nothing stands out to the side, and a finger meets every button."""
    wide, room = page.locator(selector).evaluate("(element) => [element.scrollWidth, element.clientWidth]")
    assert wide <= room
    small = page.evaluate(
        """(selector) => [...document.querySelector(selector)
          .querySelectorAll("button, select, input, summary, nav a")]
          .map((each) => [each.closest("label") ?? each, each.id || each.textContent])
          .map(([each, name]) => [each.getBoundingClientRect(), name])
          .filter(([{ width, height }]) => width > 0 && height > 0 && (height < 43.5 || width < 43.5))
          .map(([{ width, height }, name]) => `${name}: ${width} x ${height}`)""",
        selector,
    )
    assert small == []


def test_the_layout_does_not_shift_while_pictures_load(opened, chelsea):
    page = opened()
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true }); }"""
    )
    page.get_by_role("link", name="Browse").click()
    until(page, "document.querySelector('#wall img')?.complete")
    page.wait_for_timeout(500)
    assert page.evaluate("window.shift") < 0.1, "what the web calls good"


PAINTED = """() => new Promise((resolve) => {
  window.painted = [];
  const note = (list) => window.painted.push(...list.getEntries().map((entry) => entry.renderTime));
  new PerformanceObserver(note).observe({ type: "element" });
  resolve();
})"""
"""Notes when thumbnails have really been painted."""


def test_hits_are_painted_soon_after_the_answer(opened, chelsea, photographs):
    page = opened()
    page.evaluate(PAINTED)
    searched(page, chelsea)
    soon = """(() => { const answered = performance.getEntriesByType("resource")
      .findLast((entry) => entry.name.endsWith("/search")).responseEnd;
      return Math.min(...window.painted.filter((at) => at > answered)) - answered; })()"""
    until(page, f"Number.isFinite({soon})")
    took = page.evaluate(soon)
    print(f"first thumbnail painted {took:.0f} ms after the answer")
    assert 0 < took < 2000


# The files themselves.


def test_both_languages_say_the_same_things():
    texts = [(FILES / f"text-{name}.js").read_text(encoding="utf-8") for name in ("en", "zh")]
    english, chinese = [dict(re.findall(r'^  "([\w.]+)": "(.*)",$', text, re.M)) for text in texts]
    assert len(english) > 100
    assert {key for key in english if not key.endswith(".one")} == set(chinese)
    for key, text in chinese.items():
        assert set(re.findall(r"\{\w+%?\}", text)) == set(re.findall(r"\{\w+%?\}", english[key])), key


def test_every_text_that_is_asked_for_exists_and_every_text_is_asked_for():
    english = set(re.findall(r'^  "([\w.]+)":', (FILES / "text-en.js").read_text(encoding="utf-8"), re.M))
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in FILES.iterdir()
        if path.suffix in (".js", ".html") and not path.name.startswith("text-")
    )
    used = set(re.findall(r'"([a-z]\w*(?:\.\w+)?)"', code))
    made = {f"settings.{name}" for name in ("granularity", "k", "parts", "verify")}
    made |= {
        "detail.exact",
        "detail.occlusion",
        "tab.search",
        "tab.browse",
        "tab.groups",
        "groups.alike",
        "groups.copies",
        "groups.labels",
    }
    assert {key for key in english if not key.endswith(".one")} - used - made == set()
    dotted = {
        word for word in used if word.split(".")[0] in {key.split(".")[0] for key in english if "." in key}
    }
    assert {word for word in dotted if "." in word} - english == set()


def test_the_page_parses_nothing_as_html_and_asks_no_other_host():
    for path in FILES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), (
            path.name
        )
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path.name
        assert path.suffix != ".html" or not re.search(r"\sstyle=|\son\w+=|<script>|<style", text), path.name


def test_the_installed_package_serves_its_page(indexed, server):
    import grainhash.service

    folder = Path(grainhash.service.__file__).parent / "page"
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in folder.iterdir():
        answer = server.client.get(f"/page/{path.name}")
        assert answer.status_code == 200, path.name
        assert answer.content == path.read_bytes()
    assert (
        server.client.get("/page/main.js")
        .headers["content-type"]
        .startswith(("text/javascript", "application/javascript"))
    )
    assert server.client.get("/page/none.js").status_code == 404
    assert json.loads(server.client.get("/api/v1/info").text)["bit_lengths"]
