from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grainhash.errors import InputError
from grainhash.features.pooling import (
    POOLINGS,
    average_pool,
    gem_pool,
    max_pool,
    rmac_pool,
    rmac_regions,
)

maps = arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)),
    elements=st.floats(0, 6, width=32),
)


def naive_rmac(picture):
    """R-MAC of one `(c, h, w)` map by the book."""
    total = np.zeros(len(picture))
    for top, left, side in rmac_regions(*picture.shape[1:]):
        region = picture[:, top : top + side, left : left + side].max(axis=(1, 2)).astype(float)
        total += region / max(np.linalg.norm(region), 1e-9)
    return total


@given(maps)
def test_poolings_are_their_definitions(x):
    np.testing.assert_allclose(average_pool(x), x.mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(max_pool(x), x.max(axis=(2, 3)))
    cubes = np.maximum(x.astype(float), 1e-6) ** 3
    np.testing.assert_allclose(gem_pool(x), cubes.mean(axis=(2, 3)) ** (1 / 3), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rmac_pool(x), [naive_rmac(picture) for picture in x], rtol=1e-4, atol=1e-5)


@given(maps)
def test_gem_lies_between_average_and_maximum(x):
    pooled = gem_pool(x)
    assert (pooled >= average_pool(x) - 1e-4).all()
    assert (pooled <= max_pool(x) + 1e-4).all()
    np.testing.assert_allclose(gem_pool(x, power=1.0), average_pool(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_picture_alone_equals_it_in_a_batch(name):
    x = np.random.default_rng(0).random((9, 16, 7, 7), np.float32)
    together = POOLINGS[name](x)
    assert (together.shape, together.dtype) == ((9, 16), np.float32)
    for i in (0, 4, 8):
        np.testing.assert_array_equal(POOLINGS[name](x[i : i + 1])[0], together[i])
    assert POOLINGS[name](x[:0]).shape == (0, 16)


def test_rmac_regions_of_a_square_map():
    assert rmac_regions(7, 7, levels=1) == [(0, 0, 7)]
    assert rmac_regions(7, 7, levels=2)[1:] == [(y, x, 5) for y in (0, 2) for x in (0, 2)]
    assert [side for _, _, side in rmac_regions(7, 7)] == [7] + [5] * 4 + [4] * 9


@given(st.integers(1, 40), st.integers(1, 40))
def test_rmac_regions_lie_inside_and_reach_every_side(height, width):
    regions = rmac_regions(height, width)
    assert {min(y for y, _, _ in regions), min(x for _, x, _ in regions)} == {0}
    assert min(s for _, _, s in regions) >= 1
    assert max(y + s for y, _, s in regions) == height
    assert max(x + s for _, x, s in regions) == width
    assert {(x, y, s) for y, x, s in regions} == set(rmac_regions(width, height))


def test_one_strong_position_moves_rmac_less_than_max():
    x = np.random.default_rng(1).random((1, 32, 7, 7), np.float32)
    spiked = x.copy()
    spiked[0, 3, 0, 0] = 50

    def cosine(pool):
        a, b = pool(x)[0], pool(spiked)[0]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(rmac_pool) > cosine(max_pool)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 0, 4, 4), (1, 3, 0, 4)])
@pytest.mark.parametrize("name", POOLINGS)
def test_what_is_no_map_is_refused(name, shape):
    with pytest.raises(InputError, match="feature maps of shape"):
        POOLINGS[name](np.zeros(shape, np.float32))
