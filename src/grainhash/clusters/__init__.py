"""Groups of codes: by k-majority, or where they lie densely; their middles, names and a map of them."""

from grainhash.clusters.majority import Majority, k_majority

__all__ = ["Clustering", "Group", "Majority", "Named", "Place", "k_majority"]
