"""Keras, imported once and quietly, its GPUs told to take memory only as they need it.

The other modules of this room take `keras` and `tf` from here. TensorFlow 2.21 greets with some ten lines
about oneDNN and missing CUDA libraries that TF_CPP_MIN_LOG_LEVEL no longer silences; they would
bury the one line that the command line has to say. Should the import fail, they are shown.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["ONEDNN", "keras", "quiet_stderr", "tf"]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to file descriptor 2; give it out if the body raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# Else TensorFlow takes oneDNN only on some CPUs. Its own convolutions split sums among threads, so that
# last bits would depend on how many there are.
_early = "tensorflow" in sys.modules  # it has chosen before we could say anything
_asked = os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
ONEDNN = not _early and _asked.lower() not in ("0", "false")

with quiet_stderr():
    import keras

    # `engines` and `training` need TensorFlow; the model and the losses run on any backend of Keras.
    tf: Any = None
    if keras.backend.backend() == "tensorflow":
        tf = importlib.import_module("tensorflow")
        # Has to happen before the first operation; afterwards TensorFlow refuses.
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
