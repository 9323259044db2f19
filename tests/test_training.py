from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training end to end needs PyTorch")

from tiny_training import A_CLASS, SETTINGS, draw_pictures, tiny_backbone  # noqa: E402

from grainhash import Encoder  # noqa: E402
from grainhash.codes import hamming  # noqa: E402
from grainhash.errors import (  # noqa: E402
    CheckpointError,
    EncoderError,
    GrainhashError,
    InputError,
    LabelsError,
    MissingExtra,
)
from grainhash.hashing.steps import BlockNorm, Gates  # noqa: E402
from grainhash.labelled import LabelledPictures, read_labelled  # noqa: E402
from grainhash.labels import Labels  # noqa: E402
from grainhash.methods import method  # noqa: E402
from grainhash.networks.backbone import Backbone, Features  # noqa: E402
from grainhash.training import features as features_module  # noqa: E402
from grainhash.training.checkpoint import Checkpoint  # noqa: E402
from grainhash.training.data import gather  # noqa: E402
from grainhash.training.end_to_end import train_end_to_end  # noqa: E402
from grainhash.training.features import cached_features  # noqa: E402
from grainhash.training.frozen import train_frozen  # noqa: E402
from grainhash.training.loop import Running, schedule  # noqa: E402
from grainhash.training.out import CHECKPOINT, check_out  # noqa: E402
from grainhash.training.score import validation_map  # noqa: E402
from grainhash.training.settings import Settings  # noqa: E402
from grainhash.types import Progress  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait for one another on a network this small."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("training") / "pictures")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def pictures(folder: Path) -> LabelledPictures:
    return read_labelled(folder)


class Interrupted(Exception):
    """Stands for a power cut."""


def interrupt_after(n_steps: int) -> Any:
    def progress(seen: Progress) -> None:
        if seen.stage == "train" and seen.done >= n_steps * SETTINGS.batch_size:
            raise Interrupted

    return progress


def train(pictures: LabelledPictures, out: Path, settings: Settings = SETTINGS, **options: Any) -> Any:
    running = options.pop("running", Running(n_workers=2, log_every=2))
    return train_end_to_end(pictures, out, settings, running=running, backbone=tiny_backbone(), **options)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- on frozen features ---


def test_frozen_training_makes_an_encoder_of_the_same_network(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder
) -> None:
    cache = tmp_path / "cache"
    trained = train_frozen(
        pictures,
        tmp_path / "out",
        base=encoder,
        method="itq",
        n_bits=16,
        validation=0.25,
        cache=cache,
        source="here",
    )
    again = Encoder.load(tmp_path / "out")
    assert again.fingerprint == trained.encoder.fingerprint
    assert again.n_bits == 16
    assert again.config.network_sha256 == encoder.config.network_sha256
    assert trained.n_pictures == 3 * A_CLASS
    assert trained.validation_map is not None
    assert trained.validation_map > 0.6  # three plain colours
    provenance = again.config.provenance["hash"]
    assert provenance["method"] == "itq"
    assert provenance["settings"]["seed"] == 0
    assert provenance["validation"]["map"] == trained.validation_map
    assert provenance["versions"]["grainhash"]

    told: list[Progress] = []
    same = train_frozen(
        pictures,
        tmp_path / "b",
        base=encoder,
        method="itq",
        n_bits=16,
        validation=0.25,
        cache=cache,
        progress=told.append,
    )
    assert same.encoder.fingerprint == trained.encoder.fingerprint
    assert "features" not in {seen.stage for seen in told}


def test_frozen_training_with_labels_and_mirror_images(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder
) -> None:
    trained = train_frozen(
        pictures,
        tmp_path / "out",
        base=encoder,
        method="nested",
        n_bits=16,
        settings={"epochs": 5, "batch_size": 8},
        mirrored=True,
        cache=tmp_path / "cache",
    )
    assert trained.encoder.hash_function.method == "nested"
    assert trained.encoder.encode(pictures.source(0)).whole.shape == (2,)
    with pytest.raises(InputError, match="settings that nested does not know"):
        train_frozen(pictures, tmp_path / "b", base=encoder, settings={"warp": 9})


