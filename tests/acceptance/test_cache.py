"""The real program with a cache, two processes on one PostgreSQL: nothing stale, nobody fails for it, one rate."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.program import KEY, Program, until
from tests.acceptance.receiver import Receiver
from tests.servers import memcached, postgres, valkey
from tests.servers.process import ServerProcess

from hookline.databases import migrate
from hookline.settings import load_settings

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
KINDS = ("memory", "redis", "memcached")
SERVERS = KINDS[1:]
STALE_S_MAX = 1.0
pytestmark = pytest.mark.xdist_group("cache")


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Postgres]:
    """A PostgreSQL that flushes what it commits, as the program demands."""
    yield from postgres.serving()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ServerProcess]]:
    """A cache server of each kind."""
    with ExitStack() as stack:
        found: dict[str, ServerProcess] = {}
        for kind, module in (("redis", valkey), ("memcached", memcached)):
            serving = module.serving()
            found[kind] = next(serving)
            stack.callback(serving.close)
        yield found


class Pair:
    """Two alike processes on one database, with a cache of this kind."""

    def __init__(self, dsn: str, folder: Path, cache: str, server: ServerProcess | None, stack: ExitStack) -> None:
        settings = {"db": dsn, "secret_key": SECRET, "drain_s": "0", "cache": cache}
        self.server = server
        self.one, self.other = (Program(folder / name, **settings) for name in ("one", "other"))
        for program in (self.one, self.other):
            stack.callback(program.close)
        with ThreadPoolExecutor(2) as starting:
            list(starting.map(Program.start, (self.one, self.other)))


@pytest.fixture(scope="module")
def pairs(
    database: postgres.Postgres, servers: dict[str, ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Pair]]:
    """The pair of each kind; all tests of a kind have one."""
    made: dict[str, Pair] = {}
    with ExitStack() as stack:

        def pair(kind: str) -> Pair:
            if kind not in made:
                folder = tmp_path_factory.mktemp(kind)
                dsn = database.create(f"cache_{kind}")
                migrate(load_settings({"HOOKLINE_DB": dsn}, directory=folder))
                server = servers.get(kind)
                made[kind] = Pair(dsn, folder, kind if server is None else server.url, server, stack)
            return made[kind]

        yield pair


@pytest.fixture
def pair(pairs: Callable[[str], Pair], kind: str) -> Iterator[Pair]:
    """With the cache of this kind; its server is as it was afterwards."""
    pair = pairs(kind)
    yield pair
    if pair.server is not None:
        pair.server.restore()


def metric(program: Program, name: str) -> float:
    """The sum of a metric's series."""
    lines = program.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)


def facts(program: Program, name: str) -> list[dict[str, Any]]:
    """What the program logged by this name."""
    lines = (json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["fact"] == name]


def never_after(told_s: float, wait_s: float, ask: Any) -> None:
    """`ask` is true of what is stale: from a second after `told_s` on it never is."""
    while time.monotonic() < told_s + wait_s:
        asked_s = time.monotonic()
        stale = ask()
        assert not stale or asked_s < told_s + STALE_S_MAX, f"stale {asked_s - told_s:.2f} s after"
        time.sleep(0.01)


