"""What is measured of the voxels of an image, or of all images of a training, in one pass of bounded memory."""

from typing import Literal

PerImage = Literal["source", "nonzero", "range", "percentiles"]  # schemes of one image
