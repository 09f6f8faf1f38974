"""What an untrusted ``.keras`` file says of its layers, read without Keras, so that it takes no time.

The ``config.json`` in it lists them. It is checked before anything is built, so a refusal can name the layers that
are not safe.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seg_batch.core.errors import InputError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONFIG = "config.json"
_CONFIG_BYTES = 64 << 20  # ten times that of a network with ten thousand layers
_LAMBDAS = ("Lambda", "__lambda__")
_MOST_NAMED = 3


def require_safe_layers(path: Path, is_registered: Callable[[str], bool]) -> None:
    """InputError (one line) if the file is missing or is no model, or if it needs code that is not Keras' own:
    Lambda layers, classes that are not ``is_registered``. Also for channels first."""
    config = _config(path)
    _require_layers(config, path, is_registered)
    _require_channels_last(config, path)


def _config(path: Path) -> dict[str, Any]:
    """The file's configuration of the model."""
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


def _require_layers(
    config: dict[str, Any], path: Path, is_registered: Callable[[str], bool]
) -> None:
    """Raises InputError naming Lambda layers, or classes that are neither Keras' nor registered."""
    model = {k: v for k, v in config.items() if k not in ("compile_config", "build_config")}
    objects = list(_objects(model, is_registered))
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
    """Names of the layers with channels first, at any depth of a configuration."""
    if isinstance(value, dict):
        if value.get("data_format") == "channels_first":
            yield str(value.get("name"))
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _channels_first(item)


def _objects(
    value: Any, is_registered: Callable[[str], bool], outer: str = ""
) -> Iterator[tuple[str, str, bool]]:
    """``(name, class, whether known)`` of all serialised objects; `outer`: the name around them."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item, is_registered, outer)
    if not isinstance(value, dict):
        return
    inner = value.get("config")
    name = str((inner if isinstance(inner, dict) else value).get("name", outer))
    code = value.keys() == {"value"} and isinstance(value["value"], list)  # of an activation
    kind = _LAMBDAS[1] if code else value.get("class_name")
    if isinstance(kind, str) and ("module" in value or kind in _LAMBDAS):
        yield name or outer, kind, _is_known(value, is_registered)
    for item in value.values():
        yield from _objects(item, is_registered, name or outer)


def _is_known(value: dict[str, Any], is_registered: Callable[[str], bool]) -> bool:
    module, registered = value.get("module"), value.get("registered_name")
    if isinstance(module, str) and module.split(".")[0] == "keras":
        return True
    return bool(registered) and is_registered(str(registered))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
