"""The command line: one function a verb, each a thin layer over the library.

Exit codes: 0 done, 1 the command could not do its job, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from grainhash.cli import (
    advise,
    duplicates,
    evaluate,
    explain,
    export,
    frames,
    galleries,
    groups,
    serve,
    train,
)

app = typer.Typer(
    name="grainhash",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises of a command line that it cannot follow; it has no public name there."""

INTERRUPTED = 130


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


for _verb in (
    galleries.index,
    galleries.add,
    galleries.remove,
    galleries.search,
    explain.explain,
    galleries.info,
    duplicates.duplicates,
    groups.cluster,
    groups.classify,
    frames.frames,
    serve.serve,
    evaluate.evaluate,
    train.train,
    advise.advise,
    export.export,
):
    app.command()(_verb)


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
