"""TLS for a cluster: a private set of certificates, and what Dask makes of it.

Whoever can reach a Dask scheduler can run code on every worker, so over a network each end proves
itself with a certificate of one private authority (CA). Its key is used once and never written: no
more certificates of it can be made, by nobody. Dask compares no host names; belonging is the proof.
With a client's certificate nobody can pose as a scheduler; it does let its owner add workers.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from seg_batch.core.errors import ClusterError, OutputError

ROLES = ("scheduler", "worker", "client")
DAYS = 365


def make_certs(folder: Path, hosts: Iterable[str] = (), days: int = DAYS) -> list[Path]:
    """A new set in ``folder``: ``ca.pem``, and per role ``ROLE.pem`` and ``ROLE-key.pem`` (0600).

    OutputError where ``folder`` holds anything already: a set is never overwritten.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise OutputError(
            f"{folder} exists and is not an empty folder, and keys are never overwritten: name "
            "another, or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # 0700
    try:
        for name, data in _set(sorted({"localhost", "127.0.0.1", *hosts}), days).items():
            _write(made / name, data)
        os.replace(made, folder)
    except OSError as error:
        raise OutputError(f"{folder} can't be written ({error.strerror}): name another") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return sorted(folder.iterdir())


def _write(path: Path, data: bytes) -> None:
    mode = 0o600 if path.stem.endswith("-key") else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _set(hosts: list[str], days: int) -> dict[str, bytes]:
    """File name -> contents (PEM) of a whole set."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from cryptography.x509.oid import NameOID

    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "segbatch private CA")])
    ca_key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)

    def signed(name: x509.Name, key: Any, extensions: list[tuple[Any, bool]]) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=authority,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),  # clocks of hosts differ
            not_valid_after=now + timedelta(days=days),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = builder.add_extension(identifier, False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    files = {"ca.pem": signed(authority, ca_key, _of_authority(ca_key))}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"segbatch {role}")])
        files[f"{role}.pem"] = signed(name, key, _of_role(role, hosts))
        files[f"{role}-key.pem"] = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    return files


def _of_authority(key: Any) -> list[tuple[Any, bool]]:
    from cryptography import x509

    usage = dict.fromkeys(_USES, False) | {"key_cert_sign": True, "crl_sign": True}
    return [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]


_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def _of_role(role: str, hosts: list[str]) -> list[tuple[Any, bool]]:
    """Workers and schedulers listen and connect; a client only connects."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Use

    purposes = [Use.CLIENT_AUTH] if role == "client" else [Use.SERVER_AUTH, Use.CLIENT_AUTH]
    usage = dict.fromkeys(_USES, False) | {"digital_signature": True}
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectAlternativeName([_named(host) for host in hosts]), False),
    ]


def _named(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise ClusterError(f"{host[:80]!r} is no host name or address: mend --host") from None


def security_of(folder: Path) -> Any:
    """Dask's ``Security`` for a set in ``folder``: nothing unencrypted, both ends proven.

    ClusterError, in one line, for a set that is incomplete, readable by others or expired.
    """
    from distributed import Security

    require_sound(folder)
    pairs = {
        f"tls_{role}_{kind}": str(path)
        for role in ROLES
        for kind, path in zip(("cert", "key"), _pair(folder, role), strict=True)
        if path.exists()
    }
    return Security(tls_ca_file=str(folder / "ca.pem"), require_encryption=True, **pairs)


def _pair(folder: Path, role: str) -> tuple[Path, Path]:
    return folder / f"{role}.pem", folder / f"{role}-key.pem"


def require_sound(folder: Path) -> None:
    """ClusterError unless ``folder`` has what a client needs, and no key in it lies open."""
    from cryptography import x509

    for path in (folder / "ca.pem", *_pair(folder, "client")):
        if not path.is_file():
            raise ClusterError(
                f"{folder} has no {path.name}, so the cluster would turn us away: name a folder "
                "that `segbatch cluster certs` made"
            )
    for path in folder.glob("*-key.pem"):
        if path.stat().st_mode & 0o077:
            raise ClusterError(
                f"{path} can be read by others, who could then act as this cluster: "
                f"chmod 600 {path}, or make a new set if they may have done so"
            )
    try:
        until = x509.load_pem_x509_certificate((folder / "client.pem").read_bytes())
    except ValueError:
        raise ClusterError(f"{folder}/client.pem is no certificate: make a new set") from None
    if until.not_valid_after_utc < datetime.now(UTC):
        raise ClusterError(
            f"the certificates in {folder} expired on {until.not_valid_after_utc:%Y-%m-%d}: make "
            "a new set with `segbatch cluster certs`, for every host"
        )


def passing_certs() -> Path:
    """A set for one run, in the user's own cache folder, which compute nodes are taken to share.
    Those that killed runs of this host left are removed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segbatch" / "tls"
    mine = f"{socket.gethostname()}_"  # no host's name has one
    cache.mkdir(parents=True, exist_ok=True)
    for left in cache.glob(f"{mine}*"):
        pid = left.name.removeprefix(mine).partition("_")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}_", dir=cache))
    make_certs(folder, [socket.gethostname()], days=30)
    return folder
