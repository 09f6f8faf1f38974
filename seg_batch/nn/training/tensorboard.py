"""Event files for TensorBoard, which does not have to be installed here."""

from pathlib import Path
from typing import Any, Self

from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import OutputError
from seg_batch.nn.backend import tf

_SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data={"plugin_name": "scalars"},
    data_class=1,  # as TensorBoard's summary.proto has it
)


class TensorBoardLog(Callback):
    """Writes the rows of a history as scalars into ``folder``.

    Tags: ``train/loss``, ``train/learning_rate``, ``train/wait``, ``validation/<score>``. Look at it with
    ``tensorboard --logdir FOLDER``.
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

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def on(self, event: events.Event) -> None:
        """A row of the history is on disk after a validation at the latest."""
        if isinstance(event, events.TrainingRow):
            self._row(event)

    def _row(self, row: events.TrainingRow) -> None:
        values = {"train/loss": row.loss, "train/learning_rate": row.lr, "train/wait": row.wait}
        values |= {f"validation/{name}": value for name, value in (row.scores or {}).items()}
        with self._writer.as_default(step=row.step):
            for tag, value in values.items():
                # tf.summary.scalar is TensorBoard's own; what it writes is a tensor and a tag.
                tf.summary.write(tag, tf.constant(value, tf.float32), metadata=_SCALARS)
        if row.scores:
            self._writer.flush()
