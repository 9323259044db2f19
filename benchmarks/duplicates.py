"""Copies: all pairs of a million codes within a radius, beside FAISS, and near copies of photographs.

- pairs: random codes of 128 bits, in which copies of some at 1 to 6 bits are planted; all pairs within 6
  bits, found exactly: those that were planted, at the distances they were planted at, and among 20,000 codes
  and some copies the very pairs of all distances. Seconds and peak memory of a process of its own; the same
  on one thread. FAISS's binary Flat index answers a range search of all codes by all, of fewer codes; so does
  imagededup, with `--peer`.
- default: seconds that the default radius of 256 bits takes, where all codes are compared.
- radius: what the default radius was chosen by, on photographs of a training split: the least distances
  between different ones, and the share of altered copies within it.
- copies: photographs of a test split, and copies of some as the web alters them, in one gallery. A pair of a
  photograph and its copy, or of two copies of the same, is right; precision, recall and F1 over pairs, by the
  default radius of `grainhash duplicates`, which was chosen on other photographs, and with `--verify`, too.
  imagededup's pHash and CNN beside it on the same files, with `--peer`: a Python that has it (`pip install
  imagededup`); its CNN is given the network of the shipped encoder.

The photographs are not part of this repository: without them the last two are not measured.
"""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from duplicates_parts import copies
from granularity_parts import material
from harness import Target, parser, peak_memory_mb, write

from grainhash import Gallery
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
IMAGEDEDUP_CODES = 10_000
ALTERED = 150


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    parse = parser(__doc__)
    parse.add_argument("--peer", type=Path, help="a Python that has imagededup, for its figures beside ours")
    options = parse.parse_args()
    n = 100_000 if options.quick else 1_000_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # whose peak memory is its own
        figures: dict[str, Any] = {"pairs": pool.apply(pair_figures, (n,))}
    figures["faiss"] = faiss_figures(5_000 if options.quick else FAISS_CODES)
    if options.peer is not None:
        figures["imagededup"] = imagededup_figures(1_000 if options.quick else IMAGEDEDUP_CODES, options.peer)
    figures["default"] = default_figures(10_000 if options.quick else 100_000)
    figures["radius"] = radius_figures(30 if options.quick else None)
    figures["copies"] = copy_figures(*((40, 6) if options.quick else (None, ALTERED)), options.peer)
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


def imagededup_figures(n: int, python: Path) -> dict[str, Any]:
    """The same by imagededup, of fewer codes of 64 bits, which all of its have, and ours of as many."""
    codes = np.ascontiguousarray(planted(n)[0][:, :8])
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "codes.npy", codes)
        theirs = copies.asked(python, "pairs", Path(folder) / "codes.npy", RADIUS)
    started = perf_counter()
    found = pairs_within(np.unique(codes, axis=0), RADIUS)
    own = perf_counter() - started
    n_same = len(codes) - len(np.unique(codes, axis=0))
    return {
        "n": n,
        "bits": 64,
        "seconds": round(theirs["seconds"], 3),
        "own_seconds": round(own, 4),
        "times": round(theirs["seconds"] / own, 1),
        "pairs": theirs["pairs"],
        "own_pairs": len(found) + n_same,
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
        changed = [copies.altered(train[number], kind, hosts, rng) for number in chosen]
        own = np.concatenate([encoder.ask(data).codes for data in changed])
        found[kind] = round(float((hamming(own, codes[chosen]).diagonal() <= radius).mean()), 3)
    return {
        "n_photographs": len(train),
        "n_pairs": len(between),
        "radius": radius,
        "least_between_different": between[:10].tolist(),
        "copies_within": found,
    }


def copy_figures(n: int | None, n_copied: int, peer: Path | None) -> dict[str, Any] | None:
    """Precision, recall and F1 of pairs of photographs of a test split, by kind of change and over all."""
    rows, hosts = material.rows_of("flickr8k_1k"), material.rows_of("coco_mini")
    if rows is None or hosts is None:
        return None
    test = [row["image"] for row in rows if row["split"] == "test"][:n]
    pictures = copies.album(test, n_copied, hosts, SEED, "copies")
    with TemporaryDirectory() as folder, Gallery.open(Path(folder) / "gallery", create=True) as gallery:
        figures = copies.by_ours(pictures, gallery)
    if peer is None:
        print("imagededup: not measured; --peer PYTHON says which Python has it")
        return figures
    return {**figures, "imagededup": copies.by_imagededup(pictures, peer)}


def targets(figures: dict[str, Any]) -> list[Target]:
    """Those of the issue that this measures."""
    pairs, copied = figures["pairs"], figures["copies"]
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
    if copied is not None:
        f1 = copied["verified"]["all"]["f1"]
        name = "near copies of photographs, all changes, verified: F1"
        found.append(Target(ISSUE, name, ">= .97", f1, f1 >= 0.97))
        peers = copied.get("imagededup", {}).values()
        least = f1 - max(peer["best"]["all"]["f1"] for peer in peers) if peers else None
        name = "the same: above imagededup's CNN and pHash, each at its best threshold, in F1"
        met = least is not None and least > 0
        found.append(Target(ISSUE, name, "> 0", None if least is None else round(least, 4), met))
    return found


if __name__ == "__main__":
    main()
