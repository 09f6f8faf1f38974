"""The page: self-contained, the numbers of the JSON, and the pictures that it should have."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rasterio.io import MemoryFile

from seg_batch.core.geometry import Box
from seg_batch.datasets.label_classes import of_text
from seg_batch.evaluation.evaluate import evaluate_files
from seg_batch.evaluation.file_pairs import open_labelled_case
from seg_batch.evaluation.matching import Match
from seg_batch.evaluation.overlays import MARKS, OverlayView, OverlayWriter, draw_overlays
from tests.support.batch.browser import CHROMIUM
from tests.support.evaluation.label_files import CLASSES, labels, raster_pair, volume_pair
from tests.support.patience import PATIENCE_S


class Page(HTMLParser):
    """Tags with their attributes, and the text of every table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    folder = tmp_path_factory.mktemp("page")
    for seed, name in enumerate(("b", "a <script>", "c")):
        raster_pair(folder, name, seed)
    result = evaluate_files(
        folder / "found",
        folder / "truth",
        classes=CLASSES,
        output=folder / "out",
        images=folder / "truth",
        requirements=["dice>=0.99", "accuracy>0.1"],
        pictures=2,
    )
    return result, (folder / "out/index.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing(made: tuple[dict, str]) -> None:
    page = Page(made[1])
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, value)
        assert not {n for n in attributes if n.startswith("on")}
    assert "@import" not in made[1]
    assert "url(" not in made[1]
    assert "<script>" not in made[1].replace("<script>\n", "", 1), "a name was not escaped"


def test_inner_links_lead_somewhere(made: tuple[dict, str]) -> None:
    page = Page(made[1])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for t, a in page.tags if t == "a"}
    assert targets
    assert targets <= {f"#{name}" for name in ids}
    assert all(a.get("alt") for t, a in page.tags if t == "img")


def test_the_tables_show_the_numbers_of_the_json(made: tuple[dict, str]) -> None:
    result, text = made
    rows = {row[0]: row for row in reversed(Page(text).rows) if row}
    for name, scores in result["scores"]["classes"].items():
        row = next(r for r in Page(text).rows if r and r[0].startswith(name))
        dice = scores["dice"]
        assert row[1] == f"{dice['mean']:.3f} {dice['low']:.3f} to {dice['high']:.3f}"
    for case in result["scores"]["per_case"]:
        assert rows[case["case"]][1:3] == [f"{case['mean_dice']:.3f}", f"{case['accuracy']:.3f}"]
    matrix = np.array(result["scores"]["confusion"])
    shown = [row for row in Page(text).rows if len(row) == 5 and row[1].endswith("%")]
    assert [row[1:4] for row in shown] == [
        [f"{100 * share:.1f} %" for share in counts / counts.sum()] for counts in matrix
    ]
    assert "✗ not met:" in text
    assert "✓ met:" in text


def test_worst_and_best_are_drawn_and_the_rest_is_listed(made: tuple[dict, str]) -> None:
    result, text = made
    order = sorted(result["scores"]["per_case"], key=lambda row: row["mean_dice"])
    drawn = re.findall(r'<article class="case" id="case-(\d+)">', text)
    cases = [result["scores"]["per_case"][int(n)]["case"] for n in drawn]
    assert cases == [order[0]["case"], order[-1]["case"]]


def pixels(png: bytes) -> np.ndarray:
    with MemoryFile(png) as memory, memory.open() as file:
        return np.moveaxis(file.read(), 0, -1)


def test_the_pictures_show_each_voxel_in_its_colour(tmp_path: Path) -> None:
    found, truth = raster_pair(tmp_path)
    table = of_text(CLASSES)
    with open_labelled_case(Match("scene", found, truth), table, ()) as pair:
        (view,) = draw_overlays(pair, table)
    a, b = labels((90, 130), 1)
    shown = pixels(view.panels["prediction"])
    for row in table.table:
        assert (shown[b == row.id] == row.colour).all()
    counted = np.ones(a.shape, bool)
    counted[:20, :30] = False
    assert (pixels(view.panels["truth"])[~counted] == 128).all()
    marked = counted & ~((a == 0) & (b == 0))
    expected = {
        "hit": (a == b) & (a != 0),
        "missed": (a != 0) & (b == 0),
        "false": (a == 0) & (b != 0),
        "mixed": (a != b) & (a != 0) & (b != 0),
    }
    for name, where in expected.items():
        assert view.shares[name] == pytest.approx((where & counted).sum() / marked.sum())
    colours = pixels(view.panels["difference"])
    distinct = {tuple(colours[where & counted][0].tolist()) for where in expected.values()}
    assert len(distinct) == len(MARKS)
    assert view.aspect == pytest.approx(130 / 90)


