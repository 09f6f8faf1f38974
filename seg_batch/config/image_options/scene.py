"""How a scene is put together of files, which part of it is wanted, and what is made of its map; each option declared once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from seg_batch.config.image_options.mask_from import require_masks
from seg_batch.config.options import option
from seg_batch.core.errors import PlanError

Order = Literal["first", "name", "date"]
Align = Literal["nearest", "linear"]
HREF = "{href}"  # in the address of what signs: where the address to be signed goes


def _bbox(where: str, text: str) -> tuple[float, ...]:
    try:
        sides = tuple(float(part) for part in text.split(","))
    except ValueError:
        sides = ()
    require_bbox(f"{where} {text[:60]!r}", sides)
    return sides


def require_bbox(where: str, sides: tuple[float, ...]) -> None:
    """PlanError unless these are the west, south, east and north of a part of the earth, in degrees."""
    known = len(sides) == 4 and all(map(math.isfinite, sides))
    if known:
        west, south, east, north = sides
        known = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90
        known = known and west != east
    if not known:
        raise PlanError(
            f"{where} is no box on the earth: write its west, south, east and north in degrees, like 13.1,52.3,13.8,52.7"
        )


def _template(where: str, text: str) -> None:
    if not text.lower().startswith(("https://", "http://")) or text.count(HREF) != 1:
        raise PlanError(
            f"{where} is the address of what signs others, and says where they go: write it like https://host/sign?href={HREF}"
        )


class _Taken:
    """A group of options among those of a command."""

    @classmethod
    def of(cls, options: Any) -> Self:
        """Those of this group alone."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class SceneOptions(_Taken):
    """How the files of one image are read, and which may be.

    ``order``: of a mosaic, which file counts where several overlap: the ``first`` that is named, or the newest by ``name`` or
    by ``date``. ``align``: how files of a mosaic that lie off its grid are brought over; None: they are refused. ``mask_from``: bands whose
    values say which pixels count as without data, like ``SCL:3,8,9,10``. ``allow``: hosts and buckets that may be read beside
    those that the command names. ``sign``: the address of what signs others for a time. ``allow_vrt``: whether a VRT is
    read, after all its sources were checked."""

    order: Order = option(
        "first",
        "Where files of a mosaic overlap: the first that is named counts, or the newest by name or by date.",
        known=lambda: get_args(Order),
    )
    align: Align | None = option(
        None,
        "nearest or linear: bring files of a mosaic that lie off its grid over to it.",
        known=lambda: get_args(Align),
    )
    mask_from: tuple[str, ...] = option(
        (),
        "A band whose values say where there is no data, like SCL:3,8,9,10; repeatable.",
        metavar="BAND:VALUES",
        check=require_masks,
    )
    allow: tuple[str, ...] = option(
        (),
        "A host, or a bucket like s3://name, that may be read beside those of the inputs; repeatable.",
        metavar="HOST",
    )
    sign: str | None = option(
        None,
        "What signs addresses for a time: https://host/sign?href={href}, which answers JSON with href.",
        metavar="ADDRESS",
        check=_template,
    )
    allow_vrt: bool = option(
        False, "Read a VRT, whose sources are checked first and lie in its folder or below."
    )


@dataclass(frozen=True)
class AreaOptions(_Taken):
    """The part of a raster that is wanted. ``aoi``: a file of areas in any CRS; ``bbox``: west, south, east and north in degrees
    of WGS 84; ``crop``: the product is cut to it."""

    aoi: str | None = option(
        None,
        "Only inside the areas of a GeoJSON, GPKG, Parquet or FlatGeobuf file; outside is nodata.",
        metavar="FILE",
        text="path",
    )
    bbox: tuple[float, ...] | None = option(
        None,
        "Only inside west,south,east,north, in degrees.",
        metavar="W,S,E,N",
        read=_bbox,
        check=require_bbox,
    )
    crop: bool = option(False, "Cut the product to --aoi or --bbox.")


@dataclass(frozen=True)
class FurtherOptions(_Taken):
    """How further products are made. ``simplify``: tolerance of outlines in metres; ``min_area``: least area of a polygon in m2;
    ``polygons``: names of the classes that get polygons; empty: all. ``zones``: a file of areas, with a name of each in the
    field ``zone_field``; ``fractional``: pixels count by the share of them in a zone, not by their centres."""

    simplify: float | None = option(
        None, "Simplify outlines by at most so many metres; neighbours keep one line.", least=0
    )
    min_area: float | None = option(None, "Leave out polygons of fewer square metres.", least=0)
    polygons: tuple[str, ...] = option(
        (), "A class that gets polygons, all if none is named; repeatable.", metavar="CLASS"
    )
    zones: str | None = option(
        None,
        "Areas, like districts: tables of sizes are given for each.",
        metavar="FILE",
        text="path",
    )
    zone_field: str | None = option(None, "The field with the name of a zone.", metavar="FIELD")
    fractional: bool = option(
        False, "Pixels count for a zone by the share of them in it, not by their centres."
    )


AS_FILES = SceneOptions()
PLAIN = FurtherOptions()
