"""The commands that keep and ask a gallery: index, add, remove, search, info."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grainhash.cli.shared import (
    DEFAULT_GALLERY,
    BitsOption,
    GalleryOption,
    JsonOption,
    PartsOption,
    Points,
    RegionOption,
    Runtime,
    RuntimeOption,
    WorkersOption,
    id_or_path,
    n_parts,
    opened_gallery,
    pairs,
    plural,
    print_json,
    print_some,
    print_written,
    progress_bar,
)

if TYPE_CHECKING:
    from grainhash.encoder import Encoder
    from grainhash.encoder.granules import GranuleSettings
    from grainhash.gallery import Gallery
    from grainhash.indexing import IndexReport
    from grainhash.types import Box


class Granularity(StrEnum):
    """The choices of `--by`."""

    whole = "whole"
    part = "part"
    both = "both"


class Order(StrEnum):
    """The choices of `--order`."""

    asymmetric = "asymmetric"
    hamming = "hamming"


def index(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures, with all folders below it.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    metadata: Annotated[
        Path | None, typer.Option(help="A CSV or JSONL with a column `path` and values to filter by.")
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Regions that a detector found: a table with path, x0, y0, x1, y1, or COCO's JSON."
        ),
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Find faces, and make each a region: one of the proposals.")
    ] = False,
    whole_only: Annotated[
        bool,
        typer.Option("--whole-only", help="For a new gallery: no regions. Faster, smaller, finds no parts."),
    ] = False,
    proposals: Annotated[
        int | None,
        typer.Option(min=0, max=1000, help="For a new gallery: regions that fit things, a picture, at most."),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="For a new gallery: an encoder folder instead of the shipped one.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Then fit the hash function anew on the gallery's own pictures.")
    ] = False,
    workers: WorkersOption = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Create or update the gallery of a folder.

    New and changed pictures are encoded, vanished ones removed. Interrupted, it keeps what is done;
    run it again to go on.
    """
    from grainhash.detections import read_detections
    from grainhash.errors import InputError
    from grainhash.faces import face_boxes, prepare
    from grainhash.folder import absolute
    from grainhash.metadata import read_table

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; nothing was changed")
    gives_boxes = faces or boxes is not None
    _refuse_boxes(gives_boxes and (whole_only or proposals == 0))
    table = read_table(metadata) if metadata is not None else None
    detections = read_detections(boxes) if boxes is not None else None
    detectors: list[Callable[[Path], Sequence[Box]]] = []
    if detections is not None:
        detectors.append(partial(detections.of, absolute(folder)))
    if faces:
        prepare()
        detectors.append(face_boxes)
    with opened_gallery(gallery, runtime, create_for=_new_encoder(encoder, whole_only, proposals)) as opened:
        _refuse_other_settings(opened, encoder, whole_only, proposals)
        _refuse_boxes(gives_boxes and not opened.encoder.granules.proposals)
        with progress_bar(quiet=as_json) as progress:
            report = opened.index(
                folder,
                metadata=table,
                boxes_of=lambda path: [box for detector in detectors for box in detector(path)],
                progress=progress,
                n_workers=workers,
            )
        unmatched = [] if detections is None else detections.unmatched()
        _print_report(report, opened, as_json, without_picture=unmatched)
        if refit:
            with progress_bar(quiet=as_json) as progress:
                opened.refit(progress=progress, n_workers=workers)


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
    values = pairs(meta, "--meta")
    with opened_gallery(gallery, runtime, create_for=lambda: None) as opened:
        with progress_bar(quiet=as_json) as progress:
            report = opened.add(pictures, meta=values, progress=progress)
        _print_report(report, opened, as_json)
        if report.skipped:
            raise typer.Exit(1)


