"""Replay guards: whatever they remember in, a key's handler runs once, and again only where it failed."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from tests.sdk.databases import KINDS, database
from tests.sdk.redis_server import AsyncClient, Client, redis_running

from hookline.sdk.guard import AsyncReplayGuard, Claim, ReplayGuard
from hookline.sdk.replay_guard import (
    AsyncRedisReplayGuard,
    MemoryReplayGuard,
    RedisReplayGuard,
    SqlReplayGuard,
    threaded,
)

LEASE_S, KEEP_S = 0.4, 0.8
"""Where time cannot be told (Redis) it passes."""


@dataclass
class Case:
    """A guard and a way to let time pass for it."""

    guard: Any
    passes: Callable[[float], None]

    async def call(self, method: str, argument: Any) -> Any:
        """Call it, whichever kind it is."""
        found = getattr(self.guard, method)(argument)
        return await found if inspect.isawaitable(found) else found

    async def begin(self, key: str) -> Claim:
        """As the guard does."""
        found: Claim = await self.call("begin", key)
        return found


class Told:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def passes(self, wait_s: float) -> None:
        """Let time pass."""
        self.now_s += wait_s


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server for these tests."""
    with redis_running(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(params=["memory", *KINDS, "threaded", "redis", "redis_async"])
def case(request: pytest.FixtureRequest, tmp_path) -> Iterator[Case]:
    """Each guard."""
    kind, clock = request.param, Told()
    times = {"keep_s": KEEP_S, "lease_s": LEASE_S}
    if kind == "memory":
        yield Case(MemoryReplayGuard(**times, clock=clock), clock.passes)
    elif kind == "threaded":
        guard = SqlReplayGuard(str(tmp_path / "guard.db"), **times, clock=clock)
        with contextlib.closing(guard):
            yield Case(threaded(guard), clock.passes)
    elif kind.startswith("redis"):
        with contextlib.closing(Client(request.getfixturevalue("redis"))) as client:
            client.call("FLUSHALL")
            guards = {"redis": RedisReplayGuard(client, **times)}
            guards["redis_async"] = AsyncRedisReplayGuard(AsyncClient(client), **times)
            yield Case(guards[kind], time.sleep)
    else:
        with (
            database(kind, tmp_path) as found,
            contextlib.closing(SqlReplayGuard(found.where, **times, clock=clock, **found.options)) as guard,
        ):
            yield Case(guard, clock.passes)


async def test_a_key_is_first_once(case):
    """The first is first, those after it are told that it runs, and then that it is done."""
    claim = await case.begin("stripe:evt_1")
    assert claim.state == "first"
    assert claim.fence
    assert (await case.begin("stripe:evt_1")).state == "running"
    assert (await case.begin("stripe:evt_2")).state == "first"
    await case.call("done", claim)
    again = await case.begin("stripe:evt_1")
    assert (again.state, again.fence) == ("done", "")


async def test_what_failed_is_first_again(case):
    """A claim that is released leaves no trace."""
    await case.call("release", await case.begin("a"))
    claim = await case.begin("a")
    assert claim.state == "first"
    await case.call("done", claim)
    await case.call("release", claim)
    assert (await case.begin("a")).state == "done"


async def test_a_process_that_died_holds_nothing_for_ever(case):
    """A claim that nobody ends is free after its lease, and what its old owner still says changes nothing."""
    old = await case.begin("a")
    case.passes(LEASE_S / 2)
    assert (await case.begin("a")).state == "running"
    case.passes(LEASE_S)
    new = await case.begin("a")
    assert new.state == "first"
    await case.call("release", old)
    assert (await case.begin("a")).state == "running"
    await case.call("done", old)
    assert (await case.begin("a")).state == "running"
    await case.call("done", new)
    assert (await case.begin("a")).state == "done"


async def test_what_is_done_is_forgotten_in_time(case):
    """A key is done for as long as was asked for."""
    await case.call("done", await case.begin("a"))
    case.passes(KEEP_S / 2)
    assert (await case.begin("a")).state == "done"
    case.passes(KEEP_S)
    assert (await case.begin("a")).state == "first"


async def test_what_is_no_claim_changes_nothing(case):
    """To end a claim that one does not have does nothing."""
    claim = await case.begin("a")
    for state in ("running", "done"):
        for method in ("done", "release"):
            await case.call(method, Claim(claim.key, state))
            await case.call(method, Claim("unknown", state, "1"))
    assert (await case.begin("a")).state == "running"


@pytest.mark.parametrize(
    "key", ["k" * 100_000, "a\0b", "\ud800", "ä 日本", "'; DROP TABLE hookline_replay; --", "%s?:1", ""]
)
async def test_any_key_will_do(case, key):
    """Whatever characters an id has, and however long it is, it is a key of its own."""
    claim = await case.begin(key)
    assert claim.state == "first"
    assert (await case.begin(key + "x")).state == "first"
    await case.call("done", claim)
    assert (await case.begin(key)).state == "done"


async def test_one_of_many_at_once_is_first(case):
    """Of sixteen at once, in threads or tasks, exactly one runs the handler of each key."""
    if inspect.iscoroutinefunction(case.guard.begin):
        keys = [f"k{n}" for n in range(4) for _ in range(16)]
        claims = await asyncio.gather(*(case.begin(key) for key in keys))
    else:
        with ThreadPoolExecutor(16) as pool:
            claims = list(pool.map(case.guard.begin, [f"k{n}" for n in range(4) for _ in range(16)]))
    first = [claim.key for claim in claims if claim.state == "first"]
    assert sorted(first) == ["k0", "k1", "k2", "k3"]
    assert {claim.state for claim in claims} == {"first", "running"}


def test_they_are_what_the_kit_asks_for():
    """Each guard is one of the kit's protocols."""
    sync: list[ReplayGuard] = [MemoryReplayGuard(), RedisReplayGuard(None), SqlReplayGuard("x.db")]
    loop: list[AsyncReplayGuard] = [AsyncRedisReplayGuard(None), threaded(sync[0])]
    names = ("begin", "done", "release")
    assert not any(inspect.iscoroutinefunction(getattr(guard, name)) for guard in sync for name in names)
    assert all(inspect.iscoroutinefunction(getattr(guard, name)) for guard in loop for name in names)


@pytest.mark.parametrize("times", [{"keep_s": 0}, {"lease_s": 0}, {"lease_s": 86_401}, {"keep_s": float("nan")}])
def test_times_that_are_none(times):
    """A guard that would remember nothing, or never let go, is not made."""
    with pytest.raises(ValueError, match="lease_s"):
        MemoryReplayGuard(**times)


@pytest.mark.parametrize("table", ["a b", "", "a.b.c", "1a", "a;", "ä", "a" * 64])
def test_a_table_has_a_plain_name(table):
    """What could say something else in a statement is no name."""
    with pytest.raises(ValueError, match="no name of a table"):
        SqlReplayGuard("x.db", table=table)


def test_memory_is_bounded():
    """Beyond its bound the oldest that is done is forgotten, and what runs never."""
    guard = MemoryReplayGuard(entries_max=3)
    held = guard.begin("held")
    for n in range(10):
        guard.done(guard.begin(f"{n}"))
        assert len(guard) <= 3
    assert guard.begin("held").state == "running"
    assert guard.begin("9").state == "done"
    assert guard.begin("0").state == "first"
    guard.begin("1")
    with pytest.raises(OverflowError):
        guard.begin("2")
    guard.release(held)
    assert guard.begin("2").state == "first"


def test_memory_forgets_by_itself():
    """What is over is not kept until somebody asks for it."""
    clock = Told()
    guard = MemoryReplayGuard(keep_s=10, lease_s=5, clock=clock)
    for n in range(100):
        guard.done(guard.begin(f"done{n}"))
        guard.begin(f"running{n}")
    clock.passes(10)
    guard.begin("x")
    assert len(guard) == 1


def test_sql_forgets_by_itself(tmp_path):
    """Rows that are over are deleted as others come."""
    clock, path = Told(), str(tmp_path / "guard.db")
    with contextlib.closing(SqlReplayGuard(path, keep_s=10, lease_s=5, clock=clock)) as guard:
        for n in range(20):
            guard.begin(f"{n}")
        clock.passes(100)
        guard.begin("x")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key FROM hookline_replay").fetchall() == [("x",)]


def test_a_table_that_is_there_already(tmp_path):
    """Who may not make tables runs the statements of `schema` elsewhere; without them the driver's error is raised."""
    path = str(tmp_path / "guard.db")
    with contextlib.closing(SqlReplayGuard(path, table="my_guard", create=False)) as guard:
        with pytest.raises(sqlite3.OperationalError):
            guard.begin("a")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for statement in guard.schema:
                connection.execute(statement)
        assert guard.begin("a").state == "first"


PROCESS = """
import sys
from hookline.sdk.replay_guard import SqlReplayGuard
guard = SqlReplayGuard(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(sum(guard.begin(f"k{n}").state == "first" for n in range(200)))
"""


def test_processes_share_a_file(tmp_path):
    """Four processes that claim the same 200 keys at once claim each once."""
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "guard.db")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(counts) == 200


def test_a_connection_of_one_thread_is_not_used_by_another(tmp_path):
    """SQLite's own connections, which threads may not share, are made anew for each call."""
    made: list[int] = []

    def connect() -> sqlite3.Connection:
        made.append(threading.get_ident())
        return sqlite3.connect(tmp_path / "guard.db")

    guard = SqlReplayGuard(connect)
    with ThreadPoolExecutor(2) as pool:
        assert [claim.state for claim in pool.map(guard.begin, ["a", "b", "c"])] == ["first"] * 3
    assert len(made) >= 3
