"""Copies: all pairs of a million codes within a radius, beside FAISS, and near copies of photographs.

- pairs: random codes of 128 bits, in which copies of some at 1 to 6 bits are planted; all pairs within 6
  bits, found exactly: those that were planted, at the distances they were planted at, and among 20,000 codes
  and some copies the very pairs of all distances. Seconds and peak memory of a process of its own; the same
  on one thread. FAISS's binary Flat index answers a range search of all codes by all, of fewer codes.
- default: seconds that the default radius of 256 bits takes, where all codes are compared.
- radius: what the default radius was chosen by, on photographs of a training split: the least distances
  between different ones, and the share of altered copies within it.
- copies: photographs of a test split, and copies of some as the web alters them, in one set of codes. A pair
  of a photograph and its copy, or of two copies of the same, is right; precision, recall and F1 over pairs,
  by the default radius of `grainhash duplicates`, which was chosen on other photographs.

The photographs are not part of this repository: without them the second part is not measured.
"""

from __future__ import annotations

import io
import multiprocessing
import random
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from granularity_parts import material
from harness import Target, arguments, peak_memory_mb, write
from PIL import Image

from grainhash.codes import hamming
from grainhash.duplicates import default_radius, pairs_within
from grainhash.encoder import Encoder
from grainhash.types import Codes

ISSUE = "applications"
N_BITS, RADIUS = 128, 6
COPIED = 0.01
CHECKED = 20_000
SEED = 0
FAISS_CODES = 50_000
ALTERED = 150
MILD = ("flip", "recolour", "rotate")


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments(__doc__)
    n = 100_000 if options.quick else 1_000_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # whose peak memory is its own
        figures: dict[str, Any] = {"pairs": pool.apply(pair_figures, (n,))}
    figures["faiss"] = faiss_figures(5_000 if options.quick else FAISS_CODES)
    figures["default"] = default_figures(10_000 if options.quick else 100_000)
    figures["radius"] = radius_figures(60 if options.quick else None)
    figures["copies"] = copy_figures(15 if options.quick else ALTERED)
    write(
        options,
        "duplicates",
        packages=["faiss-cpu"],
        seeds=[SEED],
        figures=figures,
        targets=targets(figures),
    )


