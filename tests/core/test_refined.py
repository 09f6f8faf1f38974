"""The geometry of a finer grid in the same place: affines, control points, RPCs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import from_gcps

from seg_batch.core.georef import RasterGeoref, VolumeGeoref, refined


@given(st.lists(st.integers(1, 5), min_size=3, max_size=3), st.integers(0, 1000))
def test_corners_stay_and_centres_move(factors: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]])
    tuples = tuple(map(tuple, matrix.tolist()))
    found = refined(VolumeGeoref(tuples, tuples, 2, tuples, 1), tuple(factors))
    assert found.affine == found.sform == found.qform
    assert (found.sform_code, found.qform_code) == (2, 1)
    corner = rng.integers(0, 9, 3)
    before = matrix @ [*(corner - 0.5), 1]
    after = found.matrix @ [*(corner * factors[::-1] - 0.5), 1]
    assert np.allclose(before, after)


def test_control_points_and_rpcs_speak_of_the_finer_grid() -> None:
    """Control points count from the first corner, RPCs from the first centre."""
    points = ((0.0, 0.0, 5.0, 9.0, 0.0), (10.0, 0.0, 5.0, 4.0, 0.0), (0.0, 20.0, 15.0, 9.0, 0.0))
    rpcs = (("HEIGHT_OFF", "7.0"), ("LINE_OFF", "99.5"), ("SAMP_OFF", "49.5"), ("SAMP_SCALE", "50"))
    georef = RasterGeoref(gcps=points, gcps_crs_wkt="x", rpcs=rpcs)
    found = refined(georef, (3, 3))
    place = [
        from_gcps([GroundControlPoint(r, c, x, y) for r, c, x, y, _ in g.gcps])
        for g in (georef, found)
    ]
    assert (place[0] @ place[0].scale(1 / 3)).almost_equals(place[1])
    assert found.transform == georef.transform
    numbers = {key: float(text) for key, text in found.rpcs}
    # The line through the middle of line 99.5 of the input lies at line 299.5 of the product.
    assert numbers == {"HEIGHT_OFF": 7, "LINE_OFF": 299.5, "SAMP_OFF": 149.5, "SAMP_SCALE": 150}
