"""Advice on the length of code: planted truths, goals, intervals, costs, and how it looks."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from grainhash import Encoder, Gallery, cli
from grainhash.advise import Advice, Estimate, Goal, Length, advise, collect, cost, report
from grainhash.advise.altered import near_copies
from grainhash.advise.goal import GOALS, brief, decimals, milliseconds, recommend
from grainhash.advise.lengths import SearchTime, Storage
from grainhash.advise.plot import write_plot
from grainhash.advise.quality import average_precisions, estimate, recalls, resampled_means
from grainhash.codes import hamming, pack
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.errors import (
    CodesError,
    InputError,
    LabelsError,
    MissingExtra,
    PictureError,
)
from grainhash.evaluation import Hamming, mean_average_precision
from grainhash.hashing.function import Affine, HashFunction
from grainhash.images import decode
from grainhash.index import Index
from grainhash.labels import Labels

LENGTHS = (16, 32, 64, 128, 256)


@pytest.fixture(scope="module")
def tiles(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninths of real photographs, each in a folder named after its photograph."""
    folder = tmp_path_factory.mktemp("tiles")
    for path in sorted(photographs.rglob("*.*")):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        home = folder / path.stem
        home.mkdir()
        for x in range(3):
            for y in range(3):
                box = (x * width // 3, y * height // 3, (x + 1) * width // 3, (y + 1) * height // 3)
                picture.crop(box).save(home / f"{x}{y}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def planted() -> Encoder:
    """Nested codes that say all they have to say in their first 64 bits: the others repeat them."""
    encoder = Encoder.load().with_granules(WHOLE_ONLY)
    norm, affine = encoder.hash_function.steps
    assert isinstance(affine, Affine)
    first = Affine(np.tile(affine.weight[:, :64], 4), np.tile(affine.bias[:64], 4))
    return encoder.with_hash_function(HashFunction([norm, first], "nested"), {})


@pytest.fixture(scope="module")
def advice(tiles: Path, planted: Encoder) -> Advice:
    seen: list[str] = []
    advice = advise(
        collect(tiles),
        goal=Goal("copies"),
        encoder=planted,
        bits=[*LENGTHS, 512],
        progress=lambda progress: seen.append(progress.stage),
    )
    assert list(dict.fromkeys(seen)) == ["compare", "encode", "copies", "fit", "measure"]
    return advice


# A planted truth


def test_the_length_that_holds_everything_is_recommended(advice: Advice):
    assert [length.n_bits for length in advice.lengths] == list(LENGTHS)
    by_bits = {length.n_bits: length.quality["copies"].mean for length in advice.lengths}
    assert by_bits[16] < by_bits[32] < by_bits[64] - 0.05
    assert by_bits[64] == pytest.approx(by_bits[128]) == pytest.approx(by_bits[256])
    found = advice.recommendation
    assert (found.n_bits, found.best_bits) == (64, 64)
    assert found.sureness[64] == 1 > 0.95 > found.sureness[32]
    assert found.reason.startswith(f"64 bits: copies R@1 {decimals(by_bits[64])}, the best of the lengths; ")
    assert "at 162 pictures" in found.reason


def test_a_length_that_codes_do_not_have_is_left_out_with_a_note(advice: Advice):
    assert advice.left_out == {512: "the encoder's codes have 256 bits"}
    assert advice.codes == "prefixes of the encoder's 256 nested bits"
    assert "512 bits left out: the encoder's codes have 256 bits" in report.remarks(advice)


def test_every_measure_has_an_interval_about_its_mean(advice: Advice):
    for length in advice.lengths:
        assert set(length.quality) == {"mAP", "neighbours", "copies"}
        for each in length.quality.values():
            assert 0 <= each.low <= each.mean <= each.high <= 1
    assert (advice.n_queries, advice.n_database) == (50, 112)
    assert set(advice.floats) == {"mAP", "copies"}
    assert advice.floats["copies"].mean > advice.lengths[0].quality["copies"].mean


def test_the_seed_decides_everything_but_the_times(tiles: Path, planted: Encoder):
    def run(seed: int) -> tuple[object, ...]:
        advice = advise(collect(tiles, sample=60, seed=seed), encoder=planted, bits=[16, 64], seed=seed)
        assert advice.n_sampled == 60
        assert advice.n_pictures == 162
        return (
            [(length.quality, length.storage) for length in advice.lengths],
            advice.recommendation.n_bits,
            advice.recommendation.sureness,
        )

    first = run(3)
    assert first == run(3)
    assert first != run(4)


@pytest.mark.parametrize("ask", ["test", "query"])
def test_parts_that_the_data_name_are_taken(ask: str, tiles: Path, tmp_path: Path, planted: Encoder):
    search = {"test": "train", "query": "database"}[ask]
    files = sorted(tiles.rglob("*.jpg"))
    rows = [f"{file},{file.parent.name},{ask if n % 5 == 0 else search}" for n, file in enumerate(files)]
    (tmp_path / "parts.csv").write_text("\n".join(["path,label,split", *rows]))
    advice = advise(collect(tmp_path / "parts.csv"), encoder=planted, bits=[16])
    assert (advice.n_queries, advice.n_database) == (33, 129)


# Without labels, and fitted anew


@pytest.fixture(scope="module")
def unlabelled(tiles: Path) -> Advice:
    found = collect(tiles, unlabelled=True)
    assert found.pictures.labels is None
    return advise(found, bits=[16, 64, 128], n_pictures=30_000, method="itq", settings={"n_iter": 5})


def test_without_labels_neighbours_decide(unlabelled: Advice):
    assert unlabelled.measure == "neighbours"
    assert set(unlabelled.lengths[0].quality) == {"neighbours", "copies"}
    short, long = (length.quality["neighbours"].mean for length in unlabelled.lengths)
    assert 10 / 112 < short < long
    assert unlabelled.recommendation.n_bits == 64
    assert "10 in 10" in unlabelled.recommendation.reason


def test_a_length_that_features_do_not_allow_is_left_out_with_a_note(unlabelled: Advice):
    assert list(unlabelled.left_out) == [128]
    assert "needs more than 128 rows" in unlabelled.left_out[128]
    assert unlabelled.codes == "itq, fitted for every length"


def test_a_larger_gallery_takes_longer_and_keeps_a_copy(unlabelled: Advice, advice: Advice):
    large, small = unlabelled.lengths[1], advice.lengths[2]
    assert large.n_bits == small.n_bits == 64
    assert small.storage.copy == 0
    assert large.storage.copy == large.storage.memory
    assert large.storage.codes == pytest.approx(unlabelled.n_granules * 8)
    assert large.storage.disk > large.storage.codes + large.storage.copy
    assert large.search.measured_at == 30_000
    assert "at 30,000 pictures" in unlabelled.recommendation.reason


def test_nested_codes_are_fitted_once_and_cut(tiles: Path):
    pytest.importorskip("torch", reason="nested codes are learned with PyTorch, of the extra train")
    advice = advise(collect(tiles), method="nested", bits=[16, 32], settings={"epochs": 3, "hidden": 32})
    assert advice.codes == "nested, fitted once and cut to every length"
    assert [length.n_bits for length in advice.lengths] == [16, 32]


def test_torch_is_not_needed(tiles: Path):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from grainhash.advise import advise, collect\n"
        f"advice = advise(collect({str(tiles)!r}, sample=45), bits=[16])\n"
        "print(advice.recommendation.n_bits)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "16"


# Goals


def _length(n_bits: int, mean: float, *, disk: float, ms: float) -> Length:
    quality = {"mAP": Estimate(mean, mean - 0.02, mean + 0.02, 400)}
    time = SearchTime(ms, ms * 0.9, ms * 1.1, 1000, 25)
    return Length(n_bits, quality, Storage(disk / 4, disk / 2, 0.0, disk), time)


@pytest.fixture
def measured() -> tuple[list[Length], dict[int, np.ndarray]]:
    """16 bits are bad, 32 all but as good as 64 and sure of it, 128 is no better than 64."""
    easy = np.random.default_rng(0).random(400)
    values = {16: easy * 0.6, 32: easy * 0.99, 64: easy, 128: easy}
    lengths = [
        _length(n_bits, float(row.mean()), disk=400 + 8 * n_bits, ms=n_bits / 16)
        for n_bits, row in values.items()
    ]
    return lengths, values


def _chosen(measured, **goal):
    lengths, values = measured
    return recommend(lengths, values, Goal(**goal), "mAP", n_pictures=1_000_000, seed=0)


def test_quality_takes_the_shortest_that_is_surely_as_good(measured):
    found = _chosen(measured)
    mean = float(measured[1][64].mean())
    assert (found.n_bits, found.best_bits) == (32, 64)
    assert found.sureness[64] == found.sureness[128] == 1
    assert found.reason == (
        f"32 bits: mAP {decimals(0.99 * mean)}, within .01 of 64 bits' {decimals(mean)}; "
        "656 bytes a picture, 164 of them codes; 2 ms at 1,000,000 pictures"
    )
    assert _chosen(measured, tolerance=0).n_bits == 64
    assert _chosen(measured, tolerance=0.5).n_bits == 16


def test_what_chance_could_have_done_is_not_recommended():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.2, 40)
    values = {16: 0.5 + noise - noise.mean(), 64: np.full(40, 0.505)}
    lengths = [_length(n_bits, float(row.mean()), disk=500, ms=1) for n_bits, row in values.items()]
    found = recommend(lengths, values, Goal(), "mAP", n_pictures=10, seed=0)
    assert found.n_bits == 64
    assert found.sureness[16] < 0.95
    assert (
        f"(16 bits come as close, but in {found.sureness[16]:.0%} of resamplings of the 400" in found.reason
    )


def test_limits_come_first_and_are_named(measured):
    by_bytes = _chosen(measured, max_bytes=700)
    assert (by_bytes.n_bits, by_bytes.best_bits) == (32, 32)
    assert "the best of the lengths within the limits" in by_bytes.reason
    assert "64 bits would take 912 bytes a picture where 700 are allowed" in by_bytes.reason
    assert set(by_bytes.sureness) == {16, 32}
    by_time = _chosen(measured, max_ms=1.5)
    assert by_time.n_bits == 16
    assert "32 bits would take 2 ms where 1.5 ms are allowed" in by_time.reason
    both = _chosen(measured, max_ms=4, max_bytes=10_000, tolerance=0)
    assert both.n_bits == 64
    assert "128 bits would take 8 ms where 4 ms are allowed" in both.reason


def test_limits_that_nothing_keeps_recommend_nothing(measured):
    found = _chosen(measured, max_bytes=100, max_ms=0.1)
    assert found.n_bits is None
    assert found.reason.startswith("no length keeps the limits: even 16 bits take 528 bytes a picture where")
    assert "and 1 ms where 0.1 ms are allowed" in found.reason


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"quality": "speed"}, "no goal is called 'speed'; there are quality, mAP"),
        ({"tolerance": -0.1}, "a tolerance of -0.1"),
        ({"tolerance": float("nan")}, "a tolerance of nan"),
        ({"max_bytes": 0}, "at most 0 bytes"),
        ({"max_ms": float("inf")}, "at most inf milliseconds"),
    ],
)
def test_goals_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Goal(**wrong)