def remove(
    what: Annotated[list[str], typer.Argument(help="Paths of pictures, ids, or folders for all below them.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
) -> None:
    """Remove pictures from the gallery.

    The files themselves are not touched. As long as they lie in an indexed folder, the next
    `grainhash index` takes them in again.
    """
    with opened_gallery(gallery) as opened:
        n = opened.remove([id_or_path(item) for item in what])
        typer.echo(f"removed {n} {plural(n)}; {len(opened)} left in {opened.path}")


def search(
    image: Annotated[Path, typer.Argument(help="The picture to look for.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    region: RegionOption = None,
    parts: PartsOption = "0",
    k: Annotated[int, typer.Option("-k", min=0, help="How many pictures, at most.")] = 10,
    by: Annotated[Granularity, typer.Option(help="Compare with whole pictures, their parts, or both.")] = (
        Granularity.both
    ),
    where: Annotated[
        str | None,
        typer.Option(help="Only pictures whose metadata match, such as: label = cats and width > 800"),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(
            help="asymmetric: by how sure the query is of the bits that differ; hamming: by their number."
        ),
    ] = Order.asymmetric,
    verify: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Match local points with those of so many of the best, read again."
        ),
    ] = 0,
    points: Annotated[
        Points, typer.Option(help="What they are found by: the network's feature map, ORB or SIFT.")
    ] = Points.map,
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, help="Only hits of this score: .9 expects .11 chance matches as good."),
    ] = 0.0,
    bits: BitsOption = None,
    explain_plan: Annotated[
        bool,
        typer.Option("--explain-plan", help="Say what each step of the search did, and how long it took."),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page of the hits, matched boxes drawn.")] = None,
    thumbnails: Annotated[bool | None, typer.Option(help="Draw small pictures in the terminal.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures most like a picture or a part of one.

    The answer says where in each of them the likeness is. Distances are in bits; 0 is the same code. A score
    says how likely a match is no chance: 1 is certain, .5 expects one match as good by chance.
    """
    from time import perf_counter

    from rich.console import Console

    from grainhash import report
    from grainhash.types import WHOLE, Box

    box = WHOLE if region is None else Box.parse(region)
    with opened_gallery(gallery, runtime) as opened:
        opened.refresh()
        started = perf_counter()
        encoder = opened.encoder
        question = encoder.ask(
            image, region=box, parts=n_parts(parts), points=points.value if verify else None
        )
        encoded = perf_counter()
        found = opened.find(
            question,
            k=k,
            granularity=by.value,
            order=order.value,
            verify=verify,
            min_score=min_score,
            where=where,
            bits=bits,
            encoder=encoder.fingerprint,
        )
        answer = report.Answer(
            query=str(image),
            query_box=None if region is None else box,
            hits=found.hits,
            n_bits=bits or encoder.n_bits,
            granularity=by.value,
            n_pictures=found.n_pictures,
            stages=found.stages,
            seconds={"encode": encoded - started, "search": perf_counter() - encoded},
            where=where,
        )
    if html is not None:
        report.write_html(html, report.html_page([answer], title=f"grainhash: {image.name}"))
    if as_json:
        print_json(report.to_json(answer))
        return
    console = Console()
    report.terminal(answer, console, thumbnails=console.is_terminal if thumbnails is None else thumbnails)
    if explain_plan:
        typer.echo(report.plan(answer))
    print_written(page=html)


def info(
    gallery: GalleryOption = DEFAULT_GALLERY,
    skipped: Annotated[bool, typer.Option("--skipped", help="List the files left out, and why.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the gallery holds."""
    from dataclasses import asdict

    with opened_gallery(gallery) as opened:
        facts = opened.info()
    if as_json:
        print_json(asdict(facts))
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


def _new_encoder(folder: Path | None, whole_only: bool, proposals: int | None) -> Callable[[], Any]:
    def make() -> Any:
        from grainhash.encoder import Encoder

        encoder = Encoder.load(folder)
        return encoder.with_granules(_granules(encoder, whole_only, proposals))

    return make


def _granules(encoder: Encoder, whole_only: bool, proposals: int | None) -> GranuleSettings:
    """An encoder's own settings, as far as the options say nothing else."""
    from grainhash.encoder.granules import WHOLE_ONLY

    if whole_only and proposals:
        raise typer.BadParameter("--whole-only cuts no regions; leave one of it and --proposals out")
    if whole_only:
        return WHOLE_ONLY
    return encoder.granules if proposals is None else replace(encoder.granules, proposals=proposals)


def _refuse_boxes(without_proposals: bool) -> None:
    """Boxes that are given take the place of proposals: where there are none, they would come to nothing."""
    if without_proposals:
        raise typer.BadParameter(
            "--boxes and --faces take the place of proposals, and this gallery has none; they need a gallery "
            "made without --whole-only and with --proposals 1 or more"
        )


def _refuse_other_settings(
    gallery: Gallery, encoder: Path | None, whole_only: bool, proposals: int | None
) -> None:
    """A gallery keeps the network and granules it was made with; its hash function may be refitted."""
    if encoder is not None:
        from grainhash.encoder import Encoder
        from grainhash.errors import EncoderMismatch

        asked, own = Encoder.load(encoder), gallery.encoder
        granules = _granules(asked, whole_only, proposals)
        if asked.config.network_sha256 != own.config.network_sha256 or granules != own.granules:
            raise EncoderMismatch(
                f"{gallery.path} was made with another encoder than {encoder}; leave --encoder out to use "
                "the gallery's own, or name a new gallery with -g"
            )
    if whole_only and gallery.encoder.granules.has_regions:
        raise typer.BadParameter(f"{gallery.path} has regions already; --whole-only is for a new gallery")
    if proposals is not None and gallery.encoder.granules.proposals != proposals:
        raise typer.BadParameter(
            f"{gallery.path} has at most {gallery.encoder.granules.proposals} proposals a picture; "
            "--proposals is for a new gallery"
        )


def _print_report(
    report: IndexReport, gallery: Gallery, as_json: bool, without_picture: Sequence[str] = ()
) -> None:
    """What an indexing did; `without_picture` are paths in a file of boxes that no new picture has."""
    from dataclasses import asdict

    if as_json:
        unmatched = {"unmatched_boxes": list(without_picture)}
        print_json({"gallery": str(gallery.path), **asdict(report), **unmatched})
        return
    counts = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "with new metadata": report.relabelled,
    }
    done = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to do"
    typer.echo(f"{gallery.path}: {done} in {report.seconds:.1f} s; {len(gallery):,} {plural(len(gallery))}")
    print_some("left out", [f"{uri}: {reason}" for uri, reason in report.skipped.items()])
    if report.skipped:
        typer.echo(f"  see them all with: grainhash info --skipped -g {gallery.path}")
    print_some("in the metadata file, not in the folder", report.unmatched)
    print_some("with boxes, not new in the folder (remove a picture to have it cut again)", without_picture)
