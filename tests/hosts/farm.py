"""Four hosts: a Dask scheduler and supervised workers on three, and one for the coordinator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.net import Hosts, network
from tests.hosts.runs import Running
from tests.support.patience import Gate, until

# A lost host is noticed after seconds instead of minutes: the tests wait for that. Dask takes no
# fewer than 11 for a connection.
NOTICED_S = 11
PATIENCE = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{NOTICED_S}s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s",
}
WORKERS = ("worker1", "worker2")
# As systemd would: a worker that has lost its scheduler ends, and is started again.
SUPERVISED = 'while :; do "$@"; sleep 1; done'
PORT = 8786


@dataclass(frozen=True)
class Farm:
    """The hosts, and a scheduler with workers on them."""

    hosts: Hosts
    address: str
    environment: dict[str, str]
    log: Path  # of the scheduler
    gate: Gate  # at which workers stand once each has done some blocks of the large scene

    def running(self, words: list[str], out: Path) -> Running:
        """A command started on the coordinator's host."""
        return Running(self.hosts.on("coordinator", *words), out, self.environment)

    def wait_for(self, line: str, times: int) -> None:
        """Until the scheduler has said this so often."""
        until(lambda: self.log.read_text().count(line) >= times, line)


@contextmanager
def farm(folder: Path, certs: Path | None = None) -> Iterator[Farm]:
    """Scheduler and workers, each on its host, with its logs in ``folder``; over TLS with the
    certificates in ``certs``."""
    protocol = "tls" if certs else "tcp"
    gate = Gate(folder, "*/large_labels.tif.work.zarr/done/*.*.json", after=6)
    everywhere = {**os.environ, **PATIENCE, **gate.environment}
    if certs:
        everywhere["SEGBATCH_TLS"] = str(certs)
    with network("scheduler", *WORKERS, "coordinator") as hosts:
        address = f"{protocol}://{hosts.address('scheduler')}:{PORT}"

        def start(host: str, *words: str) -> None:
            with (folder / f"{host}.log").open("ab") as log:
                subprocess.Popen(
                    hosts.on(host, *words),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=everywhere, cwd="/",
                )  # fmt: skip

        module = (sys.executable, "-m")
        own = ("--dashboard-address", "127.0.0.1:0", "--protocol", protocol, "--host")
        start(
            "scheduler", *module, "distributed.cli.dask_scheduler", *_keys(certs, "scheduler"),
            "--port", str(PORT), *own, hosts.address("scheduler"),
        )  # fmt: skip
        for host in WORKERS:
            start(
                host, "sh", "-c", SUPERVISED, "supervisor", *module, "distributed.cli.dask_worker",
                address, *_keys(certs, "worker"), "--nthreads", "2", "--no-nanny",
                *own, hosts.address(host),
            )  # fmt: skip
        started = Farm(hosts, address, everywhere, folder / "scheduler.log", gate)
        started.wait_for("Register worker", len(WORKERS))
        yield started


def _keys(certs: Path | None, role: str) -> list[str]:
    if certs is None:
        return []
    files = {"ca-file": "ca.pem", "cert": f"{role}.pem", "key": f"{role}-key.pem"}
    return [part for key, file in files.items() for part in (f"--tls-{key}", f"{certs}/{file}")]
