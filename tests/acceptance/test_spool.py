"""A provider that never repeats a request, while the store is away and the program is killed: counted outside of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from tests.acceptance.cluster import SECRET
from tests.acceptance.program import Program, balanced, until
from tests.acceptance.receiver import Receiver
from tests.acceptance.test_disk import FULL, Disk, library
from tests.flow.receiving import github
from tests.servers.postgres import Postgres

from hookline.databases import migrate
from hookline.settings import load_settings

__all__ = ["library"]

pytestmark = pytest.mark.rule(n=29)
KEY = "of_the_provider"


class Provider:
    """Sends each request once, whatever comes of it, and keeps a journal of what was acknowledged."""

    def __init__(self, program: Program, every_s: float = 0.01) -> None:
        self._program = program
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.stored: dict[str, str] = {}
        """GitHub's id → the event's, where it was said to be stored."""
        self.spooled: dict[str, str] = {}
        self.refused: list[int] = []
        self.unanswered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def acknowledged(self) -> dict[str, str]:
        """Everything that was answered with success."""
        return self.stored | self.spooled

    def _run(self) -> None:
        number = 0
        with httpx2.Client(base_url=self._program.url, timeout=10, trust_env=False) as client:
            while not self._stop.wait(self._every_s):
                number += 1
                name = f"d-{number}"
                body, headers = github({"n": number}, name, secret=KEY)
                try:
                    answer = client.post("/in/github", content=body, headers=headers)
                except httpx2.TransportError:
                    self.unanswered += 1  # for GitHub it is over with that
                    continue
                if answer.status_code != 200:
                    self.refused.append(answer.status_code)
                    continue
                said: dict[str, Any] = answer.json()
                (self.spooled if said.get("spooled") else self.stored)[name] = said["event_id"]


def source(program: Program) -> None:
    """One that asks for the spool."""
    spec = {"name": "github", "verifier": "github", "config": {"secret": KEY}, "spool": True}
    program.post("/v1/sources", spec, status=201)


def check(program: Program, provider: Provider, receiver: Receiver, url: str) -> None:
    """What was acknowledged is there once, under the id that was said, and came; what was spooled came once."""
    until(lambda: gauge(program, "records") == 0, 30)
    acknowledged = provider.acknowledged
    until(lambda: set(acknowledged.values()) <= {hit.id for hit in receiver.hits(url)}, 60, 0.2)
    stats = program.quiet(60)
    events = program.rows("/v1/events", limit="250")
    by_name = Counter(event["source_id"] for event in events)
    assert [name for name, count in by_name.items() if count > 1] == []
    ids = {event["source_id"]: event["id"] for event in events}
    assert {name: ids.get(name) for name in acknowledged} == acknowledged
    # A request that was killed before its answer may be there, too: nobody was told.
    assert len(events) - len(acknowledged) <= provider.unanswered
    hits = Counter(hit.id for hit in receiver.hits(url))
    assert {hits[event] for event in provider.spooled.values()} == {1}
    assert balanced(stats)


def gauge(program: Program, name: str) -> float:
    """Of the spool, from the metrics."""
    text = program.client.get("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith(f"hookline_spool_{name} ")]
    return float(line.split()[1])


def more(provider: Provider, count: int = 60) -> None:
    """Wait until so many more are spooled."""
    before = len(provider.spooled)
    until(lambda: len(provider.spooled) >= before + count, 30)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_postgresql_goes_away_and_the_program_is_killed(
    server: Postgres, tmp_path: Path, receiver: Receiver, stack: ExitStack
) -> None:
    """While PostgreSQL is stopped a provider that never repeats gets 200 for all it sends, and so does a balancer that
    asks for `in`; with a kill -9 in the midst: 0 lost, 0 twice."""
    dsn = server.create("spool")
    migrate(load_settings({"HOOKLINE_DB": dsn}, directory=tmp_path))
    settings = {"db": dsn, "secret_key": SECRET, "drain_s": "0", "spool_path": str(tmp_path / "spool")}
    program = Program(tmp_path / "program", **settings)
    stack.callback(program.close)
    program.start()
    url = receiver.url()
    program.endpoint(url)
    source(program)
    with Provider(program) as provider:
        until(lambda: len(provider.stored) > 30, 20)
        server.stop("immediate")
        more(provider)
        assert provider.refused == []
        assert program.client.get("/readyz").status_code == 503
        assert program.client.get("/readyz?for=in").status_code == 200
        assert gauge(program, "records") >= 60
        assert gauge(program, "oldest_seconds") > 0
        assert program.raw("/v1/events", b'{"type":"x","data":1}', "application/json").status_code == 503
        program.kill()
        time.sleep(0.3)
        server.start()
        program.start()
        stored = len(provider.stored)
        until(lambda: len(provider.stored) > stored + 30, 30)
        # Once more, and the program lives: it goes on by itself.
        server.stop("fast")
        more(provider)
        server.start()
        stored = len(provider.stored)
        until(lambda: len(provider.stored) > stored + 30, 30)
    assert provider.refused == []
    check(program, provider, receiver, url)
    assert program.terminate() == 0


def test_the_disk_is_full_and_the_program_is_killed(
    tmp_path: Path, library: Path, receiver: Receiver, stack: ExitStack
) -> None:
    """The same on SQLite whose disk is full, with the spool on another; a stop that cannot drain says what remains."""
    flag = tmp_path / "fails"
    preload = {"LD_PRELOAD": str(library), "DISK_FAILS": str(flag), "DISK_BELOW": str(tmp_path / "program/hookline.db")}
    program = Program(tmp_path / "program", more=preload, spool_path=str(tmp_path / "spool"))
    stack.callback(program.close)
    program.start()
    url = receiver.url()
    program.endpoint(url)
    source(program)
    with Provider(program) as provider:
        until(lambda: len(provider.stored) > 30, 20)
        Disk(flag).fails(FULL)
        more(provider)
        assert provider.refused == []
        program.kill()
        Disk(flag).well()
        program.start()
        stored = len(provider.stored)
        until(lambda: len(provider.stored) > stored + 30, 30)
        Disk(flag).fails(FULL)
        more(provider)
    assert provider.refused == []
    assert program.terminate() == 0
    assert '"spool_left"' in program.log_path.read_text()
    Disk(flag).well()
    program.start()
    check(program, provider, receiver, url)
    assert program.terminate() == 0


def test_what_cannot_be_spooled_is_said(tmp_path: Path, stack: ExitStack) -> None:
    """Without a spool here a source cannot ask for one; a path that cannot be used is one line and an exit code."""
    program = Program(tmp_path / "without")
    stack.callback(program.close)
    program.start()
    spec = {"name": "github", "verifier": "github", "config": {"secret": KEY}, "spool": True}
    refused = program.post("/v1/sources", spec, status=422).json()
    assert (refused["code"], refused["pointer"]) == ("invalid_source", "/spool")
    (tmp_path / "file").write_text("")
    other = Program(tmp_path / "other", spool_path=str(tmp_path / "file"))
    stack.callback(other.close)
    other.launch()
    assert other.end(20) == 1
    assert "the spool in" in other.log()
