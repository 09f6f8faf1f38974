"""Several models and several views in whole runs: averaged, named, refused, resumed, promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from seg_batch.cli.display.lines import plan_facts, plan_lines
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation, SkipRule
from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.card_parts.network import Output
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import BundleError, PlanError, StoreError
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.api.predict import predict
from seg_batch.inference.bundles import PROBE, Model
from seg_batch.inference.ensemble import as_ensemble, average
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.verify import verify_product
from tests.support.bundles import make_bundle
from tests.support.evaluation.label_files import CARD as THIRDS
from tests.support.evaluation.label_files import scene as labelled_scene
from tests.support.evaluation.label_files import thirds
from tests.support.files import address_raster, segbatch, write_raster

CARD = ModelCard(
    name="one",
    kind="raster",
    rank=2,
    channels=("a", "b", "c"),
    classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(3)),
    patch=(48, 48),
    overlap=(16, 16),
    normalisation=Normalisation(kind="identity"),
)
OTHER = CARD.model_copy(update={"name": "other"})
THIRD = CARD.model_copy(update={"name": "third"})


def leaning(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A predictor that depends on the values, on the place in the patch and on nothing else."""
    rng = np.random.default_rng(seed)

    ramp = rng.random((48, 48, 3))
    turn = rng.random((3, 3))

    def predict(patches: np.ndarray) -> np.ndarray:
        score = np.exp(3 * ramp + np.sin(patches / 40) @ turn)
        return (score / score.sum(-1, keepdims=True)).astype(np.float32)

    return predict


A, B, C = (leaning(seed) for seed in range(3))


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def both(folder: Path, name: str) -> bytes:
    """Labels and probabilities, which would show the last bit of a sum."""
    return (
        read(folder / f"{name}.tif").tobytes()
        + read(folder / f"{name}_probabilities.tif").tobytes()
    )


def test_the_mean_is_in_float32_and_in_order() -> None:
    x = np.random.default_rng(1).random((4, 48, 48, 3)).astype(np.float32) * 200
    found = average([A, B, C])(x)
    assert found.dtype == np.float32
    assert np.array_equal(found, ((A(x) + B(x)) + C(x)) / np.float32(3))
    assert np.allclose(found, np.mean([A(x), B(x), C(x)], axis=0, dtype=float), atol=1e-6)
    assert average([A]) is A


def test_a_member_s_own_array_is_not_touched() -> None:
    """A predictor may hand out the same array twice."""
    kept = np.full((1, 4, 4, 2), 0.5, np.float32)
    found = average([lambda x: kept, lambda x: kept])(kept)
    assert np.array_equal(found, kept)
    assert found is not kept


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": CARD.classes[:2]}, r"classes \(0=k0, 1=k1 against 0=k0, 1=k1, 2=k2\)"),
        ({"classes": CARD.classes[::-1]}, "classes"),
        (
            {"channels": (Channel(name="a"), Channel(name="b"), Channel(name="x"))},
            r"channels \(a, b, x against a, b, c\)",
        ),
        ({"kind": "any"}, r"kind \(any against raster\)"),
        ({"rank": None}, "rank"),
        ({"orientation": "LPS"}, "orientation"),
        ({"normalisation": Normalisation(kind="source")}, "normalisation"),
        ({"skip": SkipRule(below=0)}, "skip rule"),
        ({"finer": 3}, "output grid"),
        ({"output": Output(gives="logits", blend="logits")}, "output .*blend logits"),
        ({"padding": "zero"}, r"padding \(zero against mirror\)"),
        ({"crop": "nonzero"}, "crop"),
        ({"taper": "gaussian"}, r"taper \(gaussian against hann\)"),
        ({"tiles": "even"}, "layout of tiles"),
        ({"tta": "flips:y"}, "views"),
        ({"patch": (64, 64)}, r"patch \(\(64, 64\), which can't be \(48, 48\)\)"),
    ],
)
def test_members_that_differ_are_refused_by_name(changed: dict[str, Any], said: str) -> None:
    other = OTHER.model_copy(update=changed)
    with pytest.raises(BundleError, match=f"model other .* one for its {said}") as refused:
        as_ensemble([Model(CARD, function=A), Model(other, function=B)])
    assert "\n" not in refused.value.message
    assert refused.value.status == 2


