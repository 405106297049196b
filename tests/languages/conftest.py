"""The real program for receivers in other languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.acceptance.program import Program, running


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program, running."""
    with running(tmp_path_factory.mktemp("hookline")) as made:
        yield made
