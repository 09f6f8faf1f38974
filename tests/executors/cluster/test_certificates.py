"""Certificates: a private set, and that nobody gets in without one of it. Real processes, real TLS."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from seg_batch.core.errors import ClusterError, OutputError
from seg_batch.executors.cluster.certificates import (
    ROLES,
    make_certs,
    require_sound,
    temporary_certs,
)
from seg_batch.executors.cluster.launch import open_pool
from tests.support.executors.clusters import scheduler, tls, worker
from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "certs"
    make_certs(folder, ["node1.example.org", "192.0.2.7"])
    return folder


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_set_is_what_dask_needs_and_no_more(certs: Path) -> None:
    names = {"ca.pem"} | {f"{role}{end}.pem" for role in ROLES for end in ("", "-key")}
    assert {path.name for path in certs.iterdir()} == names  # no key of the authority
    assert certs.stat().st_mode & 0o777 == 0o700
    for path in certs.glob("*-key.pem"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_each_role_may_do_what_it_must(certs: Path) -> None:
    authority = read(certs / "ca.pem")
    for role in ROLES:
        certificate = read(certs / f"{role}.pem")
        certificate.verify_directly_issued_by(authority)
        hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "node1.example.org" in hosts.get_values_for_type(x509.DNSName)
        assert "192.0.2.7" in map(str, hosts.get_values_for_type(x509.IPAddress))
        use = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
        assert (ExtendedKeyUsageOID.SERVER_AUTH in use) == (role != "client")
        assert ExtendedKeyUsageOID.CLIENT_AUTH in use
        context = ssl.create_default_context(cafile=str(certs / "ca.pem"))
        context.load_cert_chain(certs / f"{role}.pem", certs / f"{role}-key.pem")
        days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
        assert days == 365


def test_nothing_is_overwritten(certs: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in certs.iterdir()}
    with pytest.raises(OutputError, match="never overwritten"):
        make_certs(certs)
    assert {path: path.read_bytes() for path in certs.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="never overwritten"):
        make_certs(tmp_path / "file")
    with pytest.raises(ClusterError, match="no host name"):
        make_certs(tmp_path / "new", ["bücher.example"])
    (tmp_path / "empty").mkdir()
    make_certs(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_set_that_can_not_be_trusted_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    make_certs(folder)
    require_sound(folder)
    (folder / "worker-key.pem").chmod(0o644)
    with pytest.raises(ClusterError, match="read by others"):
        require_sound(folder)
    (folder / "worker-key.pem").chmod(0o600)
    (folder / "ca.pem").unlink()
    with pytest.raises(ClusterError, match=r"no ca\.pem"):
        require_sound(folder)
    make_certs(tmp_path / "old", days=-1)
    with pytest.raises(ClusterError, match="expired on"):
        require_sound(tmp_path / "old")


@pytest.mark.full
def test_sets_of_killed_runs_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = "from seg_batch.executors.cluster.certificates import temporary_certs; print(temporary_certs())"
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    left = Path(told.stdout.strip())
    assert left.is_dir()
    mine = temporary_certs()
    assert not left.exists()
    assert mine.is_dir()
    assert temporary_certs() != mine
    assert mine.is_dir()


@pytest.mark.full
def test_a_cluster_with_certificates_does_the_work(
    certs: Path, tmp_path: Path, scene: Path
) -> None:
    out = tmp_path / "out.tif"
    with scheduler(tmp_path, certs) as address, worker(address, *tls(certs, "worker")):
        assert address.startswith("tls://")
        arguments = (
            "predict",
            scene,
            "-o",
            out,
            "--model",
            "probe",
            "--cluster",
            address,
            "--json",
        )
        refused = segbatch(*arguments)
        assert refused.status == 2
        assert "segbatch cluster certs" in refused.err
        ran = segbatch(*arguments, SEGBATCH_TLS=str(certs))
        assert ran.status == 0, ran.err
        assert ran.json["executor"] == address


@pytest.mark.full
def test_strangers_are_turned_away(certs: Path, tmp_path: Path) -> None:
    """Clients and workers with no certificate, or one of another set."""
    from distributed import Client, Security

    foreign = tmp_path / "foreign"
    make_certs(foreign)
    with (
        scheduler(tmp_path, certs) as address,
        worker(address, *tls(certs, "worker")),
        open_pool({"cluster": address, "security": str(certs)}, 1) as pool,
    ):
        (only,) = pool.ask(os.getpid)
        refused("no Dask scheduler answers", {"cluster": address, "security": str(foreign)})
        refused("no Dask scheduler answers", {"cluster": address.replace("tls://", "tcp://")})
        bare = Security(tls_ca_file=str(certs / "ca.pem"), require_encryption=True)
        with pytest.raises((OSError, TypeError)):
            Client(address, security=bare, timeout=3, set_as_default=False)
        options = (*tls(foreign, "worker"), "--death-timeout", "4")
        with worker(address, *options, registers=False) as stranger:
            stranger.wait(PATIENCE_S)
        assert pool.workers_now() == (only,)
        assert pool.ask(os.getpid)  # and those inside work on


@pytest.mark.full
def test_no_scheduler_can_be_made_with_the_certificate_of_a_client(
    certs: Path, tmp_path: Path
) -> None:
    with scheduler(tmp_path, certs, "client") as address:
        refused("no Dask scheduler answers", {"cluster": address, "security": str(certs)})


def refused(told: str, cluster: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match=told), open_pool(cluster, 1):
        pass


@pytest.mark.full
def test_the_command_says_how_the_set_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made = segbatch("cluster", "certs", folder, "--host", "node1", "--days", "3")
    assert made.status == 0, made.err
    for role in ("scheduler", "worker"):
        assert f"--tls-key {folder}/{role}-key.pem" in made.out
    require_sound(folder)
    again = segbatch("cluster", "certs", folder)
    assert (again.status, again.err.count("\n")) == (2, 1)
    assert "never overwritten" in again.err
