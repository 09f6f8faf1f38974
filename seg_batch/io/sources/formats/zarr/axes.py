"""The array of a Zarr store that holds the image, and the roles of its axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape

_NAMES = {
    "z": {"z", "depth", "slice", "plane"},
    "y": {"y", "lat", "latitude", "row", "rows", "northing", "height"},
    "x": {"x", "lon", "longitude", "col", "cols", "column", "columns", "easting", "width"},
    "c": {"c", "channel", "channels", "band", "bands"},
    "t": {"t", "time"},
}
_FIVE_AXES = ("0.1", "0.2")  # versions of OME-Zarr whose images have all five, in this order
_HOW = (
    "name its axes: dimension_names (Zarr v3) or the attribute _ARRAY_DIMENSIONS (v2), "
    'for example ["c", "y", "x"] or ["z", "y", "x"]'
)


@dataclass(frozen=True)
class ZarrAxes:
    """The role of each axis of an array: ``z``, ``y``, ``x``, ``c``, ``t`` or ``-`` (length 1)."""

    roles: tuple[str, ...]
    names: tuple[str, ...]
    shape: Shape

    @property
    def spatial(self) -> tuple[str, ...]:
        return tuple(role for role in "zyx" if role in self.roles)

    @property
    def extent(self) -> Shape:
        return tuple(self.length(role) for role in self.spatial)

    def length(self, role: str) -> int:
        return self.shape[self.roles.index(role)] if role in self.roles else 1

    def name(self, role: str) -> str:
        return self.names[self.roles.index(role)] if role in self.roles else role


@dataclass(frozen=True)
class ZarrImage:
    """An array to read, the group around it (None if it stands alone), and its axes.

    ``ome``: the multiscales entry it belongs to, or an empty dict. ``folder``: of the array.
    """

    array: Any
    group: Any
    axes: ZarrAxes
    ome: dict[str, Any]
    folder: Path

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group, overridden by those of the array."""
        around = {} if self.group is None else dict(self.group.attrs)
        return {**around, **dict(self.array.attrs)}


def find_array(path: Path, node: Any, parent: Any) -> ZarrImage:
    """Choose the array: the node itself, or of a group our ``labels``, the full resolution of an
    OME image, or the only array that fits. ``InputError`` otherwise."""
    if not hasattr(node, "members"):
        return ZarrImage(node, parent, name_axes(path, node), {}, path)
    scales = multiscales(node)
    if not scales and (images := images_below(node)):
        return _of_collection(path, node, images)
    if "segbatch" in node.attrs and "labels" in node:
        name, ome = "labels", scales
    elif scales:
        name, ome = str(scales["datasets"][0]["path"]), scales
    else:
        name, ome = _only(path, node), {}
    if name not in node or hasattr(node[name], "members"):
        raise InputError(f"{path}: its metadata names an array {name}, which is not there")
    array = node[name]
    return ZarrImage(array, node, name_axes(path, array, _ome_names(ome)), ome, path / name)


def multiscales(group: Any) -> dict[str, Any]:
    """The first OME-NGFF multiscales entry of a group, or an empty dict."""
    entries = all_multiscales(group)
    entry = entries[0] if entries else {}
    return entry if isinstance(entry, dict) and entry.get("datasets") else {}


def all_multiscales(group: Any) -> list[Any]:
    """All multiscales entries of a group, each an image of its own."""
    ome = group.attrs.get("ome")
    entries = (ome if isinstance(ome, dict) else group.attrs).get("multiscales")
    return entries if isinstance(entries, list) else []


def _ome_names(ome: dict[str, Any]) -> list[str]:
    """The names of the axes of an OME image: of 0.4 and later, of 0.3 (text), of 0.1 and 0.2 (fixed)."""
    if ome and "axes" not in ome and ome.get("version") in _FIVE_AXES:
        return ["t", "c", "z", "y", "x"]
    return [str(a["name"] if isinstance(a, dict) else a) for a in ome.get("axes", [])]


def images_below(group: Any) -> list[str]:
    """The paths of the images of an OME collection: of the series that bioformats2raw writes, of a plate or
    of a well; none where the group is no collection."""
    ome = group.attrs.get("ome")
    attributes = ome if isinstance(ome, dict) else dict(group.attrs)
    if well := attributes.get("well"):
        return [str(image["path"]) for image in well["images"]]
    if plate := attributes.get("plate"):
        return [f"{well['path']}/0" for well in plate["wells"]]
    if "bioformats2raw.layout" not in attributes:
        return []
    named = dict(group["OME"].attrs) if "OME" in group else {}
    inner = named.get("ome")
    series = (inner if isinstance(inner, dict) else named).get("series")
    found = [str(name) for name in series] if isinstance(series, list) else []
    return found or sorted((name for name in group.group_keys() if name.isdecimal()), key=int)


def _of_collection(path: Path, group: Any, images: list[str]) -> ZarrImage:
    """The one image of a collection; ``InputError`` lists several."""
    if len(images) > 1:
        given = ", ".join(str(path / name) for name in images[:8]) + ", ..." * (len(images) > 8)
        raise InputError(
            f"{path}: an OME-Zarr collection of {len(images)} images; give one of them: {given}"
        )
    name = images[0]
    if name not in group or not hasattr(group[name], "members"):
        raise InputError(f"{path}: its OME metadata names an image {name}, which is not there")
    return find_array(path / name, group[name], group)


def _only(path: Path, group: Any) -> str:
    names = [name for name, _ in fitting(path, group)]
    if len(names) == 1:
        return names[0]
    if names:
        raise InputError(
            f"{path}: holds {len(names)} images ({', '.join(names[:8])}) that are not on one grid; "
            f"give the path of one, like {path / names[0]}"
        )
    raise InputError(f"{path}: a Zarr group without an array that could be an image; {_HOW}")


def fitting(path: Path, group: Any) -> list[tuple[str, ZarrAxes]]:
    """The names and axes of the arrays of a group that could be images: of xarray's, coordinates are none."""
    arrays = dict(sorted(group.arrays()))
    listed = (str(each.attrs.get("coordinates", "")).split() for each in (group, *arrays.values()))
    beside = {name for names in listed for name in names}
    found = (
        (name, _axes_if_image(path, array)) for name, array in arrays.items() if name not in beside
    )
    return [(name, axes) for name, axes in found if axes is not None]


def _axes_if_image(path: Path, array: Any) -> ZarrAxes | None:
    try:
        return name_axes(path, array) if array.ndim >= 2 else None
    except InputError:
        return None


def name_axes(path: Path, array: Any, named: list[str] | None = None) -> ZarrAxes:
    """The axes of an array by OME, ``dimension_names`` or ``_ARRAY_DIMENSIONS``."""
    names = named or getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    if len(names) != array.ndim or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: an array of shape {array.shape} without axis names; {_HOW}")
    roles = tuple(role_of(name, n) for name, n in zip(names, array.shape, strict=True))
    if "?" in roles or any(roles.count(role) > 1 for role in "zyxct") or not {"y", "x"} <= {*roles}:
        raise InputError(
            f"{path}: axes {tuple(names)} of lengths {array.shape}, of which each must be one of "
            f"z, y, x, channel or time, and y and x must be there; {_HOW}"
        )
    return ZarrAxes(roles, tuple(names), tuple(array.shape))


def role_of(name: str, length: int) -> str:
    """The role of an axis of this name; ``-`` of another one of length 1, ``?`` of any other."""
    roles = (role for role, names in _NAMES.items() if name.lower() in names)
    return next(roles, "-" if length == 1 else "?")
