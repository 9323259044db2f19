"""Search pictures by what is in them - the whole, a region, or a detail - with small binary codes.

from grainhash import Gallery

with Gallery.open("gallery", create=True) as gallery:
    gallery.index("photos")
    for hit in gallery.search("corner.jpg", k=5):
        print(hit.distance, hit.uri, hit.box)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grainhash.encoder import Encoder
    from grainhash.errors import GrainhashError
    from grainhash.gallery import Gallery
    from grainhash.index import Index
    from grainhash.types import Box, Hit

__version__ = "0.1.0"
__all__ = ["Box", "Encoder", "Gallery", "GrainhashError", "Hit", "Index"]

_HOMES = {
    "Box": "grainhash.types",
    "Encoder": "grainhash.encoder",
    "Gallery": "grainhash.gallery",
    "GrainhashError": "grainhash.errors",
    "Hit": "grainhash.types",
    "Index": "grainhash.index",
}


def __getattr__(name: str) -> Any:
    # Loaded when first used: `grainhash --help` answers without NumPy or a network runtime.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'grainhash' has no attribute {name!r}")
