"""What fills docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pages import ROOT, Document, Page, table, table_of_targets, three_digits, where_measured

from hamming_parts.plots import draw
from hamming_parts.targets import COMPARED, collections, largest, worst_auto

NAMES = {
    "scan": "scan",
    "auto": "auto",
    "multi-index": "multi-index",
    "faiss-flat": "FAISS Flat",
    "usearch-exact": "usearch exact",
    "numpy": "NumPy",
    "read": "reading the codes, no more",
}
"""Ways as the page calls them."""


# The parts


def measured(document: Document) -> str:
    """When, where and with what."""
    kernel = f"grainhash's `{document['figures']['kernel']}` kernel"
    return where_measured(document, ("faiss-cpu", "usearch", "numpy"), kernel)


def expected(document: Document) -> str:
    """What a reader wants to know first."""
    rows = []
    for _, result in largest(document["figures"], "uniform"):
        one, batch = result["seconds"]["one_k10_t1"]["scan"], result["seconds"]["batch256_k10_t1"]["scan"]
        two = result["seconds"]["one_k10_t2"]["scan"]
        rows.append(
            [
                str(result["n_bits"]),
                _count(result["n"]),
                _milliseconds(one),
                _milliseconds(two),
                _per_second(256 / batch),
                _per_second(256 / result["seconds"]["batch256_k10_t2"]["scan"]),
                _times(1 / result["times_scan"]["batch256_k10_t1"]["faiss-flat"]),
            ]
        )
    head = [
        "bits",
        "codes",
        "one query, 1 thread",
        "2 threads",
        "batches of 256, 1 thread: queries a second",
        "2 threads",
        "times FAISS Flat, batches, 1 thread",
    ]
    return table(head, rows)


def latency(document: Document) -> str:
    """One query on one thread, by way."""
    ways = ("read", "scan", "auto", "faiss-flat", "usearch-exact", "numpy")
    return _by_way(document, "one_k10_t1", ways, _milliseconds)


def latency_more(document: Document) -> str:
    """One query of the largest collections: two threads, more neighbours, and the share of the bandwidth."""
    rows = []
    for stage in ("uniform", "clustered"):
        for _, result in largest(document["figures"], stage):
            seconds, times_scan = result["seconds"], result["times_scan"]
            rows.append(
                [
                    *_which(stage, result),
                    *(_milliseconds(seconds[f"one_k10_t{t}"]["scan"]) for t in (1, 2)),
                    *(f"{1 / times_scan[f'one_k10_t{t}']['read']:.0%}" for t in (1, 2)),
                    *(_milliseconds(seconds[f"one_k10_t{t}"]["faiss-flat"]) for t in (1, 2)),
                    *(_milliseconds(seconds["one_k100_t1"][way]) for way in ("scan", "faiss-flat")),
                ]
            )
    head = [
        "scan, 1 thread",
        "2 threads",
        "share of the read bandwidth, 1 thread",
        "2 threads",
        "FAISS Flat, 1 thread",
        "2 threads",
        "k = 100: scan, 1 thread",
        "FAISS Flat, 1 thread",
    ]
    return table([*WHICH, *head], rows)


def throughput(document: Document) -> str:
    """Batches of 256 on one thread, by way."""
    ways = ("scan", "auto", "multi-index", "faiss-flat")
    return _by_way(document, "batch256_k10_t1", ways, lambda seconds: _per_second(256 / seconds))


def throughput_more(document: Document) -> str:
    """Batches over the largest collections: two threads, more queries a batch, more neighbours."""
    rows = []
    for stage in ("uniform", "clustered"):
        for _, result in largest(document["figures"], stage):

            def rate(size: int, k: int, threads: int, way: str, result: Document = result) -> str:
                return _per_second(size / result["seconds"][f"batch{size}_k{k}_t{threads}"][way])

            rows.append(
                [
                    *_which(stage, result),
                    *(rate(256, 10, threads, "scan") for threads in (1, 2)),
                    _times(result["two_threads"]["batch256_k10"]["scan"]),
                    *(rate(1024, 10, threads, "scan") for threads in (1, 2)),
                    rate(256, 10, 2, "faiss-flat"),
                    *(rate(256, 100, 1, way) for way in ("scan", "faiss-flat")),
                ]
            )
    head = [
        "scan, 256, 1 thread",
        "2 threads",
        "two threads: times one",
        "scan, 1024, 1 thread",
        "2 threads",
        "FAISS Flat, 256, 2 threads",
        "k = 100: scan, 256, 1 thread",
        "FAISS Flat, 256, 1 thread",
    ]
    return table([*WHICH, *head], rows)


def _by_way(document: Document, group: str, ways: Sequence[str], shown: Callable[[float], str]) -> str:
    """A row a collection, a column a way; ways that took part nowhere have none."""
    rows, used = [], set()
    for stage in COMPARED:
        for result in collections(document["figures"], stage):
            seconds = result["seconds"][group]
            used |= set(seconds)
            rows.append((_which(stage, result), seconds))
    columns = [way for way in ways if way in used]
    cells = [[shown(seconds[way]) if way in seconds else "" for way in columns] for _, seconds in rows]
    head = [*WHICH, *(NAMES[way] for way in columns)]
    return table(head, [[*which, *row] for (which, _), row in zip(rows, cells, strict=True)])


WHICH = ("codes", "how many", "bits")


def _which(stage: str, result: Document) -> list[str]:
    return [stage, _count(result["n"]), str(result["n_bits"])]


def plans(document: Document) -> str:
    """The multi-index against the scan, and what `auto` made of it."""
    rows = []
    for stage in COMPARED:
        for result in collections(document["figures"], stage):
            one, batch = (result["times_scan"][f"{group}_k10_t1"] for group in ("one", "batch256"))
            seconds = result["seconds"]["one_k10_t1"]
            index = result["indexes"].get("multi-index")
            rows.append(
                [
                    *_which(stage, result),
                    _milliseconds(seconds["scan"]),
                    _milliseconds(seconds["multi-index"]) if "multi-index" in seconds else "",
                    _times(one["multi-index"]) if "multi-index" in one else "",
                    _times(batch["multi-index"]) if "multi-index" in batch else "",
                    _times(one["auto"]),
                    _times(batch["auto"]),
                    f"{result['indexes']['scan']['bytes_a_code']:.3g}",
                    f"{index['bytes_a_code']:.3g}" if index else "",
                    f"{index['build_seconds']:.2g} s" if index else "",
                ]
            )
    head = [
        *WHICH,
        "scan, one query",
        "multi-index, one query",
        "multi-index: times the scan, one query",
        "in batches of 256",
        "auto: times the scan, one query",
        "in batches of 256",
        "bytes a code, scan",
        "with tables",
        "tables built in",
    ]
    return table(head, rows)


def auto_worst(document: Document) -> str:
    """The worst case of `auto`."""
    worst = worst_auto(document["figures"])
    if worst is None:
        return "Not measured."
    return f"Where `auto` did worst it had {worst[0]:.2f} of the scan's speed: {_words(worst[1])}."


def groups(document: Document) -> str:
    """Best of 15 regions."""
    rows = [
        [
            str(result["n_bits"]),
            _count(result["pictures"]),
            _milliseconds(result["one_k10_t1"]["grouped_seconds"]),
            *(f"{result[f'one_k10_t{threads}']['times_plain']:.2f}" for threads in (1, 2)),
            _per_second(256 / result["batch256_k10_t1"]["grouped_seconds"]),
            *(f"{result[f'batch256_k10_t{threads}']['times_plain']:.2f}" for threads in (1, 2)),
        ]
        for result in document["figures"].get("groups", {}).get("widths", [])
    ]
    head = [
        "bits",
        "pictures of 15 regions",
        "one query",
        "times the plain scan's time, 1 thread",
        "2 threads",
        "batches of 256: queries a second",
        "times the plain scan's time, 1 thread",
        "2 threads",
    ]
    return table(head, rows)


def recall(document: Document) -> str:
    """Approximate indexes beside exact search."""
    rows = []
    for result in document["figures"].get("recall", {}).get("widths", []):
        for entry in result["entries"]:
            rows.append(
                [
                    str(result["n_bits"]),
                    entry["index"],
                    entry["setting"],
                    f"{entry['recall']:.3f}",
                    _per_second(entry["queries_per_second"]),
                    f"{entry['build_seconds']:.2g} s",
                ]
            )
    return table(["bits", "index", "setting", "recall@10", "queries a second", "built in"], rows)


def growth(document: Document) -> str:
    """One query and batches at each size."""
    ways = ("scan", "auto", "faiss-flat")
    rows = [
        [
            panel["data"],
            str(panel["n_bits"]),
            _count(int(n)),
            *(_milliseconds(seconds["one"][way]) for way in ways),
            *(_per_second(256 / seconds["batch256"][way]) for way in ways),
        ]
        for panel in document["figures"].get("growth", {}).get("panels", [])
        for n, seconds in panel["seconds"].items()
    ]
    one, batch = (f"one query: {NAMES['scan']}", f"queries a second in batches of 256: {NAMES['scan']}")
    others = [NAMES[way] for way in ways[1:]]
    return table(["codes", "bits", "how many", one, *others, batch, *others], rows)


def mapped(document: Document) -> str:
    """Opening a large collection."""
    if "mapped" not in document["figures"]:
        return "Not measured."
    figures = document["figures"]["mapped"]
    built, opened = figures["built"], figures["opened"]
    share = opened["codes_in_memory_after_opening"] / opened["code_bytes"]
    rows = [
        ["choose a plan and build its tables", f"{built['build_seconds']:.3g} s"],
        ["save", f"{built['save_seconds']:.3g} s"],
        ["size on disk, tables included", _bytes(opened["bytes"])],
        ["open, in a fresh process, nothing of it in memory", _milliseconds(opened["open_seconds"])],
        ["read from disk by opening", _bytes(opened["read_by_opening"])],
        [f"of {_bytes(opened['code_bytes'])} of codes in memory then", f"{share:.2%}"],
        ["the first query, from disk", _milliseconds(opened["first_query_seconds"])],
        ["in memory of all files after it", _bytes(opened["in_memory_after_first_query"])],
        ["each of the next 256 queries, still from disk", _milliseconds(opened["next_queries_seconds"])],
        ["the first scan, from disk", _milliseconds(opened["first_scan_seconds"])],
    ]
    for threads, name in ((1, "one thread"), (2, "two threads")):
        warm = opened[f"one_k10_t{threads}"]
        rows += [
            [f"one query once all is in memory, {name}", _milliseconds(warm["auto"])],
            [f"the scan, {name}", f"{_milliseconds(warm['scan'])}: {_times(warm['times_scan'])}"],
        ]
    return table([f"{_count(figures['n'])} {figures['data']} codes of {figures['n_bits']} bits", ""], rows)


def targets(document: Document) -> str:
    """What was asked and what came out."""
    return table_of_targets(document, _words)


PARTS: dict[str, Callable[[Document], str]] = {
    "measured": measured,
    "expected": expected,
    "latency": latency,
    "latency_more": latency_more,
    "throughput": throughput,
    "throughput_more": throughput_more,
    "plans": plans,
    "auto": auto_worst,
    "groups": groups,
    "recall": recall,
    "growth": growth,
    "mapped": mapped,
    "targets": targets,
}

PAGE = Page(ROOT / "docs" / "performance.md", "hamming", PARTS, draw)


# Words and numbers


def _count(n: int) -> str:
    return f"{n:,}"


def _milliseconds(seconds: float) -> str:
    return f"{three_digits(seconds * 1e3)} ms"


def _per_second(value: float) -> str:
    return three_digits(value)


def _times(value: float) -> str:
    return f"{three_digits(value)} x"


def _bytes(n: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if n < 1000:
            return f"{three_digits(n)} {unit}"
        n /= 1000
    return f"{three_digits(n)} GB"


def _words(text: str) -> str:
    """The names of groups in words: `batch256_k10_t1` is batches of 256, k = 10, 1 thread."""
    text = re.sub(r"\bone_k(\d+)_t(\d)", r"one query, k = \1, threads: \2", text)
    return re.sub(r"\bbatch(\d+)_k(\d+)_t(\d)", r"batches of \1, k = \2, threads: \3", text)
