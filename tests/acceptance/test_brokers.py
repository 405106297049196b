"""Endpoints that are brokers, through the whole program: what was accepted is there, whatever is killed meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.acceptance.broker_consumers import place
from tests.acceptance.program import Program, balanced, running, until
from tests.servers.process import free_port

KINDS = ("redis", "rabbitmq", "nats", "kafka", "mqtt")
RETRY = {"first_s": 0.3, "factor": 1.5, "wait_s_max": 1.0, "attempts": 100}
LOAD_S = 2.5
EACH = 10
"""Events of one request."""


class Publisher(threading.Thread):
    """Publishes until it is told to stop; keeps the id of each event that was accepted, and tries the others again."""

    def __init__(self, program: Program) -> None:
        super().__init__(daemon=True)
        self._program = program
        self._stopped = threading.Event()
        self.accepted: set[str] = set()

    def run(self) -> None:
        """In a thread."""
        number = 0
        while not self._stopped.is_set():
            events = [
                {"type": "order.created", "data": {"order": number + n}, "id": f"{number + n}"} for n in range(EACH)
            ]
            while True:
                try:
                    answer = self._program.post("/v1/events", events)
                except Exception:
                    time.sleep(0.05)  # it is being started again
                    continue
                if answer.status_code == 202:
                    break
                time.sleep(0.05)
            self.accepted |= {row["id"] for row in answer.json()["data"]}
            number += EACH
            self._stopped.wait(0.05)

    def stop(self) -> set[str]:
        """The ids of what was accepted."""
        self._stopped.set()
        self.join(30)
        assert not self.is_alive()
        return self.accepted


@pytest.mark.crash
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_when_broker_and_program_are_killed(tmp_path: Path, kind: str):
    """Under load the broker is killed and started again, then the program: every accepted event is in the broker, and
    what is there twice was in flight."""
    with place(kind) as there, running(tmp_path) as program:
        program.endpoint(**there.spec, event_types=["order.*"], retry=RETRY, timeout_s=5, format="cloudevents")
        publisher = Publisher(program)
        publisher.start()
        time.sleep(LOAD_S / 2)
        there.kill()
        time.sleep(0.5)
        there.start()
        time.sleep(LOAD_S / 2)
        program.kill()
        program.start()
        time.sleep(0.3)
        accepted = publisher.stop()
        stats = program.quiet(60)
        assert balanced(stats)
        assert (stats["failed"], stats["discarded"]) == (0, 0)
        found = Counter(there.read())
        assert len(accepted) > 100
        assert accepted - set(found) == set(), "lost"
        assert set(found) - accepted == set(), "nobody published these"
        twice = sum(found.values()) - len(found)
        assert twice <= 2 * 64, "more than two kills can have had in flight"
        assert program.terminate() == 0, program.log()


def test_an_attempt_tells_of_a_broker_as_of_a_receiver(tmp_path: Path):
    """The API makes the endpoint, keeps its password to itself, sends a test, and shows why an attempt failed."""
    with place("redis") as there, running(tmp_path) as program:
        made = program.endpoint(**there.spec, auth={"kind": "basic", "username": "shop", "password": "swordfish"})
        assert made["auth"] == {**made["auth"], "username": "***", "password": "***"}
        assert made["warnings"] == ["The credentials travel without TLS."]
        event = program.publish("order.created", {"order": 1})
        delivery = until(lambda: (row := program.delivery(event["id"]))["attempts"] and row)
        (attempt, *_) = program.attempts(delivery["id"])
        assert (attempt["reason"], attempt["cause"]) == ("unauthorized", "authentication")
        assert (attempt["method"], attempt["url"]) == ("XADD", there.spec["url"])
        assert "swordfish" not in str(attempt)
        program.client.patch(f"/v1/endpoints/{made['id']}", json={"auth": None}).raise_for_status()
        program.post(f"/v1/deliveries/{delivery['id']}/retry")
        program.delivered(event["id"])
        tried = program.post(f"/v1/endpoints/{made['id']}/test", status=200).json()
        assert tried["success"] is True
        assert len(there.read()) == 2
        assert "swordfish" not in program.log()


@pytest.mark.parametrize(
    ("spec", "code", "pointer"),
    [
        ({"kind": "redis", "url": "redis://h", "config": {}}, "invalid_endpoint", "/config/stream"),
        ({"kind": "redis", "url": "http://h", "config": {"stream": "s"}}, "address_refused", "/url"),
        ({"kind": "nats", "url": "nats://10.0.0.1", "config": {"subject": "s"}}, "address_refused", "/url"),
        ({"kind": "mqtt", "url": "mqtt://h", "config": {"topic": "a/#"}}, "invalid_endpoint", "/config/topic"),
        ({"kind": "kafka", "url": "kafka://u:p@h", "config": {"topic": "t"}}, "address_refused", "/url"),
        (
            {"kind": "rabbitmq", "url": "amqp://h", "config": {"queue": "q"}, "verify": "challenge"},
            "not_supported",
            "/verify",
        ),
        ({"kind": "sqs", "url": "sqs://h"}, "invalid_endpoint", "/kind"),
    ],
)
def test_what_is_wrong_with_a_broker_is_said(program: Program, spec: dict, code: str, pointer: str):
    """A wrong kind, address or config is refused where it is."""
    answer = program.post("/v1/endpoints", spec)
    assert (answer.status_code, answer.json()["code"], answer.json()["pointer"]) == (422, code, pointer)


def test_a_missing_driver_is_named(tmp_path: Path):
    """Without its driver a kind is refused with what to install; all others work."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'aiomqtt' else find(name, *more)\n"
    )
    program = Program(tmp_path / "program", more={"PYTHONPATH": str(blocked)})
    try:
        program.start()
        spec = {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{free_port()}", "config": {"topic": "t"}}
        answer = program.post("/v1/endpoints", spec, status=422).json()
        assert (answer["code"], answer["pointer"]) == ("not_supported", "/kind")
        assert 'pip install "hookline[mqtt]"' in answer["detail"]
        assert program.terminate() == 0
    finally:
        program.close()
