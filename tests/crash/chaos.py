"""What the chaos tests share: publishers and receivers with journals of their own, and what these say in the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.acceptance.program import KEY, Program, balanced, until
from tests.acceptance.receiver import OK, Answer, Hit, Receiver
from tests.crash.load import digest

KILLS = int(os.environ.get("KILLS", "0"))
LONG = KILLS >= 10
"""`make crash` says how many kills it wants; `make test` says nothing and gets the short form."""
QUIET_S = 120.0
Pair = tuple[str, str]
"""(event id, endpoint id)"""


@dataclass
class Journal:
    """What publishers know, by the publisher's own id."""

    meant: dict[str, str] = field(default_factory=dict)
    """id → hash of its data, written before it is sent for the first time."""
    acked: dict[str, str] = field(default_factory=dict)
    """id → event id, written after the 202 was read."""
    statuses: Counter[int] = field(default_factory=Counter)
    """How often each status was answered; 0: none."""
    codes: Counter[str] = field(default_factory=Counter)
    """How often each problem code was answered."""
    hasty: list[int] = field(default_factory=list)
    """503s that do not say when to come back."""
    last_acked_s: float = 0.0
    """When a 202 was read last, by the monotonic clock."""

    def of(self, number: int) -> list[str]:
        """The event ids that a publisher got, in the order in which it published."""
        own = (name for name in list(self.acked) if name.startswith(f"{number}-"))
        return [self.acked[name] for name in sorted(own, key=lambda name: int(name.split("-")[1]))]


class Publishers:
    """Threads that publish, each one event after the other's 202, the same id again until it is acknowledged. They are
    numbered from `first`."""

    def __init__(
        self,
        program: Program,
        event_type: str,
        *,
        count: int = 4,
        pause_s: float = 0.02,
        fill_bytes: int = 500,
        answer_s_max: float = 10.0,
        first: int = 0,
    ) -> None:
        self.journal = Journal()
        self.count = count
        self._program = program
        self._type = event_type
        self._pause_s = pause_s
        self._fill_bytes = fill_bytes
        self._answer_s_max = answer_s_max
        self._stop = threading.Event()
        self._given_up = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(first + n,), daemon=True) for n in range(count)]

    def start(self) -> Publishers:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, wait_s: float = 90.0) -> Journal:
        """No further event; return when all that were meant are acknowledged."""
        self._stop.set()
        end = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), f"not acknowledged within {wait_s} s: {self.journal.statuses}"
        return self.journal

    def give_up(self) -> Journal:
        """End now, acknowledged or not: the program is dead."""
        self._given_up.set()
        return self.stop(self._answer_s_max + 10)

    def _run(self, number: int) -> None:
        done = 0
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            identifier = f"{number}-{done}"
            data = {"key": number, "n": done, "fill": "x" * self._fill_bytes}
            event = {"type": self._type, "source": "/chaos", "id": identifier, "ordering_key": f"k{number}"}
            body = json.dumps(event | {"data": data}).encode()
            self.journal.meant[identifier] = digest(data)
            while not self._given_up.is_set():
                connection = connection or http.client.HTTPConnection(
                    "127.0.0.1", self._program.port, timeout=self._answer_s_max
                )
                if self._post(connection, identifier, body):
                    break
                connection.close()
                connection = None
                time.sleep(0.05)
            done += 1
            time.sleep(self._pause_s)
        if connection is not None:
            connection.close()

    def _post(self, connection: http.client.HTTPConnection, identifier: str, body: bytes) -> bool:
        journal = self.journal
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        try:
            connection.request("POST", "/v1/events", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            journal.statuses[0] += 1
            return False
        journal.statuses[answer.status] += 1
        if answer.status == 202:
            journal.acked[identifier] = json.loads(text)["id"]
            journal.last_acked_s = time.monotonic()
            return True
        ours = "json" in answer.headers.get("content-type", "")  # a proxy's own refusals have no code
        journal.codes[json.loads(text)["code"] if ours else ""] += 1
        if answer.status == 503 and not int(answer.headers.get("retry-after", "0")) > 0:
            journal.hasty.append(answer.status)
        return False


class Endpoint:
    """An endpoint and what its receiver wrote down; the receiver can be told to keep silent."""

    def __init__(self, program: Program, receiver: Receiver, event_type: str, **spec: object) -> None:
        self.answer: Answer = OK
        """What is answered from now on."""
        self.speaks = threading.Event()
        """While it is not set nothing is answered."""
        self.speaks.set()
        self.came: list[Hit] = []
        """Requests, before they were answered."""
        self.hits: list[tuple[Hit, int]] = []
        """Requests with the status that was answered."""
        self.url = receiver.url(self._take)
        self.id: str = program.endpoint(self.url, event_types=[event_type], **spec)["id"]

    def _take(self, hit: Hit, _before: int) -> Answer:
        self.came.append(hit)
        self.speaks.wait(100)
        answer = self.answer
        self.hits.append((hit, answer.status))
        return answer


@dataclass
class Count:
    """What the journals say when all is quiet."""

    lost: list[Pair] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    duplicates: list[Pair] = field(default_factory=list)
    """Once per success beyond the first."""
    delivered: int = 0

    @property
    def nothing_wrong(self) -> bool:
        """Whether everything came, whole, and nothing else."""
        return not (self.lost or self.phantom or self.corrupt)


def count(journal: Journal, endpoints: Iterable[Endpoint]) -> Count:
    """Compare what was acknowledged with what arrived."""
    result = Count()
    names = {event_id: identifier for identifier, event_id in journal.acked.items()}
    for endpoint in endpoints:
        successes: Counter[str] = Counter()
        for hit, status in list(endpoint.hits):
            identifier = names.get(hit.id)
            if identifier is None:
                result.phantom.append(hit.id)
                continue
            if digest(json.loads(hit.body)["data"]) != journal.meant[identifier]:
                result.corrupt.append(hit.id)
            successes[hit.id] += status == 200
        result.delivered += len(+successes)
        result.lost += [(event_id, endpoint.id) for event_id in names if not successes[event_id]]
        result.duplicates += [(name, endpoint.id) for name, n in successes.items() for _ in range(n - 1)]
    return result


def settled(program: Program, wait_s: float = QUIET_S) -> dict[str, int]:
    """Wait until nothing is open; the books of that moment, which must balance."""
    stats = until(lambda: (s := program.stats())["open"] == dict.fromkeys(s["open"], 0) and s, wait_s, 0.2)
    assert balanced(stats), stats
    return stats


def publish(program: Program, event_type: str, data: object = None, **more: object) -> str:
    """Publish one event, again for as long as that is 503: a busy machine may be. Its id."""
    body = {"type": event_type, "data": data, **more}
    answer = until(lambda: (a := program.post("/v1/events", body)).status_code != 503 and a, 60)
    assert answer.status_code == 202, answer.text
    made: str = answer.json()["id"]
    return made


def metric(program: Program, name: str) -> float:
    """The value of a series of `/metrics`, 0 where there is none."""
    text = program.client.get("/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def warnings(program: Program, name: str) -> int:
    """How often the program warned of something."""
    return int(metric(program, f'hookline_warnings_total{{name="{name}"}}'))


@contextlib.contextmanager
def publishing(program: Program, event_type: str, **more: float) -> Iterable[Publishers]:
    """Publishers that are stopped whatever happens."""
    publishers = Publishers(program, event_type, **more).start()
    try:
        yield publishers
    finally:
        publishers._given_up.set()
        publishers._stop.set()
