"""Brokers as sources: what is published at a broker is an event here, whoever is killed meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.outside import Outside, outside
from tests.acceptance.program import Program, running, until

MESSAGES = 2_000
PARTS = 16
KINDS = ("redis", "nats", "rabbitmq", "kafka", "mqtt")


@pytest.fixture(scope="module", params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Outside]:
    """Each kind in turn, on a real server."""
    with outside(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def quick() -> Iterator[Outside]:
    """The one that starts and answers at once, for what is the same with all."""
    with outside("redis") as found:
        yield found


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The program, started."""
    program = Program(tmp_path / "program")
    yield program.start()
    program.close()


def numbers_of(program: Program) -> Counter[int]:
    """How often each number became an event."""
    found: Counter[int] = Counter()
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 250} | ({"cursor": cursor} if cursor else {})
        page = program.client.get("/v1/events", params=query).json()
        found.update(int(event["subject"]) for event in page["data"])
        cursor = page["next"]
        if cursor is None:
            return found


def reads(program: Program, name: str) -> bool:
    """Whether the program says that it reads the source: what is published at some brokers before that is nobody's."""
    return f'"source":"{name}"' in program.log().replace(" ", "") and "source_connected" in program.log()


def create(program: Program, broker: Outside, name: str, **spec: Any) -> dict[str, Any]:
    """A source that consumes; what was answered."""
    reading = {"type": "'order.created'", "subject": "body:n"} | ({} if broker.exactly else {"id": "body:n"})
    answer = program.client.post(
        "/v1/sources",
        json={"name": name, "kind": broker.kind, "config": broker.config(name), "reading": reading, **spec},
    )
    assert answer.status_code == 201, answer.text
    until(lambda: reads(program, name))
    made: dict[str, Any] = answer.json()
    return made


def test_nothing_is_lost_and_nothing_comes_twice(program: Program, broker: Outside):
    """2,000 messages published outside, while the program is killed and the broker is killed and started again: every
    one is an event, once."""
    broker.make("orders")
    create(program, broker, "orders")
    size = MESSAGES // PARTS
    for part in range(PARTS):
        broker.publish("orders", range(part * size, (part + 1) * size))
        if part == PARTS // 4:
            program.kill()
            program.start()
        if part == PARTS // 2:
            broker.restart()
        if part == PARTS * 3 // 4:
            killer = threading.Thread(target=lambda: (time.sleep(0.05), program.kill()))
            killer.start()
            broker.publish("orders", range(MESSAGES, MESSAGES + size))
            killer.join()
            program.start()
    wanted = MESSAGES + size
    until(lambda: program.client.get("/v1/stats").json()["events"] >= wanted, wait_s=60)
    time.sleep(1.0)  # what would come twice would come now
    assert numbers_of(program) == Counter(range(wanted))


def test_it_follows_the_configuration_within_a_second(program: Program, quick: Outside):
    """Disabled it reads nothing, enabled it reads what came meanwhile, and a program that ends does so at once."""
    quick.make("switched")
    made = create(program, quick, "switched")
    assert made["url"] == quick.config("switched")["url"]
    quick.publish("switched", [1])
    until(lambda: sum(numbers_of(program).values()) == 1, wait_s=15)
    assert program.client.patch("/v1/sources/switched", json={"enabled": False}).status_code == 200
    time.sleep(1.0)
    quick.publish("switched", [2])
    time.sleep(1.0)
    assert numbers_of(program) == Counter([1])
    assert program.client.patch("/v1/sources/switched", json={"enabled": True}).status_code == 200
    until(lambda: numbers_of(program) == Counter([1, 2]), wait_s=15)
    assert program.client.delete("/v1/sources/switched").status_code == 204
    began = time.monotonic()
    assert program.terminate() == 0
    assert time.monotonic() - began < 5


def test_a_broker_in_a_private_network_needs_leave(tmp_path: Path, quick: Outside):
    """Without HOOKLINE_ALLOW_NETWORKS a broker at a private address is refused, and one that was let in before is not
    connected to any more; its password is nowhere to be seen."""
    quick.make("private")
    config = quick.config("private")
    folder = tmp_path / "program"
    with running(folder, allow_networks="192.0.2.0/24") as program:
        answer = program.client.post("/v1/sources", json={"name": "private", "kind": quick.kind, "config": config})
        assert (answer.status_code, answer.json()["code"]) == (422, "address_refused")
        assert answer.json()["pointer"] == "/config/url"
    with running(folder) as program:
        made = create(program, quick, "private")
        assert made["config"].get("password", "***") == "***"
    with running(folder, allow_networks="192.0.2.0/24") as program:
        until(lambda: "The address is not public." in program.log())
        quick.publish("private", [1])
        time.sleep(0.5)
        assert program.stats()["events"] == 0
        assert program.log().count("source_connected") == 1
