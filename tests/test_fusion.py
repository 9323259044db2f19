"""Fusion of features of several kinds: PyTorch against the chain, what weights and gates learn, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import draw_pictures

from grainhash import methods
from grainhash.errors import InputError
from grainhash.hashing.function import Affine, BlockNorm, Gates, HashFunction, L2Norm
from grainhash.labelled import read_labelled
from grainhash.labels import Labels
from grainhash.learning.deep import DEEP_METHODS, BiHalf, NestedCodes
from grainhash.learning.fit import FitSettings, fit_head
from grainhash.learning.fusion import FUSIONS, Scaling, chain, unit_blocks
from grainhash.learning.heads import make_head
from grainhash.learning.objectives import make_objective
from grainhash.training.frozen import train_frozen

SIZES = (12, 5, 7)
QUICK = {"hidden": 32, "epochs": 20, "batch_size": 64, "learning_rate": 3e-3, "dropout": 0.0, "noise": 0.0}
WEIGHED = [name for name in FUSIONS if name != "concat"]


def several_kinds(n=240, seed=0):
    """Six classes that the first and the last block show, on scales of their own; the second is noise."""
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % 6
    centres = np.random.default_rng(9).standard_normal((6, sum(SIZES)))
    features = centres[ids] + rng.standard_normal((n, sum(SIZES))) + 1
    features[:, 12:17] = rng.standard_normal((n, 5)) + 1
    return (features * np.repeat([1, 300, 0.01], SIZES)).astype(np.float32), ids


def by_hand(function, features, head):
    """What the trained head makes of features that are normalised, scaled and weighed here, in float64."""
    rows = np.split(features.astype(np.float64), np.cumsum(SIZES)[:-1], axis=1)
    rows = np.hstack([row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows])
    deviation = rows.std(axis=0)
    divisor = np.maximum(np.sqrt(deviation * deviation.mean()), deviation.mean() / 10)
    weights, factors = function.steps[0].weights, np.ones((len(rows), len(SIZES)))
    if isinstance(function.steps[1], Gates):
        gates = function.steps[1]
        factors = 2 / (1 + np.exp(-(rows @ gates.weight + gates.bias)))
    spread = np.repeat(factors, SIZES, axis=1)
    weighed = np.repeat(weights, SIZES) * (spread * rows - rows.mean(axis=0)) / divisor
    return head(torch.from_numpy(weighed.astype(np.float32))).detach().numpy()


@pytest.mark.parametrize("head", ["linear", "two-layer"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_function_gives_the_numbers_of_what_was_trained(fusion, head):
    features, ids = several_kinds()
    labels = Labels.single(ids)
    module = make_head(head, sum(SIZES), 16, hidden=20)
    function = fit_head(
        features,
        labels,
        head=module,
        objective=make_objective("nested", n_bits=16, labels=labels),
        settings=FitSettings(epochs=20, learning_rate=1e-2),
        method="nested",
        blocks=SIZES,
        fusion=fusion,
    )
    np.testing.assert_allclose(function.project(features), by_hand(function, features, module), atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("sizes", [SIZES, (24,)])
def test_the_chain_gives_the_numbers_of_the_modules(fusion, sizes):
    features = torch.from_numpy(several_kinds()[0])
    rows = unit_blocks(features, sizes)
    scaling = Scaling.of(rows[None])
    fused, head = FUSIONS[fusion](sizes, scaling), make_head("two-layer", 24, 16, hidden=20)
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.normal_(std=0.3)
        u = head.eval()(fused(scaling.apply_(rows)))
    function = HashFunction(chain(fused, head), "by hand")
    np.testing.assert_allclose(function.project(features.numpy()), u, atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_training_starts_from_blocks_that_say_as_much(fusion):
    rows = unit_blocks(torch.from_numpy(several_kinds()[0]), SIZES)
    scaling = Scaling.of(rows[None])
    x = scaling.apply_(rows)
    torch.testing.assert_close(FUSIONS[fusion](SIZES, scaling)(x), x)


def test_the_steps_of_every_fusion():
    features, ids = several_kinds()
    kinds = {
        fusion: [type(step) for step in fitted(features, ids, fusion=fusion, epochs=1).function.steps[:-2]]
        for fusion in FUSIONS
    }
    assert kinds == {
        "concat": [BlockNorm, Affine],
        "weights": [BlockNorm, Affine],
        "gates": [BlockNorm, Gates, Affine],
    }
    assert isinstance(NestedCodes(16, **QUICK | {"epochs": 1}).fit(features, ids).function.steps[0], L2Norm)


def fitted(features, ids, **settings):
    return NestedCodes(16, blocks=SIZES, **QUICK | settings).fit(features, ids)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_no_block_counts_for_more_by_its_scale(fusion):
    features, ids = several_kinds()
    larger = features * np.repeat([4, 1, 512], SIZES).astype(np.float32)
    codes = [fitted(x, ids, fusion=fusion, epochs=3).encode(x) for x in (features, larger)]
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize(("loss", "share"), [({"margin": 3.2, "greedy": 0.0}, 0.8), ({}, 0.9)])
def test_a_block_of_noise_is_weighed_less(loss, share):
    weights = fitted(*several_kinds(), fusion="weights", **loss).function.steps[0].weights
    assert weights.min() > 0
    assert weights.mean() == pytest.approx(1)
    assert weights[1] < share * weights[[0, 2]].min()


def test_gates_open_for_the_block_that_shows_the_class_of_this_picture():
    rng = np.random.default_rng(0)
    ids, first = np.arange(600) % 4, rng.random(600) < 0.5
    shown = 3 * np.eye(4)[ids]
    blocks = [
        np.where(tells[:, None], shown, 3 * np.eye(4)[rng.integers(4, size=600)]) for tells in (first, ~first)
    ]
    cue = np.where(first[:, None], [3.0, 0.0], [0.0, 3.0])
    features = np.hstack([*blocks, cue]) + 0.3 * rng.standard_normal((600, 10))
    method = NestedCodes(16, blocks=(4, 4, 2), fusion="gates", **QUICK).fit(features.astype(np.float32), ids)
    norm, gates = method.function.steps[:2]
    unit = norm(features)
    of_pictures = 1 / (1 + np.exp(-(unit @ gates.weight + gates.bias)))
    assert of_pictures[first, 0].mean() > of_pictures[~first, 0].mean() + 0.1
    assert of_pictures[~first, 1].mean() > of_pictures[first, 1].mean() + 0.1


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("name", DEEP_METHODS)
def test_every_method_learns_from_several_kinds_of_features_and_repeats(name, fusion):
    features, ids = several_kinds(n=160)
    settings = QUICK | {"blocks": SIZES, "fusion": fusion, "epochs": 2}
    one, other = (DEEP_METHODS[name](16, **settings).fit(features, ids).function for _ in range(2))
    assert one.fingerprint == other.fingerprint
    assert np.isfinite(one.project(features)).all()


def test_bihalf_takes_cosines_in_which_every_block_counts_alike():
    features, _ = several_kinds()
    larger = features * np.repeat([1, 1, 1024], SIZES).astype(np.float32)
    settings = QUICK | {"blocks": SIZES, "epochs": 3}
    codes = [BiHalf(16, **settings).fit(x).encode(x) for x in (features, larger)]
    np.testing.assert_array_equal(*codes)


def test_views_and_early_stopping_go_with_gates():
    views = np.stack([several_kinds(seed=seed)[0] for seed in range(2)])
    method = fitted(views, several_kinds()[1], fusion="gates", validation=0.2, patience=2)
    assert method.encode(views[0]).shape == (240, 2)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_saved_method_gives_the_same_codes(fusion, tmp_path):
    features, ids = several_kinds()
    method = fitted(features, ids, fusion=fusion, epochs=2)
    method.save(tmp_path / "hash.safetensors")
    loaded = NestedCodes.load(tmp_path / "hash.safetensors")
    assert loaded.settings == method.settings
    np.testing.assert_array_equal(loaded.encode(features), method.encode(features))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_blocks_of_zeros_and_columns_that_never_vary_do_no_harm(fusion):
    features, ids = several_kinds()
    features[:, 3:5], features[:, 12:17], features[::3, 17:] = 2.0, 0.0, 0.0
    projected = fitted(features, ids, fusion=fusion).project(features)
    assert np.isfinite(projected).all()
    assert np.abs(projected).max() < 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "sum"}, "fusion 'sum': there are concat, weights, gates"),
        ({"blocks": (12, 0, 12)}, "a column at least"),
        ({"blocks": (12.5, 11.5)}, "columns of each kind"),
        ({"blocks": 24}, "columns of each kind"),
        *(({"fusion": name, "blocks": blocks}, "there is one") for name in WEIGHED for blocks in ((), (24,))),
    ],
    ids=str,
)
def test_fusion_that_cannot_be_is_refused_at_once(settings, message):
    with pytest.raises(InputError, match=message):
        NestedCodes(16, **settings)


def test_blocks_of_other_features_are_refused_before_training():
    features, ids = several_kinds()
    with pytest.raises(InputError, match="blocks of 22 columns in all, and features of 24"):
        NestedCodes(16, blocks=(11, 11)).fit(
            features, ids, progress=lambda told: pytest.fail("training began")
        )


@pytest.mark.parametrize(
    ("method", "shape", "blocks"), [("nested", (2, 36, 1536), (1280, 256)), ("itq", (72, 1536), None)]
)
def test_training_hands_over_kinds_of_features_and_views(
    method, shape, blocks, tmp_path, encoder, drawn, cache, monkeypatch
):
    seen = []
    learner = methods.method(method)
    fit = learner.fit

    def watched(self, features, *rest, **more):
        seen.append(features.shape)
        return fit(self, features, *rest, **more)

    monkeypatch.setattr(learner, "fit", watched)
    trained = train_frozen(
        drawn,
        tmp_path / "out",
        base=encoder.with_features("pooled+colour"),
        method=method,
        n_bits=16,
        settings={"epochs": 2, "fusion": "gates"} if blocks else {},
        mirrored=True,
        validation=0,
        cache=cache,
    )
    assert seen == [shape]
    assert trained.encoder.config.provenance["hash"]["settings"].get("blocks") == (blocks and list(blocks))
    if blocks:
        assert [step.sizes for step in trained.encoder.hash_function.steps[:2]] == [blocks, blocks]


def test_training_on_features_of_one_kind_has_nothing_to_weigh(tmp_path, encoder, drawn):
    with pytest.raises(InputError, match="there is one"):
        train_frozen(drawn, tmp_path / "out", base=encoder, settings={"fusion": "weights"})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return read_labelled(draw_pictures(tmp_path_factory.mktemp("drawn") / "pictures"))
