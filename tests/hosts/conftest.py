"""The run that all hosts do."""

from __future__ import annotations

import pytest

from tests.hosts.runs import Reference, made_reference


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return made_reference(tmp_path_factory.mktemp("reference"))
