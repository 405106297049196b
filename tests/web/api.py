"""The whole API in one process: real store, real front, real services; the engine is replaced by the test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec

from hookline.adapters.caches.memory import MemoryCache
from hookline.adapters.stores.sqlite import SqliteStore
from hookline.core import ids
from hookline.core.attempt import Exchange, Kind, Outcome, Timing
from hookline.core.body import build_body
from hookline.core.confirm import PURPOSE
from hookline.core.consent import CALLBACK_PURPOSE
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.core.ids import IdMaker
from hookline.core.secret import Keyring
from hookline.flow.aside import Aside
from hookline.flow.catalogue import Catalogue
from hookline.flow.confirm import Confirm
from hookline.flow.deliveries import Deliveries
from hookline.flow.endpoints import Endpoints
from hookline.flow.event_types import EventTypes
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.key_guard import KeyGuard
from hookline.flow.keys import Keys
from hookline.flow.quarantine import Quarantine
from hookline.flow.reads import Reads, standing
from hookline.flow.registry import Registry
from hookline.flow.replay_steps import Steps
from hookline.flow.replay_worker import ReplayWorker
from hookline.flow.replays import Replays
from hookline.flow.route import matches
from hookline.flow.slots import Destinations, Slots
from hookline.flow.sources import Sources
from hookline.flow.stream import Live
from hookline.flow.tenants import Tenants
from hookline.flow.try_out import TryOut
from hookline.flow.verification import Verification
from hookline.ports.sender import Consent, SendRequest, VerifyRequest
from hookline.ports.store import AcceptRequest, ClaimEntry, NewDelivery, NewEvent, RecordItem
from hookline.testing.clock import ToldClock
from hookline.testing.coroutine_sender import CoroutineSender
from hookline.web.backup import Backups
from hookline.web.server import Front
from hookline.web.stream import shown

PUBLIC_URL = "https://hooks.example"
KEY = "correct-horse-battery"
TENANT_ONLY_KEY = "only-reads-for-acme"


@dataclass
class CheckedSender(CoroutineSender):
    """A sender that takes everything and consents, unless it is told otherwise."""

    kind: str = "http"
    warnings: Sequence[str] = ()
    refusal: Refusal | None = None
    outcome: Outcome = field(default_factory=lambda: Outcome(Kind.DELIVERED, status=200))
    consent: Consent | None = None
    sent: list[SendRequest] = field(default_factory=list)
    asked: list[VerifyRequest] = field(default_factory=list)

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        if self.refusal is not None:
            raise self.refusal
        return self.warnings

    def destination(self, endpoint: Endpoint) -> str:
        return endpoint.url

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        self.sent.append(request)
        body, _ = build_body(request.items[0].event, request.endpoint.format)
        headers = [(b"webhook-id", request.items[0].event.public_id.encode()), (b"authorization", b"***")]
        exchange = Exchange(
            "POST", request.endpoint.url, headers, body.prefix, body.suffix, body.encoding, [(b"x", b"y")], b"taken"
        )
        return [msgspec.structs.replace(self.outcome, timing=Timing(total_us=1500), exchange=exchange)]

    async def verify(self, request: VerifyRequest) -> Consent:
        self.asked.append(request)
        return self.consent or Consent(given=True, outcome=Outcome(Kind.DELIVERED, status=200))

    async def close(self) -> None: ...


@dataclass
class Api:
    """A client with the operator's key, and what stands behind it."""

    client: httpx2.AsyncClient
    store: SqliteStore
    registry: Registry
    sender: CheckedSender
    clock: ToldClock
    publisher: Any
    observer: Any
    ready: list[str | None]
    ids: IdMaker
    front: Front
    notified: dict[bytes, float] = field(default_factory=dict)
    live: Any = None

    async def call(self, method: str, path: str, status: int, json: Any = None, **more: Any) -> Any:
        """The answer's document, after a look at its status and its form."""
        answer = await self.client.request(method, path, json=json, **more)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, code: str, json: Any = None, **more: Any) -> dict[str, Any]:
        """The problem, after a look at its code."""
        answer = await self.client.request(method, path, json=json, **more)
        problem = answer.json()
        assert problem["code"] == code, problem
        assert answer.headers["content-type"] == "application/problem+json"
        return problem

    async def endpoint(self, **spec: Any) -> dict[str, Any]:
        """A new endpoint."""
        return await self.call("POST", "/v1/endpoints", 201, {"url": "https://receiver.example/hook", **spec})

    async def event(self, to: Sequence[dict[str, Any]] = (), **fields: Any) -> Event:
        """An accepted event with a delivery to each of these endpoints."""
        event = Event(**{"id": self.ids.make(self.store.now_ms()), "tenant": "default", "type": "order.created",
                         "data": b'{ "total": 1.50 }', **fields})  # fmt: skip
        rows = [NewDelivery(ids.parse(ids.ENDPOINT, e["id"]) or b"", n) for n, e in enumerate(to, 1)]
        await self.store.accept([AcceptRequest(event.tenant, [NewEvent(event, rows)])], self.registry.version)
        return event

    async def attempt(self, event: Event, endpoint: dict[str, Any], after: State, **fields: Any) -> str:
        """Claim what is due of the endpoint and record an attempt; the delivery's id."""
        endpoint_id = ids.parse(ids.ENDPOINT, endpoint["id"]) or b""
        claimed = (await self.store.claim([ClaimEntry(endpoint_id, 1, 30.0, 32)])).claimed[0]
        record = AttemptRecord(
            **{
                "number": claimed.attempts + 1,
                "at_ms": self.store.now_ms(),
                "kind": "delivered" if after is State.DELIVERED else "retry",
                "duration_us": 12_345,
                "timing": Timing(1000, 2000, None, 9000, 12_345),
                "exchange": Exchange(
                    "POST",
                    "https://receiver.example/hook",
                    [(b"webhook-id", event.public_id.encode()), (b"x", b"1"), (b"x", b"2")],
                    b'{"data":',
                    b"}",
                    0,
                    [(b"content-type", b"text/plain"), (b"x-odd", b"\xff")],
                    b"no",
                ),
                **fields,
            }
        )
        item = RecordItem(
            claimed.delivery_id, claimed.fence, endpoint_id, event.tenant, after,
            wait_s=5.0, tries=1, reason=record.reason, attempt=record.pack(),
        )  # fmt: skip
        await self.store.record([item])
        return ids.text(ids.DELIVERY, claimed.delivery_id)


