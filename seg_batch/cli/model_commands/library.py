"""The commands ``models add``, ``models remove``, ``models list`` and ``models index``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json, Overwrite, Quiet, show
from seg_batch.core.errors import InputError

MaxSize = Annotated[
    str,
    typer.Option(
        "--max-size", metavar="SIZE", help="Of an archive, and of what it unpacks to, like 8GiB."
    ),
]
Index = Annotated[
    str | None, typer.Option(metavar="URL|FILE", help="Look NAME up in the index of a group.")
]
IndexHash = Annotated[
    str | None, typer.Option(metavar="HEX", help="What the index has to have as SHA-256.")
]


def add(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|FOLDER|ARCHIVE|URL", help=".zip, .tar, .tar.gz; https or file."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it; else as its card does.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="What the archive has to have.")
    ] = None,
    index: Index = None,
    index_sha256: IndexHash = None,
    max_size: MaxSize = "2GiB",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add a bundle to those of the user. It is checked whole before it is there; code is never run."""
    from seg_batch.cli.display.bars import FetchBar
    from seg_batch.cli.display.library_lines import added_lines
    from seg_batch.library.add import Wish, add

    as_json = as_json or _json_of(context)
    wish = Wish(what, name, sha256, index, index_sha256, _bytes(max_size), overwrite)
    with FetchBar(quiet or as_json) as bar:
        facts = add(wish, bar)
    show(facts, added_lines, as_json, quiet)


def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a bundle that was added.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a bundle that was added; asks first."""
    from seg_batch.cli.display.library_lines import removed_lines
    from seg_batch.library.add import remove_bundle
    from seg_batch.library.users_folder import removable

    path = removable(name)
    if not yes:
        _require_consent(path)
    show(remove_bundle(name), removed_lines, as_json or _json_of(context))


def list_(
    context: typer.Context,
    index: Index = None,
    index_sha256: IndexHash = None,
    as_json: Json = False,
) -> None:
    """List the installed bundles, as models alone does, or those of an index."""
    as_json = as_json or _json_of(context)
    if index is None:
        if index_sha256 is not None:
            raise InputError("--index-sha256 is the hash of an index: name it with --index")
        from seg_batch.cli.display.model_lines import model_facts, model_lines

        show(model_facts(None), model_lines, as_json)
        return
    from seg_batch.cli.display.bars import FetchBar
    from seg_batch.cli.display.library_lines import index_lines
    from seg_batch.library.add import index_facts

    with FetchBar(as_json) as bar:
        facts = index_facts(index, index_sha256, bar)
    show(facts, index_lines, as_json)


def index(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Of bundles, or one.")],
    output: Annotated[
        str, typer.Option("-o", "--output", help="The index; archives go beside it.")
    ],
    name: Annotated[str, typer.Option(help="Of the group.")] = "",
    version: Annotated[str, typer.Option(help="Of these bundles, in any words.")] = "",
    max_size: MaxSize = "2GiB",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Pack the bundles of a folder, and write the index from which others add them."""
    from seg_batch.cli.display.bars import CutBar
    from seg_batch.cli.display.library_lines import published_lines
    from seg_batch.library.publish import Publication, write_index

    as_json = as_json or _json_of(context)
    wanted = Publication(name, version, _bytes(max_size), overwrite)
    with CutBar(quiet or as_json) as bar:
        facts = write_index(Path(folder), Path(output), wanted, bar)
    show(facts, published_lines, as_json, quiet)


def _require_consent(path: Path) -> None:
    if not sys.stdin.isatty():
        raise InputError(f"{path} would be removed for good: say so with --yes")
    from seg_batch.core.units import show_bytes
    from seg_batch.library.listing import folder_bytes

    what = f"the link {path}" if path.is_symlink() else f"{path} ({show_bytes(folder_bytes(path))})"
    if not typer.confirm(f"Remove {what} for good?", err=True):
        raise InputError("nothing was removed")


def _bytes(text: str) -> int:
    from seg_batch.core.units import parse_bytes

    try:
        return parse_bytes(text)
    except (ValueError, OverflowError):
        raise InputError(
            f"--max-size {text[:40]!r} is no size: write it like 500MB or 8GiB"
        ) from None


def _json_of(context: typer.Context) -> bool:
    """Whether ``--json`` stands before the command."""
    assert context.parent is not None
    return bool(context.parent.params["as_json"])


COMMANDS: dict[str, Any] = {"add": add, "remove": remove, "list": list_, "index": index}
