"""The commands ``cluster certs`` and ``cluster check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def cluster() -> None:
    """Certificates for a Dask cluster, and a look at its workers before the night."""


@app.command()
def certs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Made; it must not be in use.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address of a host, written into the certificates; repeatable."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Until they expire.")] = 365,
) -> None:
    """Make a private set of TLS certificates: scheduler, worker and client, each with its key.

    Its authority's key is not kept, so nobody can add to the set; connections without a certificate
    of it are refused.
    """
    from seg_batch.executors.cluster.certificates import make_certs

    made = Path(folder).absolute()
    make_certs(made, host or (), days)
    lines = [f"{made}: certificates for {days} days; keys are readable by you alone", ""]
    for role in ("scheduler", "worker"):
        own = f"--tls-ca-file {made}/ca.pem --tls-cert {made}/{role}.pem"
        address = " tls://HOST:8786" if role == "worker" else " --protocol tls"
        pages = (
            "127.0.0.1:8787" if role == "scheduler" else "127.0.0.1:0"
        )  # they ask for no certificate
        more = f"--tls-key {made}/{role}-key.pem --dashboard-address {pages}"
        lines.append(f"dask {role}{address} {own} {more}")
    lines.append(f"SEGBATCH_TLS={made} segbatch predict INPUT --cluster tls://HOST:8786")
    typer.echo("\n".join(lines))


@app.command()
def check(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="What --cluster takes: a word, address or file.")
    ],
    path: Annotated[
        list[str] | None,
        typer.Option(help="An input that the workers must see; repeatable."),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", help="A folder they must write to; repeatable."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, where the spec does not say.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Start or reach the cluster, ask every worker what it has, and end it again."""
    from seg_batch.executors.cluster.launch import open_pool
    from seg_batch.executors.cluster.preflight import check_workers
    from seg_batch.executors.cluster.requirements import WorkerRequirements

    needs = WorkerRequirements(inputs=tuple(path or ()), outputs=tuple(output or ()))
    with open_pool(spec, workers) as pool:
        _, answers = check_workers(pool, needs)
        told = {
            "cluster": pool.name,
            "dashboard": pool.dashboard,
            "advice": list(pool.advice),
            "workers": answers,
        }
    typer.echo(json.dumps(told) if as_json else "\n".join(_lines(told)))


def _lines(told: dict[str, Any]) -> list[str]:
    from seg_batch.core.units import show_bytes

    lines = [f"{told['cluster']}: {len(told['workers'])} worker(s), all fit"]
    for worker, found in told["workers"].items():
        lines.append(
            f"  {worker} on {found['host']}: {found['cores']} cores, {found['gpus']} GPUs, "
            f"{show_bytes(found['free_bytes'])} free, segbatch {found['versions']['segbatch']}, "
            f"python {found['versions']['python']}, dask {found['versions']['dask']}"
        )
    return [*lines, *(f"advice: {line}" for line in told["advice"])]
