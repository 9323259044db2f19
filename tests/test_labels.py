"""Labels of one kind each: who is relevant to whom, and how much."""

from __future__ import annotations

import numpy as np
import pytest

from grainhash.errors import LabelsError
from grainhash.labels import Labels, grades, relevant


def test_one_label_each():
    labels = Labels.single(["dog", "cat", "dog"])
    assert labels.classes == ("cat", "dog")
    assert labels.ids is not None
    assert labels.ids.tolist() == [1, 0, 1]
    assert labels.counts().tolist() == [1, 2]
    assert labels.indicator().tolist() == [[False, True], [True, False], [False, True]]
    assert (len(labels), labels.n_classes) == (3, 2)


def test_numbers_keep_their_order_and_come_before_names():
    assert Labels.single([10, 9, 2]).classes == ("2", "9", "10")
    assert Labels.single(np.array([10, 9, 2])).classes == ("2", "9", "10")
    assert Labels.single(["b", 3, "a"]).classes == ("3", "a", "b")


def test_several_labels_each():
    labels = Labels.multi([{"sea", "beach"}, {"sea"}, set()])
    assert labels.classes == ("beach", "sea")
    assert labels.indicator().tolist() == [[True, True], [False, True], [False, False]]
    assert labels.counts().tolist() == [1, 2]


def test_a_hierarchy_counts_all_that_is_below():
    labels = Labels.hierarchy(["animal/cat", "animal/dog", "vehicle", "/animal/cat/"])
    assert labels.classes == ("animal", "animal/cat", "animal/dog", "vehicle")
    assert labels.counts().tolist() == [3, 2, 1, 1]
    assert labels.indicator()[0].tolist() == [True, True, False, False]
    for bad in ("animal//cat", "", "/"):
        with pytest.raises(LabelsError, match="empty level"):
            Labels.hierarchy([bad])


def test_labels_as_they_come():
    assert Labels.of(["a", "b"]).kind == "single"
    assert Labels.of(np.eye(3)).kind == "multi"
    assert Labels.of(np.eye(3, dtype=bool)).classes == ("0", "1", "2")
    labels = Labels.single([0])
    assert Labels.of(labels) is labels
    for bad in (np.full((2, 2), 2), np.zeros((1, 1, 1)), np.float64(3)):
        with pytest.raises(LabelsError, match="0/1 matrix"):
            Labels.of(bad)


def test_labels_that_are_none():
    with pytest.raises(LabelsError, match=r"1 labels are NaN \(first: that of picture 1\)"):
        Labels.of(np.array([1.0, np.nan]))
    with pytest.raises(LabelsError, match=r"Labels\.multi"):
        Labels.of([["sea"], ["sea", "beach"]])


def test_labels_made_together_number_classes_alike():
    first, second = Labels.together(["dog", "cat"], np.array(["cat", "eel", "cat"]))
    assert first.classes == second.classes == ("cat", "dog", "eel")
    assert relevant(first, second).tolist() == [[False] * 3, [True, False, True]]
    numbers = Labels.together(np.array([10]), np.array([9, 10]))
    assert relevant(*numbers).tolist() == [[False, True]]
    several = Labels.together(np.eye(2), np.array([[1, 1]]))
    assert relevant(*several).tolist() == [[True], [True]]
    assert Labels.together(first, second) == (first, second)
    for bad in (
        (first, ["cat"]),
        (first, Labels.single(["cat"])),
        (["cat"], np.eye(2)),
        (np.eye(2), np.eye(3)),
    ):
        with pytest.raises(LabelsError):
            Labels.together(*bad)


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True]), slice(1, None), [0]])
@pytest.mark.parametrize(
    "labels", [Labels.single("aba"), Labels.multi(["ab", "b", ""])], ids=["single", "multi"]
)
def test_taking_some_keeps_the_classes(labels: Labels, rows: object):
    taken = labels.take(rows)
    assert taken.classes == labels.classes
    np.testing.assert_array_equal(taken.indicator(), labels.indicator()[rows])
    assert len(taken) == len(labels.indicator()[rows])


def test_relevant_is_a_shared_class_or_leaf():
    single = Labels.single([0, 1, 0])
    assert relevant(single, single)[0].tolist() == [True, False, True]
    several = Labels.multi([{1, 2}, {2, 3}, {3}, set()])
    assert relevant(several, several)[0].tolist() == [True, True, False, False]
    tree = Labels.hierarchy(["a/x", "a/y", "a/x"])
    assert relevant(tree, tree)[0].tolist() == [True, False, True]


def test_grades_count_labels_or_levels_in_common():
    single = Labels.single([0, 1, 0])
    assert grades(single, single)[0].tolist() == [1, 0, 1]
    several = Labels.multi([{1, 2}, {1, 2, 3}, {2}, set()])
    assert grades(several, several)[0].tolist() == [2, 2, 1, 0]
    tree = Labels.hierarchy(["a/x/1", "a/x/2", "a/y/1", "b/x/1"])
    np.testing.assert_allclose(grades(tree, tree)[0], [1, 2 / 3, 1 / 3, 0], rtol=1e-6)


def test_labels_made_apart_cannot_be_compared():
    one, other = Labels.single(["a", "b"]), Labels.single(["b", "c"])
    for compare in (relevant, grades):
        with pytest.raises(LabelsError, match="make them together"):
            compare(one, other)
    with pytest.raises(LabelsError, match="make them together"):
        relevant(one, Labels.multi([{"a"}, {"b"}]))
