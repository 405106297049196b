"""The next step of a replay of many: a page of what happened, and what of it is to be sent again.

Nothing is changed here: `flow.replay_worker` commits a step, `flow.replays` counts steps for a dry run.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.ids import IdMaker
from hookline.core.replay import Action, ReplaySpec, action, bound, unpack_replay, window_ms
from hookline.flow.registry import Registry
from hookline.ports.store import Again, DeliveryRow, Query, ReplayRow, Store

PAGE_DELIVERIES: Final = 500
PAGE_EVENTS: Final = 250
_PAGE_LEAST: Final = 50


class Plan(msgspec.Struct, frozen=True):
    """What a replay is to do, read from its row."""

    tenant: str
    spec: ReplaySpec
    start_ms: int
    until: bytes
    target: bytes | None
    """The endpoint that all goes to; None: to its own, or to all that match."""

    @staticmethod
    def of(row: ReplayRow) -> Plan:
        """Raises `msgspec.DecodeError` for a row that this version cannot read."""
        stored = unpack_replay(row.spec)
        spec = stored.spec
        target = None if spec.endpoint_id is None else ids.parse(ids.ENDPOINT, spec.endpoint_id)
        return Plan(row.tenant, spec, stored.start_ms, row.until, target)

    def query(self, limit: int, after: bytes | None) -> Query:
        """A page of what the replay walks, from `after` on."""
        wanted = self.spec.filter
        since_ms, until_ms = window_ms(wanted)
        last_ms = ids.time_ms(self.until) + 1
        return Query(
            tenant=self.tenant,
            limit=limit,
            before=after,
            oldest_first=True,
            since_ms=since_ms,
            until_ms=last_ms if until_ms is None else min(last_ms, until_ms),
            type=wanted.type,
            source=wanted.source,
            source_id=wanted.source_id,
            subject=wanted.subject,
            state=wanted.state,
            endpoint_id=None if wanted.endpoint is None else ids.parse(ids.ENDPOINT, wanted.endpoint),
            event_id=None if wanted.event is None else ids.parse(ids.EVENT, wanted.event),
            reason=wanted.reason,
        )


class Step(msgspec.Struct):
    """What a step does."""

    after: bytes | None
    """How far the replay is behind it. Within an event that goes to many endpoints: its id, then the last one's."""
    examined: int = 0
    """What of it was found: each ends as replayed or skipped."""
    again: list[Again] = msgspec.field(default_factory=list)
    ended: bool = False
    """There is nothing behind it."""
    full: bytes | None = None
    """It stopped before this endpoint, which has too much to do."""


class TargetGone(Exception):
    """The endpoint that a replay goes to was deleted."""


