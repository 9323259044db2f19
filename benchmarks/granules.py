"""Granules that several benchmarks measure with, whatever the shipped encoder cuts."""

from grainhash.encoder.granules import GranuleSettings, Grid

TILES = GranuleSettings((Grid(2, 0.6), Grid(3, 0.45)), proposals=0)
"""13 overlapping tiles at two scales."""
