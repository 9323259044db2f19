from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from grainhash import Box, Gallery
from grainhash.encoder.granules import cut
from grainhash.explain import agreement, explain, shares
from grainhash.hashing.function import Affine, HashFunction, L2Norm, Tanh

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


@pytest.mark.parametrize(("kind", "every"), [("encoder", 1), ("bent", 2)], ids=["exact", "occlusion"])
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
