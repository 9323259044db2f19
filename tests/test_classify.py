"""A few labels become those of a gallery: right, as sure as they say, and none of these where none fits."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grouping import codes_around, gallery_of
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grainhash import Encoder, Gallery
from grainhash.classify import ClassifySettings, Linear, Novelty, Prediction, Vote, calibration_error
from grainhash.classify.calibration import TEMPERATURES, fit_temperature, log_loss, softmax
from grainhash.classify.linear import signs
from grainhash.classify.run import hold_out
from grainhash.cli import app
from grainhash.codes import hamming
from grainhash.errors import InputError, LabelsError, MetadataError
from grainhash.groups_report import labels_csv, labels_page
from grainhash.metadata import read_table


def test_leaving_out_by_the_vote_is_a_vote_without_the_picture() -> None:
    codes, classes = codes_around(60, 3, 64, 0.3), np.arange(60) % 3
    model = Vote.fit(codes, classes, 3)
    for i in range(0, 60, 7):
        others = np.delete(np.arange(60), i)
        bits = hamming(codes[i : i + 1], codes[others])[0]
        order = np.argsort(bits, kind="stable")[: model.k]
        weights = np.exp(-(bits[order] - bits[order[0]]) / model.scale)
        votes = np.bincount(classes[others][order], weights, 3)
        priors = (np.bincount(classes[others], minlength=3) + 0.5) / (59 + 1.5)
        np.testing.assert_allclose(model.left_out[i], np.log(votes + 0.1 * priors))


def test_leaving_out_by_ridge_is_a_ridge_without_the_picture() -> None:
    codes, classes = codes_around(50, 3, 32, 0.3), np.arange(50) % 3
    model = Linear.fit(codes, classes, 3)
    for i in range(0, 50, 9):
        keep = np.delete(np.arange(50), i)
        bits, targets = signs(codes[keep]), 2 * np.eye(3)[classes[keep]] - 1
        middle, bias = bits.mean(axis=0), targets.mean(axis=0)
        moved = bits - middle
        weights = np.linalg.solve(moved.T @ moved + model.strength * np.eye(32), moved.T @ (targets - bias))
        expected = (signs(codes[i : i + 1]) - middle) @ weights + bias
        np.testing.assert_allclose(model.left_out[i], expected[0], atol=1e-6)


@pytest.mark.parametrize("kind", [Vote, Linear])
def test_classes_that_are_there_are_learned(kind: type[Vote] | type[Linear]) -> None:
    codes, classes = codes_around(3000, 5, 64, 0.2), np.arange(3000) % 5
    model = kind.fit(codes[:100], classes[:100], 5)
    found = model.probabilities(codes[100:])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == classes[100:]).mean() > 0.97
    assert model.probabilities(codes[:0]).shape == (0, 5)
    np.testing.assert_allclose(model.probabilities(codes[100:], n_threads=1), found)


@pytest.mark.parametrize("kind", [Vote, Linear])
def test_confidence_is_how_often_it_is_right(kind: type[Vote] | type[Linear]) -> None:
    codes, classes = codes_around(9000, 4, 32, 0.36), np.arange(9000) % 4
    model = kind.fit(codes[:1500], classes[:1500], 4)
    found = model.probabilities(codes[1500:])
    right = found.argmax(axis=1) == classes[1500:]
    assert 0.4 < right.mean() < 0.95  # neither hopeless nor easy
    assert calibration_error(found.max(axis=1), right).error < 0.05


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300))
def test_the_calibration_error_is_that_of_its_definition(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(n), rng.random(n) < 0.5
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    found = calibration_error(confidence, right)
    assert found.error == pytest.approx(expected, abs=2 / n + 1e-9)  # a bound of a bin may round
    assert sum(size for size, _, _ in found.bins) == n


def test_the_temperature_undoes_what_makes_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 2
    classes = (softmax(logits).cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    assert fit_temperature(logits * 5, classes) == pytest.approx(5, rel=0.2)
    assert log_loss(logits, classes) < log_loss(logits * 5, classes)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    right=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_temperature_is_the_best_of_all(seed: int, scale: float, right: float) -> None:
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(40, 3))
    drawn = rng.integers(0, 3, 40)
    classes = np.where(rng.random(40) < right, logits.argmax(axis=1), drawn)
    losses = [log_loss(logits / temperature, classes) for temperature in TEMPERATURES]
    found = log_loss(logits / fit_temperature(logits, classes), classes)
    assert found == pytest.approx(min(losses), rel=1e-9, abs=1e-12)


def test_none_of_these_is_where_no_class_reaches() -> None:
    known, others = codes_around(600, 3, 128, 0.1), codes_around(400, 40, 128, 0.1, seed=9)
    learned, rest = known[:90], np.concatenate([known[90:], others])
    left_out = np.sort(hamming(learned, learned), axis=1)[:, 1]
    distances = hamming(rest, learned).min(axis=1)
    found = Novelty.fit(left_out, distances, 128)
    assert (distances[:510] <= found.radius).mean() > 0.97
    assert (distances[510:] > found.radius).mean() > 0.97
    assert found.share == pytest.approx(510 / 910, abs=0.1)
    assert (distances[:510] <= Novelty.fit(left_out, distances[:510], 128).radius).mean() > 0.97
    assert Novelty.fit(left_out, distances[:0], 128).radius == left_out.max()


def test_what_is_held_out_is_a_share_of_each_class_but_never_all() -> None:
    classes = np.repeat([0, 1, 2], [100, 10, 1])
    held = hold_out(classes, 0.3, seed=1)
    np.testing.assert_array_equal(np.bincount(classes[held], minlength=3), [30, 3, 0])
    np.testing.assert_array_equal(hold_out(classes, 0.3, seed=1), held)
    assert (hold_out(classes, 0.3, seed=2) != held).any()


@pytest.fixture
def sorted_a_little(tmp_path: Path, encoder: Encoder) -> Iterator[Gallery]:
    """160 pictures of four classes, 40 of them with a label, and 40 of no class."""
    codes = np.concatenate(
        [codes_around(160, 4, encoder.n_bits, 0.1), codes_around(40, 40, encoder.n_bits, 0.1, seed=5)]
    )
    metas = [
        {"truth": "abcd"[i % 4] if i < 160 else "x"} | ({"what": "abcd"[i % 4]} if i < 40 else {})
        for i in range(200)
    ]
    with gallery_of(tmp_path / "gallery", encoder, codes, metas) as gallery:
        yield gallery


@pytest.mark.parametrize("method", ["vote", "linear"])
def test_a_gallery_is_labelled_and_nothing_is_stored(sorted_a_little: Gallery, method) -> None:
    before = {row.id: row for row in sorted_a_little.browse(limit=1000)}
    found = sorted_a_little.classify(label="what", method=method)
    assert len(found.predictions) == 160
    right = [
        seen.label == (None if before[seen.id].meta["truth"] == "x" else before[seen.id].meta["truth"])
        for seen in found.predictions
    ]
    assert np.mean(right) > 0.95
    assert found.evaluation.accuracy > 0.95
    assert found.evaluation.n_judged == 40
    assert {row.id: row for row in sorted_a_little.browse(limit=1000)} == before
    assert json.loads(json.dumps(found.to_json()))["labels"] == ["a", "b", "c", "d"]


def test_labels_are_stored_only_where_told_with_their_confidence(sorted_a_little: Gallery) -> None:
    before = {row.id: row.meta for row in sorted_a_little.browse(limit=1000)}
    found = sorted_a_little.classify(label="what", store="seen", where="id <= 190")
    with Gallery.open(sorted_a_little.path) as other:
        after = {row.id: row.meta for row in other.browse(limit=1000)}
    own = ("seen", "seen_confidence")
    assert {id: {k: v for k, v in meta.items() if k not in own} for id, meta in after.items()} == before
    for seen in found.predictions:
        expected = {} if seen.label is None else {"seen": seen.label, "seen_confidence": seen.confidence}
        assert {key: after[seen.id][key] for key in own if key in after[seen.id]} == expected
    for id in range(1, 41):
        assert (after[id]["seen"], after[id]["seen_confidence"]) == (before[id]["what"], 1.0)
    assert not any("seen" in after[id] for id in range(191, 201))
    with pytest.raises(MetadataError, match="already"):
        sorted_a_little.classify(label="what", store="seen")
    none = sorted_a_little.classify(label="what", store="seen", replace=True, radius=0)
    assert all(seen.label is None for seen in none.predictions)
    assert {row.id for row in sorted_a_little.browse(limit=999, where="exists seen")} == set(range(1, 41))


def test_pictures_by_label_are_the_surest_first_and_none_of_these_last(sorted_a_little: Gallery) -> None:
    rows = [("a", 0.5, 3), ("b", 0.6, 4), (None, 0.9, 90), ("b", 0.8, 9), ("a", 0.9, 8), ("c", 1.0, 0)]
    rows += [(None, 0.2, 80), ("b", 0.7, 2)]
    seen = [
        Prediction(id, f"/{id}.jpg", label, sure, label or "c", bits)
        for id, (label, sure, bits) in enumerate(rows)
    ]
    found = sorted_a_little.classify(label="what")
    groups = replace(found, predictions=seen).by_label()
    assert [(label, [each.id for each in group]) for label, group in groups] == [
        ("b", [3, 7, 1]),
        ("a", [4, 0]),
        ("c", [5]),
        (None, [6, 2]),
    ]
    assert replace(found, predictions=[]).by_label() == []


def test_the_page_and_the_table_show_every_label_and_how_good_it_is(sorted_a_little: Gallery) -> None:
    found = sorted_a_little.classify(label="what")
    page = labels_page(found, title="<b>")
    groups = dict(found.by_label())
    headings = re.findall(r'<h2 id="[\w-]+">([^<]+)</h2>', page)
    assert headings == [*(label for label in groups if label), "None of these", "How good each class is"]
    assert len(groups[None]) > 24
    assert page.count("<figure") == sum(min(24, len(group)) for group in groups.values())
    assert page.count("the file is gone") == 2 * page.count("<figure")
    assert f"and {len(groups[None]) - 24} more" in page
    assert f"{groups[None][0].distance} bits · likeliest {groups[None][0].likeliest} ·" in page
    rows = re.findall(r'<tr><th scope="row">(\w)</th><td>10</td>.*<td>(\d+)</td></tr>', page)
    assert {label: int(n) for label, n in rows} == {
        label: len(group) for label, group in groups.items() if label
    }
    said = "Judged by 40 pictures with a label, each by all the others: 100 % of the labels are right"
    assert said in " ".join(page.split())
    assert 'class="confusion"' in page
    assert "<b>" not in page
    assert "<script" not in page
    held = labels_page(sorted_a_little.classify(label="what", held_out=0.5, unlabelled=["d"]))
    assert "Judged by 15 pictures that were held out" in held
    read = list(csv.DictReader(io.StringIO(labels_csv(found))))
    assert [(int(row["id"]), row["label"]) for row in read] == [
        (seen.id, seen.label or "") for seen in found.predictions
    ]


def test_the_page_of_many_classes_shows_the_largest_and_no_square_of_them(
    tmp_path: Path, encoder: Encoder
) -> None:
    metas = [{"label": f"{i % 13}"} if i < 130 else {} for i in range(143)]
    codes = codes_around(143, 13, encoder.n_bits, 0.1)
    with gallery_of(tmp_path / "gallery", encoder, codes, metas) as gallery:
        found = gallery.classify(radius=256)
    page = labels_page(found)
    assert page.count("<section") == 14
    assert page.count('<th scope="row">') == 13
    assert 'class="confusion"' not in page


def test_the_command_writes_a_page_of_labels(sorted_a_little: Gallery, tmp_path: Path) -> None:
    page = tmp_path / "labels.html"
    asked = ["classify", "-g", str(sorted_a_little.path), "--label", "what", "--html", str(page)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"page: {page}"
    assert "None of these" in page.read_text()
    asked[-1] = str(tmp_path / "nowhere" / "labels.html")
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 1
    assert "nowhere" in refused.stderr + str(refused.exception)


def test_too_many_classes_are_refused_where_told(sorted_a_little: Gallery) -> None:
    assert sorted_a_little.classify(label="what", max_classes=4).labels == ["a", "b", "c", "d"]
    with pytest.raises(LabelsError, match="4 classes are more than can be learned here"):
        sorted_a_little.classify(label="what", max_classes=3, store="seen")
    assert not sorted_a_little.browse(where="exists seen")


def test_a_held_out_part_judges(sorted_a_little: Gallery) -> None:
    judged = sorted_a_little.classify(label="what", held_out=0.5, seed=3).evaluation
    assert (judged.how, judged.n_learned, judged.n_judged) == ("held out", 20, 20)
    assert [row.pictures for row in judged.classes] == [5, 5, 5, 5]
    assert np.sum(judged.confusion) == 20
    assert judged.accuracy == np.trace(judged.confusion) / 20 > 0.9
    for i, row in enumerate(judged.classes):
        assert row.recall == judged.confusion[i][i] / 5


def test_labels_come_from_a_table_too(sorted_a_little: Gallery, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"/nowhere/{i}.jpg,{'abcd'[i % 4]}" for i in range(20)]
    rows += ["21.jpg,b", "nowhere/22.jpg,c", "gone.jpg,a"]
    table.write_text("path,class\n" + "\n".join(rows))
    found = sorted_a_little.classify(label="class", table=read_table(table))
    assert found.n_labelled == 22
    assert found.unmatched == ["gone.jpg"]
    with pytest.raises(LabelsError, match="no row of the table"):
        sorted_a_little.classify(label="label", table=read_table(table))
    table.write_text("path,label\nelsewhere.jpg,a\n")
    with pytest.raises(LabelsError, match="none of the 1 paths"):
        sorted_a_little.classify(table=read_table(table))


def test_a_value_may_mean_no_label(sorted_a_little: Gallery) -> None:
    found = sorted_a_little.classify(label="truth", unlabelled=["x"])
    assert found.n_labelled == 160
    assert len(found.predictions) == 40
    assert sum(seen.label is None for seen in found.predictions) > 35


def test_bad_input_to_classify_is_one_clear_error_and_changes_nothing(
    sorted_a_little: Gallery, tmp_path: Path, encoder: Encoder
) -> None:
    before = sorted_a_little.browse(limit=1000)
    with pytest.raises(LabelsError, match="none of 200 pictures has a label"):
        sorted_a_little.classify(label="colour", store="seen")
    with pytest.raises(LabelsError, match="all 1 labelled pictures are 'a'"):
        sorted_a_little.classify(label="what", where="id = 1 or id > 100", store="seen")
    with pytest.raises(LabelsError, match="all 10 labelled pictures are 'b'"):
        sorted_a_little.classify(label="what", where="what = b", store="seen")
    with pytest.raises(LabelsError, match="held_out"):
        sorted_a_little.classify(label="what", where="id < 5", held_out=0.2, store="seen")
    with pytest.raises(InputError, match="store under another key"):
        sorted_a_little.classify(label="what", store="what", replace=True)
    with pytest.raises(MetadataError, match="every picture has a field"):
        sorted_a_little.classify(label="what", store="path")
    for wrong in (
        {"method": "other"},
        {"held_out": 1.0},
        {"min_confidence": 2.0},
        {"radius": -1},
        {"seed": -1},
        {"max_classes": 1},
    ):
        with pytest.raises(InputError):
            ClassifySettings(**wrong)  # type: ignore[arg-type]
    assert sorted_a_little.browse(limit=1000) == before
    two = sorted_a_little.classify(label="what", where="id < 3 or id > 100")  # one picture of each class
    assert two.n_labelled == 2
    with (
        Gallery.open(tmp_path / "empty", create=True, encoder=encoder) as empty,
        pytest.raises(LabelsError, match="the gallery is empty"),
    ):
        empty.classify()


def test_a_label_that_is_no_one_label_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    codes = codes_around(4, 2, encoder.n_bits, 0.1)
    with (
        gallery_of(tmp_path / "gallery", encoder, codes, [{"label": ["a", "b"]}] * 4) as gallery,
        pytest.raises(LabelsError, match="no one label"),
    ):
        gallery.classify()


def test_pictures_that_are_all_equal_are_labelled_with_little_confidence(
    tmp_path: Path, encoder: Encoder
) -> None:
    metas = [{"label": "ab"[i % 2]} if i < 20 else {} for i in range(60)]
    with gallery_of(tmp_path / "g", encoder, np.zeros((60, encoder.n_bits // 8), np.uint8), metas) as gallery:
        for method in ("vote", "linear"):
            found = gallery.classify(method=method)  # type: ignore[arg-type]
            assert len(found.predictions) == 40
            assert max(seen.confidence for seen in found.predictions) < 0.6


def test_with_every_picture_labelled_there_is_nothing_to_do(tmp_path: Path, encoder: Encoder) -> None:
    metas = [{"label": "ab"[i % 2]} for i in range(30)]
    with gallery_of(tmp_path / "g", encoder, codes_around(30, 2, encoder.n_bits, 0.1), metas) as gallery:
        found = gallery.classify()
        assert found.predictions == []
        assert found.evaluation.accuracy == 1.0
