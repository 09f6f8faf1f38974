"""Images of other hosts and of buckets: which format they are of, and how they are opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import shown
from seg_batch.core.registry.formats import FORMATS, Format, names_folder
from seg_batch.io.remote.as_path import RemotePath
from seg_batch.io.remote.places import place_of, require_scheme
from seg_batch.io.remote.reader import RemoteFile, open_remote
from seg_batch.io.remote.signing import signer_of


@dataclass(frozen=True)
class RemoteImage:
    """A remote image as far as its first bytes tell. ``path``: what its reader opens."""

    form: Format
    path: Any = field(repr=False)


def remote_image(url: str, scene: SceneOptions) -> RemoteImage:
    """The format of a remote image by its first bytes. InputError where it can't be read, or is of a format that is read
    from this machine alone."""
    signer = signer_of(scene.sign, scene.allow)
    if _names_store(url):
        from seg_batch.io.remote.zarr_store import RemoteFolder

        require_scheme(place_of(url), scene.allow)
        return RemoteImage(FORMATS["zarr"], RemoteFolder(url, scene.allow, signer))
    file = open_remote(url, scene.allow, signer)
    return RemoteImage(_format_of(file), RemotePath(file))


def _names_store(url: str) -> bool:
    """Whether an address is that of a folder of Zarr, or lies in one: there are no first bytes to tell."""
    parts = shown(url).rstrip("/").lower().split("/")[3:]
    return any(map(names_folder, parts))


def _format_of(file: RemoteFile) -> Format:
    form = next((form for form in FORMATS.values() if form.matches(file.head)), None)
    if form is not None and form.is_read_remotely:
        return form
    readable = [form.title for form in FORMATS.values() if form.is_read_remotely]
    named = (
        f"a file of {form.title}"
        if form is not None
        else "no file of these formats by its first bytes"
    )
    raise InputError(
        f"{file.path}: {named}, and from other hosts only {', '.join(readable)} are read: copy it and give the copy"
    )


def open_remote_image(
    url: str, scene: SceneOptions, *, volume: int | None, alpha: str, series: str | None
) -> Any:
    """The source of a remote image; InputError where it can't be read whole and unambiguously."""
    from seg_batch.io.sources.header_errors import header_errors

    image = remote_image(url, scene)
    form, options = image.form, dict[str, Any]()
    if series is not None:
        raise InputError(f"{image.path}: {form.title} holds no series; leave out --series")
    if form.marks_alpha:
        options["alpha"] = alpha
    if form.reads_scene:
        options["scene"] = scene
    with header_errors(str(image.path), form.title):
        return form.open(image.path, volume=volume, staged=None, **options)