def test_pictures_without_labels_are_learned_from(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder, cache: Path
) -> None:
    ids = pictures.labels.ids
    few = pictures.take(np.concatenate([np.flatnonzero(ids == label)[:7] for label in range(3)]))
    options: dict[str, Any] = {"base": encoder, "method": "cca-itq", "n_bits": 16, "cache": cache}
    alone = train_frozen(few, tmp_path / "alone", validation=0, **options)
    trained = train_frozen(few, tmp_path / "out", unlabelled=pictures, **options)
    assert trained.n_pictures == 21
    assert 0 < trained.n_unlabelled <= 15  # those that have labels are not taken twice
    told = trained.encoder.config.provenance["hash"]["unlabelled"]
    assert told == {"pictures": 15, "taken": trained.n_unlabelled}
    assert trained.encoder.hash_function.fingerprint != alone.encoder.hash_function.fingerprint
    with pytest.raises(InputError, match="itq learns from no labels"):
        train_frozen(few, tmp_path / "b", unlabelled=pictures, **options | {"method": "itq"})


def test_features_are_cached_by_everything_that_decides_them(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = gather(pictures.take([0, 13, 25, 26]), name="x", needs_labels=False)
    rows, bad = cached_features(encoder, some, tmp_path)
    expected = encoder.features(np.stack([encoder.cut(some.pictures.source(i)).pixels[0] for i in range(4)]))
    assert np.array_equal(rows, expected)
    assert bad == {}
    mirrored, _ = cached_features(encoder, some, tmp_path, view="mirrored")
    assert not np.array_equal(rows, mirrored)
    other, _ = cached_features(encoder.with_features("map:max"), some, tmp_path)
    assert other.shape == rows.shape
    assert not np.array_equal(rows, other)
    swapped, _ = cached_features(
        encoder, gather(pictures.take([13, 0, 25, 26]), name="x", needs_labels=False), tmp_path
    )
    assert np.allclose(swapped[[1, 0, 2, 3]], rows)
    assert len(list(tmp_path.glob("*.npy"))) == 4

    def never(*arguments: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(features_module, "_compute", never)
    assert np.array_equal(cached_features(encoder, some, tmp_path)[0], rows)
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(InputError, match="delete the file"):
        cached_features(encoder, some, tmp_path)


@pytest.mark.parametrize("fusion", ["weights", "gates"])
def test_fusion_of_several_parts_is_learned(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder, cache: Path, fusion: str
) -> None:
    trained = train_frozen(
        pictures,
        tmp_path / "out",
        base=encoder.with_features("pooled+colour"),
        n_bits=16,
        settings={"epochs": 2},
        fusion=fusion,
        cache=cache,
    )
    assert trained.encoder.config.provenance["hash"]["settings"]["fusion"] == fusion
    norm, second = trained.encoder.hash_function.steps[:2]
    assert isinstance(norm, BlockNorm)
    assert isinstance(second, Gates) == (fusion == "gates")
    assert (norm.weights[0] != norm.weights[1]) == (fusion == "weights")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "itq", "fusion": "weights"}, "itq trains no weights or gates"),
        ({"fusion": "gates"}, "there is one"),
        ({"fusion": "sum"}, "there are concat, weights, gates"),
        ({"fusion": "gates", "settings": {"fusion": "weights"}}, "among the settings"),
        ({"settings": {"epochs": 2, "seed": 3}}, "nested does not know here: seed; there are head"),
        ({"method": "itq", "settings": {"n_iter": "many"}}, "n_iter='many': itq takes int"),
        ({"method": "itq", "settings": {"whitening": True}}, "whitening=True: itq takes float"),
        ({"validation": 1.0}, "share for validation"),
        ({"n_bits": 64}, "more than 64 pictures"),
    ],
    ids=str,
)
def test_what_cannot_be_learned_on_features_is_said_before_they_are_computed(
    pictures: LabelledPictures,
    tmp_path: Path,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(
        "grainhash.training.frozen.cached_features", lambda *_, **__: pytest.fail("it went on to features")
    )
    with pytest.raises(InputError, match=message):
        train_frozen(pictures, tmp_path / "out", base=encoder, **{"n_bits": 16} | options)


def test_a_shallow_method_gets_several_parts_as_export_gives_them(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder, cache: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: there is no export to agree with")
    from grainhash.encoder.granules import WHOLE_ONLY
    from grainhash.hashing.itq import ITQ
    from grainhash.networks.encoders import fit_encoder

    base = encoder.with_features("pooled+colour").with_granules(WHOLE_ONLY)
    trained = train_frozen(
        pictures, tmp_path / "out", base=base, method="itq", n_bits=16, validation=0, cache=cache
    )
    files = [Path(name) for name in pictures.names]
    assert trained.encoder.fingerprint == fit_encoder(base, files, ITQ(16)).fingerprint
    norm = trained.encoder.hash_function.steps[0]
    assert isinstance(norm, BlockNorm)
    assert norm.sizes == (1280, 256)
    assert norm.weights.tolist() == [1, 1]


def test_features_that_are_no_numbers_name_the_picture(
    pictures: LabelledPictures, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Encoder.features

    def broken(self: Encoder, pixels: Any) -> Any:
        seen = features(self, pixels)
        seen[1, 3] = np.nan
        return seen

    monkeypatch.setattr(Encoder, "features", broken)
    some = gather(pictures.take([0, 13, 25]), name="x", needs_labels=False)
    with pytest.raises(InputError, match=r"green/.*\.png: its features hold NaN"):
        cached_features(encoder, some, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_cannot_be_decoded_are_left_out(folder: Path, tmp_path: Path, encoder: Encoder) -> None:
    import shutil

    copy = shutil.copytree(folder, tmp_path / "pictures")
    (copy / "red" / "0.png").write_bytes(b"no picture")
    trained = train_frozen(
        read_labelled(copy), tmp_path / "out", base=encoder, method="lsh", n_bits=8, cache=tmp_path / "cache"
    )
    assert [Path(name).name for name in trained.skipped] == ["0.png"]
    assert trained.n_pictures == 3 * A_CLASS - 1


# --- end to end ---


def test_end_to_end_training_makes_an_encoder_that_index_takes(
    pictures: LabelledPictures, folder: Path, tmp_path: Path
) -> None:
    out, lines = tmp_path / "out", []
    trained = train(pictures, out, replace(SETTINGS, epochs=8, average=0.5), report=lines.append)
    assert trained.n_pictures == 27
    assert trained.validation_map > 0.9
    assert lines[0].startswith("epoch 1 of 8: loss ")
    encoder = Encoder.load(out)
    assert encoder.config.network.input_size == 32
    assert encoder.n_bits == 16
    assert not (out / CHECKPOINT).parent.exists()

    codes = np.stack([encoder.encode(pictures.source(i)).whole for i in range(len(pictures))])
    assert pictures.labels is not None
    assert validation_map(codes, pictures.labels) > 0.9

    rows = table(out)
    assert [int(row["step"]) for row in rows if row["validation_map"]] == list(range(3, 25, 3))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses[-1] < losses[0]

    code = (
        "import sys; from grainhash.gallery import Gallery; from grainhash import Encoder; "
        "from pathlib import Path; "
        f"g = Gallery.open({str(tmp_path / 'g')!r}, create=True, encoder=Encoder.load({str(out)!r})); "
        f"g.index(Path({str(folder)!r})); print(len(g), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["36", "False"]


def test_an_encoder_says_what_its_objective_was_set_to(pictures: LabelledPictures, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1, objective_settings={"margin": 3.0})
    provenance = train(pictures, tmp_path / "out", settings).encoder.config.provenance
    of_objective = provenance["settings"]["objective_settings"]
    assert of_objective["margin"] == 3.0
    assert of_objective["scale"] == method("nested")(16).scale
    assert "dropout" not in of_objective  # of heads on frozen features


@pytest.mark.parametrize(("interrupted_after", "objective"), [(2, "nested"), (5, "hashnet"), (5, "dpsh")])
def test_resumed_as_if_never_interrupted(
    pictures: LabelledPictures, tmp_path: Path, interrupted_after: int, objective: str
) -> None:
    settings = replace(SETTINGS, average=0.9, objective=objective)
    running = Running(n_workers=2, log_every=1, checkpoint_every=1)
    whole = train(pictures, tmp_path / "whole", settings, running=running)
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(pictures, out, settings, running=running, progress=interrupt_after(interrupted_after))
    with pytest.raises(CheckpointError, match="--resume"):
        train(pictures, out, settings, running=running)
    (out / CHECKPOINT).with_name(f".{CHECKPOINT.name}.0123").write_bytes(b"half a checkpoint")
    (out / "hash.safetensors").write_bytes(b"of an encoder that was not written whole")
    resumed = train(pictures, out, settings, running=replace(running, resume=True))
    assert not (out / CHECKPOINT).parent.exists()
    assert resumed.encoder.fingerprint == whole.encoder.fingerprint
    tables = [table(folder) for folder in (tmp_path / "whole", out)]
    assert [[row["step"], row["loss"], row["validation_map"]] for row in tables[0]] == [
        [row["step"], row["loss"], row["validation_map"]] for row in tables[1]
    ]


def test_statistics_are_averaged_with_the_weights_that_they_are_of(
    pictures: LabelledPictures, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(
            pictures,
            tmp_path,
            replace(SETTINGS, average=0.9),
            running=Running(n_workers=2, checkpoint_every=1),
            progress=interrupt_after(3),
        )
    tensors = _tensors(tmp_path / CHECKPOINT)
    for name, start in tiny_backbone().state_dict().items():
        if "running" in name:
            last, mean = (tensors[f"{kind}.backbone.{name}"] for kind in ("model", "average"))
            assert not torch.equal(mean, last)
            assert not torch.equal(mean, start)


def test_a_checkpoint_of_another_training_is_refused(pictures: LabelledPictures, tmp_path: Path) -> None:
    running = Running(n_workers=2, checkpoint_every=1)
    with pytest.raises(Interrupted):
        train(pictures, tmp_path, running=running, progress=interrupt_after(2))
    resume = replace(running, resume=True)
    with pytest.raises(CheckpointError, match=r"settings\.learning_rate is 0\.01 there and 0\.5 here"):
        train(pictures, tmp_path, replace(SETTINGS, learning_rate=0.5), running=resume)
    fewer = pictures.take(np.arange(len(pictures)) != 5)
    with pytest.raises(CheckpointError, match="data is"):
        train(fewer, tmp_path, running=resume)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a grainhash checkpoint"):
        train(pictures, tmp_path, running=resume)


def test_a_checkpoint_of_a_network_of_the_same_name_is_refused(
    pictures: LabelledPictures, tmp_path: Path
) -> None:
    running = Running(n_workers=2, checkpoint_every=1)
    with pytest.raises(Interrupted):
        train(pictures, tmp_path, running=running, progress=interrupt_after(2))
    wider = tiny_backbone()
    wider.body.blocks[0] = torch.nn.Conv2d(3, 8, 5, stride=4, bias=False)
    with pytest.raises(CheckpointError, match="does not fit this network"):
        train_end_to_end(pictures, tmp_path, SETTINGS, running=replace(running, resume=True), backbone=wider)


def test_a_loss_without_bounds_leaves_the_checkpoint_before_it(
    pictures: LabelledPictures, tmp_path: Path
) -> None:
    running = Running(n_workers=2, log_every=100, checkpoint_every=1)
    wild = replace(SETTINGS, epochs=4, learning_rate=1e30, head_learning_rate=1e30)
    with pytest.raises(GrainhashError, match="the loss is nan at step"):
        train(pictures, tmp_path, wild, running=running)
    kept = _tensors(tmp_path / CHECKPOINT)
    assert kept["model.head.first.weight"].isfinite().all()


def test_training_ends_when_validation_gains_no_more(pictures: LabelledPictures, tmp_path: Path) -> None:
    still = replace(
        SETTINGS, learning_rate=0, head_learning_rate=0, batch_norm="frozen", epochs=6, patience=1
    )
    train(pictures, tmp_path, still)
    rows = [row for row in table(tmp_path) if row["validation_map"]]
    assert 2 <= len(rows) < 6


def test_frozen_layers_and_statistics_stay_as_they_are(pictures: LabelledPictures, tmp_path: Path) -> None:
    running = Running(n_workers=2, checkpoint_every=1)
    settings = replace(SETTINGS, freeze=0.5, batch_norm="frozen")
    with pytest.raises(Interrupted):
        train(pictures, tmp_path, settings, running=running, progress=interrupt_after(3))
    content = _tensors(tmp_path / CHECKPOINT)
    before = tiny_backbone().state_dict()
    changed = {name for name in before if not torch.equal(before[name], content[f"model.backbone.{name}"])}
    assert changed == {"body.blocks.3.weight", "body.blocks.4.weight", "body.blocks.4.bias"}


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def test_a_convolutional_head_is_part_of_the_graph(pictures: LabelledPictures, tmp_path: Path) -> None:
    trained = train(pictures, tmp_path, replace(SETTINGS, head="conv", epochs=1))
    assert trained.encoder.hash_function.n_features == SETTINGS.hidden
    assert trained.encoder.config.provenance["bits_unlike_pytorch"] <= 0.01


def test_bfloat16_and_int8(pictures: LabelledPictures, tmp_path: Path) -> None:
    running = Running(n_workers=2, int8=True)
    trained = train(pictures, tmp_path, replace(SETTINGS, precision="bf16", epochs=4), running=running)
    assert trained.encoder.config.network_name == "tiny-int8"
    assert trained.encoder.config.provenance["bits_unlike_pytorch"] < 0.2


def test_tensorboard_is_an_extra(
    pictures: LabelledPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(n_workers=2, tensorboard=True)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(MissingExtra, match="tensorboard"):
            train(pictures, tmp_path, running=running)
        return
    train(pictures, tmp_path, replace(SETTINGS, epochs=1), running=running)
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "itq"}, "nothing learns end to end by the name of 'itq'"),
        ({"batch_size": 64}, "a batch of 64 pictures"),
        ({"n_bits": 64}, "more than 64 pictures"),
        ({"head": "round"}, "head 'round'"),
        ({"precision": "fp16"}, "fp16 is for CUDA"),
        ({"objective_settings": {"warp": 9}}, "settings that nested does not know here: warp; there are"),
        ({"objective_settings": {"epochs": 30}}, "settings that nested does not know here: epochs"),
        ({"objective_settings": {"margin": "wide"}}, "margin='wide': nested takes float"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_starts(
    pictures: LabelledPictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    if not change.keys() & {"batch_size", "n_bits"}:  # these need the number of pictures
        monkeypatch.setattr(
            "grainhash.training.end_to_end.gather", lambda *_, **__: pytest.fail("pictures were read")
        )
    with pytest.raises(InputError, match=message):
        train(pictures, tmp_path / "out", replace(SETTINGS, **change))
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_exported_is_not_trained(pictures: LabelledPictures, tmp_path: Path) -> None:
    class Moody(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tiny_backbone().body

        def forward(self, x: torch.Tensor) -> Features:
            seen: Features = self.body(x if x.sum().item() > 0 else -x)
            return seen

    tiny = tiny_backbone()
    moody = Backbone("moody", tiny.spec, tiny.channels, Moody())
    with pytest.raises(EncoderError, match="cannot export the network"):
        train_end_to_end(pictures, tmp_path / "out", replace(SETTINGS, network="moody"), backbone=moody)
    assert not (tmp_path / "out" / "train.csv").exists()


def test_a_size_that_the_network_cannot_take(pictures: LabelledPictures, tmp_path: Path) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            assert x.shape[-1] == 32, "Input height (48) doesn't match model (32)."
            return None

    backbone = tiny_backbone()
    backbone.body = Fixed()
    with pytest.raises(InputError, match=r"tiny takes no pictures of 48 pixels a side \(Input height"):
        train_end_to_end(pictures, tmp_path / "out", replace(SETTINGS, input_size=48), backbone=backbone)


def test_what_the_end_needs_is_asked_for_at_the_start(
    pictures: LabelledPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grainhash.training.end_to_end.find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r"onnx .*grainhash\[train\]"):
        train(pictures, tmp_path / "out")


@pytest.mark.parametrize(
    "change", [{"log_every": 0}, {"checkpoint_every": -1}, {"n_workers": 0}, {"mode": "teleport"}]
)
def test_ways_to_run_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Running(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"warm_up": 1.0},
        {"precision": "fp64"},
        {"input_size": 8},
        {"clip": -1},
        {"learning_rate": float("nan")},
        {"hidden": 0},
        {"seed": -1},
        {"validation": 1.0},
    ],
)
def test_settings_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(SETTINGS, **change)


def test_one_class_end_to_end(pictures: LabelledPictures, tmp_path: Path) -> None:
    assert pictures.labels is not None
    with pytest.raises(LabelsError, match="two classes"):
        train(pictures.take(pictures.labels.ids == 0), tmp_path)


# --- the parts ---


def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"no encoder folder \(it holds thesis.tex\)"):
        check_out(tmp_path, resume=False)
    with pytest.raises(InputError, match="is a file"):
        check_out(tmp_path / "thesis.tex", resume=False)
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        check_out(tmp_path / "new", resume=True)
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        check_out(tmp_path, resume=True)
    check_out(tmp_path / "new", resume=False)


def test_learning_rate_rises_and_falls() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert schedule(0, 10, 0) == 1


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a" / "c.safetensors"
    configuration = {"settings": {"epochs": 3}}
    Checkpoint(configuration, {"step": 5}, {"w": torch.arange(3.0)}).save(path)
    again = Checkpoint.load(path, configuration)
    assert again.state == {"step": 5}
    assert again.tensors["w"].tolist() == [0, 1, 2]
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert set(header) == {"__metadata__", "w"}
    assert list(tmp_path.rglob("*")) == [tmp_path / "a", path]
    with pytest.raises(CheckpointError, match=r"settings\.epochs is 3 there and not set here"):
        Checkpoint.load(path, {"settings": {}})


def test_validation_map_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (40, 2), dtype=np.uint8)
    labels = Labels.single(rng.integers(0, 4, 40).tolist())
    assert labels.ids is not None
    precisions = []
    for query in range(40):
        others = [row for row in range(40) if row != query]
        order = sorted(others, key=lambda row: (int(hamming(codes[[query]], codes[[row]])[0, 0]), row))
        right = [bool(labels.ids[row] == labels.ids[query]) for row in order]
        hits = [sum(right[: rank + 1]) / (rank + 1) for rank, is_right in enumerate(right) if is_right]
        precisions.append(sum(hits) / len(hits))
    assert validation_map(codes, labels) == pytest.approx(np.mean(precisions))
    assert validation_map(codes[:2], Labels.single(["a", "b"])) is None


# --- the command ---


def grainhash(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grainhash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_on_frozen_features(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--method", "itq", "--bits", 16, "--cache", tmp_path / "cache", "--set", "n_iter=5")
    done = grainhash("train", folder, "--out", out, *options, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["fingerprint"] == Encoder.load(out).fingerprint
    assert facts["pictures"] == 36
    assert grainhash("index", folder, "--encoder", out, "-g", tmp_path / "gallery").returncode == 0


def test_the_command_learns_fusion(folder: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "out"
    options = ("--features", "pooled+colour", "--fusion", "weights", "--bits", 16, "--set", "epochs=2")
    done = grainhash("train", folder, "--out", out, *options, "--cache", cache)
    assert done.returncode == 0, done.stderr
    assert Encoder.load(out).config.provenance["hash"]["settings"]["fusion"] == "weights"


def test_the_command_learns_from_pictures_without_labels(folder: Path, tmp_path: Path, cache: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for path in folder.glob("*/1*.png"):
        picture = Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        picture.save(more / f"{path.parent.name}-{path.name}")
    options = ("--method", "cca-itq", "--bits", 16, "--unlabelled", more, "--cache", cache)
    done = grainhash("train", folder, "--out", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"36 pictures and \d without labels", done.stdout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume",), "for --end-to-end"),
        (("--end-to-end", "--parallel", "teleport"), "choose ddp, fsdp or pipeline"),
        (("--end-to-end", "--parallel", "ddp"), "torchrun --nproc-per-node"),
        (("--set", "novalue"), "write key=value"),
        (("--method", "magic"), "no method of hashing is called 'magic'"),
        (("--end-to-end", "--fusion", "gates"), "--fusion: it is not for --end-to-end"),
        (("--fusion", "gates"), "there is one"),
        (("--method", "itq", "--fusion", "gates"), "itq trains no weights or gates"),
        (("--split", "val"), "the pictures name no parts"),
    ],
)
def test_wrong_usage_of_the_command(
    folder: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    from typer.testing import CliRunner

    from grainhash.cli import app

    result = CliRunner().invoke(app, ["train", str(folder), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
