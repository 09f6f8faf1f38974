"""Thresholds of classes on the probabilities as stored: ``q = round(255 p)``, passed at ``q >= 255 t``."""

from __future__ import annotations

import numpy as np

from seg_batch.config.postprocess import ThresholdStep
from seg_batch.inference.postprocess.label_context import LabelContext


def threshold(
    labels: np.ndarray, probabilities: np.ndarray, step: ThresholdStep, context: LabelContext
) -> np.ndarray:
    """New labels by the equation of ``ThresholdStep``; ``probabilities`` ``(classes, *shape)`` uint8.

    Voxels without data, whose probabilities are all 0 or whose label says so, stay as they are.
    """
    limits = [step.classes.get(name) for name in context.ids]
    ids = np.array(list(context.ids.values()), labels.dtype)
    if free := [k for k, limit in enumerate(limits) if limit is None]:
        new = np.asarray(ids[free][probabilities[free].argmax(0)])
    elif context.background is None:
        new = labels.copy()
    else:
        new = np.full_like(labels, context.background)
    best = np.zeros(labels.shape, np.float32)
    for k, limit in enumerate(limits):
        if limit is None:
            continue
        ratio = probabilities[k] / np.float32(255 * limit)
        better = (probabilities[k] >= 255 * limit) & (ratio > best)
        new[better], best[better] = ids[k], ratio[better]
    known = (labels != context.nodata) & probabilities.any(0)
    return np.where(known, new, labels)
