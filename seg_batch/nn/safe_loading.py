"""An untrusted model file, read without running code in it."""

from pathlib import Path

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.loading import require_safe_keras
from seg_batch.nn.safe_config import require_safe_layers


def read_model(path: Path) -> keras.Model:
    """The model in a ``.keras`` file, with all its inputs and outputs.

    Raises InputError (one line) if the file is missing or is no model, or if it needs code that is
    not Keras' own: Lambda layers, unknown classes.
    """
    require_safe_keras()
    require_safe_layers(path, _is_registered)
    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
        return keras.Model(model.inputs, model.outputs, name=model.name)
    except Exception as error:  # Keras raises errors of many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} can't be built by Keras {keras.__version__} ({reason}): save it again with "
            "model.save('x.keras'), as a functional or sequential model"
        ) from error


def _is_registered(name: str) -> bool:
    return keras.saving.get_registered_object(name) is not None
