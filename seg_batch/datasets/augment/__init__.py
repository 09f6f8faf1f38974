"""Patches varied for training: image and label move together, only the image changes its values.

Everything works on ``(*spatial, C)`` float32 images in normalised units and ``(*spatial)`` label
indices, in 2-D and 3-D, takes its randomness from one generator and leaves its inputs as they are.
Labels are never blended, so that ignored voxels stay ignored and nothing else becomes so.
"""
