"""Load from outside, with journals of its own: what was meant, what was acknowledged, what arrived."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import shutil
import socket
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.program import KEY, Program
from tests.acceptance.receiver import Answer, Hit, Receiver

PUBLISHERS = 6
LEASED = 1


@dataclass
class Journal:
    """What publishers know: by the publisher's own id."""

    meant: dict[str, str] = field(default_factory=dict)
    """id → hash of its data, written before it is sent for the first time."""
    acked: dict[str, str] = field(default_factory=dict)
    """id → event id, written after the 202 was read."""
    tries: Counter[int] = field(default_factory=Counter)
    """How often each status was answered; 0: no answer."""


class PublisherThreads:
    """Threads that publish until told to stop."""

    def __init__(self, seed: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n, seed), daemon=True) for n in range(PUBLISHERS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No further event; return when every one that was meant is acknowledged."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a publisher got no acknowledgement for 60 s"

    def _run(self, number: int, seed: int) -> None:
        raise NotImplementedError


class Publishers(PublisherThreads):
    """One event of a thread follows the other's 202; the same id is sent again until it is acknowledged."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(seed)
        self.journal = Journal()
        self._program = program

    def _run(self, number: int, seed: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        count = 0
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            identifier = f"{number}-{count}"
            data = {"key": number, "n": count, "fill": "x" * dice.choice((10, 1000, 8000))}
            event = {"type": "crash.test", "source": "/load", "id": identifier, "ordering_key": f"k{number}"}
            body = json.dumps(event | {"data": data}).encode()
            self.journal.meant[identifier] = digest(data)
            while True:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._program.port, timeout=10)
                status, answer = _post(connection, body)
                self.journal.tries[status] += 1
                if status == 202:
                    self.journal.acked[identifier] = answer["id"]
                    break
                connection.close()
                connection = None
                time.sleep(0.02)
            count += 1
        if connection is not None:
            connection.close()


def _post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, dict[str, str]]:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    try:
        if connection.sock is None:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("POST", "/v1/events", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return 0, {}


def digest(data: object) -> str:
    """What must arrive unchanged."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def unsteady(seed: int, failures: float, wait_s: float) -> object:
    """A receiver's script: some answers are 500, some take a while."""
    dice = random.Random(seed)

    def script(_hit: Hit, _before: int) -> Answer:
        drawn = dice.random()
        if drawn < failures:
            return Answer(500)
        return Answer(200, wait_s=wait_s if drawn < failures + 0.2 else 0.0)

    return script


@dataclass
class Endpoint:
    """An endpoint under load and what its receiver wrote down."""

    id: str
    url: str
    ordered: bool
    hits: list[tuple[Hit, int]] = field(default_factory=list)
    """Requests with the status that was answered."""


def subscribe(program: Program, receiver: Receiver, seed: int, failures: float) -> list[Endpoint]:
    """Three endpoints: one steady, one that fails now and then, one in order."""
    endpoints = []
    quick = {"schedule_s": [0.05] * 100, "jitter": 0}
    for number, ordered in enumerate((False, False, True)):
        script = unsteady(seed + number, failures if number else 0.0, 0.05)
        url = receiver.url()
        endpoint = Endpoint("", url, ordered)

        def recording(hit: Hit, before: int, script=script, endpoint=endpoint) -> Answer:
            answer = script(hit, before)
            endpoint.hits.append((hit, answer.status))
            return answer

        receiver.say(url, recording)
        more = {"order": "key"} if ordered else {}
        made = program.endpoint(url, event_types=["crash.*"], retry=quick, timeout_s=5, **more)
        endpoint.id = made["id"]
        endpoints.append(endpoint)
    return endpoints


def leased(program: Program, scratch: Path) -> set[tuple[str, str]]:
    """(event id, endpoint id) of every delivery that is leased in the file as a dead process left it.

    The file is copied first: recovering it is the next process's business.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in program.folder.glob("hookline.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, scratch / path.name)
    with contextlib.closing(sqlite3.connect(scratch / "hookline.db")) as copy:
        rows = copy.execute("SELECT id, event_id, endpoint_id FROM open WHERE state = ?", (LEASED,)).fetchall()
    return {("evt_" + (event or row[:12]).hex(), "ep_" + endpoint.hex()) for row, event, endpoint in rows}


@dataclass
class Count:
    """What the journals say when all is quiet."""

    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    """(event id, endpoint id), once per success beyond the first."""
    delivered: int = 0


def count(journal: Journal, endpoints: list[Endpoint]) -> Count:
    """Compare what was acknowledged with what arrived."""
    result = Count()
    names = {event_id: identifier for identifier, event_id in journal.acked.items()}
    for endpoint in endpoints:
        successes: Counter[str] = Counter()
        order: dict[int, list[int]] = defaultdict(list)
        for hit, status in endpoint.hits:
            identifier = names.get(hit.id)
            if identifier is None:
                result.phantom.append(hit.id)
                continue
            data = json.loads(hit.body)["data"]
            if digest(data) != journal.meant[identifier]:
                result.corrupt.append(hit.id)
            if status == 200:
                if not successes[hit.id]:
                    order[data["key"]].append(data["n"])
                successes[hit.id] += 1
        result.delivered += len(successes)
        result.lost += [event_id for event_id in names if event_id not in successes]
        result.duplicates += [(name, endpoint.id) for name, n in successes.items() for _ in range(n - 1)]
        if endpoint.ordered:
            result.disordered += [f"{endpoint.id} k{key}" for key, seen in order.items() if seen != sorted(seen)]
    return result
