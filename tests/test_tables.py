from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash.codes import hamming
from grainhash.errors import CodesError, InputError
from grainhash.hashing.itq import ITQ
from grainhash.hashing.lsh import LSH
from grainhash.hashing.side_by_side import side_by_side
from grainhash.tables import HashTables

DIM = 10
ROWS = np.random.default_rng(3).standard_normal((80, DIM))
FUNCTIONS = [LSH(8, seed=0).fit(ROWS).function, LSH(16, seed=1).fit(ROWS).function, ITQ(8).fit(ROWS).function]


def reference(distances, ids, k, *, radius=None, depth=None):
    """Ids, votes and distances of one query: every table's vote for every item, counted and sorted."""
    votes = []
    for row in distances:
        if radius is None:
            voted = np.zeros(len(ids), bool)
            voted[np.argsort(row, kind="stable")[:depth]] = True
        else:
            voted = row <= radius
        votes.append(voted)
    counts, total = np.sum(votes, axis=0), distances.sum(axis=0)
    found = sorted((-counts[i], total[i], ids[i]) for i in np.flatnonzero(counts))[:k]
    return [(id, -negative, distance) for negative, distance, id in found]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 80),
    n_tables=st.integers(1, 3),
    k=st.integers(0, 12),
    how=st.sampled_from(["radius", "depth"]),
    reach=st.integers(0, 9),
    seed=st.integers(0, 9),
    gaps=st.booleans(),
)
def test_the_answer_is_that_of_counting_all_votes(n, n_tables, k, how, reach, seed, gaps):
    features = np.random.default_rng(seed).standard_normal((n + 3, DIM))
    queries, items = features[:3], features[3:]
    ids = np.arange(n, dtype=np.int64) * (3 if gaps else 1)
    functions = FUNCTIONS[:n_tables]
    tables = HashTables(functions)
    tables.add(items[: n // 2], ids[: n // 2])
    tables.add(items[n // 2 :], ids[n // 2 :])
    found = tables.search(queries, k, **{how: reach})
    assert len(found.limits) == 4
    for row in range(3):
        distances = np.concatenate(
            [hamming(f.encode(queries[row][None]), f.encode(items)) for f in functions]
        )
        span = slice(found.limits[row], found.limits[row + 1])
        answer = zip(found.ids[span], found.votes[span], found.distances[span], strict=True)
        assert list(answer) == reference(distances, ids, k, **{how: reach})


def test_votes_come_before_distance():
    tables = HashTables(FUNCTIONS)
    tables.add(ROWS)
    found = tables.search(ROWS[:20], 30, depth=10)
    for row in range(20):
        span = slice(found.limits[row], found.limits[row + 1])
        keys = list(zip(-found.votes[span], found.distances[span], found.ids[span], strict=True))
        assert keys == sorted(keys)
        assert found.ids[span][0] == row or found.distances[span][0] == 0
    assert len(set(found.votes.tolist())) > 1


def test_total_distance_is_that_of_the_joint_code():
    tables, joint = HashTables(FUNCTIONS), side_by_side(FUNCTIONS)
    tables.add(ROWS)
    found = tables.search(ROWS[:1], 80, radius=16)
    assert len(found.ids) == 80
    expected = hamming(joint.encode(ROWS[:1]), joint.encode(ROWS))[0]
    np.testing.assert_array_equal(found.distances, expected[found.ids])


def test_by_default_there_are_as_many_answers_as_asked_for():
    tables = HashTables(FUNCTIONS[:2])
    tables.add(ROWS)
    assert np.diff(tables.search(ROWS[:5], 7).limits).tolist() == [7] * 5


def test_a_removed_item_is_not_found():
    tables = HashTables(FUNCTIONS)
    tables.add(ROWS)
    assert tables.remove_ids([4, 999]) == 1
    assert len(tables) == 79
    assert 4 not in tables.search(ROWS[4:5], 80, radius=16).ids


@pytest.mark.parametrize(
    "functions", [[], [FUNCTIONS[0], LSH(8).fit(ROWS[:, :4]).function]], ids=["none", "of other features"]
)
def test_functions_that_make_no_tables_are_refused(functions):
    with pytest.raises(InputError, match="same features"):
        HashTables(functions)


def test_a_radius_and_a_depth_together_are_refused():
    with pytest.raises(InputError, match="give one"):
        HashTables(FUNCTIONS).search(ROWS[:1], 3, radius=1, depth=2)


@pytest.mark.parametrize("wrong", [{"k": -1}, {"k": 3, "depth": -1}, {"k": 3, "radius": -1}, {"k": 2.5}])
def test_numbers_that_count_nothing_are_refused(wrong):
    with pytest.raises(CodesError):
        HashTables(FUNCTIONS).search(ROWS[:1], **wrong)


def test_features_that_do_not_fit_are_refused():
    tables = HashTables(FUNCTIONS)
    with pytest.raises(InputError, match="n, 10"):
        tables.add(ROWS[:, :4])
    with pytest.raises(CodesError, match="ascending"):
        tables.add(ROWS[:2], np.array([5, 5]))
    assert len(tables) == 0
