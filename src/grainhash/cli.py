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
    from grainhash.training.result import Trained
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

HALF_WHITENED = 0.5
"""ITQ's whitening where codes are for parts of pictures too, as of the shipped encoder."""


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


@app.command()
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
        str, typer.Option(help="Who asks and who is searched: own, cifar10-1, ...; see docs/evaluation.md.")
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
    hierarchy: Annotated[
        bool, typer.Option("--hierarchy", help="Labels are paths such as animal/dog.")
    ] = False,
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
    from rich.console import Console

    from grainhash import evaluation
    from grainhash.evaluation import arrays
    from grainhash.evaluation import report as evaluation_report
    from grainhash.report import write_html

    given = (codes, query_codes, labels, query_labels)
    if (pictures is None) == (codes is None) or any(given) != all(given):
        raise typer.BadParameter(
            "name pictures, or all of --codes, --query-codes, --labels and --query-labels",
            param_hint="PICTURES",
        )
    kind: Any = "hierarchy" if hierarchy else "auto"
    with _progress(quiet=as_json) as progress:
        if codes and query_codes and labels and query_labels:
            asked, stored = arrays.read_labels(query_labels, labels, kind=kind)
            vectors = (arrays.read_vectors(query_codes), arrays.read_vectors(codes))
            comparison = evaluation.evaluate_codes(
                *vectors, asked, stored, name=codes.name, at=at, progress=progress
            )
        elif pictures:
            from grainhash.encoder import Encoder
            from grainhash.labelled import read_labelled

            comparison = evaluation.evaluate(
                [(str(folder), Encoder.load(folder, runtime=runtime.value)) for folder in encoder or []]
                or [("shipped", Encoder.load(runtime=runtime.value))],
                read_labelled(pictures, kind=kind),
                evaluation.protocol(protocol),
                bits=None if bits is None else _lengths(bits),
                at=at,
                n_queries=queries,
                seed=seed,
                asymmetric=asymmetric,
                floats=floats,
                title=pictures.name,
                progress=progress,
            )
    if html is not None:
        write_html(html, evaluation_report.html_page(comparison))
    if plots is not None:
        evaluation.write_pngs(comparison.evaluations, plots)
    if as_json:
        typer.echo(json.dumps(evaluation_report.to_json(comparison), indent=2, ensure_ascii=False))
        return
    evaluation_report.terminal(comparison, Console())
    for name, path in (("page", html), ("plots", plots)):
        if path is not None:
            typer.echo(f"{name}: {path}")


