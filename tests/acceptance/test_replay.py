"""Replays of many, from outside: an outage, what failed in it, and all of it again, also over a kill -9."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.program import Program, balanced, running, until
from tests.acceptance.receiver import OK, Answer, Hit, Receiver

ENDPOINTS = 20
EVENTS = 100
FAILED = ENDPOINTS * EVENTS


class Outage:
    """A receiver that is down, then well; what came while it was well, by endpoint and webhook-id."""

    def __init__(self) -> None:
        self.down = True
        self.taken: Counter[tuple[str, str]] = Counter()

    def answer(self, hit: Hit, _before: int) -> Answer:
        """500 while it is down."""
        if self.down:
            return Answer(500)
        self.taken[hit.path, hit.id] += 1
        return OK


def after_an_outage(program: Program, receiver: Receiver, endpoints: int = ENDPOINTS, events: int = EVENTS) -> Outage:
    """So many endpoints at each of which so many deliveries failed; the receiver is well again."""
    outage = Outage()
    for _ in range(endpoints):
        program.endpoint(receiver.url(outage.answer), retry={"schedule_s": [0.05]}, event_types=["outage"])
    program.post("/v1/events", [{"type": "outage", "data": n} for n in range(events)], status=202)

    def all_failed() -> bool:
        for endpoint in program.rows("/v1/endpoints"):
            if endpoint["state"] == "failing":  # on a slow machine: then nothing but probes would be sent
                program.post(f"/v1/endpoints/{endpoint['id']}/resume", status=200)
        return bool(program.stats()["failed"] == endpoints * events)

    until(all_failed, 60.0, 0.5)
    outage.down = False
    return outage


def ended(program: Program, replay: dict[str, Any]) -> dict[str, Any]:
    """Wait until it is done and everything is delivered."""

    def done() -> dict[str, Any] | None:
        found: dict[str, Any] = program.get(f"/v1/replays/{replay['id']}")
        return None if found["state"] == "running" else found

    found = until(done, 60.0, 0.1)
    assert found["state"] == "done", found
    program.quiet(60.0)
    return found


def leased(folder: Path) -> set[tuple[bytes, bytes]]:
    """(delivery, endpoint) of what was in flight when the program was killed."""
    with closing(sqlite3.connect(f"file:{folder / 'hookline.db'}?mode=ro", uri=True)) as connection:
        return set(connection.execute("SELECT id, endpoint_id FROM open WHERE state = 1").fetchall())


def test_what_failed_in_an_outage_is_delivered_once_over_a_kill(tmp_path: Path, receiver: Receiver):
    """Killed in the middle of a replay and started again, each of 2,000 failed deliveries arrives: once, but for those
    that were in flight at the kill; and the books hold."""
    program = Program(tmp_path)
    try:
        program.start()
        outage = after_an_outage(program, receiver)
        counted = program.post("/v1/replays", {"filter": {"state": "failed"}, "dry_run": True}, status=200).json()
        assert counted == {"dry_run": True, "matched": FAILED, "would_replay": FAILED, "complete": True}
        wanted = {"filter": {"state": "failed"}, "rate": {"n": 800, "per_s": 1, "burst": 200}}
        replay = program.post("/v1/replays", wanted, status=202).json()
        path = f"/v1/replays/{replay['id']}"
        until(lambda: program.get(path)["replayed"] >= FAILED // 2, 60.0, 0.01)
        program.kill()
        in_flight = leased(tmp_path)
        program.start()
        found = ended(program, replay)
        assert (found["examined"], found["replayed"], found["skipped"]) == (FAILED, FAILED, 0)
        assert found["progress"] == 1
        assert len(outage.taken) == FAILED
        twice = sum(times - 1 for times in outage.taken.values())
        assert twice <= len(in_flight), (twice, len(in_flight))
        stats = program.stats()
        assert balanced(stats)
        assert (stats["deliveries"], stats["delivered"], stats["failed"]) == (FAILED, FAILED, 0)
    finally:
        program.close()


def test_a_new_subscriber_gets_the_past_and_what_comes_meanwhile(tmp_path: Path, receiver: Receiver):
    """Events of before are replayed to it while new ones are published; it has each once."""
    with running(tmp_path) as program:
        program.post("/v1/events", [{"type": "past", "data": n} for n in range(600)], status=202)
        url = receiver.url()
        endpoint = program.endpoint(url, event_types=["past"])
        wanted = {"of": "events", "filter": {"type": "past"}, "endpoint_id": endpoint["id"]}
        replay = program.post("/v1/replays", wanted, status=202).json()
        program.post("/v1/events", [{"type": "past", "data": n} for n in range(600, 700)], status=202)
        found = ended(program, replay)
        assert found["replayed"] == 600
        hits = Counter(hit.id for hit in receiver.came(url, 700))
        assert (len(hits), max(hits.values())) == (700, 1)
        assert balanced(program.stats())


def test_the_short_form_and_canceling(tmp_path: Path, receiver: Receiver):
    """One endpoint's failed ones go again by its own address; a slow replay is canceled and leaves the rest failed."""
    with running(tmp_path) as program:
        outage = after_an_outage(program, receiver, 2, 30)
        first = program.get("/v1/endpoints", limit="1")["data"][0]
        made = program.post(f"/v1/endpoints/{first['id']}/replay", {}, status=202).json()
        assert ended(program, made)["replayed"] == 30
        assert sum(outage.taken.values()) == 30
        slow = {"filter": {"state": "failed"}, "rate": {"n": 10, "per_s": 60}}
        replay = program.post("/v1/replays", slow, status=202).json()
        until(lambda: program.get(f"/v1/replays/{replay['id']}")["replayed"] == 10)
        canceled = program.post(f"/v1/replays/{replay['id']}/cancel", status=200).json()
        assert (canceled["state"], canceled["replayed"]) == ("canceled", 10)
        program.quiet()
        assert program.stats()["failed"] == 20
