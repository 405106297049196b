"""The store: the truth about events, deliveries and configuration. Four Protocols, one adapter implements all.

    Deliveries   the way of an event: accept, claim, record, release            (hot: batches, one commit each)
    Registry     endpoints and event types, with a version that cannot be stale
    Archive      what happened: lists and counts, read-only, bounded
    Upkeep       what runs beside: take back, unfold, sweep, fold, purge, retry, discard, replay

What every adapter promises (and `hookline.testing.store_contract` checks):

* Each method that writes is one transaction, durable (fsynced) before it returns, all or nothing.
* **Durations go in, instants stay in.** Waits and lease lengths are seconds; the store adds its own clock.
* **Every change of an open delivery is fenced**: it happens only `WHERE id = ? AND fence = ?`. Claim raises the fence.
* Nothing but `DataError`, `StaleRegistry`, `StoreUnavailable`, `NotFound` and `Conflict` is raised; after any of
  them nothing of the call was committed.
* Texts given to it were checked at the door; what receivers say is bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState, RateSpec
from hookline.core.event import Event

T = TypeVar("T")

# ---------------------------------------------------------------------------------------------------- accept


class NewDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery to be made together with its event. Its id is `ids.delivery_id(root, ordinal)`."""

    endpoint_id: bytes
    ordinal: int
    """From 1 within the event (or within the replay)."""
    lane: str | None = None
    """The ordering key, where the endpoint asks for order: the lane is (endpoint, key)."""
    lease_s: float | None = None
    """A number: hand-off, insert it leased for so long with fence 1, unless its lane has anything open or a block
    (then it is held). None: insert it pending (or held)."""


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and where it goes."""

    event: Event
    deliveries: Sequence[NewDelivery] = ()
    wait_s: float = 0.0
    """Deliveries are due after so long (`deliver_at`)."""
    fanout: bytes = b""
    """Packed endpoint ids (12 bytes each) of a big fan-out, unfolded later; `deliveries` then holds only those
    of lanes. Endpoint number i of it (from 0) gets the ordinal `len(deliveries) + 1 + i`."""
    dedupe_key: bytes | None = None
    """16 bytes, from tenant, source and the publisher's id. A key that is known makes this a duplicate."""
    dedupe_s: float = 86_400.0

    @property
    def deliveries_count(self) -> int:
        """How many deliveries the event has in the end."""
        return len(self.deliveries) + len(self.fanout) // 12


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """An `Idempotency-Key`, its request's hash, and how long it is known."""

    key: bytes
    """16 bytes, from tenant and key."""
    body_hash: bytes
    """16 bytes over what must be equal for a repeat to be the same request."""
    keep_s: float = 86_400.0


class AcceptRequest(msgspec.Struct, frozen=True, gc=False):
    """One client's request: never divided, its items commit together."""

    tenant: str
    items: Sequence[NewEvent]
    idempotency: IdempotencyKey | None = None
    note: bytes = b""
    """Opaque: kept with the Idempotency-Key and given back to its repeats."""


class AcceptedItem(msgspec.Struct, frozen=True, gc=False):
    """What became of one `NewEvent`. `event_id` is the first's for a duplicate, and `deliveries` its number."""

    event_id: bytes
    deliveries: int
    duplicate: bool = False
    states: bytes = b""
    """One byte per `NewEvent.deliveries`, in order: the `State` it was inserted with. Empty for a duplicate."""


class AcceptResult(msgspec.Struct, frozen=True, gc=False):
    """What became of one `AcceptRequest`."""

    items: Sequence[AcceptedItem]
    repeated: bool = False
    """The Idempotency-Key was known with the same body: `items` and `note` are those of the first, nothing new
    was made. (`states` of the items are empty then.)"""
    reused: bool = False
    """The Idempotency-Key was known with another body: nothing was made, `items` is empty."""
    note: bytes = b""


# ----------------------------------------------------------------------------------------------------- claim


class ClaimEntry(msgspec.Struct, frozen=True, gc=False):
    """How much of one endpoint may be claimed now."""

    endpoint_id: bytes
    slots: int
    """Free slots of this process."""
    lease_s: float
    concurrency_max: int
    """Over all processes: at most this minus the leases that claims hold already (hand-offs are not counted)."""
    rate: RateSpec | None = None
    probe: bool = False
    """The endpoint is failing and a probe is due: one slot, for its oldest pending delivery, due or not, and only
    if no other lease of it is running."""


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is now ours until its lease ends."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    event: Event
    tries: int
    """Tries used up before this one."""
    attempts: int
    """Attempts made before this one (probes included)."""
    lost: int
    lease_s: float
    lane: str | None = None
    replay: bool = False
    early_s: float = 0.0
    """A probe that comes so long before the delivery's own time (uses up no try); 0 when it was due."""


