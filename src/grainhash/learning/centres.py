"""Binary hash centres: codes of -1 and +1, one a class, far from one another.

nested_centres(100, 64)     # (100, 64); also its first 16, its first 32, ... bits are far apart
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits
from grainhash.errors import InputError
from grainhash.labels import SEPARATOR, Labels

Centres = NDArray[np.float32]
"""`(n_classes, n_bits)` of -1 and +1."""

SHORTEST_PREFIX = 16

TRIES = 4
"""Random starts of a search for one bit; more gain next to nothing."""

PASSES = 3
"""Times that every bit between two prefixes is chosen anew, given the others."""

SHARPNESS = 1.0
"""How much more a pair of classes weighs for each bit in common, over the root of the code's length."""

LEAST_GAIN = 1e-6
"""Of a move in a search, below which rounding decides; the closest pair weighs 1."""

FEW_CLASSES = 256
"""Up to here every split is searched for; the time grows with the square of the classes."""


def prefix_lengths(n_bits: int) -> tuple[int, ...]:
    """The lengths at which a nested code is cut: 16, 32, 64, ... and `n_bits` itself."""
    check_n_bits(n_bits)
    lengths = [SHORTEST_PREFIX]
    while lengths[-1] < n_bits:
        lengths.append(2 * lengths[-1])
    return (*(length for length in lengths if length < n_bits), n_bits)


def random_centres(n_classes: int, n_bits: int, *, seed: int = 0) -> Centres:
    """Every bit a fair coin, as OrthoHash's codebook (Hoe et al., NeurIPS 2021)."""
    _check(n_classes, n_bits)
    bits = np.random.default_rng(seed).random((n_classes, n_bits)) < 0.5
    return _signs(bits)


def hadamard_centres(n_classes: int, n_bits: int, *, seed: int = 0) -> Centres:
    """Rows of a Hadamard matrix and of its negative: half or all of the bits differ.

    Algorithm 1 of Yuan et al., Central Similarity Quantization, CVPR 2020. Where the matrix has no such
    order or too few rows, the paper draws bits at random; these are `nested_centres` then.
    """
    _check(n_classes, n_bits)
    if n_bits & (n_bits - 1) or n_classes > 2 * n_bits:
        return nested_centres(n_classes, n_bits, seed=seed)
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < n_bits:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rows = np.random.default_rng(seed).permutation(2 * n_bits)[:n_classes]
    return np.concatenate([matrix, -matrix])[rows]


def nested_centres(n_classes: int, n_bits: int, *, seed: int = 0) -> Centres:
    """Centres of which every prefix of `prefix_lengths` is a set of well separated centres too.

    Ours. Bit after bit splits the classes in two so that the sum over pairs of `exp(s <c_i, c_j>)` is least,
    which is ruled by the pairs that are closest so far; `s = SHARPNESS / sqrt(length)`. The bits between two
    prefixes are then chosen anew in turn, given all up to the longer. What splits there are to choose from is
    tried in several ways, and the centres with the largest least distances are kept:

    - codewords of a linear code, for more classes than bits: see `_linear`;
    - the same with the complement of every codeword in the code; where it has twice as many codewords as
      bits, these are the rows of a Hadamard matrix and of its negative;
    - any splits, for no more classes than bits, where a linear code would repeat itself: see `_by_cuts`.
    """
    _check(n_classes, n_bits)
    n_words = 1 << (n_classes - 1).bit_length()
    ways = []
    if n_bits <= n_words:
        ways.append(_linear(n_classes, n_bits, seed, complements=False))
    if n_bits <= n_words // 2:
        ways.append(_linear(n_classes, n_bits, seed, complements=True))
    if n_classes <= min(n_bits, FEW_CLASSES) or not ways:
        ways.append(_by_cuts(n_classes, n_bits, seed))
    return max(ways, key=lambda way: way.separation).centres


class _Candidate(NamedTuple):
    """Centres, and the mean over prefixes of their least distance as a share of the bits."""

    centres: Centres
    separation: float


