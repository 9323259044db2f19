"""Groups and labels from codes: how long k-majority takes, and what codes lose against floats.

    python benchmarks/groups.py [--quick] [--out FOLDER]

- majority: 1,000 groups of 1,000,000 codes of 128 bits, until no code changes its group. The codes lie around
  1,000 centres, a quarter of their bits flipped. On a fifth of them beside FAISS, whose k-means for binary
  codes is that of their bits as floats, with as many iterations; and on other numbers of threads, which must
  give the same groups. The same on codes around 3,000 centres, which no 1,000 groups fit.
- cifar10: the shipped network's features of 15,000 pictures, average pooling; 5,000 train pictures teach 64
  nested bits with their labels, these and 5,000 others vote, 5,000 test pictures ask. Normalised mutual
  information (by the arithmetic mean of the entropies) of 10 groups of the test pictures with their classes,
  mean over seeds: k-majority on codes; scikit-learn's k-means on the floats whose signs are the codes, as
  they are and scaled to length 1, and on the features; the best of ten starts each. Accuracy of the plain
  vote of the 20 nearest by the same, of floats by cosine. Then what `classify` makes of a few labels:
  accuracy and expected calibration error on the test pictures.

The features are kept in the user's cache; the first run computes them in about two minutes on two cores. The
pictures are not part of this repository: without them the second part is not measured.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from harness import Target, arguments, write
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from grainhash.classify import Linear, Vote, calibration_error
from grainhash.clusters import k_majority
from grainhash.codes import pack
from grainhash.index import kernels
from grainhash.index.checks import thread_count

ISSUE = "applications"
CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10.parquet"
N_CODES, N_GROUPS, N_BITS = 1_000_000, 1_000, 128
SEEDS = (0, 1, 2)
STARTS = 10
NEIGHBOURS = 20
LABELLED = (50, 200, 1000)
FLOATS = {
    "projections": "the floats before the sign",
    "unit_projections": "the same scaled to length 1",
    "features": "the network's features",
}
N_LEARNED, N_OTHERS, N_TEST = 5000, 5000, 5000

Floats = NDArray[np.float32]


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments(__doc__)
    majority = majority_figures(options.quick)
    cifar10 = cifar10_figures(options.quick)
    write(
        options,
        "groups",
        packages=["scikit-learn", "faiss-cpu", "torch"],
        seeds=SEEDS,
        figures={"majority": majority, "cifar10": cifar10},
        targets=targets(majority, cifar10),
    )


def targets(majority: dict[str, Any], cifar10: dict[str, Any] | None) -> list[Target]:
    """What the issue asks for."""
    same = majority["same_on_threads"]
    seconds = majority["seconds"]
    found = [
        Target(
            ISSUE, "k-majority, 1,000 groups of 1,000,000 codes of 128 bits: s", "< 60", seconds, seconds < 60
        ),
        Target(ISSUE, "the same groups on 1, 2 and 3 threads", "1", float(same), same),
    ]
    for name, key in (("NMI of the groups", "nmi"), ("accuracy of 20 neighbours", "neighbours")):
        for floats in ("projections", "unit_projections", "features"):
            lost = None if cifar10 is None else cifar10[key][floats] - cifar10[key]["codes"]
            what = FLOATS[floats]
            met = lost is not None and lost <= 0.01
            found.append(
                Target(ISSUE, f"CIFAR-10, 64 bits, {name}: lost against {what}", "<= .01", lost, met)
            )
    return found


def majority_figures(quick: bool) -> dict[str, Any]:
    """Seconds of k-majority, beside FAISS, and whether threads change anything."""
    n, k = (N_CODES // 20, N_GROUPS // 5) if quick else (N_CODES, N_GROUPS)
    codes = made_up(n, k)
    started = perf_counter()
    found = k_majority(codes, k)
    seconds = perf_counter() - started
    figures: dict[str, Any] = {
        "codes": n,
        "groups": k,
        "bits": N_BITS,
        "threads": thread_count(None),
        "kernel": kernels.kernel(),
        "seconds": round(seconds, 2),
        "iterations": found.n_iterations,
        "converged": found.converged,
        "bits_to_centre": round(found.cost / n, 3),
    }
    for name, n_centres in (("fifth", k), ("fifth_around_3_times_as_many", 3 * k)):
        figures[name] = beside_faiss(made_up(n // 5, n_centres), k)
    some = codes[: n // 5]
    labels = [k_majority(some, k, n_threads=n_threads).labels for n_threads in (1, 2, 3)]
    figures["same_on_threads"] = all(bool((other == labels[0]).all()) for other in labels)
    print(figures, flush=True)
    return figures


def beside_faiss(codes: NDArray[np.uint8], k: int) -> dict[str, Any]:
    """Seconds of both, and how near the centres are."""
    started = perf_counter()
    found = k_majority(codes, k)
    return {
        "codes": len(codes),
        "seconds": round(perf_counter() - started, 2),
        "iterations": found.n_iterations,
        "bits_to_centre": round(found.cost / len(codes), 3),
        "faiss": faiss_figures(codes, k, found.n_iterations),
    }


def made_up(n: int, n_centres: int) -> NDArray[np.uint8]:
    """Codes around centres, a quarter of the bits flipped."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (n_centres, N_BITS // 8), np.uint8)
    flips = np.concatenate(
        [np.packbits(rng.random((part, N_BITS), np.float32) < 0.25, axis=1) for part in _parts(n)]
    )
    return centres[rng.integers(0, n_centres, n)] ^ flips


