"""Event files for TensorBoard, which need not be installed to write them."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.nn.backend import tf
from seg_batch.nn.training.history import Row

_SCALAR, _BLOB = 1, 3  # data classes of TensorBoard's summary.proto


class Board:
    """Writes the rows of a history as scalars, and pictures, into ``folder``.

    Tags: ``train/loss``, ``train/learning_rate``, ``train/wait``, ``validation/<score>``, and what
    pictures are called. Look at it with ``tensorboard --logdir FOLDER``.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputError(
                f"can't write TensorBoard logs to {folder} ({reason}): choose another folder"
            ) from error
        self._writer: Any = tf.summary.create_file_writer(str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # tf.summary.scalar and .image are TensorBoard's own; what they write is a tensor and a tag.
    def _write(self, tag: str, step: int, tensor: Any, plugin: str, kind: int) -> None:
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data={"plugin_name": plugin}, data_class=kind
        )
        with self._writer.as_default(step=step):
            tf.summary.write(tag, tensor, metadata=metadata)

    def row(self, row: Row) -> None:
        """One row of the history; it is on disk after a validation at the latest."""
        values = {"train/loss": row.loss, "train/learning_rate": row.lr, "train/wait": row.wait}
        values |= {f"validation/{name}": value for name, value in (row.scores or {}).items()}
        for tag, value in values.items():
            self._write(tag, row.step, tf.constant(value, tf.float32), "scalars", _SCALAR)
        if row.scores:
            self._writer.flush()

    def image(self, tag: str, step: int, rgb: np.ndarray) -> None:
        """One picture, ``(y, x, 3)`` uint8."""
        height, width = rgb.shape[:2]
        png = tf.io.encode_png(rgb)
        parts = tf.stack([tf.constant(str(width)), tf.constant(str(height)), png])
        self._write(tag, step, parts, "images", _BLOB)

    def png(self, tag: str, step: int, path: Path) -> None:
        """One picture out of a PNG file."""
        self.image(tag, step, tf.io.decode_png(path.read_bytes(), channels=3).numpy())

    def close(self) -> None:
        self._writer.close()