def test_numbers_are_written_with_what_says_something():
    assert (brief(0.01), brief(0), brief(0.25)) == (".01", "0", ".25")
    assert (decimals(0.6124), decimals(1.0), decimals(0.0)) == (".612", "1.000", ".000")
    assert [milliseconds(t) for t in (0.1234, 2, 9.96, 57.8, 1234)] == [
        "0.12 ms",
        "2 ms",
        "10 ms",
        "58 ms",
        "1,234 ms",
    ]


# Quality


def test_values_of_queries_are_those_of_the_evaluation():
    rng = np.random.default_rng(0)
    labels = Labels.single([*rng.integers(0, 4, 220), 9])  # the last has nothing to find
    codes = rng.integers(0, 256, (221, 2), np.uint8)
    asked, stored = slice(200, None), slice(0, 200)
    values = average_precisions(
        Hamming(codes[asked], codes[stored]), labels.take(asked), labels.take(stored), 30
    )
    assert len(values) == 20
    assert values.mean() == pytest.approx(
        mean_average_precision(codes[asked], codes[stored], labels.take(asked), labels.take(stored), at=30)
    )
    with pytest.raises(LabelsError, match="no query has a picture of its class"):
        average_precisions(Hamming(codes[220:], codes[stored]), labels.take([220]), labels.take(stored), None)


