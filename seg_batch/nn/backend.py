"""Keras and TensorFlow, imported once without start-up messages; GPU memory grows as needed.

The other modules of `nn` import `keras` and `tf` from here. TensorFlow 2.21 starts with some ten
lines about oneDNN and missing CUDA libraries, which TF_CPP_MIN_LOG_LEVEL no longer silences and
which would bury the output of a command. They are shown if the import fails.
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
    """Hold back the output of native code to file descriptor 2; print it if the body raises."""
    if sys.stderr is None:  # closed, as in a service: there is nothing to hold back
        yield
        return
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


# By default TensorFlow uses oneDNN only on some CPUs. Its own convolutions split sums among
# threads, so the last bits of results would depend on the number of threads.
_early = "tensorflow" in sys.modules  # then the setting comes too late
_setting = os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
ONEDNN = not _early and _setting.lower() not in ("0", "false")

with quiet_stderr():
    import keras

    # `engines` and `training` need TensorFlow; networks and losses run on any backend of Keras.
    tf: Any = None
    if keras.backend.backend() == "tensorflow":
        tf = importlib.import_module("tensorflow")
        # TensorFlow refuses this after its first operation.
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