@pytest.mark.rule(n=30)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stale_is_told(pair: Pair, receiver: Receiver) -> None:
    """What one process erases, retries or changes the other does not tell as it was: a retried delivery never, an
    erased payload and a configuration not after a second; what never changes is not asked of the database again."""
    one, other = pair.one, pair.other
    url = receiver.url([400, 200])
    one.endpoint(url, retry={"first_s": 1, "attempts": 1})
    event = one.publish("a.b", {"card": 4242})["id"]
    failed = one.delivered(event, state="failed")["id"]
    assert one.get(f"/v1/deliveries/{failed}")["state"] == "failed"
    assert other.get(f"/v1/deliveries/{failed}")["state"] == "failed"
    other.post(f"/v1/deliveries/{failed}/retry", status=202)
    assert one.get(f"/v1/deliveries/{failed}")["state"] != "failed"
    until(lambda: one.get(f"/v1/deliveries/{failed}")["state"] == "delivered")

    saved = metric(one, "hookline_cache_queries_saved_total")
    for _ in range(5):
        assert one.get(f"/v1/events/{event}")["data"] == {"card": 4242}
        assert one.get(f"/v1/deliveries/{failed}")["state"] == "delivered"
    assert metric(one, "hookline_cache_queries_saved_total") - saved >= 8
    assert metric(one, "hookline_cache_hits_total") >= 8

    other.client.request("DELETE", f"/v1/events/{event}/payload").raise_for_status()
    told_s = time.monotonic()
    assert other.get(f"/v1/events/{event}")["erased"]
    never_after(told_s, 1.3, lambda: "data" in one.get(f"/v1/events/{event}"))

    one.post("/v1/event-types", {"name": "a.b", "description": "0"}, status=201)
    for number in range(1, 4):
        one.get("/v1/event-types/a.b")
        other.client.patch("/v1/event-types/a.b", json={"description": str(number)}).raise_for_status()
        told_s = time.monotonic()
        wanted = str(number)
        assert other.get("/v1/event-types/a.b")["description"] == wanted
        never_after(told_s, 1.2, lambda wanted=wanted: one.get("/v1/event-types/a.b")["description"] != wanted)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_fails_is_in_nobodys_way(pair: Pair) -> None:
    """While the cache server stands still, or is gone, every request is answered in time and truly; lines about it are
    at most one a second; an erasure meanwhile counts; and when it is back it is used again."""
    one, other = pair.one, pair.other
    server = pair.server
    assert server is not None
    events = [one.publish("a.b", number)["id"] for number in range(3)]
    for event in events:
        assert other.get(f"/v1/events/{event}")["data"] == one.get(f"/v1/events/{event}")["data"]
    began_s = time.monotonic()
    for number, break_it in enumerate((server.stall, server.kill)):
        break_it()
        took: list[float] = []
        end_s = time.monotonic() + 1.6
        while time.monotonic() < end_s:
            asked_s = time.monotonic()
            assert one.get(f"/v1/events/{events[2]}")["data"] == 2
            took.append(time.monotonic() - asked_s)
        slow = [took_s for took_s in took if took_s > 0.08]
        assert max(took) < 0.6
        assert len(slow) <= 8, slow
        other.client.request("DELETE", f"/v1/events/{events[number]}/payload").raise_for_status()
        told_s = time.monotonic()
        server.restore()
        gone = events[number]
        never_after(told_s, 1.3, lambda gone=gone: "data" in one.get(f"/v1/events/{gone}"))
    hits = metric(one, "hookline_cache_hits_total")
    until(lambda: one.get(f"/v1/events/{events[2]}") and metric(one, "hookline_cache_hits_total") > hits)
    assert 2 <= len(facts(one, "cache_unavailable")) <= 2 + time.monotonic() - began_s
    assert facts(one, "cache_answers")
    assert metric(one, "hookline_cache_errors_total") >= 2


def hammered(programs: list[Program], seconds: float) -> int:
    """How many publishes are accepted by these processes of as many as they are asked for, each by its own client."""
    accepted = [0] * len(programs)

    def hammer(number: int) -> None:
        with httpx2.Client(base_url=programs[number].url, trust_env=False) as client:
            headers = {"authorization": f"Bearer {KEY}", "hookline-tenant": "acme"}
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                answer = client.post("/v1/events", json={"type": "a.b", "data": 1}, headers=headers)
                assert answer.status_code in (202, 429), answer.text
                accepted[number] += answer.status_code == 202
                if answer.status_code == 429:
                    time.sleep(0.005)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(len(programs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(accepted)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_rate_holds_for_both_together(pair: Pair) -> None:
    """A tenant that publishes at two processes gets his rate once, not twice; without the server each holds to it."""
    server = pair.server
    assert server is not None
    rate, burst, seconds = 40, 10, 2.0
    tenant = {"id": "acme", "events_rate": {"n": rate, "per_s": 1, "burst": burst}}
    pair.one.post("/v1/tenants", tenant, status=201)
    time.sleep(STALE_S_MAX)
    together = hammered([pair.one, pair.other], seconds)
    assert 0.6 * rate * seconds <= together <= burst + rate * seconds + 2 * burst + 0.25 * rate
    server.kill()
    time.sleep(1.0)
    apart = hammered([pair.one, pair.other], seconds)
    assert rate * seconds < apart <= 2 * (burst + rate * seconds + 0.25 * rate)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_end_it_says_what_it_saved(pair: Pair) -> None:
    """A process that stops sums up what its cache was good for."""
    event = pair.one.publish("a.c", 1)["id"]
    for _ in range(3):
        pair.one.get(f"/v1/events/{event}")
    assert pair.one.terminate() == 0, pair.one.log()
    (used,) = facts(pair.one, "cache_used")
    assert used["queries_saved"] >= 2
    assert used["hits"] >= used["queries_saved"]
    assert used["misses"] >= 1
