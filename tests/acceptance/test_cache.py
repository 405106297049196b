"""The real program with a cache, two processes on one PostgreSQL: nothing stale, nobody fails for it, one rate."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator
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
_NUMBERS = itertools.count()


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

    def __init__(self, dsn: str, folder: Path, cache: str, stack: ExitStack) -> None:
        settings = {"db": dsn, "secret_key": SECRET, "drain_s": "0", "cache": cache}
        self.one, self.other = (Program(folder / name, **settings) for name in ("one", "other"))
        for program in (self.one, self.other):
            stack.callback(program.close)
            program.start()


@pytest.fixture
def pair(
    database: postgres.Postgres,
    servers: dict[str, ServerProcess],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Pair]:
    """With the cache that the test's parameter names; its server is as it was afterwards."""
    kind = request.param
    with ExitStack() as stack:
        dsn = database.create(f"cache_{next(_NUMBERS)}")
        migrate(load_settings({"HOOKLINE_DB": dsn}, directory=tmp_path))
        server = servers.get(kind)
        if server is not None:
            stack.callback(server.restore)
        yield Pair(dsn, tmp_path, kind if server is None else server.url, stack)


def metric(program: Program, name: str) -> float:
    """The sum of a metric's series."""
    lines = program.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)


def facts(program: Program, name: str) -> list[dict[str, Any]]:
    """What the program logged by this name."""
    lines = (json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == name]


def never_after(told_s: float, wait_s: float, ask: Any) -> None:
    """`ask` is true of what is stale: from a second after `told_s` on it never is."""
    while time.monotonic() < told_s + wait_s:
        asked_s = time.monotonic()
        stale = ask()
        assert not stale or asked_s < told_s + STALE_S_MAX, f"stale {asked_s - told_s:.2f} s after"
        time.sleep(0.01)


@pytest.mark.rule(n=30)
@pytest.mark.parametrize("pair", KINDS, indirect=True)
def test_nothing_stale_is_told(pair: Pair, receiver: Receiver) -> None:
    """What one process erases, retries or changes the other does not tell as it was: a retried delivery never, an
    erased payload and a configuration not after a second; what never changes is not asked of the database again."""
    one, other = pair.one, pair.other
    url = receiver.url([400, 200])
    endpoint = one.endpoint(url, retry={"schedule_s": []})
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
    never_after(told_s, 1.6, lambda: "data" in one.get(f"/v1/events/{event}"))

    one.post("/v1/event-types", {"name": "a.b", "description": "0"}, status=201)
    for number in range(1, 4):
        one.get("/v1/event-types/a.b")
        other.client.patch("/v1/event-types/a.b", json={"description": str(number)}).raise_for_status()
        told_s = time.monotonic()
        wanted = str(number)
        assert other.get("/v1/event-types/a.b")["description"] == wanted
        never_after(told_s, 1.2, lambda wanted=wanted: one.get("/v1/event-types/a.b")["description"] != wanted)
    assert endpoint["id"]

    for program in (one, other):
        assert program.terminate() == 0, program.log()
    (used,) = facts(one, "cache_used")
    assert used["queries_saved"] >= 8
    assert used["errors"] == 0


@pytest.mark.parametrize("pair", SERVERS, indirect=True)
def test_a_server_that_fails_is_in_nobodys_way(
    pair: Pair, servers: dict[str, ServerProcess], request: pytest.FixtureRequest
) -> None:
    """While the cache server stands still, or is gone, every request is answered in time and truly; lines about it are
    at most one a second; an erasure meanwhile counts; and when it is back it is used again."""
    one, other = pair.one, pair.other
    server = servers[request.node.callspec.params["pair"]]
    events = [one.publish("a.b", number)["id"] for number in range(3)]
    for event in events:
        assert other.get(f"/v1/events/{event}")["data"] == one.get(f"/v1/events/{event}")["data"]
    began_s = time.monotonic()
    for number, break_it in enumerate((server.stall, server.kill)):
        break_it()
        took: list[float] = []
        end_s = time.monotonic() + 2.5
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
        never_after(told_s, 2.0, lambda gone=gone: "data" in one.get(f"/v1/events/{gone}"))
    hits = metric(one, "hookline_cache_hits_total")
    until(lambda: one.get(f"/v1/events/{events[2]}") and metric(one, "hookline_cache_hits_total") > hits)
    assert len(facts(one, "cache_unavailable")) <= 2 + time.monotonic() - began_s
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


@pytest.mark.parametrize("pair", SERVERS, indirect=True)
def test_a_rate_holds_for_both_together(
    pair: Pair, servers: dict[str, ServerProcess], request: pytest.FixtureRequest
) -> None:
    """A tenant that publishes at two processes gets his rate once, not twice; without the server each holds to it."""
    server = servers[request.node.callspec.params["pair"]]
    rate, burst, seconds = 40, 10, 3.0
    tenant = {"id": "acme", "events_rate": {"n": rate, "per_s": 1, "burst": burst}}
    pair.one.post("/v1/tenants", tenant, status=201)
    time.sleep(STALE_S_MAX)
    together = hammered([pair.one, pair.other], seconds)
    assert 0.6 * rate * seconds <= together <= burst + rate * seconds + 2 * burst + 0.25 * rate
    server.kill()
    time.sleep(1.0)
    apart = hammered([pair.one, pair.other], seconds)
    assert rate * seconds < apart <= 2 * (burst + rate * seconds + 0.25 * rate)
