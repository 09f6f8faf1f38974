"""Hosts on one machine: network namespaces with names and addresses of their own.

    scheduler   worker1   worker2   coordinator     each a namespace: lo, and eth0 with an address
        |          |         |           |          from 192.0.2.0/24 (set apart for examples)
        +----------+--switch-+-----------+          a namespace too, with a bridge

No interface, address or route is added outside these namespaces. Their names begin with ``PREFIX``
and the id of the process that made them, so what a killed run left behind is found and removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE_S

PREFIX = "segbatch-test-"
SWITCH = "switch"


def ip(*arguments: str) -> str:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    command = ["ip", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S
    )
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Hosts:
    """The hosts of one network, by name; their addresses in the same order."""

    names: tuple[str, ...]
    owner: int

    def space(self, host: str) -> str:
        return f"{PREFIX}{self.owner}-{host}"

    def address(self, host: str) -> str:
        return f"192.0.2.{self.names.index(host) + 1}"

    def on(self, host: str, *command: str) -> list[str]:
        """The command line that runs ``command`` on a host, which also tells its own name."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
        return [*_ip_netns_exec(self.space(host)), *named]

    def cut(self, *hosts: str) -> None:
        """Take the links of these hosts down: nothing is said to either end, packets are lost."""
        self._links(hosts, "down")

    def restore(self, *hosts: str) -> None:
        self._links(hosts, "up")

    def _links(self, hosts: tuple[str, ...], state: str) -> None:
        for host in hosts:
            ip("-n", self.space(SWITCH), "link", "set", f"to-{host}", state)


def _ip_netns_exec(space: str) -> list[str]:
    return ["env", f"PATH={os.environ['PATH']}:/usr/sbin", "ip", "netns", "exec", space]


@contextmanager
def network(*names: str) -> Iterator[Hosts]:
    """These hosts, joined by a switch; at the end every process on them is killed, and they go."""
    sweep()
    hosts = Hosts(names, os.getpid())
    try:
        _join(hosts)
        yield hosts
    finally:
        _remove(_spaces_of(hosts.owner))


def _join(hosts: Hosts) -> None:
    switch = hosts.space(SWITCH)
    ip("netns", "add", switch)
    ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    ip("-n", switch, "link", "set", "bridge", "up")
    for host in hosts.names:
        space, port = hosts.space(host), f"to-{host}"
        ip("netns", "add", space)
        ip("-n", switch, "link", "add", port, "type", "veth", "peer", "eth0", "netns", space)
        ip("-n", switch, "link", "set", port, "master", "bridge", "up")
        ip("-n", space, "address", "add", f"{hosts.address(host)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")


def sweep() -> None:
    """Remove what runs that no longer live have left behind."""
    owners = {int(space.removeprefix(PREFIX).split("-")[0]) for space in _spaces(PREFIX)}
    for owner in owners:
        if not Path(f"/proc/{owner}").exists():
            _remove(_spaces_of(owner))


def _spaces(prefix: str) -> list[str]:
    names = [line.split()[0] for line in ip("netns", "list").splitlines() if line]
    return [name for name in names if name.startswith(prefix)]


def _spaces_of(owner: int) -> list[str]:
    return _spaces(f"{PREFIX}{owner}-")


def _remove(spaces: list[str]) -> None:
    for space in spaces:
        while pids := ip("netns", "pids", space).split():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        ip("netns", "delete", space)