def test_recalls_are_means_over_all_orders_of_ties():
    database = pack(np.array([[0] * 8, [0] * 8, [1] + [0] * 7, [1] * 8]))
    query = pack(np.zeros((1, 8)))
    sought = np.array([[1, 3]])
    found = [recalls(Hamming(query, database), sought, k)[0] for k in (1, 2, 3, 4, 100)]
    assert found == pytest.approx([0.25, 0.5, 0.5, 1, 1])


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        each = estimate(rng.random(60), seed)
        hits += each.low <= 0.5 <= each.high
    assert 88 <= hits <= 99
    again = resampled_means(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), 0)
    np.testing.assert_allclose(again[1] - again[0], 1)  # the same samples for every row


def test_near_copies_are_other_pictures_of_the_same(tiles: Path):
    own = collect(tiles).pictures.take([0, 1])
    copies, again = near_copies(own, 0), near_copies(own, 0)
    assert copies.source(1) == again.source(1) != near_copies(own, 1).source(1)
    original, copy = decode(own.source(0)), decode(copies.source(0))
    assert copy.width == round(0.85 * original.width)
    assert copies.labels is None
    (tiles / "gone.csv").write_text("path\nphoto.jpg\n")
    shutil.copyfile(tiles / "coffee" / "00.jpg", tiles / "photo.jpg")
    gone = collect(tiles / "gone.csv").pictures
    (tiles / "photo.jpg").unlink()
    (tiles / "gone.csv").unlink()
    with pytest.raises(PictureError):
        near_copies(gone, 0).source(0)


