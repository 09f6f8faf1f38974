"""nnU-Net's own command, run by the benchmarks' own environment with the arguments given.

It looks through all of its trainers, one of which imports timm, which imports torchvision, whose builds go with one
build of torch each. Where they don't, a placeholder stands for timm: the trained network takes nothing of it.
"""

import sys
from types import ModuleType


class Placeholder(ModuleType):
    """Every name in it is a class that does nothing."""

    __path__ = ()  # so that it may have submodules

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


try:
    import timm  # noqa: F401
except (ImportError, RuntimeError):
    names = (
        "timm",
        "timm.layers",
        "timm.models",
        "timm.models.eva",
        "timm.models.vision_transformer",
    )
    sys.modules |= {name: Placeholder(name) for name in names}

if __name__ == "__main__":
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder

    predict_entry_point_modelfolder()
