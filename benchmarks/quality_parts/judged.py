"""Methods fitted and judged: mAP and seconds, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import pack
from grainhash.evaluation import Asymmetric, judge, mean_average_precision
from grainhash.evaluation.protocols import Split
from grainhash.hashing.method import HashMethod
from grainhash.labels import Labels

Features = NDArray[np.float32]


@dataclass
class Results:
    """mAP by method and length, one value a seed; seconds of fitting, one value a fit."""

    at: int | None
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, n_bits: int | str, value: float, seconds: float | None = None) -> None:
        """One figure."""
        self.values.setdefault(name, {}).setdefault(str(n_bits), []).append(round(value, 4))
        if seconds is not None:
            self.seconds.setdefault(name, {}).setdefault(str(n_bits), []).append(round(seconds, 1))

    def to_json(self) -> dict[str, Any]:
        """Means, deviations over seeds, every value, and seconds."""
        return {
            "measure": f"mAP@{self.at or 'all'}, denominator: relevant found, ties: expected",
            "methods": {
                name: {
                    n_bits: {
                        "mean": round(mean(values), 4),
                        "deviation": round(stdev(values), 4) if len(values) > 1 else None,
                        "seeds": values,
                        "fit_seconds": self.seconds.get(name, {}).get(n_bits),
                    }
                    for n_bits, values in by_length.items()
                }
                for name, by_length in self.values.items()
            },
        }

    def show(self, name: str, *, before: str = "") -> None:
        """One line of the table."""
        cells = (f"{n_bits}: {mean(values):.4f}" for n_bits, values in self.values[name].items())
        print(f"  {before + name:<32}" + "  ".join(cells), flush=True)


class Judge:
    """One split's queries and database, to hold codes against."""

    def __init__(self, split: Split, labels: Labels, at: int | None) -> None:
        self.split, self.at = split, at
        self.query_labels, self.database_labels = labels.take(split.query), labels.take(split.database)

    def of(self, queries: NDArray[Any], database: NDArray[Any]) -> float:
        """mAP of codes or vectors."""
        return mean_average_precision(
            queries, database, self.query_labels, self.database_labels, at=self.at, ties="expected"
        )

    def floats(self, features: Features) -> float:
        """mAP of features by cosine, centred on the database's mean."""
        centred = features - features[self.split.database].mean(axis=0)
        return self.of(centred[self.split.query], centred[self.split.database])

    def projected(
        self, method: HashMethod, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Real-valued bits of queries and database."""
        parts = (self.split.query, self.split.database)
        queries, database = (method.project(features[part]).astype(np.float32) for part in parts)
        return queries, database

    def prefixes(self, method: HashMethod, features: Features, lengths: Sequence[int]) -> dict[int, float]:
        """mAP of the first bits of a code, at each length."""
        queries, database = self.projected(method, features)
        return {n: self.of(pack(queries[:, :n]), pack(database[:, :n])) for n in lengths}

    def asymmetric(self, method: HashMethod, features: Features, lengths: Sequence[int]) -> dict[int, float]:
        """The same with codes ordered by the query's real numbers."""
        queries, database = self.projected(method, features)
        found = {}
        for n in lengths:
            distances = Asymmetric(queries[:, :n], pack(database[:, :n]))
            judged = judge(distances, self.query_labels, self.database_labels, name="asymmetric", at=self.at)
            found[n] = judged.mean_average_precision["found"].expected
        return found


def fitted(method: HashMethod, features: Features, labels: Labels | None) -> tuple[HashMethod, float]:
    """The method, fitted, and the seconds it took."""
    started = perf_counter()
    method.fit(features, labels)
    return method, perf_counter() - started
