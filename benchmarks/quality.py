"""Every method of hashing on the same frozen features, over several seeds; networks; training end to end.

    python benchmarks/quality.py [--quick] [--only STAGE] [--report] [--out FOLDER]

The stages:

- fitting: how long the heads of the two defaults take on 50,000 cached features.
- unsupervised: CIFAR-10, 2,000 of the 10,000 test pictures ask, the 50,000 others are searched and learned
  from without their labels; mAP@1000. R-MAC features.
- supervised: CIFAR-10, protocol `cifar10-1`: 1,000 queries, 59,000 searched, of which 5,000 to learn from,
  drawn anew for each seed; mAP over all. Average pooling, R-MAC and a middle layer, learned from mirrored
  pictures, too. Nested codes are fitted once and cut.
- regularised: the losses of others with the dropout, noise and learning rate that nested codes have by
  default, at 64 bits; in all other stages they have their own defaults.
- unlabelled: `supervised`, learned also from the 54,000 pictures of the database that have no label.
- caltech101, fashion-mnist: 64 bits, the same features. Caltech-101 has parts of its own; of Fashion-MNIST
  1,000 pictures ask, 19,000 are searched, of which 5,000 to learn from.
- joint: what several hash functions side by side, and votes over hash tables, gain at 64 bits.
- networks: EfficientNet-Lite0, 1 and 2, average pooling and R-MAC, without labels.
- end-to-end-cifar10-2, end-to-end-cifar10-1: network and head trained together, 64 bits, with 50,000 pictures
  to learn from and with 5,000. Minutes on a GPU; a day, and hours, on two cores. What the same settings made
  before, here or elsewhere, is judged as it is (quality_parts/end_to_end.py).

Average precision is over the relevant items found, an expectation over ties. Settings of nested codes come
from splits of the training pictures of CIFAR-10, Caltech-101 and Fashion-MNIST: margin and learning rate from
those of all draws from CIFAR-10, without any that asks in one of them; the rest, and all on Fashion-MNIST, in
the draw of seed 0, of which one in 60 of CIFAR-10's, and one in 20 of Fashion-MNIST's, is a query of each
other seed. Settings of the methods without labels come from queries of CIFAR-10's train part. Features, and
how they are scaled, were chosen on 1,000 queries of another draw from CIFAR-10; one in fifty of those is also
a query of each seed here. Features come from the shipped network and are kept in `build/features`; the first
run computes them (about ten minutes on two cores). `--only` measures one stage again and keeps the others,
also those that another process measures meanwhile. The pictures are not part of this repository: what is not
there is not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from harness import RESULTS, earlier_figures, parser, write
from quality_parts.end_to_end import end_to_end
from quality_parts.judged import Judge, Results, fitted
from quality_parts.material import POOLED, RMAC, SEEDS, material
from quality_parts.networks import networks
from quality_parts.targets import targets

from grainhash.hashing.method import HashMethod
from grainhash.joint import Joint, Part
from grainhash.methods import METHODS, method
from grainhash.self_training import self_train
from grainhash.tables import HashTables
from grainhash.training.allocator import keep_freed_memory

LENGTHS = (16, 32, 64, 128)
SHALLOW = ("lsh", "pca-sign", "spectral", "itq", "knnh")
UNSUPERVISED = ("bihalf", "cibhash")
PEERS = ("dpsh", "hashnet", "dsh", "greedyhash", "csq", "orthohash")
OF_NESTED = ("dropout", "noise", "learning_rate")
"""Settings of nested codes that the others are tried with, too."""
OTHER_DATA_BITS = 64
UNSUPERVISED_QUERIES = 2000
JOINT_QUERIES = 1000
FITTED_ROWS = 50_000
QUICK_EPOCHS = 2


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments()
    keep_freed_memory()
    if options.report:
        from quality_parts.page import PAGE

        PAGE.report(options.out or RESULTS, options.out)
        return
    figures: dict[str, Any] = {}
    for name in options.only or [name for name in STAGES if not (options.quick and name in NOT_QUICK)]:
        started = perf_counter()
        measured = STAGES[name](options.quick)
        if measured is not None:
            seconds = round(perf_counter() - started, 1)
            figures[name] = {**measured, "date": datetime.now(UTC).date().isoformat(), "seconds": seconds}
            print(f"{name}: {seconds:.0f} s", flush=True)
            if not options.quick:  # hours of work are kept as they come
                write_results(options, figures)
    write_results(options, figures)


def write_results(options: argparse.Namespace, measured: dict[str, Any]) -> None:
    """The results so far, and with `--only` those that are there already."""
    figures = earlier_figures((options.out or RESULTS) / "quality.json", options) | measured
    write(
        options,
        "quality",
        packages=["torch", "openvino"],
        seeds=SEEDS,
        figures=figures,
        targets=[] if options.quick else targets(figures),
    )


def arguments() -> argparse.Namespace:
    """The options of every benchmark, and those of this one."""
    options = parser(__doc__)
    options.add_argument("--only", action="append", choices=list(STAGES), help="measure this stage")
    options.add_argument("--report", action="store_true", help="measure nothing; write page and picture")
    return options.parse_args()


# Stages


def unsupervised(quick: bool) -> dict[str, Any] | None:
    """Methods without labels, shallow and deep."""
    data = material("cifar10-unsupervised", quick=quick)
    if data is None:
        return None
    seeds, lengths = scale(quick)
    features, split = data.rmac, data.split(0)
    split = split.only_queries(min(UNSUPERVISED_QUERIES, len(split.query)), seed=0)
    judge = Judge(split, data.labels, at=1000)
    learned_from = features[split.training]
    results = Results(1000)
    results.add("floats, centred cosine", "floats", judge.floats(features))
    results.show("floats, centred cosine")
    for name in (*SHALLOW, *UNSUPERVISED):
        for n_bits in lengths:
            for seed in seeds:
                fit, seconds = fitted(new(name, n_bits, seed, quick=quick), learned_from, None)
                results.add(name, n_bits, judge.prefixes(fit, features, [n_bits])[n_bits], seconds)
        results.show(name)
    for seed in seeds:
        nested, seconds = fitted(
            new("nested-neighbours", max(lengths), seed, quick=quick), learned_from, None
        )
        add_nested(results, "nested-neighbours", judge, nested, features, lengths, seconds)
    return results.to_json()


def supervised(quick: bool) -> dict[str, Any] | None:
    """Methods with labels; every seed draws another split."""
    data = material("cifar10-1", quick=quick)
    if data is None:
        return None
    seeds, lengths = scale(quick)
    results = Results(None)
    for seed in seeds:
        split = data.split(seed)
        judge = Judge(split, data.labels, at=None)
        views, labels = data.to_learn_from(split)
        results.add("floats, centred cosine", "floats", judge.floats(data.plain))
        nested, seconds = fitted(new("nested", max(lengths), seed, quick=quick), views, labels)
        add_nested(results, "nested", judge, nested, data.plain, lengths, seconds)
        for n_bits in lengths:
            losses = {name: (name, {}) for name in PEERS}
            losses["nested, for this length alone"] = ("nested", {"prefixes": False})
            for shown, (name, settings) in losses.items():
                fit, seconds = fitted(new(name, n_bits, seed, quick=quick, **settings), views, labels)
                results.add(shown, n_bits, judge.prefixes(fit, data.plain, [n_bits])[n_bits], seconds)
            fit, seconds = fitted(new("itq", n_bits, seed, quick=quick), data.plain[split.database], None)
            results.add("itq", n_bits, judge.prefixes(fit, data.plain, [n_bits])[n_bits], seconds)
        for name in results.values:
            results.show(name)
    return results.to_json()


def unlabelled(quick: bool) -> dict[str, Any] | None:
    """What the database's pictures without labels add to `supervised`."""
    data = material("cifar10-1", quick=quick)
    if data is None:
        return None
    seeds, lengths = scale(quick)
    results = Results(None)
    taken: list[dict[str, int]] = []
    for seed in seeds:
        split = data.split(seed)
        judge = Judge(split, data.labels, at=None)
        views, labels = data.to_learn_from(split)
        others = np.setdiff1d(split.database, split.training)
        twice = np.broadcast_to(data.plain[others], (2, len(others), data.plain.shape[1]))
        nested = new("nested", max(lengths), seed, quick=quick)
        started = perf_counter()
        known = self_train(nested, views, labels, twice)
        seconds = perf_counter() - started
        for n_bits, value in judge.prefixes(nested, data.plain, lengths).items():
            results.add("nested, self-trained", n_bits, value, seconds)
        right = int((known.labels.ids == data.labels.ids[others[known.rows]]).sum())
        taken.append({"of": len(others), "taken": len(known.rows), "right": right})
        results.show("nested, self-trained")
    return {**results.to_json(), "pseudo_labels": taken}


