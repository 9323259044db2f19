"""Which length of code to choose, by evidence: quality, bytes and search time measured on one's own pictures.

from grainhash.advise import Goal, advise, collect
print(advise(collect("photos/"), goal=Goal(max_bytes=800)).recommendation.reason)
"""

from grainhash.advise.collection import Collection, collect
from grainhash.advise.goal import Goal, Recommendation
from grainhash.advise.lengths import Estimate, Length
from grainhash.advise.result import Advice
from grainhash.advise.run import LENGTHS, advise

__all__ = [
    "LENGTHS",
    "Advice",
    "Collection",
    "Estimate",
    "Goal",
    "Length",
    "Recommendation",
    "advise",
    "collect",
]
