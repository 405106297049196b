"""Record: outcome → attempt, next state, next time, new events, the endpoint's health; in shared commits.

What cannot be recorded is not sent: while outcomes wait too long, `behind` stops further attempts. An outcome is
kept until the store takes it; writing it twice changes nothing, because every change is fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core.attempt import Outcome, Timing
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.errors import DataError, StaleRegistry, StoreUnavailable
from hookline.core.history import AttemptRecord
from hookline.core.verdict import Verdict, judge
from hookline.flow import report
from hookline.flow.channel import Channel, Job
from hookline.flow.commits import SharedCommits
from hookline.flow.health import EventMaker, HealthEntry, HealthKeeper
from hookline.flow.registry import Registry
from hookline.flow.report import Report
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import NewEvent, RecordItem, RecordResult, Store

WAITING_MAX: Final = 512
WAITING_S_MAX: Final = 1.0
RETRY_S: Final = 0.25


class _Entry(msgspec.Struct, gc=False):
    """An outcome that waits for its commit."""

    item: RecordItem
    channel: Channel | None
    job: Job | None
    make_events: EventMaker | None
    """Makes the events again when the registry has changed meanwhile."""


class Recorder:
    """Takes outcomes, decides by `core.verdict` and `core.health`, and commits."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        reporter: Report,
        health: HealthKeeper,
        wake: Wake,
        clock: Clock,
        observer: Observer,
        *,
        commits_in_flight: int = 1,
    ) -> None:
        self._store = store
        self._registry = registry
        self._report = reporter
        self._health = health
        self._wake = wake
        self._clock = clock
        self._observer = observer
        self._commits: SharedCommits[_Entry] = SharedCommits(self._commit, clock, in_flight_max=commits_in_flight)
        self._releases: list[tuple[bytes, int]] = []
        self._releasing: asyncio.Task[None] | None = None
        self._failing_since_s: float | None = None
        self._was_behind = False
        self._channel_of: Callable[[bytes], Channel | None] = lambda _id: None
        self._recorded: Callable[[Channel, Job], None] = lambda _channel, _job: None
        self._unblocked: Callable[[], None] = lambda: None

    def bind(
        self,
        channel_of: Callable[[bytes], Channel | None],
        recorded: Callable[[Channel, Job], None],
        unblocked: Callable[[], None],
    ) -> None:
        """`flow.deliver` says what to call: it knows the recorder, not the other way round."""
        self._channel_of = channel_of
        self._recorded = recorded
        self._unblocked = unblocked

    @property
    def behind(self) -> bool:
        """Outcomes wait too long, or too many do: no attempt starts."""
        commits = self._commits
        late = commits.waiting >= WAITING_MAX or self._failing_since_s is not None
        if not late and commits.waiting:
            late = commits.oldest_age_s() > WAITING_S_MAX
        if late:
            self._was_behind = True
        return late

    @property
    def waiting(self) -> int:
        """Outcomes that wait for their commit."""
        return self._commits.waiting

    @property
    def busy(self) -> bool:
        """Whether an outcome or a release is not committed yet."""
        return self._commits.busy or bool(self._releasing and not self._releasing.done())

    # ------------------------------------------------------------------------------------------------- outcomes

    def outcome(self, channel: Channel, endpoint: Endpoint, job: Job, outcome: Outcome, started_ms: int) -> None:
        """An attempt ended."""
        if not outcome.started:
            if not job.handed_off:
                channel.leased_by_claim -= 1
            channel.overflow = True
            # The sender had no room (or no file): not at once again.
            channel.wait_until_s = max(channel.wait_until_s, self._clock.monotonic_s() + RETRY_S)
            self.release([(job.delivery_id, job.fence)])
            return
        verdict = judge(outcome, endpoint, tries=job.tries, dice=self._clock.dice(), early=job.early_s > 0)
        self._health.judge(channel, endpoint, job, verdict)
        self._observer.attempted(
            endpoint, outcome.kind, verdict.reason, outcome.status, outcome.timing.total_us / 1_000_000
        )
        after, reason = verdict.after, verdict.reason
        if after is State.PENDING and channel.endpoint.deleted:
            after, reason = State.DISCARDED, "endpoint_deleted"
        wait_s = max(0.0, job.early_s) if verdict.keep_due else verdict.wait_s
        packed = _pack(job, outcome, verdict, endpoint, started_ms, wait_s if after is State.PENDING else None)
        make = self._events_of(endpoint, job, outcome, verdict, after)
        item = RecordItem(
            delivery_id=job.delivery_id,
            fence=job.fence,
            endpoint_id=endpoint.id,
            tenant=endpoint.tenant,
            after=after,
            wait_s=wait_s,
            tries=verdict.tries,
            reason=reason,
            attempt=packed,
            lane_waits=endpoint.lane != "skip",
            events=make() if make is not None else (),
        )
        size = len(packed) + 256
        self._commits.put(endpoint.tenant, _Entry(item, channel, job, make), 1, size)

    def change(self, item: RecordItem, make_events: EventMaker | None = None) -> None:
        """A change of an open delivery that no attempt brought about (taken back, overflow)."""
        if make_events is not None:
            item = msgspec.structs.replace(item, events=make_events())
        self._commits.put(item.tenant, _Entry(item, None, None, make_events), 1, 256)

    def release(self, leases: Sequence[tuple[bytes, int]]) -> None:
        """Give leases back unstarted; committed soon."""
        self._releases.extend(leases)
        if self._releases and (self._releasing is None or self._releasing.done()):
            self._releasing = asyncio.get_running_loop().create_task(self._release())

    async def drained(self) -> None:
        """Return when every outcome and release is committed."""
        await self._commits.drained()
        while self._releasing is not None and not self._releasing.done():
            await asyncio.shield(self._releasing)

    def _events_of(
        self, endpoint: Endpoint, job: Job, outcome: Outcome, verdict: Verdict, after: State
    ) -> EventMaker | None:
        """How to make the operational events of an outcome; None where nobody subscribes to any."""
        names: list[str] = []
        if after is State.FAILED:
            names.append(report.DELIVERY_FAILED)
        elif after is State.DELIVERED:
            names.append(report.DELIVERY_DELIVERED)
        if verdict.escalate:
            names.append(report.DELIVERY_ESCALATED)
        candidates = self._registry.candidates
        if not any(candidates(endpoint.tenant, name) for name in names):
            return None

        def make() -> tuple[NewEvent, ...]:
            made: list[NewEvent] = []
            for name in names:
                made += self._report.delivery(
                    name,
                    endpoint,
                    job.event,
                    job.delivery_id,
                    attempts=job.attempts + 1,
                    reason=verdict.reason,
                    status=outcome.status,
                )
            return tuple(made)

        return make

    # --------------------------------------------------------------------------------------------------- commit

    async def _commit(self, batch: list[_Entry]) -> None:
        self._observer.committed("record", len(batch), self._commits.oldest_wait_s)
        await self._commit_some(batch, self._health.changes())
        if self._was_behind and not self.behind:
            self._was_behind = False
            self._unblocked()

    async def _commit_some(self, batch: list[_Entry], healths: list[HealthEntry]) -> None:
        while True:
            version = self._registry.version
            try:
                result = await self._store.record([e.item for e in batch], [h.change for h in healths], version)
            except StaleRegistry:
                await self._refresh()
                for entry in batch:
                    if entry.make_events is not None:
                        entry.item = msgspec.structs.replace(entry.item, events=entry.make_events())
                self._health.route_again(healths)
            except StoreUnavailable as error:
                # The outcomes stay here and nothing further is sent until the store takes them.
                if self._failing_since_s is None:
                    self._failing_since_s = self._clock.monotonic_s()
                self._was_behind = True
                self._observer.warn("record_failed", code=error.code, error=str(error))
                await self._clock.sleep(RETRY_S)
            except DataError as error:
                await self._divide(batch, healths, error)
                return
            else:
                self._failing_since_s = None
                await self._apply(batch, healths, result)
                return

    async def _divide(self, batch: list[_Entry], healths: list[HealthEntry], error: DataError) -> None:
        if len(batch) > 1:
            half = len(batch) // 2
            await self._commit_some(batch[:half], healths)
            await self._commit_some(batch[half:], [])
            return
        self._observer.warn("outcome_cut", error=str(error))
        entry = batch[0] if batch else None
        if entry is None or entry.item.attempt is None:
            self._observer.warn("outcome_dropped", error=str(error))
            return
        record = AttemptRecord.unpack(entry.item.attempt)
        stripped = None
        if record.exchange is not None or record.detail:
            stripped = msgspec.structs.replace(record, exchange=None, detail="").pack()
        entry.item = msgspec.structs.replace(entry.item, attempt=stripped, events=())
        await self._commit_some([entry], healths)

    async def _apply(self, batch: list[_Entry], healths: list[HealthEntry], result: RecordResult) -> None:
        closed: dict[State, int] = {}
        for entry, applied in zip(batch, result.applied, strict=True):
            if applied and entry.item.after not in (State.PENDING, State.HELD, State.UNCONFIRMED):
                closed[entry.item.after] = closed.get(entry.item.after, 0) + 1
            if not applied and entry.item.attempt is not None:
                self._observer.warn("outcome_fenced", delivery=entry.item.delivery_id.hex())
            if entry.channel is not None and entry.job is not None:
                self._recorded(entry.channel, entry.job)
        for state, count in closed.items():
            self._observer.closed(state.word, count)
        self._wake.notify(result.due_s)
        if healths:
            missed, disabled = self._health.applied(healths, result.health_applied)
            if missed:
                await self._adopt_healths()
                if batch:
                    # Once more on the store's version; a further miss waits for the next outcome.
                    await self._commit_some([], self._health.changes())
            if disabled:
                await self._refresh()

    async def _adopt_healths(self) -> None:
        """Another process, or a person, changed an endpoint's health: go on from there."""
        try:
            for row in await self._store.healths():
                channel = self._channel_of(row.endpoint_id)
                if channel is not None:
                    self._health.adopt(row, channel)
        except StoreUnavailable as error:
            self._observer.warn("healths_failed", code=error.code, error=str(error))

    async def _refresh(self) -> None:
        try:
            await self._registry.refresh()
        except StoreUnavailable as error:
            self._observer.warn("refresh_failed", code=error.code, error=str(error))
            await self._clock.sleep(RETRY_S)

    async def _release(self) -> None:
        while self._releases:
            leases, self._releases = self._releases[:1000], self._releases[1000:]
            try:
                await self._store.release(leases)
                owners = await self._store.endpoints_of([delivery for delivery, _ in leases])
            except StoreUnavailable as error:
                self._releases = [*leases, *self._releases]
                self._observer.warn("release_failed", code=error.code, error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            for endpoint_id in set(owners.values()):
                self._wake.ready(endpoint_id)


def _pack(
    job: Job, outcome: Outcome, verdict: Verdict, endpoint: Endpoint, started_ms: int, next_wait_s: float | None
) -> bytes:
    timing: Timing = outcome.timing
    return AttemptRecord(
        number=job.attempts + 1,
        at_ms=started_ms,
        kind=str(outcome.kind),
        status=outcome.status,
        reason=verdict.reason,
        cause=verdict.cause,
        detail=outcome.detail,
        duration_us=timing.total_us,
        timing=timing,
        next_wait_s=next_wait_s,
        endpoint_version=endpoint.version,
        exchange=outcome.exchange,
    ).pack()
