"""The command line: it parses, calls one function of the package, prints, and sets the exit status.

0 complete; 1 unexpected fault; 2 bad input, usage or a refused plan; 3 partial result;
130 interrupted (resumable). Only the module of the asked command is imported, and commands import what they call
when they run.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from seg_batch.cli.display.standard_streams import open_standard_streams, write_error
from seg_batch.cli.options import Json, Quiet, show, spread
from seg_batch.core.errors import Exit, SegbatchError
from seg_batch.core.registry import Registry
from seg_batch.core.text import legible

# The place of each command or group of commands, in the order of --help.
COMMANDS = {
    "predict": "seg_batch.cli.predict:predict",
    "plan": "seg_batch.cli.predict:plan",
    "inspect": "seg_batch.cli.main:inspect",
    "verify": "seg_batch.cli.main:verify",
    "demo": "seg_batch.cli.main:demo",
    "patches": "seg_batch.cli.train:patches",
    "train": "seg_batch.cli.train:train",
    "evaluate": "seg_batch.cli.evaluate:evaluate",
    "export": "seg_batch.cli.export:export",
    "run": "seg_batch.cli.run:run",
    "watch": "seg_batch.cli.watch:watch",
    "status": "seg_batch.cli.status:status",
    "report": "seg_batch.cli.report:report",
    "docs": "seg_batch.cli.docs:docs",
    "models": "seg_batch.cli.models:app",
    "cluster": "seg_batch.cli.cluster:app",
}


class Commands(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts | {"commands": _Parsers(COMMANDS)})


class _Parsers(Registry[Any]):
    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, typer.Typer):
            self[name] = typer.main.get_command(value)
        elif not hasattr(value, "make_context"):
            alone = typer.Typer(rich_markup_mode=None, add_completion=False)
            alone.command()(spread(value))
            self[name] = typer.main.get_command(alone)
        return super().__getitem__(name)


app = typer.Typer(
    cls=Commands,
    name="segbatch",
    help="Segment scenes and volumes larger than memory: resumable, measured, geometry proven.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Input = Annotated[
    str, typer.Argument(metavar="INPUT", help="A file, a Zarr store, or a DICOM folder.")
]
SeriesChoice = Annotated[
    str | None, typer.Option("--series", metavar="N|UID", help="Which DICOM series of a folder.")
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="HOST", help="A host or bucket that may be read beside its own."
    ),
]
VrtAllowed = Annotated[
    bool, typer.Option("--allow-vrt", help="Read a VRT, once its sources were checked.")
]
VolumeIndex = Annotated[int | None, typer.Option("--volume", min=0, help="Which of a 4-D file.")]


def _version(value: bool) -> None:
    if value:
        from seg_batch.core.versions import package_version

        typer.echo(f"segbatch {package_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def inspect(
    path: Input,
    volume: VolumeIndex = None,
    series: SeriesChoice = None,
    allow: Allowed = None,
    allow_vrt: VrtAllowed = False,
    as_json: Json = False,
) -> None:
    """Show what a file is: geometry, channels, nodata, warnings. Of a folder of DICOM which series lie in it."""
    from seg_batch.cli.display.source_lines import source_facts, source_lines
    from seg_batch.config.image_options.scene import SceneOptions
    from seg_batch.core.registry.formats import FORMATS
    from seg_batch.io.sources.detect import detect

    if series is None and FORMATS[detect(path)].has_series:
        from seg_batch.cli.display.series_table import place_facts, place_lines

        if (place := place_facts(path)) is not None:
            show(place, place_lines, as_json)
            return
    scene = SceneOptions(allow=tuple(allow or ()), allow_vrt=allow_vrt)
    show(source_facts(path, volume, series, scene), source_lines, as_json)


def verify(
    product: Annotated[str, typer.Argument(metavar="PRODUCT")],
    deidentify: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="The table of codes by which its input is found."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Re-check a product against the report beside it."""
    from seg_batch.inference.verify import verify_product

    result = verify_product(Path(product), deidentify)
    show(result, itemgetter("lines"), as_json)
    raise typer.Exit(0 if result["ok"] else 3)


def demo(
    folder: Annotated[
        str, typer.Option("-o", "--output", help="Where to put the results.")
    ] = "demo",
    quiet: Quiet = False,
) -> None:
    """A land-cover map and a labelled MR volume from the packaged samples."""
    from seg_batch.cli.demo import run_demo
    from seg_batch.cli.display.bars import Bar

    for line in run_demo(Path(folder), lambda: Bar(quiet)):
        typer.echo(line)


def main() -> None:
    """Run the command and leave with its exit status."""
    open_standard_streams()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # looked for in all that is installed
    os.environ["PYTHONSAFEPATH"] = "1"  # so that no process imports from the current folder
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # raises KeyboardInterrupt
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        status = app(standalone_mode=False) or Exit.COMPLETE
        if status == Exit.STOPPED:  # Typer makes an exit of the interrupt
            raise KeyboardInterrupt
    except typer.Exit as ending:
        status = ending.exit_code
    except SegbatchError as error:
        print(f"segbatch: {legible(error.message)}", file=sys.stderr)
        status = error.status
    except (KeyboardInterrupt, typer.Abort):
        print("segbatch: interrupted; run the same command again to resume", file=sys.stderr)
        status = Exit.STOPPED
    except Exception as error:
        status = _fault(error)
    status = _delivered(int(status))
    # At once: state is on disk, and worker threads may still be inside a model call.
    os._exit(status)


def _delivered(status: int) -> int:
    """The status after the last lines are out. Who closes a pipe has read enough; a standard output that
    can't be written to for another reason is a fault, and said."""
    sys.stdout.flush()
    error = write_error(sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError):
        text = f"standard output can't be written ({error.strerror}): the work is done, its lines are lost"
        print(f"segbatch: {text}; free some space there", file=sys.stderr)
        status = status or Exit.FAULT
    sys.stderr.flush()
    return status


def _fault(error: Exception) -> int:
    """The status of a usage error of the parser, 2, or of a fault of ours, 1, its traceback kept."""
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):
        show()
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        text = f"{error.filename} is too long a name for the file system: shorten it"
        print(f"segbatch: {legible(text)}", file=sys.stderr)
        return Exit.REFUSED
    log = Path.home() / ".cache" / "segbatch" / "fault.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)))
        kept = f"; traceback in {log}"
    except OSError:
        kept = ""
    text = legible(f"{type(error).__name__}: {error}{kept}")
    print(f"segbatch: unexpected {text}", file=sys.stderr)
    return 1
