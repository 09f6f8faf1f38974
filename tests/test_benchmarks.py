"""The table of `make bench`: a row for every figure, whether it was measured or not."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import table

    monkeypatch.setattr(table, "KEPT", tmp_path / "kept")
    yield table
    for name in ("table", "figures", "machine", "gpu"):
        sys.modules.pop(name, None)


def test_what_misses_its_target_is_marked_and_what_was_not_measured_is_there(
    table, tmp_path: Path
) -> None:
    from machine import Machine

    old, new = (Machine("CPU", 2, True, half, 24, 0) for half in (False, True))
    shown = [
        {"benchmark": "monai 2048, as they come", "ratio": 6.0},
        {"benchmark": "overhead", "pixels_per_s": 61e6, "ratio": 1.2},
    ]
    path = tmp_path / "lines"
    path.write_text("\n".join(map(json.dumps, shown)))
    lines = table.Lines.read(path)
    table.keep(lines, new, "2026-01-01")
    rows = {row[0]: row[1:] for row in table.figures_of(lines, new)}
    # The target depends on the machine, and so does what was kept.
    name = "MONAI as it comes, 2-D, base 16"
    assert rows[name] == ("x6", "x6", ">= x9", "MISSED")
    others = {row[0]: row[1:] for row in table.figures_of(lines, old)}
    assert others[name] == ("x6", "-", ">= x5", "")
    assert rows["the pipeline with the probe, 8 classes"][0] == "61 million/s"
    assert rows["the same over a plain copy"][3] == "MISSED"
    assert rows["inspect of a small file"][0] == "not run"
    assert rows["forward over the device's bf16 peak"][0] == "not run: no GPU"
    assert "**missed**" in table.pages(lines, new)[1]


def test_the_rows_of_a_gpu_are_filled_by_its_lines(table) -> None:
    import gpu
    from figures import GPU
    from machine import Machine

    facts = {side: {"seconds": 4.0} for side in gpu.TORCH}
    facts |= {"matmul": {"flops_s": 1e15}, "forward": {"flops_s": 7e14}}
    facts |= {"stays": {"seconds": 1.0, "busy": 0.95}}
    lines = table.Lines({line["benchmark"]: line for line in gpu.figures(facts)})
    assert [lines.value(figure) for figure in GPU] == [0.7, 0.95, 4.0, 4.0, 4.0]
    rows = {row[0]: row[1] for row in table.figures_of(lines, Machine("CPU", 2, True, True, 24, 1))}
    assert [rows[figure.what] for figure in GPU] == ["0.7", "0.95", "x4", "x4", "x4"]
