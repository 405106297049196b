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

from hookline.core.attempt import Outcome, Timing
from hookline.core.delivery import LEASE_MARGIN_S, START_MARGIN_S, UNSTARTED_S_MAX
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
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
    """The slots of this process. All methods but `release` are synchronous and run on the loop."""

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
        *,
        concurrency_max: int = 2048,
        host_concurrency_max: int = 64,
        handoff_max: int = 4096,
    ) -> None:
        self._store = store
        self._registry = registry
        self._send = send.one
        self._recorder = recorder
        self._health = health
        self._wake = wake
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self.slots = Slots(concurrency_max, host_concurrency_max, lambda: recorder.behind)
        self._handoff_max = handoff_max
        self._channels: dict[bytes, Channel] = {}
        self.destinations = Destinations(senders, observer)
        self._tasks: set[asyncio.Task[None]] = set()
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
        channel.endpoint = after
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

    def lease(self, endpoint: Endpoint, event: Event) -> float | None:
        """Reserve room for a hand-off; None: it is to be claimed from the store."""
        if self.stopping or endpoint.rate is not None or not endpoint.state.delivers:
            return None
        if self._handed >= self._handoff_max or self._handed_bytes > HANDOFF_BYTES_MAX or self._recorder.behind:
            return None
        channel = self.channel(endpoint.id)
        if channel is None or channel.overflow:
            return None
        now_s = self._clock.monotonic_s()
        if channel.window(now_s) < 1 or not channel.open(now_s):
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

    def start(self, endpoint_id: bytes, event: Event, ordinal: int, lease_s: float) -> None:
        """The delivery is committed as leased by us: send it as soon as a slot is free."""
        now_s = self._clock.monotonic_s()
        job = Job(
            delivery_id=event.id + ordinal.to_bytes(4, "big"),
            fence=1,
            endpoint_id=endpoint_id,
            event=event,
            tries=0,
            attempts=0,
            lane=event.ordering_key,
            lease_until_s=now_s + lease_s,
            since_s=now_s,
            handed_off=True,
        )
        channel = self._channels[endpoint_id]
        channel.reserved -= 1
        channel.destination.queued += 1
        channel.handed.append(job)
        if not self.stopping and channel.open(now_s):
            self._pump(channel)
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
        if not channel.overflow:
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

    def _pump(self, channel: Channel) -> None:
        """Start what may start."""
        while channel.queued and self.slots.free(channel):
            job = channel.next_job()
            assert job is not None
            if not self._startable(channel, job):
                continue
            self._begin(channel, job)
            # The task runs a turn of the loop later: the endpoint may be another one by then, or not be sent to.
            slot = self._slot(channel, job, channel.endpoint, channel.destination)
            task = asyncio.get_running_loop().create_task(slot)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _startable(self, channel: Channel, job: Job) -> bool:
        """Whether this one may still be sent; otherwise it is released."""
        now_s = self._clock.monotonic_s()
        endpoint = channel.endpoint
        left_s = job.lease_until_s - now_s
        probing = job.probe and endpoint.state.delivers and not endpoint.deleted
        if left_s >= endpoint.timeout_s + START_MARGIN_S and (probing or channel.open(now_s)):
            return True
        self._give_up(channel, [job])
        return False

    def _begin(self, channel: Channel, job: Job) -> None:
        self.slots.take(channel)
        if job.handed_off:
            self._unhanded(job.event)

    async def _slot(self, channel: Channel, job: Job, endpoint: Endpoint, destination: Destination) -> None:
        """One slot: sends its job, then the next of the same channel, until there is none or others wait."""
        current: Job | None = job
        while current is not None:
            started_ms = self._store.now_ms()
            started_s = self._clock.monotonic_s()
            outcome = await self._send(endpoint, current)
            now_s = self._clock.monotonic_s()
            self.slots.give(channel, destination)
            channel.finished(now_s)
            if not outcome.timing.total_us:
                outcome.timing = Timing(total_us=int((now_s - started_s) * 1e6))
            self._ended(channel, endpoint, current, outcome, started_ms)
            current = self._next(channel, destination)
            endpoint, destination = channel.endpoint, channel.destination
            if channel.overflow:
                self._wake.ready(channel.endpoint.id)

    def _ended(self, channel: Channel, endpoint: Endpoint, job: Job, outcome: Outcome, started_ms: int) -> None:
        try:
            self._recorder.outcome(channel, endpoint, job, outcome, started_ms)
        except Exception as error:  # noqa: BLE001 - the slot goes on; the lease ends by itself and is taken back
            self._observer.warn("outcome_defect", endpoint=endpoint.public_id, error=repr(error))
            self._recorded(channel, job)

    def _next(self, channel: Channel, destination: Destination) -> Job | None:
        others = self._unblock(destination)
        if others or not channel.queued:
            if channel.queued:
                self._pump(channel)
            return None
        while channel.queued and self.slots.free(channel):
            job = channel.next_job()
            assert job is not None
            if self._startable(channel, job):
                self._begin(channel, job)
                if channel.queued:
                    self._pump(channel)  # after a success there may be a slot more
                return job
        return None

    def _unblock(self, destination: Destination) -> bool:
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
                    return True
        return False

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
        if self.slots.waiting and not self._recorder.behind:
            self._ask(self.slots.waiting, min(len(self.slots.waiting), _LOOKED_AT_MAX))

    def stop(self) -> None:
        """No further hand-off or start; what has not started is released."""
        self.stopping = True
        for channel in self._channels.values():
            self._give_up(channel, channel.take_all())

    async def finished(self, grace_s: float) -> bool:
        """Wait until nothing is in flight, at most `grace_s`; whether that came about."""
        tasks = list(self._tasks)
        if tasks:
            grace = asyncio.ensure_future(self._clock.sleep(grace_s))
            ended = asyncio.ensure_future(asyncio.wait(tasks))
            await asyncio.wait([grace, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            grace.cancel()
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return not left

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
