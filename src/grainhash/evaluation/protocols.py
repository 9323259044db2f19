"""Named protocols: who asks, who is searched, who may be learned from; and that nobody is on two sides.

    split = PROTOCOLS["cifar10-1"].split(pictures.labels, pictures.splits, seed=0)
    split.query, split.training, split.database      # positions, int64, ascending
    split.check_contents(sha256s, pictures.names)

Sizes are the published ones. A split is drawn with a seed unless the data name its parts. A query that is
also in the database or in the training set is an error, by position and by content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import SplitError
from grainhash.labels import Labels

Positions = NDArray[np.int64]

Database = Literal["rest", "rest and training", "training"]
"""Who is searched: all that neither ask nor train, these and the training set, or the training set."""

Draw = Literal["per class", "in all", "by parts"]
"""How queries and training set are found: so many of each class, so many in all, or named by the data."""

SHARE = 10
"""One picture in so many is a query where a protocol names no number."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions of pictures, ascending.

    Raises:
        SplitError: no queries, no database, or a picture on two sides. Only where the protocol says so
            may pictures of the training set be searched.
    """

    protocol: Protocol
    query: Positions
    training: Positions
    database: Positions
    seed: int | None
    """What it was drawn with; `None` where the data name the parts."""
    notes: tuple[str, ...] = ()
    """How the pictures differ from the published ones, if they do."""

    def __post_init__(self) -> None:
        for name, positions in (("queries", self.query), ("database", self.database)):
            if not len(positions):
                raise SplitError(f"{self.protocol.name}: no pictures are left for the {name}")
        for one, asked, other, stored in self._sides():
            both = np.intersect1d(asked, stored)
            if len(both):
                raise SplitError(
                    f"{self.protocol.name}: {len(both)} pictures are in {one} and in {other} "
                    f"(first: position {both[0]})"
                )

    def check_contents(self, contents: Sequence[str], names: Sequence[str]) -> None:
        """Refuse a split in which a picture is the same file as one on another side.

        Args:
            contents: what tells the content of each picture, such as its SHA-256; empty if unknown.
            names: what an error calls each picture.

        Raises:
            SplitError: how many there are, and the first pair.
        """
        for one, asked, other, stored in self._sides():
            place = {contents[position]: position for position in reversed(stored.tolist())}
            place.pop("", None)
            pairs = [(p, place[contents[p]]) for p in asked.tolist() if contents[p] in place]
            if pairs:
                first, second = (names[position] for position in pairs[0])
                raise SplitError(
                    f"{self.protocol.name}: {len(pairs)} pictures of {one} are also in {other} as copies "
                    f"(first: {first} is {second}); take the copies out of the data"
                )

    def only_queries(self, n: int, *, seed: int) -> Split:
        """The same with `n` of the queries, for a quicker and less certain answer.

        Raises:
            SplitError: there are not so many.
        """
        if not 1 <= n <= len(self.query):
            raise SplitError(f"{n} queries asked for where {self.protocol.name} has {len(self.query)}")
        if n == len(self.query):
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(self.query, n, replace=False))
        note = f"{n:,} of its {len(self.query):,} queries, drawn with seed {seed}"
        return replace(self, query=chosen, notes=(*self.notes, note))

    def without(self, positions: Sequence[int]) -> Split:
        """The same without some pictures, such as those that cannot be read."""
        if not positions:
            return self
        query, training, database = (
            np.setdiff1d(part, positions) for part in (self.query, self.training, self.database)
        )
        return replace(self, query=query, training=training, database=database)

    def _sides(self) -> list[tuple[str, Positions, str, Positions]]:
        """The pairs of parts that may have nothing in common."""
        sides = [("query", self.query, "database", self.database)]
        sides.append(("query", self.query, "training", self.training))
        if not self.protocol.searches_training:
            sides.append(("training", self.training, "database", self.database))
        return sides


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a data set is cut into queries, training set and database."""

    name: str
    about: str
    """Where it comes from."""
    draw: Draw = "per class"
    queries: int | None = None
    """How many are drawn, of each class or in all; `None` for one picture in `SHARE`."""
    training: int = 0
    """As `queries`."""
    database: Database = "rest"
    prefers_parts: bool = False
    """Whether `test` and `train` are taken rather than drawn, where the data name them."""
    n_pictures: int | None = None
    """All pictures of the published data; a split of another number says so in its notes."""
    n_classes: int | None = None
    at: int | None = None
    """R of the mAP that is reported with it; `None` for the whole database."""

    @property
    def searches_training(self) -> bool:
        """Whether pictures of the training set are in the database."""
        return self.draw == "by parts" or self.database != "rest"

    def split(self, labels: Labels, parts: NDArray[np.str_] | None = None, *, seed: int = 0) -> Split:
        """Cut a data set.

        Args:
            labels: of all its pictures.
            parts: `(n,)`: the part of the data that each picture is in, if the data say. `query` and
                `database`, and `training` beside them, are taken by every protocol. `test` and `train`
                are taken by those that draw nothing, or prefer parts.
            seed: of what is drawn.

        Raises:
            SplitError: too few pictures, or the data do not name the parts.
        """
        notes = self._differences(labels)
        named = {} if parts is None else {name: np.flatnonzero(parts == name) for name in set(parts.tolist())}
        if {"query", "database"} <= named.keys():
            training = named.get("training", named.get("train", np.empty(0, np.int64)))
            return Split(self, named["query"], training, named["database"], None, notes)
        if {"test", "train"} <= named.keys() and (self.draw == "by parts" or self.prefers_parts):
            return Split(self, named["test"], named["train"], named["train"], None, notes)
        if self.draw == "by parts":
            raise SplitError(
                f"{self.name} takes the parts test and train, or query and database, of data that name "
                f"them; these name {', '.join(sorted(named)) or 'none'}"
            )
        return self._drawn(labels, seed, notes)

    def _drawn(self, labels: Labels, seed: int, notes: tuple[str, ...]) -> Split:
        rng = np.random.default_rng(seed)
        n_queries = max(1, len(labels) // SHARE) if self.queries is None else self.queries
        free = np.arange(len(labels))
        query = self._draw("queries", n_queries, free, labels, rng)
        free = np.setdiff1d(free, query)
        training = self._draw("training pictures", self.training, free, labels, rng)
        rest = np.setdiff1d(free, training)
        database = {"rest": rest, "rest and training": free, "training": training}[self.database]
        return Split(self, query, training, database, seed, notes)

    def _draw(
        self, what: str, n: int, free: Positions, labels: Labels, rng: np.random.Generator
    ) -> Positions:
        if self.draw == "in all":
            if n > len(free):
                raise SplitError(f"{self.name} draws {n} {what}; there are {len(free)} pictures")
            return np.sort(rng.choice(free, n, replace=False))
        drawn = np.empty(0, np.int64)
        for name, members in _classes(labels):
            left = np.setdiff1d(free[members[free]], drawn)  # with several labels it may be drawn already
            if n > len(left):
                raise SplitError(f"{self.name} draws {n} {what} of class {name}; there are {len(left)}")
            drawn = np.concatenate([drawn, rng.choice(left, n, replace=False)])
        return np.sort(drawn)

    def _differences(self, labels: Labels) -> tuple[str, ...]:
        n_classes = sum(bool(members.any()) for _, members in _classes(labels))
        facts = (("pictures", len(labels), self.n_pictures), ("classes", n_classes, self.n_classes))
        return tuple(
            f"{here:,} {what} where the published data have {published:,}"
            for what, here, published in facts
            if published not in (None, here)
        )


def _classes(labels: Labels) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each class and whether the pictures have it, `(n,)`; of a hierarchy the leaves alone."""
    for number, name in enumerate(labels.classes):
        if labels.ids is None:
            yield name, labels.indicator()[:, number]
        elif labels.kind == "single" or (labels.ids == number).any():
            yield name, labels.ids == number


OWN = Protocol(
    "own",
    "the parts that the data name, query and database or test and train; else one picture in ten asks",
    draw="in all",
    database="rest and training",
    prefers_parts=True,
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        OWN,
        Protocol(
            "cifar10",
            "1,000 queries, 5,000 to train on, the 54,000 others searched (DeepHash-pytorch)",
            queries=100,
            training=500,
            n_pictures=60_000,
            n_classes=10,
        ),
        Protocol(
            "cifar10-1",
            "1,000 queries, 59,000 searched, of which 5,000 to train on (GreedyHash, OrthoHash, CSQ)",
            queries=100,
            training=500,
            database="rest and training",
            n_pictures=60_000,
            n_classes=10,
        ),
        Protocol(
            "cifar10-2",
            "10,000 queries, 50,000 searched and to train on (DeepHash-pytorch)",
            queries=1000,
            training=5000,
            database="training",
            n_pictures=60_000,
            n_classes=10,
        ),
        Protocol(
            "cifar10-unsupervised",
            "the test split asks, the train split is searched and trained on without labels",
            draw="by parts",
            at=1000,
            n_pictures=60_000,
            n_classes=10,
        ),
        Protocol(
            "nuswide21",
            "NUS-WIDE with its 21 commonest concepts: 2,100 queries, 193,734 searched, of which 10,500 to "
            "train on (DeepHash-pytorch)",
            queries=100,
            training=500,
            database="rest and training",
            n_pictures=195_834,
            n_classes=21,
            at=5000,
        ),
        Protocol(
            "coco",
            "MS-COCO 2014, pictures with labels: 5,000 queries, 117,218 searched, of which 10,000 to train "
            "on (HashNet)",
            draw="in all",
            queries=5000,
            training=10_000,
            database="rest and training",
            n_pictures=122_218,
            n_classes=80,
            at=5000,
        ),
        Protocol(
            "imagenet100",
            "100 classes of ImageNet: 5,000 validation pictures ask, 128,503 training pictures are searched "
            "(HashNet, which trains on 100 of each class)",
            draw="by parts",
            n_pictures=133_503,
            n_classes=100,
            at=1000,
        ),
        Protocol(
            "mirflickr",
            "MIRFlickr-25K: 1,000 queries, 4,000 to train on, the 20,000 others searched (DeepHash-pytorch)",
            draw="in all",
            queries=1000,
            training=4000,
            n_pictures=25_000,
            n_classes=38,
        ),
        Protocol(
            "cub",
            "CUB-200-2011, its own split: 5,794 test pictures ask, 5,994 training pictures are searched",
            draw="by parts",
            n_pictures=11_788,
            n_classes=200,
        ),
    )
}
"""Every protocol by its name."""


def protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        SplitError: there is none.
    """
    if name not in PROTOCOLS:
        raise SplitError(f"no protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
