"""What OpenVINO's precision "mixed" can be tested with on any CPU."""

from __future__ import annotations

from typing import Any

import pytest

from seg_batch.nn.engines.openvino import engine
from seg_batch.nn.engines.openvino.library import openvino_core


class Able:
    """The core of this process, of a CPU that computes in bfloat16."""

    def get_property(self, *_: str) -> list[str]:
        return ["FP32", "BF16"]

    def __getattr__(self, name: str) -> Any:
        return getattr(openvino_core(), name)


@pytest.fixture
def all_in_float32(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``mixed`` cuts networks and hands on arrays as ever, but each part computes in float32.

    Gives the precisions that were asked for instead, part by part.
    """
    asked: list[str] = []
    plain = engine._config("f32", engine._threads())

    def config(precision: str, *_: object) -> dict[str, object]:
        asked.append(precision)
        return plain

    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)  # may forbid bfloat16
    monkeypatch.setattr(engine, "openvino_core", Able)
    monkeypatch.setattr(engine, "_config", config)
    return asked
