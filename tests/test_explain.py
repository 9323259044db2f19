from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from grainhash import Box, Gallery
from grainhash.cli import main
from grainhash.encoder.granules import cut
from grainhash.errors import BoxError, GalleryError, InputError, PictureDamaged, PictureUnreadable
from grainhash.explain import Explanation, Side, agreement, explain, shares
from grainhash.explain_report import (
    ACCENT,
    AGREE,
    GAP,
    HEAT,
    HEIGHT,
    MARGIN,
    METHODS,
    PAIR,
    WIDTH,
    _coloured,
    _heat_pair,
    html_page,
    lines,
    png,
    to_json,
)
from grainhash.hashing.function import Affine, HashFunction, L2Norm, Tanh
from grainhash.types import WHOLE, Match

PART = Box(0.25, 0.25, 0.85, 0.85)


@pytest.fixture(scope="module")
def bent(encoder):
    """The shipped encoder with a hash function that is nearly the same and not linear."""
    norm, affine = encoder.hash_function.steps
    n, small = encoder.n_bits, np.float32(1e-2)
    steps = [
        norm,
        Affine(affine.weight * small, affine.bias * small),
        Tanh(),
        Affine(np.eye(n, dtype=np.float32) / small, np.zeros(n, np.float32)),
    ]
    return encoder.with_hash_function(HashFunction(steps, "bent"), {})


@pytest.fixture(scope="module")
def full(tmp_path_factory, photographs):
    """A gallery of all photographs, for tests that only ask."""
    with Gallery.open(tmp_path_factory.mktemp("full") / "gallery", create=True) as opened:
        opened.index(photographs)
        yield opened


@pytest.fixture
def cat(photographs, tmp_path):
    """The face of the cat, as a file of its own."""
    path = tmp_path / "cat.jpg"
    Image.open(photographs / "animals/chelsea.png").crop((90, 20, 330, 240)).save(path, quality=85)
    return path


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def photographs_with_pieces(photographs, every=1):
    """Real photographs, and a piece of each that was compressed anew."""
    for path in sorted(photographs.rglob("*.*"))[::every]:
        rgb = pixels(path)
        piece = cut(rgb, [PART], 300)[0]
        yield piece, rgb


# Shares that add up


