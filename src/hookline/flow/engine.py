"""The engine: all of the flow, put together over its ports, with a beginning and an end.

start   store, registry, health; what a dead process left is taken back; then the loops
stop    the drain, in order: no claims and no hand-offs, unstarted leases released, attempts in flight until the
        grace ends, outcomes written (docs/reliability.md, rule 18)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from hookline.core.buckets import MakeBuckets, own
from hookline.core.confirm import PURPOSE, Tokens
from hookline.core.consent import CALLBACK_PURPOSE
from hookline.core.endpoint import Endpoint
from hookline.core.ids import IdMaker
from hookline.core.secret import Keyring
from hookline.flow.accept import Accept
from hookline.flow.admission import Admission
from hookline.flow.aside import Aside
from hookline.flow.awaited import Awaited
from hookline.flow.catalogue import Catalogue
from hookline.flow.confirm import Confirm, Settle
from hookline.flow.consume import CONSUMED_S_MAX, Consume
from hookline.flow.dead_letter import DeadLetters
from hookline.flow.deliver import Deliver
from hookline.flow.expire import Announcer, Expire
from hookline.flow.follow import Follow
from hookline.flow.health import HealthKeeper
from hookline.flow.intake import Intake
from hookline.flow.key_guard import FLUSH_S, KeyGuard
from hookline.flow.limits import Limits
from hookline.flow.quarantine import Quarantine
from hookline.flow.receive import Receive
from hookline.flow.received_events import ReceivedEvents
from hookline.flow.record import Recorder
from hookline.flow.registry import Registry
from hookline.flow.rejections import FLUSH_S as REJECTIONS_FLUSH_S
from hookline.flow.rejections import Rejections
from hookline.flow.replay_steps import Steps
from hookline.flow.replay_worker import ReplayWorker
from hookline.flow.report import Report
from hookline.flow.rescue import Rescue
from hookline.flow.reseal import Reseal
from hookline.flow.route import matches
from hookline.flow.send import Send
from hookline.flow.spool_drain import SpoolDrain
from hookline.flow.tell import Tell
from hookline.flow.try_out import TryOut
from hookline.flow.upkeep import Upkeep
from hookline.flow.verification import EVERY_S as VERIFY_EVERY_S
from hookline.flow.verification import Verification
from hookline.flow.waiting import ended_within
from hookline.flow.wake import Elsewhere, Wake
from hookline.flow.worker import Worker
from hookline.ports.clock import Clock
from hookline.ports.consumer import Broker
from hookline.ports.keys import Keys
from hookline.ports.observer import Observer
from hookline.ports.queue import Queue
from hookline.ports.sender import Sender
from hookline.ports.spool import Spool
from hookline.ports.store import Store

__all__ = ["Engine", "Limits"]

WRITTEN_S_MAX: Final = 10.0
"""How long a drain waits for the store to take what is left."""
SETTLE_EVERY_S: Final = 1.0
HINT_AGAIN_S: Final = 0.5
NOT_DELIVERING: Final = ("unfold", "key_uses", "rejections")
"""The steps of a process that only accepts and serves."""


class Engine:
    """The running flow of one process."""

    def __init__(
        self,
        store: Store,
        senders: Mapping[str, Sender],
        queue: Queue,
        keyring: Keyring,
        clock: Clock,
        observer: Observer,
        limits: Limits | None = None,
        keys: Keys | None = None,
        spool: Spool | None = None,
        buckets: MakeBuckets = own,
        brokers: Mapping[str, Broker] | None = None,
    ) -> None:
        """`keys` fetches what proves a sender of inbound requests; without it such a sender proves nothing. `spool`
        keeps requests of sources that ask for it while the store is away. `brokers`, by kind, are what sources are
        consumed from; None: this process consumes none."""
        bounds = limits or Limits()
        self.store, self.keys, self._buckets = store, keys, buckets
        self.senders = dict(senders)
        self.clock, self.observer, self.queue = clock, observer, queue
        self._keyring = keyring
        self.ids = IdMaker(clock.random_bytes(4))
        self.registry = Registry(store, keyring, observer)
        self.key_guard = KeyGuard(store, clock, observer, buckets)
        self.report = Report(store, self.registry, self.ids)
        self.delivers = bounds.delivers
        self.wake = Wake(clock, self._tenant_of) if self.delivers else Elsewhere(clock, self._tenant_of, queue)
        self.health = HealthKeeper(store, self.registry, self.report, self.wake, clock, observer)
        tell = self._tell()
        self.recorder = self._recorder(bounds, tell)
        tokens = keyring.tokens(PURPOSE)
        self.awaited = Awaited(clock)
        self.deliver = self._deliver(bounds, tokens)
        self.accept = self._accept(bounds)
        self.worker = Worker(store, self.deliver, self.recorder, self.wake, queue, clock, observer, self.accept.active)
        self.rescue = Rescue(store, self.registry, self.recorder, tell)
        self.upkeep = self._upkeep(bounds)
        self.upkeep.add("key_uses", self.key_guard.flush, FLUSH_S)
        self.rejections = self._rejections()
        self.intake = Intake(self.accept, spool, clock, observer)
        self._drain = None if spool is None else SpoolDrain(spool, self.accept, self.intake, clock, observer)
        self.received = ReceivedEvents(self.registry, self.ids, observer, strict=bounds.strict_types)
        self.receive, self.consume = self._receive(), self._consume(brokers)
        self.confirm = self._confirm(tell, tokens)
        self.catalogue = Catalogue(store)
        self.quarantine = self._quarantine()
        self.aside = Aside(
            self.senders, self.deliver.destinations, self.deliver.slots, self.deliver.next_in_line, clock, observer
        )
        self.verification = self._verification(bounds)
        self.upkeep.add("verify", self.verification.step, VERIFY_EVERY_S)
        self.replay_steps = Steps(store, self.registry, lambda event: matches(event, self.registry), self.ids)
        self.replays = self._replays(bounds)
        self.registry.watch(self._endpoint_changed)
        self.follow = self._follow() if bounds.shared else None
        self.deliver.unfold_wanted = lambda: self.upkeep.soon("unfold")
        self.upkeep.publishing = self.accept.active
        self._loops: list[asyncio.Task[Any]] = []
        self.draining = False

    def _recorder(self, bounds: Limits, tell: Tell) -> Recorder:
        return Recorder(
            self.store,
            self.registry,
            tell,
            self.health,
            self.wake,
            self.clock,
            self.observer,
            commits_in_flight=bounds.commits_in_flight,
            linger_s=bounds.record_linger_s,
        )

    def _accept(self, bounds: Limits) -> Accept:
        return Accept(
            self.store,
            self.registry,
            self.deliver,
            self.clock,
            self.observer,
            self.ids,
            strict=bounds.strict_types,
            dedupe_s=bounds.dedupe_s,
            commits_in_flight=bounds.commits_in_flight,
            gather_s=bounds.accept_gather_s,
            before_commit=self.recorder.hurry,
            buckets=self._buckets,
        )

    def _deliver(self, bounds: Limits, tokens: Tokens) -> Deliver:
        return Deliver(
            self.store,
            self.registry,
            self.senders,
            Send(self.senders, self.clock, self.observer, tokens, bounds.public_url, self.awaited),
            self.recorder,
            self.health,
            self.wake,
            self.queue,
            self.clock,
            self.observer,
            self.awaited,
            concurrency_max=bounds.concurrency_max,
            host_concurrency_max=bounds.host_concurrency_max,
            handoff_max=bounds.handoff_max if bounds.delivers else 0,
            hint_again_s=HINT_AGAIN_S if bounds.shared and bounds.delivers else None,
        )

    def _consume(self, brokers: Mapping[str, Broker] | None) -> Consume:
        more = (self.ids, brokers, self.clock, self.observer)
        return Consume(self.store, self.registry, self.accept, self.received, *more)

    def _receive(self) -> Receive:
        more = (self.ids, self.clock, self.observer, self._buckets)
        return Receive(
            self.store,
            self.registry,
            self.intake,
            Admission(self.store, self.registry, self.intake, self.rejections, *more),
            self.received,
            self.awaited,
            self.keys,
            self.ids,
            self.clock,
            self.observer,
        )

    def _replays(self, bounds: Limits) -> ReplayWorker:
        return ReplayWorker(
            self.store,
            self.registry,
            self.replay_steps,
            self.wake.notify,
            self._start_slowly,
            self.clock,
            self.observer,
            open_max=bounds.open_max,
        )

    def _tell(self) -> Tell:
        letters = DeadLetters(self.store, self.registry, self.ids, self.clock, self.observer)
        return Tell(self.store, self.report, letters, self.clock, self.observer)

    def _confirm(self, tell: Tell, tokens: Tokens) -> Confirm:
        confirm = Confirm(self.store, tokens)
        settle = Settle(
            self.store, self.registry, confirm, self.recorder, tell, self.health, self.deliver.channel, self.clock
        )
        confirm.wanted = lambda: self.upkeep.soon("settle")
        self.recorder.unconfirmed = confirm.is_unconfirmed
        self.upkeep.add("settle", settle.step, SETTLE_EVERY_S)
        return confirm

    def _rejections(self) -> Rejections:
        rejections = Rejections(self.store, self.ids, self.observer)
        self.upkeep.add("rejections", rejections.flush, REJECTIONS_FLUSH_S)
        return rejections

    def _quarantine(self) -> Quarantine:
        return Quarantine(
            self.store,
            self.registry,
            self.catalogue,
            self.ids,
            self.wake.notify,
            lambda: self.upkeep.soon("unfold"),
            self.observer,
        )

    def _verification(self, bounds: Limits) -> Verification:
        return Verification(
            self.store,
            self.registry,
            self.catalogue,
            self.aside,
            self._keyring.tokens(CALLBACK_PURPOSE),
            self.ids,
            self.clock,
            self.observer,
            self.wake.notify,
            bounds.public_url,
        )

    def try_out(self) -> TryOut:
        """The service that sends tests."""
        return TryOut(
            self.registry, self.catalogue, self.aside, self.ids, self.store.now_ms, self.clock, self.verification.accept
        )

    def _upkeep(self, bounds: Limits) -> Upkeep:
        announcer = Announcer(self.store, self.registry, self.report, self.wake, self.clock)
        expire = Expire(
            self.store,
            self.registry,
            self.rescue,
            announcer,
            self.observer,
            retention_s=bounds.retention_s,
        )
        return Upkeep(
            self.store,
            self.rescue,
            self.wake,
            self.clock,
            self.observer,
            expire,
            announcer,
            Reseal(self.store, self._keyring, self.clock, self.observer),
            open_max=bounds.open_max,
        )

    def _follow(self) -> Follow:
        follow = Follow(self.store, self.registry, self.health, self.deliver, self.wake, self.clock, self.observer)
        self.upkeep.mine = self.replays.mine = lambda: follow.first
        return follow

    def _endpoint_changed(self, _before: Endpoint | None, after: Endpoint) -> None:
        if after.deleted:
            self.upkeep.soon("close_deleted")

    def _start_slowly(self, endpoint_id: bytes) -> None:
        channel = self.deliver.channel(endpoint_id)
        if channel is not None:
            channel.slow.restart()

    def _tenant_of(self, endpoint_id: bytes) -> str | None:
        endpoint = self.registry.endpoint(endpoint_id)
        return None if endpoint is None else endpoint.tenant

    async def start(self) -> None:
        """Begin. Raises `StoreUnavailable` with the reason when the store cannot be used, `SpoolUnavailable`."""
        await self.store.start()
        await self.registry.refresh()
        if self._drain is not None:
            await self._drain.start()
            self._spawn(self._drain.run())
        for row in await self.store.healths():
            channel = self.deliver.channel(row.endpoint_id)
            if channel is not None:
                self.health.adopt(row, channel)
        if self.follow is not None:
            await self.follow.once()
            self._spawn(self.follow.run())
        if self.consume.can:
            self._spawn(self.consume.run())
        if not self.delivers:
            self._spawn(self.upkeep.run(NOT_DELIVERING))
            return
        while await self.upkeep.once("take_back"):
            pass
        for loop in (self.worker.poll(), self.worker.claims(), self.worker.hints(), self.worker.ticks()):
            self._spawn(loop)
        self._spawn(self.upkeep.run())
        self._spawn(self.replays.run())

    def _spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(loop)
        task.add_done_callback(self._loop_ended)
        self._loops.append(task)

    def _loop_ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or self.draining:
            return
        error = task.exception()
        if error is not None:
            # A loop never ends by itself: this is a defect, and going on half alive would hide it.
            self.observer.warn("loop_ended", error=repr(error))
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a loop of the engine ended", "exception": error, "task": task}
            )

    def start_drain(self) -> None:
        """Stop handing off and claiming; accepting goes on, into the store."""
        self.draining = True
        self.consume.stop()
        self.worker.stop()
        self.replays.stop()
        self.deliver.stop()
        self.awaited.close()

    async def stop(self, grace_s: float = 65.0) -> bool:
        """End in order; whether everything in flight ended within the grace."""
        self.start_drain()
        ended = await ended_within(self.consume.drained(), self.clock, CONSUMED_S_MAX)
        self.consume.abandon()
        self.accept.refuse_new()
        await self.verification.stop()
        ended &= await ended_within(self.receive.drained(), self.clock, WRITTEN_S_MAX)
        ended &= await ended_within(self.accept.drained(), self.clock, WRITTEN_S_MAX)
        if self._drain is not None:
            ended &= await self._drain.finish(WRITTEN_S_MAX)
        ended &= await ended_within(self.worker.drained(), self.clock, WRITTEN_S_MAX)
        ended &= await self.deliver.finished(grace_s)
        if not await ended_within(self.recorder.drained(), self.clock, WRITTEN_S_MAX):
            # The store does not take them: their leases are taken back at the next start.
            self.observer.warn("outcomes_left", at_least=self.recorder.abandon())
            ended = False
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for sender in self.senders.values():
            await sender.close()
        if self.keys is not None:
            await self.keys.close()
        await self.queue.close()
        await self.key_guard.close()
        await self.rejections.close()
        await self.store.stop()
        return ended
