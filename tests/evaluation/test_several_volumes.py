"""A remedy that is named can be followed: label files of several volumes name no option of another command."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.evaluation.evaluate import evaluate_files
from seg_batch.io.sources import open_source


def test_a_series_of_label_volumes_is_refused_without_an_option(tmp_path: Path) -> None:
    path = tmp_path / "t.nii"
    nibabel.Nifti1Image(np.ones((4, 4, 4, 2), np.uint8), np.eye(4)).to_filename(path)
    with pytest.raises(InputError, match="2 volumes") as refused:
        evaluate_files(str(path), str(path), output=tmp_path / "e")
    assert "--volume" not in refused.value.message
    with pytest.raises(InputError, match=r"--volume K \(0 to 1\)"):
        open_source(path)
