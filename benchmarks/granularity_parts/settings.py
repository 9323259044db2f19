"""What is cut from every picture, and how a gallery of that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from granules import TILES

from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings, Grid

WHOLES, SMALL, DEFAULT, MORE = "whole pictures only", "3 proposals", "default", "4 tiles, 20 proposals"
VERIFIED = "default, 20 verified"
DRAWN = "boxes drawn by people, 20 at most"


@dataclass(frozen=True)
class Setting:
    """What is cut from every picture of some tasks, and the searches of that gallery, by name."""

    granules: GranuleSettings
    searches: Mapping[str, Mapping[str, Any]]
    tasks: tuple[str, ...] = ("scenes",)
    quick: bool = True
    given: bool = False
    """The boxes that people drew are given, as a detector's are."""
    further: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Searches for one task alone."""

    def searches_for(self, task: str) -> dict[str, Mapping[str, Any]]:
        """Every search of a task, by name."""
        return {**self.searches, **self.further.get(task, {})}


VERIFY = {VERIFIED: {"verify": 20}}

SETTINGS = (
    Setting(WHOLE_ONLY, {WHOLES: {}}, ("scenes", "objects", "copies")),
    Setting(TILES, {"13 tiles": {}}, quick=False),
    Setting(GranuleSettings((), 3), {SMALL: {}}, quick=False),
    Setting(GranuleSettings((), 4), {"4 proposals": {}}, quick=False),
    Setting(
        GranuleSettings(),
        {DEFAULT: {}},
        ("scenes", "objects", "copies", "classes"),
        further={
            "scenes": {"default, by Hamming distance": {"order": "hamming"}},
            "copies": VERIFY,
            "classes": {"default, by wholes": {"granularity": "whole"}},
        },
    ),
    Setting(GranuleSettings((Grid(2, 0.6),), 20), {MORE: {}}, ("objects",), quick=False),
    Setting(GranuleSettings((), 20), {DRAWN: {}}, ("objects",), quick=False, given=True),
)