def services(
    store: SqliteStore, clock: ToldClock, sender: CheckedSender, notified: dict[bytes, float], observer: Any
) -> Any:
    """The registry, the id maker, and the three services over a store."""
    keyring = Keyring([b"k" * 32])
    registry = Registry(store, keyring)
    catalogue = Catalogue(store)
    maker = IdMaker(b"test")
    notify = notified.update
    senders = {"http": sender}
    slots = Slots(100, 2, lambda: False)
    aside = Aside(senders, Destinations(senders, observer), slots, lambda _: None, clock, observer)
    verification = Verification(
        store, registry, catalogue, aside, keyring.tokens(CALLBACK_PURPOSE), maker, clock, observer, notify, PUBLIC_URL
    )
    steps = Steps(store, registry, lambda event: matches(event, registry), maker)
    worker = ReplayWorker(store, registry, steps, notify, lambda _: None, clock, observer)
    guard = KeyGuard(store, clock)
    reads = Reads(GuardedCache(MemoryCache(clock), clock, observer), clock, standing(registry, None))
    return (
        registry,
        maker,
        {
            "endpoints": Endpoints(store, registry, catalogue, keyring, senders, clock, maker, notify, verification),
            "verification": verification,
            "try_out": TryOut(registry, catalogue, aside, maker, store.now_ms, clock, verification.accept),
            "confirm": Confirm(store, keyring.tokens(PURPOSE)),
            "event_types": EventTypes(store, registry, catalogue),
            "sources": Sources(store, registry, catalogue, keyring, clock, maker, PUBLIC_URL),
            "quarantine": Quarantine(store, registry, catalogue, maker, notify, lambda: None, observer),
            "backups": Backups(store, store.path + "-backup", observer),
            "live": Live(store, registry, clock, observer, shown(registry)),
            "tenants": Tenants(store, registry, catalogue),
            "keys": Keys(store, registry, catalogue, guard, clock, maker),
            "guard": guard,
            "replays": Replays(store, catalogue, steps, worker, maker, clock),
            "deliveries": Deliveries(
                store, registry, catalogue, lambda event: matches(event, registry), maker, notify, observer, reads
            ),
            "reads": reads,
        },
    )


def is_documented(document: dict[str, Any], method: str, path: str, status: int) -> bool:
    """Whether the OpenAPI document knows that this request can be answered so."""
    for template, item in document["paths"].items():
        pattern = re.sub(r"\\\{name\\\}", ".+", re.escape(template))
        if re.fullmatch(re.sub(r"\\\{[a-z]+\\\}", "[^/]+", pattern), path) and method.lower() in item:
            return str(status) in item[method.lower()]["responses"]
    return False


def is_shaped(document: dict[str, Any], name: str, value: Any) -> None:
    """Raise unless `value` is what the component `name` says."""
    import jsonschema_rs

    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema_rs.validator_for(schema).validate(value)


def encoded(value: Any) -> bytes:
    """JSON."""
    return msgspec.json.encode(value)
