"""Which file of a stack is which channel of a model, where the names of files say it as a whole.

``p7_0000.nii.gz`` is the first channel, as nnU-Net writes it; a file that is called exactly as a channel is that
channel, whatever its name shares with those of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.common_names import spelling
from seg_batch.core.errors import InputError
from seg_batch.core.privacy.addresses import is_remote, shown
from seg_batch.io.sources.naming.stack_names import stem_of
from seg_batch.io.sources.protocol import SourceInfo

_NUMBER = re.compile(r"\d{4}")


def files_in_order(info: SourceInfo, channels: Sequence[Channel]) -> tuple[int, ...] | str | None:
    """The indices of the files in the order of the model, or why their numbers are not those of its channels;
    None where the names say neither."""
    if not len(info.stack) == len(info.channels) == len(info.names) > 1:
        return None
    if all(map(_NUMBER.fullmatch, info.channels)):
        return _by_number(info, len(channels))
    spelled = [spelling(stem_of(file.path)) for file in info.stack]
    wanted = [{spelling(text) for text in (each.name, *each.aliases)} for each in channels]
    at = [[n for n, text in enumerate(spelled) if text in texts] for texts in wanted]
    indices = tuple(row[0] for row in at if len(row) == 1)
    return indices if len(set(indices)) == len(channels) else None


def _by_number(info: SourceInfo, count: int) -> tuple[int, ...] | str | None:
    numbers = [*map(int, info.channels)]
    if len(numbers) != count:
        return None  # the number of channels is told
    if sorted(numbers) != [*range(count)]:
        return (
            f"the files are numbered {', '.join(sorted(info.channels))}, and its channels are 0000 to "
            f"{count - 1:04}: give the file of each"
        )
    return tuple(map(numbers.index, range(count)))


def require_different(paths: Sequence[str]) -> None:
    """``InputError`` where two of the files of one image are the same."""
    real = [shown(path) if is_remote(path) else os.path.realpath(path) for path in paths]
    for n, path in enumerate(real):
        if path in real[:n]:
            first, twice = shown(paths[real.index(path)]), shown(paths[n])
            named = "is named twice" if first == twice else f"and {first} are one file"
            raise InputError(
                f"{twice} {named}, so two channels of the image would be the same: name the file of each "
                "channel once"
            )
