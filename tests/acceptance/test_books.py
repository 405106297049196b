"""The books and the lists, from outside: they add up at every moment, and pages lose and repeat nothing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest
from tests.acceptance.program import Program, balanced, running
from tests.acceptance.receiver import Answer, Receiver

STATES = ("pending", "leased", "held", "unconfirmed", "delivered", "failed", "discarded")


@pytest.mark.rule(n=6)
def test_the_books_balance_at_every_moment(tmp_path, receiver: Receiver):
    """While events are published, delivered, retried and failed, each answer of /v1/stats adds up in itself."""
    flaky = receiver.url(lambda _hit, n: Answer(500 if n % 3 == 0 else 200))
    dead = receiver.url([500])
    with running(tmp_path) as program:
        program.endpoint(receiver.url(), event_types=["x"])
        program.endpoint(flaky, event_types=["x"], retry={"schedule_s": [0, 0, 0, 0]})
        program.endpoint(dead, event_types=["x"], retry={"schedule_s": [0]})
        held = program.endpoint(receiver.url(), event_types=["x"], uid="held")
        program.post("/v1/endpoints/held/pause")
        seen: list[dict[str, object]] = []
        stop = threading.Event()

        def watch() -> None:
            with running_client(program) as client:
                while not stop.is_set():
                    seen.append(client.get("/v1/stats").json())
                    time.sleep(0.01)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for n in range(20):
                program.post("/v1/events", [{"type": "x", "data": m} for m in range(n + 1)], status=202)
        finally:
            time.sleep(0.5)
            stop.set()
            watcher.join()
        assert len(seen) > 20
        assert [stats for stats in seen if not balanced(stats)] == []
        counts = [stats["deliveries"] for stats in seen]
        assert counts == sorted(counts)
        stats = program.stats()
        assert (stats["events"], stats["deliveries"]) == (210, 840)
        assert stats["open"]["held"] == 210
        assert len(program.deliveries(endpoint=held["id"], state="held")) == 210


def running_client(program: Program):
    """A second connection to the program."""
    import httpx2

    return httpx2.Client(base_url=program.url, headers=program.client.headers, timeout=30, trust_env=False)


@pytest.mark.rule(n=6)
def test_lists_count_what_the_books_count(tmp_path, receiver: Receiver):
    """When it is quiet, the lists by state have as many rows as the books say."""
    with running(tmp_path) as program:
        program.endpoint(receiver.url(), event_types=["x"])
        program.endpoint(receiver.url([410]), event_types=["gone"])
        program.endpoint(receiver.url(), event_types=["paused"], uid="paused")
        program.post("/v1/endpoints/paused/pause")
        for kind in ("x", "gone", "paused"):
            program.post("/v1/events", [{"type": kind, "data": n} for n in range(7)], status=202)
        stats = program.quiet()
        flat = {state: stats.get(state, stats["open"].get(state)) for state in STATES}
        assert {state: len(program.deliveries(state=state)) for state in STATES} == flat
        assert len(program.deliveries()) == stats["deliveries"] == 21
        assert len(program.rows("/v1/events")) == stats["events"] == 21


def test_pages_lose_and_repeat_nothing(program: Program, name: str):
    """Pages of any size, walked by cursor, give every row once, newest first."""
    program.endpoint("http://127.0.0.1:9/", event_types=[name], uid=name)
    program.post(f"/v1/endpoints/{name}/pause")
    made = []
    for n in range(3):
        answer = program.post("/v1/events", [{"type": name, "data": [n, m]} for m in range(10)], status=202).json()
        made += [row["id"] for row in answer["data"]]
    for limit in ("1", "7", "30", "250"):
        rows = program.deliveries(type=name, limit=limit)
        assert [row["event_id"] for row in rows] == made[::-1]
        assert [row["id"] for row in program.rows("/v1/events", type=name, limit=limit)] == made[::-1]
    program.client.delete(f"/v1/endpoints/{name}")


def test_since_is_inclusive_and_until_exclusive(program: Program, name: str):
    """`since` keeps its own millisecond, `until` does not."""
    ids = []
    for n in range(3):
        ids.append(program.publish(name, n)["id"])
        time.sleep(0.01)
    middle = int(ids[1].removeprefix("evt_")[:12], 16)
    at = datetime.fromtimestamp(middle / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert [row["id"] for row in program.rows("/v1/events", type=name, since=at)] == [ids[2], ids[1]]
    assert [row["id"] for row in program.rows("/v1/events", type=name, until=at)] == [ids[0]]


def test_rows_have_the_promised_members(program: Program, receiver: Receiver, name: str):
    """A delivery's and an attempt's row have exactly the members that the design names, or more, and times in UTC."""
    program.endpoint(receiver.url(), event_types=[name])
    made = program.publish(name, 1)
    row = program.delivered(made["id"])
    wanted = {"id", "event_id", "endpoint_id", "type", "state", "attempts", "next_at", "reason"}
    assert wanted | {"created_at", "finished_at"} <= set(row)
    for field in ("created_at", "finished_at"):
        assert row[field].endswith("Z")
        assert len(row[field]) == len("2026-01-02T03:04:05.678Z")
    (attempt,) = program.attempts(row["id"])
    wanted = {"id", "number", "at", "status", "reason", "cause", "duration_ms", "timing", "method", "url"}
    wanted |= {"request_headers", "request_body", "response_headers", "response_body"}
    assert wanted <= set(attempt)
    assert attempt["id"].startswith("att_")


def test_stats_are_per_tenant(tmp_path):
    """The operator without a tenant sees the sum; with one, that tenant's books only."""
    with running(tmp_path) as program:
        program.publish("x", 1)
        program.post("/v1/events", {"type": "x", "data": 1}, status=202, hookline_tenant="a")
        assert program.stats()["events"] == 2
        for tenant, events in (("default", 1), ("a", 1), ("nobody", 0)):
            answer = program.client.get("/v1/stats", headers={"hookline-tenant": tenant})
            assert answer.json()["events"] == events


@pytest.mark.rule(n=5)
@pytest.mark.slow
def test_a_big_fan_out_is_one_commit(tmp_path, receiver: Receiver):
    """An event to 1,000 endpoints is accepted about as fast as one to a single one, and reaches every one of them."""
    url = receiver.url()
    with running(tmp_path) as program:
        for n in range(1000):
            program.endpoint(f"{url}?{n}", event_types=["many"])
        program.publish("none", 0)
        began = time.monotonic()
        made = program.publish("many", 1)
        took_s = time.monotonic() - began
        assert made["deliveries"] == 1000
        stats = program.stats()
        assert stats["deliveries"] == 1000
        assert balanced(stats)
        hits = receiver.came(url, 1000, wait_s=60)
        assert len({hit.target for hit in hits}) == 1000
        assert program.quiet()["delivered"] == 1000
        assert len(program.deliveries(event=made["id"])) == 1000
        assert took_s < 0.5