def regularised(quick: bool) -> dict[str, Any] | None:
    """The losses of others with the training settings of nested codes, on the splits of `supervised`."""
    data = material("cifar10-1", quick=quick)
    if data is None:
        return None
    seeds, _ = scale(quick)
    settings = {name: getattr(method("nested")(64), name) for name in OF_NESTED}
    results = Results(None)
    for seed in seeds:
        split = data.split(seed)
        judge = Judge(split, data.labels, at=None)
        views, labels = data.to_learn_from(split)
        for name in PEERS:
            fit, seconds = fitted(new(name, 64, seed, quick=quick, **settings), views, labels)
            results.add(name, 64, judge.prefixes(fit, data.plain, [64])[64], seconds)
            results.show(name)
    return {"settings": settings, **results.to_json()}


def other_data(name: str) -> Callable[[bool], dict[str, Any] | None]:
    """The default, ITQ and the peers' losses on another data set."""

    def measure(quick: bool) -> dict[str, Any] | None:
        data = material(name, quick=quick)
        if data is None:
            return None
        seeds, _ = scale(quick)
        results = Results(None)
        for seed in seeds:
            split = data.split(seed)
            judge = Judge(split, data.labels, at=None)
            views, labels = data.to_learn_from(split)
            results.add("floats, centred cosine", "floats", judge.floats(data.plain))
            for method_name in ("itq", "nested", *PEERS):
                learned = (data.plain[split.database], None) if method_name == "itq" else (views, labels)
                fit, seconds = fitted(new(method_name, OTHER_DATA_BITS, seed, quick=quick), *learned)
                found = judge.prefixes(fit, data.plain, [OTHER_DATA_BITS])[OTHER_DATA_BITS]
                results.add(method_name, OTHER_DATA_BITS, found, seconds)
        for method_name in results.values:
            results.show(method_name)
        return results.to_json()

    return measure


