"""The stamp and hash of a weights file, checked before anything reads it; without Keras."""

from pathlib import Path

from seg_batch.core.errors import BundleError
from seg_batch.core.files import sha256 as sha256_of


def stamp(path: Path) -> tuple[int, int]:
    """mtime (ns) and size, which change with the file: a retrained bundle is loaded again."""
    if not path.is_file():
        raise BundleError(f"there is no model file {path}; check the path of the bundle")
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def verified(path: Path, sha256: str | None) -> str:
    """The file's sha256, hex; raises BundleError unless it equals the expected `sha256`."""
    stamp(path)
    return require_same(path, sha256_of(path), sha256)


def require_same(path: Path, actual: str, sha256: str | None) -> str:
    """``actual``, the hash of the file; BundleError unless it equals the expected one."""
    if sha256 is not None and actual != sha256.lower():
        raise BundleError(
            f"{path} has sha256 {actual[:12]}..., its card says {sha256[:12]}...: the file "
            "is damaged or was exchanged; get the bundle again"
        )
    return actual