# Costs


def test_bytes_are_those_of_a_gallery(tiles: Path, tmp_path: Path):
    with Gallery.open(tmp_path / "gallery", create=True, encoder=Encoder.load()) as gallery:
        gallery.index(tiles / "coffee")
        found = collect(gallery.path)
        granules = gallery.encoder.granules
    known = [cost.Known(found.pictures.names[0], 200, 150, found.meta(0))]
    stored = cost.storage(known, granules, 256, 9)
    assert stored.codes == granules.n_usual * 32 == 544
    assert stored.memory == 544 + 16
    with_codes_of_32 = cost.storage(known, granules, 32, 9)
    assert stored.disk - with_codes_of_32.disk == pytest.approx(17 * 28, rel=0.35)  # whole rows a page
    assert stored.disk > 544 + 16 * 8 + 64 + len(known[0].uri)
    only_whole = cost.storage(known, WHOLE_ONLY, 256, 30_000)
    assert only_whole.codes == 32
    assert only_whole.copy == 48
    assert only_whole.disk < stored.disk


def test_stand_ins_lie_as_near_as_queries_do():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (50, 16), np.uint8)
    masks = pack(rng.random((4096, 128)) < 0.1)
    made = cost.stand_ins(codes, masks, 2000, rng)
    nearest = hamming(made, codes).min(axis=1)
    assert nearest.mean() / 128 == pytest.approx(0.1, abs=0.01)
    assert cost.stand_ins(codes, masks, 0, rng).shape == (0, 16)


