"""The command line: one function a verb, each a thin layer over `grainhash.gallery.Gallery`.

Exit codes: 0 done, 1 the command could not do its job, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from grainhash.gallery import Gallery
    from grainhash.indexing import IndexReport
    from grainhash.types import Progress

app = typer.Typer(
    name="grainhash",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises of a command line that it cannot follow; it has no public name there."""

SHOWN_SKIPPED = 5
INTERRUPTED = 130


class Granularity(StrEnum):
    """The choices of `--by`."""

    whole = "whole"
    part = "part"
    both = "both"


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
RuntimeOption = Annotated[Runtime, typer.Option(help="What runs the network.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_GALLERY = Path("gallery")


def _print_version(wanted: bool) -> None:
    if wanted:
        from grainhash import __version__

        typer.echo(f"grainhash {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find pictures by what is in them - the whole or a part - with small binary codes."""


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures, with all folders below it.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    metadata: Annotated[
        Path | None, typer.Option(help="A CSV or JSONL with a column `path` and values to filter by.")
    ] = None,
    whole_only: Annotated[
        bool,
        typer.Option("--whole-only", help="For a new gallery: no regions. Faster, smaller, finds no parts."),
    ] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="For a new gallery: an encoder folder instead of the shipped one.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Then fit the hash function anew on the gallery's own pictures.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to use; all by default.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Create or update the gallery of a folder.

    New and changed pictures are encoded, vanished ones removed. Interrupted, it keeps what is done;
    run it again to go on.
    """
    from grainhash.errors import InputError
    from grainhash.metadata import read_table

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; nothing was changed")
    table = read_table(metadata) if metadata is not None else None
    with _opened(gallery, runtime, create_for=_new_encoder(encoder, whole_only)) as opened:
        _refuse_other_settings(opened, encoder, whole_only)
        with _progress(quiet=as_json) as progress:
            report = opened.index(folder, metadata=table, progress=progress, n_workers=workers)
        _print_report(report, opened, as_json)
        if refit:
            with _progress(quiet=as_json) as progress:
                opened.refit(progress=progress, n_workers=workers)


@app.command()
def add(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", help="key=value for all of them; may be repeated.")
    ] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Add single pictures, or take in their new content."""
    values = _pairs(meta or [])
    with _opened(gallery, runtime, create_for=lambda: None) as opened:
        with _progress(quiet=as_json) as progress:
            report = opened.add(pictures, meta=values, progress=progress)
        _print_report(report, opened, as_json)
        if report.skipped:
            raise typer.Exit(1)


@app.command()
def remove(
    what: Annotated[list[str], typer.Argument(help="Paths of pictures, ids, or folders for all below them.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
) -> None:
    """Remove pictures from the gallery.

    The files themselves are not touched. As long as they lie in an indexed folder, the next
    `grainhash index` takes them in again.
    """
    with _opened(gallery) as opened:
        n = opened.remove([int(item) if item.isdecimal() else item for item in what])
        typer.echo(f"removed {n} {_plural(n)}; {len(opened)} left in {opened.path}")


@app.command()
def search(
    image: Annotated[Path, typer.Argument(help="The picture to look for.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    region: Annotated[
        str | None,
        typer.Option(help="Look for this part of it: x0,y0,x1,y1 as fractions, such as 0.5,0,1,0.5."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=0, help="How many pictures, at most.")] = 10,
    by: Annotated[Granularity, typer.Option(help="Compare with whole pictures, their parts, or both.")] = (
        Granularity.both
    ),
    where: Annotated[
        str | None,
        typer.Option(help="Only pictures whose metadata match, such as: label = cats and width > 800"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of the hits, matched boxes drawn.")] = None,
    thumbnails: Annotated[bool | None, typer.Option(help="Draw small pictures in the terminal.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures most like a picture or a part of one.

    The answer says where in each of them the likeness is. Distances are in bits; 0 is the same code.
    """
    from time import perf_counter

    from rich.console import Console

    from grainhash import report
    from grainhash.types import WHOLE, Box

    box = WHOLE if region is None else Box.parse(region)
    with _opened(gallery, runtime) as opened:
        opened.refresh()
        started = perf_counter()
        encoder = opened.encoder
        code = encoder.encode_query(image, region=box)
        encoded = perf_counter()
        hits = opened.search_code(code, k=k, granularity=by.value, where=where, encoder=encoder.fingerprint)
        answer = report.Answer(
            query=str(image),
            query_box=None if region is None else box,
            hits=hits,
            n_bits=encoder.n_bits,
            granularity=by.value,
            n_pictures=len(opened),
            seconds={"encode": encoded - started, "search": perf_counter() - encoded},
            where=where,
        )
    if html is not None:
        report.write_html(html, report.html_page([answer], title=f"grainhash: {image.name}"))
    if as_json:
        typer.echo(json.dumps(report.to_json(answer), indent=2, ensure_ascii=False))
        return
    console = Console()
    report.terminal(answer, console, thumbnails=console.is_terminal if thumbnails is None else thumbnails)
    if html is not None:
        typer.echo(f"page: {html}")


@app.command()
def info(
    gallery: GalleryOption = DEFAULT_GALLERY,
    skipped: Annotated[bool, typer.Option("--skipped", help="List the files left out, and why.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the gallery holds."""
    from dataclasses import asdict

    with _opened(gallery) as opened:
        facts = opened.info()
    if as_json:
        typer.echo(json.dumps(asdict(facts), indent=2, ensure_ascii=False))
        return
    if skipped:
        for uri, reason in facts.skipped:
            typer.echo(f"{uri}: {reason}")
        if not facts.skipped:
            typer.echo("no file was left out")
        return
    rows = {
        "gallery": facts.path,
        "pictures": f"{facts.pictures:,} ({facts.copies:,} exact copies)",
        "regions": f"{facts.regions:,}",
        "codes": f"{facts.n_bits} bits, {facts.hash_method}",
        "encoder": f"{facts.encoder_name} ({facts.encoder[:12]})",
        "on disk": f"{facts.bytes_on_disk / 1e6:,.1f} MB",
        "metadata": ", ".join(f"{key} ({n:,})" for key, n in facts.meta_keys) or "none",
        "left out": f"{len(facts.skipped):,} files; see them with: grainhash info --skipped -g {gallery}"
        if facts.skipped
        else "no file",
    }
    for name, value in rows.items():
        typer.echo(f"{name:<10}{value}")


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    from grainhash.errors import BoxError, GrainhashError, WhereError

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be anything
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "grainhash"
        _fail(2, f"{error.format_message().rstrip('.')}; see: {command} --help")
    except (BoxError, WhereError) as error:
        _fail(2, str(error))
    except GrainhashError as error:
        _fail(1, str(error))
    except OSError as error:  # such as a folder that may not be entered
        _fail(1, f"{error.filename or 'the system'}: {error.strerror or error}")
    if code == INTERRUPTED:
        _fail(code, "interrupted; what was done is kept, run the same command to go on")
    sys.exit(code)


def _fail(code: int, message: str) -> NoReturn:
    line = " ".join(message.split("\n"))
    typer.echo(f"grainhash: {line}", err=True)
    sys.exit(code)


@contextmanager
def _opened(
    path: Path, runtime: Runtime = Runtime.auto, *, create_for: Callable[[], Any] | None = None
) -> Iterator[Gallery]:
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


def _new_encoder(folder: Path | None, whole_only: bool) -> Callable[[], Any]:
    def make() -> Any:
        from grainhash.encoder import Encoder
        from grainhash.encoder.granules import WHOLE_ONLY

        encoder = Encoder.load(folder)
        return encoder.with_granules(WHOLE_ONLY) if whole_only else encoder

    return make


def _refuse_other_settings(gallery: Gallery, encoder: Path | None, whole_only: bool) -> None:
    """A gallery keeps the network and granules it was made with; its hash function may be refitted."""
    if encoder is not None:
        from grainhash.encoder import Encoder
        from grainhash.errors import EncoderMismatch

        asked, own = Encoder.load(encoder).config, gallery.encoder.config
        if asked.network_sha256 != own.network_sha256 or asked.granules != own.granules:
            raise EncoderMismatch(
                f"{gallery.path} was made with another encoder than {encoder}; leave --encoder out to use "
                "the gallery's own, or name a new gallery with -g"
            )
    if whole_only and gallery.encoder.granules.grids:
        raise typer.BadParameter(f"{gallery.path} has regions already; --whole-only is for a new gallery")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
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


def _print_report(report: IndexReport, gallery: Gallery, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        typer.echo(json.dumps({"gallery": str(gallery.path), **asdict(report)}, indent=2, ensure_ascii=False))
        return
    counts = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "with new metadata": report.relabelled,
    }
    done = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to do"
    typer.echo(f"{gallery.path}: {done} in {report.seconds:.1f} s; {len(gallery):,} {_plural(len(gallery))}")
    _print_some("left out", [f"{uri}: {reason}" for uri, reason in report.skipped.items()])
    if report.skipped:
        typer.echo(f"  see them all with: grainhash info --skipped -g {gallery.path}")
    _print_some("in the metadata file, not in the folder", report.unmatched)


def _print_some(title: str, lines: list[str]) -> None:
    if not lines:
        return
    typer.echo(f"{len(lines):,} {title}:")
    for line in lines[:SHOWN_SKIPPED]:
        typer.echo(f"  {line}")
    if len(lines) > SHOWN_SKIPPED:
        typer.echo(f"  ... and {len(lines) - SHOWN_SKIPPED:,} more")


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r}: write key=value", param_hint="--meta")
        pairs[key] = value
    return pairs


def _plural(n: int) -> str:
    return "picture" if n == 1 else "pictures"
