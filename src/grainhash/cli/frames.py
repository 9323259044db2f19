"""The command that makes pictures of videos: frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from grainhash.cli.shared import JsonOption, print_json, progress_bar


def frames(
    videos: Annotated[list[Path], typer.Argument(help="Video files, each with a name of its own.")],
    into: Annotated[Path, typer.Option(help="The folder to write to.")],
    every: Annotated[float, typer.Option(help="Seconds from one frame to the next, at least.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Write frames of videos as pictures to index.

    Each video gets a folder with a JPEG a frame, its name and time in the file's name. `frames.csv` beside
    them has path, video and seconds, for `grainhash index --metadata`. Nothing is overwritten.
    """
    from grainhash.report import printable
    from grainhash.video import TABLE, extract

    with progress_bar(quiet=as_json) as progress:
        done = extract(videos, into, every=every, progress=progress)
    if as_json:
        print_json([asdict(each) for each in done])
    else:
        for each in done:
            typer.echo(printable(f"{each.video}: {each.frames:,} frames, {each.new:,} new, in {each.folder}"))
        if any(each.frames for each in done):
            typer.echo(printable(f"use them with: grainhash index {into} --metadata {into / TABLE}"))
    bad = [each for each in done if each.problem is not None]
    for each in bad:
        typer.echo(printable(f"grainhash: {each.video}: {each.problem}"), err=True)
    if bad:
        raise typer.Exit(1)
