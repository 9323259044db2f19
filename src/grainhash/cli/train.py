"""`grainhash train`: learn codes from labelled pictures, on cached features or end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grainhash.cli.shared import (
    HierarchyOption,
    JsonOption,
    LabelColumnOption,
    SeedOption,
    SplitColumnOption,
    WholeOnlyOption,
    need,
    plural,
    print_json,
    print_some,
    progress_bar,
    settings,
)

if TYPE_CHECKING:
    from grainhash.training.result import Trained

OF_THE_FROZEN = frozenset({"encoder", "features", "fusion", "mirrored", "unlabelled", "cache"})
"""Options that mean something without `--end-to-end` alone."""

OF_END_TO_END = frozenset(
    {
        *("network", "weights", "input_size", "head", "epochs", "batch_size", "lr", "head_lr", "freeze"),
        *("batch_norm", "average", "patience", "precision", "int8", "resume", "parallel", "tensorboard"),
        *("log_every", "checkpoint_every", "workers"),
    }
)
"""Options that mean something with `--end-to-end` alone."""


def train(
    context: typer.Context,
    pictures: Annotated[
        Path, typer.Argument(help="Labelled pictures: a folder of folders, a .csv or a .parquet file.")
    ],
    out: Annotated[Path, typer.Option(help="The encoder folder to write.")],
    method: Annotated[
        str, typer.Option(help="How to learn: nested, csq, itq and more; see docs/training.md.")
    ] = "nested",
    bits: Annotated[int, typer.Option(min=8, help="Length of a code.")] = 64,
    own_settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method: key=value; may be repeated.")
    ] = None,
    label_column: LabelColumnOption = "label",
    split_column: SplitColumnOption = "split",
    split: Annotated[str, typer.Option(help="The part to learn from, where pictures name parts.")] = "train",
    hierarchy: HierarchyOption = False,
    validation: Annotated[float, typer.Option(help="Share of the pictures to keep back to judge by.")] = 0.1,
    seed: SeedOption = 0,
    whole_only: WholeOnlyOption = False,
    as_json: JsonOption = False,
    encoder: Annotated[
        Path | None, typer.Option(help="Whose network to learn on; the shipped one by default.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="What is hashed, such as pooled+map:rmac; the encoder's by default.")
    ] = None,
    fusion: Annotated[
        str, typer.Option(help="How deep methods weigh several --features: concat, weights or gates.")
    ] = "concat",
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Learn from the features of mirror images, too.")
    ] = False,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            help="More pictures to learn from, without labels: a folder, a .csv or a .parquet file."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where to keep features; the user's cache folder by default.")
    ] = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Train the network, too; the options below are for this.")
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
    epochs: Annotated[int, typer.Option(min=1, help="Rounds through all pictures.")] = 10,
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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that load pictures, or processes for a GPU; one a core."),
    ] = None,
) -> None:
    """Learn codes from labelled pictures.

    Writes an encoder for `grainhash index --encoder`. Learns on the features of a frozen network, in
    seconds once they are computed; or end to end, in hours. Nothing is learned from a split named test or
    query.
    """
    _refuse_options_without_meaning(context, end_to_end)
    if parallel not in (None, "ddp", "fsdp", "pipeline"):
        raise typer.BadParameter(f"{parallel!r}: choose ddp, fsdp or pipeline", param_hint="--parallel")
    of_method = settings(own_settings)
    from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings
    from grainhash.labelled import read_labelled

    labelled = read_labelled(
        pictures, label=label_column, split=split_column, kind="hierarchy" if hierarchy else "auto"
    )
    trained: Trained | None
    with progress_bar(quiet=as_json) as progress:
        if end_to_end:
            need("torch", "train")
            from grainhash.training.end_to_end import train_end_to_end
            from grainhash.training.loop import Running
            from grainhash.training.settings import Settings

            trained = train_end_to_end(
                labelled,
                out,
                Settings(
                    network=network,
                    weights=weights,
                    input_size=input_size,
                    objective=method,
                    objective_settings=of_method,
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
                    n_workers=workers,
                    source=pictures.name,
                ),
                split=split,
                progress=progress,
                report=lambda line: None if as_json else typer.echo(line),
            )
        else:
            from grainhash.encoder import Encoder
            from grainhash.training.frozen import train_frozen

            base = Encoder.load(encoder)
            base = base.with_features(features) if features else base
            trained = train_frozen(
                labelled,
                out,
                base=base.with_granules(WHOLE_ONLY) if whole_only else base,
                method=method,
                n_bits=bits,
                settings=of_method,
                fusion=fusion,
                mirrored=mirrored,
                unlabelled=None if unlabelled is None else read_labelled(unlabelled, label=None),
                split=split,
                validation=validation,
                seed=seed,
                cache=cache,
                source=pictures.name,
                progress=progress,
            )
    if trained is not None:
        _print_trained(trained, out, as_json)


def _refuse_options_without_meaning(context: typer.Context, end_to_end: bool) -> None:
    given = [
        parameter
        for parameter in context.command.params
        if (source := context.get_parameter_source(parameter.name or "")) and source.name == "COMMANDLINE"
    ]
    for parameter in given:
        if not end_to_end and parameter.name in OF_END_TO_END:
            raise typer.BadParameter("it is for --end-to-end", param_hint=parameter.opts[0])
        if end_to_end and parameter.name in OF_THE_FROZEN:
            raise typer.BadParameter("it is not for --end-to-end", param_hint=parameter.opts[0])


def _print_trained(trained: Trained, out: Path, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "encoder": str(out),
                "fingerprint": trained.encoder.fingerprint,
                "bits": trained.encoder.n_bits,
                "pictures": trained.n_pictures,
                "unlabelled": trained.n_unlabelled,
                "validation_map": trained.validation_map,
                "skipped": dict(trained.skipped),
                "seconds": trained.seconds,
            }
        )
        return
    more = f" and {trained.n_unlabelled:,} without labels" if trained.n_unlabelled else ""
    score = "" if trained.validation_map is None else f", validation mAP {trained.validation_map:.4f}"
    typer.echo(
        f"{out}: {trained.encoder.n_bits} bits learned from {trained.n_pictures:,} "
        f"{plural(trained.n_pictures)}{more} in {trained.seconds:.1f} s{score}; "
        f"use it with: grainhash index FOLDER --encoder {out}"
    )
    print_some("left out", [f"{name}: {reason}" for name, reason in trained.skipped.items()])
