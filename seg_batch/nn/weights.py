"""A weights file, checked before anything reads it. No Keras here."""

from pathlib import Path

from seg_batch.core.errors import BundleError
from seg_batch.core.files import sha256 as sha256_of


def stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does, so that a bundle trained anew is loaded anew."""
    if not path.is_file():
        raise BundleError(f"there is no model file {path}; check the path of the bundle")
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def verified(path: Path, sha256: str | None) -> str:
    """The file's sha256, hex; BundleError if it is not the one that was expected."""
    stamp(path)
    found = sha256_of(path)
    if sha256 is not None and found != sha256.lower():
        raise BundleError(
            f"{path} has sha256 {found[:12]}..., its card says {sha256[:12]}...: the file "
            "is damaged or was exchanged; get the bundle again"
        )
    return found
