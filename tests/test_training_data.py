from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from grainhash.errors import GrainhashError, InputError, LabelsError, PictureError, SplitError
from grainhash.labelled import LabelledPictures, read_labelled
from grainhash.labels import Labels
from grainhash.training.augment import NONE, Augmentation
from grainhash.training.data import Material, divide, gather, in_threads

SHADES = {"dark": 20, "grey": 120, "light": 230}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for name, shade in SHADES.items():
        (root / name).mkdir(parents=True)
        for number in range(8):
            rgb = np.full((12, 16, 3), shade, np.uint8)
            rgb[number] = 255 - shade
            Image.fromarray(rgb).save(root / name / f"{number}.png")
    return root


def with_split(folder: Path, split: str, source: Path) -> None:
    """Move all there is into `train`, and put a copy of `source` into `split`."""
    (folder / split / source.parent.name).mkdir(parents=True)
    shutil.copyfile(source, folder / split / source.parent.name / "copy.png")
    (folder / "train").mkdir()
    for name in SHADES:
        (folder / name).rename(folder / "train" / name)


def material(contents: list[str], labels: Labels | None) -> Material:
    n = len(contents)
    names = tuple(map(str, range(n)))
    pictures = LabelledPictures(names, labels, None, lambda row: b"", np.arange(n))
    return Material(pictures, tuple(contents), {})


def test_all_pictures_of_a_folder_without_parts(folder: Path) -> None:
    found = gather(read_labelled(folder), name="nested")
    assert len(found.pictures) == 24
    assert len(set(found.contents)) == 24
    assert found.skipped == {}


def test_unreadable_pictures_are_left_out_with_their_reason(folder: Path) -> None:
    (folder / "dark" / "0.png").write_bytes(b"")
    (folder / "grey" / "1.png").write_bytes((folder / "grey" / "1.png").read_bytes()[:60])
    found = gather(read_labelled(folder), name="nested", decode_to=8)
    assert len(found.pictures) == 22
    assert sorted(Path(name).name for name in found.skipped) == ["0.png", "1.png"]
    assert "empty" in " ".join(found.skipped.values())