@pytest.mark.parametrize(
    ("mine", "other", "alike"),
    [
        ({"pixel_m": 30.0}, {"pixel_m": 7.0}, False),
        ({"pixel_m": 30.0}, {"pixel_m": 30.3}, True),
        ({}, {"pixel_m": 7.0}, True),
        ({"spacing_mm": (1.0, 1.0, 1.0)}, {"spacing_mm": (1.0, 3.0, 1.0)}, False),
    ],
)
def test_members_state_one_voxel_size_if_any(
    mine: dict[str, Any], other: dict[str, Any], alike: bool
) -> None:
    models = [
        Model(CARD.model_copy(update=mine), function=A),
        Model(OTHER.model_copy(update=other), function=B),
    ]
    if alike:
        assert as_ensemble(models).members
        return
    with pytest.raises(BundleError, match="voxel size"):
        as_ensemble(models)


def test_sizes_between_slices_are_no_difference() -> None:
    said = (CARD, (1.0, 2.0)), (OTHER, (3.0, 1.0, 2.0))
    as_ensemble(
        [
            Model(c.model_copy(update={"spacing_mm": sizes}), function=f)
            for (c, sizes), f in zip(said, (A, B), strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("multiple", "takes"),
    [((4, 4), True), ((16, 48), True), ((32, 32), False), ((4, 4, 4), False), (None, False)],
)
def test_another_patch_goes_where_the_card_says_so(
    multiple: tuple[int, ...] | None, takes: bool
) -> None:
    """The first member's patch is (48, 48). Overlap, colours and scores may differ anyway."""
    free = {"patch": (64, 64), "overlap": (8, 8), "multiple": multiple}
    models = [Model(CARD, function=A), Model(OTHER.model_copy(update=free), function=B)]
    if takes:
        found = as_ensemble(models)
        assert (found.card, found.names) == (CARD, ["one", "other"])
    else:
        with pytest.raises(BundleError, match="for its patch"):
            as_ensemble(models)


def test_the_same_model_twice_is_refused(scene: Path) -> None:
    with pytest.raises(BundleError, match="named twice"):
        as_ensemble([PROBE, PROBE])
    with pytest.raises(BundleError, match="model one is named twice"):
        prepare(Request(str(scene), model=[(CARD, A), (OTHER, B), (CARD, A)]))
    assert as_ensemble([PROBE]) == PROBE


@pytest.mark.full
def test_the_map_is_that_of_the_mean(scene: Path, tmp_path: Path) -> None:
    """Members in a run against one predictor that averages by hand; report and tags name both."""
    options = {"probabilities": True, "batch": 3}
    report = predict(scene, tmp_path / "a.tif", model=[(CARD, A), (OTHER, B)], **options)

    def by_hand(patches: np.ndarray) -> np.ndarray:
        return (A(patches) + B(patches)) / np.float32(2)

    predict(scene, tmp_path / "b.tif", model=(CARD, by_hand), **options)
    predict(scene, tmp_path / "c.tif", model=(CARD, A), **options)
    assert both(tmp_path, "a") == both(tmp_path, "b") != both(tmp_path, "c")
    assert report["model"]["name"] == "one"
    assert [member["name"] for member in report["model"]["members"]] == ["other"]
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags()["SEGBATCH_MODEL"] == "one + other"


@pytest.mark.full
def test_blocks_and_batches_do_not_change_a_byte(tmp_path: Path) -> None:
    strip = write_raster(tmp_path / "strip.tif", address_raster((1100, 61), 3, "uint16"))
    found = set()
    for n, (block, batch) in enumerate([((1024, 61), 1), ((2048, 61), 4), ((1024, 61), 16)]):
        options = PredictOptions(block=block, batch=batch, tta="d4", probabilities=True)
        out = str(tmp_path / f"{n}.tif")
        predict_one(Request(str(strip), out, model=[(CARD, A), (OTHER, B)], options=options))
        found.add(both(tmp_path, str(n)))
    assert len(found) == 1


def test_the_plan_shows_what_it_costs(scene: Path) -> None:
    def planned(models: int, tta: str) -> tuple[dict[str, Any], str]:
        cost = {
            "compute": CARD.compute.model_copy(update={"flops": 1e11, "activation_bytes": 1000})
        }
        cards = [(c.model_copy(update=cost), f) for c, f in ((CARD, A), (OTHER, B))][:models]
        prepared = prepare(Request(str(scene), model=cards, options=PredictOptions(tta=tta)))
        return plan_facts(prepared), plan_lines(prepared)

    one, lines = planned(1, "none")
    assert one["plan"]["passes"] == 1
    assert "averaged" not in lines
    both, lines = planned(2, "d4")
    assert "test-time augmentation d4: 8 views, 2 models, 16 model calls per tile" in lines
    assert "one + other" in lines
    assert both["plan"]["passes"] == 16
    assert both["seconds_estimate"] == pytest.approx(16 * one["seconds_estimate"], rel=0.01)
    assert both["promised_bytes"] > one["promised_bytes"]
    assert "  2 models, 2 model calls per tile" in planned(2, "none")[1]
    assert "flips: 4 views, 4 model calls" in planned(1, "flips")[1]


@pytest.mark.full
def test_another_tta_or_member_does_not_mix_with_a_begun_run(scene: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.tif")

    def again(tta: str, *models: Any) -> dict[str, Any]:
        options = PredictOptions(tta=tta)
        return predict_one(Request(str(scene), out, model=list(models), options=options))

    first = again("flips", (CARD, A), (OTHER, B))
    assert again("flips", (CARD, A), (OTHER, B))["blocks"]["resumed"] == first["blocks"]["total"]
    with pytest.raises(StoreError, match="tta"):
        again("d4", (CARD, A), (OTHER, B))
    for models in ([(CARD, A)], [(OTHER, B), (CARD, A)], [(CARD, A), (THIRD, C)]):
        with pytest.raises(StoreError, match=r"model|weights"):
            again("flips", *models)


def test_views_that_training_never_saw_are_warned_of(volume: Path, tmp_path: Path) -> None:
    """Both packaged bundles: the one never saw a mirrored patch, the other mirrored both ways."""

    def warnings(path: Path, model: str, tta: str) -> list[str]:
        request = Request(str(path), model=model, options=PredictOptions(tta=tta, force=True))
        return [w for w in prepare(request).info.warnings if "mirrored" in w]

    (found,) = warnings(volume, "hippocampus-mri", "flips")
    assert "hippocampus-mri was trained without patches mirrored along z, y, x" in found
    assert warnings(volume, "hippocampus-mri", "none") == []
    four = write_raster(tmp_path / "four.tif", address_raster((90, 80), 4, "uint16"))
    assert warnings(four, "landsat8-landcover", "d4") == []


def test_a_patch_that_is_no_square_is_refused_before_any_work(scene: Path, tmp_path: Path) -> None:
    card = CARD.model_copy(update={"patch": (48, 64)})
    request = Request(
        str(scene), str(tmp_path / "o.tif"), model=(card, A), options=PredictOptions(tta="d4")
    )
    with pytest.raises(PlanError, match="the model's patch is 48 x 64"):
        predict_one(request)
    assert list(tmp_path.iterdir()) == [scene]


@pytest.mark.full
def test_a_bundle_is_scored_with_views_and_members(tmp_path: Path) -> None:
    """``evaluate`` scores what ``predict`` maps: the mean over members, then over views."""
    image, label = labelled_scene(tmp_path, "a", 1)
    cases = {"cases": [{"id": "a", "image": image.name, "label": label.name, "split": "test"}]}
    manifest = tmp_path / "cases.yaml"
    manifest.write_text(yaml.safe_dump(cases))
    ramp = np.linspace(0, 4, 32, dtype=np.float32)[:, None, None]

    def uneven(patches: np.ndarray) -> np.ndarray:
        sharp = thirds(patches) + ramp * np.eye(3, dtype=np.float32)[0]
        return sharp / sharp.sum(-1, keepdims=True)

    def dice(model: Any, tta: str) -> float:
        result = evaluate_bundle(model, manifest, options=PredictOptions(tta=tta))
        assert result["model"]["tta"] == tta
        return result["scores"]["overall"]["mean_dice"]["mean"]

    twin = THIRDS.model_copy(update={"name": "twin"})
    plain, views = dice((THIRDS, uneven), "none"), dice((THIRDS, uneven), "flips")
    members = dice([(THIRDS, uneven), (twin, thirds)], "none")
    assert plain < members
    assert plain != views
    assert dice((THIRDS, thirds), "d4") == dice((THIRDS, thirds), "none")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", address_raster((110, 153), 3, "uint16"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles of random weights, unlike each other."""
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / name, 2, 2, seed=n) for n, name in enumerate(("p", "q"))]


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "wide.tif", address_raster((150, 1100), 2, "uint16"))