def test_a_large_raster_is_thinned_and_a_volume_cut_in_three(tmp_path: Path) -> None:
    found, truth = raster_pair(tmp_path, shape=(1100, 640))
    table = of_text(CLASSES)
    with open_labelled_case(Match("scene", found, truth), table, ()) as pair:
        (view,) = draw_overlays(pair, table)
    expected = labels((1100, 640), 1)[1][::3, ::3]
    shown = pixels(view.panels["prediction"])
    assert shown.shape == (367, 214, 3)
    for row in table.table:
        assert ((shown == row.colour).all(-1) == (expected == row.id)).all()
    with open_labelled_case(Match("head", *volume_pair(tmp_path)), table, ()) as pair:
        views = draw_overlays(pair, table)
    assert [v.title.split()[0] for v in views] == ["axial", "coronal", "sagittal"]
    assert [pixels(v.panels["truth"]).shape[:2] for v in views] == [(20, 24), (9, 24), (9, 20)]
    assert [v.aspect for v in views] == pytest.approx([24 / 30, 24 / 27, 30 / 27])


def test_the_gallery_keeps_the_worst_and_the_best() -> None:
    rng = np.random.default_rng(3)
    for limit in (1, 2, 5, 20):
        scores = rng.permutation(np.linspace(0, 1, 17))
        gallery, drawn = OverlayWriter(limit), []

        def views(score: float, drawn: list[float] = drawn) -> list[OverlayView]:
            drawn.append(score)
            return []

        for score in scores:
            gallery.offer(float(score), f"{score:.4f}", lambda s=score: views(s))
        order = [f"{s:.4f}" for s in np.sort(scores)]
        worst = -(-limit // 2)
        expected = order if limit >= 17 else order[:worst] + order[17 - (limit - worst) :]
        assert [name for name, _ in gallery.cases()] == expected
        assert len(drawn) <= 17


def test_the_middle_of_a_volume_is_where_the_foreground_is(tmp_path: Path) -> None:
    from tests.support.files import write_volume

    truth = np.zeros((30, 20, 40), np.uint8)
    truth[20:25, 4:7, 30:33] = 3
    path = write_volume(tmp_path / "t.nii.gz", truth, np.eye(4))
    table = of_text(CLASSES)
    with open_labelled_case(Match("t", path, path), table, ()) as pair:
        titles = [view.title for view in draw_overlays(pair, table)]
    assert titles == ["axial slice 31", "coronal slice 5", "sagittal slice 22"]
    assert Box.whole((40, 20, 30)) == pair.box


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_a_browser_shows_it_in_both_schemes_and_sorts_a_table(
    made: tuple[dict, str], tmp_path: Path
) -> None:
    page = tmp_path / "index.html"
    click = (
        "<script>document.querySelectorAll('table.sortable th button')[0].click();"
        "document.body.dataset.first=document.querySelector('table.sortable tbody th').textContent;"
        "</script></body>"
    )
    page.write_text(made[1].replace("</body>", click), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert 'data-first="a &lt;script&gt;"' in done.stdout
    assert 'aria-sort="ascending"' in done.stdout
    corners = []
    for scheme in ("1", "0"):
        shot = tmp_path / f"{scheme}.png"
        subprocess.run(
            [
                CHROMIUM,
                *flags,
                f"--blink-settings=preferredColorScheme={scheme}",
                "--window-size=420,900",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            capture_output=True,
            timeout=PATIENCE_S,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        corners.append(pixels(shot.read_bytes())[2, 2, :3].tolist())
    assert min(corners[0]) > 200
    assert max(corners[1]) < 60


def test_pictures_are_png(made: tuple[dict, str]) -> None:
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', made[1])
    assert len(data) == 2 * 4
    assert all(base64.b64decode(d).startswith(b"\x89PNG") for d in data)
