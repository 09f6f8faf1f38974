"""The commands ``cluster certs`` and ``cluster check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from seg_batch.cli.options import Json, show
from seg_batch.core.files import require_local_output

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def cluster() -> None:
    """Certificates for a Dask cluster, and a check of its workers before a run."""


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

    The key of its authority is not kept, so the set can't be extended; connections without a
    certificate of it are refused.
    """
    from seg_batch.executors.cluster.certificates import make_certs

    require_local_output(folder)
    made = Path(folder).absolute()
    make_certs(made, host or (), days)
    typer.echo(f"{made}: certificates for {days} days; keys are readable by you alone\n")
    # Dashboards ask for no certificate, so they are for this host alone.
    for role, address, port in (
        ("scheduler", "--protocol tls", 8787),
        ("worker", "tls://HOST:8786", 0),
    ):
        typer.echo(
            f"dask {role} {address} --tls-ca-file {made}/ca.pem --tls-cert {made}/{role}.pem "
            f"--tls-key {made}/{role}-key.pem --dashboard-address 127.0.0.1:{port}"
        )
    typer.echo(f"SEGBATCH_TLS={made} segbatch predict INPUT --cluster tls://HOST:8786")


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
        facts = {
            "cluster": pool.name,
            "dashboard": pool.dashboard,
            "advice": list(pool.advice),
            "workers": answers,
        }
    show(facts, _lines, as_json)


def _lines(facts: dict[str, Any]) -> list[str]:
    from seg_batch.core.units import show_bytes

    lines = [f"{facts['cluster']}: {len(facts['workers'])} worker(s), all fit"]
    for name, worker in facts["workers"].items():
        versions = (f"{key} {worker['versions'][key]}" for key in ("segbatch", "python", "dask"))
        lines.append(
            f"  {name} on {worker['host']}: {worker['cores']} cores, {worker['gpus']} GPUs, "
            f"{show_bytes(worker['free_bytes'])} free, {', '.join(versions)}"
        )
    return [*lines, *(f"advice: {line}" for line in facts["advice"])]
