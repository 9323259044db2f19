"""Heads in PyTorch against the chains that they become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from grainhash.codes import unpack
from grainhash.errors import CodesError, InputError
from grainhash.hashing.function import HashFunction
from grainhash.learning.heads import ConvHead, LinearHead, TwoLayerHead, folded, make_head

rng = np.random.default_rng(5)


def lived_in(head, *shape):
    """A head whose batch norms have statistics, scales and shifts of their own, in evaluation."""
    with torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)
                module.bias.uniform_(-1, 1)
        for _ in range(5):
            head.train()(3 + 2 * torch.randn(32, *shape))
    return head.eval()


def assert_same_bits(u, function, features):
    projected = function.project(features)
    np.testing.assert_allclose(projected, u, atol=1e-4)
    clear = np.abs(u) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(unpack(function.encode(features))[clear], (u > 0)[clear])


@pytest.mark.parametrize("name", ["linear", "two-layer"])
@pytest.mark.parametrize("n_bits", [8, 64])
def test_the_chain_gives_the_numbers_of_the_head(name, n_bits):
    head = lived_in(make_head(name, 20, n_bits, hidden=31, dropout=0.5), 20)
    features = rng.standard_normal((100, 20), np.float32) * 3 + 2
    u = head(torch.from_numpy(features)).detach().numpy()
    assert u.shape == (100, n_bits)
    assert_same_bits(u, HashFunction(head.steps(), name), features)


def test_what_follows_a_conv_heads_description_is_a_chain():
    head = lived_in(make_head("conv", 6, 16, hidden=24), 6, 5, 4)
    maps = torch.randn(40, 6, 5, 4) * 2 + 1
    described = head.describe(maps)
    u = head(maps).detach().numpy()
    assert (described.shape, u.shape) == ((40, 24), (40, 16))
    assert_same_bits(u, HashFunction(head.steps(), "conv"), described.detach().numpy())


def test_a_conv_head_does_not_depend_on_where_things_are():
    head = lived_in(ConvHead(6, 16, 24), 6, 5, 4)
    maps = torch.randn(10, 6, 5, 4)
    torch.testing.assert_close(head(maps), head(maps.flip(dims=(2, 3))))


def test_dropout_is_for_training_only():
    head = TwoLayerHead(20, 16, 32, dropout=0.5)
    x = torch.randn(10, 20)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_bits_of_a_training_batch_are_balanced():
    u = LinearHead(20, 16)(torch.randn(64, 20) + 5)
    torch.testing.assert_close(u.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deep", 10, 16), "head 'deep'"),
        (("two-layer", 10, 16, {"hidden": 0}), "0 hidden units"),
        (("two-layer", 10, 16, {"dropout": 1.0}), "dropout of 1.0"),
    ],
)
def test_heads_that_cannot_be_made_are_refused(arguments, message):
    *arguments, settings = (*arguments, {}) if len(arguments) == 3 else arguments
    with pytest.raises(InputError, match=message):
        make_head(*arguments, **settings)


def test_lengths_of_no_code_are_refused():
    with pytest.raises(CodesError, match="12 bits"):
        make_head("linear", 10, 12)


def test_a_batch_norm_without_statistics_has_no_chain():
    with pytest.raises(InputError, match="running statistics"):
        folded(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8, track_running_stats=False))
