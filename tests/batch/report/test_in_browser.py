"""The page in a browser: quiet, in both schemes and every width, and usable with keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.batch.report import gallery, html_page, write
from seg_batch.core.text import visible
from tests.support.batch.browser import Browser, browser
from tests.support.batch.run_folders import Told, head, pixels, product, scene

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def shown(made: tuple, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.open(made[2] / "report.html")
        yield opened


def quiet(shown: Browser) -> None:
    assert shown.said == []
    assert {url.split(":")[0] for url in shown.asked} <= {"file", "data"}


@pytest.mark.full
def test_a_browser_shows_it_without_a_word_or_a_request(made: tuple, shown: Browser) -> None:
    quiet(shown)
    assert shown.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert shown.value("document.images.length") == 2 * 2 + 3 * 2
    for width in (1280, 400):
        shown.size(width, 900)
        assert shown.value("document.documentElement.scrollWidth") <= width
    shown.size(400, 900)
    cut = "[...document.querySelectorAll('.tile *')].some(t => t.scrollWidth > t.clientWidth)"
    shown.value(
        "document.querySelectorAll('.tile .big')[2].textContent = '197\u00a0531\u00a0080\u00a0754'"
    )
    assert not shown.value(cut), "a number that is cut off reads as another"
    reason = "document.querySelector('.stacked td:last-child').getBoundingClientRect().right"
    assert shown.value(reason) <= 400, "why stands where it is read"
    shown.open(made[2] / "report.html")
    ratios = shown.value(
        "[...document.querySelectorAll('.pic')].map(p => "
        "[p.clientWidth / p.clientHeight, Number(getComputedStyle(p).getPropertyValue('--aspect'))])"
    )
    assert all(abs(found / told - 1) < 0.03 for found, told in ratios), ratios


@pytest.mark.full
def test_a_script_in_a_name_would_be_stopped_by_the_policy(
    made: tuple, shown: Browser, tmp_path: Path
) -> None:
    """Were a name not escaped, its script would still not run, and nothing would be fetched."""
    file = tmp_path / "attacked.html"
    attack = "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x'></body>"
    file.write_text(made[1].replace("</body>", attack), encoding="utf-8")
    shown.open(file)
    assert shown.value("document.title") != "owned"
    assert "Content Security Policy" in " ".join(shown.said)
    shown.said.clear()
    shown.asked.clear()
    shown.open(made[2] / "report.html")
    quiet(shown)


@pytest.mark.full
def test_light_and_dark_differ_and_can_be_switched(made: tuple, shown: Browser) -> None:
    def paper() -> int:
        return int(pixels(shown.shot())[3, 3, :3].max())

    for scheme, other in (("light", "dark"), ("dark", "light")):
        shown.scheme(scheme)
        shown.open(made[2] / "report.html")
        assert (paper() > 200) == (scheme == "light")
        shown.tab_to("it.id === 'theme'")
        shown.press("Enter")
        assert (paper() > 200) == (other == "light")
    shown.scheme("light")
    quiet(shown)


def visible_names(shown: Browser) -> list[str]:
    return shown.value(
        "[...document.querySelectorAll('#table > tbody:not([hidden])')]"
        ".map(t => t.querySelector('th bdi').textContent.trim())"
    )


@pytest.mark.full
def test_keys_find_sort_and_unfold(made: tuple, shown: Browser) -> None:
    shown.open(made[2] / "report.html")
    names = visible_names(shown)
    assert len(names) == 6
    shown.press("/")
    shown.write("HEAD")
    assert visible_names(shown) == ["head.nii.gz"]
    assert shown.value("document.querySelector('#count').textContent") == "1 of 6 shown"
    shown.press("Escape")
    assert visible_names(shown) == names
    shown.press("Tab")
    shown.write("not")  # what is selected by its first letters
    assert visible_names(shown) == names[:4]
    shown.press("Home")
    assert visible_names(shown) == names
    shown.tab_to("it.textContent === 'Time'")
    shown.press("Enter")
    timed = [row for row in made[0]["inputs"] if row["seconds"]]
    by_time = [
        visible(row["input"].split("/")[-1]) for row in sorted(timed, key=lambda r: r["seconds"])
    ]
    assert visible_names(shown)[:3] == by_time
    shown.press("Enter")
    assert visible_names(shown)[:3] == by_time[::-1], "what has no time stays last"
    assert shown.value("document.querySelector('[aria-sort]').ariaSort") == "descending"
    shown.tab_to("it.className === 'open'")
    shown.press("Enter")
    opened = shown.value("document.querySelectorAll('.more:not([hidden])').length")
    assert opened == 1
    quiet(shown)


@pytest.mark.full
def test_columns_are_sizes_or_work(made: tuple, shown: Browser) -> None:
    def seen(kind: str) -> bool:
        return bool(shown.value(f"document.querySelector('#table td.{kind}').offsetWidth > 0"))

    shown.open(made[2] / "report.html")
    for chosen, sizes, work in (("sizes", True, False), ("work", False, True), ("", True, True)):
        shown.value(
            f"(s => {{ s.value = '{chosen}'; s.dispatchEvent(new Event('change')); }})"
            "(document.querySelector('#columns'))"
        )
        assert (seen("sizes"), seen("work"), seen("seconds")) == (sizes, work, True)


@pytest.mark.full
def test_labels_fade_by_a_slider(made: tuple, shown: Browser) -> None:
    shown.open(made[2] / "report.html")
    shown.value("document.querySelector('#pictures').scrollIntoView()")
    shown.tab_to("it.id === 'labels'")
    before = pixels(shown.shot()).astype(int)
    shown.press("Home")
    assert shown.value("getComputedStyle(document.querySelector('.over-image')).opacity") == "0"
    after = pixels(shown.shot()).astype(int)
    assert np.abs(before - after).max() > 60


@pytest.mark.full
def test_a_thousand_inputs_stay_usable(
    shown: Browser, tmp_path: Path, made: tuple, monkeypatch: Any
) -> None:
    monkeypatch.setattr(gallery, "MOST", 20)
    told = Told(tmp_path / "run")
    results = [product(scene(tmp_path / "a.tif", (500, 700), 3), tmp_path / "a_labels.tif")]
    results.append(product(head(tmp_path / "h.nii.gz", (90, 80, 70)), tmp_path / "h_labels.nii.gz"))
    for k in range(1000):
        key = str(tmp_path / f"{k:04}.tif")
        facts, result = results[k % 2]
        told.tell(1, "surveyed", key, facts=facts)
        told.done(2 + k * 3, 2 + k % 7, key, result, f"nighthost:{k % 4}")
    told.tell(5, "refused", "z.tif", error="no such file")
    facts = write(told.end(3100, 3))
    file = tmp_path / "run/report.html"
    assert facts["statuses"] == {
        **dict.fromkeys(facts["statuses"], 0),
        "refused": 1,
        "complete": 1000,
    }
    text = file.read_text()
    assert "980 are left out" in text
    drawn = sum(map(len, re.findall(r'src="(data:[^"]*)"', text)))
    assert len(text) - drawn + gallery.BYTES * 4 / 3 < 20e6, "with all pictures that it may have"
    shown.open(file)
    assert visible_names(shown)[0] == "z.tif"
    assert len(visible_names(shown)) == html_page.MOST_ROWS
    took = shown.value(
        "(() => { const t = performance.now(); document.querySelectorAll('#table th button')[2].click();"
        "document.querySelector('#table').getBoundingClientRect(); return performance.now() - t; })()"
    )
    assert took < 2000, "sorting must not hang"
    times = shown.value(
        "[...document.querySelectorAll('#table > tbody')].map(t => t.rows[0].cells[2].dataset.value)"
    )
    numbers = [float(t) for t in times if t]
    assert numbers == sorted(numbers)
    assert len(numbers) == 1000
    shown.press("/")
    shown.write("0077")
    assert visible_names(shown) == ["0077.tif"]
    shown.press("Escape")
    shown.tab_to("it.id === 'all'")
    shown.press("Enter")
    assert len(visible_names(shown)) == 1001
    shown.value("location.hash = '#input-700'")
    assert shown.value("!document.querySelector('#more-700').hidden")
    quiet(shown)
