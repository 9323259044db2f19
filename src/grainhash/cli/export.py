"""`grainhash export`: make an encoder of another network, with a hash function fitted without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from grainhash.cli.shared import WholeOnlyOption, WorkersOption, progress_bar

HALF_WHITENED = 0.5
"""ITQ's whitening where codes are for parts of pictures too, as of the shipped encoder."""


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
    whole_only: WholeOnlyOption = False,
    mean: Annotated[
        str | None, typer.Option(help="Of an .onnx file: what is taken from pixels 0..255; one or three.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="And what they are divided by then.")] = None,
    input_size: Annotated[int | None, typer.Option(min=1, help="Of an .onnx file that does not say.")] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC, of an .onnx file that does not say.")] = (
        None
    ),
    output: Annotated[str | None, typer.Option(help="Of an .onnx file with several outputs.")] = None,
    workers: WorkersOption = None,
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
    for option, folder in (("--fit", fit), ("--pictures", pictures)):
        if folder is not None and not folder.is_dir():
            raise typer.BadParameter(f"{folder}: no such folder", param_hint=option)
    if pictures is not None and not int8:
        raise typer.BadParameter("it is for --int8", param_hint="--pictures")
    is_file = network.lower().endswith(".onnx")
    if is_file and weights is not None:
        raise typer.BadParameter("an .onnx file has weights of its own", param_hint="--weights")
    of_files = {"--mean": mean, "--input-size": input_size, "--layout": layout, "--output": output}
    for option, value in of_files.items():
        if value is not None and not is_file:
            raise typer.BadParameter("it is for an .onnx file", param_hint=option)
    settings: Any = {"whitening": HALF_WHITENED} if method == "itq" else {}
    with progress_bar(quiet=False) as progress:
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


def _three(text: str) -> tuple[float, float, float]:
    """One number for all channels, or three."""
    try:
        numbers = [float(part) for part in text.split(",")]
        red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write one number or three, such as 124,116,104") from None
    return red, green, blue
