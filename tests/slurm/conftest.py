"""A real SLURM for the tests of this folder, and the run that its jobs do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.runs import Reference, made_reference
from tests.slurm.control import Slurm, one_node


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    with one_node() as started:
        yield started


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return made_reference(tmp_path_factory.mktemp("reference"))
