"""The command ``export``."""

from __future__ import annotations

from typing import Annotated

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet, show
from seg_batch.core.errors import PlanError

LEGACY = "segbatch: warning: HDF5 is Keras' legacy format; use --to keras where a tool reads it"


def export(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="By name or path.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="savedmodel, tflite, onnx, openvino, keras or h5. 3-D networks: all of them, "
            "tflite in float32 and float16 only.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Folder for the file, its card and its report."),
    ] = None,
    quantize: Annotated[
        str,
        typer.Option(help="float32; tflite also float16, dynamic or int8; openvino also int8."),
    ] = "float32",
    int8: Annotated[bool, typer.Option("--int8", help="Short for --quantize int8.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(help="For int8: a patch dataset, or images. Its held-out part is scored."),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(help="Images or a patch dataset to compare on; default: a packaged sample."),
    ] = None,
    cards: Annotated[
        str,
        typer.Option(
            metavar="WORLDS",
            help="Cards of other worlds beside it: stac, bioimageio, monai; all that fit, or none.",
        ),
    ] = "all",
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle in the format of another runtime, with the cards that others read. What was written is
    run and compared with Keras on real patches; where it disagrees, nothing is kept."""
    from seg_batch.cli.display.bars import TrainBar
    from seg_batch.conversion.export import export as write
    from seg_batch.conversion.export import lines

    if to == "h5" and not quiet:
        typer.echo(LEGACY, err=True)
    with TrainBar(quiet or as_json) as bar:
        report = write(
            bundle,
            to,
            output,
            quantize=_precision(quantize, int8),
            calibrate=calibrate,
            check=check,
            cards=cards,
            overwrite=overwrite,
            callback=bar,
        )
    show(report, lines, as_json, quiet)


def _precision(quantize: str, int8: bool) -> str:
    if int8 and quantize not in ("float32", "int8"):
        raise PlanError(f"--int8 and --quantize {quantize} are two wishes: give one of them")
    return "int8" if int8 else quantize