def joint(quick: bool) -> dict[str, Any] | None:
    """Several hash functions in one code, and votes over tables, at 64 bits in all."""
    data = material("cifar10-unsupervised", quick=quick)
    if data is None:
        return None
    seeds, _ = scale(quick)
    split = data.split(0)
    split = split.only_queries(min(JOINT_QUERIES, len(split.query)), seed=0)
    judge = Judge(split, data.labels, at=1000)
    learned_from, searched = data.plain[split.training], data.rmac[split.database]
    codes = {
        "itq on average pooling": (Part("itq", 64, POOLED),),
        "itq on R-MAC": (Part("itq", 64, RMAC),),
        "itq on both, concatenated": (Part("itq", 64, (POOLED[0], RMAC[1])),),
        "half on average pooling, half on R-MAC": (Part("itq", 32, POOLED), Part("itq", 32, RMAC)),
        "twice itq on R-MAC": (Part("itq", 32, RMAC), Part("itq", 32, RMAC)),
        "half itq, half lsh, on R-MAC": (Part("itq", 32, RMAC), Part("lsh", 32, RMAC)),
    }
    results = Results(1000)
    for name, parts in codes.items():
        for seed in seeds:
            fit, seconds = fitted(Joint(64, parts=parts, seed=seed), learned_from, None)
            results.add(name, 64, judge.prefixes(fit, data.plain, [64])[64], seconds)
        results.show(name)
    for name in ("itq", "lsh"):
        for seed in seeds:
            fits = [method(name)(16, seed=4 * seed + i).fit(learned_from[:, slice(*RMAC)]) for i in range(4)]
            together = [fit.encode(data.rmac) for fit in fits]
            code = np.concatenate(together, axis=1)
            results.add(
                f"4 x 16 bits of {name}, one code", 64, judge.of(code[split.query], code[split.database])
            )
            tables = HashTables([fit.function for fit in fits])
            tables.add(searched)
            votes = tables.search(
                data.rmac[split.query], min(1000, len(searched)), depth=min(5000, len(searched))
            )
            ranked = [votes.ids[a:b] for a, b in zip(votes.limits[:-1], votes.limits[1:], strict=True)]
            results.add(f"4 x 16 bits of {name}, votes", 64, precision_of(ranked, judge))
        results.show(f"4 x 16 bits of {name}, one code")
        results.show(f"4 x 16 bits of {name}, votes")
    return results.to_json()


