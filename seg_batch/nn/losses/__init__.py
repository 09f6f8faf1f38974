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
