"""Label files against label files: the numbers, what is left out, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.geometry import Grid
from seg_batch.core.taper import Taper
from seg_batch.datasets.label_classes import of_card, of_report, of_text
from seg_batch.evaluation.evaluate import evaluate_files
from seg_batch.evaluation.file_pairs import open_labelled_case
from seg_batch.evaluation.matching import Match, match
from seg_batch.evaluation.score_case import count_case
from tests.support.evaluation.label_files import (
    CARD,
    CLASSES,
    IDS,
    labels,
    raster_pair,
    volume_pair,
)
from tests.support.files import segbatch, write_raster, write_volume


def slow_confusion(truth: np.ndarray, found: np.ndarray, counted: np.ndarray) -> list[list[int]]:
    return [[int(((truth == t) & (found == f) & counted).sum()) for f in IDS] for t in IDS]


def test_numbers_are_those_of_the_arrays(tmp_path: Path) -> None:
    result = evaluate_files(*raster_pair(tmp_path), classes=CLASSES)
    truth, found = labels((90, 130), 1)
    counted = np.ones(truth.shape, bool)
    counted[:20, :30] = False
    expected = slow_confusion(truth, found, counted)
    scores = result["scores"]
    assert scores["confusion"] == expected
    assert list(scores["classes"]) == ["ground", "forest", "water"]
    t, f = truth[counted], found[counted]
    forest = 2 * ((t == 3) & (f == 3)).sum() / ((t == 3).sum() + (f == 3).sum())
    assert scores["classes"]["forest"]["dice"]["mean"] == pytest.approx(forest, abs=1e-4)
    assert scores["overall"]["accuracy"]["mean"] == pytest.approx((t == f).mean(), abs=1e-4)
    assert result["background"] == "ground"
    assert result["cases"][0]["not_scored"] == 600
    assert result["cases"][0]["not_predicted"] == 0
    assert (scores["size_unit"], scores["distance_unit"]) == ("ha", "m")


@pytest.mark.parametrize("side", [(17, 40), (90, 1), (64, 64), (1000, 1000)])
def test_blocks_of_any_size_give_the_same_numbers(tmp_path: Path, side: tuple[int, int]) -> None:
    found, truth = raster_pair(tmp_path)
    with open_labelled_case(Match("scene", found, truth), of_text(CLASSES), ()) as pair:
        taper = Taper(Grid((90, 130), (24, 30), (7, 8), (0, 0)), "linear")
        tiled = replace(pair, taper=taper)  # as if it had been blended from tiles
        whole, parts = count_case(tiled, 3, (90, 130)), count_case(tiled, 3, side)
    np.testing.assert_array_equal(whole.scores.cells, parts.scores.cells)
    np.testing.assert_array_equal(whole.scores.bands, parts.scores.bands)
    for name in ("hausdorff", "hausdorff95", "surface_distance"):
        np.testing.assert_array_equal(getattr(whole.scores, name), getattr(parts.scores, name))
    assert (whole.not_scored, whole.not_predicted) == (parts.not_scored, parts.not_predicted)
    assert whole.seams.to_json() == parts.seams.to_json()
    assert whole.seams.flips.all()


def test_volumes_are_compared_in_space_and_measured_in_mm(tmp_path: Path) -> None:
    found, truth = volume_pair(tmp_path)
    result = evaluate_files(found, truth, classes=CLASSES)
    a, b = labels((24, 20, 9), 5)
    assert result["scores"]["confusion"] == slow_confusion(a, b, np.ones(a.shape, bool))
    assert (result["scores"]["size_unit"], result["scores"]["distance_unit"]) == ("mL", "mm")
    size = ((b == 7).sum() - (a == 7).sum()) * 4.5 / 1000
    assert result["scores"]["classes"]["water"]["size_error"]["mean"] == pytest.approx(
        size, abs=1e-4
    )


def test_what_is_ignored_or_without_prediction_counts_nowhere(tmp_path: Path) -> None:
    found, truth = raster_pair(tmp_path)
    values, predicted = labels((90, 130), 1)
    predicted[50:, 100:] = 255
    write_raster(found, predicted[None], nodata=255)
    result = evaluate_files(found, truth, classes=CLASSES, ignore=[7])
    counted = (values != 7) & (predicted != 255) & (predicted != 7)
    counted[:20, :30] = False
    assert result["scores"]["confusion"] == slow_confusion(values, predicted, counted)
    unpredicted = (values != 7) & ~((predicted != 255) & (predicted != 7))
    unpredicted[:20, :30] = False
    assert result["cases"][0]["not_predicted"] == unpredicted.sum()
    assert "have no prediction" in result["warnings"][0]


def test_values_name_the_classes_where_nobody_does(tmp_path: Path) -> None:
    scores = evaluate_files(*raster_pair(tmp_path))["scores"]
    assert list(scores["classes"]) == ["class 0", "class 3", "class 7"]


@pytest.mark.full
def test_the_report_beside_a_prediction_names_its_classes(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "scene.tif", np.arange(6400).reshape(1, 80, 80).astype("int16"))
    made = segbatch("predict", image, "--model", "probe", "-o", tmp_path / "map.tif", "-q")
    assert made.status == 0, made.err
    truth = write_raster(
        tmp_path / "true.tif", (np.arange(6400) % 8).reshape(1, 80, 80).astype("u1")
    )
    result = evaluate_files(tmp_path / "map.tif", truth, images=image)
    assert result["classes"][3]["name"] == "residue 3"
    assert result["scores"]["overall"]["accuracy"]["mean"] == 1
    assert result["cases"][0]["model"]["name"] == "probe"
    assert result["cases"][0]["as_written"] is True
    assert result["seams"]["jump"] is None


def test_folders_are_matched_by_name(tmp_path: Path) -> None:
    for seed, name in enumerate(("b", "a", "c")):
        raster_pair(tmp_path, name, seed)
    (tmp_path / "found/a_labels.tif.json").write_text("{}")
    (tmp_path / "truth/c.tif").unlink()
    (tmp_path / "found/b_labels.tif").rename(tmp_path / "found/b.tif")
    found = match(tmp_path / "found", tmp_path / "truth")
    assert [(m.case, m.truth.name) for m in found.cases] == [("a", "a.tif"), ("b", "b.tif")]
    result = evaluate_files(tmp_path / "found", tmp_path / "truth", classes=CLASSES)
    assert result["scores"]["cases"] == ["a", "b"]
    assert [Path(p).name for p in result["unmatched"]["predictions"]] == ["c_labels.tif"]
    assert "c_labels.tif" in result["warnings"][0]


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    found, _ = raster_pair(tmp_path)
    found.with_name("scene.tif").write_bytes(found.read_bytes())
    with pytest.raises(InputError, match="are both called scene"):
        match(tmp_path / "found", tmp_path / "truth")


@pytest.mark.parametrize(
    ("profile", "difference"),
    [
        ({"transform": Affine(30, 0, 301920, 0, -30, 4154085)}, "voxels apart"),
        ({"crs": "EPSG:32613"}, "crs: WGS 84 / UTM zone 12N|UTM zone 13N"),
    ],
)
def test_another_grid_is_refused_by_name(tmp_path: Path, profile: dict, difference: str) -> None:
    found, truth = raster_pair(tmp_path)
    write_raster(truth, labels((90, 130), 1)[0][None], **profile)
    with pytest.raises(InputError, match=difference):
        evaluate_files(found, truth)


def test_what_is_no_label_image_is_refused(tmp_path: Path) -> None:
    found, truth = raster_pair(tmp_path)
    short = write_raster(tmp_path / "short.tif", labels((90, 129), 1)[0][None])
    with pytest.raises(InputError, match="extent"):
        evaluate_files(short, truth)
    image = write_raster(tmp_path / "image.tif", np.arange(11700).reshape(1, 90, 130).astype("u2"))
    with pytest.raises(InputError, match="more than 64 different values"):
        evaluate_files(image, truth)
    with pytest.raises(InputError, match=r"no class \(7;"):
        evaluate_files(found, truth, classes="0=ground,3=forest")
    bands = write_raster(tmp_path / "bands.tif", np.zeros((2, 90, 130), np.uint8))
    with pytest.raises(InputError, match="2 channels"):
        evaluate_files(bands, truth)
    volume = write_volume(tmp_path / "v.nii.gz", np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="a volume against a raster"):
        evaluate_files(volume, truth)


@pytest.mark.full
def test_the_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    found, truth = raster_pair(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(InputError):
        evaluate_files(found, truth, classes="0=ground", output=out)
    assert not list(tmp_path.glob("*out*"))
    result = evaluate_files(found, truth, classes=CLASSES, output=out)
    assert sorted(p.name for p in out.iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "index.html",
    ]
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(result))
    with (out / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["class"]) for r in rows] == [
        ("scene", "ground"),
        ("scene", "forest"),
        ("scene", "water"),
    ]
    assert float(rows[1]["dice"]) == result["scores"]["classes"]["forest"]["dice"]["mean"]
    with pytest.raises(OutputError, match="exists"):
        evaluate_files(found, truth, classes=CLASSES, output=out)
    evaluate_files(found, truth, classes=CLASSES, output=out, overwrite=True)


@pytest.mark.full
def test_the_command_says_by_its_status_what_was_asked(tmp_path: Path) -> None:
    pair = raster_pair(tmp_path)
    common = ("evaluate", *pair, "--classes", CLASSES, "-o", tmp_path / "out", "--overwrite")
    met = segbatch(*common, "--require", "dice>=0.5", "--json")
    assert met.status == 0, met.err
    assert met.json["requirements"][0]["met"] is True
    unmet = segbatch(*common, "--require", "dice[forest]>=0.99", "--require", "accuracy>.1")
    assert unmet.status == 3
    assert unmet.err.strip().startswith("segbatch: required dice[forest]>=0.99, found 0.")
    assert (tmp_path / "out/index.html").exists()
    misspelt = segbatch(*common, "--require", "dise>=0.8")
    assert misspelt.status == 2
    assert "did you mean dice?" in misspelt.err
    assert segbatch("evaluate", pair[0]).status == 2


def test_classes_that_make_no_sense_are_refused() -> None:
    for text in ("0=a,0=b", "0=a,1=a", "x=a", "0="):
        with pytest.raises(InputError, match="--classes"):
            of_text(text)
    assert of_text("landsat8-landcover").names[0] == "water"
    assert of_text("4=a,0=b").background == 1


def test_volumes_of_different_voxels_have_their_sizes_in_ml(tmp_path: Path) -> None:
    truth, found = labels((24, 20, 9), 5)
    for part, array in (("truth", truth), ("found", found)):
        (tmp_path / part).mkdir()
        for name, spacing in (("a", 1.0), ("b", 2.0)):
            write_volume(tmp_path / part / f"{name}.nii", array, np.diag([spacing, 1, 5, 1]))
    scores = evaluate_files(tmp_path / "found", tmp_path / "truth", classes=CLASSES)["scores"]
    voxels = int((found == 7).sum()) - int((truth == 7).sum())
    sizes = [r["size_error"] for r in scores["per_class_and_case"] if r["class"] == "water"]
    assert sizes == pytest.approx([voxels * 0.005, voxels * 0.01], abs=1e-4)
    assert scores["size_unit"] == "mL"


def test_the_background_is_that_of_the_card_or_else_id_0(tmp_path: Path) -> None:
    rows = [{"id": i, "name": n, "colour": [1, 2, 3]} for i, n in ((0, "ice"), (3, "sea"))]
    none = of_report({"classes": rows, "background": None}, "a report")
    other = of_report({"classes": rows, "background": 3}, "a report")
    older = of_report({"classes": rows}, "a report")
    assert (none.background, other.background, older.background) == (None, 1, 0)
    assert of_card(CARD).background == 0
    assert of_card(CARD.model_copy(update={"background": 7})).background == 2
    assert of_card(CARD.model_copy(update={"background": None})).background is None
    with pytest.raises(InputError, match="lists no classes that can be read"):
        of_report({"classes": [{"id": "many"}]}, "a report")


def test_classes_of_one_name_are_refused_because_tables_go_by_it() -> None:
    twins = (CARD.classes[0], CARD.classes[1].model_copy(update={"name": "ground"}))
    with pytest.raises(InputError, match="2 classes are called 'ground'"):
        of_card(CARD.model_copy(update={"classes": twins}))


@pytest.mark.parametrize("text", ["70000=ice,1=sea", "²=ice,1=sea", "-1=ice,1=sea"])
def test_a_value_that_no_class_can_have_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no class"):
        of_text(text)


@pytest.mark.parametrize("which", [0, 1])
def test_a_class_that_a_file_declares_as_nodata_is_refused_unless_it_is_ignored(
    tmp_path: Path, which: int
) -> None:
    files = raster_pair(tmp_path)
    values, predicted = labels((90, 130), 1)
    write_raster(files[which], (predicted, values)[which][None], nodata=0)
    with pytest.raises(InputError, match="declares 0 as nodata, which is a class here"):
        evaluate_files(*files, classes=CLASSES, ignore=[255])
    assert evaluate_files(*files, classes=CLASSES, ignore=[0, 255])["scores"]["voxels"] > 0


def test_cases_in_other_units_have_no_common_distance(tmp_path: Path) -> None:
    raster_pair(tmp_path, "a", 1)
    found, truth = raster_pair(tmp_path, "b", 2)
    for path in (found, truth):
        with rasterio.open(path) as file:
            values = file.read()
        write_raster(path, values, nodata=255, crs=None)
    scores = evaluate_files(
        tmp_path / "found", tmp_path / "truth", classes=CLASSES, output=tmp_path / "out"
    )["scores"]
    assert (scores["distance_unit"], scores["size_unit"]) == (None, "voxels")
    assert scores["classes"]["forest"]["hausdorff"]["mean"] is None
    assert scores["classes"]["forest"]["dice"]["mean"] is not None
    assert "measured in different units" in (tmp_path / "out/index.html").read_text()


@pytest.mark.full
def test_the_tiles_of_another_image_are_not_looked_for(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "scene.tif", np.arange(6400).reshape(1, 80, 80).astype("int16"))
    made = segbatch("predict", image, "--model", "probe", "-o", tmp_path / "map.tif", "-q")
    assert made.status == 0, made.err
    values = (np.arange(9000) % 8).reshape(1, 100, 90).astype("u1")
    found = write_raster(tmp_path / "map.tif", values)
    truth = write_raster(tmp_path / "true.tif", values)
    result = evaluate_files(found, truth)
    assert result["seams"] is None
    assert "is not the file that the report beside it tells of" in result["warnings"][0]
    report = found.with_name("map.tif.json")
    report.write_text(json.dumps({**json.loads(report.read_text()), "plan": {"patch": 3}}))
    with pytest.raises(InputError, match="a plan that can't be read"):
        evaluate_files(found, truth)
