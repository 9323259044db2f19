from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash.errors import InputError
from grainhash.index import Index
from grainhash.search import WHOLE_PICTURE, rank

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


def brute_force(pictures, query, k, granularity):
    """Every picture, compared one by one: `(id, distance, whole, part or None, region)` in order."""
    rows = []
    for id, (whole_code, parts) in pictures.items():
        whole = bits(query, whole_code)
        part, region = min(((bits(query, code), n) for n, code in enumerate(parts)), default=(None, None))
        if granularity == "whole" or (granularity == "both" and (part is None or whole <= part)):
            rows.append((id, whole, whole, part, WHOLE_PICTURE))
        elif part is not None:
            rows.append((id, part, whole, part, region))
    return sorted(rows, key=lambda row: (row[1], row[0]))[:k]


@settings(max_examples=300, deadline=None)
@given(
    galleries(),
    st.lists(st.integers(0, 255), min_size=N_BITS // 8, max_size=N_BITS // 8),
    st.integers(0, 15),
    st.sampled_from(["whole", "part", "both"]),
)
def test_a_ranking_is_what_comparing_with_everything_gives(gallery, query, k, granularity):
    pictures, removed, allow = gallery
    wholes, regions = indexes(pictures)
    wholes.remove_ids(np.array(sorted(removed), np.int64))
    regions.remove_ids(np.array(sorted(removed), np.int64))
    ranking = rank(
        wholes,
        regions,
        np.array(query, np.uint8),
        k,
        granularity,
        allow=None if allow is None else np.array(sorted(allow), np.int64),
    )
    rows = zip(
        ranking.ids.tolist(),
        ranking.distances.tolist(),
        ranking.whole.tolist(),
        (part if part <= N_BITS else None for part in ranking.part.tolist()),
        ranking.regions.tolist(),
        strict=True,
    )
    left = {
        id: codes for id, codes in pictures.items() if id not in removed and (allow is None or id in allow)
    }
    assert list(rows) == brute_force(left, query, k, granularity)


def test_an_unknown_granularity_is_refused():
    wholes, regions = indexes({1: ([0, 0], [])})
    with pytest.raises(InputError, match="choose whole, part or both"):
        rank(wholes, regions, np.zeros(2, np.uint8), 1, "pixel")  # type: ignore[arg-type]