def test_only_the_training_part_is_learned_from(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "grey" / "x.png"
    other.parent.mkdir()
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(other)
    with_split(folder, "test", other)
    found = gather(read_labelled(folder), name="nested")
    assert len(found.pictures) == 24
    assert not any("/test/" in name for name in found.pictures.names)
    with pytest.raises(SplitError, match="for judging"):
        gather(read_labelled(folder), name="nested", split="test")
    with pytest.raises(SplitError, match="no pictures of the split 'database'"):
        gather(read_labelled(folder), name="nested", split="database")


@pytest.mark.parametrize("held_out", ["test", "query"])
def test_a_split_that_leaks_is_refused_by_content(folder: Path, held_out: str) -> None:
    with_split(folder, held_out, folder / "dark" / "3.png")
    with pytest.raises(SplitError, match=r"1 of 1 pictures to judge by .*copy\.png is .*3\.png"):
        gather(read_labelled(folder), name="nested")


def test_a_part_to_judge_by_may_be_written_in_any_way(folder: Path, tmp_path: Path) -> None:
    rows = [f"pictures/{name}/{number}.png,{name}" for name in SHADES for number in range(8)]
    lines = [f"{row},{'Train' if number else 'Test '}" for number, row in enumerate(rows)]
    (tmp_path / "x.csv").write_text("\n".join(["path,label,split", *lines]))
    pictures = read_labelled(tmp_path / "x.csv")
    assert len(gather(pictures, name="nested").pictures) == 23
    with pytest.raises(SplitError, match="for judging"):
        gather(pictures, name="nested", split="Test")
    (folder / "dark" / "1.png").write_bytes((folder / "dark" / "0.png").read_bytes())
    with pytest.raises(SplitError, match="1 of 1 pictures to judge by"):
        gather(pictures, name="nested", split="Train")


def test_a_part_of_pictures_that_name_none(folder: Path) -> None:
    with pytest.raises(SplitError, match="name no parts, so none is called 'val'"):
        gather(read_labelled(folder), name="nested", split="val")


def test_labels_that_teach_nothing(folder: Path) -> None:
    for name in ("grey", "light"):
        shutil.rmtree(folder / name)
    with pytest.raises(LabelsError, match="two classes"):
        gather(read_labelled(folder), name="nested")


def test_a_class_of_one_picture_once_the_unreadable_are_gone(folder: Path) -> None:
    for path in sorted((folder / "dark").iterdir())[1:]:
        path.write_bytes(b"")
    found = gather(read_labelled(folder), name="nested")
    with pytest.raises(LabelsError, match=r"one picture only \(first: dark\)"):
        divide(found, n_bits=8, name="nested")


def test_pictures_without_labels(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        shutil.copyfile(path, flat / f"{number}.png")
    with pytest.raises(LabelsError, match="learns from labels"):
        gather(read_labelled(flat), name="nested")
    found = gather(read_labelled(flat), name="itq", needs_labels=False)
    assert len(divide(found, n_bits=8, name="itq", needs_labels=False, validation=0.25).validation) == 6


def test_fewer_pictures_than_bits() -> None:
    few = material([str(n) for n in range(20)], Labels.single([n % 2 for n in range(20)]))
    with pytest.raises(InputError, match="32 bits needs more than 32 pictures"):
        divide(few, n_bits=32, name="csq")
    with pytest.raises(InputError, match="share for validation"):
        divide(few, n_bits=8, name="csq", validation=1.0)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(0, 0.9), st.integers(0, 5))
def test_no_content_is_on_both_sides(data: st.DataObject, share: float, seed: int) -> None:
    n = data.draw(st.integers(12, 60))
    contents = data.draw(st.lists(st.integers(0, 40).map(str), min_size=n, max_size=n))
    names = [position % 3 for position in range(n)]
    labels = data.draw(
        st.sampled_from([Labels.single(names), Labels.multi([{name} for name in names]), None])
    )
    some = material(contents, labels)
    try:
        division = divide(some, n_bits=8, name="x", needs_labels=False, validation=share, seed=seed)
    except InputError:
        return
    training = {contents[row] for row in division.training}
    validation = {contents[row] for row in division.validation}
    assert not training & validation
    assert sorted([*division.training, *division.validation]) == list(range(n))
    if labels is not None and labels.kind == "single":
        assert (labels.take(division.training).counts() >= 2).all()
    again = divide(some, n_bits=8, name="x", needs_labels=False, validation=share, seed=seed)
    assert (again.validation == division.validation).all()


def test_the_draw_takes_its_share_of_every_class() -> None:
    labels = Labels.single([0] * 50 + [1] * 30)
    division = divide(material([str(n) for n in range(80)], labels), n_bits=8, name="x", validation=0.1)
    assert labels.take(division.validation).counts().tolist() == [5, 3]


def test_threads_keep_the_order() -> None:
    assert list(in_threads(lambda n: n * n, range(1000), n_threads=3, turn=7)) == [n * n for n in range(1000)]


def test_processes_load_the_same_batches_as_threads(folder: Path) -> None:
    pytest.importorskip("torch", reason="batches are tensors")
    from grainhash.training.batches import Batches

    def load(for_gpu: bool) -> Batches:
        return Batches(read_labelled(folder), 24, 5, 3, Augmentation(), 2, for_gpu)

    for own in (slice(None), slice(2, 5), slice(0)):
        epochs = [list(load(for_gpu).of_epoch(1, first=1, own=own)) for for_gpu in (False, True)]
        assert len(epochs[0]) == 3  # of 24 pictures, 5 a batch
        for threads, processes in zip(*epochs, strict=True):
            assert threads.pixels.shape == (len(range(5)[own]), 24, 24, 3)
            same = {name: getattr(threads, name).equal(getattr(processes, name)) for name in threads._fields}
            assert all(same.values()), same

    next((folder / "grey").iterdir()).write_bytes(b"no longer a picture")
    for for_gpu in (False, True):
        with pytest.raises(PictureError, match="grey"):
            list(load(for_gpu).of_epoch(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pictures are loaded by threads on this system")
def test_a_process_that_dies_while_it_loads_is_an_error_that_says_so(folder: Path) -> None:
    pytest.importorskip("torch", reason="batches are tensors")
    from grainhash.training.batches import Batches

    def read(row: int) -> bytes:
        os._exit(1)

    dying = replace(read_labelled(folder), read=read)
    with pytest.raises(GrainhashError, match=r"a process that loads pictures died.*fewer workers"):
        list(Batches(dying, 24, 5, 3, Augmentation(), 1, True).of_epoch(0))


def test_a_view_depends_on_its_generator_alone() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    views = [Augmentation().apply(rgb, 24, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0][0].shape == (24, 24, 3)
    assert (views[0][0] == views[1][0]).all()
    assert (views[0][1] == views[1][1]).all()
    assert (views[0][0] != views[2][0]).any()


def test_no_augmentation_is_what_the_encoder_sees() -> None:
    from grainhash.encoder.granules import cut
    from grainhash.types import WHOLE

    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    pixels, colours = NONE.apply(rgb, 24, np.random.default_rng(0))
    assert (pixels == cut(rgb, [WHOLE], 24)[0]).all()
    assert colours == pytest.approx(np.eye(4, 3))


def test_crops_lie_inside_and_are_as_large_as_asked() -> None:
    augmentation, rng = Augmentation(least_area=0.2, elongation=2), np.random.default_rng(0)
    for _ in range(300):
        x0, y0, x1, y1 = augmentation.crop_box(100, 60, rng)
        assert 0 <= x0 < x1 <= 100 + 1e-9
        assert 0 <= y0 < y1 <= 60 + 1e-9
        assert (x1 - x0) * (y1 - y0) >= 0.2 * 6000 - 1e-6
        assert min(x1 - x0, y1 - y0) >= augmentation.smallest_side * 60 - 1e-6


def test_colours_are_those_of_pillow() -> None:
    torch = pytest.importorskip("torch", reason="colours are changed on tensors")
    from PIL import ImageEnhance

    from grainhash.training.augment import recolour

    rgb = np.random.default_rng(0).integers(60, 190, (20, 20, 3), dtype=np.uint8)
    augmentation = Augmentation(jitter=0.2)
    saturation, contrast, brightness = 1 + 0.2 * np.random.default_rng(3).uniform(-1, 1, 3)
    image = Image.fromarray(rgb)
    for kind, factor in (("Color", saturation), ("Contrast", contrast), ("Brightness", brightness)):
        image = getattr(ImageEnhance, kind)(image).enhance(factor)
    changes = torch.from_numpy(augmentation.colours(np.random.default_rng(3)))[None]
    found = recolour(torch.from_numpy(rgb[None].astype(np.float32)), changes)[0].numpy()
    assert np.abs(found - np.asarray(image, np.float32)).max() < 3  # Pillow rounds after each of the three


def test_an_augmentation_out_of_range() -> None:
    with pytest.raises(InputError, match="out of range"):
        Augmentation(least_area=0)