def _linear(n_classes: int, n_bits: int, seed: int, *, complements: bool) -> _Candidate:
    """Codewords of a binary linear code, drawn for the classes.

    Bit `b` of the codeword of a message `w` is `(-1)^<g_b, w>`, `g_b` being a column of the generator matrix.
    The distance of two codewords is the weight of a third, so it is enough to look at each once; and what a
    column `g` adds to the sum over messages, `sum_w W_w (-1)^<g, w>`, is the Walsh-Hadamard transform of `W`
    at `g`: the best of all columns is read off. `separation` is that of the whole code.
    """
    rng = np.random.default_rng(seed)
    n_words = 1 << (n_classes - 1).bit_length()
    messages = np.arange(n_words)
    candidates = messages >= (n_words // 2 if complements else 1)
    times_used = np.zeros(n_words, np.int64)
    columns = np.zeros(n_bits, np.int64)
    common = np.zeros(n_words, np.float64)  # with the codeword of no ones
    start, shares = 0, []
    for end in prefix_lengths(n_bits):
        for turn in range(1 + PASSES):
            for bit in range(start, end):
                if turn:
                    times_used[columns[bit]] -= 1
                    common -= _parity(columns[bit] & messages)
                weights = np.append(0.0, _closeness(common[1:], end))
                unused = candidates & (times_used == 0)
                sums = np.where(unused if unused.any() else candidates, _walsh_hadamard(weights), np.inf)
                best = sums <= sums.min() + LEAST_GAIN * weights.sum()
                columns[bit] = rng.choice(np.flatnonzero(best))
                times_used[columns[bit]] += 1
                common += _parity(columns[bit] & messages)
        shares.append((1 - common[1:].max() / end) / 2)
        start = end
    drawn = rng.permutation(n_words)[:n_classes]
    return _Candidate(_parity(drawn[:, None] & columns), float(np.mean(shares)))


def _parity(numbers: NDArray[np.int64]) -> Centres:
    """-1 for numbers with an odd number of binary ones, +1 for the others."""
    return _signs(np.bitwise_count(numbers) % 2 == 0)


def _walsh_hadamard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sum_w values_w (-1)^<g, w>` for every `g`, with a power of two values."""
    for half in 2 ** np.arange(len(values).bit_length() - 1):
        pairs = values.reshape(-1, 2, half)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
    return values.reshape(-1)


def _by_cuts(n_classes: int, n_bits: int, seed: int) -> _Candidate:
    """Centres whose bits may be any split of the classes in two.

    As the product of two bits is -1 or +1, a bit `x` adds `x' W x` to the sum over pairs, up to constants: a
    maximum cut, found by local search.
    """
    rng = np.random.default_rng(seed)
    centres = np.zeros((n_classes, n_bits), np.float32)
    start, shares = 0, []
    for end in prefix_lengths(n_bits):
        for bit in [*range(start, end)] * (1 + PASSES):
            centres[:, bit] = 0
            centres[:, bit] = _maximum_cut(_closeness(_common(centres[:, :end]), end), rng)
        shares.append((1 - _common(centres[:, :end]).max() / end) / 2)
        start = end
    return _Candidate(centres, float(np.mean(shares)))


def hierarchy_centres(labels: Labels, centres: Centres) -> Centres:
    """Centres of the nodes of a hierarchy that share bits with the nodes above them. Ours.

    A node's bits are dealt to the levels of its path, as many to each, and it takes each from its ancestor
    of that level. Two leaves then differ in about half of the bits of the levels where they part, so that the
    distance of their centres follows the levels that they have in common. Bits are dealt in a random order:
    every other column of two rows of a Hadamard matrix may be the same.
    """
    levels = [name.split(SEPARATOR) for name in labels.classes]
    number = {name: position for position, name in enumerate(labels.classes)}
    shared = np.empty_like(centres)
    dealt = np.random.default_rng(0).permutation(centres.shape[1])
    for row, path in enumerate(levels):
        nodes = [number[SEPARATOR.join(path[: depth + 1])] for depth in range(len(path))]
        shared[row] = centres[np.take(nodes, dealt % len(nodes)), np.arange(centres.shape[1])]
    return shared


def make_centres(kind: str, n_classes: int, n_bits: int, *, seed: int = 0) -> Centres:
    """Centres by the name of their kind: `hadamard`, `random` or `nested`.

    Raises:
        InputError: another name, or fewer than two classes.
    """
    return KINDS[check_kind(kind)](n_classes, n_bits, seed=seed)


def check_kind(kind: str) -> str:
    """Return the kind if there are such centres.

    Raises:
        InputError: another name.
    """
    if kind not in KINDS:
        raise InputError(f"hash centres {kind!r}: there are {', '.join(KINDS)}")
    return kind


KINDS: dict[str, Callable[..., Centres]] = {
    "hadamard": hadamard_centres,
    "random": random_centres,
    "nested": nested_centres,
}


def _common(centres: Centres) -> NDArray[np.float32]:
    """`(n, n)`: bits that two centres have in common, less those that differ; least on the diagonal."""
    common: NDArray[np.float32] = centres @ centres.T
    np.fill_diagonal(common, -np.inf)
    return common


def _closeness(common: NDArray[Any], length: int) -> NDArray[Any]:
    """How much each pair weighs in a search, 1 for the closest; 0 for a centre and itself."""
    closeness: NDArray[Any] = np.exp(SHARPNESS / length**0.5 * (common - common.max()))
    return closeness


def _maximum_cut(weights: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """`(n,)` of -1 and +1 with a small `x' weights x`: the best of a few local searches."""
    cuts = [_local_search(weights, _signs(rng.random(len(weights)) < 0.5)) for _ in range(TRIES)]
    return min(cuts, key=lambda cut: float(cut @ weights @ cut))


def _local_search(weights: NDArray[np.float32], cut: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move one class at a time to the other side, the one that gains most, until none gains."""
    pull = weights @ cut
    for _ in range(4 * len(cut)):
        gain = cut * pull
        best = int(gain.argmax())
        if gain[best] <= LEAST_GAIN:
            break
        cut[best] = -cut[best]
        pull += 2 * cut[best] * weights[best]
    return cut


def _signs(bits: NDArray[np.bool_]) -> Centres:
    return np.where(bits, np.float32(1), np.float32(-1))


def _check(n_classes: int, n_bits: int) -> None:
    check_n_bits(n_bits)
    if n_classes < 2:
        raise InputError(f"hash centres of {n_classes} class(es): there must be two or more")
