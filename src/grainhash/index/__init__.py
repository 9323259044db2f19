"""Exact Hamming search: `index.py` has the verbs, `segment.py` the search, `reference.py` what is right."""

from __future__ import annotations

from grainhash.index.answers import Neighbours, Ranges
from grainhash.index.asymmetric import AsymmetricQueries
from grainhash.index.index import Index
from grainhash.index.kernels import has_native

__all__ = ["AsymmetricQueries", "Index", "Neighbours", "Ranges", "has_native"]
