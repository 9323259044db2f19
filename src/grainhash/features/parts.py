"""What an encoder's features are made of, as one line of text: parts joined by `+`.

    pooled                  an output of the network as it is
    map:rmac   mid:avg      an output that is a feature map, pooled; see `grainhash.features.pooling`
    colour gist hog sift    classical features of the granule's pixels
    pooled+map:rmac+colour  several of them, side by side

Weights and gates between them are steps of the hash function's chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import EncoderError
from grainhash.features.colour import colour_histogram
from grainhash.features.gist import gist
from grainhash.features.hog import hog
from grainhash.features.pooling import POOLINGS
from grainhash.features.sift import sift_vlad

Pixels = NDArray[np.uint8]
"""RGB granules at the network's input size, `(n, size, size, 3)`."""

Rows = NDArray[np.float32]
"""`(n, width)`."""

CLASSICAL: dict[str, Callable[[Pixels], Rows]] = {
    "colour": colour_histogram,
    "gist": gist,
    "hog": hog,
    "sift": sift_vlad,
}
"""Every classical feature by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: of an output of the network, pooled if it is a map; of the pixels if `output` is `None`."""

    name: str
    output: str | None
    pooling: str | None

    def rows(self, pixels: Pixels, outputs: Mapping[str, NDArray[np.float32]]) -> Rows:
        """The part's features, `(n, width)`.

        Args:
            pixels: the granules.
            outputs: what the network made of them, by output.

        Raises:
            EncoderError: a map without pooling, or the pooling of what is no map.
            MissingExtra: a classical feature whose library is not installed.
        """
        if self.output is None:
            return CLASSICAL[self.name](pixels)
        seen = outputs[self.output]
        if self.pooling is None and seen.ndim == 2:
            return seen
        if self.pooling is not None and seen.ndim == 4:
            return POOLINGS[self.pooling](seen)
        poolings = ", ".join(f"{self.output}:{pooling}" for pooling in POOLINGS)
        hint = f"a feature map; choose {poolings}" if seen.ndim == 4 else f"no feature map but {seen.ndim}-d"
        raise EncoderError(f"features {self.name!r}: the network's output {self.output!r} is {hint}")


def parse_parts(text: str) -> tuple[Part, ...]:
    """Read the line of text.

    Raises:
        EncoderError: an empty part, one named twice, or an unknown pooling.
    """
    parts = tuple(map(_part, text.split("+")))
    if len(set(parts)) < len(parts):
        raise EncoderError(f"features {text!r} name a part twice")
    return parts


def _part(name: str) -> Part:
    if name in CLASSICAL:
        return Part(name, None, None)
    output, colon, pooling = name.partition(":")
    if not output or (colon and pooling not in POOLINGS):
        raise EncoderError(
            f"features {name!r}: write an output of the network such as pooled, a map with its pooling "
            f"({', '.join(POOLINGS)}) such as map:rmac, or {', '.join(CLASSICAL)}; join several with +"
        )
    return Part(name, output, pooling or None)


def outputs_of(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """The outputs of the network that the parts need, each once."""
    return tuple(dict.fromkeys(part.output for part in parts if part.output is not None))