class ClaimResult(msgspec.Struct, frozen=True, gc=False):
    """What was claimed, and when to come back for more."""

    claimed: Sequence[Claimed]
    next_due_s: dict[bytes, float | None]
    """Per endpoint asked for: seconds until its next pending delivery may be claimed (0: more is due now, or only
    slots, cap or tokens were missing), None: nothing pending. A rate's missing token counts as wait."""


# ---------------------------------------------------------------------------------------------------- record


class RecordItem(msgspec.Struct, frozen=True, gc=False):
    """A fenced change of one open delivery, with all that hangs on it."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    tenant: str
    after: State
    """PENDING (again after `wait_s`), DELIVERED, FAILED, DISCARDED (UNCONFIRMED comes with confirmation)."""
    wait_s: float = 0.0
    tries: int = 0
    """Added to the tries used up."""
    lost: int = 0
    """Added to the take-backs; any attempt that ran sets them back to 0."""
    reason: str | None = None
    attempt: bytes | None = None
    """The packed attempt, kept under (delivery, fence); also adds 1 to its attempts. None: no attempt ran."""
    lane_waits: bool = True
    """After FAILED in a lane: True blocks the lane, False promotes the next."""
    events: Sequence[NewEvent] = ()
    """Made only if this change applies."""


class HealthRow(msgspec.Struct, frozen=True, gc=False):
    """An endpoint's health as stored. `packed` is the core's; the waits are from now (None: none)."""

    endpoint_id: bytes
    version: int
    """0: no row yet."""
    packed: bytes = b""
    wait_s: float | None = None
    """Nothing of it is claimed before (Retry-After)."""
    probe_s: float | None = None
    """It is failing: nothing but a probe is claimed, and that not before so long. None: not failing."""


class HealthChange(msgspec.Struct, frozen=True, gc=False):
    """A compare-and-set of an endpoint's health: applies only if the stored version is `row.version`, which it
    raises by 1. `disable` also sets the endpoint's state to disabled (and raises the registry version)."""

    row: HealthRow
    disable: bool = False
    events: Sequence[NewEvent] = ()


class RecordResult(msgspec.Struct, frozen=True, gc=False):
    """What of a record applied."""

    applied: Sequence[bool]
    """Per item. False: the fence had moved on; nothing of that item was done."""
    health_applied: Sequence[bool]
    due_s: dict[bytes, float]
    """Endpoints that have something pending through this commit (retry, promotion, new event), and in how many
    seconds the earliest of it is due."""


