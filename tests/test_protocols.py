"""Named protocols: sizes, seeds, and no picture on two sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grainhash.errors import SplitError
from grainhash.evaluation.protocols import OWN, PROTOCOLS, Protocol, Split, protocol
from grainhash.labels import Labels

CIFAR = Labels.single(np.arange(60_000) % 10)


def _positions(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("name", "sizes", "shared"),
    [
        ("cifar10", (1000, 5000, 54_000), 0),
        ("cifar10-1", (1000, 5000, 59_000), 5000),
        ("cifar10-2", (10_000, 50_000, 50_000), 50_000),
    ],
)
def test_cifar10_has_the_published_sizes(name: str, sizes: tuple[int, ...], shared: int):
    split = PROTOCOLS[name].split(CIFAR, seed=3)
    assert (len(split.query), len(split.training), len(split.database)) == sizes
    assert len(np.intersect1d(split.training, split.database)) == shared
    assert not len(np.intersect1d(split.query, np.union1d(split.training, split.database)))
    assert set(np.bincount(CIFAR.take(split.query).ids)) == {sizes[0] // 10}
    assert set(np.bincount(CIFAR.take(split.training).ids)) == {sizes[1] // 10}
    assert split.notes == ()
    assert split.seed == 3


def test_of_a_hierarchy_the_leaves_are_the_classes():
    paths = [f"{'animal' if n % 10 < 6 else 'vehicle'}/{n % 10}" for n in range(60_000)]
    flat, deep = (PROTOCOLS["cifar10-1"].split(labels) for labels in (CIFAR, Labels.hierarchy(paths)))
    assert (len(deep.query), len(deep.training), deep.notes) == (1000, 5000, ())
    np.testing.assert_array_equal(deep.query, flat.query)


def test_the_test_split_asks_the_train_split():
    parts = np.array(["train"] * 50_000 + ["test"] * 10_000)
    split = PROTOCOLS["cifar10-unsupervised"].split(CIFAR, parts)
    assert split.query.tolist() == list(range(50_000, 60_000))
    np.testing.assert_array_equal(split.database, split.training)
    assert split.seed is None
    assert PROTOCOLS["cifar10-unsupervised"].at == 1000


def test_a_seed_decides_the_split():
    first, again, other = (PROTOCOLS["cifar10-1"].split(CIFAR, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.query, again.query)
    assert not np.array_equal(first.query, other.query)


def test_several_labels_are_drawn_by_class_without_any_twice():
    rng = np.random.default_rng(0)
    labels = Labels.multi([set(rng.choice(5, 2, replace=False).tolist()) for _ in range(200)])
    small = replace(PROTOCOLS["nuswide21"], queries=6, training=10)
    split = small.split(labels)
    assert (len(split.query), len(split.training), len(split.database)) == (30, 50, 170)
    assert (labels.take(split.query).counts() >= 6).all()
    assert split.notes == (
        "200 pictures where the published data have 195,834",
        "5 classes where the published data have 21",
    )


def test_every_protocol_goes_by_its_own_name():
    assert all(known.name == name for name, known in PROTOCOLS.items())


@pytest.mark.parametrize("name", [name for name, known in PROTOCOLS.items() if known.queries is not None])
def test_sizes_that_are_told_are_those_that_are_drawn(name: str):
    known = PROTOCOLS[name]
    times = (known.n_classes or 0) if known.draw == "per class" else 1
    for n in (known.queries * times, known.training * times):
        assert f"{n:,}" in known.about
    rest = (known.n_pictures or 0) - known.queries * times
    searched = {
        "rest": rest - known.training * times,
        "rest and training": rest,
        "training": known.training * times,
    }
    assert f"{searched[known.database]:,}" in known.about


def test_parts_that_the_data_name_are_taken():
    labels = Labels.single([0, 0, 1, 1, 1])
    parts = np.array(["query", "database", "query", "database", "training"])
    split = OWN.split(labels, parts)
    assert split.query.tolist() == [0, 2]
    assert split.database.tolist() == [1, 3]
    assert split.training.tolist() == [4]
    by_use = np.array(["test", "train", "train", "train", ""])
    assert OWN.split(labels, by_use).query.tolist() == [0]
    assert replace(OWN, queries=2).split(labels, by_use).query.tolist() == [0]
    assert PROTOCOLS["coco"].queries == 5000
    with pytest.raises(SplitError, match="draws 5000"):
        PROTOCOLS["coco"].split(labels, by_use)


def test_own_pictures_are_drawn_one_in_ten():
    split = OWN.split(Labels.single([0, 1] * 25))
    assert (len(split.query), len(split.database)) == (5, 45)


def test_fewer_queries_are_noted():
    split = PROTOCOLS["cifar10-1"].split(CIFAR).only_queries(10, seed=1)
    assert len(split.query) == 10
    assert len(split.database) == 59_000
    assert split.notes == ("10 of its 1,000 queries, drawn with seed 1",)
    with pytest.raises(SplitError, match="1001 queries asked for where cifar10-1 has 1000"):
        PROTOCOLS["cifar10-1"].split(CIFAR).only_queries(1001, seed=1)


def test_a_picture_on_two_sides_is_an_error():
    rest = Protocol("p", "", database="rest")
    searched = Protocol("p", "", database="rest and training")
    with pytest.raises(SplitError, match=r"1 pictures are in query and in database \(first: position 2\)"):
        Split(rest, _positions(1, 2), _positions(), _positions(2, 3), 0)
    with pytest.raises(SplitError, match="in query and in training"):
        Split(searched, _positions(1, 2), _positions(1), _positions(1 + 2, 4), 0)
    with pytest.raises(SplitError, match="in training and in database"):
        Split(rest, _positions(1), _positions(2), _positions(2, 3), 0)
    Split(searched, _positions(1), _positions(2), _positions(2, 3), 0)


def test_a_copy_on_two_sides_is_an_error():
    split = Split(Protocol("p", ""), _positions(0, 1), _positions(), _positions(2, 3), 0)
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    split.check_contents(["w", "x", "y", "z"], names)
    split.check_contents(["", "x", "", "z"], names)
    with pytest.raises(SplitError, match=r"1 pictures of query are also in database .*first: b.jpg is d.jpg"):
        split.check_contents(["w", "x", "y", "x"], names)
    trained = Split(Protocol("p", ""), _positions(0), _positions(1), _positions(2, 3), 0)
    with pytest.raises(SplitError, match="of training are also in database"):
        trained.check_contents(["w", "x", "y", "x"], names)
    searched = Split(
        Protocol("p", "", database="rest and training"), _positions(0), _positions(1), _positions(1, 3), 0
    )
    searched.check_contents(["w", "x", "y", "x"], names)


def test_pictures_that_cannot_be_read_leave_the_split():
    split = Split(Protocol("p", ""), _positions(0, 1), _positions(2), _positions(3, 4), 0).without([1, 2, 4])
    assert (split.query.tolist(), split.training.tolist(), split.database.tolist()) == ([0], [], [3])
    with pytest.raises(SplitError, match="no pictures are left for the database"):
        split.without([3])


@pytest.mark.parametrize(
    ("known", "labels", "message"),
    [
        ("cifar10-1", [0, 1] * 50, "draws 100 queries of class 0; there are 50"),
        ("cifar10", [0] * 300, "draws 500 training pictures of class 0; there are 200"),
        ("coco", [0, 1], "draws 5000 queries; there are 2 pictures"),
        ("cub", [0, 1], "of data that name them; these name none"),
    ],
)
def test_data_that_do_not_fit_are_refused(known: str, labels: list[int], message: str):
    with pytest.raises(SplitError, match=message):
        protocol(known).split(Labels.single(labels))


def test_a_protocol_that_does_not_exist():
    with pytest.raises(SplitError, match="no protocol 'cifar'; there are: own, cifar10, cifar10-1"):
        protocol("cifar")
