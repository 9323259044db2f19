"""Real photographs and the shipped encoder, shared by the tests."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# Networks as small as those of the tests train no faster on several threads, and many times slower where
# other processes want the same cores: the threads wait for one another in every layer.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test is right or wrong, however busy the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

sys.path.insert(0, str(ROOT / "examples"))

LONG = (
    "docs",
    "crash",
    "service",
    "cli",
    "gallery",
    "training",
    "page",
    "native_fuzz",
    "distributed",
    "duplicates",
)
"""Files whose tests take a minute or more together, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: the processes that share the tests end at about the same time."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real photographs, to be copied and never written to."""
    from photographs import copy_photographs

    folder = tmp_path_factory.mktemp("photographs")
    copy_photographs(folder)
    return folder


@pytest.fixture
def photos(photographs: Path, tmp_path: Path) -> Path:
    """A folder of a few real photographs of one's own to change."""
    folder = tmp_path / "photos"
    for name in ("animals/chelsea.png", "things/coffee.png", "astronomy/rocket.jpg", "places/china.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photographs / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def encoder():
    """The shipped encoder."""
    from grainhash import Encoder

    return Encoder.load()
