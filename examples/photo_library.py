"""A photo library: its copies, its groups, and a search by a part of a photograph.

    python examples/photo_library.py [--photos FOLDER] [--verify] [--out photo-library]

Without a folder of your own: the photographs that scikit-image and scikit-learn ship, with three altered
copies of each, as people send them round: mirrored, brighter, small. Then it is known which are copies, and
said how many of them were found. Writes copies.html, groups.html and hits.html into OUT, a new folder; that
of the photographs is only read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import ask, new_folder
from photographs import copy_photographs
from PIL import Image, ImageEnhance, ImageOps

from grainhash import Box, Gallery
from grainhash.duplicates import Duplicates
from grainhash.duplicates_report import page
from grainhash.groups_report import clusters_page
from grainhash.report import html_page, write_html

MIDDLE = Box(0.25, 0.25, 0.75, 0.75)


def main() -> None:
    """Index, find copies, group, search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="a folder of your own; it is only read")
    parser.add_argument(
        "--verify", action="store_true", help="look at the photographs again, to find more copies"
    )
    parser.add_argument("--out", type=Path, default=Path("photo-library"))
    arguments = parser.parse_args()
    out = new_folder(arguments.out)
    photos = arguments.photos or make_library(out / "photos")

    with Gallery.open(out / "gallery", create=True) as gallery:
        report = gallery.index(photos)
        print(f"{len(gallery)} photographs indexed in {report.seconds:.1f} s, {len(report.skipped)} left out")

        found = gallery.duplicates(parts=True, verify=arguments.verify)
        print(f"{len(found.copies)} copies of {len(found.groups)} photographs, e.g.:")
        for group in found.groups[:3]:
            print(f"  keep {name(group.keep.uri)}, not {', '.join(name(copy.uri) for copy in group.copies)}")
        write_html(out / "copies.html", page(found))

        groups = gallery.cluster()
        print(f"{len(groups.groups)} groups, the largest:")
        for each in groups.groups[:3]:
            print(f"  {each.title}: {len(each.members)} like {name(each.members[0].uri)}")
        write_html(out / "groups.html", clusters_page(groups))

        asked = groups.groups[0].members[0].uri
        answer = ask(gallery, asked, region=MIDDLE, k=5)
        print(f"most like the middle of {name(asked)}:")
        for hit in answer.hits[1:]:
            print(f"  {name(hit.uri)}, score {hit.score:.2f}, at {hit.box}")
        write_html(out / "hits.html", html_page([answer], title="Photographs like a part of another"))

    if arguments.photos is None:
        right, wrong, there = judged(found, photos)
        print(f"of {there} copies made, {right} were found; {wrong} that are none")
    print(f"see file://{out}/copies.html, groups.html and hits.html")


def make_library(folder: Path) -> Path:
    """Photographs, and three altered copies of each beside them."""
    for photo in copy_photographs(folder):
        picture = Image.open(photo).convert("RGB")
        small = picture.resize((picture.width // 2, picture.height // 2))
        for change, copy, quality in (
            ("mirrored", ImageOps.mirror(picture), 90),
            ("brighter", ImageEnhance.Brightness(picture).enhance(1.25), 90),
            ("small", small, 60),
        ):
            copy.save(photo.with_name(f"{photo.stem}-{change}.jpg"), quality=quality)
    return folder


def judged(found: Duplicates, photos: Path) -> tuple[int, int, int]:
    """Copies found that are some, copies found that are none, and copies that were made."""
    made = list(photos.rglob("*-*.jpg"))
    of = [(group.keep.uri, copy.uri) for group in found.groups for copy in group.copies]
    right = sum(original(keep) == original(copy) for keep, copy in of)
    return right, len(of) - right, len(made)


def original(uri: str) -> str:
    """The name of the photograph that one is a copy of."""
    return Path(uri).stem.partition("-")[0]


def name(uri: str) -> str:
    """What a path ends in."""
    return Path(uri).name


if __name__ == "__main__":
    main()