def _parts(n: int, most: int = 100_000) -> list[int]:
    return [min(most, n - begin) for begin in range(0, n, most)]


def faiss_figures(codes: NDArray[np.uint8], k: int, n_iterations: int) -> dict[str, Any] | None:
    """FAISS's k-means on the bits as -1 and 1, its centres made binary at the end."""
    try:
        import faiss
    except ImportError:
        print("FAISS: not measured, it is not installed")
        return None
    bits = 2.0 * np.unpackbits(codes, axis=1).astype(np.float32) - 1
    started = perf_counter()
    model = faiss.Kmeans(
        bits.shape[1], k, niter=n_iterations, seed=1, max_points_per_centroid=len(codes), verbose=False
    )
    model.train(bits)
    seconds = perf_counter() - started
    centres = pack(model.centroids)
    distances = kernels.nearest_centres(codes, centres, thread_count(None))[1]
    return {"seconds": round(seconds, 2), "bits_to_centre": round(float(distances.mean()), 3)}


def cifar10_figures(quick: bool) -> dict[str, Any] | None:
    """What codes lose against floats, in groups and in votes; and labels from a few."""
    if not CIFAR10.exists():
        print(f"cifar10: not measured, there is no {CIFAR10.name} on this machine")
        return None
    features, classes, sizes = cifar10(quick)
    learned, voters = sizes[0], sizes[0] + sizes[1]
    projections, seconds = project(features, classes, learned, quick)
    print(f"cifar10: learned in {seconds:.1f} s", flush=True)
    codes = pack(projections)
    unit = projections / np.linalg.norm(projections, axis=1, keepdims=True)
    rows: dict[str, Floats] = {"projections": projections, "unit_projections": unit, "features": features}

    seeds = SEEDS[:1] if quick else SEEDS
    nmi = {"codes": mean(nmi_of_codes(codes[voters:], classes[voters:], seed) for seed in seeds)}
    nmi |= {
        name: mean(nmi_of_floats(floats[voters:], classes[voters:], seed) for seed in seeds)
        for name, floats in rows.items()
    }
    _, nearest, _ = kernels.knn(codes[:voters], codes.shape[1], None, codes[voters:], NEIGHBOURS, None, 2)
    accuracy = {"codes": accuracy_of(nearest, classes, voters)}
    accuracy |= {
        name: accuracy_of(nearest_floats(floats[:voters], floats[voters:]), classes, voters)
        for name, floats in rows.items()
    }
    figures = {
        "pictures": sizes,
        "fit_seconds": round(seconds, 1),
        "nmi": {name: round(value, 4) for name, value in nmi.items()},
        "neighbours": {name: round(value, 4) for name, value in accuracy.items()},
        "few_labels": few_labels(codes, classes, learned, voters),
    }
    print(figures, flush=True)
    return figures


