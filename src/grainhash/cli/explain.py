"""The command that says why a picture is a hit: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    id_or_path,
    n_parts,
    need_folders,
    opened_gallery,
    print_json,
    print_written,
)


def explain(
    image: Annotated[Path, typer.Argument(help="The picture that was looked for.")],
    hit: Annotated[str, typer.Argument(help="A picture of the gallery: its path, or its id.")],
    gallery: GalleryOption = DEFAULT_GALLERY,
    region: RegionOption = None,
    parts: PartsOption = "0",
    points: Annotated[
        Points | None,
        typer.Option(help="Match local points too, found by the network's feature map, ORB or SIFT."),
    ] = None,
    bits: BitsOption = None,
    png: Annotated[Path | None, typer.Option(help="Draw both pictures, with heat maps.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of the same.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Say why a picture is a hit, and where in both the likeness is.

    A heat map shows where the agreement of the two codes comes from: exactly, where the hash function is
    linear over a feature map, else by what the agreement loses while a place is hidden.
    """
    from grainhash import explain_report
    from grainhash.report import printable, write_file, write_html
    from grainhash.types import WHOLE, Box

    need_folders(png, html)
    box = WHOLE if region is None else Box.parse(region)
    with opened_gallery(gallery, runtime) as opened:
        explanation = opened.explain(
            image,
            id_or_path(hit),
            region=box,
            parts=n_parts(parts),
            points=None if points is None else points.value,
            bits=bits,
        )
    found = explanation.found
    assert found is not None  # a gallery was asked
    names = str(image), found.uri
    if png is not None:
        write_file(png, explain_report.png(explanation, names=names))
    if html is not None:
        write_html(html, explain_report.html_page(explanation, names=names))
    if as_json:
        print_json(explain_report.to_json(explanation, str(image)))
        return
    said = [
        ("query", str(image)),
        ("hit", f"{found.uri} (id {found.id})"),
        *explain_report.lines(explanation),
    ]
    if points is not None and found.match is None:
        said.append(("points", "too few match and lie alike"))
    for word, line in said:
        typer.echo(printable(f"{word:<11}{line}"))
    print_written(picture=png, page=html)