def fitting(quick: bool) -> dict[str, Any] | None:
    """Seconds to fit a head to many cached features, all cores."""
    data = material("cifar10-unsupervised", quick=quick)
    if data is None:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(len(data.plain))[:FITTED_ROWS])
    features, labels = data.plain[rows], data.labels.take(rows)
    seconds = {}
    for name in ("nested", "nested-neighbours"):
        learned_from = (features, labels) if method(name).needs_labels else (features, None)
        seconds[name] = round(fitted(new(name, 64, 0, quick=quick), *learned_from)[1], 1)
        print(f"  {name}: {seconds[name]} s", flush=True)
    return {"rows": len(rows), "columns": features.shape[1], "n_bits": 64, "fit_seconds": seconds}


STAGES: dict[str, Callable[[bool], dict[str, Any] | None]] = {
    "fitting": fitting,
    "unsupervised": unsupervised,
    "supervised": supervised,
    "regularised": regularised,
    "unlabelled": unlabelled,
    "caltech101": other_data("caltech101"),
    "fashion-mnist": other_data("fashion-mnist"),
    "joint": joint,
    "networks": networks,
    "end-to-end-cifar10-2": partial(end_to_end, "cifar10-2"),
    "end-to-end-cifar10-1": partial(end_to_end, "cifar10-1"),
}

NOT_QUICK = {"end-to-end-cifar10-1"}
"""What --quick leaves out: it would train once more what another stage trains."""


def scale(quick: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Seeds and lengths."""
    return (SEEDS[:1], LENGTHS[:2]) if quick else (SEEDS, LENGTHS)


def new(name: str, n_bits: int, seed: int, *, quick: bool, **settings: Any) -> HashMethod:
    """A method with its default settings but for those that are named, and trained for short with --quick."""
    is_deep = METHODS[name].startswith("grainhash.learning")
    return method(name)(
        n_bits, seed=seed, **settings, **({"epochs": QUICK_EPOCHS} if quick and is_deep else {})
    )


def add_nested(results, name, judge, nested, features, lengths, seconds) -> None:
    """A nested code at every length, and what asymmetric order gains."""
    plain = judge.prefixes(nested, features, lengths)
    for n_bits, value in plain.items():
        results.add(name, n_bits, value, seconds)
    for n_bits, value in judge.asymmetric(nested, features, lengths).items():
        results.add(f"{name}, gain of asymmetric order", n_bits, value - plain[n_bits])
    results.show(name)


def precision_of(ranked: list[np.ndarray], judge: Judge) -> float:
    """mAP of lists that are ordered already; as many relevant as were found."""
    own = judge.database_labels.ids
    values = []
    for asked, ids in zip(judge.query_labels.ids, ranked, strict=True):
        hits = own[ids] == asked
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values.append((precision * hits).sum() / max(hits.sum(), 1))
    return float(np.mean(values))


if __name__ == "__main__":
    main()
