"""PET: from activity to the standardised uptake value by body weight.

    SUVbw = A / D * W,    D = dose * 2^(-(t_scan - t_injected) / half-life)

with the activity ``A`` in Bq/mL, the dose in Bq decayed to the moment to which the image is corrected, and the weight
``W`` in g: the QIBA vendor-neutral rules (Quantitative Imaging Biomarkers Alliance, FDG-PET/CT profile, appendix on
the computation of SUV), whose conditions are all asked for here. Where the image is corrected to the injection (``ADMIN``,
PS3.3 C.8.9.1), ``D`` is the dose. ``t_scan`` is the moment of the series where no acquisition is earlier: some
programs that make new series of old ones put their own time there; else the earliest acquisition.
"""

from __future__ import annotations

from dataclasses import dataclass

from seg_batch.io.dicom.series import Radiopharmacy, Series

SUV = "SUVbw"
_WEIGHT_KG = (0.005, 500.0)  # from a mouse on; 0 and 1000 stand where nobody asked
_DOSE_BQ = (1e4, 1e12)  # below: written in MBq
_HALF_LIFE_S = (60.0, 1e6)
_MOST_HALF_LIVES = 10.0
_DAY_S = 86_400


@dataclass(frozen=True)
class Uptake:
    """``factor``: SUVbw of one unit of what is rescaled; None where that can't be told. ``line``: a warning."""

    factor: float | None
    line: str


def uptake(series: Series) -> Uptake | None:
    """What makes SUVbw of a PET series; None for other modalities."""
    known = series.facts.radiopharmacy
    if series.facts.modality != "PT" or known is None:
        return None
    if known.units == "GML" and known.suv_type in ("", "BW"):
        return Uptake(1.0, f"PET: values are {SUV} (g/mL) as stored")
    dose = _decayed_dose(series, known)
    if isinstance(dose, str):
        return Uptake(
            None,
            f"PET: no {SUV}, because {dose}: values are in the units of the file ({known.units or 'not said'})",
        )
    assert known.weight_kg is not None
    factor = known.weight_kg * 1000 / dose
    return Uptake(
        factor,
        f"PET: activity (Bq/mL) is taken as {SUV}, x {factor:.6g}, by weight, dose and half-life in the header; --scale none "
        "takes the stored numbers",
    )


def _decayed_dose(series: Series, known: Radiopharmacy) -> float | str:
    """In Bq; why it is not known, where it is not."""
    if known.units != "BQML":
        return f"its units are {known.units or 'not said'}, not BQML"
    if not {"ATTN", "DECY"} <= {*known.corrected}:
        return "the image is not said to be corrected for attenuation and decay"
    limits = {
        "weight": (known.weight_kg, _WEIGHT_KG),
        "dose": (known.dose_bq, _DOSE_BQ),
        "half-life": (known.half_life_s, _HALF_LIFE_S),
    }
    for name, (value, (low, high)) in limits.items():
        if value is None:
            return f"the header has no {name}"
        if not low <= value <= high:
            return f"the {name} in the header can't be true"
    assert known.dose_bq is not None and known.half_life_s is not None  # noqa: PT018
    if known.decay_correction == "ADMIN":
        return known.dose_bq
    if known.decay_correction != "START":
        return f"its decay correction is {known.decay_correction or 'not said'}"
    waited_s = _waited_s(series, known)
    if waited_s is None:
        return "the header has no time of injection or of the scan"
    if not 0 <= waited_s <= _MOST_HALF_LIVES * known.half_life_s:
        return "its times of injection and scan can't be true"
    return float(known.dose_bq * 2 ** (-waited_s / known.half_life_s))


def _waited_s(series: Series, known: Radiopharmacy) -> float | None:
    """From injection to scan. An injection after the scan by its time alone was on the day before."""
    acquired = [one.marks.moment for one in series.slices if one.marks.moment is not None]
    scan = known.series_moment
    if acquired and (scan is None or min(acquired) < scan):
        scan = min(acquired)
    if scan is None or known.injected is None:
        return None
    waited_s = scan - known.injected
    return waited_s + _DAY_S if -_DAY_S < waited_s < 0 and not known.dated else waited_s
