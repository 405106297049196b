"""Around the process: publishers who remember what they were answered, receivers who remember what they got."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hookline.core import ids
from hookline.core.attempt import Exchange, Kind, Outcome, Timing
from hookline.core.delivery import START_MARGIN_S, State
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.ports.sender import Consent, Done, Item, SendRequest, VerifyRequest
from hookline.testing.coroutine_sender import CoroutineSender
from tests.simulate.disk import POISON, Disk
from tests.simulate.loop import SimulatedClock, SimulatedLoop, Time
from tests.simulate.truth import Truth

OK = Outcome(Kind.DELIVERED, status=200)
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
TWICE = Outcome(Kind.RETRY, reason="server_error", status=500, detail="told twice")
POISONED = Outcome(Kind.RETRY, reason="server_error", status=500, detail=POISON.decode())
BUSY = Outcome(Kind.RETRY, reason="rate_limited", status=429, retry_after_s=7)
REJECT = Outcome(Kind.REJECTED, reason="rejected", status=422)
GONE = Outcome(Kind.GONE, reason="gone", status=410)
TIMEOUT = Outcome(Kind.RETRY, reason="timeout")
FULL = Outcome(Kind.RETRY, reason="connect", started=False)
MOODS: dict[str, dict[str, int]] = {
    "good": {"ok": 1},
    "mixed": {
        "ok": 14,
        "slow": 3,
        "fail": 5,
        "reject": 1,
        "poisoned": 1,
        "full": 1,
        "twice": 1,
        "busy": 1,
        "hang": 1,
        "stall": 1,
    },
    "down": {"fail": 4, "hang": 1},
    "busy": {"busy": 1, "ok": 2},
    "refusing": {"reject": 3, "gone": 1, "ok": 2},
    "slow": {"slow": 4, "hang": 2, "stall": 1},
}


@dataclass
class Known:
    """What an endpoint's owner knows of it."""

    id: bytes
    path: str
    spec: dict[str, Any]
    created: bool = True
    asked_to_delete: bool = False
    deleted: bool = False
    shut: bool = False
    """Its pause, its end by `gone`, or its deletion was answered, and nobody has asked for more since."""
    cap: int = 0
    cap_asked: int = 0
    resumed: int = 0
    """How often somebody asked for that."""
    rates: int = 0
    """How often somebody asked for another rate."""
    mood: str = "good"

    @property
    def name(self) -> str:
        return ids.text(ids.ENDPOINT, self.id)


@dataclass
class Published:
    """One publish: what was sent, and who had to get it."""

    n: int
    body: dict[str, Any]
    due_ms: int
    must: set[bytes]
    mustnt: set[bytes]
    status: int = 0


@dataclass
class Sent:
    """One attempt, as its receiver sees it."""

    delivery_id: bytes
    fence: int
    process: int
    took: bool = False
    excused: bool = False
    """Its outcome may be lost: its process ended, or stood still for longer than its lease."""