def test_the_pieces_of_a_row_add_up_to_what_becomes_of_the_row():
    rng = np.random.default_rng(0)
    steps = [
        L2Norm(),
        Affine(rng.normal(size=(20, 16)).astype(np.float32), rng.normal(size=16).astype(np.float32)),
        L2Norm(),
        Affine(rng.normal(size=(16, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)),
    ]
    pieces = rng.normal(size=(49, 20))
    row = HashFunction(steps, "test").project(pieces.sum(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(shares(steps, pieces).sum(axis=0), row, rtol=1e-9)
    nothing = HashFunction(steps, "test").project(np.zeros((1, 20)))[0]
    np.testing.assert_allclose(shares(steps, 0 * pieces).sum(axis=0), nothing, rtol=1e-9)


def test_a_heat_maps_cells_sum_to_the_agreement(photographs, encoder):
    for piece, rgb in photographs_with_pieces(photographs, every=5):
        found = explain(encoder, piece, rgb, hit_box=PART)
        assert found.method == "exact"
        for side, other in ((found.query, found.hit), (found.hit, found.query)):
            assert side.heat.shape == (7, 7)
            total = agreement(side.projections, other.projections)
            assert side.heat.sum() == pytest.approx(total, rel=1e-6)
        assert found.distance == (found.n_bits - found.agree.sum()) < found.n_bits / 4


@pytest.mark.parametrize(
    ("features", "shape"),
    [("mid:avg", (14, 14)), ("map:avg", (7, 7)), ("map:gem", None), ("pooled+colour", None)],
)
def test_only_averages_of_a_map_are_exact(photographs, encoder, features, shape):
    changed = encoder.with_features(features)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(changed.n_features, 64)).astype(np.float32)
    steps = [L2Norm(), Affine(weight, np.zeros(64, np.float32))]
    changed = changed.with_hash_function(HashFunction(steps, "lsh"), {})
    piece, rgb = next(photographs_with_pieces(photographs))
    found = explain(changed, piece, rgb)
    assert found.method == ("exact" if shape else "occlusion")
    assert found.hit.heat.shape == (shape or (7, 7))
    assert found.hit.activations.shape == (shape or (7, 7))
    if shape:
        total = agreement(found.hit.projections, found.query.projections)
        assert found.hit.heat.sum() == pytest.approx(total, rel=1e-6)


def test_features_without_a_map_are_explained_by_hiding(photographs, encoder):
    changed = encoder.with_features("colour")
    weight = np.random.default_rng(0).normal(size=(changed.n_features, 32)).astype(np.float32)
    changed = changed.with_hash_function(HashFunction([Affine(weight, np.zeros(32, np.float32))], "lsh"), {})
    found = explain(changed, *next(photographs_with_pieces(photographs)))
    assert (found.method, found.hit.activations) == ("occlusion", None)
    assert np.abs(found.hit.heat).max() > 0


def test_hiding_finds_the_places_that_the_exact_shares_name(photographs, encoder, bent):
    rgb = pixels(photographs / "things/coffee.png")
    piece = cut(rgb, [PART], 300)[0]
    exact, hidden = explain(encoder, piece, rgb), explain(bent, piece, rgb)
    assert (exact.method, hidden.method) == ("exact", "occlusion")
    assert (exact.agree == hidden.agree).mean() > 0.98
    for one, other in ((exact.query, hidden.query), (exact.hit, hidden.hit)):
        assert np.corrcoef(one.heat.ravel(), other.heat.ravel())[0, 1] > 0.6


# Faithfulness


def losses(encoder, found, rng):
    """What the agreement of each side loses without its hottest, other and coldest quarter of the cells."""
    rows = []
    for side, other in ((found.query, found.hit), (found.hit, found.query)):
        size = encoder.config.network.input_size
        whole = cut(side.rgb, [side.box], size)[0]
        order = np.argsort(-side.heat, axis=None)
        n = round(side.heat.size / 4)
        others = [rng.choice(order[n:], n, replace=False) for _ in range(3)]
        hidden = [hide(whole, side.heat.shape, cells) for cells in (order[:n], order[-n:], *others)]
        left = agreement(encoder.hash_function.project(encoder.features(np.stack(hidden))), other.projections)
        top, bottom, *rest = agreement(side.projections, other.projections) - left
        rows.append((top, np.mean(rest), bottom))
    return rows


def hide(picture, shape, cells):
    """A picture with some cells of a lattice filled with its mean colour."""
    mask = np.zeros(shape, bool)
    mask.ravel()[cells] = True
    mask = np.asarray(Image.fromarray(mask).resize(picture.shape[1::-1], Image.Resampling.NEAREST))
    return np.where(mask[..., None], picture.mean(axis=(0, 1)).round().astype(np.uint8), picture)


@pytest.mark.parametrize(("kind", "every"), [("encoder", 1), ("bent", 3)], ids=["exact", "occlusion"])
def test_hiding_what_is_shown_costs_more_than_hiding_as_much_elsewhere(photographs, request, kind, every):
    """On real photographs, whole against piece: what is hot matters, what is cold does not."""
    used = request.getfixturevalue(kind)
    rng = np.random.default_rng(0)
    rows = []
    for piece, rgb in photographs_with_pieces(photographs, every):
        rows += losses(used, explain(used, piece, rgb), rng)
    top, elsewhere, bottom = np.mean(rows, axis=0)
    assert top > 2 * max(elsewhere, bottom)
    assert np.mean([a > b for a, b, _ in rows]) > 2 / 3


# What cannot be explained, or barely


def test_a_picture_of_one_colour_has_no_core(photographs, encoder, bent):
    plain = np.full((60, 80, 3), 90, np.uint8)
    hidden = explain(bent, plain, pixels(photographs / "things/coffee.png"))
    assert hidden.query.core() is None
    assert not hidden.query.heat.any()
    exact = explain(encoder, plain, plain)
    assert (exact.distance, exact.method) == (0, "exact")
    assert np.isfinite(exact.hit.heat).all()
    for found in (hidden, exact):
        assert Image.open(io.BytesIO(png(found))).mode == "RGB"


def test_the_core_is_the_fewest_cells_and_the_box_around_them(encoder):
    side = Side(np.zeros((4, 4, 3), np.uint8), Box(0.5, 0, 1, 1), np.zeros(8), np.zeros((2, 4)), None)
    side.heat[:] = [[1, 6, -9, 0], [1, 3, 1, 0]]
    assert side.core() == (1 / 8, Box(0.625, 0, 0.75, 0.5))
    assert side.core(0.75) == (2 / 8, Box(0.625, 0, 0.75, 1))


def test_a_box_of_no_area_is_refused(full, cat):
    with pytest.raises(BoxError):
        full.explain(cat, 1, region=Box(0.5, 0.5, 0.5, 1))


# Of a gallery


@pytest.mark.parametrize("parts", [0, 3])
def test_a_gallery_explains_what_its_search_finds(full, photographs, cat, parts):
    for hit in full.search(cat, parts=parts, k=3):
        for what in (hit.id, hit.uri):
            found = full.explain(cat, what, parts=parts)
            assert found.found is not None
            assert replace(found.found, false_matches=0) == replace(hit, false_matches=0)
            assert found.found.false_matches == pytest.approx(hit.false_matches, rel=1e-9)
            assert (found.query.box, found.hit.box) == (hit.query_box, hit.box)


def test_the_heat_lies_on_the_thing(full, photographs, cat):
    """The cat's face is in the left of the photograph, and what agrees is in the face."""
    found = full.explain(cat, photographs / "animals/chelsea.png")
    assert found.method == "exact"
    share, box = found.hit.core()
    assert share < 0.45
    face = Box(90 / 451, 20 / 300, 330 / 451, 240 / 300)
    middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    assert face.x0 < middle[0] < face.x1
    assert face.y0 < middle[1] < face.y1


def test_a_region_is_what_is_explained(full, photographs):
    path, region = photographs / "things/coffee.png", Box(0.4, 0.4, 1, 1)
    found = full.explain(path, path, region=region)
    assert (found.query.box, found.distance) == (region, 0)
    assert found.agree.all()


def test_what_is_not_one_picture_of_the_gallery_is_refused(full, photographs, cat):
    for hit in (cat, 999, -1, "nowhere.jpg"):
        with pytest.raises(InputError, match="not in the gallery; name one picture"):
            full.explain(cat, hit)
    with pytest.raises(InputError, match="18 pictures of the gallery"):
        full.explain(cat, photographs)


def test_a_picture_that_cannot_be_read_or_has_changed_is_one_clear_error(photos, tmp_path, encoder, cat):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with Gallery.open(tmp_path / "gallery", create=True, encoder=encoder) as gallery:
        gallery.index(photos)
        with pytest.raises(PictureUnreadable):
            gallery.explain(tmp_path / "gone.jpg", 1)
        with pytest.raises(PictureDamaged, match="broken"):
            gallery.explain(broken, 1)
        chelsea = photos / "animals/chelsea.png"
        chelsea.write_bytes((photos / "things/coffee.png").read_bytes())
        with pytest.raises(GalleryError, match=r"chelsea.png: changed since .* grainhash add"):
            gallery.explain(cat, chelsea)
        chelsea.unlink()
        with pytest.raises(PictureUnreadable, match=r"chelsea.png"):
            gallery.explain(cat, chelsea)


# How it looks


def test_the_picture_shows_both_and_their_bits(full, photographs, cat):
    found = full.explain(cat, photographs / "animals/chelsea.png")
    image = Image.open(io.BytesIO(png(found, names=("漢字.jpg", "a/" + 90 * "b" + ".png"))))
    assert (image.format, image.mode, image.width) == ("PNG", "RGB", PAIR + 2 * MARGIN)
    colours = np.asarray(image)[-180:].reshape(-1, 3)
    n_green, n_orange = ((colours == colour).all(axis=1).sum() for colour in (AGREE, ACCENT))
    assert n_orange / (n_green + n_orange) == pytest.approx(found.distance / found.n_bits, rel=0.02)


def test_lines_join_the_points_that_match(full, photographs, cat):
    found = full.explain(cat, photographs / "animals/chelsea.png")
    corner, other = np.array([[0.5, 0.0]]), np.array([[0.5, 1.0]])
    match = Match(corner, other, np.array([[0.4, 0.9], [0.6, 0.9], [0.5, 1.0]]), 1, 0.0, np.eye(2, 3))
    joined = replace(found, found=replace(found.found, match=match))
    without, with_lines = (np.asarray(_heat_pair(each)) for each in (found, joined))
    changed = np.argwhere((without != with_lines).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert right - left == pytest.approx(WIDTH + GAP, abs=80)
    assert bottom - top == pytest.approx(HEIGHT, abs=80)


@pytest.mark.parametrize("points", ["map", "sift"])
def test_points_of_both_are_matched_where_they_are_asked_for(full, photographs, cat, points):
    picture = photographs / "animals/chelsea.png"
    assert full.explain(cat, picture).found.match is None
    found = full.explain(cat, picture, points=points)
    assert found.found.match.n_places >= 5
    assert found.found.match.box.iou(Box(90 / 451, 20 / 300, 330 / 451, 240 / 300)) > 0.7
    assert "match and lie alike" in dict(lines(found))["points"]
    assert to_json(found, "cat.jpg")["hit"]["points"]["places"] == found.found.match.n_places


@pytest.mark.parametrize("box", [Box(0, 0, 1e-6, 1e-6), Box(0.999999, 0.999999, 1, 1), WHOLE])
@pytest.mark.parametrize("size", [(3, 2000), (2000, 3), (1, 1)])
def test_any_box_of_any_picture_can_be_drawn(box, size):
    rgb = np.zeros((*size, 3), np.uint8)
    side = Side(rgb, box, np.ones(8), np.eye(7), np.ones((7, 7)))
    assert png(Explanation(side, side, "exact")).startswith(b"\x89PNG")


def test_negative_shares_have_colours_of_their_own():
    for_it, against, none = (
        np.asarray(_coloured(np.array([[level]]), HEAT))[0, 0].astype(int) for level in (0.8, 0.2, 0.5)
    )
    assert for_it[0] > for_it[2]
    assert against[2] > against[0]
    assert none.max() < 10


def test_the_page_needs_nothing_else_and_says_what_it_shows(full, photographs, cat, bent):
    found = full.explain(cat, photographs / "animals/chelsea.png")
    page = html_page(found, names=("<b>.jpg", found.found.uri))
    assert page.count("data:image/webp;base64,") == 2
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|<script|https?://""", page)
    assert "prefers-color-scheme: dark" in page
    assert "<b>" not in page
    assert all(re.findall(r"<img [^>]*alt=\"([^\"]*)\"", page))
    assert METHODS["exact"] in page
    assert page.count("<i></i>") == found.n_bits - found.distance
    assert page.count('<i class="differs"></i>') == found.distance
    plain = np.full((60, 80, 3), 90, np.uint8)
    assert METHODS["occlusion"] in html_page(explain(bent, plain, plain))


def test_the_command_says_draws_and_writes(full, photographs, cat, tmp_path, capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["grainhash", "explain", *map(str, arguments), "-g", str(full.path)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code or 0, *capsys.readouterr()

    hit = photographs / "animals/chelsea.png"
    drawn, page = tmp_path / "why.png", tmp_path / "why.html"
    code, out, err = run(cat, hit, "--png", drawn, "--html", page)
    assert (code, err) == (0, "")
    assert re.search(r"^bits +\d+ of 256 differ$", out, re.MULTILINE)
    assert re.search(r"^heat maps +exact: ", out, re.MULTILINE)
    assert re.search(r"half of what agrees is in \d+% of what was compared of the hit, within the box ", out)
    assert out.splitlines()[-2:] == [f"picture: {drawn}", f"page: {page}"]
    with Image.open(drawn) as image:
        assert (image.format, image.mode, image.width) == ("PNG", "RGB", PAIR + 2 * MARGIN)
    assert "chelsea.png" in page.read_text(encoding="utf-8")

    code, out, _ = run(cat, 2, "--points", "sift")
    assert "points     too few match and lie alike" in out.splitlines()
    code, out, _ = run(cat, 1, "--json", "--region", "0,0,1,0.9")
    answer = json.loads(out)
    assert list(answer) == ["query", "n_bits", "distance", "differing", "method", "hit", "sides"]
    assert list(answer["hit"]) == ["id", "uri", "score", "false_matches", "points"]
    assert list(answer["sides"]["hit"]) == ["box", "heat", "core"]
    assert (answer["sides"]["query"]["box"], answer["method"]) == ([0, 0, 1, 0.9], "exact")
    assert len(answer["differing"]) == answer["distance"]
    assert np.shape(answer["sides"]["hit"]["heat"]) == (7, 7)

    for wrong, status in (((cat, 999), 1), ((cat, 1, "--region", "1,1,1,1"), 2), ((tmp_path / "gone", 1), 1)):
        code, _, err = run(*wrong)
        assert (code, err.count("\n")) == (status, 1)
    code, _, err = run(cat, 1, "--png", tmp_path / "missing" / "why.png")
    assert (code, "create it first" in err) == (1, True)
