"""Learning from pictures without labels beside those that have them."""

from __future__ import annotations

import numpy as np
import pytest

from grainhash.errors import InputError, LabelsError
from grainhash.evaluation import mean_average_precision
from grainhash.labels import Labels
from grainhash.methods import method
from grainhash.self_training import self_train, surely_labelled, vote

CLASSES, DIM, APART = 4, 64, 2.5


def blobs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of several classes, each round a centre of its own; the centres are always the same."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, DIM)) * APART / DIM**0.5
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % CLASSES
    rows = centres[ids] + rng.standard_normal((n, DIM)) * 0.6
    return rows.astype(np.float32), ids


def quality(fitted, *parts) -> float:
    (asked, own), (stored, theirs) = parts
    queries, database = Labels.together(own, theirs)
    return mean_average_precision(fitted.encode(asked), fitted.encode(stored), queries, database, at=None)


@pytest.mark.parametrize(("name", "settings"), [("cca-itq", {}), ("nested", {"epochs": 30, "hidden": 256})])
def test_pictures_without_labels_make_better_codes(name: str, settings: dict[str, int]) -> None:
    known, ids = blobs(24, seed=1)
    others, truth = blobs(2000, seed=2)
    judged = (blobs(200, seed=3), (others, truth))
    labels = Labels.single(ids)
    alone = method(name)(16, seed=0, **settings).fit(known, labels)
    trained = method(name)(16, seed=0, **settings)
    taken = self_train(trained, known, labels, others)
    assert len(taken.rows) > 500
    assert (taken.labels.ids == truth[taken.rows]).mean() > 0.9
    assert quality(trained, *judged) > quality(alone, *judged) + 0.05


def test_what_neighbours_do_not_agree_on_is_left_out() -> None:
    known, ids = blobs(64, seed=1)
    others, truth = blobs(1000, seed=2)
    labels, function = Labels.single(ids), method("cca-itq")(16).fit(known, ids).function
    some, sure = (
        surely_labelled(function, known, labels, others, agreement=agreement) for agreement in (0.5, 0.99)
    )
    assert 0 < len(sure.rows) < len(some.rows)
    assert set(sure.rows) <= set(some.rows)
    right = [(taken.labels.ids == truth[taken.rows]).mean() for taken in (some, sure)]
    assert right[0] < right[1]


def test_several_views_of_each_picture() -> None:
    known, ids = blobs(64, seed=1)
    others, truth = blobs(400, seed=2)
    views = [np.stack([rows, rows + 0.01]) for rows in (known, others)]
    taken = self_train(
        method("nested")(16, epochs=8, hidden=128), views[0], Labels.single(ids), views[1], k=5
    )
    assert (taken.labels.ids == truth[taken.rows]).mean() > 0.9


def test_the_nearest_vote_by_their_likeness() -> None:
    known = np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0]], np.float32)
    ids = np.array([0, 0, 1, 2])
    classes, shares = vote(known, ids, np.array([[1, 0], [0, 1]], np.float32), n_classes=3, k=3)
    assert classes.tolist() == [0, 1]
    assert shares == pytest.approx([1, 1 / (1 + 0.1 / 1.01**0.5)])


def test_what_does_not_go_together_is_refused() -> None:
    rows, ids = blobs(32, seed=1)
    labels, itq = Labels.single(ids), method("cca-itq")(16)
    with pytest.raises(InputError, match="do not go together"):
        self_train(itq, rows, labels, rows[:, 1:])
    with pytest.raises(InputError, match="do not go together"):
        self_train(itq, rows, labels, rows[None])
    for wrong in ({"k": 0}, {"agreement": 0.0}, {"agreement": 1.5}):
        with pytest.raises(InputError, match="agreement above 0"):
            self_train(itq, rows, labels, rows, **wrong)
    with pytest.raises(LabelsError, match="one label each"):
        self_train(itq, rows, Labels.multi([{i} for i in ids]), rows)
    with pytest.raises(LabelsError, match="31 labels"):
        self_train(itq, rows, labels.take(np.arange(31)), rows)


def test_no_others_are_none_to_take_in() -> None:
    rows, ids = blobs(64, seed=1)
    taken = self_train(method("cca-itq")(16), rows, Labels.single(ids), rows[:0])
    assert len(taken.rows) == len(taken.labels) == 0
