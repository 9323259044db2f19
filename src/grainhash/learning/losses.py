"""The losses of learning to hash, as pure functions of tensors, each with its paper and formula.

`u` is what a head gives before the sign, `(n, n_bits)`; a bit is 1 where `u > 0`. `targets` is the 0/1
indicator of the classes that each picture has, `(n, n_classes)`, with a hierarchy's inner nodes. Every
loss is a mean over pictures or over pairs, a scalar, and stays finite where a batch has one class only,
no pair of one kind, or pictures without a label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    logsigmoid,
    mse_loss,
    normalize,
    softplus,
)


def similarity(a: Tensor, b: Tensor, *, graded: bool = False) -> Tensor:
    """`(n_a, n_b)` in 0..1: how similar pictures should be, by their targets.

    1 where two pictures share a class, else 0, as the pairwise papers have it. Graded, for hierarchies
    (ours): levels in common over the levels of the deeper of the two.
    """
    common = a @ b.T
    if not graded:
        return (common > 0).to(a.dtype)
    return common / torch.maximum(a.sum(1)[:, None], b.sum(1)[None]).clamp(min=1)


def class_shares(targets: Tensor) -> Tensor:
    """`(n, n_classes)`: targets of a softmax; a picture's mass in equal shares on its classes, or none.

    The way OrthoHash treats several labels; on the nodes of a path in a hierarchy it is ours.
    """
    return targets / targets.sum(dim=1, keepdim=True).clamp(min=1)


def target_centres(targets: Tensor, centres: Tensor, ties: Tensor) -> Tensor:
    """`(n, n_bits)` of -1 and +1: the centre a picture belongs to, by majority of its classes' centres.

    Yuan et al., CVPR 2020, section 3.2: with one label that label's centre; with several the bit that most
    of them have, and a bit of the random code `ties`, `(n_bits,)`, where they are even.
    """
    votes = targets @ centres
    return torch.where(votes == 0, ties, votes.sign())


def signs(u: Tensor) -> Tensor:
    """-1 or +1 as the bits of `u`, 0 to -1 as `codes.pack` has it; no gradient."""
    return torch.where(u > 0, 1.0, -1.0).to(u.dtype)


def straight_through_signs(u: Tensor) -> Tensor:
    """The signs of `u`, with the gradient of the identity (Su et al., NeurIPS 2018)."""
    return u + (signs(u) - u).detach()


def bi_half(u: Tensor, gamma: float) -> Tensor:
    """Bits of which each is +1 for the half of the batch with the largest `u`, -1 for the rest.

    Li, van Gemert: Deep Unsupervised Image Hashing by Maximizing Bit Entropy, AAAI 2021. The optimal
    transport from the batch's `u` to a bit of most entropy is by rank. Backwards the gradient of the
    bits passes on, plus `gamma * (u - b) / numel`, which draws `u` towards its bits.
    """
    bits: Tensor = _BiHalf.apply(u, gamma)  # type: ignore[no-untyped-call]
    return bits


class _BiHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, u: Tensor, gamma: float) -> Tensor:
        rank = u.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
        bits = torch.where(rank < len(u) // 2, 1.0, -1.0).to(u.dtype)
        ctx.save_for_backward(u, bits)
        ctx.gamma = gamma  # type: ignore[attr-defined]
        return bits

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        u, bits = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient + ctx.gamma * (u - bits) / bits.numel(), None  # type: ignore[attr-defined]


def dpsh(u: Tensor, others: Tensor, similar: Tensor, *, quantisation: float) -> Tensor:
    """`mean log(1 + exp(t)) - s t  +  quantisation * mean (u - sign u)^2`, `t = <u, v> / 2`.

    Likelihood of pairs: Li, Wang, Kang: Feature Learning based Deep Supervised Hashing with Pairwise Labels,
    IJCAI 2016, with means for sums.

    Args:
        u: `(n, n_bits)`.
        others: `(m, n_bits)`, outputs that the batch is compared with, seldom with gradients.
        similar: `(n, m)` in 0..1; see `similarity`.
        quantisation: the paper's eta.
    """
    theta = u @ others.T / 2
    likelihood = (softplus(theta) - similar * theta).mean()
    return likelihood + quantisation * (u - signs(u)).square().mean()


def hashnet(u: Tensor, similar: Tensor, *, scale: float, alpha: float) -> Tensor:
    """`mean w (log(1 + exp(a t)) - s a t)`, `t = <h_i, h_j>`, `h = tanh(scale u)`.

    Weighted likelihood of pairs: Cao, Long, Wang, Yu: HashNet: Deep Learning to Hash by Continuation, ICCV
    2017. `w` is `pairs / similar pairs` for similar pairs and `pairs / others` for the others, so that the
    two kinds weigh the same; graded similarity is in both kinds by its share (ours).

    Args:
        u: `(n, n_bits)`.
        similar: `(n, n)` in 0..1.
        scale: grows as training goes on; then `tanh(scale * u)` comes to be the sign.
        alpha: of the adaptive sigmoid `1 / (1 + exp(-alpha t))`.
    """
    h = torch.tanh(scale * u)
    theta = alpha * (h @ h.T)
    n_similar = similar.sum().clamp(min=1)
    n_others = (1 - similar).sum().clamp(min=1)
    weight = similar.numel() * (similar / n_similar + (1 - similar) / n_others)
    return (weight * (softplus(theta) - similar * theta)).mean()


def dsh(u: Tensor, similar: Tensor, *, margin: float, alpha: float) -> Tensor:
    """Contrastive: `mean s d / 2 + (1 - s) max(margin - d, 0) / 2  +  2 alpha mean_i | |u_i| - 1 |_1`.

    Liu, Wang, Shan, Chen: Deep Supervised Hashing for Fast Image Retrieval, CVPR 2016; `d = |u_i - u_j|^2`.
    The paper's sum over pairs counts the last term for both of a pair, hence the 2.

    Args:
        u: `(n, n_bits)`.
        similar: `(n, n)` in 0..1.
        margin: `2 * n_bits` in the paper.
        alpha: weight of the term that draws `u` to -1 and +1.
    """
    lengths = u.square().sum(dim=1)
    distance = (lengths[:, None] + lengths[None] - 2 * u @ u.T).clamp(min=0)
    contrast = (similar * distance + (1 - similar) * (margin - distance).clamp(min=0)).mean() / 2
    return contrast + 2 * alpha * (u.abs() - 1).abs().sum(dim=1).mean()


def soft_cross_entropy(logits: Tensor, shares: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """`-mean_i sum_c p_ic log softmax(logits)_ic`, over the pictures that have a label.

    Args:
        logits: `(n, n_classes)`.
        shares: `(n, n_classes)`, see `class_shares`; a row of zeros counts for nothing.
        smoothing: this much of the mass is spread over all classes (Szegedy et al., CVPR 2016).
    """
    mass = shares.sum(dim=1)
    p = (1 - smoothing) * shares + smoothing * mass[:, None] / shares.shape[1]
    return -(p * log_softmax(logits, dim=1)).sum() / mass.sum().clamp(min=1)


def greedyhash(u: Tensor, logits_of_bits: Tensor, targets: Tensor, *, alpha: float) -> Tensor:
    """`cross entropy(W sign(u), targets)  +  alpha * mean | |u| - 1 |^3`.

    Su, Zhang, Han, Tian: Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN, NeurIPS
    2018. The cubic term is `|u - sign u|` to the third power.

    Args:
        u: `(n, n_bits)`.
        logits_of_bits: `(n, n_classes)`, a linear classifier of `straight_through_signs(u)`.
        targets: `(n, n_classes)`.
        alpha: weight of the cubic term.
    """
    penalty = (u - signs(u)).abs().pow(3).mean()
    return soft_cross_entropy(logits_of_bits, class_shares(targets)) + alpha * penalty


def csq(u: Tensor, centres: Tensor, *, quantisation: float) -> Tensor:
    """`BCE(h, (c + 1) / 2)  +  quantisation * mean log cosh(|2 h - 1| - 1)`, `h = (tanh(u) + 1) / 2`.

    Yuan et al.: Central Similarity Quantization for Efficient Image and Video Retrieval, CVPR 2020.

    Args:
        u: `(n, n_bits)`.
        centres: `(n, n_bits)` of -1 and +1, the centre of each picture; see `target_centres`.
        quantisation: the paper's lambda.
    """
    central = binary_cross_entropy_with_logits(2 * u, (centres + 1) / 2)
    distance = 1 - torch.tanh(u).abs()
    return central + quantisation * _log_cosh(distance).mean()


def orthohash(
    u: Tensor, centres: Tensor, targets: Tensor, *, scale: float, margin: float, smoothing: float = 0.0
) -> Tensor:
    """`cross entropy(scale * (cos(u, c) - margin * targets), targets)`.

    Hoe et al.: One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective,
    NeurIPS 2021.

    Args:
        u: `(n, n_bits)`.
        centres: `(n_classes, n_bits)` of -1 and +1.
        targets: `(n, n_classes)`.
        scale: of the cosines.
        margin: taken off the cosine to a picture's own centres.
        smoothing: of the labels; none in the paper.
    """
    cosine = normalize(u, dim=1) @ normalize(centres, dim=1).T
    return soft_cross_entropy(scale * (cosine - margin * targets), class_shares(targets), smoothing=smoothing)


def nested_orthohash(
    u: Tensor,
    centres: Tensor,
    targets: Tensor,
    *,
    lengths: Sequence[int],
    weights: Sequence[float],
    scale: float,
    margins: Sequence[float],
    smoothing: float,
) -> Tensor:
    """`sum_m w_m orthohash(u[:, :m], centres[:, :m], targets)` over the prefixes `m`. Ours.

    As Matryoshka representations (Kusupati et al., NeurIPS 2022) do for floats: one code of which every
    prefix is trained as a code of its own.

    Args:
        u: `(n, n_bits)`.
        centres: `(n_classes, n_bits)` of -1 and +1, see `nested_centres`.
        targets: `(n, n_classes)`.
        lengths: of the prefixes, the longest at most `n_bits`.
        weights: of the prefixes.
        scale: as in `orthohash`, and so the rest.
        margins: of the prefixes, as in `orthohash`.
        smoothing: as in `orthohash`.
    """
    terms = [
        weight * orthohash(u[:, :m], centres[:, :m], targets, scale=scale, margin=margin, smoothing=smoothing)
        for m, weight, margin in zip(lengths, weights, margins, strict=True)
    ]
    return torch.stack(terms).sum()


def bihalf(u: Tensor, features: Tensor, *, gamma: float) -> Tensor:
    """`mean over pairs (cos(b_i, b_j) - cos(x_i, x_j))^2` with `b = bi_half(u)`.

    Li, van Gemert: Deep Unsupervised Image Hashing by Maximizing Bit Entropy, AAAI 2021. Their code pairs
    one half of a batch with the other; here every picture meets every other.

    Args:
        u: `(n, n_bits)`.
        features: `(n, dim)`, what the codes shall be similar by.
        gamma: of `bi_half`.
    """
    bits = normalize(bi_half(u, gamma), dim=1)
    x = normalize(features, dim=1)
    apart = ~torch.eye(len(u), dtype=torch.bool, device=u.device)
    return mse_loss((bits @ bits.T)[apart], (x @ x.T)[apart])


def cibhash(u: Tensor, other: Tensor, *, temperature: float, beta: float) -> Tensor:
    """NT-Xent of the bits of two views  +  `beta * (KL(p || q) + KL(q || p)) / 2`.

    Qiu, Su, Ou, Yu, Chen: Unsupervised Hashing with Contrastive Information Bottleneck, IJCAI 2021.
    `p = sigmoid(u)`, `q = sigmoid(other)`, bits are signs of `p - 1/2` with a straight-through gradient, and
    the second distribution of each divergence is held fixed, as in the authors' code.

    Args:
        u: `(n, n_bits)` of one view.
        other: `(n, n_bits)` of another view of the same pictures.
        temperature: of the cosine similarities.
        beta: weight of the information bottleneck.
    """
    p = torch.sigmoid(torch.cat([u, other]))
    bits = normalize(p + (signs(p - 0.5) - p).detach(), dim=1)
    n = len(u)
    logits = (bits @ bits.T / temperature).fill_diagonal_(-math.inf)
    partner = torch.arange(2 * n, device=u.device).roll(n)
    bottleneck = (_bernoulli_kl(u, other.detach()) + _bernoulli_kl(other, u.detach())) / 2
    return cross_entropy(logits, partner) + beta * bottleneck


def nested_contrast(u: Tensor, other: Tensor, *, lengths: Sequence[int], temperature: float) -> Tensor:
    """Mean over prefixes `m` of `(H(s_m) + H(s_m^T)) / 2`, `s_m = cos(tanh u_m, tanh other_m) / t`. Ours.

    `H(s)` is the cross-entropy of finding row `i` of `other` among the whole batch, InfoNCE (van den Oord
    et al., 2018), both ways. As `nested_orthohash`, every prefix is trained as a code of its own.

    Args:
        u: `(n, n_bits)` of one view.
        other: `(n, n_bits)` of another view of the same pictures.
        lengths: of the prefixes.
        temperature: `t`, of the cosine similarities.
    """
    own = torch.arange(len(u), device=u.device)
    a, b = torch.tanh(u), torch.tanh(other)
    terms = []
    for m in lengths:
        scores = normalize(a[:, :m], dim=1) @ normalize(b[:, :m], dim=1).T / temperature
        terms.append((cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2)
    return torch.stack(terms).mean()


def _bernoulli_kl(u: Tensor, other: Tensor) -> Tensor:
    """KL divergence of independent bits with logits `u` from those with logits `other`, mean over rows."""
    p = torch.sigmoid(u)
    ones = p * (logsigmoid(u) - logsigmoid(other))
    zeros = (1 - p) * (logsigmoid(-u) - logsigmoid(-other))
    return (ones + zeros).sum(dim=1).mean()


def _log_cosh(x: Tensor) -> Tensor:
    return x + softplus(-2 * x) - math.log(2)
