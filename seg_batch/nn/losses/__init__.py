"""Losses on probabilities, for images and volumes alike.

Arguments, everywhere: `truth` is integer labels ``(B, *s)`` or one-hot ``(B, *s, K)``; `probability`
is the output of one head ``(B, *s, C)`` in [0, 1], where C = K, or C = 1 for a sigmoid (then K = 2);
`valid` is ``(B, *s)``, bool or a weight per voxel, None for all ones. Voxels that are not valid
change no result, whatever their label. All losses are scalars of float32.

A class that a sample's truth does not contain is left out of that sample's mean wherever a loss is
a mean over classes: its score would depend on the smoothing alone, and cross-entropy still pushes
its probability down. A batch with no class left scores 0.

Written with keras.ops only, so they run on every Keras backend.
"""
