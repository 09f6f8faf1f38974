"""A bundle's model file, checked and loaded without running code in it."""

import re
from pathlib import Path

from seg_batch.core.errors import BundleError
from seg_batch.nn.backend import keras
from seg_batch.nn.weights import stamp, verified

OLDEST_KERAS = (3, 15, 1)  # earlier ones have known holes in load_model


def load_model(path: Path | str, *, sha256: str | None = None) -> keras.Model:
    """The segmentation model in a ``.keras`` file: one input and one output, channels last.

    No code in the file is run: no Lambda layers, no pickles, no classes but Keras' own. Raises
    BundleError if the file is missing, damaged, unsafe or no segmentation model, or if its hash is
    not `sha256` (hex).
    """
    path = Path(path)
    require_safe_keras()
    stamp(path)
    if sha256 is not None:
        verified(path, sha256)
    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
        shapes = (model.input_shape, model.output_shape)
    except Exception as error:  # Keras raises errors of many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleError(
            f"{path} is no model that can be loaded safely ({reason}); get the bundle again"
        ) from error
    if not all(isinstance(s, tuple) and len(s) in (4, 5) and s[-1] for s in shapes):
        raise BundleError(
            f"{path} has inputs {shapes[0]} and outputs {shapes[1]}; a segmentation model "
            "has one of each, (batch, *spatial, channels); save it with one head"
        )
    return model


def require_safe_keras() -> None:
    version = tuple(int(n) for n in re.findall(r"\d+", keras.__version__)[:3])
    if version < OLDEST_KERAS:
        raise BundleError(
            f"Keras {keras.__version__} can be made to run code by a model file; "
            "install keras >= 3.15.1"
        )
