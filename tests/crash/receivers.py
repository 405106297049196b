"""The other end of the mixed load: endpoints of every kind, and their journal: what arrived, and what was answered."""

from __future__ import annotations

import contextlib
import json
import queue
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.acceptance.program import Program
from tests.acceptance.receiver import Answer, Hit, Receiver
from tests.crash.load import digest

QUICK = {"schedule_s": [0.05] * 100, "jitter": 0}
SLOW_S = 0.05
REPLAY_RATE = {"n": 15, "per_s": 1, "burst": 15}
EVERY = ("plain", "lane", "keyed", "batch", "later", "confirm", "rated", "seed")


class Taken(NamedTuple):
    """A request that came, and what was answered."""

    event_id: str
    name: str
    digest: str
    key: int
    n: int
    status: int


@dataclass
class Endpoint:
    """An endpoint and what its receiver wrote down."""

    kind: str
    id: str
    shapes: frozenset[str]
    """Of what is published it wants these; none for the target of a replay."""
    taken: list[Taken] = field(default_factory=list)

    def successes(self) -> Counter[str]:
        """Event id → how often it was taken with 200."""
        return Counter(taken.event_id for taken in self.taken if taken.status == 200)


class Journaling(Receiver):
    """Writes down what is needed to judge a request, not the request itself: a long run has many."""

    def take(self, hit: Hit) -> Answer:
        """As `Receiver.take`, which keeps every request."""
        script = self._scripts[hit.path]
        return script(hit, 0)


class Receivers:
    """All endpoints of the load. `arrived` counts the requests of all that were answered with 200."""

    def __init__(self, program: Program, receiver: Journaling, seed: int) -> None:
        self.endpoints: list[Endpoint] = []
        self.replays: list[tuple[str, Endpoint]] = []
        """Replay id and where to."""
        self.arrived = 0
        self._program = program
        self._receiver = receiver
        self._seed = seed
        self._lock = threading.Lock()
        self._words: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._confirming = threading.Thread(target=self._confirm, daemon=True)
        self._confirming.start()

    def subscribe(self, failures: float) -> None:
        """One steady endpoint; one that fails now and then; one that does and wants order; one that confirms; one at a
        rate."""
        every = frozenset(EVERY)
        self.add("steady", every, 0.0, event_types=["crash.*"])
        self.add("unsteady", every, failures, event_types=["crash.*"])
        self.add("ordered", every, failures, event_types=["crash.*"], order="key")
        within = {"within_s": 600}
        self.add("confirming", frozenset({"confirm"}), failures, event_types=["crash.confirm"], confirm=within)
        rate = {"n": 40, "per_s": 1, "burst": 5}
        self.add("rated", frozenset({"rated"}), 0.0, event_types=["crash.rated"], rate=rate)

    def add(self, kind: str, shapes: frozenset[str], failures: float, **spec: object) -> Endpoint:
        """One more endpoint, with a path and a journal of its own."""
        endpoint = Endpoint(kind, "", shapes)
        dice = random.Random(f"{self._seed}/{len(self.endpoints)}")

        def script(hit: Hit, _before: int) -> Answer:
            drawn = dice.random()
            status = 500 if drawn < failures else 200
            data = json.loads(hit.body)["data"]
            taken = Taken(hit.id, data["name"], digest(data), data["key"], data["n"], status)
            with self._lock:
                endpoint.taken.append(taken)
                self.arrived += status == 200
            if status == 200 and "hookline-confirm-url" in hit.headers:
                self._words.put(hit.headers["hookline-confirm-url"])
            return Answer(status, wait_s=SLOW_S if failures < drawn < failures + 0.2 else 0.0)

        url = self._receiver.url(script)
        endpoint.id = self._program.endpoint(url, retry=QUICK, timeout_s=5, **spec)["id"]
        self.endpoints.append(endpoint)
        return endpoint

    def replay_seeds(self) -> None:
        """Begin a slow replay of the seeds to an endpoint of its own, if none is running."""
        if self.replays and self._program.get(f"/v1/replays/{self.replays[-1][0]}")["state"] == "running":
            return
        target = self.add("replayed", frozenset(), 0.0, event_types=["crash.none"])
        wanted = {"of": "events", "filter": {"type": "crash.seed"}, "endpoint_id": target.id, "rate": REPLAY_RATE}
        made = self._program.post("/v1/replays", wanted, status=202).json()
        self.replays.append((made["id"], target))

    def _confirm(self) -> None:
        """Say `success` to each address until it was heard."""
        while (url := self._words.get()) is not None:
            body = b'{"status": "success"}'
            request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
            while True:
                with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(request, timeout=5):
                    break
                time.sleep(0.05)

    def close(self) -> None:
        """Nothing is confirmed any more."""
        self._words.put(None)
        self._confirming.join(30)


@contextlib.contextmanager
def journaling() -> Iterator[Journaling]:
    """A receiver for as long as it is wanted."""
    receiver = Journaling()
    try:
        yield receiver
    finally:
        receiver.close()
