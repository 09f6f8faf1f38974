"""The test tensor of a bundle: a patch, and what its network gave for it when the bundle was made.

``test.npz`` holds ``input``, float32 ``(1, *patch, channels)`` as the network sees it, and ``output``, float32 ``(1, *sides,
classes)`` as a predictor gives it. ``models check`` runs it again, here or elsewhere, on any engine.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core import hardware, units
from seg_batch.core.errors import BundleError, Exit, PlanError
from seg_batch.core.registry.engines import AUTO, ENGINES
from seg_batch.core.run_files import TEST
from seg_batch.inference import bundles
from seg_batch.inference.bundles import Model
from seg_batch.inference.ensemble import average
from seg_batch.inference.sliding_window.scores import Scores, scores_of
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.io.archive import Bounded
from seg_batch.nn.noise import fields

LARGEST = 4 << 30  # bytes of both arrays


@dataclass(frozen=True)
class Allowed:
    """The largest difference, as a share of the largest score, and the least share of equal labels."""

    difference: float
    labels: float


ALLOWED = {"float32": Allowed(5e-3, 0.999), "mixed": Allowed(0.25, 0.98)}


@dataclass(frozen=True)
class Difference:
    """One engine against the kept output. ``why_not``: it can't run here; the rest is empty then."""

    engine: str
    precision: str = ""
    largest: float | None = None
    same_labels: float | None = None
    inside: bool | None = None
    why_not: str | None = None


def noise(card: ModelCard) -> np.ndarray:
    """`fields` of the patch and the channels of a card: float32 ``(1, *patch, channels)``."""
    return fields(card.patch or (), len(card.channels or ()))[None]


def keep(folder: Path, image: np.ndarray, output: np.ndarray) -> None:
    """Write the test tensor of the bundle in ``folder``; arrays as in ``test.npz``."""
    with (folder / TEST).open("wb") as file:
        np.savez_compressed(file, input=image.astype(np.float32), output=output.astype(np.float32))


def predictor_of(model: Model, engine: str, precision: str = "float32") -> Predictor:
    """The model on that engine; the mean of its members where it has some."""
    from seg_batch.nn.engines import load_predictor

    return average(
        [
            load_predictor(
                bundles.require_intact(member).weights,
                engine=engine,
                precision=precision,
                sha256=member.card.weights_sha256,
                network=member.card.network,
            )
            for member in model.all
        ]
    )


def require_same_here(model: Model, image: np.ndarray, expected: np.ndarray) -> None:
    """Run the model as ``predict`` would here, in float32; BundleError unless it gives the same labels."""
    from seg_batch.nn.engines import choose
    from seg_batch.nn.engines.reference import reference

    form = model.card.format
    engine = choose(AUTO, gpus=0, precision="float32", formats=(form,)).engine
    if engine == reference(form):
        return
    actual = predictor_of(model, engine)(image)
    seen = difference(engine, "float32", actual, expected, scores_of(model.card))
    if not seen.inside:
        raise BundleError(
            f"{engine} gives other scores for this model than {reference(form)} ({_words(seen)}), so nothing was kept: "
            "export it again, with another opset"
        )


def engines_for(card: ModelCard) -> list[str]:
    """The engines that read its format, whether they are installed or not."""
    return [name for name, info in ENGINES.items() if card.format in info.formats]


def check(bundle: str, engine: str = AUTO) -> dict[str, Any]:
    """Run the test tensor of ``bundle`` on one engine, or on each that is here; ``differences`` and ``status``.

    ``status``: 0, or 3 where an engine is outside of what is ``allowed``. Raises BundleError for a bundle without a test
    tensor, or with a damaged one; PlanError where ``engine`` can't run it here, or none can.
    """
    model = bundles.find_bundle(bundle)
    image, expected = _read(model)
    names = engines_for(model.card) if engine == AUTO else [engine]
    differences: list[Difference] = []
    for name in names:
        differences += _on(model, name, image, expected, only=engine == name)
    if not any(d.why_not is None for d in differences):
        whys = "; ".join(f"{d.engine}: {d.why_not}" for d in differences)
        raise PlanError(f"no engine here runs {model.called} ({whys}): install one")
    outside = any(d.inside is False for d in differences)
    return {
        "model": model.card.name,
        "path": str(model.path),
        "shape": list(image.shape[1:]),
        "differences": [asdict(d) for d in differences],
        "allowed": {name: asdict(allowed) for name, allowed in ALLOWED.items()},
        "status": int(Exit.PARTIAL if outside else Exit.COMPLETE),
    }


