"""Record: outcome → attempt, next state, next time, new events, the endpoint's health; in shared commits.

What cannot be recorded is not sent: while outcomes wait too long, `behind` stops further attempts. An outcome is
kept until the store takes it; writing it twice changes nothing, because every change is fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core.attempt import Kind, Outcome
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.errors import StaleRegistry, StoreUnavailable
from hookline.core.history import AttemptRecord, pack_attempt
from hookline.core.verdict import judge
from hookline.flow.channel import Channel, Job
from hookline.flow.commits import SharedCommits
from hookline.flow.health import EventMaker, HealthEntry, HealthKeeper
from hookline.flow.registry import Registry
from hookline.flow.tell import News, Tell
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import HealthRow, RecordItem, RecordResult, Store

WAITING_MAX: Final = 512
WAITING_S_MAX: Final = 1.0
RETRY_S: Final = 0.25
# Members of an enumeration, at hand: looking one up costs 0.2 µs, and an outcome asks for a dozen.
_KIND_DELIVERED: Final = Kind.DELIVERED
_KIND_UNCONFIRMED: Final = Kind.UNCONFIRMED
_DELIVERED: Final = State.DELIVERED
_DISCARDED: Final = State.DISCARDED
_FAILED: Final = State.FAILED
_HELD: Final = State.HELD
_PENDING: Final = State.PENDING
_UNCONFIRMED: Final = State.UNCONFIRMED

Lease = tuple[bytes, int, bytes]
"""A lease to be given back: delivery, fence, endpoint."""


class _Entry(msgspec.Struct, gc=False):
    """An outcome that waits for its commit."""

    item: RecordItem
    channel: Channel | None
    job: Job | None
    make_events: EventMaker | None = None
    """Makes the events again when the registry has changed meanwhile."""
    done: asyncio.Future[None] | None = None
    """Told when the commit that holds it has ended, however."""


class Recorder:
    """Takes outcomes, decides by `core.verdict` and `core.health`, and commits."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        tell: Tell,
        health: HealthKeeper,
        wake: Wake,
        clock: Clock,
        observer: Observer,
        *,
        commits_in_flight: int = 1,
        linger_s: float = 0.0,
    ) -> None:
        self._store = store
        self._registry = registry
        self._tell = tell
        self._health = health
        self._wake = wake
        self._clock = clock
        self._observer = observer
        self._commits: SharedCommits[_Entry] = SharedCommits(
            self._commit, clock, in_flight_max=commits_in_flight, linger_s=linger_s
        )
        self._releases: list[Lease] = []
        self._releasing: asyncio.Task[None] | None = None
        self._failing_since_s: float | None = None
        self._was_behind = False
        self._recorded: Callable[[Channel, Job], None] = lambda _channel, _job: None
        self._unblocked: Callable[[], None] = lambda: None
        self.unconfirmed: Callable[[bytes], None] = lambda _delivery_id: None
        """Called for each delivery that waits for its confirmation from now on; set by `flow.confirm`."""

    def bind(
        self,
        recorded: Callable[[Channel, Job], None],
        unblocked: Callable[[], None],
    ) -> None:
        """`flow.deliver` says what to call: it knows the recorder, not the other way round."""
        self._recorded = recorded
        self._unblocked = unblocked

    @property
    def behind(self) -> bool:
        """Outcomes wait too long, or too many do: no attempt starts."""
        return self.is_behind(self._clock.monotonic_s())

    def is_behind(self, now_s: float) -> bool:
        """The same, where the monotonic clock was read already."""
        commits = self._commits
        told = self._tell.waiting
        late = commits.waiting + told >= WAITING_MAX or self._failing_since_s is not None
        if not late and commits.waiting:
            late = commits.oldest_age_s(now_s) > WAITING_S_MAX
        if not late and told:
            late = self._tell.oldest_age_s() > WAITING_S_MAX
        if late:
            self._was_behind = True
        return late

    @property
    def waiting(self) -> int:
        """Outcomes that wait for their commit."""
        return self._commits.waiting + self._tell.waiting

    @property
    def busy(self) -> bool:
        """Whether an outcome or a release is not committed yet."""
        return self._commits.busy or self._tell.waiting > 0 or bool(self._releasing and not self._releasing.done())

    def hurry(self) -> None:
        """Something else is committed now: what waits for company goes with it."""
        self._commits.hurry()

    # ------------------------------------------------------------------------------------------------- outcomes

    def outcome(
        self, channel: Channel, endpoint: Endpoint, job: Job, outcome: Outcome, started_ms: int, now_s: float
    ) -> None:
        """An attempt ended, at `now_s` of the monotonic clock."""
        if not outcome.started:
            if not job.handed_off:
                channel.leased_by_claim -= 1
            channel.overflow = True
            # The sender had no room (or no file): not at once again. Who wonders why nothing is sent finds this line.
            self._observer.warn("attempt_not_started", endpoint=endpoint.public_id, detail=outcome.detail)
            channel.wait_until_s = max(channel.wait_until_s, now_s + RETRY_S)
            self.release([(job.delivery_id, job.fence, endpoint.id)])
            return
        dice = 0.0 if outcome.kind is _KIND_DELIVERED else self._clock.dice()  # a success asks for no wait
        verdict = judge(outcome, endpoint, tries=job.tries, dice=dice, early=job.early_s > 0)
        self._health.judge(channel, endpoint, job, verdict)
        kind = _KIND_UNCONFIRMED if verdict.after is _UNCONFIRMED else outcome.kind
        self._observer.attempted(endpoint, kind, verdict.reason, outcome.status, outcome.timing.total_us / 1_000_000)
        after, reason = verdict.after, verdict.reason
        if channel.endpoint.deleted and (after is _PENDING or after is _UNCONFIRMED):
            after, reason = _DISCARDED, "endpoint_deleted"
        wait_s = max(0.0, job.early_s) if verdict.keep_due else verdict.wait_s
        packed = pack_attempt(
            outcome,
            number=job.attempts + 1,
            at_ms=started_ms,
            kind=kind,
            reason=verdict.reason,
            cause=verdict.cause,
            next_wait_s=wait_s if after is _PENDING else None,
            endpoint_version=endpoint.version,
        )
        item = RecordItem(
            job.delivery_id,
            job.fence,
            endpoint.id,
            endpoint.tenant,
            after,
            wait_s,
            verdict.tries,
            0,
            reason,
            packed,
            endpoint.lane != "skip",
        )
        entry = _Entry(item, channel, job)
        if not self._tell.wanted(endpoint, job.event, after, escalate=verdict.escalate):
            # The next of a lane waits for this one's commit, and so does the cap of what was claimed.
            urgent = job.lane is not None or not job.handed_off or after is not _DELIVERED
            self._put(entry, now_s=now_s, urgent=urgent)
            return
        news = News(
            endpoint=endpoint,
            event=job.event,
            delivery_id=job.delivery_id,
            after=after,
            attempts=job.attempts + 1,
            reason=verdict.reason,
            status=outcome.status,
            escalate=verdict.escalate,
            last=packed if after is _FAILED else None,
        )
        self._tell.prepare(news, lambda make: self._put(entry, make))

    def change(self, item: RecordItem, news: News | None = None) -> asyncio.Future[None]:
        """A change of an open delivery that no attempt brought about (taken back, overflow, confirmed), and what is
        told of it; await what is returned to know it committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, None, None, done=done)
        if news is None:
            self._put(entry)
        else:
            self._tell.prepare(news, lambda make: self._put(entry, make))
        return done

    def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back unstarted; committed soon. Their endpoints are ready then: a lane may have another head."""
        self._releases.extend(leases)
        if self._releases and (self._releasing is None or self._releasing.done()):
            self._releasing = asyncio.get_running_loop().create_task(self._release())

    def abandon(self) -> int:
        """The very end, and the store does not take them: whatever has no commit yet is left to the next start,
        which takes its leases back. How many outcomes and releases that were at least."""
        left = self._tell.abandon() + self._commits.abandon() + len(self._releases)
        self._releases.clear()
        if self._releasing is not None:
            self._releasing.cancel()
        return left

    async def drained(self) -> None:
        """Return when every outcome and release is committed."""
        await self._tell.drained()
        await self._commits.drained()
        while self._releasing is not None and not self._releasing.done():
            await asyncio.wait([self._releasing])

    def _put(
        self, entry: _Entry, make_events: EventMaker | None = None, *, now_s: float | None = None, urgent: bool = True
    ) -> None:
        size = 256 if entry.item.attempt is None else 256 + len(entry.item.attempt)
        if make_events is not None:
            events = make_events()
            entry.make_events = make_events
            entry.item = msgspec.structs.replace(entry.item, events=events)
            size += sum(new.event.size_bytes for new in events)
        if now_s is None:
            now_s = self._clock.monotonic_s()
        self._commits.put(entry.item.tenant, entry, 1, size, now_s, urgent=urgent)

    # --------------------------------------------------------------------------------------------------- commit

    async def _commit(self, batch: list[_Entry]) -> None:
        self._observer.committed("record", len(batch), self._commits.oldest_wait_s)
        try:
            await self._commit_some(batch, self._health.changes())
        finally:
            for entry in batch:
                if entry.done is not None and not entry.done.done():
                    entry.done.set_result(None)
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
            except Exception as error:  # noqa: BLE001 - DataError, or a defect: one bad item must not take the others along
                # The store answered: it is not away, whatever is wrong with this commit.
                self._failing_since_s = None
                await self._divide(batch, healths, error)
                return
            else:
                self._failing_since_s = None
                await self._apply(batch, healths, result)
                return

    async def tidy(self) -> None:
        """Commit what of healths missed its version and found no outcome to go with; look at resumed endpoints.
        Raises `StoreUnavailable`."""
        await self._health.resumed()
        if self._health.dirty and not self._commits.busy:
            await self._commit_some([], self._health.changes())

    async def _divide(self, batch: list[_Entry], healths: list[HealthEntry], error: Exception) -> None:
        """Halve a commit that cannot be stored until the guilty one stands alone; it loses its detail, then all."""
        if batch and healths:
            await self._commit_some(batch, [])
            await self._commit_some([], healths)
            return
        if len(batch) > 1:
            half = len(batch) // 2
            await self._commit_some(batch[:half], [])
            await self._commit_some(batch[half:], [])
            return
        if not batch:
            self._observer.warn("healths_cut", error=repr(error))
            if self._health.cut(healths):
                await self._commit_some([], healths)
            return
        entry = batch[0]
        if entry.item.attempt is None and entry.item.events:
            # What is told of it cannot be stored: the change itself is to be, or it would come again and again.
            self._observer.warn("outcome_cut", error=repr(error))
            entry.item = msgspec.structs.replace(entry.item, events=())
            entry.make_events = None
            await self._commit_some([entry], [])
            return
        if entry.item.attempt is None:
            # Its lease ends by itself, is taken back and counted: from the twentieth time on it is poison.
            self._observer.warn("outcome_dropped", error=repr(error), delivery=entry.item.delivery_id.hex())
            self._no_longer_ours(entry)
            return
        self._observer.warn("outcome_cut", error=repr(error))
        record = AttemptRecord.unpack(entry.item.attempt)
        stripped = None
        if record.exchange is not None or record.detail:
            stripped = msgspec.structs.replace(record, exchange=None, detail="").pack()
        entry.item = msgspec.structs.replace(entry.item, attempt=stripped, events=())
        entry.make_events = None
        await self._commit_some([entry], [])

    def _no_longer_ours(self, entry: _Entry) -> None:
        if entry.channel is not None and entry.job is not None:
            self._recorded(entry.channel, entry.job)

    async def _apply(self, batch: list[_Entry], healths: list[HealthEntry], result: RecordResult) -> None:
        closed: dict[State, int] = {}
        for entry, applied in zip(batch, result.applied, strict=True):
            after = entry.item.after
            if applied and after is _UNCONFIRMED:
                self.unconfirmed(entry.item.delivery_id)
            elif applied and after not in (_PENDING, _HELD):
                closed[after] = closed.get(after, 0) + 1
            if not applied and entry.item.attempt is not None:
                self._observer.warn("outcome_fenced", delivery=entry.item.delivery_id.hex())
            self._no_longer_ours(entry)
        for state, count in closed.items():
            self._observer.closed(state.word, count)
        self._wake.notify(result.due_s)
        if healths:
            missed, disabled = self._health.applied(healths, result.health_applied)
            if missed:
                await self._adopt_healths([entry.channel for entry in healths])
                if batch:
                    # Once more on the store's version; a further miss waits for the next outcome.
                    await self._commit_some([], self._health.changes())
            if disabled:
                await self._refresh()

    async def _adopt_healths(self, channels: Sequence[Channel]) -> None:
        """Another process, or a person, changed an endpoint's health: go on from there."""
        try:
            rows = {row.endpoint_id: row for row in await self._store.healths()}
        except StoreUnavailable as error:
            self._observer.warn("healths_failed", code=error.code, error=str(error))
            return
        for channel in channels:
            # None: a person resumed it, and the store knows nothing of its health any more.
            self._health.adopt(rows.get(channel.endpoint.id, HealthRow(channel.endpoint.id, 0)), channel)

    async def _refresh(self) -> None:
        try:
            await self._registry.refresh()
        except Exception as error:  # noqa: BLE001 - the outcomes are kept and tried again, whatever the matter is
            self._observer.warn("refresh_failed", error=repr(error))
            await self._clock.sleep(RETRY_S)

    async def _release(self) -> None:
        while self._releases:
            leases, self._releases = self._releases[:1000], self._releases[1000:]
            try:
                await self._store.release([(delivery, fence) for delivery, fence, _ in leases])
            except StoreUnavailable as error:
                self._releases = [*leases, *self._releases]
                self._observer.warn("release_failed", code=error.code, error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            except Exception as error:  # noqa: BLE001 - these leases end by themselves; the others are given back
                self._observer.warn("release_defect", error=repr(error), leases=len(leases))
                continue
            for endpoint_id in {endpoint_id for _, _, endpoint_id in leases}:
                self._wake.ready(endpoint_id)
