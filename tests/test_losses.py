"""Each loss against its formula written out in NumPy, its gradients, and batches where a naive one fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grainhash.codes import pack, unpack
from grainhash.learning import losses

rng = np.random.default_rng(3)
N, BITS, CLASSES = 7, 16, 4


def tensor(*shape, gradient=False):
    return torch.tensor(rng.standard_normal(shape), requires_grad=gradient)


def one_hot(ids):
    return torch.eye(CLASSES, dtype=torch.float64)[ids]


SINGLE = one_hot([0, 1, 1, 2, 3, 0, 2])
MULTI = torch.tensor(
    [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]]
).double()
PATHS = torch.tensor(
    [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
).double()
CENTRES = torch.tensor(rng.choice([-1.0, 1.0], (CLASSES, BITS)))


def array(x):
    return x.detach().numpy()


def pairwise(function, n, m):
    return np.array([[function(i, j) for j in range(m)] for i in range(n)])


def cross_entropy(logits, shares):
    """Mean over the rows that have a label."""
    rows = [
        -sum(p * math.log(math.exp(z) / np.exp(row).sum()) for z, p in zip(row, share, strict=True))
        for row, share in zip(logits, shares, strict=True)
        if share.sum()
    ]
    return np.mean(rows)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def shares_of(targets):
    targets = array(targets)
    return targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)


def test_pictures_are_similar_where_they_share_a_class():
    expected = pairwise(lambda i, j: float((array(MULTI)[i] * array(SINGLE)[j]).any()), N, N)
    np.testing.assert_array_equal(array(losses.similarity(MULTI, SINGLE)), expected)


def test_graded_similarity_is_the_share_of_levels_in_common():
    grades = array(losses.similarity(PATHS, PATHS, graded=True))
    assert (grades[0, 3], grades[0, 1], grades[0, 2], grades[0, 5]) == (1, 0.5, 0, 0.5)
    np.testing.assert_array_equal(grades, grades.T)


def test_graded_similarity_of_one_label_each_is_plain_similarity():
    plain, graded = (losses.similarity(SINGLE, SINGLE, graded=graded) for graded in (False, True))
    np.testing.assert_array_equal(array(plain), array(graded))


def test_the_centre_of_several_labels_is_their_majority_and_ties_are_settled_by_one_code():
    ties = torch.tensor(rng.choice([-1.0, 1.0], BITS))
    found = array(losses.target_centres(MULTI, CENTRES, ties))
    for target, centre in zip(array(MULTI), found, strict=True):
        votes = sum((row for row, has in zip(array(CENTRES), target, strict=True) if has), np.zeros(BITS))
        np.testing.assert_array_equal(centre, np.where(votes == 0, array(ties), np.sign(votes)))
    np.testing.assert_array_equal(
        array(losses.target_centres(SINGLE, CENTRES, ties)), array(SINGLE @ CENTRES)
    )


@given(st.lists(st.sampled_from([-2.0, -1e-30, 0.0, 1e-30, 3.0]), min_size=8, max_size=8))
def test_signs_are_the_bits_of_codes(values):
    u = torch.tensor([values])
    bits = unpack(pack(u.numpy()))
    np.testing.assert_array_equal(losses.signs(u).numpy(), np.where(bits, 1, -1))
    np.testing.assert_array_equal(losses.straight_through_signs(u).numpy(), np.where(bits, 1, -1))


def test_the_straight_through_gradient_is_that_of_the_identity():
    u = tensor(3, 8, gradient=True)
    weight = tensor(3, 8)
    (losses.straight_through_signs(u) * weight).sum().backward()
    np.testing.assert_array_equal(array(u.grad), array(weight))


@pytest.mark.parametrize("n", [6, 7])
def test_bi_half_puts_the_largest_half_on_one_side(n):
    u = tensor(n, 8)
    bits = array(losses.bi_half(u, 1.0))
    assert (bits.sum(axis=0) == (0 if n % 2 == 0 else -1)).all()
    for column, values in zip(bits.T, array(u).T, strict=True):
        assert values[column > 0].min() > values[column < 0].max()


def test_bi_half_has_its_own_gradient():
    u, weight = tensor(6, 8, gradient=True), tensor(6, 8)
    bits = losses.bi_half(u, 3.0)
    (bits * weight).sum().backward()
    np.testing.assert_allclose(array(u.grad), array(weight + 3.0 * (u - bits) / bits.numel()))


def test_dpsh():
    u, v = tensor(N, BITS), tensor(5, BITS)
    similar = losses.similarity(SINGLE, SINGLE[:5])

    def likelihood(i, j):
        theta = array(u)[i] @ array(v)[j] / 2
        return math.log(1 + math.exp(theta)) - array(similar)[i, j] * theta

    expected = pairwise(likelihood, N, 5).mean() + 0.1 * np.mean((array(u) - np.sign(array(u))) ** 2)
    assert losses.dpsh(u, v, similar, quantisation=0.1).item() == pytest.approx(expected)


def test_hashnet_weighs_similar_pairs_and_others_the_same():
    u, similar = tensor(N, BITS), losses.similarity(SINGLE, SINGLE)
    h, s = np.tanh(1.5 * array(u)), array(similar)

    def term(i, j):
        theta = 0.2 * (h[i] @ h[j])
        weight = N * N / s.sum() if s[i, j] else N * N / (1 - s).sum()
        return weight * (math.log(1 + math.exp(theta)) - s[i, j] * theta)

    found = losses.hashnet(u, similar, scale=1.5, alpha=0.2)
    assert found.item() == pytest.approx(pairwise(term, N, N).mean())


def test_dsh():
    u, similar = tensor(N, BITS), losses.similarity(SINGLE, SINGLE)

    def term(i, j):
        distance = ((array(u)[i] - array(u)[j]) ** 2).sum()
        near, far = distance, max(0.0, 30.0 - distance)
        regular = sum(np.abs(np.abs(array(u)[k]) - 1).sum() for k in (i, j))
        return (near if similar[i, j] else far) / 2 + 0.01 * regular

    found = losses.dsh(u, similar, margin=30.0, alpha=0.01)
    assert found.item() == pytest.approx(pairwise(term, N, N).mean())


@pytest.mark.parametrize("targets", [SINGLE, MULTI, PATHS], ids=["single", "multi", "hierarchy"])
def test_greedyhash(targets):
    u, weight = tensor(N, BITS), tensor(CLASSES, BITS)
    logits = losses.straight_through_signs(u) @ weight.T
    expected = cross_entropy(np.sign(array(u)) @ array(weight).T, shares_of(targets))
    expected += 0.1 * np.mean(np.abs(np.abs(array(u)) - 1) ** 3)
    assert losses.greedyhash(u, logits, targets, alpha=0.1).item() == pytest.approx(expected)


def test_csq():
    u, centres = tensor(N, BITS), SINGLE @ CENTRES
    h, c = (np.tanh(array(u)) + 1) / 2, (array(centres) + 1) / 2
    central = -np.mean(c * np.log(h) + (1 - c) * np.log(1 - h))
    quantisation = np.mean(np.log(np.cosh(np.abs(2 * h - 1) - 1)))
    found = losses.csq(u, centres, quantisation=0.5).item()
    assert found == pytest.approx(central + 0.5 * quantisation)


@pytest.mark.parametrize("targets", [SINGLE, MULTI, PATHS], ids=["single", "multi", "hierarchy"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_orthohash(targets, smoothing):
    u = tensor(N, BITS)
    cosines = pairwise(lambda i, c: cosine(array(u)[i], array(CENTRES)[c]), N, CLASSES)
    shares = shares_of(targets)
    smooth = (1 - smoothing) * shares + smoothing * shares.sum(axis=1, keepdims=True) / CLASSES
    expected = cross_entropy(8 * (cosines - 0.2 * array(targets)), smooth)
    found = losses.orthohash(u, CENTRES, targets, scale=8, margin=0.2, smoothing=smoothing)
    assert found.item() == pytest.approx(expected)


def test_nested_orthohash_is_the_weighted_sum_over_prefixes():
    u = tensor(N, BITS)
    settings = {"scale": 8.0, "smoothing": 0.1}
    expected = sum(
        weight * losses.orthohash(u[:, :m], CENTRES[:, :m], SINGLE, margin=margin, **settings).item()
        for m, weight, margin in ((8, 0.25, 0.4), (16, 0.75, 0.2))
    )
    found = losses.nested_orthohash(
        u, CENTRES, SINGLE, lengths=(8, 16), weights=(0.25, 0.75), margins=(0.4, 0.2), **settings
    )
    assert found.item() == pytest.approx(expected)


def test_bihalf():
    u, features = tensor(N, BITS), tensor(N, 5)
    bits = array(losses.bi_half(u, 6.0))
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    expected = np.mean([(cosine(bits[i], bits[j]) - cosine(*array(features)[[i, j]])) ** 2 for i, j in pairs])
    assert losses.bihalf(u, features, gamma=6.0).item() == pytest.approx(expected)


def test_cibhash():
    u, other = tensor(N, BITS), tensor(N, BITS)
    bits = np.sign(np.concatenate([array(u), array(other)]))
    contrast = []
    for i in range(2 * N):
        partner = (i + N) % (2 * N)
        terms = {j: math.exp(cosine(bits[i], bits[j]) / 0.3) for j in range(2 * N) if j != i}
        contrast.append(-math.log(terms[partner] / sum(terms.values())))
    p, q = (1 / (1 + np.exp(-array(x))) for x in (u, other))

    def divergence(a, b):
        return np.mean((a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))).sum(axis=1))

    expected = np.mean(contrast) + 0.01 * (divergence(p, q) + divergence(q, p)) / 2
    assert losses.cibhash(u, other, temperature=0.3, beta=0.01).item() == pytest.approx(expected)


def test_nested_contrast():
    u, other = tensor(N, BITS), tensor(N, BITS)
    a, b = np.tanh(array(u)), np.tanh(array(other))

    def finding_its_own(one, two):
        scores = [[math.exp(cosine(x, y) / 0.7) for y in two] for x in one]
        return -np.mean([math.log(row[i] / sum(row)) for i, row in enumerate(scores)])

    terms = [finding_its_own(a[:, :m], b[:, :m]) + finding_its_own(b[:, :m], a[:, :m]) for m in (8, 16)]
    found = losses.nested_contrast(u, other, lengths=(8, 16), temperature=0.7)
    assert found.item() == pytest.approx(np.mean(terms) / 2)


def test_the_bottleneck_holds_the_second_distribution_fixed():
    u, other = tensor(N, BITS, gradient=True), tensor(N, BITS, gradient=True)
    losses._bernoulli_kl(u, other.detach()).backward()
    assert u.grad.abs().sum() > 0
    assert other.grad is None


LOSSES = {
    "dpsh": lambda u, t: losses.dpsh(u, u.detach(), losses.similarity(t, t), quantisation=0.1),
    "hashnet": lambda u, t: losses.hashnet(u, losses.similarity(t, t), scale=3.0, alpha=0.2),
    "dsh": lambda u, t: losses.dsh(u, losses.similarity(t, t), margin=32.0, alpha=0.01),
    "greedyhash": lambda u, t: losses.greedyhash(
        u, losses.straight_through_signs(u) @ CENTRES.T, t, alpha=0.1
    ),
    "csq": lambda u, t: losses.csq(u, losses.target_centres(t, CENTRES, torch.ones(BITS)), quantisation=1e-4),
    "orthohash": lambda u, t: losses.orthohash(u, CENTRES, t, scale=8.0, margin=0.2),
    "nested": lambda u, t: losses.nested_orthohash(
        u, CENTRES, t, lengths=(8, 16), weights=(0.5, 0.5), scale=8.0, margins=(0.4, 0.2), smoothing=0.1
    ),
    "bihalf": lambda u, t: losses.bihalf(u, t + 1, gamma=6.0),
    "cibhash": lambda u, t: losses.cibhash(u, u + 0.1, temperature=0.3, beta=0.01),
    "nested-neighbours": lambda u, t: losses.nested_contrast(u, u + 0.1, lengths=(8, 16), temperature=0.7),
}

BATCHES = {
    "one class": one_hot([1] * N),
    "no similar pair but itself": one_hot([0, 1, 2, 3]),
    "no label at all": torch.zeros(N, CLASSES, dtype=torch.float64),
    "some without": MULTI,
    "everything": torch.ones(N, CLASSES, dtype=torch.float64),
}


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4], ids=["zeros", "usual", "huge"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_and_its_gradient_stay_finite(loss, batch, scale):
    u = (scale * tensor(len(batch), BITS)).detach().requires_grad_()
    value = loss(u, batch)
    value.backward()
    assert value.ndim == 0
    assert torch.isfinite(value)
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_moves_every_picture_and_bit(loss):
    u = tensor(N, BITS, gradient=True)
    loss(u, SINGLE).backward()
    assert (u.grad.abs().sum(dim=1) > 0).all()
    assert (u.grad.abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize("name", ["dpsh", "hashnet", "dsh", "csq", "orthohash", "nested"])
def test_codes_that_fit_the_labels_have_a_smaller_loss(name):
    # Four codes of which every two differ in half of the bits, also in half of the first eight.
    hadamard = torch.tensor(np.kron([[1, 1], [1, -1]], [[1, 1], [1, -1]])).double().repeat(1, BITS // 4)
    right, wrong = SINGLE @ hadamard, SINGLE.roll(1, dims=0) @ hadamard
    measure = {
        "csq": lambda u: losses.csq(u, SINGLE @ hadamard, quantisation=1e-4),
        "orthohash": lambda u: losses.orthohash(u, hadamard, SINGLE, scale=8.0, margin=0.2),
        "nested": lambda u: losses.nested_orthohash(
            u, hadamard, SINGLE, lengths=(8, 16), weights=(1, 1), scale=8.0, margins=(0.4, 0.2), smoothing=0.0
        ),
    }.get(name, lambda u: LOSSES[name](u, SINGLE))
    assert measure(right) < measure(wrong)
