from __future__ import annotations

from math import inf
from statistics import NormalDist
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash import search
from grainhash.chance import USUAL_MEDIAN, usual_spread
from grainhash.errors import InputError
from grainhash.index import Index
from grainhash.search import WHOLE_PICTURE, Question, Ranking, rank, rank_all

N_BITS = 16


@st.composite
def galleries(draw):
    """Ids, a whole code each and 0 to 3 region codes each; few distinct bytes, so many ties."""
    n = draw(st.integers(0, 12))
    ids = sorted(draw(st.sets(st.integers(1, 40), min_size=n, max_size=n)))
    code = st.lists(st.sampled_from([0, 1, 3, 255]), min_size=N_BITS // 8, max_size=N_BITS // 8)
    pictures = {id: (draw(code), draw(st.lists(code, max_size=3))) for id in ids}
    removed = draw(st.sets(st.sampled_from(ids))) if ids else set()
    allow = draw(st.none() | st.sets(st.integers(1, 45)))
    return pictures, removed, allow


def indexes(pictures):
    ids = np.array(list(pictures), np.int64)
    wholes, regions = Index(N_BITS), Index(N_BITS)
    counts = [len(parts) for _, parts in pictures.values()]
    whole_codes = np.array([whole for whole, _ in pictures.values()], np.uint8).reshape(-1, N_BITS // 8)
    part_codes = [part for _, parts in pictures.values() for part in parts]
    wholes.add(whole_codes, ids)
    regions.add(
        np.array(part_codes, np.uint8).reshape(-1, N_BITS // 8),
        ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
    return wholes, regions


def bits(a, b):
    return sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))


def expected_by_chance(distance, n):
    """What `grainhash.chance` says of a gallery too small to say itself what is chance."""
    return n * NormalDist(USUAL_MEDIAN * N_BITS, usual_spread(N_BITS) * N_BITS).cdf(distance)


def share_of(asked, n_queries):
    if n_queries == 1:
        return 1
    return 0.5 if asked == 0 else 0.5 / (n_queries - 1)


def brute_force(pictures, queries, k, granularity, n_granules, depth):
    """Every picture, compared one by one, best first: the fields of a ranking, `None` for no part.

    The first query has the same share in what is expected by chance as all others. What the kinds expect is
    averaged: -1/4 is the power, and (3/4)^-4 makes the mean hold whatever depends on what. A whole counts
    as much as a region, and for up to 3 the more of the `depth` nearest wholes are expected less than once.
    """
    kinds = {"whole": ("whole",), "part": ("part",), "both": ("whole", "part")}[granularity]
    if granularity == "both" and not n_granules["part"]:
        kinds = ("whole",)
    rows, wholes = [], []
    for id, (whole_code, parts) in pictures.items():
        granules = {"whole": [(WHOLE_PICTURE, whole_code)], "part": list(enumerate(parts))}
        matches = [
            (
                expected_by_chance(
                    bits(query, code), max(n_granules[kind], 1) / share_of(asked, len(queries))
                ),
                kinds.index(kind),
                asked,
                bits(query, code),
                region,
            )
            for kind in kinds
            for asked, query in enumerate(queries)
            for region, code in granules[kind]
        ]
        if matches:
            _, _, asked, *_ = min(matches)
            nearest = [
                (distance, -kind if distance else kind, region)
                for _, kind, part, distance, region in matches
                if part == asked
            ]
            distance, _, region = min(nearest)
            whole = min(bits(query, whole_code) for query in queries)
            part = min((bits(query, code) for query in queries for code in parts), default=None)
            least = [
                min((match[0] for match in matches if kinds[match[1]] == kind), default=inf) for kind in kinds
            ]
            distances = [(bits(query, whole_code), id) for query in queries]
            wholes.append((distances, least[0]))
            rows.append((id, least, distance, whole, part, region, asked))
    nearest = [sorted(distances[asked] for distances, _ in wholes)[:depth] for asked in range(len(queries))]
    alike = [
        any(distance in near for distance, near in zip(distances, nearest, strict=True)) and least < 1
        for distances, least in wholes
    ]
    odds = 1 + 2 * sum(alike) / (sum(alike) + 6)

    def averaged(least):
        if len(kinds) == 1:
            return least[0]
        whole, part = (x ** (-1 / 4) for x in least)
        return (3 / 4 * (odds * whole + part) / (odds + 1)) ** -4

    rows = [(id, averaged(least), *rest) for id, least, *rest in rows]
    return sorted(rows, key=lambda row: (row[1], row[0]))[:k]


queries = st.lists(
    st.lists(st.integers(0, 255), min_size=N_BITS // 8, max_size=N_BITS // 8), min_size=1, max_size=3
)


@settings(max_examples=300, deadline=None)
@given(
    galleries(),
    queries,
    st.integers(0, 15),
    st.sampled_from(["whole", "part", "both"]),
    st.sampled_from([1, search.LEAST_DEPTH]),
)
def test_a_ranking_is_what_comparing_with_everything_gives(gallery, queries, k, granularity, depth):
    """However few candidates it begins with."""
    pictures, removed, allow = gallery
    wholes, regions = indexes(pictures)
    wholes.remove_ids(np.array(sorted(removed), np.int64))
    regions.remove_ids(np.array(sorted(removed), np.int64))
    left = {id: codes for id, codes in pictures.items() if id not in removed}
    with patch.multiple(search, LEAST_DEPTH=depth, DEPTH=min(depth + 1, search.DEPTH)):
        ranking = rank(
            wholes,
            regions,
            Question(np.array(queries, np.uint8)),
            k,
            granularity,
            allow=None if allow is None else np.array(sorted(allow & left.keys()), np.int64),
        )
    rows = zip(
        ranking.ids.tolist(),
        ranking.distances.tolist(),
        ranking.whole.tolist(),
        (part if part <= N_BITS else None for part in ranking.part.tolist()),
        ranking.regions.tolist(),
        ranking.parts.tolist(),
        strict=True,
    )
    kinds = {"whole": len(left), "part": sum(len(parts) for _, parts in left.values())}
    n = dict(kinds)
    if allow is not None:
        n = {kind: count * len(allow & left.keys()) / max(len(left), 1) for kind, count in kinds.items()}
        left = {id: codes for id, codes in left.items() if id in allow}
    expected = brute_force(left, queries, k, granularity, n, depth)
    assert list(rows) == [(id, *rest) for id, _, *rest in expected]


@settings(max_examples=100, deadline=None)
@given(
    galleries(),
    st.lists(st.tuples(queries, st.booleans()), min_size=1, max_size=6),
    st.integers(0, 15),
    st.sampled_from(["whole", "part", "both"]),
    st.sampled_from([1, search.LEAST_DEPTH]),
    st.integers(0, 2**32 - 1),
)
def test_questions_asked_together_are_answered_as_each_alone(gallery, many, k, granularity, depth, seed):
    """Of however many parts, with projections or without."""
    pictures, removed, allow = gallery
    wholes, regions = indexes(pictures)
    for index in (wholes, regions):
        index.remove_ids(np.array(sorted(removed), np.int64))
    allowed = None if allow is None else np.array(sorted(allow & (pictures.keys() - removed)), np.int64)
    rng = np.random.default_rng(seed)
    questions = []
    for codes, is_sure in many:
        code = np.array(codes, np.uint8)
        signs = np.unpackbits(code, axis=1) * 2.0 - 1
        questions.append(Question(code, signs * rng.uniform(0.1, 2, signs.shape) if is_sure else None))
    with patch.multiple(search, LEAST_DEPTH=depth, DEPTH=min(depth + 1, search.DEPTH)):
        together = rank_all(wholes, regions, questions, k, granularity, allow=allowed)
        alone = [rank(wholes, regions, each, k, granularity, allow=allowed) for each in questions]
    for one, other in zip(together, alone, strict=True):
        for name in ("ids", "expected", "distances", "whole", "part", "regions", "parts"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
        assert [stage.name for stage in one.stages] == [stage.name for stage in other.stages]
        assert one.stages[-1].n == other.stages[-1].n == len(one.ids)
    assert rank_all(wholes, regions, [], k, granularity) == []


def test_many_questions_are_ranked_a_few_at_a_time():
    """However many there are, memory is that of a few."""
    rng = np.random.default_rng(0)
    wholes, regions = Index(64), Index(64)
    wholes.add(rng.integers(0, 256, (500, 8), np.uint8), np.arange(500))
    regions.add(np.empty((0, 8), np.uint8), np.arange(500), np.zeros(501, np.int64))
    questions = [Question(code[None]) for code in rng.integers(0, 256, (9, 8), np.uint8)]
    expected = rank_all(wholes, regions, questions, 5)
    with (
        patch.object(search, "ROOM", 4 * search.LEAST_DEPTH),
        patch.object(search, "_ranked", wraps=search._ranked) as ranked,
    ):
        found = rank_all(wholes, regions, questions, 5)
    assert [len(call.args[3].codes) for call in ranked.call_args_list] == [4, 4, 1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)


def test_a_question_of_nothing_is_refused():
    wholes, regions = indexes({1: ([0, 0], [])})
    with pytest.raises(InputError, match="no parts"):
        rank(wholes, regions, Question(np.zeros((0, 2), np.uint8)), 1)


def test_an_unknown_granularity_is_refused():
    wholes, regions = indexes({1: ([0, 0], [])})
    with pytest.raises(InputError, match="choose whole, part or both"):
        rank(wholes, regions, Question(np.zeros((1, 2), np.uint8)), 1, "pixel")  # type: ignore[arg-type]


def test_the_distance_of_a_hit_is_that_of_the_region_it_names():
    """By real numbers another region may be best than by bits: its own distance is told."""
    rng = np.random.default_rng(0)
    n, n_regions, n_bits = 40, 6, 64
    codes = rng.integers(0, 256, (n, n_regions, n_bits // 8), np.uint8)
    wholes, regions = Index(n_bits), Index(n_bits)
    wholes.add(rng.integers(0, 256, (n, n_bits // 8), np.uint8), np.arange(1, n + 1))
    offsets = np.arange(0, n * n_regions + 1, n_regions)
    regions.add(codes.reshape(-1, n_bits // 8), np.arange(1, n + 1), offsets)
    reals = rng.normal(size=(1, n_bits)) ** 3
    question = Question(np.packbits(reals > 0, axis=1), reals)
    found = rank(wholes, regions, question, n, "part")
    own = codes[found.ids - 1, found.regions]
    distances = np.bitwise_count(own ^ question.codes[0]).sum(axis=1)
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(found.part, distances)
    least = np.bitwise_count(codes ^ question.codes[0]).sum(axis=2).min(axis=1)
    assert (distances > least[found.ids - 1]).any()


def test_few_candidates_become_more_until_the_best_of_both_kinds_are_certain():
    """The best may be among the nearest neither by wholes nor by regions, and near by both."""
    rng = np.random.default_rng(0)
    n, n_bits = 2000, 32
    ids = np.arange(1, n + 1)
    wholes, regions = Index(n_bits), Index(n_bits)
    wholes.add(rng.integers(0, 256, (n, n_bits // 8), np.uint8), ids)
    regions.add(rng.integers(0, 256, (n, n_bits // 8), np.uint8), ids)
    n_differ = 0
    for code in rng.integers(0, 256, (30, 1, n_bits // 8), np.uint8):
        with patch.object(search, "MOST", 1.0):  # whatever is counted among so few
            everything = rank(wholes, regions, Question(code), n)
        with patch.multiple(search, LEAST_DEPTH=1, DEPTH=2, MOST=1.0):
            few = rank(wholes, regions, Question(code), 3)
        np.testing.assert_array_equal(few.ids, everything.ids[:3])
        near = np.concatenate([index.search(code, 6).ids.ravel() for index in (wholes, regions)])
        n_differ += not set(few.ids) <= set(near)
    assert n_differ


@pytest.mark.parametrize("with_projections", [False, True])
def test_one_picture_alone_is_scored_as_among_all(with_projections):
    """Also where it is none of the nearest: how much wholes count is a matter of all of them."""
    rng = np.random.default_rng(7)
    n, n_bits = 400, 64
    reals = rng.normal(size=(1, n_bits))
    query = np.packbits(reals > 0, axis=1)
    codes = rng.integers(0, 256, (n, n_bits // 8), np.uint8)
    codes[:30] = query ^ (1 << rng.integers(0, 8, (30, n_bits // 8))).astype(np.uint8)
    wholes, regions = Index(n_bits), Index(n_bits)
    ids = np.arange(1, n + 1)
    wholes.add(codes, ids)
    regions.add(rng.permutation(codes), ids)
    question = Question(query, reals if with_projections else None)
    every = rank(wholes, regions, question, n)
    for place, id in enumerate(every.ids[::40].tolist()):
        alone = rank(wholes, regions, question, 1, allow=np.array([id]), as_of_all=True)
        assert alone.ids.tolist() == [id]
        np.testing.assert_allclose(alone.expected, every.expected[40 * place])


def test_the_more_wholes_are_alike_the_more_they_count():
    weights = search.weights_of_kinds(np.array([0, 3, 6, 94])).T
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[:, 0] / weights[:, 1], [1, 5 / 3, 2, 2.88])


@pytest.mark.parametrize("with_projections", [False, True])
def test_first_bits_alone_answer_as_codes_of_that_length_would(with_projections):
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 256, (300, 8), np.uint8)
    region_codes, offsets = rng.integers(0, 256, (900, 8), np.uint8), np.arange(0, 901, 3)
    reals = rng.normal(size=(2, 64))
    question = Question(np.packbits(reals > 0, axis=1), reals if with_projections else None)
    ids = np.arange(1, 301)

    def asked(n_bytes: int, question: Question) -> Ranking:
        wholes, regions = Index(8 * n_bytes), Index(8 * n_bytes)
        wholes.add(np.ascontiguousarray(codes[:, :n_bytes]), ids)
        regions.add(np.ascontiguousarray(region_codes[:, :n_bytes]), ids, offsets)
        return rank(wholes, regions, question, 20)

    short, cut = asked(3, question.first(24)), asked(8, question.first(24))
    for name in ("ids", "distances", "whole", "part", "regions", "parts"):
        np.testing.assert_array_equal(getattr(short, name), getattr(cut, name), name)
    np.testing.assert_allclose(short.expected, cut.expected)
    assert not np.array_equal(cut.distances, asked(8, question).distances)