class OpenRef(msgspec.Struct, frozen=True, gc=False):
    """An open delivery, enough to record a change of it."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    tenant: str
    event_id: bytes
    state: State
    lost: int = 0


class Deliveries(Protocol):
    """The way of an event. All batches; each call is one durable commit."""

    def now_ms(self) -> int:
        """The store's clock as this process sees it, ms since 1970; never goes back on SQLite. Does not wait."""
        ...

    async def accept(self, requests: Sequence[AcceptRequest], registry_version: int) -> Sequence[AcceptResult]:
        """Commit events, their deliveries, dedupe and idempotency rows, fan-out rows and counters.

        Raises `StaleRegistry` when the registry is newer than `registry_version`, `DataError` when an item cannot
        be stored, `StoreUnavailable` when nothing can. Within one call later requests see earlier ones: the
        second of two equal keys is the duplicate.
        """
        ...

    async def claim(self, entries: Sequence[ClaimEntry], bytes_max: int = 16 * 1024 * 1024) -> ClaimResult:
        """Lease what is due of the given endpoints, within slots, caps, rates, waits and probes; fence + 1.

        In the order given, live ones before replays, oldest due first. Stops when `bytes_max` of payload is
        passed (at least one delivery is claimed if any can be).
        """
        ...

    async def claim_ids(
        self, delivery_ids: Sequence[bytes], entries: Sequence[ClaimEntry], bytes_max: int = 16 * 1024 * 1024
    ) -> ClaimResult:
        """The same for the deliveries a queue's message names: only those that are pending and due, of the
        endpoints given, within the same bounds. Unknown ids are passed over."""
        ...

    async def record(
        self, items: Sequence[RecordItem], healths: Sequence[HealthChange] = (), registry_version: int = 0
    ) -> RecordResult:
        """Commit outcomes with all that hangs on them. `registry_version` is checked as in `accept`, but only
        when there are events. Deliveries of those events are never leased here."""
        ...

    async def release(self, leases: Sequence[tuple[bytes, int]]) -> Sequence[bool]:
        """Give (delivery, fence) back unstarted: pending again, due as before, no try used. Per lease: applied?"""
        ...

    async def due(self) -> dict[bytes, float]:
        """Every endpoint that has something pending, and in how many seconds its earliest is due (0: now)."""
        ...

    async def endpoints_of(self, delivery_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """delivery → endpoint, of those that are open and pending."""
        ...


# -------------------------------------------------------------------------------------------------- registry


class EndpointRow(msgspec.Struct, frozen=True, gc=False):
    """An endpoint as stored. `spec` is its JSON without secrets, `sealed` its encrypted secrets."""

    id: bytes
    tenant: str
    uid: str | None
    state: EndpointState
    spec: bytes
    sealed: bytes
    created_at_ms: int = 0
    updated_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False
    warnings: Sequence[str] = ()


class EventTypeRow(msgspec.Struct, frozen=True, gc=False):
    """One version of an event type in the catalogue. The highest version is the current one."""

    tenant: str
    name: str
    number: int
    """The version of the schema, from 1; set by the store."""
    mode: str
    schema: bytes | None = None
    example: bytes | None = None
    description: str = ""
    created_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False


class RegistryChanges(msgspec.Struct, frozen=True):
    """All that changed after a version, up to `version`; tombstones included."""

    version: int
    endpoints: Sequence[EndpointRow]
    event_types: Sequence[EventTypeRow]
    """Current versions only."""


class Registry(Protocol):
    """Configuration. Each change raises the registry version by 1 in its own transaction."""

    async def changes(self, since: int) -> RegistryChanges:
        """What changed after version `since` (0: everything that is not deleted)."""
        ...

    async def healths(self) -> Sequence[HealthRow]:
        """The health of all endpoints that have a row and are not deleted."""
        ...

    async def put_endpoint(self, row: EndpointRow, expected_version: int | None = None) -> EndpointRow:
        """Create (`expected_version` None) or replace an endpoint; returns the row as stored, with times.

        Raises `Conflict` code `uid_taken`; code `conflict` when it changed since `expected_version`; `NotFound`.
        """
        ...

    async def set_endpoint_state(self, endpoint_id: bytes, state: EndpointState) -> EndpointRow:
        """Pause, resume, disable. Resuming forgets health, waits and probes. Raises `NotFound`."""
        ...

    async def delete_endpoint(self, endpoint_id: bytes) -> None:
        """A tombstone; its uid is free again. Its open deliveries are closed by `Upkeep.close_deleted`."""
        ...

    async def put_event_type(self, row: EventTypeRow, *, create: bool) -> EventTypeRow:
        """Create (`Conflict` code `name_taken`), or change: a changed schema is a new version, the rest is
        changed in place (`NotFound` when there is none)."""
        ...

    async def delete_event_type(self, tenant: str, name: str) -> None:
        """Remove it from the catalogue with all its versions. Raises `NotFound`."""
        ...

    async def event_type_versions(self, tenant: str, name: str) -> Sequence[EventTypeRow]:
        """All versions, newest first; empty when unknown."""
        ...


# --------------------------------------------------------------------------------------------------- archive


class Query(msgspec.Struct, frozen=True):
    """Filters of a list; None: any. `limit` ≤ 250; `before` is the cursor: ids below it. Newest first."""

    tenant: str | None
    limit: int = 50
    before: bytes | None = None
    since_ms: int | None = None
    """Inclusive."""
    until_ms: int | None = None
    """Exclusive."""
    type: str | None = None
    source: str | None = None
    source_id: str | None = None
    subject: str | None = None
    state: str | None = None
    """A state's word as reported: `held` and `pending` follow the endpoint's state."""
    endpoint_id: bytes | None = None
    event_id: bytes | None = None
    reason: str | None = None


class DeliveryRow(msgspec.Struct, frozen=True, gc=False):
    """A delivery as listed."""

    id: bytes
    event_id: bytes
    endpoint_id: bytes
    tenant: str
    type: str
    state: str
    """The word as reported."""
    attempts: int
    next_at_ms: int | None
    """When it is due, for a pending one."""
    reason: str | None
    """Of its last attempt, or why it was closed."""
    created_at_ms: int
    finished_at_ms: int | None
    ordering_key: str | None
    replay_of: bytes | None
    """The event it replays; None for a delivery made at acceptance."""


class AttemptRow(msgspec.Struct, frozen=True, gc=False):
    """A stored attempt: `packed` is what `RecordItem.attempt` was."""

    delivery_id: bytes
    fence: int
    packed: bytes


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next` is the cursor for `Query.before`; None: the end. May be short: a page examines at
    most 10,000 rows."""

    rows: Sequence[T]
    next: bytes | None


class Counts(msgspec.Struct, frozen=True):
    """The books. Always: deliveries = delivered + failed + discarded + pending + leased + held + unconfirmed."""

    events: int = 0
    deliveries: int = 0
    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    pending: int = 0
    leased: int = 0
    held: int = 0
    unconfirmed: int = 0


class Archive(Protocol):
    """What happened. Read-only and bounded: no read takes more than 250 ms or 10,000 rows."""

    async def events(self, query: Query) -> Page[Event]:
        """Events, newest first."""
        ...

    async def event(self, tenant: str | None, event_id: bytes) -> Event | None:
        """One event (None tenant: any)."""
        ...

    async def deliveries(self, query: Query) -> Page[DeliveryRow]:
        """Deliveries, open and closed, newest first."""
        ...

    async def delivery(self, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
        """One delivery."""
        ...

    async def attempts(self, delivery_id: bytes) -> Sequence[AttemptRow]:
        """All attempts of a delivery, oldest first (at most 1,000)."""
        ...

    async def counts(self, tenant: str | None, endpoint_id: bytes | None = None) -> Counts:
        """The books of a tenant (None: of all), or of one endpoint, of one moment, without a scan of history."""
        ...

    async def runnable_oldest_s(self) -> tuple[int, float]:
        """How many endpoints have something that could start now, and how long its oldest has been due."""
        ...


# ---------------------------------------------------------------------------------------------------- upkeep


class Upkeep(Protocol):
    """What runs beside. Every step is bounded and restartable."""

    async def lost(self, limit: int = 1000) -> Sequence[OpenRef]:
        """Leases that nobody holds any more: of dead instances (on SQLite: of any earlier process), or expired
        for over 15 s. The flow records what becomes of them."""
        ...

    async def oldest(self, endpoint_id: bytes, limit: int) -> Sequence[OpenRef]:
        """The oldest pending deliveries of an endpoint (for overflow)."""
        ...

    async def open_by_endpoint(self, above: int) -> dict[bytes, int]:
        """Endpoints with more than `above` open deliveries, and how many they have."""
        ...

    async def unfold(self, limit: int = 500) -> tuple[dict[bytes, float], bool]:
        """Unfold up to `limit` deliveries of the oldest fan-out row in one commit. Returns endpoints that have
        something pending through it with the seconds until it is due, and whether rows remain."""
        ...

    async def close_deleted(self, limit: int = 1000) -> int:
        """Close up to `limit` open, unleased deliveries of deleted endpoints as discarded, reason
        `endpoint_deleted`. How many were closed."""
        ...

    async def sweep_lanes(self) -> int:
        """Promote lanes that have neither a head nor a block, and count them (must stay 0)."""
        ...

    async def fold(self) -> int:
        """Fold counter deltas into totals in one transaction; how many rows were folded."""
        ...

    async def purge_dedupe(self, limit: int = 1000) -> int:
        """Forget expired dedupe and idempotency keys, up to `limit` examined; how many were forgotten."""
        ...

    async def reopen(self, tenant: str | None, delivery_id: bytes) -> OpenRef:
        """Retry: a failed or discarded delivery is open again, due now, tries from 0, fence going on; it keeps
        its place in its lane. A pending one becomes due now. Raises `NotFound`; `Conflict` code `wrong_state`
        (leased, held, unconfirmed or delivered; its endpoint is deleted)."""
        ...

    async def discard(self, tenant: str | None, delivery_id: bytes) -> None:
        """A person decided: an open (not leased) or failed delivery is discarded; its lane goes on. Raises
        `NotFound`; `Conflict` code `wrong_state`."""
        ...

    async def replay(
        self, tenant: str | None, event_id: bytes, root: bytes, deliveries: Sequence[NewDelivery], registry_version: int
    ) -> dict[bytes, float]:
        """New deliveries of an old event, ranking behind live ones, with ids from `root`; due endpoints as in
        `RecordResult.due_s`. Raises `NotFound`, `StaleRegistry`."""
        ...


class Store(Deliveries, Registry, Archive, Upkeep, Protocol):
    """The whole store, with its beginning and end."""

    async def start(self) -> None:
        """Open, check durability and schema, become an instance. Raises `StoreUnavailable` with the reason."""
        ...

    async def stop(self) -> None:
        """Write what is queued, give up the instance, close."""
        ...

    async def check(self) -> str | None:
        """Why the store cannot be written now, or None: for `/readyz`."""
        ...
