"""The predictor of a model in this process."""

from __future__ import annotations

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import BundleError
from seg_batch.core.spells import spell
from seg_batch.inference.bundles import PROBE, Model
from seg_batch.inference.ensemble import average, without_repeats
from seg_batch.inference.plan import Decisions
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.inference.sliding_window.tta import average_views


@spell("load")
def load_predictor_of(model: Model, settled: Decisions | PredictOptions) -> Predictor:
    """The predictor of a model in this process: the mean of its members, averaged over views, for
    patches on the grid of its output."""
    members = [_loaded(member, settled) for member in model.all]
    tta = model.card.tta if settled.tta == "auto" else settled.tta
    return without_repeats(average_views(average(members), tta), model.card.finer)


def _with_own_patches(function: Predictor) -> Predictor:
    """A user's function may change its patches, or keep them; those of the stitcher are overwritten, or are the window."""
    return lambda patches: function(patches.copy())


def _loaded(model: Model, settled: Decisions | PredictOptions) -> Predictor:
    """One member; a bundle is loaded once per process, behind a lock."""
    if model.function is not None:
        return (
            model.function
            if model.function is PROBE.function
            else _with_own_patches(model.function)
        )
    from seg_batch.nn.engines import load_predictor

    loaded = load_predictor(
        model.weights,
        engine=settled.engine,
        batch=settled.batch or 1,
        precision=settled.precision,
        sha256=model.card.weights_sha256,
        network=model.card.network,
    )
    if loaded.classes != len(model.card.classes):
        raise BundleError(
            f"{model.weights} tells {loaded.classes} classes apart and its card names "
            f"{len(model.card.classes)}, so no map could be made: get the bundle again"
        )
    return loaded
