"""The pictures of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pages import GREY, draw_all, finish, panels_in_a_row

from hamming_parts.targets import largest


@dataclass(frozen=True)
class Look:
    """How one way is drawn everywhere."""

    label: str
    colour: str
    marker: str
    line: str = "-"
    size: float = 7


LOOKS = {
    "read": Look("reading the codes", GREY, "", ":"),
    "scan": Look("grainhash scan", "#0072B2", "o", size=10),
    "auto": Look("grainhash auto", "#009E73", "D"),
    "multi-index": Look("multi-index", "#009E73", "D"),
    "faiss-flat": Look("FAISS Flat", "#D55E00", "s"),
    "usearch-exact": Look("usearch exact", "#B0619A", "^"),
    "numpy": Look("NumPy", "#A67C00", "v"),
    "grainhash scan": Look("grainhash scan", "#0072B2", "o", size=10),
    "grainhash auto": Look("grainhash auto", "#009E73", "D"),
    "FAISS Flat": Look("FAISS Flat", "#D55E00", "s"),
    "FAISS HNSW": Look("FAISS HNSW", "#D55E00", "^", "--"),
    "FAISS IVF": Look("FAISS IVF", "#A67C00", "v", "--"),
    "FAISS MultiHash": Look("FAISS MultiHash", GREY, "X", "--"),
    "usearch HNSW": Look("usearch HNSW", "#B0619A", "P", "--"),
}


def draw(figures: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Draw what has been measured; yields the files written."""
    pictures = {"latency": latency, "throughput": throughput, "recall": recall, "growth": growth}
    yield from draw_all({f"hamming-{name}": picture for name, picture in pictures.items()}, figures, folder)


def latency(figures: dict[str, Any]) -> Any:
    """One query against the width of the codes."""
    ways = ("numpy", "usearch-exact", "faiss-flat", "scan", "auto", "read")
    return _by_width(figures, "one_k10_t1", ways, "milliseconds a query", lambda seconds: seconds * 1e3)


def throughput(figures: dict[str, Any]) -> Any:
    """Batches against the width of the codes."""
    ways = ("scan", "auto", "faiss-flat")
    return _by_width(figures, "batch256_k10_t1", ways, "queries a second", lambda seconds: 256 / seconds)


def _by_width(figures: dict[str, Any], group: str, ways: Sequence[str], unit: str, value: Any) -> Any:
    """Two panels, uniform and clustered codes; one line a way."""
    stages = [stage for stage in ("uniform", "clustered") if stage in figures]
    if not stages:
        return None
    figure, panels = panels_in_a_row(len(stages))
    for panel, stage in zip(panels, stages, strict=True):
        results = [result for _, result in largest(figures, stage)]
        for way in ways:
            points = [
                (r["n_bits"], value(r["seconds"][group][way])) for r in results if way in r["seconds"][group]
            ]
            if points and not (way == "auto" and stage == "uniform"):
                _line(panel, way, points)
        panel.set_title(f"{results[0]['n']:,} {stage} codes, one thread")
        panel.set_xlabel("bits a code")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks([r["n_bits"] for r in results], [str(r["n_bits"]) for r in results])
        panel.minorticks_off()
    panels[0].set_ylabel(unit)
    finish(figure, panels)
    return figure


def growth(figures: dict[str, Any]) -> Any:
    """One query against the size of the collection."""
    if "growth" not in figures:
        return None
    found = figures["growth"]["panels"]
    figure, panels = panels_in_a_row(len(found))
    for panel, result in zip(panels, found, strict=True):
        for way in ("faiss-flat", "scan", "auto"):
            points = [(int(n), seconds["one"][way] * 1e3) for n, seconds in result["seconds"].items()]
            mapped = figures.get("mapped", {})
            same = (mapped.get("data"), mapped.get("n_bits")) == (result["data"], result["n_bits"])
            if same and way in mapped["opened"]["one_k10_t1"]:
                points.append((mapped["n"], mapped["opened"]["one_k10_t1"][way] * 1e3))
            _line(panel, way, points)
        panel.set_title(f"{result['n_bits']} bits, {result['data']} codes, one thread")
        panel.set_xlabel("codes")
        panel.set_xscale("log")
        panel.set_yscale("log")
    panels[0].set_ylabel("milliseconds a query")
    finish(figure, panels)
    return figure


def recall(figures: dict[str, Any]) -> Any:
    """Recall against queries a second."""
    if "recall" not in figures:
        return None
    found = figures["recall"]["widths"]
    figure, panels = panels_in_a_row(len(found), sharex=False)
    for panel, result in zip(panels, found, strict=True):
        for index in dict.fromkeys(entry["index"] for entry in result["entries"]):
            entries = [entry for entry in result["entries"] if entry["index"] == index]
            _line(panel, index, [(entry["recall"], entry["queries_per_second"]) for entry in entries])
        panel.set_title(f"{result['n']:,} {result['data']} codes of {result['n_bits']} bits")
        panel.set_xlabel("recall@10")
        panel.set_yscale("log")
    panels[0].set_ylabel("queries a second, one thread")
    finish(figure, panels)
    return figure


def _line(panel: Any, way: str, points: Sequence[tuple[float, float]]) -> None:
    look = LOOKS[way]
    panel.plot(
        *zip(*points, strict=True),
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        linewidth=2,
        markersize=look.size,
        label=look.label,
        zorder=4 if look.label.startswith("grainhash") else 3,
    )