def _on(
    model: Model, engine: str, image: np.ndarray, expected: np.ndarray, *, only: bool
) -> list[Difference]:
    """The differences in each precision that the engine has here."""
    from seg_batch.nn.engines import choose

    rows: list[Difference] = []
    for precision in dict.fromkeys(("float32", hardware.default_precision())):
        try:
            choose(engine, gpus=0, precision=precision, formats=(model.card.format,))
            actual = predictor_of(model, engine, precision)(image)
        except PlanError as error:
            if only and not rows:
                raise
            if not rows:
                rows.append(Difference(engine, precision, why_not=error.message))
        else:
            rows.append(difference(engine, precision, actual, expected, scores_of(model.card)))
    return rows


def difference(
    engine: str,
    precision: str,
    actual: np.ndarray,
    expected: np.ndarray,
    scores: Scores,
) -> Difference:
    """What an engine gave, against what was kept; labels as predictions make them of such ``scores``."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return Difference(engine, precision, inside=False)
    largest = float(np.abs(actual - expected).max())
    same = float((scores.labels_of(actual) == scores.labels_of(expected)).mean())
    allowed = ALLOWED[precision]
    most = allowed.difference * max(1.0, float(np.abs(expected).max()))
    return Difference(
        engine, precision, largest, same, inside=largest <= most and same >= allowed.labels
    )


def _read(model: Model) -> tuple[np.ndarray, np.ndarray]:
    card, path = model.card, (model.path or Path()) / TEST
    if model.path is None or not path.is_file():
        raise BundleError(
            f"{model.called} has no test tensor ({TEST}), as bundles that were imported or exported have: make it "
            "anew with segbatch models import or export"
        )
    try:
        image, expected = _arrays(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} can't be read ({error}): fetch the bundle again") from None
    channels, classes = len(card.channels or ()), len(card.classes)
    fits = image.shape[0] == expected.shape[0] == 1 and image.ndim == expected.ndim
    if not fits or (image.shape[-1], expected.shape[-1]) != (channels, classes):
        raise BundleError(
            f"{path} has arrays of {units.shown(image.shape)} and {units.shown(expected.shape)}, which are none of a "
            f"model of {channels} channels and {classes} classes: fetch the bundle again"
        )
    return image, expected


def _arrays(path: Path) -> Sequence[np.ndarray]:
    """Both arrays; ValueError where they are none, or larger than any test tensor."""
    with path.open("rb") as file:
        bounded: Any = Bounded(file)
        with zipfile.ZipFile(bounded) as archive:
            if sum(item.file_size for item in archive.infolist()) > LARGEST:
                raise ValueError(f"more than {units.show_bytes(LARGEST)}")
        file.seek(0)
        with np.load(bounded, allow_pickle=False) as held:
            arrays = [held["input"], held["output"]]
    if any(a.dtype != np.float32 or a.ndim < 4 or not np.isfinite(a).all() for a in arrays):
        raise ValueError("no finite arrays of float32")
    return arrays


def lines(result: dict[str, Any]) -> list[str]:
    """The differences in lines for people."""
    by = " x ".join(map(str, result["shape"]))
    text = [f"{result['model']}: a test patch of {by}, against what was kept when it was made"]
    for row in result["differences"]:
        seen = Difference(**row)
        if seen.why_not is not None:
            text.append(f"  {seen.engine}: not run, {seen.why_not}")
        else:
            verdict = "" if seen.inside else "OUTSIDE: "
            text.append(f"  {seen.engine} {seen.precision}: {verdict}{_words(seen)}")
    return [*text, result["path"]]


def _words(seen: Difference) -> str:
    if seen.largest is None or seen.same_labels is None:
        return "another shape, or values that are not finite"
    share = units.share_in_line(seen.same_labels, 3)
    return f"differs by up to {seen.largest:.2g}, labels agree on {share}"
