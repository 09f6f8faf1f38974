"""The short form of ``make chaos``: each scene once, on fewer inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.chaos import SCENES, Chaos

pytestmark = pytest.mark.slow
type Scene = Callable[[Chaos], dict[str, Any]]


def needing(scene: Scene) -> Any:
    """With what it needs of the machine: one mounts a disk for all of a night's processes."""
    marks = [pytest.mark.needs("root", "mount")] if scene is Chaos.full_disk else []
    return pytest.param(scene, id=scene.__name__, marks=marks)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    return Chaos(tmp_path_factory.mktemp("chaos"), kills=4, seed=1, scenes=8, volumes=4)


@pytest.mark.parametrize("scene", [needing(scene) for scene in SCENES])
def test_the_night_ends_as_a_quiet_one(chaos: Chaos, scene: Scene) -> None:
    scene(chaos)
