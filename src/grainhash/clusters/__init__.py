"""Groups of codes: by k-majority, or where they lie densely; their middles, names and a map of them."""

from grainhash.clusters.majority import Majority, k_majority
from grainhash.clusters.names import Named
from grainhash.clusters.result import Clustering, ClusterMethod, Group, Member, Place
from grainhash.clusters.run import ClusterSettings, cluster

__all__ = [
    "ClusterMethod",
    "ClusterSettings",
    "Clustering",
    "Group",
    "Majority",
    "Member",
    "Named",
    "Place",
    "cluster",
    "k_majority",
]
