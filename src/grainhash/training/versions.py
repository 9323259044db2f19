"""Which versions of what a training ran with, for the provenance of the encoder it made."""

from __future__ import annotations

import platform
from importlib import metadata


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python, grainhash and the named distributions that are installed."""
    found = {"python": platform.python_version()}
    for name in ("grainhash", *distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
