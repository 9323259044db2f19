"""Copies of pictures: exact and near ones, pictures inside others, and what two sets share."""

from grainhash.duplicates.act import Acted, Undone, delete, move, undo
from grainhash.duplicates.pairs import Pairs, pairs_between, pairs_within
from grainhash.duplicates.result import Copy, CopyGroup, Duplicates, Inside, Leak, Leaks, Likeness, Unread
from grainhash.duplicates.run import Regions, default_radius, find_copies, find_inside, find_leaks
from grainhash.duplicates.verified import originals, verified_copies, verified_leaks
from grainhash.duplicates.verify import nearest

__all__ = [
    "Acted",
    "Copy",
    "CopyGroup",
    "Duplicates",
    "Inside",
    "Leak",
    "Leaks",
    "Likeness",
    "Pairs",
    "Regions",
    "Undone",
    "Unread",
    "default_radius",
    "delete",
    "find_copies",
    "find_inside",
    "find_leaks",
    "move",
    "nearest",
    "originals",
    "pairs_between",
    "pairs_within",
    "undo",
    "verified_copies",
    "verified_leaks",
]
