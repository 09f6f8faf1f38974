"""Steps of intensity, one after the other, as one normalisation of a card: ``(clip(v, low, high) - mean) / std``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NO_LIMIT = 3.4028234663852886e38  # of float32: a limit that no value reaches


class Scaling:
    """What the steps so far make of a value, per channel. Each step raises ValueError, with the reason in a few
    words, where a card can't hold it."""

    def __init__(self, channels: int) -> None:
        self.mean, self.std = [0.0] * channels, [1.0] * channels
        self.low, self.high = [-NO_LIMIT] * channels, [NO_LIMIT] * channels
        self.scheme = ""
        self._open = False  # percentiles that nothing has clipped to yet

    def standardise(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """``(x - mean) / std``."""
        self._require_fixed()
        for c, (m, s) in enumerate(zip(mean, std, strict=True)):
            if s <= 0:
                raise ValueError(f"it divides by {s:g}, and deviations are above 0")
            self.mean[c] += m * self.std[c]
            self.std[c] *= s

    def linear(self, gain: Sequence[float], offset: Sequence[float]) -> None:
        """``x * gain + offset``."""
        for g in gain:
            if g <= 0:
                raise ValueError(f"it multiplies by {g:g}, and a card holds factors above 0")
        self.standardise([-o / g for g, o in zip(gain, offset, strict=True)], [1 / g for g in gain])

    def to_range(self, of: tuple[float, float], to: tuple[float, float]) -> None:
        """From the first range to the second, the same for all channels."""
        (a, b), (c, d) = of, to
        if not (a < b and c < d):
            raise ValueError("its ranges do not rise")
        factor = (b - a) / (d - c)
        self.standardise([a - c * factor] * len(self.mean), [factor] * len(self.mean))

    def clip(self, low: Sequence[float], high: Sequence[float]) -> None:
        """To limits in what the steps before made of a value."""
        if self._open and set(low) == {0.0} and set(high) == {1.0}:
            self._open = False
            return
        if self.scheme in ("range", "percentiles") and max(low) <= 0 and min(high) >= 1:
            return
        self._require_fixed()
        for c, (a, b) in enumerate(zip(low, high, strict=True)):
            self.low[c] = max(self.low[c], _back(a, self.mean[c], self.std[c]))
            self.high[c] = min(self.high[c], _back(b, self.mean[c], self.std[c]))
            if self.low[c] >= self.high[c]:
                raise ValueError("its limits leave no values")

    def of_image(self, scheme: str, *, joint: bool, clipped: bool = True) -> None:
        """By numbers of each image, as a card calls them. ``joint``: of all channels together; ``clipped``: percentiles
        are limits, too."""
        if joint and len(self.mean) > 1:
            raise ValueError("its numbers are of all channels together, and a card's of each")
        if self.clips:
            raise ValueError("it follows a clip, and a card measures images as they are")
        if self.scheme in ("nonzero", "percentiles"):
            raise ValueError(f"it follows {self.scheme}, which it would change")
        if scheme == "nonzero" and (self.scheme or any(self.mean)):
            raise ValueError("what is 0 is not 0 any more after the step before it")
        self.scheme, self._open = scheme, scheme == "percentiles" and not clipped
        self.mean, self.std = [0.0] * len(self.mean), [1.0] * len(self.std)

    @property
    def clips(self) -> bool:
        return min(self.low) > -NO_LIMIT or min(self.high) < NO_LIMIT or max(self.low) > -NO_LIMIT

    def normalisation(self) -> dict[str, Any]:
        """The field of a card."""
        if self._open:
            raise ValueError("values beyond its percentiles are not clipped, and a card clips them")
        if self.scheme:
            return {"kind": self.scheme}
        plain = not any(self.mean) and set(self.std) == {1.0} and not self.clips
        if plain:
            return {"kind": "identity"}
        limits = {"low": tuple(self.low), "high": tuple(self.high)} if self.clips else {}
        return {"kind": "card", "mean": tuple(self.mean), "std": tuple(self.std), **limits}

    def _require_fixed(self) -> None:
        if self.scheme:
            raise ValueError(f"it follows {self.scheme}, after which a card has no more steps")


def _back(limit: float, mean: float, std: float) -> float:
    """A limit after normalisation as a value before it."""
    return limit if abs(limit) >= NO_LIMIT else limit * std + mean


def limits_of(normalisation: Any) -> tuple[tuple[float, float], ...]:
    """What a card of kind ``card`` clips each channel to; without limits, none at all."""
    if normalisation.low is None or normalisation.high is None:
        return ()
    return tuple(zip(normalisation.low, normalisation.high, strict=True))
