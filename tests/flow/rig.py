"""The engine on a throwaway SQLite file with a told clock and a sender that answers by script."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hookline.adapters.keys.kept import KeptKeys
from hookline.adapters.queues.embedded import EmbeddedQueue
from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.core.attempt import Exchange, Kind, Outcome, Timing
from hookline.core.endpoint import Endpoint, EndpointSpec, EndpointState, Secrets, SigningKey
from hookline.core.secret import Keyring
from hookline.core.subscribe import encode_spec, parse_spec
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.flow.answers import Answer
from hookline.flow.engine import Engine
from hookline.flow.limits import Limits
from hookline.ports.consumer import Broker
from hookline.ports.sender import Consent, Item, SendRequest, VerifyRequest
from hookline.ports.store import Counts, DeliveryRow, EndpointRow, Query
from hookline.testing.clock import ToldClock
from hookline.testing.coroutine_sender import CoroutineSender
from hookline.testing.faults import FaultyStore

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = Outcome(Kind.DELIVERED, status=200)


class SilentObserver:
    """Remembers warnings; the rest is counted nowhere."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []
        self.changes: list[tuple[str, str]] = []
        self.commits: dict[str, int] = defaultdict(int)
        self.outcomes: dict[tuple[str, str], int] = defaultdict(int)
        self.rejections: dict[tuple[str, str], int] = defaultdict(int)

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None: ...
    def refused(self, code: str) -> None: ...
    def attempted(self, *args: object) -> None: ...
    def closed(self, state: str, count: int) -> None: ...
    def fact(self, name: str, **fields: object) -> None: ...

    def committed(self, kind: str, items: int, wait_s: float) -> None:
        self.commits[kind] += 1

    def received(self, source: str, outcome: str, count: int) -> None:
        self.outcomes[source, outcome] += count

    def rejected(self, source: str, reason: str, **fields: object) -> None:
        self.rejections[source, reason] += 1

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        self.changes.append((endpoint.public_id, what))

    def warn(self, name: str, **fields: object) -> None:
        self.warnings.append((name, fields))


class ScriptedSender(CoroutineSender):
    """Answers by URL: a list of outcomes used up one by one, then the default; may be held back."""

    kind = "http"

    def __init__(self) -> None:
        self.script: dict[str, list[Outcome]] = defaultdict(list)
        self.default: dict[str, Outcome] = {}
        self.sent: list[tuple[str, bytes, int]] = []
        self.asked: list[VerifyRequest] = []
        self.consent: dict[str, Consent] = {}
        self.items: list[Item] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.running: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)
        self.content_type = b""
        self.body = b""

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        return ()

    def destination(self, endpoint: Endpoint) -> str:
        return endpoint.url.split("/")[2]

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        url = request.endpoint.url
        item = request.items[0]
        self.sent.append((url, item.event.data, item.attempt))
        self.items.append(item)
        self.running[url] += 1
        self.most[url] = max(self.most[url], self.running[url])
        try:
            if url in self.gates:
                await self.gates[url].wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.running[url] -= 1
        script = self.script[url]
        outcome = script.pop(0) if script else self.default.get(url, OK)
        headers = [(b"content-type", self.content_type)] if self.content_type else []
        exchange = Exchange("POST", url, [(b"webhook-id", item.event.public_id.encode())], b"", b"", 0, headers)
        answer = self.body if item.whole else None
        return [msgspec.structs.replace(outcome, timing=Timing(total_us=1000), exchange=exchange, answer=answer)]

    async def verify(self, request: VerifyRequest) -> Consent:
        """What was told for the url, else consent; held back where the url has a gate."""
        url = request.endpoint.url
        self.asked.append(request)
        if url in self.gates:
            await self.gates[url].wait()
        return self.consent.get(url, Consent(given=True, outcome=OK))

    async def close(self) -> None: ...

    def times(self, url: str) -> int:
        return sum(1 for sent, _, _ in self.sent if sent == url)


