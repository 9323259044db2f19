"""`grainhash evaluate`: judge encoders by labelled pictures, or codes of any origin by their labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grainhash.cli.shared import (
    HierarchyOption,
    JsonOption,
    LabelColumnOption,
    Runtime,
    RuntimeOption,
    SplitColumnOption,
    lengths,
    need,
    need_folders,
    print_json,
    print_written,
    progress_bar,
)

if TYPE_CHECKING:
    from grainhash.evaluation import Comparison


def evaluate(
    pictures: Annotated[
        Path | None,
        typer.Argument(help="Labelled pictures: a folder of folders, a .csv or a .parquet file."),
    ] = None,
    encoder: Annotated[
        list[Path] | None,
        typer.Option(help="An encoder folder; repeat it to compare several. The shipped one by default."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="Who asks and who is searched: own, cifar10, cifar10-1, cifar10-2, cifar10-unsupervised, "
            "nuswide21, coco, imagenet100, mirflickr or cub."
        ),
    ] = "own",
    bits: Annotated[
        str | None, typer.Option(help="Lengths such as 16,32,64: prefixes of the codes, if they are nested.")
    ] = None,
    at: Annotated[
        int | None, typer.Option(min=1, help="R of mAP@R; by default that of the protocol.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the protocol's queries.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="Also order by the queries' real numbers.")
    ] = False,
    floats: Annotated[
        bool, typer.Option("--floats", help="Also judge the network's features by cosine.")
    ] = False,
    label_column: LabelColumnOption = "label",
    split_column: SplitColumnOption = "split",
    hierarchy: HierarchyOption = False,
    codes: Annotated[
        Path | None, typer.Option(help="Instead of pictures: a .npy of packed codes or vectors to search.")
    ] = None,
    query_codes: Annotated[Path | None, typer.Option(help="With --codes: those of the queries.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="With --codes: their labels, a .npy, .csv or a line each.")
    ] = None,
    query_labels: Annotated[Path | None, typer.Option(help="With --codes: labels of the queries.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Write the plots as PNG files into this folder.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Judge codes by labelled pictures: mAP, P@k, look-up, the bits.

    Every query is compared with the whole database, exactly. A query that is also in the database is an
    error.
    """
    given = (codes, query_codes, labels, query_labels)
    if (pictures is None) == (codes is None) or any(given) != all(given):
        raise typer.BadParameter(
            "name pictures, or all of --codes, --query-codes, --labels and --query-labels",
            param_hint="PICTURES",
        )
    of_pictures = {
        "--encoder": encoder,
        "--protocol": protocol != "own",
        "--bits": bits,
        "--queries": queries,
        "--asymmetric": asymmetric,
        "--floats": floats,
        "--label-column": label_column != "label",
        "--split-column": split_column != "split",
    }
    if codes is not None and any(of_pictures.values()):
        named = ", ".join(option for option, value in of_pictures.items() if value)
        raise typer.BadParameter(f"codes are judged as they are; leave out {named}", param_hint="--codes")
    if html is not None or plots is not None:
        need("matplotlib", "evaluate")
    need_folders(html)
    from rich.console import Console

    from grainhash import evaluation
    from grainhash.encoder import Encoder
    from grainhash.evaluation import arrays, report
    from grainhash.folder import absolute
    from grainhash.labelled import LabelKind, read_labelled
    from grainhash.report import write_html

    kind: LabelKind = "hierarchy" if hierarchy else "auto"
    comparison: Comparison
    with progress_bar(quiet=as_json) as progress:
        if codes and query_codes and labels and query_labels:
            asked, stored = arrays.read_labels(query_labels, labels, kind=kind)
            vectors = (arrays.read_vectors(query_codes), arrays.read_vectors(codes))
            comparison = evaluation.evaluate_codes(
                *vectors, asked, stored, name=codes.name, at=at, progress=progress
            )
        elif pictures:
            comparison = evaluation.evaluate(
                [(str(folder), Encoder.load(folder, runtime=runtime.value)) for folder in encoder or []]
                or [("shipped", Encoder.load(runtime=runtime.value))],
                read_labelled(pictures, label=label_column, split=split_column, kind=kind),
                evaluation.protocol(protocol),
                bits=lengths(bits),
                at=at,
                n_queries=queries,
                seed=seed,
                asymmetric=asymmetric,
                floats=floats,
                title=absolute(pictures).name,
                progress=progress,
            )
    if html is not None:
        write_html(html, report.html_page(comparison))
    if plots is not None:
        evaluation.write_pngs(comparison.evaluations, plots)
    if as_json:
        print_json(report.to_json(comparison))
        return
    report.terminal(comparison, Console())
    print_written(page=html, plots=plots)
