"""A model file that somebody else made, read without running anything that is in it.

What a ``.keras`` file is made of stands in its ``config.json``, which is read before Keras is asked to
build anything: so what can't be loaded safely is named, layer by layer.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.nn.backend import keras
from seg_batch.nn.loading import require_safe_keras

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONFIG = "config.json"
_CONFIG_BYTES = 64 << 20  # of a network with ten thousand layers, a tenth
_LAMBDAS = ("Lambda", "__lambda__")
_MOST_NAMED = 3


def read_model(path: Path) -> keras.Model:
    """The model in a ``.keras`` file, with as many inputs and outputs as it has.

    InputError in one line when there is no such file, when it is something else, or when it needs
    code that is not Keras' own: Lambda layers, classes that are not known.
    """
    require_safe_keras()
    config = _config(path)
    _require_layers(config, path)
    _require_channels_last(config, path)
    try:
        model = keras.models.load_model(path, safe_mode=True, compile=False)
        return keras.Model(model.inputs, model.outputs, name=model.name)
    except Exception as error:  # Keras raises whatever its parsers meet
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} can't be built by Keras {keras.__version__} ({reason}): save it again with "
            "model.save('x.keras'), as a functional or sequential model"
        ) from error


def _config(path: Path) -> dict[str, Any]:
    """What the file says the model is made of."""
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, perhaps a SavedModel, whose graph holds no layers to check: load "
            "it where it was made, and save it with model.save('x.keras')"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}: name a model saved with model.save('x.keras')")
    with path.open("rb") as file:
        if file.read(len(_HDF5)) == _HDF5:
            raise InputError(
                f"{path} is a legacy HDF5 model, which may hold pickled code that runs when it is "
                "loaded: load it where you trust it, and save it with model.save('x.keras')"
            )
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_CONFIG).file_size > _CONFIG_BYTES:
                raise ValueError("its configuration is too large to be one")
            config = json.loads(archive.read(_CONFIG))
    except Exception as error:
        raise InputError(
            f"{path} is no Keras model ({error}): name a file saved with model.save('x.keras')"
        ) from None
    if not isinstance(config, dict):
        raise InputError(f"{path} is no Keras model: its {_CONFIG} holds no object")
    return config


def _require_layers(config: dict[str, Any], path: Path) -> None:
    """InputError naming Lambda layers, or classes that are neither Keras' nor registered here."""
    made_of = {k: v for k, v in config.items() if k not in ("compile_config", "build_config")}
    objects = list(_objects(made_of))
    if lambdas := [name for name, kind, _ in objects if kind in _LAMBDAS]:
        raise InputError(
            f"{path} has Lambda layers ({_some(lambdas)}), Python code that runs when a model is "
            "loaded: put layers of Keras or keras.ops in their place, and save it again"
        )
    if unknown := [f"{name} of class {kind}" for name, kind, known in objects if not known]:
        raise InputError(
            f"{path} has layers that are not Keras' own ({_some(unknown)}), whose code a bundle "
            "can't carry: build them of Keras' layers or keras.ops, and save it again"
        )


def _require_channels_last(config: dict[str, Any], path: Path) -> None:
    if first := list(_channels_first(config.get("config"))):
        raise InputError(
            f"{path} has layers with channels first ({_some(first)}), here channels come last: build "
            "it with data_format='channels_last', and save it again"
        )


def _channels_first(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value.get("data_format") == "channels_first":
        yield str(value.get("name"))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _channels_first(one)


def _objects(value: Any, outer: str = "") -> Iterator[tuple[str, str, bool]]:
    """``(name, class, whether it is known)`` of everything serialised; ``outer``: whose part it is."""
    if isinstance(value, list):
        for one in value:
            yield from _objects(one, outer)
    if not isinstance(value, dict):
        return
    inner = value.get("config")
    name = str((inner if isinstance(inner, dict) else value).get("name", outer))
    code = value.keys() == {"value"} and isinstance(value["value"], list)  # of an activation
    kind = _LAMBDAS[1] if code else value.get("class_name")
    if isinstance(kind, str) and ("module" in value or kind in _LAMBDAS):
        yield name or outer, kind, _is_known(value)
    for one in value.values():
        yield from _objects(one, name or outer)


def _is_known(value: dict[str, Any]) -> bool:
    module, registered = value.get("module"), value.get("registered_name")
    if isinstance(module, str) and module.split(".")[0] == "keras":
        return True
    return bool(registered and keras.saving.get_registered_object(str(registered)))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
