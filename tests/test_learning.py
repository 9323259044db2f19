"""The deep methods on small sets of features: what they learn, what they refuse, that they repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grainhash.errors import EncoderError, InputError, LabelsError
from grainhash.hashing.lsh import LSH
from grainhash.labels import Labels, relevant
from grainhash.learning import losses
from grainhash.learning.deep import CSQ, DEEP_METHODS, DPSH, BiHalf, HashNet, NestedCodes, OrthoHash
from grainhash.learning.fit import FitSettings, fit_head, mean_average_precision
from grainhash.learning.heads import make_head
from grainhash.learning.objectives import make_objective
from grainhash.learning.views import Views, neighbours
from grainhash.methods import METHODS

SUPERVISED = [name for name, method in DEEP_METHODS.items() if method.needs_labels]
UNSUPERVISED = [name for name, method in DEEP_METHODS.items() if not method.needs_labels]
QUICK = {"hidden": 32, "epochs": 12, "batch_size": 64, "learning_rate": 3e-3, "dropout": 0.0, "noise": 0.0}


def clusters(n=480, n_classes=6, dim=24, seed=0):
    """Classes that are plain in a third of the directions, under noise with more variance in the others."""
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % n_classes
    features = 2 * rng.standard_normal((n, dim))
    features[:, :8] = np.random.default_rng(9).standard_normal((n_classes, 8))[ids]
    features[:, :8] += 0.3 * rng.standard_normal((n, 8))
    return (features + 1).astype(np.float32), ids


def blobs(n=480, n_classes=6, dim=24, seed=0):
    """Classes as round clusters around a common mean far from the origin: to be found without labels."""
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % n_classes
    centres = np.random.default_rng(9).standard_normal((n_classes, dim))
    return (centres[ids] + 0.9 * rng.standard_normal((n, dim)) + 2).astype(np.float32), ids


def map_of(method, features, labels, queries=slice(0, 120)):
    """mAP over all of queries that were not trained on, in rows that were not either."""
    u = np.where(method.project(features) > 0, 1.0, -1.0)
    rest = slice(queries.stop, None)
    wanted = relevant(labels.take(queries), labels.take(rest))
    return mean_average_precision(torch.from_numpy(u[queries] @ u[rest].T), torch.from_numpy(wanted))


@pytest.mark.parametrize("name", SUPERVISED)
def test_labels_teach_every_supervised_method(name):
    features, ids = clusters()
    others, other_ids = clusters(seed=1)
    method = DEEP_METHODS[name](16, **QUICK).fit(features, ids)
    by_chance = map_of(LSH(16).fit(features), others, Labels.single(other_ids))
    assert map_of(method, others, Labels.single(other_ids)) > by_chance + 0.4


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_unsupervised_methods_find_what_is_there(name):
    features, _ = blobs()
    others, other_ids = blobs(seed=1)
    method = DEEP_METHODS[name](16, **QUICK | {"epochs": 25}).fit(features)
    by_chance = map_of(LSH(16).fit(features), others, Labels.single(other_ids))
    assert map_of(method, others, Labels.single(other_ids)) > by_chance + 0.15


def several_labels(seed):
    """Pictures of some of six things, or of none; features in which the things add up, and noise."""
    rng = np.random.default_rng(seed)
    members = rng.random((480, 6)) < 0.25
    things = np.random.default_rng(9).standard_normal((6, 5))
    features = np.concatenate(
        [2 * members @ things + 0.3 * rng.standard_normal((480, 5)), 4 * rng.standard_normal((480, 19))],
        axis=1,
    )
    return features.astype(np.float32), Labels.of(members.astype(int))


@pytest.mark.parametrize("name", SUPERVISED)
def test_several_labels_are_learned_from(name):
    features, labels = several_labels(0)
    others, other_labels = several_labels(1)
    method = DEEP_METHODS[name](32, **QUICK).fit(features, labels)
    by_chance = map_of(LSH(32).fit(features), others, other_labels)
    assert map_of(method, others, other_labels) > by_chance + 0.1


@pytest.mark.parametrize("name", SUPERVISED)
def test_hierarchies_are_learned_from(name):
    names = ("a/x", "a/y", "a/z", "b/x", "b/y", "c")
    features, ids = clusters()
    others, other_ids = clusters(seed=1)
    method = DEEP_METHODS[name](32, **QUICK).fit(features, Labels.hierarchy([names[i] for i in ids]))
    labels = Labels.hierarchy([names[i] for i in other_ids])
    by_chance = map_of(LSH(32).fit(features), others, labels)
    assert map_of(method, others, labels) > by_chance + 0.25


@pytest.mark.parametrize("name", ["nested", "csq", "dpsh"])
def test_in_a_hierarchy_siblings_are_nearer_than_strangers(name):
    names = ("a/x", "a/y", "b/x", "b/y", "c/x", "c/y")
    features, ids = clusters()
    method = DEEP_METHODS[name](32, **QUICK).fit(features, Labels.hierarchy([names[i] for i in ids]))
    codes = np.where(method.project(features) > 0, 1.0, -1.0)
    likeness = codes @ codes.T
    leaf, parent = np.equal.outer(ids, ids), np.equal.outer(ids // 2, ids // 2)
    assert likeness[leaf].mean() > likeness[parent & ~leaf].mean() + 2 > likeness[~parent].mean() + 5


def test_prefixes_of_a_nested_code_are_codes():
    features, ids = clusters()
    others, other_ids = clusters(seed=1)
    method = NestedCodes(64, **QUICK).fit(features, ids)
    u = np.where(method.project(others) > 0, 1.0, -1.0)
    labels = Labels.single(other_ids)
    wanted = torch.from_numpy(relevant(labels, labels))
    quality = [mean_average_precision(torch.from_numpy(u[:, :m] @ u[:, :m].T), wanted) for m in (16, 32, 64)]
    assert min(quality) > 0.9 * max(quality) > 0.7


@pytest.mark.parametrize("prefixes", [True, False])
def test_the_loss_of_nested_codes_is_that_of_orthohash_and_of_greedyhash_for_every_prefix(prefixes):
    labels = Labels.single(np.arange(24) % 6)
    targets = torch.from_numpy(labels.indicator()).float()
    torch.manual_seed(0)
    objective = make_objective("nested", n_bits=32, labels=labels, greedy=0.5, margin=12.0, prefixes=prefixes)
    u = torch.randn(24, 32)
    expected = []
    lengths = (16, 32) if prefixes else (32,)
    for m, classifier in zip(lengths, objective.classifiers, strict=True):
        margin = {16: 1.0, 32: 0.75}[m]  # 12 bits, and no more than orthogonal codes are apart
        centred = losses.orthohash(u[:, :m], objective.centres[:, :m], targets, scale=8.0, margin=margin)
        logits = torch.where(u[:, :m] > 0, 1.0, -1.0) @ classifier.weight.T
        expected.append(centred + 0.5 * losses.greedyhash(u[:, :m], logits, targets, alpha=0.1))
    found = objective(u, targets, torch.arange(24))
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_nested_codes_without_the_classifier_have_none():
    labels = Labels.single(np.arange(24) % 6)
    objective = make_objective("nested", n_bits=32, labels=labels, greedy=0.0)
    assert not list(objective.parameters())


@pytest.mark.parametrize("name", DEEP_METHODS)
def test_the_same_seed_gives_the_same_function_and_another_another(name):
    features, ids = clusters(n=160)
    settings = QUICK | {"epochs": 2, "dropout": 0.3}

    def fingerprint(seed):
        torch.rand(3)  # what PyTorch drew before must not matter
        return DEEP_METHODS[name](16, seed=seed, **settings).fit(features, ids).function.fingerprint

    assert fingerprint(1) == fingerprint(1) != fingerprint(2)


def test_fitting_leaves_the_randomness_of_pytorch_alone():
    features, ids = clusters(n=100)
    torch.manual_seed(4)
    expected = torch.rand(5)
    torch.manual_seed(4)
    NestedCodes(16, **QUICK | {"epochs": 1}).fit(features, ids)
    torch.testing.assert_close(torch.rand(5), expected)


@pytest.mark.parametrize("head", ["linear", "two-layer"])
def test_the_function_gives_the_numbers_of_the_trained_head(head):
    features, ids = clusters(n=200)
    labels = Labels.single(ids)
    module = make_head(head, 24, 16, hidden=20)
    function = fit_head(
        features,
        labels,
        head=module,
        objective=make_objective("csq", n_bits=16, labels=labels),
        settings=FitSettings(epochs=3),
        method="csq",
    )
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    deviation = unit.std(axis=0)
    rows = torch.from_numpy((unit - unit.mean(axis=0)) / np.sqrt(deviation * deviation.mean()))
    assert not module.training
    np.testing.assert_allclose(function.project(features), module(rows).detach().numpy(), atol=1e-4)


def test_features_that_never_vary_do_no_harm():
    features, ids = clusters(n=200)
    features[:, 5:9] = 0.0
    projected = NestedCodes(16, **QUICK).fit(features, ids).project(features)
    assert np.isfinite(projected).all()
    assert np.abs(projected).max() < 100


def test_features_that_may_not_be_written_or_are_halves_are_taken_and_left_as_they_are():
    features, ids = clusters(n=200)
    halves = features.astype(np.float16)
    kept = halves.astype(np.float32)
    fixed = kept.copy()
    fixed.setflags(write=False)
    methods = [BiHalf(16, **QUICK | {"epochs": 1}).fit(x, ids) for x in (halves, kept, fixed)]
    assert len({method.function.fingerprint for method in methods}) == 1
    np.testing.assert_array_equal(kept, fixed)


def test_a_saved_method_gives_the_same_codes(tmp_path):
    features, ids = clusters(n=200)
    method = HashNet(16, alpha=5.0, **QUICK).fit(features, ids)
    method.save(tmp_path / "hash.safetensors")
    loaded = HashNet.load(tmp_path / "hash.safetensors")
    assert loaded.settings == method.settings
    np.testing.assert_array_equal(loaded.encode(features), method.encode(features))
    with pytest.raises(EncoderError, match="hashnet"):
        DPSH.load(tmp_path / "hash.safetensors")


def test_views_are_drawn_for_each_row_by_itself():
    features = torch.arange(3).repeat_interleave(40).reshape(3, 40, 1) + 100 * torch.arange(40)[None, :, None]
    views = Views(features.float(), 2, 0.0, torch.Generator().manual_seed(0))
    seen = set()
    for batch, rows in views.batches(torch.arange(40), 16):
        one, other = batch.squeeze(1).chunk(2)
        assert torch.equal(one // 100, rows[:16].float())
        assert torch.equal(other // 100, rows[16:].float())
        assert (one != other).all()
        seen |= set((one % 100).tolist())
    assert seen == {0.0, 1.0, 2.0}


def test_the_other_view_may_be_asked_for_of_a_neighbour():
    base = torch.from_numpy(blobs(n=60)[0])
    kept = torch.arange(2.0)[:, None, None].expand(2, 60, 1)
    features = torch.cat([base.expand(2, 60, 24), kept], dim=2)
    views = Views(features, 2, 0.0, torch.Generator().manual_seed(0), of_neighbours=True)
    others = torch.cat([views.draw(torch.arange(60)).chunk(2)[1] for _ in range(5)])
    assert set(others[:, -1].tolist()) == {0.0, 1.0}
    found = torch.cdist(others[:, :-1], base).argmin(dim=1).reshape(5, 60)
    assert all(found[draw, row] in views.near[row] for draw in range(5) for row in range(60))
    assert 0.05 < (found == torch.arange(60)).float().mean() < 0.3


def test_an_epoch_sees_no_row_twice():
    views = Views(torch.zeros(1, 50, 2), 1, 0.0, torch.Generator().manual_seed(0))
    rows = torch.cat([rows for _, rows in views.batches(torch.arange(10, 50), 8)])
    assert sorted(rows.tolist()) == list(range(10, 50))


def test_neighbours_are_the_nearest_and_first_the_row_itself():
    features, ids = blobs(n=60)
    near = neighbours(torch.from_numpy(features), 5).numpy()
    assert (near[:, 0] == np.arange(60)).all()
    assert (ids[near] == ids[:, None]).mean() > 0.95


@pytest.mark.parametrize("name", ["nested", "cibhash"])
def test_augmented_views_are_learned_from(name):
    views = np.stack([blobs(seed=seed)[0] for seed in range(3)])
    others, ids = blobs(seed=3)
    method = DEEP_METHODS[name](16, **QUICK).fit(views, ids)
    by_chance = map_of(LSH(16).fit(views[0]), others, Labels.single(ids))
    assert map_of(method, others, Labels.single(ids)) > by_chance + 0.15


def test_training_stops_when_held_out_rows_gain_no_more():
    features, ids = clusters()
    seen = []
    NestedCodes(16, **QUICK | {"epochs": 60, "validation": 0.2, "patience": 3}).fit(
        features, ids, progress=seen.append
    )
    assert 4 <= len(seen) < 60
    assert [(p.stage, p.done, p.total) for p in seen[:2]] == [("training", 1, 60), ("training", 2, 60)]


@pytest.mark.parametrize("name", ["bihalf", "cibhash", "dpsh"])
def test_every_kind_of_objective_can_be_judged_on_held_out_rows(name):
    features, ids = blobs(n=200)
    method = DEEP_METHODS[name](16, **QUICK | {"epochs": 3, "validation": 0.2}).fit(features, ids)
    assert method.encode(features).shape == (200, 2)


@pytest.mark.parametrize(("n_rows", "epochs"), [(500, 100), (5_000, 30), (10**6, 10)])
def test_more_rows_take_fewer_epochs(n_rows, epochs):
    assert FitSettings().n_epochs(n_rows) == epochs
    assert FitSettings(epochs=7).n_epochs(n_rows) == 7


def test_the_scale_of_hashnet_grows_in_stages():
    objective = make_objective("hashnet", n_bits=16, labels=Labels.single([0, 1]), stages=4)
    scales = []
    for fraction in (0.0, 0.2, 0.5, 0.99):
        objective.advance(fraction)
        scales.append(objective.scale)
    np.testing.assert_allclose(np.square(scales), [1, 1, 3, 4])


def test_dpsh_remembers_the_latest_outputs_of_training_only():
    objective = make_objective("dpsh", n_bits=8, labels=Labels.single([0, 1]), memory=5)
    for step in range(3):
        u = torch.full((2, 8), float(step), requires_grad=True)
        objective(u, torch.eye(2), torch.arange(2)).backward()
    assert objective.latest[0][:, 0].tolist() == [2, 2, 1, 1, 0]
    assert not objective.latest[0].requires_grad
    objective.eval()(torch.zeros(2, 8), torch.eye(2), torch.arange(2))
    assert objective.latest[0][:, 0].tolist() == [2, 2, 1, 1, 0]


GOOD, IDS = clusters(n=60)

BAD = {
    "NaN": (np.where(np.arange(24) == 3, np.nan, GOOD), IDS, InputError, "NaN or infinity"),
    "one dimension": (GOOD[0], IDS, InputError, "shape"),
    "no views": (np.zeros((0, 60, 24)), IDS, InputError, "shape"),
    "all the same": (np.full_like(GOOD, 0.3), IDS, InputError, "are the same"),
    "fewer rows than bits": (GOOD[:12], IDS[:12], InputError, "more than 16 rows"),
    "no labels": (GOOD, None, LabelsError, "learns from labels"),
    "one class": (GOOD, np.zeros(60, int), LabelsError, "two classes"),
    "a class of one picture": (GOOD, np.r_[7, IDS[1:]], LabelsError, "one picture only"),
    "other number of labels": (GOOD, IDS[1:], LabelsError, "59 labels for 60 rows"),
}


@pytest.mark.parametrize("name", ["nested", "dpsh"])
@pytest.mark.parametrize(("features", "ids", "error", "message"), BAD.values(), ids=BAD.keys())
def test_what_nothing_can_be_learned_from_is_refused_before_training(name, features, ids, error, message):
    def started(progress):
        pytest.fail("training began")

    with pytest.raises(error, match=message):
        DEEP_METHODS[name](16, **QUICK).fit(features, ids, progress=started)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"noise": 1.0},
        {"validation": 1.0},
        {"patience": 0},
        {"head": "conv"},
        {"head": "deep"},
        {"hidden": 0},
        {"dropout": 1.0},
        {"centres": "round"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_at_once(settings):
    with pytest.raises(InputError):
        NestedCodes(16, **settings)


def test_wrong_names_and_settings_are_refused():
    labels = Labels.single(IDS)
    with pytest.raises(InputError, match="method 'best'"):
        make_objective("best", n_bits=16, labels=labels)
    with pytest.raises(InputError, match="does not know"):
        make_objective("csq", n_bits=16, labels=labels, margin=1)
    for name in SUPERVISED:
        with pytest.raises(LabelsError, match="labels"):
            make_objective(name, n_bits=16)
    with pytest.raises(InputError, match="features"):
        make_objective("bihalf", n_bits=16)
    for method in (CSQ, OrthoHash, NestedCodes):
        with pytest.raises(InputError, match="hash centres 'round'"):
            method(16, centres="round")
    with pytest.raises(InputError, match="head 'deep'"):
        CSQ(16, head="deep")


def test_training_that_diverges_says_so():
    with pytest.raises(InputError, match="diverged"):
        DPSH(16, **QUICK | {"learning_rate": 1e30}).fit(GOOD, IDS)


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_unsupervised_methods_take_no_notice_of_labels(name):
    features, ids = blobs(n=100)
    method = DEEP_METHODS[name](16, **QUICK | {"epochs": 2})
    with_labels = method.fit(features, ids).function.fingerprint
    assert method.fit(features).function.fingerprint == with_labels


def test_the_registry_has_every_deep_method():
    in_registry = {name for name, target in METHODS.items() if target.startswith("grainhash.learning.")}
    assert set(DEEP_METHODS) == in_registry
    for name, method in DEEP_METHODS.items():
        assert METHODS[name] == f"{method.__module__}:{method.__qualname__}"