class Rig:
    """What a flow test drives."""

    def __init__(
        self,
        path: Path,
        clock: ToldClock | None = None,
        limits: Limits | None = None,
        brokers: Mapping[str, Broker] | None = None,
    ) -> None:
        self.path = path
        self.brokers = brokers
        self.clock = clock or ToldClock(dice=())
        self.sender = ScriptedSender()
        self.observer = SilentObserver()
        self.keyring = Keyring([b"k" * 32])
        self.limits = limits or Limits()
        self.far: dict[str, Fetched] = {}
        self.fetched: list[str] = []
        self.fetch_gates: dict[str, asyncio.Event] = {}
        self.engine = self._engine()
        self._made = 0

    def _engine(self) -> Engine:
        self.store = SqliteStore(str(self.path), self.clock, disk_free_min_bytes=0)
        return Engine(
            self.store,
            {"http": self.sender},
            EmbeddedQueue(),
            self.keyring,
            self.clock,
            self.observer,
            self.limits,
            KeptKeys(self._fetch, self.clock),
            brokers=self.brokers,
        )

    async def _fetch(self, fetch: Fetch, _deadline_s: float, _group: str) -> Fetched:
        """What was told for the url; nothing for any other."""
        self.fetched.append(fetch.url)
        if fetch.url in self.fetch_gates:
            await self.fetch_gates[fetch.url].wait()
        return self.far.get(fetch.url, Fetched(0, b""))

    async def start(self) -> None:
        await self.engine.start()

    async def stop(self) -> None:
        """End it. A test that failed half way leaves gates shut, and the told clock would never end the grace."""
        for gate in [*self.sender.gates.values(), *self.fetch_gates.values()]:
            gate.set()
        await self.engine.stop(grace_s=1)

    async def endpoint(self, path: str = "a", **spec: Any) -> Endpoint:
        """Create an endpoint `http://receiver.example/<path>`."""
        parsed = parse_spec(json.dumps({"url": f"http://receiver.example/{path}", **spec}).encode())
        secrets = Secrets([SigningKey(SECRET)])
        self._made += 1
        row = EndpointRow(
            id=self.engine.ids.make(self.store.now_ms()),
            tenant="default",
            uid=parsed.uid,
            state=EndpointState.ACTIVE,
            spec=encode_spec(parsed),
            sealed=self.keyring.seal(msgspec.json.encode(secrets), self.clock.random_bytes(12)),
        )
        await self.store.put_endpoint(row)
        await self.engine.registry.refresh()
        endpoint = self.engine.registry.endpoint(row.id)
        assert endpoint is not None
        return endpoint

    async def set_state(self, endpoint: Endpoint, state: EndpointState) -> None:
        await self.store.set_endpoint_state(endpoint.id, state)
        await self.engine.registry.refresh()

    def publishing(
        self, body: Any, headers: dict[str, str] | None = None, content_type: str = "application/json", tenant="default"
    ) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.engine.accept.publish(tenant, headers or {}, content_type, raw, future.set_result)
        return future

    async def publish(self, body: Any, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        answer = await self.publishing(body, headers, **more)
        assert answer.status == 202, answer.body
        return json.loads(answer.body)

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Return when `holds()`; the store's threads need real time, the flow's rules do not."""
        for _ in range(2500):
            if holds():
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"did not come about: {what}")

    async def quiet(self) -> None:
        """Return when nothing moves any more until the clock does."""
        still = 0
        while still < 5:
            await asyncio.sleep(0.002)
            engine = self.engine
            busy = (
                engine.recorder.waiting
                or any(self.sender.running[u] for u in self.sender.running if u not in self.sender.gates)
                or engine.wake.ready_count
                or engine.recorder.busy
                or engine.accept.busy
                or engine.worker.busy
            )
            still = 0 if busy else still + 1

    async def advance(self, wait_s: float, step_s: float | None = None) -> None:
        """Let time pass; what falls due happens."""
        await self.quiet()
        left = wait_s
        step = step_s or wait_s
        while left > 1e-9:
            now = min(step, left)
            self.clock.advance(now)
            left -= now
            await self.quiet()

    async def counts(self, endpoint: Endpoint | None = None) -> Counts:
        counts = await self.store.counts("default", endpoint.id if endpoint else None)
        assert counts.deliveries == (
            counts.delivered
            + counts.failed
            + counts.discarded
            + counts.pending
            + counts.leased
            + counts.held
            + counts.unconfirmed
        ), counts
        return counts

    async def deliveries(self, **filters: Any) -> Sequence[DeliveryRow]:
        return (await self.store.deliveries(Query(tenant="default", limit=250, **filters))).rows


class FaultyRig(Rig):
    """The store's answers may be held back, or be failures (`faults`)."""

    def _engine(self) -> Engine:
        self.store = SqliteStore(str(self.path), self.clock, disk_free_min_bytes=0)
        self.faults = FaultyStore(self.store)
        return Engine(
            self.faults.wrapped,
            {"http": self.sender},
            EmbeddedQueue(),
            self.keyring,
            self.clock,
            self.observer,
            self.limits,
        )
