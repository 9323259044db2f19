"""What fills docs/quality.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pages import ROOT, Document, Page, table, table_of_targets, where_measured

from quality_parts.plots import LOOKS, draw

LENGTHS = ("16", "32", "64", "128")
SELF_TRAINED = "nested, self-trained"
ALONE = "nested, for this length alone"
FLOATS = "floats, centred cosine"
GAIN = ", gain of asymmetric order"


def measured(document: Document) -> str:
    """When, where and with what."""
    return where_measured(document, ("torch", "openvino", "numpy"))


def unsupervised(document: Document) -> str:
    """Every method without labels."""
    return _by_length(document["figures"]["unsupervised"])


def supervised(document: Document) -> str:
    """Every method with labels."""
    return _by_length(document["figures"]["supervised"])


def prefixes(document: Document) -> str:
    """What nesting costs, and asymmetric order gains."""
    methods = document["figures"]["supervised"]["methods"]
    without = document["figures"]["unsupervised"]["methods"]
    rows = [
        ["prefix of a nested code", *_cells(methods["nested"])],
        ["code fitted for this length alone", *_cells(methods[ALONE])],
        ["asymmetric order adds to the prefix", *_cells(methods[f"nested{GAIN}"], _signed)],
        ["without labels, it adds", *_cells(without[f"nested-neighbours{GAIN}"], _signed)],
    ]
    return table(["bits", *LENGTHS], rows)


def regularised(document: Document) -> str:
    """The losses of others by their own settings and by those of nested codes, at 64 bits."""
    figures = document["figures"]
    own, nested = (figures[stage]["methods"] for stage in ("supervised", "regularised"))
    rows = [[_named(name), _value(own[name]["64"]), _value(nested[name]["64"])] for name in nested]
    rows.append(["`nested`", "", _value(own["nested"]["64"])])
    return table(["64 bits", "own dropout, noise and rate", "those of `nested`"], rows)


def unlabelled(document: Document) -> str:
    """Learning from pictures without labels, beside learning without them."""
    figures = document["figures"]
    rows = [
        ["`nested`", *_cells(figures["supervised"]["methods"]["nested"])],
        ["`nested`, self-trained", *_cells(figures["unlabelled"]["methods"][SELF_TRAINED])],
    ]
    taken = figures["unlabelled"]["pseudo_labels"]
    shares = [_sum(taken, "taken") / _sum(taken, "of"), _sum(taken, "right") / _sum(taken, "taken")]
    said = f"{shares[0]:.0%} of the pictures without labels were taken in, {shares[1]:.1%} of these rightly."
    return f"{table(['bits', *LENGTHS], rows)}\n\n{said}"


def other_data(document: Document) -> str:
    """64 bits on two other data sets."""
    stages = [document["figures"][name]["methods"] for name in ("caltech101", "fashion-mnist")]
    rows = []
    for name in sorted(stages[0], key=lambda name: -sum(_first(stage[name])["mean"] for stage in stages)):
        rows.append([_named(name), *(_value(_first(stage[name])) for stage in stages)])
    return table(["64 bits", "Caltech-101", "Fashion-MNIST"], rows)


def joint(document: Document) -> str:
    """Several hash functions in one code, and voting."""
    rows = [
        [name, _value(_first(values))] for name, values in document["figures"]["joint"]["methods"].items()
    ]
    return table(["64 bits in all", "mAP@1000"], rows)


def networks(document: Document) -> str:
    """Three networks and two poolings."""
    figures = document["figures"]["networks"]
    names = [name for name in figures if name.startswith("efficientnet")]
    slowest_of_all = figures[names[0]]["pictures_per_second"]
    rows = []
    for name in names:
        for pooling in ("average", "R-MAC"):
            cells = []
            for data_set in ("caltech101", "cifar10"):
                methods = figures[name][data_set]["methods"]
                cells += [_value(_first(methods[f"{pooling}, {FLOATS}"]))]
                cells += [_value(_first(methods[f"{pooling}, itq"]))]
            cost = slowest_of_all / figures[name]["pictures_per_second"]
            rows.append([name, pooling, str(figures[name]["input_size"]), f"{cost:.2f}", *cells])
    head = ["network", "pooling", "pixels a side", "time a picture", "Caltech-101: floats", "256 bits"]
    return table([*head, "CIFAR-10: floats", "256 bits"], rows)


def end_to_end(document: Document) -> str:
    """Network and head trained together."""
    rows = []
    for protocol in ("cifar10-2", "cifar10-1"):
        found = document["figures"].get(f"end-to-end-{protocol}")
        if found is None:
            continue
        settings, values = found["settings"], found["mean_average_precision"]
        rows.append(
            [
                protocol,
                f"{found['training_pictures']:,}",
                f"{settings['input_size']} px, {settings['epochs']} epochs",
                f"{found['training_seconds'] / 60:.0f} min, {found['trained_on']}",
                *(f"{values[n_bits]:.3f}".lstrip("0") for n_bits in ("16", "32", "64")),
                f"{found['validation']['map']:.3f} (epoch {found['validation']['epoch']})".lstrip("0"),
            ]
        )
    head = ["protocol", "learned from", "", "time", "16 bits", "32", "64", "64, on pictures kept back"]
    return table(head, rows)


def fitting(document: Document) -> str:
    """Seconds of fitting."""
    found = document["figures"]["fitting"]
    rows = [[_named(name), f"{seconds:.0f}"] for name, seconds in found["fit_seconds"].items()]
    return table(
        [f"{found['rows']:,} rows of {found['columns']:,} features, {found['n_bits']} bits", ""], rows
    )


def where_there(part: Callable[[Document], str], *stages: str) -> Callable[[Document], str]:
    """The part, or a word in its place where a stage that it shows has not been measured."""

    def shown(document: Document) -> str:
        return part(document) if document["figures"].keys() >= set(stages) else "Not measured yet."

    return shown


PARTS: dict[str, Callable[[Document], str]] = {
    "measured": measured,
    "unsupervised": where_there(unsupervised, "unsupervised"),
    "supervised": where_there(supervised, "supervised"),
    "prefixes": where_there(prefixes, "supervised", "unsupervised"),
    "regularised": where_there(regularised, "supervised", "regularised"),
    "unlabelled": where_there(unlabelled, "supervised", "unlabelled"),
    "other_data": where_there(other_data, "caltech101", "fashion-mnist"),
    "joint": where_there(joint, "joint"),
    "networks": where_there(networks, "networks"),
    "end_to_end": where_there(end_to_end, "end-to-end-cifar10-2"),
    "fitting": where_there(fitting, "fitting"),
    "targets": table_of_targets,
}

PAGE = Page(ROOT / "docs" / "quality.md", "quality", PARTS, draw)


# Words and numbers


def _by_length(stage: dict[str, Any]) -> str:
    """Methods at every length, the best at 64 bits first; floats last."""
    methods = stage["methods"]
    names = [name for name in methods if name in LOOKS]
    names.sort(key=lambda name: -methods[name]["64"]["mean"])
    rows = [[_named(name), *_cells(methods[name])] for name in names]
    floats = _value(methods[FLOATS]["floats"])
    return table(["bits", *LENGTHS], [*rows, [_named(FLOATS), floats, "", "", ""]])


def _cells(by_length: dict[str, Any], shown: Callable[[dict[str, Any]], str] | None = None) -> Sequence[str]:
    return [(shown or _value)(by_length[n_bits]) for n_bits in LENGTHS]


def _value(entry: dict[str, Any]) -> str:
    """`.721 ± .004`: the mean and one deviation over seeds."""
    deviation = entry["deviation"]
    return f"{entry['mean']:.3f}".lstrip("0") + (
        f" ± {deviation:.3f}".replace("0.", ".") if deviation else ""
    )


def _signed(entry: dict[str, Any]) -> str:
    return f"{entry['mean']:+.3f}".replace("0.", ".")


def _first(by_length: dict[str, Any]) -> dict[str, Any]:
    return dict(next(iter(by_length.values())))


def _named(name: str) -> str:
    return (
        f"`{name}`, {LOOKS[name][0]}" if name in LOOKS and "grainhash" not in LOOKS[name][0] else f"`{name}`"
    )


def _sum(entries: list[dict[str, int]], key: str) -> int:
    return sum(entry[key] for entry in entries)
