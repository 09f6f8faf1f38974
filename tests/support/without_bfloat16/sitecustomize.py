"""Put into every process of a test by PYTHONPATH: its CPU does not compute in bfloat16.

So it is to what asks `hardware`, or OpenVINO what it can do. Instructions stay those that there are.
"""

import importlib.abc
import importlib.util
import sys

from seg_batch.core import hardware

hardware.has_bfloat16 = lambda: False


def patch(openvino):
    get_property = openvino.Core.get_property

    def without(self, *arguments):
        found = get_property(self, *arguments)
        return [one for one in found if one != "BF16"] if isinstance(found, list) else found

    openvino.Core.get_property = without


class Patching(importlib.abc.MetaPathFinder):
    """Patches OpenVINO right after it was imported."""

    def find_spec(self, name, path, target=None):
        if name != "openvino":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (execute(module), patch(module))
        return spec


sys.meta_path.insert(0, Patching())