def named(*bundles: Path) -> list[Any]:
    return [part for bundle in bundles for part in ("--model", bundle)]


@pytest.mark.full
def test_workers_do_not_change_a_byte_with_views_and_members(
    pair: list[Path], wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*named(*pair), "--tta", "flips", "--block", "1024,1024", "--probabilities", "--json")
    one = segbatch("predict", wide, "-o", tmp_path / "one.tif", *more)
    two = segbatch(
        *("predict", wide, "-o", tmp_path / "two.tif", *more),
        *("--cluster", "local", "--workers", 2),
    )
    assert (one.status, two.status) == (0, 0), one.err + two.err
    assert both(tmp_path, "one") == both(tmp_path, "two")
    told = one.json
    assert told["plan"]["passes"] == 8
    assert [m["name"] for m in told["model"]["members"]] == ["q"]
    assert 0 < told["peak_rss_bytes"] <= told["promised_bytes"]
    weights = [json.loads((b / "card.json").read_text())["weights_sha256"] for b in pair]
    assert told["plan"]["fingerprint"]["weights"] == weights
    monkeypatch.setenv("SEGBATCH_BUNDLES", str(pair[0].parent))
    verified = verify_product(tmp_path / "one.tif")
    assert verified["ok"]
    assert {"p as installed", "q as installed"} <= {check["found"] for check in verified["checks"]}


@pytest.mark.full
def test_a_damaged_member_is_found_before_any_work(
    pair: list[Path], wide: Path, tmp_path: Path
) -> None:
    hurt = make_bundle(tmp_path / "hurt", 2, 2, seed=9)
    with (hurt / "model.keras").open("ab") as file:
        file.write(b"x")
    ran = segbatch("predict", wide, "-o", tmp_path / "o.tif", *named(pair[0], hurt))
    assert ran.status == 2
    assert "does not match the hash in its card" in ran.err
    assert not (tmp_path / "o.tif").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    ("command", "option", "value", "said"),
    [
        ("predict", "--tta", "flip", "did you mean flips?"),
        ("plan", "--engine", "openvin", "did you mean openvino?"),
        ("plan", "--post", "majorty:3", "did you mean majority?"),
    ],
)
def test_a_misspelt_value_gets_the_nearest(
    scene: Path, tmp_path: Path, command: str, option: str, value: str, said: str
) -> None:
    ran = segbatch(command, scene, "--model", "probe", option, value, cwd=tmp_path)
    assert ran.status == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1
