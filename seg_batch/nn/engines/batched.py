"""Any number of patches through a function that takes exactly so many at a time."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from seg_batch.config.card_parts.network import OURS, Network
from seg_batch.core.errors import InputError, PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.text import without_colours
from seg_batch.nn.engines.output import classes_of, finished

type Forward = Callable[[np.ndarray], np.ndarray]

PRECISIONS = ("float32", "mixed")
# Shapes that stay compiled, with their buffers, since the inputs of a run take turns: two of any size, and small ones.
KEPT, KEPT_SMALL, SMALL_VOXELS = 2, 8, 1 << 20


class Batched:
    """Runs any number of patches through a function that takes exactly `batch` at a time.

    `compiler` makes that function from a full input shape ``(batch, *patch, C)``. When it fails for
    want of memory (one of `exhausted`) the batch is halved, for good, and the same patches are
    tried again; at 1 a PlanError is raised. Calls from several threads run one after another: the
    promised memory is that of one.
    """

    def __init__(
        self,
        compiler: Callable[[Shape], Forward],
        batch: int,
        exhausted: tuple[type[BaseException], ...] = (MemoryError,),
    ) -> None:
        if batch < 1:
            raise InputError(f"the batch is {batch}, there is nothing to run; use 1 or more")
        self.batch = batch  # lower than asked for if memory ran out
        self._compiler, self._exhausted = compiler, exhausted
        self._forwards: dict[Shape, Forward] = {}
        self._lock = threading.Lock()

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """``(n, *patch, C)`` to ``(n, *patch, K)``, float32, for any n >= 1."""
        with self._lock:
            parts: list[np.ndarray] = []
            start = 0
            while start < len(patches):
                part = self._run(patches[start : start + self.batch])
                if part is not None:
                    parts.append(part)
                    start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forget(self) -> None:
        """Let compiled shapes go, so that there is room for one more."""
        kept = list(self._forwards)
        while len(kept) >= KEPT and (
            len(kept) >= KEPT_SMALL or sum(math.prod(s[1:-1]) for s in kept) > SMALL_VOXELS
        ):
            del self._forwards[kept.pop(0)]

    def _run(self, part: np.ndarray) -> np.ndarray | None:
        """The result of `part`; None, with the batch halved, if memory ran out."""
        shape = (self.batch, *part.shape[1:])
        try:
            forward = self._forwards.pop(shape, None) or self._compiler(shape)
            self._forget()
            self._forwards[shape] = forward  # in the order of their last use
            return forward(_padded(part, self.batch))[: len(part)]
        except self._exhausted as error:
            if self.batch == 1:
                raise PlanError(
                    f"not enough memory for a single patch of shape {shape[1:]}; "
                    "use smaller patches, fewer workers or more memory"
                ) from error
            self._forwards.clear()
            self.batch //= 2
            return None


@dataclass(frozen=True)
class LoadedNetwork:
    """A loaded model with one input of `channels` and one output of `outputs` per voxel, of `rank` axes;
    the rest as `Batched` takes it. `gpu`: it computes on a GPU. `keras_model`: as it is computed, for programs
    that go on with its output on the device (`engines.device`). ``activated``: its output is what `Output.blend` names already."""

    compiler: Callable[[Shape], Forward]
    channels: int
    rank: int
    outputs: int
    gpu: bool = False
    exhausted: tuple[type[BaseException], ...] = (MemoryError,)
    keras_model: Any = None
    activated: bool = False

    @classmethod
    def of_keras(cls, model: Any, compiler: Callable[[Shape], Forward], **more: Any) -> Self:
        """That of a Keras model, compiled by `compiler`."""
        channels, outputs = int(model.input_shape[-1]), int(model.output_shape[-1])
        return cls(compiler, channels, len(model.input_shape) - 2, outputs, **more)


class ModelPredictor(Batched):
    """The model in a file of weights as a function of patches; each engine is one, and says how to `load`.

    Patches are float32 ``(n, *patch, channels)``, normalised as the model's card says; the result is
    float32 ``(n, *patch, classes)``, as `output.finished` has it. `precision` is "float32" or "mixed" (see `core.hardware.default_precision`). BundleError
    where the file is no model of this kind, or `sha256` (hex) is given and differs.

    On a CPU the model is called with one patch at a time, for any `batch`. It costs
    nothing there, and the result of a patch can't depend on its place or its neighbours in a batch:
    vectorised loops end in a scalar tail, whose last bits differ (DESIGN.md, D51).
    """

    def __init__(
        self,
        weights: Path | str,
        *,
        batch: int = 1,
        precision: str = "float32",
        sha256: str | None = None,
        network: Network = OURS,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
        self.precision, self.network = precision, network
        self.weights, self.sha256 = Path(weights), sha256
        self.loaded = loaded = self.load(self.weights, sha256)
        if loaded.activated:
            self.network = network.activated
        batch = batch if loaded.gpu or batch < 1 else 1
        super().__init__(self._finishing, batch, loaded.exhausted)
        self.channels, self.rank = loaded.channels, loaded.rank
        self.classes = classes_of(loaded.outputs, network)

    def _finishing(self, shape: Shape) -> Forward:
        """The network for arrays of exactly `shape`, with what turns its output into scores."""
        forward, network = self.loaded.compiler(shape), self.network
        return lambda x: finished(forward(x), network)

    def load(self, weights: Path, sha256: str | None) -> LoadedNetwork:
        """The model in the file, made ready to compute in `precision`."""
        raise NotImplementedError

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        if patches.ndim != self.rank + 2 or patches.shape[-1] != self.channels:
            raise InputError(
                f"patches of shape {patches.shape}, but the model takes (n, *{self.rank} sides, "
                f"{self.channels} channels); check the channels and the patch of the card"
            )
        if len(patches) == 0:
            return np.zeros((*patches.shape[:-1], self.classes), np.float32)
        return super().__call__(patches)


_WORDS = 300  # characters of an error


def unfit_shape(shape: Shape, error: Exception) -> InputError:
    """The error for patches that a network does not take, with the words of its library. Most often they
    can't be halved as often as its depth requires."""
    lines = [line for line in without_colours(str(error)).splitlines() if line.strip()]
    words = " ".join(" ".join(lines).split())[:_WORDS] or type(error).__name__
    return InputError(
        f"the model can't take patches of shape {shape[1:]} ({words}); most take sides that are a multiple of "
        "2 to the power of their depth"
    )


def _padded(part: np.ndarray, batch: int) -> np.ndarray:
    """`part` filled up to `batch` patches by repeating its first."""
    missing = batch - len(part)
    return part if missing == 0 else np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
