"""What is measured of the voxels of an image, or of all images of a training, in one pass of bounded memory."""

from typing import Literal

ChannelKind = Literal["card", "identity", "source", "nonzero", "range", "percentiles"]
PerImage = Literal["source", "nonzero", "range", "percentiles"]  # schemes of one image
