"""The input and the output that the authors of a model give along with it, and how far from it a run of ours is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.statistics.schemes import measured
from seg_batch.core.units import share_in_line
from seg_batch.nn.engines.output import finished


@dataclass(frozen=True)
class Example:
    """``input``: stored values ``(1, *sides, channels)``. ``output``: ``(1, *sides, outputs)``, as the document has
    it: after an activation, where it is ``activated``; as 0 and 1, where it is ``discrete``.

    ``relative`` and ``absolute``: allowed differences; ``mismatched``: share of values that may pass them. Where nothing
    says them, they are those of the specification of bioimage.io.
    """

    input: np.ndarray
    output: np.ndarray
    activated: bool = False
    discrete: bool = False
    relative: float = 1e-3
    absolute: float = 1e-3
    mismatched: float = 1e-4

    def normalised(self, card: ModelCard) -> np.ndarray:
        """The input as the model of this card sees it, float32."""
        pixels = Pixels(self.input[0])
        return normaliser_for(card, pixels)(pixels)[None].astype(np.float32)

    def expected(self, card: ModelCard) -> np.ndarray:
        """The output as a predictor of this card gives it."""
        network = card.network.of_probabilities.activated if self.activated else card.network
        return finished(self.output.astype(np.float32), network)

    def compare(self, card: ModelCard, predict: Callable[[np.ndarray], np.ndarray]) -> Agreement:
        """A run of the predictor of this card. InputError where its output has another shape."""
        actual, expected = predict(self.normalised(card)), self.expected(card)
        if actual.shape != expected.shape:
            raise InputError(
                f"for the test input the model gives {_by(actual)}, and the test output is {_by(expected)}: "
                "the description is of another model"
            )
        if self.discrete:
            other = actual.argmax(-1) != expected.argmax(-1)
            return Agreement(float(other.any()), float(other.mean()), self.mismatched)
        difference = np.abs(actual.astype(np.float64) - expected)
        beyond = ~(difference <= self.absolute + self.relative * np.abs(expected))
        return Agreement(float(difference.max()), float(beyond.mean()), self.mismatched)


@dataclass(frozen=True)
class Agreement:
    """``largest``: difference of all values; ``share``: of those beyond the tolerance, of which ``allowed`` may be."""

    largest: float
    share: float
    allowed: float

    def require_within(self) -> None:
        if not self.share <= self.allowed:
            raise InputError(
                f"the model does not give the test output that came with it: {share_in_line(self.share, 2)} of its "
                f"values are beyond the tolerance, the largest difference is {self.largest:.2g}; the description does not "
                "say what the model needs, so its results can't be trusted"
            )

    @property
    def sentence(self) -> str:
        return f"test tensors of its authors: the largest difference is {self.largest:.2g}"

    @property
    def facts(self) -> dict[str, Any]:
        return {"largest": self.largest, "beyond_tolerance": self.share}


def normaliser_for(card: ModelCard, pixels: Pixels) -> Normaliser:
    """By the numbers of the card, or those of these pixels as a whole image."""
    names = card.channel_names or tuple(map(str, range(pixels.values.shape[-1])))
    fixed = card.normalisation.normaliser()
    return fixed or measured(card.normalisation.kind, [pixels], names, "the test input")


def _by(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))