def planted(n: int) -> tuple[Codes, dict[tuple[int, int], int]]:
    """Codes, and the distance of each planted pair."""
    rng = np.random.default_rng(SEED)
    codes = rng.integers(0, 256, (n, N_BITS // 8), np.uint8)
    chosen = rng.choice(n, 2 * int(COPIED * n), replace=False).reshape(2, -1)
    known = {}
    for place, (original, copy) in enumerate(chosen.T.tolist()):
        codes[copy] = codes[original]
        distance = place % RADIUS + 1
        for bit in rng.choice(N_BITS, distance, replace=False).tolist():
            codes[copy, bit // 8] ^= 128 >> bit % 8
        known[min(original, copy), max(original, copy)] = distance
    return codes, known


def pair_figures(n: int) -> dict[str, Any]:
    """Of a process of its own."""
    codes, known = planted(n)
    before = peak_memory_mb()
    started = perf_counter()
    found = pairs_within(codes, RADIUS)
    seconds = perf_counter() - started
    peak = peak_memory_mb()
    alone = pairs_within(codes, RADIUS, n_threads=1)
    pairs = zip(found.first.tolist(), found.second.tolist(), strict=True)
    as_planted = dict(zip(pairs, found.distances.tolist(), strict=True))
    return {
        "n": n,
        "planted": len(known),
        "found": len(found),
        "as_planted": as_planted == known,
        "as_all_distances": _as_all_distances(codes, known),
        "same_on_one_thread": all(
            np.array_equal(getattr(found, name), getattr(alone, name))
            for name in ("first", "second", "distances")
        ),
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(peak, 1),
        "peak_memory_before_mb": round(before, 1),
    }


def _as_all_distances(codes: Codes, known: dict[tuple[int, int], int]) -> bool:
    """Whether the pairs of some of the codes are those of all their distances."""
    rows = sorted({*range(min(CHECKED, len(codes))), *(row for pair in list(known)[:200] for row in pair)})
    some = codes[rows]
    words = some.view(np.uint64)
    right = []
    for place in range(len(some)):
        distances = np.bitwise_count(words[place + 1 :] ^ words[place]).sum(axis=1)
        right += [(place, place + 1 + other) for other in np.flatnonzero(distances <= RADIUS).tolist()]
    found = pairs_within(some, RADIUS)
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == right


def faiss_figures(n: int) -> dict[str, Any]:
    """The same by FAISS, of fewer codes, and ours of as many."""
    codes, _ = planted(n)
    index = faiss.IndexBinaryFlat(N_BITS)
    index.add(codes)
    started = perf_counter()
    limits, _, ids = index.range_search(codes, RADIUS + 1)  # below, not at most
    seconds = perf_counter() - started
    rows = np.repeat(np.arange(n), np.diff(limits.astype(np.int64)))
    started = perf_counter()
    found = pairs_within(codes, RADIUS)
    own = perf_counter() - started
    return {
        "n": n,
        "seconds": round(seconds, 3),
        "own_seconds": round(own, 3),
        "times": round(seconds / own, 1),
        "pairs": int((rows < ids).sum()),
        "own_pairs": len(found),
    }


def default_figures(n: int) -> dict[str, Any]:
    """The default radius, at which all codes are compared."""
    codes = np.random.default_rng(SEED).integers(0, 256, (n, 32), np.uint8)
    started = perf_counter()
    pairs_within(codes, default_radius(256))
    return {"n": n, "bits": 256, "radius": default_radius(256), "seconds": round(perf_counter() - started, 3)}


def radius_figures(n: int | None) -> dict[str, Any] | None:
    """On photographs that `copy_figures` has none of."""
    rows, hosts = material.rows_of("flickr8k_1k"), material.rows_of("coco_mini")
    if rows is None or hosts is None:
        return None
    encoder = Encoder.load()
    train = [row["image"] for row in rows if row["split"] == "train"][:n]
    codes = np.concatenate([encoder.ask(data).codes for data in train])
    between = np.sort(hamming(codes, codes)[np.triu_indices(len(codes), 1)])
    radius, rng = default_radius(encoder.n_bits), random.Random(SEED)
    chosen = rng.sample(range(len(train)), min(100, len(train)))
    found = {}
    for kind in material.CHANGES:
        copies = [_altered(train[number], kind, hosts, rng) for number in chosen]
        own = np.concatenate([encoder.ask(data).codes for data in copies])
        found[kind] = round(float((hamming(own, codes[chosen]).diagonal() <= radius).mean()), 3)
    return {
        "n_photographs": len(train),
        "n_pairs": len(between),
        "radius": radius,
        "least_between_different": between[:10].tolist(),
        "copies_within": found,
    }


def _altered(data: bytes, kind: str, hosts: list[dict[str, Any]], rng: random.Random) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    other = Image.open(io.BytesIO(rng.choice(hosts)["image"])).convert("RGB")
    return material.jpeg(*material.CHANGES[kind](picture, other, rng))


def copy_figures(n: int) -> dict[str, Any] | None:
    """Precision, recall and F1 of pairs, by kind of change and over all."""
    rows, hosts = material.rows_of("flickr8k_1k"), material.rows_of("coco_mini")
    if rows is None or hosts is None:
        return None
    rng = random.Random(SEED)
    test = [row["image"] for row in rows if row["split"] == "test"]
    encoder = Encoder.load()
    chosen = rng.sample(range(len(test)), min(n, len(test)))
    pictures, of = list(test), list(range(len(test)))
    kinds = ["original"] * len(test)
    for kind in material.CHANGES:
        for number in chosen:
            pictures.append(_altered(test[number], kind, hosts, rng))
            of.append(number)
            kinds.append(kind)
    codes = np.concatenate([encoder.ask(data).codes for data in pictures])
    figures = {"n_photographs": len(test), "n_copied": len(chosen), "radius": default_radius(encoder.n_bits)}
    figures["mild"] = _judged(codes, of, kinds, MILD)
    figures["all"] = _judged(codes, of, kinds, tuple(material.CHANGES))
    figures["kinds"] = {kind: _judged(codes, of, kinds, (kind,)) for kind in material.CHANGES}
    return figures


def _judged(codes: Codes, of: list[int], kinds: list[str], taken: tuple[str, ...]) -> dict[str, Any]:
    rows = [row for row, kind in enumerate(kinds) if kind == "original" or kind in taken]
    unique, inverse = np.unique(codes[rows], axis=0, return_inverse=True)
    inverse = inverse.ravel()
    found = pairs_within(unique, default_radius(8 * codes.shape[1]))
    members: list[list[int]] = [[] for _ in range(len(unique))]
    for place, code in enumerate(inverse.tolist()):
        members[code].append(of[rows[place]])
    pairs = [(a, b) for code in members for i, a in enumerate(code) for b in code[i + 1 :]]
    for first, second in zip(found.first.tolist(), found.second.tolist(), strict=True):
        pairs += [(a, b) for a in members[first] for b in members[second]]
    right = sum(a == b for a, b in pairs)
    counts = np.bincount([of[row] for row in rows])
    there = int((counts * (counts - 1) // 2).sum())
    return {
        "precision": round(right / len(pairs), 4) if pairs else None,
        "recall": round(right / there, 4),
        "f1": round(2 * right / (len(pairs) + there), 4),
        "pairs": there,
    }


def targets(figures: dict[str, Any]) -> list[Target]:
    """Those of the issue that this measures."""
    pairs, copies = figures["pairs"], figures["copies"]
    exact = pairs["as_planted"] and pairs["as_all_distances"]
    same, of = (
        pairs["same_on_one_thread"],
        f"{pairs['n']:,} codes of {N_BITS} bits, all pairs within {RADIUS}",
    )
    seconds, memory = pairs["seconds"], pairs["peak_memory_mb"]
    found = [
        Target(ISSUE, f"{of}: s", "< 60", seconds, seconds < 60),
        Target(ISSUE, "the same: peak memory, MB", "< 2000", memory, memory < 2000),
        Target(ISSUE, "the same: exactly the pairs there are", "1", float(exact), exact),
        Target(ISSUE, "the same pairs on one thread", "1", float(same), same),
    ]
    if copies is not None:
        f1 = copies["all"]["f1"]
        found.append(Target(ISSUE, "near copies of photographs, all changes: F1", ">= .97", f1, f1 >= 0.97))
    found.append(Target(ISSUE, "the same: above imagededup's CNN and pHash in F1", "> 0", None, False))
    return found


if __name__ == "__main__":
    main()
