"""The key ``pacs`` of a workflow: what ``watch`` receives over the network, and where it sends its products."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, model_validator

from seg_batch.config.validation import CheckedValue, checked_by
from seg_batch.config.workflow.dicom_addresses import (
    AllowedPeer,
    Destination,
    DicomAddress,
    is_loopback,
    parse_address,
    parse_allowed,
    parse_destination,
)
from seg_batch.config.workflow.fields import Positive, Size, as_list
from seg_batch.config.workflow.paths import ExpandedText, PathText

Listener = Annotated[ExpandedText, checked_by(parse_address)]
Caller = Annotated[ExpandedText, checked_by(parse_allowed)]
Place = Annotated[ExpandedText, checked_by(parse_destination)]


class ReceiveSettings(CheckedValue):
    """Limits of what is received. ``associations``: at a time; ``instance``: of one file, ``series``: of one series,
    ``hour``: of any hour."""

    associations: Positive = 8
    instance: Size = "1GiB"
    series: Size = "32GiB"
    hour: Size = "1TiB"


class PacsSettings(CheckedValue):
    """``listen``: ``AE@HOST:PORT``, without a host this machine alone; ``allow``: who may send, ``AE``, ``AE@ADDRESS`` or
    ``*@ADDRESS``, none: all who can connect; ``send_to``: places of products that are DICOM, ``AE@HOST:PORT`` or the
    address of a DICOMweb server; ``tls``: the folder of certificates; ``plain``: no certificates, though other machines
    can connect."""

    listen: Listener | None = None
    allow: Annotated[tuple[Caller, ...], BeforeValidator(as_list)] = ()
    send_to: Annotated[tuple[Place, ...], BeforeValidator(as_list)] = ()
    tls: PathText | None = None
    plain: bool = False
    limits: ReceiveSettings = ReceiveSettings()

    @property
    def address(self) -> DicomAddress | None:
        return parse_address(self.listen) if self.listen else None

    @property
    def allowed(self) -> tuple[AllowedPeer, ...]:
        return tuple(map(parse_allowed, self.allow))

    @property
    def places(self) -> tuple[Destination, ...]:
        return tuple(dict.fromkeys(map(parse_destination, self.send_to)))

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.tls and self.plain:
            raise ValueError("tls and plain contradict each other: leave one out")
        if self.allow and not self.listen:
            raise ValueError("allow says who may send, but nothing listens: give listen as well")
        open_places = [p for p in (self.address, *self.places) if isinstance(p, DicomAddress)]
        for place in open_places if not (self.tls or self.plain) else ():
            if not is_loopback(place.host):
                raise ValueError(
                    f"{place} is reached over a network, where images of patients could be read and anyone could "
                    "send: name the folder of certificates as tls (--dicom-tls), or say plain (--dicom-plain) for a network that is trusted"
                )
        return self