def cifar10(quick: bool) -> tuple[Floats, NDArray[np.int64], tuple[int, int, int]]:
    """Features `(n, 1280)` of length 1 and classes: learned from, others that vote, and test pictures."""
    from dataclasses import replace

    from grainhash.encoder import Encoder
    from grainhash.labelled import read_labelled
    from grainhash.training.data import gather
    from grainhash.training.features import cached_features, default_cache

    sizes = (400, 200, 200) if quick else (N_LEARNED, N_OTHERS, N_TEST)
    pictures = read_labelled(CIFAR10)
    splits = np.asarray(pictures.splits)
    rng = np.random.default_rng(0)
    train = rng.permutation(np.flatnonzero(splits == "train"))[: sizes[0] + sizes[1]]
    test = rng.permutation(np.flatnonzero(splits == "test"))[: sizes[2]]
    taken = replace(pictures.take(np.concatenate([train, test])), splits=None)
    encoder = Encoder.load().with_features("pooled")
    rows, bad = cached_features(encoder, gather(taken, name="CIFAR-10"), default_cache())
    if bad:
        raise SystemExit(f"pictures that cannot be read: {bad}")
    features = np.asarray(rows)
    ids = taken.labels.ids
    assert ids is not None
    return features / np.linalg.norm(features, axis=1, keepdims=True), ids, sizes


def project(
    features: Floats, classes: NDArray[np.int64], n_learned: int, quick: bool
) -> tuple[Floats, float]:
    """The 64 real numbers before the sign, of a method taught by the first pictures; and seconds of that."""
    from grainhash.labels import Labels
    from grainhash.methods import method

    started = perf_counter()
    settings: dict[str, Any] = {"epochs": 3} if quick else {}
    fitted = method("nested")(n_bits=64, **settings)
    fitted.fit(features[:n_learned], Labels.single(classes[:n_learned].tolist()))
    return fitted.project(features).astype(np.float32), perf_counter() - started


def nmi_of_codes(codes: NDArray[np.uint8], classes: NDArray[np.int64], seed: int) -> float:
    """Of the groups of k-majority."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(
        normalized_mutual_info_score(classes, k_majority(codes, 10, seed=seed, restarts=STARTS).labels)
    )


def nmi_of_floats(floats: Floats, classes: NDArray[np.int64], seed: int) -> float:
    """Of the groups of k-means."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    with threadpool_limits(1):  # threads that wait for each other take longer where others work too
        labels = KMeans(10, n_init=STARTS, random_state=seed).fit_predict(floats)
    return float(normalized_mutual_info_score(classes, labels))


def nearest_floats(voters: Floats, queries: Floats) -> NDArray[np.int64]:
    """The nearest voters of each query by cosine."""
    unit = voters / np.linalg.norm(voters, axis=1, keepdims=True)
    parts = [
        np.argsort(-(part @ unit.T), axis=1, kind="stable")[:, :NEIGHBOURS]
        for part in np.array_split(queries, max(len(queries) // 500, 1))
    ]
    return np.concatenate(parts)


def accuracy_of(nearest: NDArray[np.int64], classes: NDArray[np.int64], voters: int) -> float:
    """Of the plain vote of the nearest, the lowest of equal classes."""
    votes = np.apply_along_axis(np.bincount, 1, classes[nearest], minlength=10)
    return float((votes.argmax(axis=1) == classes[voters:]).mean())


def few_labels(
    codes: NDArray[np.uint8], classes: NDArray[np.int64], learned: int, voters: int
) -> dict[str, Any]:
    """What both classifiers make of some pictures that the codes were not taught by."""
    figures: dict[str, Any] = {}
    for n in (n for n in (*LABELLED, voters - learned) if n <= voters - learned):
        rows = slice(learned, learned + n)
        for name, kind in (("vote", Vote), ("linear", Linear)):
            found = kind.fit(codes[rows], classes[rows], 10).probabilities(codes[voters:])
            right = found.argmax(axis=1) == classes[voters:]
            figures[f"{name}, {n} labels"] = {
                "accuracy": round(float(right.mean()), 4),
                "calibration_error": round(calibration_error(found.max(axis=1), right).error, 4),
            }
    return figures


if __name__ == "__main__":
    main()
