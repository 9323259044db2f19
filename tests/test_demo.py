"""`make demo`, without make: the example in a process of its own."""

from __future__ import annotations

import re
import shutil

from running import run_example


def demo(*arguments: object) -> str:
    return run_example("demo.py", *arguments)


def came_first(output: str) -> tuple[int, int]:
    right, asked = re.findall(r"(\d+) of (\d+) right answers came first", output)[0]
    return int(right), int(asked)


def test_the_demo_finds_nearly_all_pieces_again(tmp_path):
    output = demo("--out", tmp_path / "demo")
    right, asked = came_first(output)
    assert asked == 48
    assert right >= 44
    page = tmp_path / "demo/report.html"
    assert f"see file://{page}" in output
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") >= asked
    assert not re.search(r"""(src|href)=["'](?!data:|#|file:)""", html)
    again = demo("--out", tmp_path / "demo")
    assert came_first(again) == (right, asked)


def test_the_demo_on_photographs_of_ones_own(tmp_path, photos):
    shutil.copyfile(photos / "things/coffee.png", photos / "copy of coffee.png")
    (photos / "bad.jpg").write_bytes(b"no picture")
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    output = demo("--photos", photos, "--out", tmp_path / "demo")
    assert "(5 added, 0 known, 1 left out)" in output
    right, asked = came_first(output)
    assert asked == 20
    assert right >= 18
    assert (tmp_path / "demo/report.html").exists()
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before
