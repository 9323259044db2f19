"""`grainhash advise`: which length of code to choose for one's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grainhash.cli.shared import (
    HierarchyOption,
    JsonOption,
    Runtime,
    RuntimeOption,
    SeedOption,
    WholeOnlyOption,
    lengths,
    need,
    need_folders,
    print_json,
    print_written,
    progress_bar,
    settings,
)


def advise(
    pictures: Annotated[
        Path, typer.Argument(help="A gallery, a folder of pictures, a .csv or a .parquet file.")
    ],
    goal: Annotated[
        str, typer.Option(help="quality, or one kind: mAP, neighbours, neighbours-100, copies.")
    ] = "quality",
    tolerance: Annotated[float, typer.Option(help="Quality that a shorter code may cost.")] = 0.01,
    max_bytes: Annotated[
        float | None, typer.Option(help="Bytes that a picture may take on disk, all included.")
    ] = None,
    max_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a search may take in the median.")
    ] = None,
    n_pictures: Annotated[
        int | None,
        typer.Option("--pictures", min=1, help="Size of the gallery to come; as it is by default."),
    ] = None,
    bits: Annotated[str, typer.Option(help="Lengths to compare.")] = "16,32,64,128,256,512",
    method: Annotated[
        str, typer.Option(help="What is fitted for every length, unless the encoder is nested.")
    ] = "itq",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method: key=value; may be repeated.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Whose features; the gallery's own or the shipped one by default.")
    ] = None,
    whole_only: WholeOnlyOption = False,
    label: Annotated[
        str, typer.Option(help="Column, or metadata key of a gallery, that names the class.")
    ] = "label",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Leave labels aside, such as folders named by year.")
    ] = False,
    hierarchy: HierarchyOption = False,
    at: Annotated[int | None, typer.Option(min=1, help="R of mAP@R; the whole database by default.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pictures to measure quality on, at most.")] = 5000,
    seed: SeedOption = 0,
    plot: Annotated[Path | None, typer.Option(help="Write the plot as a PNG file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with table and plot.")] = None,
    runtime: RuntimeOption = Runtime.auto,
    as_json: JsonOption = False,
) -> None:
    """Choose the length of code by evidence.

    Measures quality, bytes and search time on your own pictures at every length, and recommends the
    shortest within the tolerance of the best that keeps the limits. Exits with 1 if none keeps them.
    """
    if plot is not None or html is not None:
        need("matplotlib", "evaluate")
    need_folders(plot, html)
    from rich.console import Console

    from grainhash.advise import Goal, collect, report
    from grainhash.advise import advise as measured
    from grainhash.advise.plot import check_name, write_plot
    from grainhash.encoder import Encoder
    from grainhash.encoder.granules import WHOLE_ONLY
    from grainhash.report import write_html

    if plot is not None:
        check_name(plot)
    aim = Goal(goal, tolerance, max_bytes, max_ms)
    with progress_bar(quiet=as_json) as progress:
        found = collect(
            pictures,
            sample=sample,
            seed=seed,
            label=label,
            unlabelled=unlabelled,
            kind="hierarchy" if hierarchy else "auto",
            runtime=runtime.value,
        )
        own = found.encoder if encoder is None else None
        chosen = own or Encoder.load(encoder, runtime=runtime.value)
        advice = measured(
            found,
            goal=aim,
            encoder=chosen.with_granules(WHOLE_ONLY) if whole_only else chosen,
            method=method,
            settings=settings(set_),
            bits=lengths(bits) or (),
            n_pictures=n_pictures,
            at=at,
            seed=seed,
            progress=progress,
        )
    if plot is not None:
        write_plot(advice, plot)
    if html is not None:
        write_html(html, report.html_page(advice))
    if as_json:
        print_json(advice.to_json())
    else:
        report.terminal(advice, Console())
        print_written(plot=plot, page=html)
    if advice.recommendation.n_bits is None:
        raise typer.Exit(1)
