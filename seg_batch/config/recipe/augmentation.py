"""How training samples are drawn and augmented."""

from __future__ import annotations

from pydantic import Field, model_validator

from seg_batch.config.validation import CheckedValue


class Sampling(CheckedValue):
    """How samples are drawn.

    ``balance``: share of the samples that are class-balanced: the classes that occur take turns, and the
    crop has a voxel of the class. ``foreground``: share of the samples whose crop has a voxel of any class
    but the background. The other samples go evenly through all patches. ``min_valid``: a patch with a
    smaller share of labelled voxels is never drawn.
    """

    balance: float = Field(default=0.5, ge=0, le=1)
    foreground: float = Field(default=0.0, ge=0, le=1)
    min_valid: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_is_a_share(self) -> Sampling:
        if self.balance + self.foreground > 1 + 1e-9:
            raise ValueError(
                f"balance {self.balance} and foreground {self.foreground} are shares of the same "
                "samples: their sum can't be above 1"
            )
        return self


class Augment(CheckedValue):
    """Augmentation, in normalised units; a step with zero or an empty value is off.

    Spatial, image and label together: ``flip``: axes that may be mirrored. ``quarter_turns``: two
    axes of equal patch side. ``rotate_degrees`` (at most, in each plane), ``scale`` (0.1: 0.9 to
    1.1) and ``elastic`` (standard deviation in voxels of a smooth displacement with a correlation length of
    ``elastic_smooth`` voxels) warp a share ``warped`` of the patches. An ``elastic`` above a fifth of
    ``elastic_smooth`` folds the image. ``crop_shift``: voxels by which a crop may leave its tile; the image
    is mirrored there.

    Intensity, the image only: ``gain`` (contrast) and ``shift`` (brightness) are standard deviations,
    ``noise`` is the largest one of white noise, ``gamma`` the largest change of the exponent, ``blur``
    the largest sigma in voxels, ``low_resolution`` the largest factor of a coarser grid (1: none),
    ``thick_slices`` the largest thickness in voxels of simulated slices (1: none): across the axis with the
    longest voxels, or across any where no axis has such. These last four are applied to 3 of 10 samples. ``drop_band``: probability that one channel is
    set to its mean. ``cutmix``: probability that a box is replaced by that of another sample,
    labels too (Yun et al., ICCV 2019).
    """

    flip: tuple[int, ...] = ()
    quarter_turns: tuple[int, int] | None = None
    rotate_degrees: float = Field(default=0, ge=0, le=180)
    scale: float = Field(default=0, ge=0, lt=1)
    elastic: float = Field(default=0, ge=0)
    elastic_smooth: float = Field(default=8, gt=0)
    warped: float = Field(default=1, ge=0, le=1)
    crop_shift: int = Field(default=0, ge=0)
    gain: float = Field(default=0, ge=0)
    shift: float = Field(default=0, ge=0)
    gamma: float = Field(default=0, ge=0, lt=1)
    noise: float = Field(default=0, ge=0)
    blur: float = Field(default=0, ge=0)
    low_resolution: float = Field(default=1, ge=1, le=8)
    thick_slices: float = Field(default=1, ge=1, le=10)
    drop_band: float = Field(default=0, ge=0, le=1)
    cutmix: float = Field(default=0, ge=0, le=1)