class Steps:
    """Makes steps. `matches` names the endpoints that want an event now."""

    def __init__(
        self, store: Store, registry: Registry, matches: Callable[[Event], Sequence[Endpoint]], ids_maker: IdMaker
    ) -> None:
        self._store = store
        self._registry = registry
        self._matches = matches
        self._ids = ids_maker

    async def next(
        self, plan: Plan, after: bytes | None, room: int, full: Container[bytes] = (), *, counted_only: bool = False
    ) -> Step:
        """The step behind `after`: at most `room` are sent again, none to an endpoint that is `full`.

        `counted_only`: nothing will be committed, so the lanes of new deliveries are not looked up. Raises
        `TargetGone`, `StoreUnavailable`.
        """
        target: Endpoint | None = None
        if plan.target is not None:
            target = self._registry.endpoint(plan.target)
            if target is None:
                await self._registry.refresh()  # perhaps another process has just made it
                target = self._registry.endpoint(plan.target)
            if target is None:
                raise TargetGone(plan.target)
        root = self._ids.make(self._store.now_ms())
        made = _Making(Step(after), room, full, root)
        if plan.spec.of == "events":
            await self._events(plan, target, made)
        else:
            await self._deliveries(plan, target, made, lanes=not counted_only)
        return made.step

    # ------------------------------------------------------------------------------------------------ deliveries

    async def _deliveries(self, plan: Plan, target: Endpoint | None, made: _Making, *, lanes: bool) -> None:
        step = made.step
        limit = min(PAGE_DELIVERIES, max(made.room, _PAGE_LEAST))
        page = await self._store.deliveries(plan.query(limit, step.after))
        sent: bytes | None = None
        for row in page.rows:
            if row.id >= plan.until:
                step.ended = True
                return
            if target is not None and row.replay_of is None and row.event_id == sent:
                continue  # an event goes there once, however many of its deliveries are found
            if not await self._delivery(row, target, made, lanes=lanes):
                return
            step.after = row.id
            if target is not None and row.replay_of is None and made.last_event == row.event_id:
                sent = row.event_id
                step.after = ids.last_delivery_id(sent)
        _page_ends(step, page.next, plan.until)

    async def _delivery(self, row: DeliveryRow, target: Endpoint | None, made: _Making, *, lanes: bool) -> bool:
        """Whether there was room for it."""
        own = target is None or target.id == row.endpoint_id
        endpoint = self._registry.endpoint(row.endpoint_id) if target is None else target
        what = Action.SKIP if endpoint is None or row.erased else action(row.state, own=own)
        if what is Action.SKIP or endpoint is None:
            made.step.examined += 1
            return True
        if not made.has_room(endpoint.id):
            return False
        if what is Action.REOPEN:
            made.reopen(row)
        else:
            lane = await self._lane(row, endpoint) if lanes and endpoint.lane is not None else None
            made.new(row.event_id, endpoint.id, lane)
        made.step.examined += 1
        return True

    async def _lane(self, row: DeliveryRow, endpoint: Endpoint) -> str | None:
        if endpoint.id == row.endpoint_id and row.ordering_key is not None:
            return row.ordering_key
        event = await self._store.event(row.tenant, row.event_id)
        return None if event is None else event.ordering_key

    # ---------------------------------------------------------------------------------------------------- events

    async def _events(self, plan: Plan, target: Endpoint | None, made: _Making) -> None:
        step = made.step
        begun = step.after if step.after is not None and len(step.after) > ids.ROOT_BYTES else None
        if begun is not None:
            event = await self._store.event(plan.tenant, begun[: ids.ROOT_BYTES])
            if event is not None and not self._event(event, target, made, begun[ids.ROOT_BYTES :]):
                return
        limit = min(PAGE_EVENTS, max(made.room, _PAGE_LEAST))
        page = await self._store.events(plan.query(limit, step.after))
        for event in page.rows:
            if event.id >= plan.until:
                step.ended = True
                return
            if not self._event(event, target, made):
                return
        _page_ends(step, page.next, plan.until)

    def _event(self, event: Event, target: Endpoint | None, made: _Making, behind: bytes = b"") -> bool:
        """Whether there was room for it, for all of its endpoints (those whose ids are above `behind`)."""
        step = made.step
        wanted: Sequence[Endpoint] = ()
        if not event.erased:
            wanted = self._matches(event) if target is None else (target,)
        for endpoint in sorted(wanted, key=lambda one: one.id):
            if endpoint.id <= behind:
                continue
            if not made.has_room(endpoint.id):
                return False
            made.new(event.id, endpoint.id, event.ordering_key if endpoint.lane is not None else None)
            step.examined += 1
            step.after = event.id + endpoint.id
        if not wanted and not behind:
            step.examined += 1
        step.after = event.id
        return True


class _Making:
    """A step in the making."""

    def __init__(self, step: Step, room: int, full: Container[bytes], root: bytes) -> None:
        self.step = step
        self.room = room
        self._full = full
        self._root = root
        self.last_event: bytes | None = None
        """The last that was sent again."""

    def has_room(self, endpoint_id: bytes) -> bool:
        """Whether one more may go to this endpoint; notes which one had none."""
        if endpoint_id in self._full:
            self.step.full = endpoint_id
            return False
        return len(self.step.again) < self.room

    def reopen(self, row: DeliveryRow) -> None:
        self.last_event = row.event_id
        self.step.again.append(Again(row.event_id, row.endpoint_id, row.id, reopen=True, lane=row.ordering_key))

    def new(self, event_id: bytes, endpoint_id: bytes, lane: str | None) -> None:
        self.last_event = event_id
        delivery_id = ids.delivery_id(self._root, len(self.step.again) + 1)
        self.step.again.append(Again(event_id, endpoint_id, delivery_id, lane=lane))


def _page_ends(step: Step, following: bytes | None, until: bytes) -> None:
    """The whole page was taken: go on behind it, unless nothing can be there."""
    if following is None or following >= until:
        step.ended = True
    elif step.after is None or following > step.after:
        step.after = following


def until_of(replay_id: bytes, spec: ReplaySpec) -> bytes:
    """Where the walk of a new replay ends."""
    return bound(replay_id, window_ms(spec.filter)[1])
