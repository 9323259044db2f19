"""The use cases as programs: each in a small form, to its end, on what it makes and on what is one's own."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from films import write_video
from PIL import Image
from running import EXAMPLES, run_example

KINDS = 10


def number(pattern: str, output: str) -> float:
    """The number that stands where the pattern says."""
    return float(re.search(pattern, output)[1])


@pytest.fixture(scope="module")
def idx_files(photographs, tmp_path_factory):
    """Files in the form of Fashion-MNIST: small pieces of ten photographs, which are the kinds."""
    home = tmp_path_factory.mktemp("fashion")
    rng = np.random.default_rng(0)
    sources = [Image.open(path).convert("L") for path in sorted(photographs.rglob("*.*"))[:KINDS]]
    for part, each in (("train", 8), ("t10k", 2)):
        pixels = np.empty((KINDS * each, 28, 28), np.uint8)
        for row in range(len(pixels)):
            source = sources[row % KINDS]
            corner = rng.uniform(0, 0.3, 2) * source.size
            box = [*corner, *(corner + 0.7 * np.array(source.size))]
            pixels[row] = source.resize((28, 28), box=box)
        for name, values in (("images-idx3", pixels), ("labels-idx1", np.arange(len(pixels)) % KINDS)):
            shape = np.array(values.shape, ">u4").tobytes()
            data = bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes()
            (home / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
    return home


def test_product_search_on_idx_files(idx_files, tmp_path):
    out = tmp_path / "out"
    output = run_example("product_search.py", "--fashion-mnist", idx_files, "--each", 8, "--out", out)
    assert "shipped codes, 256 bits: 80 products indexed" in output
    shipped, learned = (
        number(rf"{name} codes.*?; ([\d.]+) of 10 shown are of the category", output)
        for name in ("shipped", "learned")
    )
    assert 3 < shipped <= 8  # chance finds .8, and no kind has more than 8
    assert 3 < learned <= 8
    html = (out / "answers.html").read_text()
    assert html.count("label in (Sandal, Sneaker, Boot)") == 10


def test_product_search_in_a_catalogue_of_ones_own(photographs, tmp_path):
    catalogue = tmp_path / "catalogue"
    for path in sorted(photographs.rglob("*.*"))[:3]:
        (catalogue / path.stem).mkdir(parents=True)
        picture = Image.open(path).convert("RGB").resize((140, 100))
        for number_ in range(30):
            picture.crop((number_, number_, 100 + number_, 70 + number_)).save(
                catalogue / path.stem / f"{number_}.png"
            )
    (tmp_path / "prices.csv").write_text("path,price\n" + "".join(f"{n}.png,{n}\n" for n in range(30)))
    out = tmp_path / "out"
    output = run_example(
        *("product_search.py", "--catalogue", catalogue, "--table", tmp_path / "prices.csv"),
        *("--where", "price < 3", "--query", next(catalogue.rglob("7.png")), "--out", out),
    )
    assert number(r"shipped codes.*?; ([\d.]+) of 10 shown", output) > 9
    assert (out / "answers.html").read_text().count("price &lt; 3") == 1


def test_a_photo_library_of_ones_own(photos, tmp_path):
    shutil.copyfile(photos / "things/coffee.png", photos / "coffee again.png")
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    out = tmp_path / "out"
    output = run_example("photo_library.py", "--photos", photos, "--out", out)
    assert "5 photographs indexed" in output
    assert "1 copies of 1 photographs, e.g.: keep coffee again.png, not coffee.png" in output
    for page in ("copies.html", "groups.html", "hits.html"):
        assert (out / page).stat().st_size > 10_000
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == before


def test_the_made_photo_library_finds_most_copies(tmp_path):
    output = run_example("photo_library.py", "--out", tmp_path / "out")
    assert number(r"of 54 copies made, (\d+) were found; 0 that are none", output) >= 43


def test_cameras_by_a_box_and_by_whole_frames(tmp_path):
    out = tmp_path / "out"
    output = run_example("cameras.py", "--every", 1.5, "--out", out)
    assert output.count("mp4: 8 frames") == 3
    by_box, by_whole = map(float, re.search(r"first: (\d+)% by its box, (\d+)% by whole", output).groups())
    assert by_box >= 90
    assert by_whole < by_box
    assert number(r"overlaps the true one by ([\d.]+)", output) > 0.5
    assert (out / "hits.html").stat().st_size > 10_000


def test_cameras_on_videos_of_ones_own(photos, tmp_path):
    coffee, cat = (
        np.asarray(Image.open(photos / name).convert("RGB").resize((320, 240)))
        for name in ("things/coffee.png", "animals/chelsea.png")
    )
    videos = [
        write_video(tmp_path / f"{name}.mp4", enumerate(frames))
        for name, frames in (("a", (coffee, cat)), ("b", (cat, coffee, cat)))
    ]
    output = run_example(
        *("cameras.py", *videos, "--seen-by", "a.mp4", "--at", 0.2, "--region", "0.2,0.2,0.8,0.8"),
        *("--out", tmp_path / "out"),
    )
    assert "what is at 0.2,0.2,0.8,0.8 in a.mp4 at 0.0 s was seen by b.mp4 at 1.0 s" in output
    assert "came first" not in output


@pytest.mark.parametrize("name", ["product_search.py", "photo_library.py", "cameras.py"])
def test_what_is_there_already_is_left_alone(name, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "is there already" in result.stderr
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.read_text() == "mine"