@app.command()
def export(
    network: Annotated[
        str,
        typer.Argument(help="efficientnet-lite0 to -lite4, timm:NAME, torchvision:NAME or an .onnx file."),
    ],
    fit: Annotated[Path, typer.Option(help="A folder of pictures to fit the hash function on.")],
    out: Annotated[Path, typer.Option(help="The encoder folder to write.")],
    weights: Annotated[
        Path | None, typer.Option(help="A .pth or .safetensors file instead of the published weights.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="What fits the hash function, of the methods without labels.")
    ] = "itq",
    bits: Annotated[int, typer.Option(min=8, help="Length of a code.")] = 256,
    features: Annotated[
        str | None, typer.Option(help="What is hashed, such as pooled+map:rmac+colour; pooled by default.")
    ] = None,
    merge: Annotated[
        Path | None, typer.Option(help="An encoder folder whose network is put beside this one.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the network: a quarter of the size, and faster.")
    ] = False,
    pictures: Annotated[
        Path | None, typer.Option(help="With --int8: pictures to quantise by; those of --fit by default.")
    ] = None,
    whole_only: Annotated[
        bool, typer.Option("--whole-only", help="No regions. Faster, smaller, finds no parts.")
    ] = False,
    mean: Annotated[
        str | None, typer.Option(help="Of an .onnx file: what is taken from pixels 0..255; one or three.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="And what they are divided by then.")] = None,
    input_size: Annotated[int | None, typer.Option(min=1, help="Of an .onnx file that does not say.")] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC, of an .onnx file that does not say.")] = (
        None
    ),
    output: Annotated[str | None, typer.Option(help="Of an .onnx file with several outputs.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to use; all by default.")] = None,
) -> None:
    """Make an encoder of another network, or of an ONNX file.

    Any network of timm or torchvision, or a graph of any framework. The folder is for `grainhash index
    --encoder`, and needs no PyTorch there.
    """
    from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings
    from grainhash.folder import absolute, walk
    from grainhash.methods import method as method_named
    from grainhash.networks.encoders import OnnxInput, export_encoder

    if (mean is None) != (std is None):
        raise typer.BadParameter("name both --mean and --std", param_hint="--mean")
    for folder in (fit, pictures):
        if folder is not None and not folder.is_dir():
            raise typer.BadParameter(f"{folder}: no such folder", param_hint="--fit")
    settings: Any = {"whitening": HALF_WHITENED} if method == "itq" else {}
    with _progress(quiet=False) as progress:
        encoder = export_encoder(
            network,
            out,
            pictures=[file.path for file in walk(absolute(fit))],
            method=method_named(method)(bits, **settings),
            features=features,
            weights=weights,
            onnx_input=None
            if mean is None or std is None
            else OnnxInput(_three(mean), _three(std), input_size, layout, output),
            int8=int8,
            calibration=[file.path for file in walk(absolute(pictures))] if pictures else None,
            merge=merge,
            granules=WHOLE_ONLY if whole_only else GranuleSettings(),
            progress=progress,
            n_workers=workers,
        )
    typer.echo(
        f"{out}: {encoder.config.name}, {encoder.n_features} features to {encoder.n_bits} bits; "
        f"use it with: grainhash index FOLDER --encoder {out}"
    )


@app.command()
def train(
    pictures: Annotated[
        Path, typer.Argument(help="Labelled pictures: a folder of folders, a .csv or a .parquet file.")
    ],
    out: Annotated[Path, typer.Option(help="The encoder folder to write.")],
    method: Annotated[
        str, typer.Option(help="How to learn: nested, csq, hashnet, itq, ...; see docs/training.md.")
    ] = "nested",
    bits: Annotated[int, typer.Option(min=8, help="Length of a code.")] = 64,
    encoder: Annotated[
        Path | None, typer.Option(help="Whose network to learn on; the shipped one by default.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="What is hashed, such as pooled+map:rmac; the encoder's by default.")
    ] = None,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Learn from the features of mirror images, too.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where to keep features; the user's cache folder by default.")
    ] = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Train the network, too. Needs PyTorch, and hours.")
    ] = False,
    network: Annotated[
        str, typer.Option(help="efficientnet-lite0 to -lite4, timm:NAME or torchvision:NAME.")
    ] = "efficientnet-lite0",
    weights: Annotated[
        str | None, typer.Option(help="A .pth or .safetensors file, or random; the published by default.")
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Side of the pictures in pixels; the network's own by default.")
    ] = None,
    head: Annotated[str, typer.Option(help="linear, two-layer or conv.")] = "two-layer",
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures a step, of all processes together.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of the network.")] = 3e-4,
    head_lr: Annotated[float, typer.Option(help="Learning rate of the head.")] = 3e-3,
    freeze: Annotated[
        float, typer.Option(help="Share of the network's layers, from its input on, to leave as they are.")
    ] = 0.0,
    batch_norm: Annotated[str, typer.Option(help="train, or frozen to keep the statistics.")] = "train",
    average: Annotated[float, typer.Option(help="Keep a moving average of the weights, such as .999.")] = 0.0,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many epochs without gain; 0: never.")
    ] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise the trained network.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method: key=value; may be repeated.")
    ] = None,
    label_column: Annotated[str, typer.Option(help="Of a .csv or .parquet file.")] = "label",
    split_column: Annotated[str, typer.Option(help="Of a .csv or .parquet file, if it has one.")] = "split",
    split: Annotated[str, typer.Option(help="The part to learn from, where pictures name parts.")] = "train",
    hierarchy: Annotated[
        bool, typer.Option("--hierarchy", help="Labels are paths such as animal/dog.")
    ] = False,
    validation: Annotated[float, typer.Option(help="Share of the pictures to keep back to judge by.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")] = False,
    parallel: Annotated[
        str | None, typer.Option(help="Under torchrun: ddp, fsdp or pipeline; see docs/training.md.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write OUT/tensorboard besides OUT/train.csv.")
    ] = False,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between two rows of the log.")] = 50,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints, besides one an epoch.")
    ] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that load; one a core.")] = None,
    whole_only: Annotated[
        bool, typer.Option("--whole-only", help="No regions. Faster, smaller, finds no parts.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn codes from labelled pictures.

    Writes an encoder for `grainhash index --encoder`. Learns on the features of a frozen network, in
    seconds once they are computed; or end to end. Nothing is learned from a split named test or query.
    """
    from grainhash.encoder import Encoder
    from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings
    from grainhash.labelled import read_labelled

    if parallel not in (None, "ddp", "fsdp", "pipeline"):
        raise typer.BadParameter(f"{parallel!r}: choose ddp, fsdp or pipeline", param_hint="--parallel")
    if not end_to_end and (resume or parallel):
        raise typer.BadParameter("--resume and --parallel are for --end-to-end")
    labelled = read_labelled(
        pictures,
        label=label_column,
        split=split_column,
        kind="hierarchy" if hierarchy else "auto",
    )
    own_settings = _settings(settings or [])
    trained: Trained | None
    with _progress(quiet=as_json) as progress:
        if end_to_end:
            try:
                from grainhash.training.end_to_end import train_end_to_end
                from grainhash.training.loop import Running
                from grainhash.training.settings import Settings
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] != "torch":
                    raise
                from grainhash.errors import MissingExtra

                raise MissingExtra("torch", "train") from None
            trained = train_end_to_end(
                labelled,
                out,
                Settings(
                    network=network,
                    weights=weights,
                    input_size=input_size,
                    objective=method,
                    objective_settings=own_settings,
                    head=head,
                    n_bits=bits,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=lr,
                    head_learning_rate=head_lr,
                    freeze=freeze,
                    batch_norm=batch_norm,  # type: ignore[arg-type]  # checked there
                    average=average,
                    patience=patience,
                    precision=precision,  # type: ignore[arg-type]  # checked there
                    validation=validation,
                    seed=seed,
                ),
                running=Running(
                    mode=parallel,  # type: ignore[arg-type]  # checked above
                    resume=resume,
                    log_every=log_every,
                    checkpoint_every=checkpoint_every,
                    tensorboard=tensorboard,
                    int8=int8,
                    granules=WHOLE_ONLY if whole_only else GranuleSettings(),
                    n_threads=workers,
                    source=pictures.name,
                ),
                split=split,
                progress=progress,
                report=lambda line: None if as_json else typer.echo(line),
            )
        else:
            from grainhash.training.frozen import train_frozen

            base = Encoder.load(encoder)
            base = base.with_features(features) if features else base
            trained = train_frozen(
                labelled,
                out,
                base=base.with_granules(WHOLE_ONLY) if whole_only else base,
                method=method,
                n_bits=bits,
                settings=own_settings,
                mirrored=mirrored,
                split=split,
                validation=validation,
                seed=seed,
                cache=cache,
                source=pictures.name,
                progress=progress,
            )
    if trained is not None:
        _print_trained(trained, out, as_json)


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


def _lengths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write lengths such as 16,32,64", param_hint="--bits") from None


def _three(text: str) -> tuple[float, float, float]:
    """One number for all channels, or three."""
    try:
        numbers = [float(part) for part in text.split(",")]
        red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write one number or three, such as 124,116,104") from None
    return red, green, blue


def _settings(texts: list[str]) -> dict[str, Any]:
    """Settings of a method: numbers, true, false and null as JSON has them, anything else as text."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{text!r}: write key=value", param_hint="--set")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def _print_trained(trained: Trained, out: Path, as_json: bool) -> None:
    if as_json:
        facts = {
            "encoder": str(out),
            "fingerprint": trained.encoder.fingerprint,
            "bits": trained.encoder.n_bits,
            "pictures": trained.n_pictures,
            "validation_map": trained.validation_map,
            "skipped": dict(trained.skipped),
            "seconds": trained.seconds,
        }
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    score = "" if trained.validation_map is None else f", validation mAP {trained.validation_map:.4f}"
    typer.echo(
        f"{out}: {trained.encoder.n_bits} bits learned from {trained.n_pictures:,} "
        f"{_plural(trained.n_pictures)} in {trained.seconds:.1f} s{score}; "
        f"use it with: grainhash index FOLDER --encoder {out}"
    )
    _print_some("left out", [f"{name}: {reason}" for name, reason in trained.skipped.items()])


def _plural(n: int) -> str:
    return "picture" if n == 1 else "pictures"
