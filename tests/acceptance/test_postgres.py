"""The real program on PostgreSQL: one process or several, alike or with roles."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.cluster import Cluster, command, line_of
from tests.acceptance.program import KEY, Program, balanced, until
from tests.acceptance.receiver import Answer, Receiver
from tests.servers.postgres import Postgres

SILENCE_S = 20.0
"""After so long without a beat a process is dead."""


def test_refuses_to_start(server: Postgres, tmp_path: Path) -> None:
    """What is missing is one line and an exit code: keys, migrations, a role that SQLite has not, a backup."""
    with ExitStack() as stack:
        cluster = Cluster(server.create("refuses"), tmp_path, stack)
        assert "HOOKLINE_SECRET_KEY" in line_of(command(cluster.program(secret_key=""), "serve"))
        assert "HOOKLINE_KEY" in line_of(command(cluster.program(key=""), "serve"))
        assert "`hookline migrate up`" in line_of(command(cluster.program(), "serve"))
        status = command(cluster.program(), "--json", "migrate", "status")
        assert status.returncode == 1
        assert not any(row["applied"] for row in json.loads(status.stdout)["data"])
        assert command(cluster.program(), "migrate", "up").returncode == 0
        assert "PostgreSQL" in line_of(command(cluster.program("worker", db="sqlite:///x.db"), "serve"))
        assert "pg_dump" in line_of(command(cluster.program(), "restore", "x.db"))
        gone = cluster.program(db="postgresql://hookline@127.0.0.1:9/none")
        assert "cannot be reached" in line_of(command(gone, "serve"))


def test_one_process_does_it_all(cluster: Cluster, receiver: Receiver) -> None:
    """Publish, deliver, pause, retry, replay and the books, as on SQLite; a backup is PostgreSQL's own business."""
    program = cluster.start()
    url = receiver.url([500, 200])
    endpoint = program.endpoint(url, retry={"schedule_s": [1]})
    made = program.publish("a.b", {"n": 1})
    row = program.delivered(made["id"])
    assert [attempt["status"] for attempt in program.attempts(row["id"])] == [500, 200]
    program.post(f"/v1/endpoints/{endpoint['id']}/pause", status=200)
    held = program.publish("a.b", 2)
    assert program.delivery(held["id"])["state"] == "held"
    program.post(f"/v1/endpoints/{endpoint['id']}/resume", status=200)
    program.delivered(held["id"])
    program.post(f"/v1/events/{made['id']}/replay", {}, status=202)
    receiver.came(url, 4)
    assert balanced(program.quiet())
    refused = program.get("/v1/backup", status=422)
    assert (refused["code"], "pg_dump" in refused["detail"]) == ("not_supported", True)
    assert "hookline_wal_bytes" not in program.client.get("/metrics").text
    assert program.terminate() == 0, program.log()
    other = base64.b64encode(b"another key of just 32 bytes....").decode()
    assert "opens none of the secrets" in line_of(command(cluster.program(secret_key=other), "serve"))


def test_roles(cluster: Cluster, receiver: Receiver) -> None:
    """What an API process accepts a worker sends, at once; the worker serves its health and nothing else; a retry by a
    person and a pause reach it within a second, and nothing is sent after that."""
    api, worker = cluster.start("api"), cluster.start("worker")
    url = receiver.url()
    endpoint = api.endpoint(url)
    api.delivered(api.publish("a.b", 0)["id"])
    began = time.monotonic()
    made = [api.publish("a.b", n) for n in range(5)]
    receiver.came(url, 6, wait_s=5.0)
    assert time.monotonic() - began < 5.0
    assert worker.client.get("/readyz").status_code == 200
    assert "hookline_workers 1.0" in worker.client.get("/metrics").text
    for path in ("/v1/events", "/v1/endpoints", "/", "/in/x"):
        assert worker.client.get(path).status_code == 404
    assert worker.raw("/v1/events", b"{}", "application/json").status_code == 404
    api.post(f"/v1/deliveries/{api.delivery(made[0]['id'])['id']}/retry", status=409)

    stop = threading.Event()

    def publish() -> None:
        with httpx2.Client(base_url=api.url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as client:
            while not stop.is_set():
                client.post("/v1/events", json={"type": "a.b", "data": 1})

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        receiver.came(url, 30)
        api.post(f"/v1/endpoints/{endpoint['id']}/pause", status=200)
        paused_s = time.monotonic()
        time.sleep(2.0)
    finally:
        stop.set()
        publishing.join()
    assert max(hit.at_s for hit in receiver.hits(url)) - paused_s < 1.0
    assert api.stats()["open"]["held"] > 0
    api.post(f"/v1/endpoints/{endpoint['id']}/resume", status=200)
    assert balanced(api.quiet(wait_s=30.0))
    assert (api.terminate(), worker.terminate()) == (0, 0)


def test_configuration_is_one(cluster: Cluster, receiver: Receiver) -> None:
    """An endpoint created on one process gets what is accepted on another right after; a key works and stops working
    on both."""
    one, other = cluster.start(), cluster.start()
    for n in range(5):
        url = receiver.url()
        one.endpoint(url, event_types=[f"type.{n}"])
        made = other.publish(f"type.{n}", n)
        assert made["deliveries"] == 1
        receiver.came(url)
    key = one.post("/v1/keys", {"scopes": ["read"], "tenant": "default"}, status=201).json()

    def status() -> int:
        return httpx2.get(
            f"{other.url}/v1/events", headers={"authorization": f"Bearer {key['key']}"}, trust_env=False
        ).status_code

    until(lambda: status() == 200, wait_s=1.0)
    assert one.client.delete(f"/v1/keys/{key['id']}").status_code == 204
    until(lambda: status() == 401, wait_s=1.0)


def three_running(api: Program, receiver: Receiver, type_: str) -> tuple[str, list[str]]:
    """An endpoint with three attempts running, each for 8 s, that would be answered at once if they came again; its
    address, and the events."""
    url = receiver.url()
    api.endpoint(url, event_types=[type_], timeout_s=60)
    for n in range(4):  # it starts slowly: after these, three may run at once
        api.delivered(api.publish(type_, n)["id"])
    receiver.say(url, lambda _hit, before: Answer(wait_s=8.0 if before < 7 else 0.0))
    made = [api.publish(type_, n)["id"] for n in range(3)]
    receiver.came(url, 7)
    return url, made


@pytest.mark.rule(n=16)
def test_a_killed_worker_is_replaced(cluster: Cluster, receiver: Receiver) -> None:
    """SIGKILL of a worker with attempts running: the next start under its name sends them again at once, another worker
    when the dead one has been silent for 20 s; nothing comes more than twice."""
    api = cluster.start("api")
    first = cluster.start("worker", instance="w1")
    url, made = three_running(api, receiver, "named")
    first.kill()
    first.start()  # its name tells that the earlier one is dead
    hits = receiver.came(url, 10, wait_s=SILENCE_S - 5.0)
    for one in made:
        api.delivered(one)
    assert Counter(hit.id for hit in hits[4:]) == dict.fromkeys(made, 2)
    url, made = three_running(api, receiver, "silent")
    other = cluster.start("worker")
    first.kill()
    killed_s = time.monotonic()
    hits = receiver.came(url, 10, wait_s=SILENCE_S + 20.0)
    assert min(hit.at_s for hit in hits[7:]) - killed_s > SILENCE_S - 5.0
    for one in made:
        api.delivered(one)
    assert Counter(hit.id for hit in hits[4:]) == dict.fromkeys(made, 2)
    assert balanced(api.quiet())
    assert other.terminate() == 0
