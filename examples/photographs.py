"""The photographs that scikit-image and scikit-learn ship, as files in a folder."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

NAMES = {
    "skimage/data": [
        "animals/chelsea.png",
        "astronomy/hubble_deep_field.jpg",
        "astronomy/moon.png",
        "astronomy/rocket.jpg",
        "medicine/ihc.png",
        "medicine/retina.jpg",
        "people/astronaut.png",
        "people/camera.png",
        "textures/brick.png",
        "textures/grass.png",
        "textures/gravel.png",
        "things/coffee.png",
        "things/coins.png",
        "things/color.png",
        "things/motorcycle_left.png",
        "things/page.png",
    ],
    "sklearn/datasets/images": ["places/china.jpg", "plants/flower.jpg"],
}
"""Where the packages keep each photograph, under the folder that says what it shows."""


def copy_photographs(folder: Path) -> list[Path]:
    """Copy every photograph to `folder`/kind/name, and return the copies in order of name."""
    copies = []
    for home, names in NAMES.items():
        package, *inner = home.split("/")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; run: pip install 'grainhash[demo]'")
        for name in names:
            source = Path(spec.origin).parent.joinpath(*inner, Path(name).name)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copies.append(Path(shutil.copyfile(source, target)))
    return sorted(copies)
