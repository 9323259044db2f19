"""The command that finds copies, and moves or deletes them where told: duplicates."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from grainhash.cli.groups import CsvOption, WhereOption
from grainhash.cli.shared import (
    DEFAULT_GALLERY,
    GalleryOption,
    JsonOption,
    need_folders,
    opened_gallery,
    plural,
    print_json,
    print_some,
    print_written,
    progress_bar,
)

if TYPE_CHECKING:
    from grainhash.duplicates import Acted, Duplicates, Leak, Leaks
    from grainhash.gallery import Gallery

SHOWN = 20
"""Groups that are listed without `--json`."""


def duplicates(
    gallery: GalleryOption = DEFAULT_GALLERY,
    radius: Annotated[
        int | None,
        typer.Option(min=0, help="Bits within which codes are of copies; 0 for files that are the same."),
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Find pictures that lie inside others too; they only are listed.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Look at the pictures again: also finds copies that were cut, turned or pasted."
        ),
    ] = False,
    where: WhereOption = None,
    against: Annotated[
        Path | None,
        typer.Option(help="List what this gallery, or folder of pictures, has in common with another."),
    ] = None,
    move: Annotated[
        Path | None, typer.Option(help="Move the copies that are not to be kept into this folder.")
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the copies that are not to be kept, for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    undo: Annotated[
        Path | None, typer.Option(help="Move what is in this folder back to where --move took it from.")
    ] = None,
    csv: CsvOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of the groups.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find copies of pictures, and say which to keep.

    Codes tell near copies, files the same ones, and with --verify the pictures themselves. Nothing is
    moved or deleted unless told.
    """
    chosen = _given(("--against", against), ("--undo", undo), ("--move", move), ("--delete", delete))
    if verify and radius is not None:
        raise typer.BadParameter("--verify tells copies at any distance: leave out --radius")
    if against is not None or undo is not None:
        chosen += _given(("--html", html), ("--parts", parts))
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)} do not go together")
    need_folders(csv, html)
    from grainhash import duplicates_report
    from grainhash.report import write_file, write_html

    with opened_gallery(gallery) as opened:
        if undo is not None:
            _undo(opened, undo)
            return
        if against is not None:
            _leaks(opened, against, radius, verify, where, csv, as_json)
            return
        with progress_bar(quiet=as_json) as progress:
            found = opened.duplicates(
                radius=radius, parts=parts, verify=verify, where=where, progress=progress
            )
        if csv is not None:
            write_file(csv, duplicates_report.copies_csv(found).encode("utf-8", "replace"))
        if html is not None:
            write_html(html, duplicates_report.page(found))
        if as_json:
            print_json(found.to_json())
        else:
            _print(found)
            print_written(table=csv, page=html)
        n = len(found.copies)
        if not n:
            return
        if move is not None:
            _print_acted(opened.move_copies(found, move), f"moved to {move}")
        if delete:
            if not yes:
                typer.confirm(f"delete {n:,} {plural(n)} for good?", abort=True, err=True)
            _print_acted(opened.delete_copies(found), "deleted")


def _given(*options: tuple[str, object]) -> list[str]:
    return [name for name, value in options if value]


def _print(found: Duplicates) -> None:
    from grainhash.report import printable

    n = len(found.copies)
    typer.echo(
        f"{n:,} copies of {len(found.groups):,} {plural(len(found.groups))} among {found.n_pictures:,}, "
        f"{_within(found)}, {found.seconds:.1f} s"
    )
    for group in found.groups[:SHOWN]:
        keep = group.keep
        typer.echo(f"keep         {keep.width} x {keep.height}  {printable(keep.uri)}")
        for copy in group.copies:
            how = _how(copy.distance, copy.is_exact)
            typer.echo(f"  {how:<9}  {copy.width} x {copy.height}  {printable(copy.uri)}")
    if len(found.groups) > SHOWN:
        typer.echo(f"... and {len(found.groups) - SHOWN:,} more; see them all with --json, --csv or --html")
    print_some(
        "inside others",
        [
            printable(f"{each.distance:>4} bits  {each.uri} inside {each.of_uri} at {each.box}")
            for each in found.inside
        ],
    )
    print_some(
        "share a part",
        [
            printable(f"{each.share:>4.0%} of {each.uri}, {each.other_share:.0%} of {each.other_uri}")
            for each in found.overlaps
        ],
    )
    _print_unread(found)


def _print_acted(acted: Acted, what: str) -> None:
    from grainhash.report import printable

    typer.echo(printable(f"{len(acted.done):,} {plural(len(acted.done))} {what}"), err=True)
    for copy, why in acted.left:
        typer.echo(printable(f"left: {copy.uri}: {why}"), err=True)
    if acted.left:
        raise typer.Exit(1)


def _undo(opened: Gallery, folder: Path) -> None:
    from grainhash.report import printable

    undone = opened.move_back(folder)
    n = len(undone.back)
    typer.echo(f"{n:,} {plural(n)} moved back and added again")
    for path, why in undone.left:
        typer.echo(printable(f"left: {path}: {why}"), err=True)
    if undone.left:
        raise typer.Exit(1)


def _leaks(
    opened: Gallery,
    against: Path,
    radius: int | None,
    verify: bool,
    where: str | None,
    csv: Path | None,
    as_json: bool,
) -> None:
    from grainhash import duplicates_report
    from grainhash.errors import InputError
    from grainhash.gallery import Gallery
    from grainhash.report import write_file

    if not against.is_dir():
        raise InputError(f"{against}: no such gallery or folder")
    is_gallery = (against / "gallery.sqlite").exists()
    with nullcontext("") if is_gallery else TemporaryDirectory() as folder:
        path = against if is_gallery else Path(folder) / "gallery"
        with Gallery.open(path, create=not is_gallery, encoder=opened.encoder) as other:
            if not is_gallery:
                with progress_bar(quiet=as_json) as progress:
                    other.index(against, progress=progress)
            with progress_bar(quiet=as_json) as progress:
                found = opened.leaks(other, radius=radius, verify=verify, where=where, progress=progress)
    if csv is not None:
        write_file(csv, duplicates_report.leaks_csv(found).encode("utf-8", "replace"))
    if as_json:
        print_json(found.to_json())
        return
    _print_leaks(found)
    print_written(table=csv)


def _print_leaks(found: Leaks) -> None:
    from grainhash.report import printable

    n = len({leak.id for leak in found.leaks})
    typer.echo(
        f"{n:,} of {found.n_pictures:,} {plural(found.n_pictures)} are among the {found.n_others:,} others, "
        f"{_within(found)}"
    )
    print_some(
        "pairs",
        [
            printable(f"{_how(leak.distance, leak.is_exact)}  {_shown(leak)}{leak.uri}  {leak.other_uri}")
            for leak in found.leaks
        ],
    )
    _print_unread(found)


def _shown(leak: Leak) -> str:
    return "" if leak.share is None else f"{leak.share:>4.0%} of "


def _within(found: Duplicates | Leaks) -> str:
    return "looked at" if found.radius is None else f"within {found.radius} of {found.n_bits} bits"


def _print_unread(found: Duplicates | Leaks) -> None:
    from grainhash.report import printable

    print_some("not looked at", [printable(f"{each.uri}: {each.why}") for each in found.unread])


def _how(distance: int, is_exact: bool) -> str:
    return "same file" if is_exact else f"{distance:>4} bits"
