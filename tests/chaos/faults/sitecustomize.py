"""Put into every process of a run by PYTHONPATH: a log of the blocks begun, and faults in reading.

The package knows nothing of this. Environment:

CHAOS_LOG     a file that gets a line for each block as it is begun: session, input, block; beside it
              .eio, with one for each read that was made to fail
CHAOS_SLOW_S  so many seconds every read takes longer
CHAOS_EIO     a share (0 to 1) of all reads, or a part of a file's name all of whose reads, fail
"""

import errno
import importlib.abc
import importlib.util
import os
import random
import sys
import time
from functools import wraps


def tell(end, line):
    path = os.environ["CHAOS_LOG"] + end
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def patch_source(module):
    source = module.RasterSource if hasattr(module, "RasterSource") else module.NiftiSource
    fetch = source._fetch
    share, slow_s = os.environ.get("CHAOS_EIO", ""), float(os.environ.get("CHAOS_SLOW_S", 0))

    @wraps(fetch)
    def faulty(self, *arguments, **named):
        time.sleep(slow_s)
        name = not share.replace(".", "").isdigit()
        if share and (share in str(self._path) if name else random.random() < float(share)):
            tell(".eio", str(self._path))
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._path))
        return fetch(self, *arguments, **named)

    source._fetch = faulty


def patch_work(module):
    predict = module.Work.predict

    @wraps(predict)
    def logged(self, block):
        line = f"{os.environ.get('CHAOS_SESSION', 0)}\t{self.job.image.paths[0]}\t{block.name}"
        tell("", line)
        return predict(self, block)

    if "CHAOS_LOG" in os.environ:
        module.Work.predict = logged


PATCHES = {
    "seg_batch.io.sources.formats.raster": patch_source,
    "seg_batch.io.sources.formats.nifti": patch_source,
    "seg_batch.inference.worker": patch_work,
}


class Patching(importlib.abc.MetaPathFinder):
    """Patches a module right after it was imported."""

    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_and_patch(module):
            execute(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_and_patch
        return spec


sys.meta_path.insert(0, Patching())
