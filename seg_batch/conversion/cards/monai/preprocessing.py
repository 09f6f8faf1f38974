"""The transforms of MONAI before its network, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_batch.config.card import STORED
from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.monai.config import Config
from seg_batch.conversion.cards.scaling import Scaling
from seg_batch.core.statistics.schemes import HIGH, LOW

_RULES = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "1": "linear",
    "0": "nearest",
    "3": "cubic",
}
_LETTERS = ({"L", "R"}, {"P", "A"}, {"I", "S"})


class Preprocessing:
    """What the transforms make of an image, and ``sentences`` on what a card does not hold of that."""

    def __init__(self, config: Config, channels: int, modality: str | None) -> None:
        self.config, self.modality = config, modality
        self.scaling = Scaling(channels)
        self.axcodes = ""
        self.spacing: tuple[float, ...] | None = None
        self.rule = ""
        self.crop = False
        self.pads_with_zeros = False
        self.sentences: list[str] = []
        self._scaled = False
        self._read()

    def _read(self) -> None:
        root = self.config.root["preprocessing"]
        steps = self.config.components(root)
        image = next(
            (self.config.keys(s) for s in steps if self.config.target(s) == "LoadImaged"), None
        )
        if not image:
            raise root.error("no LoadImaged begins it, so that what the network sees is not known")
        for step in steps:
            name = self.config.target(step)
            known = _STEPS.get(name)
            if known is None:
                raise step.error(
                    f"the transform {name!r} is not known here: say what it does with --card"
                )
            if not set(self.config.keys(step)) & set(image[:1]):
                continue
            if len(self.config.keys(step)) > 1 and len(image) > 1 and name == "LoadImaged":
                raise step.error(
                    "several images are put together in it, and one file is read here: stack them, and say the rest with --card"
                )
            try:
                known(self, step)
            except ValueError as error:
                raise step.error(f"{name}: {error}: say it with --card") from None

    def normalisation(self) -> dict[str, Any]:
        try:
            return self.scaling.normalisation()
        except ValueError as error:
            raise self.config.root["preprocessing"].error(f"{error}: say it with --card") from None

    def grid(self, slices_along: int | None) -> dict[str, Any]:
        """Orientation, voxel size, rules and crop. The axes of a tensor run to the ``axcodes``, and those of ours to the
        letters of an orientation from the last to the first; ``slices_along``: the axis that a 2-D network leaves out."""
        order = [0, 1, 2] if slices_along is None else [slices_along, *({0, 1, 2} - {slices_along})]
        fields: dict[str, Any] = {"orientation": self._letters(order)}
        if self.spacing is not None:
            rule = self.rule
            fields["spacing_mm"] = tuple(self.spacing[k] for k in order)
            fields["resampling"] = {"up": rule, "down": rule, "thick": rule, "tolerance": 0.0}
        if self.crop:
            fields["crop"] = "nonzero"
        return fields

    def _letters(self, order: list[int]) -> str:
        """Without Orientationd, the axes of each file, of which the first is the last of ours."""
        if self.axcodes:
            return "".join(self.axcodes[k] for k in reversed(order))
        return f"{STORED}:{','.join(str(2 - k) for k in order)}"

    def _orientation(self, step: Entry) -> None:
        codes = self.config.entry(step["axcodes"]).text().upper()
        if (
            self.spacing is not None
            or len(codes) != 3
            or any(len(p & set(codes)) != 1 for p in _LETTERS)
        ):
            raise ValueError(f"{codes!r} after other steps is no orientation that a card has")
        self.axcodes = codes

    def _spacing(self, step: Entry) -> None:
        sizes = [self.config.number(item) for item in self.config.items(step["pixdim"])]
        if len(sizes) == 1:
            sizes *= 3
        if len(sizes) != 3 or not (min(sizes) > 0 or max(sizes) <= 0):
            raise ValueError(f"pixdim {sizes} leaves an axis as it is, and a card has all or none")
        modes = [str(item.value).lower() for item in self.config.items(step["mode"])] or [
            "bilinear"
        ]
        if modes[0] not in _RULES:
            raise ValueError(f"the mode {modes[0]!r} is not known here")
        if min(sizes) > 0:
            self.spacing, self.rule = tuple(sizes), _RULES[modes[0]]
            self.sentences.append(
                "Spacingd starts its grid at the centre of the first voxel, and resampling here at its edge: labels near thin borders may differ"
            )

    def _range(self, step: Entry) -> None:
        a, b = self.config.number(step["a_min"]), self.config.number(step["a_max"])
        to = [self.config.entry(step[key]) for key in ("b_min", "b_max")]
        if bool(to[0]) != bool(to[1]):
            raise ValueError("it has one of b_min and b_max")
        low, high = (to[0].number(0), to[1].number(1))
        self.scaling.to_range((a, b), (low, high))
        if self.config.flag(step["clip"]) and to[0]:
            count = len(self.scaling.mean)
            self.scaling.clip([low] * count, [high] * count)
        self._scaled = True

    def _normalise(self, step: Entry) -> None:
        count, flag = len(self.scaling.mean), self.config.flag
        fixed = [self.config.entry(step[key]) for key in ("subtrahend", "divisor")]
        nonzero, each = flag(step["nonzero"]), flag(step["channel_wise"])
        self._scaled = True
        if all(fixed) and not nonzero:
            mean, std = (entry.numbers(count) for entry in fixed)
            self.scaling.standardise(mean, std)
        elif any(fixed):
            raise ValueError("it has fixed numbers for some of what it does")
        else:
            self.scaling.of_image("nonzero" if nonzero else "source", joint=not each)
            if nonzero and count > 1:
                self.sentences.append(
                    "NormalizeIntensityd leaves out the zeros of each channel, and a card voxels that are 0 in all of them"
                )

    def _to_one(self, step: Entry) -> None:
        ends = tuple(self.config.number(step[key], d) for key, d in (("minv", 0), ("maxv", 1)))
        if ends != (0, 1) or self.config.entry(step["factor"]):
            raise ValueError(f"it goes from {ends[0]:g} to {ends[1]:g}, and a card from 0 to 1")
        self.scaling.of_image("range", joint=not self.config.flag(step["channel_wise"]))
        self._scaled = True

    def _percentiles(self, step: Entry) -> None:
        names = ("lower", "upper", "b_min", "b_max")
        numbers = tuple(self.config.number(step[key]) for key in names)
        flag = self.config.flag
        if numbers != (LOW, HIGH, 0, 1) or not flag(step["clip"]) or flag(step["relative"]):
            raise ValueError(
                f"it does not go from percentiles {LOW:g} and {HIGH:g} to 0 and 1, clipped"
            )
        self.scaling.of_image("percentiles", joint=not flag(step["channel_wise"]))
        self._scaled = True

    def _foreground(self, step: Entry) -> None:
        """What is above 0; before any scaling, and where no value is below 0, that is what is not 0."""
        if self.modality in ("MR", "PET") and not self._scaled and not step["select_fn"]:
            self.crop = True
        else:
            self.sentences.append(
                "CropForegroundd leaves parts of an image out, and the network labels them here, too"
            )

    def _pad(self, step: Entry) -> None:
        mode = str(self.config.entry(step["mode"]).value or "constant").lower()
        self.pads_with_zeros = mode == "constant"
        if not self.pads_with_zeros:
            self.sentences.append(f"images are padded by {mode}, and mirrored here")

    def _nothing(self, step: Entry) -> None:
        """What changes no value."""


_STEPS: dict[str, Callable[[Preprocessing, Entry], None]] = {
    "LoadImaged": Preprocessing._nothing,
    "EnsureChannelFirstd": Preprocessing._nothing,
    "EnsureTyped": Preprocessing._nothing,
    "CastToTyped": Preprocessing._nothing,
    "ToTensord": Preprocessing._nothing,
    "Orientationd": Preprocessing._orientation,
    "Spacingd": Preprocessing._spacing,
    "ScaleIntensityRanged": Preprocessing._range,
    "ScaleIntensityRangePercentilesd": Preprocessing._percentiles,
    "NormalizeIntensityd": Preprocessing._normalise,
    "ScaleIntensityd": Preprocessing._to_one,
    "CropForegroundd": Preprocessing._foreground,
    "SpatialPadd": Preprocessing._pad,
    "DivisiblePadd": Preprocessing._pad,
}
