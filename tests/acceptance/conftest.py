"""One program and one receiver for all tests that need no program of their own, and a PostgreSQL for each module that
asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster, clustering
from tests.acceptance.program import Program, running
from tests.acceptance.receiver import Receiver, receiving
from tests.servers.postgres import Postgres, serving


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


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that flushes what it commits, as the program demands."""
    yield from serving()


@pytest.fixture
def cluster(server: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """On a database of its own, with its schema."""
    with clustering(server, request.node.name, tmp_path) as made:
        yield made
