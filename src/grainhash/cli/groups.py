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
    print_some,
    print_written,
    progress_bar,
    whole_number,
)

if TYPE_CHECKING:
    from grainhash.classify import Classification, Evaluation
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


class Classifier(StrEnum):
    """The choices of `classify --method`."""

    vote = "vote"
    linear = "linear"


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
    if k != "auto" and whole_number(k) is None:
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
        why = "" if named is None else f"{named.value}  ({named.key}: {named.share:.0%}, x {named.lift:.1f})"
        medoid = printable(Path(group.members[0].uri).name)[:24]
        size = f"{len(group.members):,}"
        typer.echo(f"{group.number:>5}  {size:>8}  {group.spread:>6.1f}  {medoid:<24}  {printable(why)}")
    if len(found.groups) > SHOWN_GROUPS:
        typer.echo(f"... and {len(found.groups) - SHOWN_GROUPS:,} more; see them all with --json")
    if found.alone:
        typer.echo(f"{len(found.alone):,} {plural(len(found.alone))} in no group")
    if store is not None:
        typer.echo(f"kept as metadata: {store}")


def classify(
    gallery: GalleryOption = DEFAULT_GALLERY,
    label: Annotated[
        str, typer.Option(help="Metadata key, or column of --labels, that says what a picture shows.")
    ] = "label",
    labels: Annotated[
        Path | None, typer.Option(help="A CSV or JSONL with a column `path` and one of labels.")
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option("--unlabelled", help="A value that is no label, such as a folder; may be repeated."),
    ] = None,
    method: Annotated[
        Classifier, typer.Option(help="vote: of the nearest labelled pictures; linear: weights of bits.")
    ] = Classifier.vote,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of each class to judge by; 0: leave each one out.")
    ] = 0.0,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Less is none of these.")] = 0.0,
    radius: Annotated[
        int | None,
        typer.Option(min=0, help="Bits beyond which a picture is none of these; chosen by default."),
    ] = None,
    seed: SeedOption = 0,
    where: WhereOption = None,
    store: StoreOption = None,
    replace: ReplaceOption = False,
    csv: CsvOption = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page of contact sheets, and how good they are.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Label all pictures like the few that have a label.

    Each label comes with a confidence; a picture too far from all labelled ones is none of these. Judged on
    labelled pictures that were not learned from.
    """
    need_folders(csv, html)
    from grainhash import groups_report
    from grainhash.metadata import read_table
    from grainhash.report import write_file, write_html

    table = None if labels is None else read_table(labels)
    with opened_gallery(gallery) as opened:
        found = opened.classify(
            label=label,
            table=table,
            unlabelled=unlabelled or (),
            method=method.value,
            held_out=held_out,
            min_confidence=min_confidence,
            radius=radius,
            seed=seed,
            where=where,
            store=store,
            replace=replace,
        )
    if csv is not None:
        write_file(csv, groups_report.labels_csv(found).encode("utf-8", "replace"))
    if html is not None:
        write_html(html, groups_report.labels_page(found))
    if as_json:
        print_json(found.to_json())
        return
    _print_labels(found, store)
    print_written(table=csv, page=html)


def _print_labels(found: Classification, store: str | None) -> None:
    from collections import Counter

    from grainhash.report import printable

    n = len(found.predictions)
    settings = ", ".join(f"{name} {value:.3g}" for name, value in found.settings.items())
    typer.echo(
        f"{len(found.labels):,} classes of {found.n_labelled:,} labelled {plural(found.n_labelled)}; "
        f"{found.method}, {settings}, {found.seconds:.1f} s"
    )
    print_some("paths in the table, not in the gallery", found.unmatched)
    _print_evaluation(found.evaluation)
    counts = Counter(seen.label for seen in found.predictions)
    typer.echo(f"{n:,} {plural(n)} without label:")
    for label in found.labels:
        typer.echo(f"  {counts[label]:>8,}  {printable(label)}")
    typer.echo(
        f"  {counts[None]:>8,}  none of these: more than {found.radius} bits from all, or too doubtful"
    )
    if store is not None:
        typer.echo(f"kept as metadata: {store}, {store}_confidence")


def _print_evaluation(judged: Evaluation) -> None:
    from grainhash.groups_report import MOST_CONFUSED
    from grainhash.report import printable

    typer.echo(
        f"judged by {judged.n_judged:,} {plural(judged.n_judged)} {judged.how}: accuracy "
        f"{judged.accuracy:.3f}, expected calibration error {judged.calibration.error:.3f}; "
        f"{judged.accepted:.0%} accepted, of which {judged.accuracy_accepted:.3f} right"
    )
    if len(judged.classes) > SHOWN_GROUPS:
        typer.echo(f"{len(judged.classes):,} classes; see the table with --json")
        return
    width = max(5, *(len(printable(row.label)) for row in judged.classes))
    matrix = len(judged.classes) <= MOST_CONFUSED
    heads = "".join(f"{number:>6}" for number in range(1, len(judged.classes) + 1)) if matrix else ""
    typer.echo(
        f"{'':>3}  {'class':<{width}}  pictures  precision  recall  {heads and 'called'}{heads}".rstrip()
    )
    for number, (row, confused) in enumerate(zip(judged.classes, judged.confusion, strict=True), 1):
        cells = "      " + "".join(f"{count:>6}" for count in confused) if matrix else ""
        typer.echo(
            f"{number:>3}  {printable(row.label):<{width}}  {row.pictures:>8,}  {row.precision:>9.3f}  "
            f"{row.recall:>6.3f}  {cells}".rstrip()
        )
