"""The deep methods, all in one place, and by name."""

from __future__ import annotations

from grainhash.learning.classes import CSQ, GreedyHash, OrthoHash
from grainhash.learning.method import DeepMethod
from grainhash.learning.nested import NestedCodes
from grainhash.learning.pairwise import DPSH, DSH, HashNet
from grainhash.learning.unsupervised import BiHalf, CIBHash, NestedNeighbours

__all__ = [
    "CSQ",
    "DEEP_METHODS",
    "DPSH",
    "DSH",
    "BiHalf",
    "CIBHash",
    "DeepMethod",
    "GreedyHash",
    "HashNet",
    "NestedCodes",
    "NestedNeighbours",
    "OrthoHash",
]

DEEP_METHODS: dict[str, type[DeepMethod]] = {
    method.name: method
    for method in (
        *(NestedCodes, DPSH, HashNet, DSH, GreedyHash, CSQ, OrthoHash),
        *(NestedNeighbours, BiHalf, CIBHash),
    )
}
