"""The inferer of MONAI: how patches lie over an image."""

from __future__ import annotations

from typing import Any

from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.monai.config import Config

_OVERLAP = 0.25  # where an inferer names none


class Window:
    """``patch`` in the axes of the network; ``slices_along``: the axis of a volume that a 2-D network leaves out."""

    def __init__(self, config: Config, sides: tuple[int, ...] | None) -> None:
        self.config = config
        self.sentences: list[str] = []
        self.slices_along: int | None = None
        self.overlap: tuple[int, ...] | None = None
        self.padding, self.taper = "zero", ""
        entry = config.entry(config.root["inferer"])
        name = config.target(entry) if entry else "SimpleInferer"
        if name == "SimpleInferer":
            self.patch = sides
        elif name in ("SlidingWindowInferer", "SliceInferer", "SlidingWindowInfererAdapt"):
            self._slide(entry, name)
        else:
            raise entry.error(f"the inferer {name!r} is not known here: say the patch with --card")
        if not self.patch or len(self.patch) not in (2, 3):
            raise entry.error("the sides of a patch are not numbers: write them out")
        if len(self.patch) == 2 and self.slices_along is None:
            raise entry.error(
                "a 2-D network sees an image with its columns first, as MONAI reads it, which a card can't say: export it with rows first, and say the rest with --card"
            )

    @property
    def rank(self) -> int:
        return len(self.patch or ())

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"patch": self.patch, "padding": self.padding}
        if self.taper:
            fields["taper"] = self.taper
        if self.overlap:
            fields["overlap"] = self.overlap
        return fields

    def _slide(self, entry: Entry, name: str) -> None:
        config = self.config
        roi = [config.entry(item).integer() for item in config.items(entry["roi_size"])]
        if not roi or min(roi) < 1:
            raise entry["roi_size"].refused("sides of a patch")
        if name == "SliceInferer":
            along = config.entry(entry["spatial_dim"]).integer(0)
            if len(roi) != 2 or along not in (0, 1, 2):
                raise entry.error("slices are 2-D, along axis 0, 1 or 2")
            self.slices_along = along
        elif len(roi) == 1:
            roi *= 3
        self.patch = tuple(roi)
        shares = [config.number(item) for item in config.items(entry["overlap"])] or [_OVERLAP]
        shares *= len(roi) if len(shares) == 1 else 1
        if len(shares) != len(roi) or min(shares) < 0 or max(shares) >= 1:
            raise entry["overlap"].refused("shares from 0 to below 1")
        # As sliding_window_inference has it: the step is rounded down, and at least one voxel.
        self.overlap = tuple(n - max(1, int(n * (1 - s))) for n, s in zip(roi, shares, strict=True))
        mode = str(config.entry(entry["mode"]).text("constant")).lower()
        if mode not in ("gaussian", "constant"):
            raise entry["mode"].refused("gaussian or constant")
        self.taper = mode
        if mode == "gaussian" and config.number(entry["sigma_scale"], 0.125) != 0.125:
            self.sentences.append("sigma_scale of the Gaussian window: 1/8 of a patch here")
        self._padding(entry)

    def _padding(self, entry: Entry) -> None:
        mode = self.config.entry(entry["padding_mode"]).text("constant").lower()
        if mode != "constant" or self.config.number(entry["cval"], 0):
            self.padding = "mirror"
            if mode != "reflect":
                self.sentences.append(
                    f"images smaller than a patch are padded by {mode} there, and mirrored here"
                )
