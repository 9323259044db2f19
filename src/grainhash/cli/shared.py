"""What several commands take, show and print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from grainhash.gallery import Gallery
    from grainhash.types import Progress

SHOWN_OF_A_LIST = 5


class Runtime(StrEnum):
    """The choices of `--runtime`."""

    auto = "auto"
    openvino = "openvino"
    onnxruntime = "onnxruntime"


GalleryOption = Annotated[
    Path,
    typer.Option(
        "--gallery", "-g", envvar="GRAINHASH_GALLERY", help="The gallery's folder.", show_default=True
    ),
]
DEFAULT_GALLERY = Path("gallery")

RegionOption = Annotated[
    str | None,
    typer.Option(help="Look for this part of it: x0,y0,x1,y1 as fractions, such as 0.5,0,1,0.5."),
]
BitsOption = Annotated[
    int | None,
    typer.Option(min=8, help="Compare so many first bits of the codes alone, a multiple of 8."),
]

PartsOption = Annotated[
    str, typer.Option(help="Look for things in it too: `auto`, or how many at most; 0 for none.")
]

MAX_DIGITS = 18
"""Of a number on the command line: as many as 64 bits hold."""

PARTS_AUTO = 6
"""Parts of a query that `--parts auto` looks for, at most."""


class Points(StrEnum):
    """The choices of `--points`."""

    map = "map"
    orb = "orb"
    sift = "sift"


RuntimeOption = Annotated[Runtime, typer.Option(help="What runs the network.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Cores to use; all by default.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of all that is random.")]
HierarchyOption = Annotated[bool, typer.Option("--hierarchy", help="Labels are paths such as animal/dog.")]
LabelColumnOption = Annotated[str, typer.Option(help="Of a .csv or .parquet file.")]
SplitColumnOption = Annotated[str, typer.Option(help="Of a .csv or .parquet file, if it has one.")]
WholeOnlyOption = Annotated[
    bool, typer.Option("--whole-only", help="No regions: faster, smaller, finds no parts.")
]


def n_parts(text: str) -> int:
    """What `--parts` says."""
    from grainhash.types import MAX_PARTS

    if text == "auto":
        return PARTS_AUTO
    number = whole_number(text)
    if number is None or number > MAX_PARTS:
        raise typer.BadParameter(
            f"{text!r}: write auto, or a number from 0 to {MAX_PARTS}", param_hint="--parts"
        )
    return number


def whole_number(text: str) -> int | None:
    """What digits say, where that is a number that could mean anything; `None` for every other text."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def id_or_path(text: str) -> int | str:
    """How a picture of the gallery is named."""
    number = whole_number(text)
    return text if number is None else number


def need(package: str, extra: str) -> None:
    """Say that something is not installed before the work that needs it, not after.

    Raises:
        MissingExtra: it is not.
    """
    from importlib.util import find_spec

    from grainhash.errors import MissingExtra

    if find_spec(package) is None:
        raise MissingExtra(package, extra)


def need_folders(*files: Path | None) -> None:
    """Say that a file has no folder to lie in before the work that it shows, not after.

    Raises:
        InputError: the first that has none.
    """
    from grainhash.errors import InputError

    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}; create it first")


@contextmanager
def opened_gallery(
    path: Path, runtime: Runtime = Runtime.auto, *, create_for: Callable[[], Any] | None = None
) -> Iterator[Gallery]:
    """Open a gallery; where there is none and `create_for` is given, make one with the encoder it gives."""
    from sqlite3 import DatabaseError

    from grainhash.errors import GalleryError
    from grainhash.gallery import Gallery

    new = create_for is not None and not (path / "gallery.sqlite").exists()
    encoder = create_for() if new and create_for is not None else None
    try:
        with Gallery.open(path, create=new, encoder=encoder, runtime=runtime.value) as gallery:
            yield gallery
    except DatabaseError as error:
        raise GalleryError(
            f"{path}: the gallery cannot be read ({error}); if its disk is full make room, if its file is "
            "damaged move the folder away and index the pictures anew"
        ) from None


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr with rate, time left and the count of files left out."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
    )
    tasks: dict[str, Any] = {}
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal) as bar:

        def show(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(
                    progress.stage, total=progress.total, rate="", skipped=""
                )
            task = tasks[progress.stage]
            speed = bar.tasks[task].speed
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=f"{speed:,.0f}/s" if speed else "",
                skipped=f"{progress.skipped} left out" if progress.skipped else "",
            )

        yield show


def print_json(value: Any) -> None:
    """Print a result as `--json` asks for it."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_some(title: str, lines: Sequence[str]) -> None:
    """Print how many there are and the first few; nothing where there are none."""
    if not lines:
        return
    typer.echo(f"{len(lines):,} {title}:")
    for line in lines[:SHOWN_OF_A_LIST]:
        typer.echo(f"  {line}")
    if len(lines) > SHOWN_OF_A_LIST:
        typer.echo(f"  ... and {len(lines) - SHOWN_OF_A_LIST:,} more")


def print_written(**paths: Path | None) -> None:
    """Print where the files lie that were asked for and written."""
    for name, path in paths.items():
        if path is not None:
            typer.echo(f"{name}: {path}")


def plural(n: int) -> str:
    """`picture` or `pictures`."""
    return "picture" if n == 1 else "pictures"


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """`key=value` of an option that may be repeated."""
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r}: write key=value", param_hint=option)
        found[key] = value
    return found


def settings(texts: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Settings of a method: numbers, true, false and null as JSON has them, anything else as text."""
    return {key: _value(text) for key, text in pairs(texts, option).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def lengths(text: str | None, option: str = "--bits") -> list[int] | None:
    """Lengths of codes, such as `16,32,64`; `None` where the option is not given."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write lengths such as 16,32,64", param_hint=option) from None
