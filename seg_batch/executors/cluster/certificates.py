"""TLS for a cluster: a private set of certificates, and Dask's ``Security`` made of it.

Anyone who reaches a Dask scheduler can run code on every worker. So over a network each end proves
itself with a certificate of one private certificate authority (CA). The CA's key is used once and never
written, so that no further certificates can be made. Dask compares no host names: a certificate of the
CA is the proof. A client's certificate can't be used as a scheduler; it does let its owner add workers.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from seg_batch.core.errors import ClusterError, OutputError
from seg_batch.core.hardware import user_cache

ROLES = ("scheduler", "worker", "client")
DAYS = 365


def make_certs(folder: Path, hosts: Iterable[str] = (), days: int = DAYS) -> list[Path]:
    """A new set in ``folder``: ``ca.pem``, and per role ``ROLE.pem`` and ``ROLE-key.pem`` (0600).

    Returns its files. OutputError where ``folder`` is not empty: a set is never overwritten.
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
            mode = 0o600 if name.endswith("-key.pem") else 0o644
            handle = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        os.replace(made, folder)
    except OSError as error:
        raise OutputError(f"{folder} can't be written ({error.strerror}): name another") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return sorted(folder.iterdir())


def _set(hosts: list[str], days: int) -> dict[str, bytes]:
    """File name -> contents (PEM) of a whole set."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "segbatch private CA")])
    ca_key = ec.generate_private_key(ec.SECP256R1())
    now, pem = datetime.now(UTC), serialization.Encoding.PEM

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
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = builder.add_extension(issuer, False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(pem)

    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    may_sign = _constraints(True, ("key_cert_sign", "crl_sign"))
    files = {"ca.pem": signed(authority, ca_key, [*may_sign, (identifier, False)])}
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"segbatch {role}")])
        files[f"{role}.pem"] = signed(name, key, _extensions(role, hosts))
        files[f"{role}-key.pem"] = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return files


_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def _constraints(is_ca: bool, uses: tuple[str, ...]) -> list[tuple[Any, bool]]:
    """Whether a certificate is an authority's, and what its key may be used for."""
    from cryptography import x509

    usage = x509.KeyUsage(**{name: name in uses for name in _USES})
    return [
        (x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), True),
        (usage, True),
    ]


def _extensions(role: str, hosts: list[str]) -> list[tuple[Any, bool]]:
    """Workers and schedulers listen and connect; a client only connects."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Use

    purposes = [Use.CLIENT_AUTH] if role == "client" else [Use.SERVER_AUTH, Use.CLIENT_AUTH]
    return [
        *_constraints(False, ("digital_signature",)),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
    ]


def _general_name(host: str) -> Any:
    from cryptography import x509

    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    try:
        return x509.DNSName(host)
    except ValueError:
        raise ClusterError(f"{host[:80]!r} is no host name or address: mend --host") from None


def security_of(folder: Path) -> Any:
    """Dask's ``Security`` for a set in ``folder``: encrypted only, both ends authenticated.

    ClusterError for a set that is incomplete, readable by others or expired.
    """
    from distributed import Security

    require_sound(folder)
    files = {
        f"tls_{role}_{kind}": str(path)
        for role in ROLES
        for kind, ending in (("cert", ""), ("key", "-key"))
        if (path := folder / f"{role}{ending}.pem").exists()
    }
    return Security(tls_ca_file=str(folder / "ca.pem"), require_encryption=True, **files)


def require_sound(folder: Path) -> None:
    """ClusterError unless ``folder`` has what a client needs, and no key in it is readable by others."""
    from cryptography import x509

    for name in ("ca.pem", "client.pem", "client-key.pem"):
        if not (folder / name).is_file():
            raise ClusterError(
                f"{folder} has no {name}, so the cluster would turn us away: name a folder "
                "that `segbatch cluster certs` made"
            )
    for path in folder.glob("*-key.pem"):
        if path.stat().st_mode & 0o077:
            raise ClusterError(
                f"{path} can be read by others, who could then act as this cluster: "
                f"chmod 600 {path}, or make a new set if they may have done so"
            )
    try:
        certificate = x509.load_pem_x509_certificate((folder / "client.pem").read_bytes())
    except ValueError:
        raise ClusterError(f"{folder}/client.pem is no certificate: make a new set") from None
    if (end := certificate.not_valid_after_utc) < datetime.now(UTC):
        raise ClusterError(
            f"the certificates in {folder} expired on {end:%Y-%m-%d}: make "
            "a new set with `segbatch cluster certs`, for every host"
        )


def temporary_certs() -> Path:
    """A new set for one run, in the user's cache folder, which compute nodes are assumed to share.
    Sets left by killed runs of this host are removed."""
    cache = user_cache("tls")
    mine = f"{socket.gethostname()}_"  # no host's name has one
    cache.mkdir(parents=True, exist_ok=True)
    for left in cache.glob(f"{mine}*"):
        pid = left.name.removeprefix(mine).partition("_")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}_", dir=cache))
    make_certs(folder, [socket.gethostname()], days=30)
    return folder
