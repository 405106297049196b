"""A load of every shape that acceptance knows, with its publishers' journal: what was meant, what was acknowledged."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.acceptance.program import KEY, Program
from tests.crash.load import PublisherThreads, digest

BATCH = 4
SHAPES = {"plain": 30, "lane": 25, "keyed": 15, "batch": 10, "later": 10, "confirm": 7, "rated": 3}
"""Shape → how often, of a hundred. An event's type is `crash.<shape>`."""
LATER_S = 0.4
REPEATED = 0.1
"""So many requests are sent again although they were answered."""
THINK_S = 0.01


@dataclass
class Journal:
    """What publishers know, by the name that they gave an event."""

    meant: dict[str, str] = field(default_factory=dict)
    """name → hash of its data, written before it is sent for the first time."""
    types: dict[str, str] = field(default_factory=dict)
    """name → type."""
    acked: dict[str, str] = field(default_factory=dict)
    """name → event id of the first 202 that was read."""
    answers: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """name → every event id that any 202 gave."""
    tries: Counter[int] = field(default_factory=Counter)
    """How often each status was answered; 0: no answer."""

    def mean(self, name: str, type_: str, data: object) -> None:
        """It is going to be sent."""
        self.types[name] = type_
        self.meant[name] = digest(data)

    def answered(self, names: Sequence[str], event_ids: Sequence[str]) -> None:
        """A 202 was read."""
        for name, event_id in zip(names, event_ids, strict=True):
            self.answers[name].add(event_id)
            self.acked.setdefault(name, event_id)

    @property
    def waiting(self) -> set[str]:
        """What was sent and has no answer yet."""
        return set(self.meant) - set(self.acked)


@dataclass(frozen=True)
class Wanted:
    """One request to publish, as it is sent until it is acknowledged."""

    names: Sequence[str]
    body: bytes
    headers: Mapping[str, str]


def make(journal: Journal, shape: str, number: int, count: int, dice: random.Random) -> Wanted:
    """The next request of publisher `number`, noted as meant."""
    several = shape == "batch"
    names = [f"{number}-{count}.{n}" for n in range(BATCH)] if several else [f"{number}-{count}"]
    events = []
    for name in names:
        data = {"name": name, "key": number, "n": count, "fill": "x" * dice.choice((10, 1000, 8000))}
        event: dict[str, object] = {"type": f"crash.{shape}", "source": "/load", "data": data}
        if shape != "keyed":
            event["id"] = name
        if shape == "lane":
            event["ordering_key"] = f"k{number}"
        if shape == "later":
            at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LATER_S)
            event["deliver_at"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        journal.mean(name, f"crash.{shape}", data)
        events.append(event)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    if shape in {"keyed", "batch"}:
        headers["idempotency-key"] = f"key-{number}-{count}"
    return Wanted(names, json.dumps(events if several else events[0]).encode(), headers)


class MixedPublishers(PublisherThreads):
    """Threads that publish all shapes until told to stop. A request is sent again, unchanged, until it is acknowledged;
    some are sent once more after that. While `behind` says so they wait."""

    def __init__(self, program: Program, journal: Journal, seed: int, behind: Callable[[], bool]) -> None:
        super().__init__(seed)
        self.journal = journal
        self._program = program
        self._behind = behind
        self._failures: list[str] = []

    def stop(self) -> None:
        """The same, and nothing went wrong in a thread."""
        super().stop()
        assert self._failures == []

    def _run(self, number: int, seed: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        client = _Client(self._program.port)
        shapes, weights = list(SHAPES), list(SHAPES.values())
        count = 0
        try:
            while not self._stop.is_set():
                if self._behind():
                    time.sleep(THINK_S)
                    continue
                wanted = make(self.journal, dice.choices(shapes, weights)[0], number, count, dice)
                self._until_acknowledged(client, wanted)
                if dice.random() < REPEATED:
                    self._once(client, wanted)
                count += 1
                time.sleep(dice.uniform(0, 2 * THINK_S))
        except Exception as error:
            self._failures.append(repr(error))
            raise
        finally:
            client.close()

    def until_acknowledged(self, wanted: Wanted) -> None:
        """Send it until a 202 is read."""
        client = _Client(self._program.port)
        self._until_acknowledged(client, wanted)
        client.close()

    def _until_acknowledged(self, client: _Client, wanted: Wanted) -> None:
        while not self._once(client, wanted):
            client.close()
            time.sleep(0.02)

    def _once(self, client: _Client, wanted: Wanted) -> bool:
        status, answer = client.post(wanted)
        self.journal.tries[status] += 1
        if status == 202:
            rows = answer.get("data", [answer])
            self.journal.answered(wanted.names, [row["id"] for row in rows])
        return status == 202


class _Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def post(self, wanted: Wanted) -> tuple[int, dict[str, object]]:
        """The answer, or (0, {}) when there was no whole one."""
        try:
            self._connection.request("POST", "/v1/events", wanted.body, dict(wanted.headers))
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            self.close()
            return 0, {}

    def close(self) -> None:
        """Another connection next time."""
        self._connection.close()


def publish_seeds(program: Program, journal: Journal, count: int) -> None:
    """Events that are there to be replayed, of type `crash.seed`."""
    events = []
    for n in range(count):
        data = {"name": f"seed-{n}", "key": -1, "n": n, "fill": "s" * 100}
        journal.mean(data["name"], "crash.seed", data)
        events.append({"type": "crash.seed", "source": "/load", "id": data["name"], "data": data})
    rows = program.post("/v1/events", events, status=202).json()["data"]
    journal.answered([event["id"] for event in events], [row["id"] for row in rows])
