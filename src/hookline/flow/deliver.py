"""Deliver: what is leased here goes out, within every cap, and its outcome to `flow.record`.

Two ways lead in, one leads out: hand-offs come straight from the accept commit (`start`), everything else is
claimed from the store (`claimed`); both wait in their endpoint's channel for a slot. An attempt starts only while
its endpoint is open, a slot of the endpoint, of its destination and of the process is free, enough of the lease is
left, and recording keeps up (docs/reliability.md, rules 11, 12, 14).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from hookline.core import ids
from hookline.core.attempt import Outcome, Timing
from hookline.core.delivery import LEASE_MARGIN_S, START_MARGIN_S, UNSTARTED_S_MAX
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.flow.attempt import Attempt
from hookline.flow.awaited import Awaited
from hookline.flow.channel import Channel, Destination, Job
from hookline.flow.health import HealthKeeper
from hookline.flow.record import Lease, Recorder
from hookline.flow.registry import Registry
from hookline.flow.route import HandOff
from hookline.flow.send import Send
from hookline.flow.slots import Destinations, Slots
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.queue import Queue
from hookline.ports.sender import Sender
from hookline.ports.store import Claimed, Store

HANDOFF_BYTES_MAX = 64 * 1024 * 1024
_LOOKED_AT_MAX = 64
"""Of those who wait for a slot, so many are asked when one is free: the others move up."""


class Deliver(HandOff):
    """The slots of this process. All methods but `release` are synchronous and run on the loop.

    `hint_again_s`: others are told again after so long that an endpoint has more due than starts here; None: nobody is.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        senders: dict[str, Sender],
        send: Send,
        recorder: Recorder,
        health: HealthKeeper,
        wake: Wake,
        queue: Queue,
        clock: Clock,
        observer: Observer,
        awaited: Awaited,
        *,
        concurrency_max: int = 2048,
        host_concurrency_max: int = 64,
        handoff_max: int = 4096,
        hint_again_s: float | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._send = send.start
        self._recorder = recorder
        self.release = recorder.release
        self._health = health
        self._wake = wake
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self._awaited = awaited
        self.slots = Slots(concurrency_max, host_concurrency_max, recorder.is_behind)
        self._handoff_max = handoff_max
        self._hint_again_s = hint_again_s
        self.workers = 1
        """How many processes deliver, this one included; told by `flow.follow`."""
        self._channels: dict[bytes, Channel] = {}
        self.destinations = Destinations(senders, observer)
        self._quiet: asyncio.Event | None = None
        """Set when nothing is in flight, once somebody waits for that."""
        self._starting = False
        """Within `start` of a sender."""
        self._abandoned = False
        """The grace is over: what still ends is nobody's business here."""
        self._handed = 0
        self._handed_bytes = 0
        self.stopping = False
        self.unfold_wanted: Callable[[], None] = lambda: None
        recorder.bind(self._recorded, self.unblocked)
        registry.watch(self._endpoint_changed)

    # ------------------------------------------------------------------------------------------------ channels

    def channel(self, endpoint_id: bytes) -> Channel | None:
        """The channel of an endpoint; None when the endpoint is unknown or deleted."""
        channel = self._channels.get(endpoint_id)
        if channel is None:
            endpoint = self._registry.endpoint(endpoint_id)
            if endpoint is None:
                return None
            channel = self._channels[endpoint_id] = Channel(endpoint, self.destinations.join(endpoint))
        return channel

    def _endpoint_changed(self, before: Endpoint | None, after: Endpoint) -> None:
        channel = self._channels.get(after.id)
        if channel is None:
            return
        channel.change(after)
        channel.slow.concurrency_max = after.concurrency_max
        if after.deleted:
            self._health.gone(channel)
        else:
            self.destinations.move(channel, after)
        if before is not None and not before.state.delivers and after.state.delivers:
            self._health.forget(channel)
            channel.overflow = True
            self._wake.ready(after.id)
        elif after.state.delivers:
            self._health.look_again(channel)
        if channel.queued and not channel.open(self._clock.monotonic_s()):
            self._give_up(channel, channel.take_all())
        else:
            self._pump(channel)

    # ------------------------------------------------------------------------------------- from the accept commit

    def lease(self, endpoint: Endpoint, event: Event, now_s: float) -> float | None:
        """Reserve room for a hand-off; None: it is to be claimed from the store."""
        if self.stopping or endpoint.rate is not None:
            return None
        if self._handed >= self._handoff_max or self._handed_bytes > HANDOFF_BYTES_MAX:
            return None
        channel = self._channels.get(endpoint.id) or self.channel(endpoint.id)
        if channel is None or channel.overflow:
            return None
        if not channel.open(now_s) or channel.window(now_s, self.workers) < 1 or self._recorder.is_behind(now_s):
            return None
        channel.reserved += 1
        self._handed += 1
        self._handed_bytes += event.size_bytes
        return endpoint.timeout_s + LEASE_MARGIN_S

    def give_back(self, endpoint_id: bytes, event: Event) -> None:
        """The reservation is not used."""
        self._unhanded(event)
        channel = self._channels.get(endpoint_id)
        if channel is not None:
            channel.reserved -= 1

    def start(self, endpoint_id: bytes, event: Event, ordinal: int, lease_s: float, now_ms: int, now_s: float) -> None:
        """The delivery is committed as leased by us: send it as soon as a slot is free."""
        job = Job(
            ids.delivery_id(event.id, ordinal),
            1,
            endpoint_id,
            event,
            0,
            0,
            event.ordering_key,
            now_s + lease_s,
            now_s,
            0.0,
            True,  # noqa: FBT003 - positions are what makes it cheap
        )
        channel = self._channels[endpoint_id]
        channel.reserved -= 1
        takes = channel.open(now_s) and not self.stopping
        first = not (channel.handed or channel.claimed) and lease_s >= channel.endpoint.timeout_s + START_MARGIN_S
        if takes and first and self.slots.free(channel, now_s):
            self._launch(channel, job, now_ms, now_s)
            return
        channel.destination.queued += 1
        channel.handed.append(job)
        if takes:
            self._pump(channel, now_s)
        else:
            self._give_up(channel, channel.take_all())

    def waits(self, endpoint_id: bytes, delivery_id: bytes, wait_s: float) -> None:
        """The delivery is committed as pending: to be claimed."""
        if wait_s > 0:
            self._wake.at(endpoint_id, wait_s)
            return
        channel = self.channel(endpoint_id)
        if channel is None:
            return
        if not channel.overflow or channel.hints_again(self._clock, self._hint_again_s):
            # The first to wait is worth a hint; those behind it are found with it, claimed by endpoint.
            channel.overflow = True
            self._queue.publish((delivery_id,))
        self._wake.ready(endpoint_id)

    def unfold(self) -> None:
        """A fan-out row was committed."""
        self.unfold_wanted()

    # ----------------------------------------------------------------------------------------------- from a claim

    def claimed(self, rows: Sequence[Claimed], asked_s: float) -> None:
        """What a claim returned goes into its channels. Their leases run since it was asked for, at `asked_s`
        (monotonic), not since its answer was read: a process may have stood still between."""
        now_s = self._clock.monotonic_s()
        unwanted: list[Lease] = []
        touched: dict[bytes, Channel] = {}
        for row in rows:
            channel = self.channel(row.endpoint_id)
            if channel is None or self.stopping:
                unwanted.append((row.delivery_id, row.fence, row.endpoint_id))
                continue
            channel.leased_by_claim += 1
            channel.destination.queued += 1
            channel.claimed.append(
                Job(
                    delivery_id=row.delivery_id,
                    fence=row.fence,
                    endpoint_id=row.endpoint_id,
                    event=row.event,
                    tries=row.tries,
                    attempts=row.attempts,
                    lane=row.lane,
                    lease_until_s=asked_s + row.lease_s,
                    since_s=now_s,
                    early_s=row.early_s,
                    probe=channel.health.failing,
                )
            )
            touched[row.endpoint_id] = channel
        for channel in touched.values():
            self._pump(channel)
        if unwanted:
            self._recorder.release(unwanted)

    # ---------------------------------------------------------------------------------------------------- the pump

    def _pump(self, channel: Channel, now_s: float | None = None) -> None:
        """Start what may start."""
        if not (channel.handed or channel.claimed):
            return
        if now_s is None:
            now_s = self._clock.monotonic_s()
        now_ms = 0  # read when something starts: mostly nothing does, because every slot is taken
        while (channel.handed or channel.claimed) and self.slots.free(channel, now_s):
            job = channel.next_job()
            assert job is not None
            if self._startable(channel, job, now_s):
                now_ms = now_ms or self._store.now_ms()
                channel.destination.queued -= 1
                self._launch(channel, job, now_ms, now_s)

    def _startable(self, channel: Channel, job: Job, now_s: float) -> bool:
        """Whether this one may still be sent; otherwise it is released."""
        endpoint = channel.endpoint
        left_s = job.lease_until_s - now_s
        probing = job.probe and channel.takes
        if left_s >= endpoint.timeout_s + START_MARGIN_S and (probing or channel.open(now_s)):
            return True
        self._give_up(channel, [job])
        return False

    def _launch(self, channel: Channel, job: Job, now_ms: int, now_s: float) -> None:
        """Give it to its sender, in a slot of its own."""
        self.slots.take(channel, job.event.size_bytes)
        if job.handed_off:
            self._unhanded(job.event)
        attempt = Attempt(self._ended, self._observer, channel, job, now_ms, now_s)
        self._starting = True
        try:
            self._send(attempt.endpoint, job, attempt)
        finally:
            self._starting = False

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt has its outcome: it is recorded, and its slot goes to the next."""
        if self._starting:
            # Within `start` of its sender: at the loop's next turn, so that a thousand that end at once are no
            # thousand calls deep.
            asyncio.get_running_loop().call_soon(self._ended, attempt, outcome)
            return
        if self._abandoned:
            return
        channel, destination, job = attempt.channel, attempt.destination, attempt.job
        now_s = self._clock.monotonic_s()
        self.slots.give(channel, destination, job.event.size_bytes)
        channel.finished(now_s)
        if not outcome.timing.total_us:
            outcome.timing = Timing(total_us=int((now_s - attempt.started_s) * 1e6))
        if self._awaited:
            self._awaited.tell(job.event.id, attempt.endpoint.id, outcome)
        try:
            self._recorder.outcome(channel, attempt.endpoint, job, outcome, attempt.started_ms, now_s)
        except Exception as error:  # noqa: BLE001 - the slot goes on; the lease ends by itself and is taken back
            self._observer.warn("outcome_defect", endpoint=attempt.endpoint.public_id, error=repr(error))
            self._recorded(channel, job)
        if destination.waiting or self.slots.waiting:
            self._unblock(destination)
        if channel.handed or channel.claimed:
            self._pump(channel, now_s)
        if channel.overflow:
            self._wake.ready(channel.endpoint.id)
        if self._quiet is not None and not self.slots.in_flight:
            self._quiet.set()

    def _unblock(self, destination: Destination) -> None:
        """A slot is free: who waited longest for one of this destination, or of the process, goes first."""
        for line in (destination.waiting, self.slots.waiting):
            for _ in range(min(len(line), _LOOKED_AT_MAX)):
                waiting = line.popleft()
                waiting.blocked = False
                before = waiting.in_flight
                self._pump(waiting)
                if waiting.overflow:
                    self._wake.ready(waiting.endpoint.id)
                if waiting.in_flight > before:
                    return

    # --------------------------------------------------------------------------------------------- giving back

    def _recorded(self, channel: Channel, job: Job) -> None:
        """The outcome is committed: the lease no longer counts."""
        if not job.handed_off:
            channel.leased_by_claim -= 1
            if channel.overflow:
                self._wake.ready(channel.endpoint.id)

    def unblocked(self) -> None:
        """Recording keeps up again."""
        self._ask(self.slots.waiting, len(self.slots.waiting))

    def next_in_line(self, destination: Destination) -> None:
        """There may be room at a destination although no attempt has ended there."""
        if destination.waiting:
            self._ask(destination.waiting, min(len(destination.waiting), _LOOKED_AT_MAX))

    def _ask(self, line: deque[Channel], count: int) -> None:
        for _ in range(count):
            channel = line.popleft()
            channel.blocked = False
            self._pump(channel)
            if channel.overflow:
                self._wake.ready(channel.endpoint.id)

    def sweep(self) -> None:
        """Release what has waited too long for a slot, or waits for an endpoint that is not open any more; forget
        what is deleted; ask those in line where nothing is in flight that would ask them when it ends."""
        now_s = self._clock.monotonic_s()
        for channel in list(self._channels.values()):
            if channel.queued:
                jobs = channel.take_older(now_s - UNSTARTED_S_MAX)
                if not channel.open(now_s) and not channel.health.failing:
                    jobs += channel.take_all()
                elif channel.health.failing:
                    jobs += channel.take_ordinary()
                self._give_up(channel, jobs)
            elif channel.endpoint.deleted and channel.idle:
                channel.destination.users -= 1
                del self._channels[channel.endpoint.id]
        for destination in self.destinations.idle():
            self.next_in_line(destination)
        if self.slots.waiting and not self._recorder.is_behind(now_s):
            self._ask(self.slots.waiting, min(len(self.slots.waiting), _LOOKED_AT_MAX))

    def stop(self) -> None:
        """No further hand-off or start; what has not started is released."""
        self.stopping = True
        for channel in self._channels.values():
            self._give_up(channel, channel.take_all())

    async def finished(self, grace_s: float) -> bool:
        """Wait until nothing is in flight, at most `grace_s`; whether that came about. What ends later is dropped."""
        if self.slots.in_flight:
            self._quiet = asyncio.Event()
            grace = asyncio.ensure_future(self._clock.sleep(grace_s))
            ended = asyncio.ensure_future(self._quiet.wait())
            await asyncio.wait([grace, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            grace.cancel()
        self._abandoned = self.slots.in_flight > 0
        return not self._abandoned

    def _give_up(self, channel: Channel, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        channel.overflow = True
        channel.destination.queued -= len(jobs)
        for job in jobs:
            if job.handed_off:
                self._unhanded(job.event)
            else:
                channel.leased_by_claim -= 1
        self._recorder.release([(job.delivery_id, job.fence, job.endpoint_id) for job in jobs])

    def _unhanded(self, event: Event) -> None:
        self._handed -= 1
        self._handed_bytes -= event.size_bytes
