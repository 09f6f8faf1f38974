"""What a storage SCP accepts: the kinds of images that are read, in the transfer syntaxes that are decoded."""

from __future__ import annotations

from typing import Any

from pydicom import uid

STORED = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
# Deflated is left out: a small instance may unpack to any size.
SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)


def add_contexts(entity: Any) -> None:
    """Let a pynetdicom ``AE`` accept these, and C-ECHO."""
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    entity.add_supported_context(Verification)
    for kind in STORED:
        entity.add_supported_context(kind, list(SYNTAXES))
