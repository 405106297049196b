"""Replays of many, asked for: created, counted beforehand, looked at, canceled. Free of HTTP.

`flow.replay_worker` makes them.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.errors import Conflict, NotFound, Refusal
from hookline.core.ids import IdMaker
from hookline.core.replay import (
    RUNNING_MAX,
    ReplaySpec,
    pack_replay,
    parse_endpoint_replay,
    parse_replay,
    progress,
)
from hookline.flow.catalogue import Catalogue
from hookline.flow.replay_steps import Plan, Steps, TargetGone, until_of
from hookline.flow.replay_worker import ReplayWorker
from hookline.ports.clock import Clock
from hookline.ports.store import Page, ReplayRow, Store

DRY_RUN_S_MAX: Final = 3.0
DRY_RUNS_MAX: Final = 2
"""Of one tenant, at the same time: they read much."""
_UNBOUNDED: Final = 1_000_000
_RUNNING_OF_ALL_MAX: Final = 1000


class ReplayView(msgspec.Struct, frozen=True):
    """A replay as it may be shown."""

    row: ReplayRow
    spec: ReplaySpec
    progress: float
    """0 to 1, by the range of time walked."""
    waits_for: str | None = None


class DryRun(msgspec.Struct, frozen=True):
    """What a replay would do now. `matched` and `would_replay` are lower bounds where it is not `complete`."""

    matched: int
    """Found by the filter; of events, one for each endpoint that it would go to."""
    would_replay: int
    """Of these: those that are not skipped."""
    complete: bool
    """False: after 3 s it was not all counted."""
    dry_run: bool = True


class Replays:
    """The service behind `/v1/replays`. Methods raise `Refusal`, `NotFound`, `Conflict`, `StoreUnavailable`."""

    def __init__(
        self, store: Store, catalogue: Catalogue, steps: Steps, worker: ReplayWorker, ids_maker: IdMaker, clock: Clock
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._steps = steps
        self._worker = worker
        self._ids = ids_maker
        self._clock = clock
        self._creating = asyncio.Lock()
        self._dry_runs: dict[str, int] = {}

    async def create(self, tenant: str, body: bytes) -> ReplayView | DryRun:
        """Begin a replay, or count for it where `dry_run` is asked for."""
        return await self._begin(tenant, parse_replay(body))

    async def create_for_endpoint(self, tenant: str, reference: str, body: bytes) -> ReplayView | DryRun:
        """The same by the short form for one endpoint (id or uid)."""
        row = await self._catalogue.endpoint(tenant, reference)
        return await self._begin(tenant, parse_endpoint_replay(body, row.id))

    async def get(self, tenant: str, replay_id: bytes) -> ReplayView:
        """One replay."""
        row = await self._store.replay_of(tenant, replay_id)
        if row is None:
            raise NotFound("no such replay")
        return self._view(row)

    async def page(self, tenant: str, limit: int, before: bytes | None) -> Page[ReplayView]:
        """A page of replays, newest first."""
        page = await self._store.replays(tenant, limit, before)
        return Page([self._view(row) for row in page.rows], page.next)

    async def cancel(self, tenant: str, replay_id: bytes) -> ReplayView:
        """Stop it before its next step; what it made stays. Raises `Conflict` `wrong_state` when it has ended."""
        view = await self.get(tenant, replay_id)
        row = view.row
        if row.state == "running":
            row = await self._store.end_replay(tenant, replay_id, "canceled")
        if view.row.state != "running" or row.state != "canceled":
            raise Conflict(f"a replay that is {row.state} cannot be canceled", code="wrong_state")
        return self._view(row)

    def _view(self, row: ReplayRow) -> ReplayView:
        waits_for = self._worker.waits_for(row.id) if row.state == "running" else None
        try:
            plan = Plan.of(row)
        except msgspec.DecodeError:  # a newer Hookline's: what it asks for is not known here
            return ReplayView(row, ReplaySpec(), progress(row.state, 0, None, row.until), waits_for)
        walked = progress(row.state, plan.start_ms, row.after, row.until)
        return ReplayView(row, plan.spec, walked, waits_for)

    async def _begin(self, tenant: str, asked: ReplaySpec) -> ReplayView | DryRun:
        spec = await self._resolved(tenant, asked)
        replay_id = self._ids.make(self._store.now_ms())
        row = ReplayRow(replay_id, tenant, pack_replay(spec, 0), until=until_of(replay_id, spec))
        if asked.dry_run:
            return await self._count(tenant, Plan.of(row))
        async with self._creating:
            running = await self._store.running_replays()
            if sum(1 for other in running if other.tenant == tenant) >= RUNNING_MAX:
                raise Conflict(f"{RUNNING_MAX} replays are running: wait, or cancel one", code="limit_reached")
            if len(running) >= _RUNNING_OF_ALL_MAX:
                raise Conflict("too many replays are running on this server: wait", code="limit_reached")
            start_ms = await self._start_ms(Plan.of(row))
            row = await self._store.put_replay(msgspec.structs.replace(row, spec=pack_replay(spec, start_ms)))
        self._worker.soon()
        return self._view(row)

    async def _resolved(self, tenant: str, asked: ReplaySpec) -> ReplaySpec:
        """With endpoints by id: a uid may be another's before the replay has ended."""
        wanted, target = asked.filter, asked.endpoint_id
        if wanted.endpoint is not None:
            await self._catalogue.refresh()
            endpoint_id = self._catalogue.endpoint_id(tenant, wanted.endpoint)
            if endpoint_id is None:
                detail = "There is no endpoint with this uid; one that was deleted is named by its id."
                raise Refusal("invalid_replay", detail, pointer="/filter/endpoint")
            wanted = msgspec.structs.replace(wanted, endpoint=ids.text(ids.ENDPOINT, endpoint_id))
        if target is not None:
            row = await self._catalogue.endpoint(tenant, target)
            target = ids.text(ids.ENDPOINT, row.id)
        return msgspec.structs.replace(asked, filter=wanted, endpoint_id=target, dry_run=False)

    async def _start_ms(self, plan: Plan) -> int:
        """When the first that is found happened: from there progress is measured."""
        query = plan.query(1, None)
        page = await (self._store.events(query) if plan.spec.of == "events" else self._store.deliveries(query))
        first = page.rows[0].id if page.rows else page.next
        return ids.time_ms(plan.until if first is None else first)

    async def _count(self, tenant: str, plan: Plan) -> DryRun:
        if self._dry_runs.get(tenant, 0) >= DRY_RUNS_MAX:
            detail = f"{DRY_RUNS_MAX} dry runs are being counted already."
            raise Refusal("rate_limited", detail, retry_after_s=int(DRY_RUN_S_MAX))
        self._dry_runs[tenant] = self._dry_runs.get(tenant, 0) + 1
        try:
            return await self._counted(plan)
        finally:
            self._dry_runs[tenant] -= 1
            if not self._dry_runs[tenant]:
                del self._dry_runs[tenant]

    async def _counted(self, plan: Plan) -> DryRun:
        end_s = self._clock.monotonic_s() + DRY_RUN_S_MAX
        matched = would_replay = 0
        after: bytes | None = None
        while True:
            try:
                step = await self._steps.next(plan, after, _UNBOUNDED, counted_only=True)
            except TargetGone:
                raise NotFound("no such endpoint") from None
            matched += step.examined
            would_replay += len(step.again)
            after = step.after
            if step.ended or self._clock.monotonic_s() >= end_s:
                return DryRun(matched, would_replay, step.ended)
