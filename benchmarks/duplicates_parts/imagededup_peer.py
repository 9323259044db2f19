"""imagededup's pHash and CNN over a folder, as JSON: run by a Python that has it, whose torch is another.

`python imagededup_peer.py pairs CODES.npy RADIUS` prints the seconds that its search of all pairs of 64-bit
codes takes, and how many there are.

`python imagededup_peer.py copies FOLDER NETWORK.pt` prints, for each way, the seconds with its default
threshold, the threshold, and every pair at any threshold worth a look, with its score. The weights that
imagededup downloads for its CNN are not at hand offline, so it is given another one as TorchScript: RGB of
224 pixels to features.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from imagededup.methods import CNN, PHash
from imagededup.utils import CustomModel
from torchvision import transforms

WIDE_PHASH, WIDE_CNN = 28, 0.3
DEFAULT_PHASH, DEFAULT_CNN = 10, 0.9
"""imagededup's own."""


def pairs(path: str, radius: str) -> None:
    """Measure the search alone, on codes that are there."""
    codes = {str(row): code.tobytes().hex() for row, code in enumerate(np.load(path))}
    with contextlib.redirect_stdout(sys.stderr):  # it prints as it goes
        started = perf_counter()
        near = PHash(verbose=False).find_duplicates(encoding_map=codes, max_distance_threshold=int(radius))
        seconds = perf_counter() - started
    found = {frozenset((one, other)) for one, others in near.items() for other in others}
    json.dump({"seconds": seconds, "pairs": len(found)}, sys.stdout)


def copies(folder: str, network: str) -> None:
    """Measure both ways."""
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
        ]
    )
    with contextlib.redirect_stdout(sys.stderr):  # it prints as it goes
        cnn = CNN(verbose=False, model_config=CustomModel("given", torch.jit.load(network).eval(), transform))
        found = {
            "pHash": _measured(
                PHash(verbose=False).find_duplicates,
                folder,
                "max_distance_threshold",
                DEFAULT_PHASH,
                WIDE_PHASH,
            ),
            "CNN": _measured(cnn.find_duplicates, folder, "min_similarity_threshold", DEFAULT_CNN, WIDE_CNN),
        }
    json.dump(found, sys.stdout)


def _measured(
    find: Callable[..., dict[str, list[tuple[str, float]]]],
    folder: str,
    name: str,
    default: float,
    wide: float,
) -> dict[str, Any]:
    started = perf_counter()
    find(image_dir=folder, **{name: default})
    seconds = perf_counter() - started
    near = find(image_dir=folder, scores=True, **{name: wide})
    pairs = {
        tuple(sorted((one, other))): float(score) for one, found in near.items() for other, score in found
    }
    return {
        "seconds": seconds,
        "default": default,
        "pairs": [[one, other, score] for (one, other), score in sorted(pairs.items())],
    }


if __name__ == "__main__":
    {"pairs": pairs, "copies": copies}[sys.argv[1]](*sys.argv[2:])