@pytest.mark.parametrize("n_regions", [0, 13])
def test_searches_are_of_as_many_codes_as_there_will_be(n_regions: int, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    codes, queries = rng.integers(0, 256, (300, 8), np.uint8), rng.integers(0, 256, (5, 8), np.uint8)
    searched: list[tuple[int, int]] = []
    real_rank = cost.rank

    def rank(wholes: Index, regions: Index, *rest):
        searched.append((len(wholes), sum(len(regions.codes_of(id)) for id in (0, 499))))
        return real_rank(wholes, regions, *rest)

    monkeypatch.setattr(cost, "rank", rank)
    monkeypatch.setattr(cost, "SEARCHES", 5)
    time = cost.search_time(queries, codes, n_pictures=1000, n_regions=n_regions, seed=0)
    assert set(searched) == {(1000, 2 * n_regions)}
    assert 0 < time.low <= time.median <= time.high
    assert (time.measured_at, time.n_searches) == (1000, 5)
    monkeypatch.setattr(cost, "_room", lambda: 500 * 8 * (1 + n_regions))
    assert cost.search_time(queries, codes, n_pictures=1000, n_regions=n_regions, seed=0).measured_at == 500


# Where pictures come from


def test_a_gallery_is_asked_for_its_pictures_labels_and_encoder(tiles: Path, tmp_path: Path):
    own = Encoder.load().with_granules(WHOLE_ONLY)
    for name in ("coffee", "coins"):
        shutil.copytree(tiles / name, tmp_path / "photos" / name)
    with Gallery.open(tmp_path / "gallery", create=True, encoder=own) as gallery:
        gallery.index(tmp_path / "photos")
    found = collect(tmp_path / "gallery")
    assert found.n_pictures == len(found.pictures) == 18
    assert found.pictures.labels is not None
    assert found.pictures.labels.classes == ("coffee", "coins")
    assert found.meta(0)["folder"] == "coffee"
    assert found.encoder is not None
    assert found.encoder.fingerprint == own.fingerprint
    assert len(collect(tmp_path / "gallery", sample=6).pictures) == 6
    assert collect(tmp_path / "gallery", unlabelled=True).pictures.labels is None
    assert collect(tmp_path / "gallery", kind="hierarchy").pictures.labels.kind == "hierarchy"
    shutil.copyfile(tiles / "coffee" / "00.jpg", tmp_path / "one.jpg")
    with Gallery.open(tmp_path / "gallery") as gallery:
        gallery.add([tmp_path / "one.jpg"])
    mixed = collect(tmp_path / "gallery")
    assert mixed.pictures.labels is None
    assert mixed.notes == ("1 of 19 pictures have no 'label', so labels are left aside",)


def test_folders_are_classes_unless_pictures_lie_beside_them(tiles: Path, tmp_path: Path):
    shutil.copytree(tiles / "coffee", tmp_path / "photos" / "coffee")
    assert collect(tmp_path / "photos").pictures.labels is not None
    shutil.copyfile(tiles / "coins" / "00.jpg", tmp_path / "photos" / "one.jpg")
    found = collect(tmp_path / "photos")
    assert found.pictures.labels is None
    assert found.notes == ("pictures lie beside the folders, so these are not taken for classes",)
    assert {"folder": "coffee", "label": "coffee"} in [found.meta(n) for n in range(10)]


def test_exact_copies_and_broken_files_are_left_out(tiles: Path, tmp_path: Path, planted: Encoder):
    shutil.copytree(tiles, tmp_path / "photos")
    for n in range(3):
        shutil.copyfile(tiles / "coffee" / "00.jpg", tmp_path / "photos" / "coins" / f"copy{n}.jpg")
    (tmp_path / "photos" / "coins" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "coins" / "empty.jpg").touch()
    advice = advise(collect(tmp_path / "photos"), encoder=planted, bits=[64])
    assert advice.n_sampled == 162
    assert "3 exact copies are left out" in advice.notes
    assert [Path(name).name for name in advice.skipped] == ["broken.jpg", "empty.jpg"]


# What cannot be done


def test_what_nothing_can_be_said_of_is_refused(tiles: Path, tmp_path: Path, planted: Encoder):
    found, few = collect(tiles), collect(tiles / "coffee", unlabelled=True)
    with pytest.raises(InputError, match="9 pictures are too few"):
        advise(few, encoder=planted)
    one_class = replace(found, pictures=replace(found.pictures, labels=Labels.single([1] * 162)))
    with pytest.raises(LabelsError, match="all pictures are of one class"):
        advise(one_class, encoder=planted)
    bare = replace(found, pictures=replace(found.pictures, labels=None))
    with pytest.raises(LabelsError, match="mAP needs labels"):
        advise(bare, encoder=planted, goal=Goal("mAP"))
    with pytest.raises(LabelsError, match="cca-itq learns from labels"):
        advise(bare, method="cca-itq")
    with pytest.raises(InputError, match="no method of hashing is called 'none'"):
        advise(bare, method="none")
    with pytest.raises(CodesError, match="12 bits"):
        advise(found, encoder=planted, bits=[12])
    with pytest.raises(InputError, match="no length of code"):
        advise(found, encoder=planted, bits=[])
    with pytest.raises(InputError, match="a gallery of 0 pictures"):
        advise(found, encoder=planted, n_pictures=0)
    with pytest.raises(InputError, match="a sample of 0"):
        collect(tiles, sample=0)
    with pytest.raises(LabelsError, match="no such folder or file"):
        collect(tmp_path / "missing")
    with pytest.raises(InputError, match="no pictures below it"):
        collect(tmp_path)


def test_a_folder_of_one_picture_in_many_copies_is_refused(tiles: Path, tmp_path: Path, planted: Encoder):
    for n in range(50):
        shutil.copyfile(tiles / "coffee" / "00.jpg", tmp_path / f"{n}.jpg")
    with pytest.raises(InputError, match="of 50 pictures 1 are left"):
        advise(collect(tmp_path), encoder=planted)


def test_no_length_at_all_and_too_few_for_a_goal_say_so(tiles: Path, planted: Encoder):
    found = collect(tiles, sample=45)
    with pytest.raises(InputError, match="no length of code can be had; 512 bits: the encoder's codes"):
        advise(found, encoder=planted, bits=[512])
    with pytest.raises(InputError, match="too few pictures to judge by neighbours-100; there are mAP"):
        advise(found, encoder=planted, bits=[64], goal=Goal("neighbours-100"))
    with pytest.raises(InputError, match="settings that itq does not know"):
        advise(found, bits=[16], settings={"colour": 1})


# How it looks


def test_json_is_plain_and_complete(advice: Advice):
    document = json.loads(json.dumps(advice.to_json()))
    assert document["format_version"] == 1
    assert set(document) == {"format_version", *Advice.__dataclass_fields__}
    first = document["lengths"][0]
    assert set(first) == {"n_bits", "quality", "storage", "search"}
    assert set(first["quality"]["mAP"]) == {"mean", "low", "high", "n"}
    assert set(first["storage"]) == {"codes", "memory", "copy", "disk"}
    assert set(first["search"]) == {"median", "low", "high", "measured_at", "n_searches"}
    assert document["recommendation"]["n_bits"] == 64
    assert document["left_out"] == {"512": "the encoder's codes have 256 bits"}
    assert document["goal"]["quality"] == "copies"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_every_number_whole(advice: Advice, width: int):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    report.terminal(advice, console)
    shown = stream.getvalue()
    assert "…" not in shown
    assert max(map(len, shown[shown.index(" bits ") :].splitlines()[:-1])) <= width
    for cells in report.cost_table(advice).values():
        assert all(cell in shown for cell in cells)
    for length in advice.lengths:
        assert decimals(length.quality["mAP"].mean) in shown
    assert shown.splitlines()[-1] == advice.recommendation.reason


def test_a_pipe_gets_every_interval_whole(advice: Advice):
    stream = io.StringIO()
    report.terminal(advice, Console(file=stream, width=80, color_system=None))
    shown = stream.getvalue()
    assert "…" not in shown
    for cells in report.quality_table(advice).values():
        assert all(cell in shown for cell in cells)


def test_the_plot_shows_something(advice: Advice, tmp_path: Path):
    goal = Goal("copies", max_bytes=1000, max_ms=50)
    write_plot(replace(advice, goal=goal), tmp_path / "plot.png")
    pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).reshape(-1, 3)
    paper, accent = (0xFB, 0xFA, 0xF8), (0xD8, 0x40, 0x1F)
    assert (pixels == paper).all(axis=1).mean() < 0.97
    assert (pixels == accent).all(axis=1).sum() > 1000
    with pytest.raises(InputError, match=r"call it plot\.png"):
        write_plot(advice, tmp_path / "plot.jpg")
    with pytest.raises(InputError, match="choose another file"):
        write_plot(advice, tmp_path / "nowhere" / "plot.png")


