"""One program and one receiver for all tests that need no program of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.acceptance.program import Program, running
from tests.acceptance.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """A receiver outside the program."""
    with receiving() as made:
        yield made


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Program]:
    """The program, running; tests share it and use names of their own. It must end well at the end."""
    with running(tmp_path_factory.mktemp("hookline")) as made:
        yield made
        assert made.terminate() == 0, made.log()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An event type of this test's own."""
    words = "".join(char if char.isalnum() else "_" for char in request.node.name.removeprefix("test_"))
    return f"t.{words[:80]}"
