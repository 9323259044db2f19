"""The commands over all pictures of a gallery at once: cluster and classify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grainhash.cli.shared import (
    DEFAULT_GALLERY,
    GalleryOption,
    JsonOption,
    SeedOption,
    need,
    need_folders,
    opened_gallery,
    plural,
    print_json,
    print_written,
    progress_bar,
)

if TYPE_CHECKING:
    from grainhash.clusters import Clustering

WhereOption = Annotated[
    str | None,
    typer.Option(help="Only pictures whose metadata match, such as: label = cats and width > 800"),
]
StoreOption = Annotated[str | None, typer.Option(help="Keep the answer as metadata under this key.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="The key may be there already.")]
CsvOption = Annotated[Path | None, typer.Option(help="Write a table, a row a picture.")]

SHOWN_GROUPS = 40


class Method(StrEnum):
    """The choices of `--method`."""

    majority = "majority"
    density = "density"


def cluster(
    gallery: GalleryOption = DEFAULT_GALLERY,
    k: Annotated[
        str, typer.Option("-k", "--k", help="How many groups: a number, or auto for the best silhouette.")
    ] = "auto",
    method: Annotated[
        Method, typer.Option(help="majority: around centres; density: where codes lie densely.")
    ] = Method.majority,
    min_size: Annotated[int, typer.Option(min=2, help="Pictures of the smallest dense group.")] = 5,
    restarts: Annotated[int, typer.Option(min=1, help="Sets of first centres; the best one is kept.")] = 4,
    seed: SeedOption = 0,
    where: WhereOption = None,
    store: StoreOption = None,
    replace: ReplaceOption = False,
    csv: CsvOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of contact sheets and a map.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Group the pictures that look alike, by their codes.

    Groups are named by the metadata that tell them from the others, if any do. No picture is indexed again.
    """
    if k != "auto" and not k.isdecimal():
        raise typer.BadParameter(f"{k!r}: write auto, or a number", param_hint="--k")
    if html is not None or method is Method.density:
        need("sklearn", "groups")
    need_folders(csv, html)
    from grainhash import groups_report
    from grainhash.report import write_file, write_html

    with opened_gallery(gallery) as opened, progress_bar(quiet=as_json) as progress:
        found = opened.cluster(
            k=None if k == "auto" else int(k),
            method=method.value,
            min_size=min_size,
            seed=seed,
            restarts=restarts,
            with_map=html is not None,
            where=where,
            store=store,
            replace=replace,
            progress=progress,
        )
    if csv is not None:
        write_file(csv, groups_report.clusters_csv(found).encode("utf-8", "replace"))
    if html is not None:
        write_html(html, groups_report.clusters_page(found))
    if as_json:
        print_json(found.to_json())
        return
    _print_clusters(found, store)
    print_written(table=csv, page=html)


def _print_clusters(found: Clustering, store: str | None) -> None:
    from grainhash.report import printable

    how = "k-majority" if found.method == "majority" else "density"
    typer.echo(
        f"{len(found.groups):,} groups of {found.n_pictures:,} {plural(found.n_pictures)} by {how} in "
        f"{found.n_bits} bits, {found.seconds:.1f} s"
    )
    for note in found.notes:
        typer.echo(note)
    if found.tried:
        best = max(value for _, value in found.tried)
        typer.echo(f"silhouette {best:.3f}, the best of {len(found.tried)} numbers of groups")
    if found.groups:
        typer.echo(f"{'group':>5}  {'pictures':>8}  {'bits':>6}  {'medoid':<24}  name")
    for group in found.groups[:SHOWN_GROUPS]:
        named = group.named
        why = (
            ""
            if named is None
            else f"{named.value}  ({named.key}: {named.share:.0%}, {named.lift:.1f} times)"
        )
        medoid = printable(Path(group.members[0].uri).name)[:24]
        typer.echo(
            f"{group.number:>5}  {len(group.members):>8,}  {group.spread:>6.1f}  {medoid:<24}  {printable(why)}"
        )
    if len(found.groups) > SHOWN_GROUPS:
        typer.echo(f"... and {len(found.groups) - SHOWN_GROUPS:,} more; see them all with --json")
    if found.alone:
        typer.echo(f"{len(found.alone):,} {plural(len(found.alone))} in no group")
    if store is not None:
        typer.echo(f"kept as metadata: {store}")
