"""`hookline serve --processes`: one command, several processes on one PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.cluster import Cluster
from tests.acceptance.program import KEY, Program, balanced, until
from tests.acceptance.receiver import Answer, Receiver
from tests.servers.postgres import Postgres

HEADERS = {"authorization": f"Bearer {KEY}"}
SILENCE_S = 20.0


def facts(program: Program, name: str) -> list[dict[str, Any]]:
    """The lines of a name that it wrote."""
    lines = [line for line in program.log_path.read_text().splitlines() if line.startswith("{")]
    return [found for line in lines if (found := json.loads(line))["fact"] == name]


def living(program: Program) -> dict[str, int]:
    """Its children that live, by name."""
    pids = {fact["process"]: fact["pid"] for fact in facts(program, "process_started")}
    return {name: pid for name, pid in pids.items() if runs(pid)}


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def publish_alone(program: Program, type_: str, number: int) -> str:
    """One event over a connection of its own; its id."""
    with httpx2.Client(base_url=program.url, headers=HEADERS, timeout=30, trust_env=False) as client:
        answer = client.post("/v1/events", json={"type": type_, "data": number})
        assert answer.status_code == 202, answer.text
        made: str = answer.json()["id"]
        return made


def series(program: Program, name: str) -> dict[str, float]:
    """The samples of a metric by process."""
    page = program.client.get("/metrics").text
    found = re.findall(rf'^{name}{{process="([^"]+)"}} (\S+)$', page, re.MULTILINE)
    return {process: float(value) for process, value in found}


def test_several_are_one(cluster: Cluster, receiver: Receiver) -> None:
    """Two processes share the port: both accept, `/metrics` tells of both whichever is asked, one that is killed is
    started again and what it had in flight is sent again at once; SIGTERM ends all of them with 0."""
    program = cluster.start(processes="2")
    until(lambda: len(series(program, "hookline_slots")) == 2)
    url = receiver.url()
    program.endpoint(url)
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda n: publish_alone(program, "a.b", n), range(200)))
    receiver.came(url, 200)
    accepted = series(program, "hookline_accepted_events_total")
    assert sum(accepted.values()) == 200
    assert min(accepted.values()) >= 10, accepted

    receiver.say(url, lambda _hit, before: Answer(wait_s=5.0 if before < 204 else 0.0))
    made |= {publish_alone(program, "a.b", n) for n in range(4)}
    receiver.came(url, 204)
    killed_s = time.monotonic()
    before = living(program)
    os.kill(before["all-1"], signal.SIGKILL)
    until(lambda: living(program).get("all-1", before["all-1"]) != before["all-1"])
    assert living(program)["all-2"] == before["all-2"]
    until(lambda: program.stats()["delivered"] == 204, wait_s=SILENCE_S)
    assert time.monotonic() - killed_s < SILENCE_S - 5.0  # by its name, not by its silence
    assert {hit.id for hit in receiver.hits(url)} == made
    assert len(receiver.hits(url)) <= 208
    assert balanced(program.quiet())
    assert (program.terminate(), living(program)) == (0, {}), program.log()


def test_a_stop_drains_and_tells_the_truth(cluster: Cluster, receiver: Receiver) -> None:
    """A stop waits for what is in flight; when a child does not end well, neither does the program."""
    program = cluster.start(processes="2")
    url = receiver.url(lambda _hit, _before: Answer(wait_s=2.0))
    program.endpoint(url)
    made = program.publish("a.b", 1)
    receiver.came(url, 1)
    assert program.terminate() == 0, program.log()
    assert living(program) == {}
    program.start()
    program.delivered(made["id"])
    assert len(receiver.hits(url)) == 1
    until(lambda: len(living(program)) == 2)
    receiver.say(url, lambda _hit, _before: Answer(wait_s=6.0))
    program.publish("a.b", 2)
    receiver.came(url, 2)
    children = living(program)
    os.kill(program.pid, signal.SIGTERM)
    until(lambda: len(living(program)) == 1)  # the other one has an attempt in flight
    (last,) = living(program)
    os.kill(children[last], signal.SIGKILL)
    assert program.end() == 128 + signal.SIGKILL


def test_a_parent_that_is_gone_ends_all(cluster: Cluster) -> None:
    """SIGKILL of the parent: the children notice, drain and end; nobody is left who could not be stopped."""
    program = cluster.start(processes="2")
    until(lambda: len(living(program)) == 2)
    os.kill(program.pid, signal.SIGKILL)
    program.end()
    until(lambda: living(program) == {})


def test_what_stops_one_stops_all(cluster: Cluster, server: Postgres) -> None:
    """What a process refuses to start on is said once, with its exit code, and no second one is tried."""
    empty = cluster.program(processes="4", db=server.create("empty_of_all"))
    empty.launch()
    assert empty.end() == 1
    assert empty.log().count("`hookline migrate up`") == 1
    assert len(facts(empty, "process_started")) == 1
    for more in ({"processes": "2", "db": "sqlite:///x.db"}, {"processes": "auto", "role": "api"}):
        refused = cluster.program(**more)
        refused.launch()
        assert refused.end() == 2
        assert "HOOKLINE_PROCESSES" in refused.log()


@pytest.mark.slow
@pytest.mark.rule(n=19)
def test_auto_follows_demand(cluster: Cluster, receiver: Receiver) -> None:
    """A load step: processes that deliver come while work waits, up to the bound, and go when it is done, down to one;
    everything is delivered once."""
    program = cluster.start(processes="auto:2", concurrency="8")
    assert list(living(program)) == ["all-1"]
    url = receiver.url(lambda _hit, _before: Answer(wait_s=0.2))
    program.endpoint(url)
    events = [{"type": "a.b", "data": n} for n in range(100)]
    program.post("/v1/events", events, status=202)
    until(lambda: list(living(program)) == ["all-1", "worker-1"], wait_s=30.0)
    until(lambda: program.stats()["delivered"] == len(events), wait_s=60.0)
    until(lambda: list(living(program)) == ["all-1"], wait_s=60.0)
    assert [fact["count"] for fact in facts(program, "processes")] == [2, 1]
    assert [fact["code"] for fact in until(lambda: facts(program, "process_ended"))] == [0]
    assert len(receiver.hits(url)) == len({hit.id for hit in receiver.hits(url)}) == len(events)
    assert balanced(program.stats())
    assert program.terminate() == 0


@pytest.mark.rule(n=19)
def test_busy_is_ready(cluster: Cluster, receiver: Receiver) -> None:
    """While nothing can be committed publishing is 503 with Retry-After, `/readyz` stays 200 all the while, for a load
    balancer that took the node away would overload the others, and what was answered 202 is delivered afterwards."""
    program = cluster.start()
    url = receiver.url()
    program.endpoint(url)
    statuses: list[int] = []
    accepted: list[str] = []
    hasty: list[str] = []
    over = threading.Event()

    def publish() -> None:
        with httpx2.Client(base_url=program.url, headers=HEADERS, timeout=30, trust_env=False) as client:
            while not over.is_set():
                answer = client.post("/v1/events", json={"type": "a.b", "data": "x" * 50_000})
                statuses.append(answer.status_code)
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                elif "retry-after" not in answer.headers:
                    hasty.append(answer.text)

    threads = [threading.Thread(target=publish) for _ in range(24)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(accepted) > 50)
        ready = asyncio.run(_ready_while_locked(cluster.dsn, program, seconds=5.0))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(ready) >= 10
    assert {status for status, _ in ready} == {200}
    assert max(took_s for _, took_s in ready) < 2.0
    assert set(statuses) == {202, 503}
    assert hasty == []
    until(lambda: set(accepted) <= {hit.id for hit in receiver.hits(url)}, wait_s=60.0, every_s=0.3)
    assert balanced(program.quiet(wait_s=60.0))


async def _ready_while_locked(dsn: str, program: Program, seconds: float) -> list[tuple[int, float]]:
    """What `/readyz` answers, and how soon, while nobody can write deliveries."""
    import asyncpg

    connection = await asyncpg.connect(dsn)
    found = []
    async with connection.transaction(), httpx2.AsyncClient(base_url=program.url, trust_env=False) as client:
        await connection.execute("LOCK TABLE open IN SHARE ROW EXCLUSIVE MODE")
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            answer = await client.get("/readyz", timeout=10.0)
            found.append((answer.status_code, time.monotonic() - began_s))
            await asyncio.sleep(0.2)
    await connection.close()
    return found
