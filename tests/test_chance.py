from __future__ import annotations

from math import exp, inf, log
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainhash.chance import LEAST, LOW, USUAL_MEDIAN, Chance, log_shares, score_of, together, usual_spread

N_BITS = 256


def test_chance_goes_through_the_median_and_the_first_percentile():
    """Of each query's own distances."""
    samples = np.random.default_rng(0).normal([[120], [90]], [[12], [7]], (2, 5000))
    chance = Chance.of(samples, N_BITS)
    points = np.quantile(samples, [0.5, LOW], axis=1).T
    shares = np.exp(log_shares(points, chance.median[:, None], chance.spread[:, None]))
    np.testing.assert_allclose(shares, [[0.5, LOW]] * 2, rtol=1e-6)
    np.testing.assert_allclose(chance.spread, [12, 7], atol=0.8)


@pytest.mark.parametrize("n_alike", [60, 250])
def test_many_pictures_like_the_query_do_not_make_it_doubtful(n_alike):
    """A burst of it, or a class, which holds the first percentile."""
    rng = np.random.default_rng(1)
    unrelated, alike = rng.normal(125, 12, 5000 - n_alike), rng.normal(20, 5, n_alike)
    chance = Chance.of(np.concatenate([unrelated, alike])[None], N_BITS)
    assert 12 <= chance.spread[0] <= 2.3 * 12
    assert 5000 * exp(log_shares(np.array([0.0]), chance.median, chance.spread)[0]) < 0.01


@pytest.mark.parametrize("share", [0.4, 0.5])
def test_granules_that_are_one_and_the_same_do_not_make_chance_seem_narrow(share):
    """As blank regions are: the quartile is theirs."""
    rng = np.random.default_rng(2)
    n = round(share * 20_000)
    distances = np.concatenate([np.full(n, 128.0), rng.normal(126, 19, 20_000 - n)])
    chance = Chance.of(distances[None], N_BITS)
    for near in (70, 80):
        expected = len(distances) * exp(log_shares(np.array([float(near)]), chance.median, chance.spread)[0])
        assert expected > 0.5 * (distances <= near).sum()


def test_shares_are_those_of_the_normal_distribution():
    for distance in (0.0, 60.0, 97.5, 120.0, 200.0):
        share = NormalDist(120, 12).cdf(distance)
        assert exp(log_shares(np.array([distance]), 120, 12)[0]) == pytest.approx(share, rel=1e-9)


@given(st.floats(0, 1024), st.floats(1e-3, 100), st.floats(0.01, 200))
def test_a_smaller_distance_is_less_likely_however_unlikely(distance, step, spread):
    near, far = log_shares(np.array([distance, distance + step]), 512, spread)
    assert near < far or (distance > 512 and near <= far)  # far above the median everything is as near
    assert np.isfinite([near, far]).all()


def test_no_granule_is_no_match():
    assert log_shares(np.array([inf]), 120, 12)[0] == inf


@pytest.mark.parametrize("sample", [np.empty((3, 0)), np.zeros((3, LEAST - 1))])
def test_a_few_granules_say_nothing_of_chance(sample):
    chance = Chance.of(sample, N_BITS)
    assert chance.median.tolist() == [USUAL_MEDIAN * N_BITS] * 3
    assert chance.spread.tolist() == [usual_spread(N_BITS) * N_BITS] * 3


def test_short_codes_are_usually_spread_as_widely_as_measured():
    """See `usual_spread`: a short code is near to many by chance."""
    measured = {16: 0.146, 32: 0.114, 64: 0.089, 128: 0.077, 256: 0.074}
    for n_bits, spread in measured.items():
        assert usual_spread(n_bits) == pytest.approx(spread, abs=0.005)


def test_a_gallery_of_one_and_the_same_picture_has_some_spread():
    chance = Chance.of(np.full((1, LEAST), 100.0), N_BITS)
    assert log_shares(np.array([99.0]), chance.median, chance.spread)[0] < log(0.5)


def test_scores():
    assert score_of(0) == 1
    assert score_of(1) == 0.5
    assert score_of(1 / 9) == pytest.approx(0.9)
    assert score_of(inf) == 0


def test_what_several_kinds_say_is_one_expectation():
    """A thing expected seldom by both is expected more seldom than by one, and never than by the least."""
    kinds = np.log(np.array([[1e-6, 1e-6, 1e-6, 5.0], [1e-6, 1.0, np.inf, 5.0]]))
    equal = np.array([[0.5], [0.5]])
    both, one, alone, neither = np.exp(together(kinds, equal))
    assert both == pytest.approx(1e-6 * (3 / 4) ** -4)
    assert both < one < alone == pytest.approx(1e-6 * (3 / 8) ** -4)
    assert neither > 5
    mostly = np.exp(together(kinds, np.array([[0.8], [0.2]])))
    assert mostly[2] == pytest.approx(1e-6 * (3 / 4 * 0.8) ** -4)
    assert mostly[0] == pytest.approx(both)
    np.testing.assert_array_equal(together(kinds[:1], equal[:1]), kinds[0])
    assert np.isinf(together(np.full((2, 1), np.inf), equal)).all()


def test_one_expectation_of_two_holds_whether_they_depend_on_each_other_or_not():
    rng = np.random.default_rng(0)
    shares = np.log(rng.uniform(size=(2, 200_000)))
    for two in (shares, shares[[0, 0]]):
        for weight in (0.1, 0.5, 0.75):
            found = together(two, np.array([[weight], [1 - weight]]))
            for share in (0.1, 0.01, 0.001):
                assert (found < np.log(share)).mean() <= share
