"""The short form of ``make chaos``: each scene once, on fewer inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.chaos import SCENES, Chaos

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    return Chaos(tmp_path_factory.mktemp("chaos"), kills=4, seed=1, scenes=8, volumes=4)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_night_ends_as_a_quiet_one(
    chaos: Chaos, scene: Callable[[Chaos], dict[str, Any]]
) -> None:
    scene(chaos)
