"""Losses on probabilities, for images and volumes alike.

Arguments of all losses: `truth` is integer labels ``(B, *s)`` or one-hot ``(B, *s, K)``;
`probability` is the output of one head ``(B, *s, C)`` in [0, 1], where C = K, or C = 1 for a
sigmoid (then K = 2); `valid` is ``(B, *s)``, bool or a weight per voxel, None for all ones. Voxels
that are not valid do not change the result, whatever their label. All losses are float32 scalars.

A mean over classes skips the classes that a sample's truth does not contain: their score would
depend on the smoothing alone, and cross-entropy still lowers their probability. A batch without any
class scores 0.

The losses use keras.ops only, so they run on every Keras backend.
"""

from seg_batch.nn.losses.boundary import chessboard, distance, edge
from seg_batch.nn.losses.build import LOSSES, build_loss
from seg_batch.nn.losses.combine import dice_ce, over_heads, weighted_sum
from seg_batch.nn.losses.hybrid import paper
from seg_batch.nn.losses.overlap import dice, focal_tversky, generalised_dice, tversky
from seg_batch.nn.losses.shapes import TINY, Loss
from seg_batch.nn.losses.voxelwise import cross_entropy, distillation, focal, inverse_frequency

__all__ = [
    "LOSSES",
    "TINY",
    "Loss",
    "build_loss",
    "chessboard",
    "cross_entropy",
    "dice",
    "dice_ce",
    "distance",
    "distillation",
    "edge",
    "focal",
    "focal_tversky",
    "generalised_dice",
    "inverse_frequency",
    "over_heads",
    "paper",
    "tversky",
    "weighted_sum",
]