@dataclass
class World:
    """What is there whatever process runs."""

    seed: int
    chance: random.Random
    time: Time = field(default_factory=Time)
    endpoints: dict[str, Known] = field(default_factory=dict)
    by_id: dict[bytes, Known] = field(default_factory=dict)
    published: dict[int, Published] = field(default_factory=dict)
    sends: dict[bytes, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    flying: list[Sent] = field(default_factory=list)
    """Attempts whose outcome is not recorded."""
    tokens: dict[bytes, str] = field(default_factory=dict)
    """Of each delivery that a receiver took and is to confirm."""
    asked_to_confirm: dict[bytes, bool] = field(default_factory=dict)
    said: set[bytes] = field(default_factory=set)
    hurried: set[bytes] = field(default_factory=set)
    """Deliveries that a person wanted at once; with an empty one also all others: the clock was set back."""
    erased: set[bytes] = field(default_factory=set)
    peace: bool = False
    """All troubles have ended."""
    counted: Counter[str] = field(default_factory=Counter)
    trace: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.truth = Truth(self.time)
        self.disk = Disk(self.truth)

    def note(self, what: str) -> None:
        """For the trace."""
        self.trace.append((self.time.now_s, what))

    def known(self, endpoint: Endpoint) -> Known:
        """The owner's knowledge; nearly none where the answer to the creation was lost."""
        found = self.by_id.get(endpoint.id)
        if found is None:
            cap = endpoint.concurrency_max
            found = Known(endpoint.id, endpoint.url.rpartition("/")[2], {}, created=False, cap=cap, cap_asked=cap)
            self.by_id[endpoint.id] = found
        return found

    def excuse(self) -> None:
        """What is in flight now may come again: its process ends, or stands still."""
        kept = []
        for sent in self.flying:
            if sent.fence in self.truth.rows[sent.delivery_id].attempts:
                continue
            sent.excused = True
            kept.append(sent)
        self.flying = kept


class Receivers(CoroutineSender):
    """The sender of one process (`ports.sender.Sender`), and every receiver behind it."""

    kind = "http"

    def __init__(self, world: World, loop: SimulatedLoop, clock: SimulatedClock, now_ms: Any) -> None:
        self.world = world
        self.loop = loop
        self._clock = clock
        self._now_ms = now_ms
        self.running: Counter[bytes] = Counter()
        self.at_host: Counter[str] = Counter()
        self.in_all = 0
        self.probing: Counter[bytes] = Counter()
        self.waits_until_s: dict[bytes, float] = {}
        """When an endpoint's pause ends; -1: somebody resumes it just now, which ends one too."""
        self.concurrency_max = self.host_concurrency_max = 0
        self.confirm: Any = None
        """Called with a delivery and a word when a receiver speaks."""

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        return ()

    def destination(self, endpoint: Endpoint) -> str:
        return endpoint.url.split("/")[2]

    async def verify(self, request: VerifyRequest) -> Consent:
        return Consent(given=True, outcome=OK)

    async def close(self) -> None: ...

    async def _run(self, request: SendRequest, done: Done) -> None:
        outcomes = await self.send(request)
        done(outcomes)
        if outcomes[0].detail == TWICE.detail:  # what a sender never does
            done(outcomes)

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        endpoint, item = request.endpoint, request.items[0]
        known = self.world.known(endpoint)
        host = self.destination(endpoint)
        self._judge(known, endpoint, item, host)
        sent = Sent(item.delivery_id, item.fence, self.world.truth.rounds)
        self.world.sends[item.delivery_id].append(sent)
        self.world.flying.append(sent)
        failing = endpoint.id in self.world.truth.failing
        self.running[endpoint.id] += 1
        self.probing[endpoint.id] += failing
        self.at_host[host] += 1
        self.in_all += 1
        self.world.counted["sends"] += 1
        try:
            outcome = await self._answer(known, endpoint, item, sent)
        finally:
            self.running[endpoint.id] -= 1
            self.probing[endpoint.id] -= failing
            self.at_host[host] -= 1
            self.in_all -= 1
        if outcome.retry_after_s is not None and self.waits_until_s.get(endpoint.id) != -1.0:
            self.waits_until_s[endpoint.id] = self.loop.time() + outcome.retry_after_s
        exchange = Exchange("POST", endpoint.url, [(b"webhook-id", item.event.public_id.encode())], b"", b"", 0)
        return [msgspec.structs.replace(outcome, timing=Timing(total_us=1000), exchange=exchange)]

    # ------------------------------------------------------------------------------------- what comes of a request

    async def _answer(self, known: Known, endpoint: Endpoint, item: Item, sent: Sent) -> Outcome:
        chance = self.world.chance
        what = "ok" if known.path == "told" and chance.random() < 0.6 else self._dice(known.mood)
        self.world.note(f"  {known.path}: {_short(item.delivery_id)} attempt {item.attempt} -> {what}")
        if item.confirm_url is not None and chance.random() < 0.15:  # his work is done before he answers, if he does
            world = self.world
            world.tokens[item.delivery_id] = item.confirm_url.rpartition("/")[2]
            self.confirm(item.delivery_id, 0.0)
        if what == "hang":
            await self._clock.sleep(endpoint.timeout_s)
            return TIMEOUT
        if (
            what == "stall"
        ):  # what a sender never does: longer than its lease and the time that is left to it after that
            sent.excused = True
            await self._clock.sleep(endpoint.timeout_s + chance.choice((32.0, 34.0, 50.0)))
        await self._clock.sleep(chance.random() * (endpoint.timeout_s if what == "slow" else 0.2))
        if what in ("ok", "slow", "stall"):
            self._took(item, sent)
            return OK
        if what == "twice":
            return TWICE
        if what == "poisoned":
            sent.excused = True
        return {"fail": FAIL, "poisoned": POISONED, "busy": BUSY, "reject": REJECT, "gone": GONE, "full": FULL}[what]

    def _dice(self, mood: str) -> str:
        choices = MOODS[mood]
        if len(choices) == 1:
            return next(iter(choices))
        return self.world.chance.choices(list(choices), list(choices.values()))[0]

    def _took(self, item: Item, sent: Sent) -> None:
        world = self.world
        sent.took = True
        asked = item.confirm_url is not None
        before = world.asked_to_confirm.get(item.delivery_id, True)
        world.asked_to_confirm[item.delivery_id] = before and asked
        if item.confirm_url is not None:
            world.tokens[item.delivery_id] = item.confirm_url.rpartition("/")[2]
            if world.chance.random() < 0.5:
                self.confirm(item.delivery_id, world.chance.random() * (0.1 if world.chance.random() < 0.5 else 5.0))

    # ------------------------------------------------------------------------------------- whether it may come at all

    def _judge(self, known: Known, endpoint: Endpoint, item: Item, host: str) -> None:
        world, truth = self.world, self.world.truth
        name = f"{known.path}: {ids.text(ids.DELIVERY, item.delivery_id)}"
        row = truth.rows.get(item.delivery_id)
        if row is None:
            truth.fault(f"{name} was sent and is not in the store: a phantom")
            return
        if row.state != State.LEASED or row.fence != item.fence:
            truth.fault(f"{name} was sent under lease {item.fence}; it is {State(row.state).word}, fence {row.fence}")
        elif row.lease_until_ms - self._now_ms() < (endpoint.timeout_s + START_MARGIN_S) * 1000 - 2:
            truth.fault(f"{name} was sent with {row.lease_until_ms - self._now_ms()} ms of its lease left")
        self._judge_event(name, item, row.event_id)
        if row.leased_n > truth.settled.get(item.delivery_id, row.leased_n):
            truth.fault(f"{name} was leased and sent although its success had been said")
        if known.shut:
            truth.fault(f"{name} was sent although its endpoint is shut")
        if endpoint.id in truth.failing and (self.probing[endpoint.id] or endpoint.concurrency_max < 1):
            truth.fault(f"{name} was sent beside another probe of a failing endpoint")
        if self.loop.time() < self.waits_until_s.get(endpoint.id, 0.0) - 0.002:
            truth.fault(f"{name} was sent although its endpoint asked for a pause")
        if self.running[endpoint.id] >= max(known.cap, known.cap_asked):
            truth.fault(f"{name} is one more than its endpoint's concurrency_max of {known.cap}")
        if self.at_host[host] >= self.host_concurrency_max:
            truth.fault(f"{name} is one more than its host's concurrency")
        if self.in_all >= self.concurrency_max:
            truth.fault(f"{name} is one more than the process's concurrency")
        for other in truth.overtaken(row, waits=endpoint.lane != "skip"):
            truth.fault(f"{name} was sent, and {ids.text(ids.DELIVERY, other.id)} is before it in its lane")
        for before in world.sends[item.delivery_id]:
            if before.took and not before.excused and before.fence not in row.attempts:
                truth.fault(f"{name} was sent again although it was taken, and nothing went wrong between")

    def _judge_event(self, name: str, item: Item, event_id: bytes) -> None:
        event, truth = item.event, self.world.truth
        if event.id != event_id or event.id not in truth.events:
            truth.fault(f"{name} was sent as event {event.public_id}")
        if event.id in self.world.erased:
            truth.fault(f"{name} was sent although it was erased")
        if event.type.startswith("hookline."):
            return
        data = json.loads(event.data)
        published = self.world.published.get(data["n"])
        if published is None or data != published.body["data"]:
            truth.fault(f"{name} has data that nobody published: {event.data!r}")
            return
        early_ms = published.due_ms - self._now_ms()
        if item.delivery_id[:12] == event.id and early_ms > 0 and not self.world.hurried & {item.delivery_id, b""}:
            truth.fault(f"{name} was sent {early_ms} ms before its deliver_at")


def _short(identifier: bytes) -> str:
    return identifier.hex()[4:12] + "-" + identifier.hex()[-4:]


class Silent:
    """An observer that remembers what people would be warned of."""

    def __init__(self, world: World) -> None:
        self.world = world

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None: ...
    def refused(self, code: str) -> None: ...
    def attempted(self, *args: object) -> None: ...
    def closed(self, state: str, count: int) -> None: ...
    def fact(self, name: str, **fields: object) -> None: ...
    def committed(self, kind: str, items: int, wait_s: float) -> None: ...

    def received(self, source: str, outcome: str, count: int) -> None: ...
    def rejected(self, source: str, reason: str, **fields: object) -> None: ...

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        self.world.note(f"  {endpoint.url.rpartition('/')[2]} is {what}")

    def warn(self, name: str, **fields: object) -> None:
        self.world.note(f"  warns: {name} {fields.get('error', '')}")
        self.world.counted[name] += 1
        if name.endswith("_defect") and "told so" not in str(fields.get("error")):
            self.world.truth.fault(f"a defect: {name} {fields}")
        if name == "lanes_without_head":
            self.world.truth.fault("a lane had neither head nor block")