def test_the_page_needs_nothing_else(advice: Advice):
    page = report.html_page(replace(advice, title="<b>photos</b>"))
    assert not re.search(r"https?://|<script|<link|<image|<b>", page)
    assert page.count("<svg") == 1
    assert "var(--series-0)" in page
    assert not re.search(r"#0[12]0[0-9a-f]{3}", page), "a stand-in was left"
    assert advice.recommendation.reason.removeprefix("64 bits: ").split(";")[0] in page
    assert page.count('class="chosen"') == 2


def test_a_missing_matplotlib_names_the_extra(
    advice: Advice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'grainhash\[evaluate\]'"):
        write_plot(advice, tmp_path / "plot.png")


# The command


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["grainhash", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_advises(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    plot, page = tmp_path / "plot.png", tmp_path / "page.html"
    options = ("--bits", "16,64", "--sample", 90, "--set", "n_iter=3", "--pictures", 500, "--whole-only")
    assert _run(monkeypatch, "advise", tiles, *options, "--plot", plot, "--html", page) == 0
    shown = capsys.readouterr().out
    assert "at 500 pictures" in shown
    assert f"plot: {plot}\npage: {page}" in shown
    assert plot.stat().st_size > 10_000
    assert "<svg" in page.read_text(encoding="utf-8")


def test_the_command_prints_json_and_fails_where_nothing_fits(
    tiles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    options = ("--bits", "16", "--sample", 60, "--max-bytes", 10, "--json")
    assert _run(monkeypatch, "advise", tiles, *options) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["recommendation"]["n_bits"] is None
    assert document["recommendation"]["reason"].startswith("no length keeps the limits")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["missing"], 1, "no such folder or file"),
        (["TILES", "--goal", "speed"], 1, "no goal is called 'speed'"),
        (["TILES", "--bits", "some"], 2, "write lengths such as 16,32,64"),
        (["TILES", "--encoder", "nowhere"], 1, "no encoder there"),
        (["TILES", "--sample", "20"], 1, "20 pictures are too few"),
        (["missing", "--plot", "plot.jpg"], 1, "call it plot.png"),
        (["missing", "--html", "nowhere/page.html"], 1, "there is no folder nowhere"),
    ],
)
def test_what_the_command_cannot_do_is_one_clear_line(
    tiles: Path, options: list[str], code: int, message: str, monkeypatch, capsys
):
    assert _run(monkeypatch, "advise", *(str(tiles) if o == "TILES" else o for o in options)) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# Its page


def test_the_page_of_the_manual_runs_and_names_every_goal(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    page = (Path(__file__).parents[1] / "docs" / "code-length.md").read_text(encoding="utf-8")
    shutil.copytree(tiles, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/code-length.md", "exec"), {})
    assert " bytes a picture" in capsys.readouterr().out
    section = page.split("## Goals")[1].split("##")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(GOALS)
