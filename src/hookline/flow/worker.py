"""The worker: claims what is due and gives it to the sender, until it is told to drain.

It asks the store only for endpoints that are said to have something due (`flow.wake`), within the slots that are
free, tenants in turn; a poll every ten seconds finds what nobody said.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hookline.core.delivery import LEASE_MARGIN_S
from hookline.core.errors import HooklineError, StoreUnavailable
from hookline.flow.channel import Channel, Destination
from hookline.flow.deliver import Deliver
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.queue import Queue
from hookline.ports.store import ClaimEntry, ClaimResult, Store

ENTRIES_MAX: Final = 256
SLOTS_MAX: Final = 1000
POLL_S: Final = 10.0
TICK_S: Final = 0.5
FAILED_S: Final = 0.5


class Worker:
    """The loops that claim. `run` returns when cancelled or told to stop."""

    def __init__(
        self, store: Store, deliver: Deliver, wake: Wake, queue: Queue, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._wake = wake
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self._stopping = False
        self.busy = False
        """A claim is in flight."""

    async def claims(self) -> None:
        """Claim what is due, for ever."""
        while not self._stopping:
            self._wake.changed.clear()
            self._wake.promote()
            entries = self._entries()
            if not entries:
                await self._wait()
                continue
            self.busy = True
            try:
                self._take(entries, await self._store.claim(entries))
            except StoreUnavailable as error:
                await self._failed(error, entries)
            finally:
                self.busy = False

    async def hints(self) -> None:
        """Claim what the queue's messages name, for ever."""
        while not self._stopping:
            message = await self._queue.receive()
            try:
                owners = await self._store.endpoints_of(message.delivery_ids)
                asked: dict[Destination, int] = {}
                entries = [e for e in (self._entry(endpoint_id, asked) for endpoint_id in set(owners.values())) if e]
                if entries:
                    result = await self._store.claim_ids(list(owners), entries)
                    self._deliver.claimed(result.claimed)
                for endpoint_id in set(owners.values()):
                    # What had no free slot is found by endpoint as slots come free.
                    self._wake.ready(endpoint_id)
            except StoreUnavailable as error:
                await self._failed(error, [])
            await self._queue.acknowledge(message)

    async def poll(self) -> None:
        """Find what nobody said is due, every ten seconds and at the start."""
        while not self._stopping:
            try:
                self._wake.notify(await self._store.due())
            except StoreUnavailable as error:
                await self._failed(error, [])
            await self._clock.sleep(POLL_S)

    async def ticks(self) -> None:
        """Release what could not start."""
        while not self._stopping:
            await self._clock.sleep(TICK_S)
            self._deliver.sweep()

    def stop(self) -> None:
        """No further claim."""
        self._stopping = True
        self._wake.changed.set()

    # -------------------------------------------------------------------------------------------------- entries

    def _entries(self) -> list[ClaimEntry]:
        entries: list[ClaimEntry] = []
        asked: dict[Destination, int] = {}
        slots = SLOTS_MAX
        if self._deliver.stopping:
            return entries
        # Each ready endpoint is looked at once: one without a free slot comes back when a slot is free.
        for endpoint_id in self._wake.take(min(ENTRIES_MAX, self._wake.ready_count)):
            entry = self._entry(endpoint_id, asked) if slots > 0 else None
            if entry is not None:
                entries.append(entry)
                slots -= entry.slots
            elif slots <= 0:
                self._wake.ready(endpoint_id)
        return entries

    def _entry(self, endpoint_id: bytes, asked: dict[Destination, int]) -> ClaimEntry | None:
        """What may be claimed for an endpoint now; None: nothing, and it is noted when to look again."""
        channel = self._deliver.channel(endpoint_id)
        if channel is None:
            return None
        endpoint = channel.endpoint
        channel.overflow = True
        if not endpoint.state.delivers or endpoint.deleted:
            return None
        now_s = self._clock.monotonic_s()
        if channel.wait_until_s > now_s:
            self._wake.at(endpoint_id, channel.wait_until_s - now_s)
            return None
        probe = channel.health.failing
        if probe:
            slots = self._probe_slots(channel, now_s)
        else:
            slots = channel.claim_slots()
            if slots > 0:
                slots = min(slots, self._deliver.slots.room(channel, asked.get(channel.destination, 0)))
        if slots <= 0:
            return None
        asked[channel.destination] = asked.get(channel.destination, 0) + slots
        return ClaimEntry(
            endpoint_id=endpoint_id,
            slots=slots,
            lease_s=endpoint.timeout_s + LEASE_MARGIN_S,
            concurrency_max=endpoint.concurrency_max,
            rate=endpoint.rate,
            probe=probe,
        )

    def _probe_slots(self, channel: Channel, now_s: float) -> int:
        if channel.in_flight or channel.queued:
            return 0
        if channel.probe_at_s is not None and channel.probe_at_s > now_s:
            self._wake.at(channel.endpoint.id, channel.probe_at_s - now_s)
            return 0
        return 1

    def _take(self, entries: list[ClaimEntry], result: ClaimResult) -> None:
        for entry in entries:
            channel = self._deliver.channel(entry.endpoint_id)
            if channel is None:
                continue
            next_s = result.next_due_s.get(entry.endpoint_id)
            if next_s is None or next_s > 0:
                # A claim that still had slots left found nothing more due: hand-offs may begin again.
                channel.overflow = entry.probe
                if next_s is not None:
                    self._wake.at(entry.endpoint_id, next_s)
        self._deliver.claimed(result.claimed)
        for entry in entries:
            if result.next_due_s.get(entry.endpoint_id) == 0:
                channel = self._deliver.channel(entry.endpoint_id)
                if channel is not None and not entry.probe and self._more(channel, result, entry):
                    self._wake.ready(entry.endpoint_id)

    def _more(self, channel: Channel, result: ClaimResult, entry: ClaimEntry) -> bool:
        """More is due and slots are free already: go on at once. Otherwise a freed slot says so."""
        got = any(row.endpoint_id == entry.endpoint_id for row in result.claimed)
        return got and channel.claim_slots() > 0

    # --------------------------------------------------------------------------------------------------- waiting

    async def _wait(self) -> None:
        wait_s = self._wake.next_s()
        if self._wake.changed.is_set():
            return
        if wait_s is None:
            await self._wake.changed.wait()
            return
        changed = asyncio.ensure_future(self._wake.changed.wait())
        slept = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait({changed, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            slept.cancel()

    async def _failed(self, error: HooklineError, entries: list[ClaimEntry]) -> None:
        self._observer.warn("claim_failed", error=str(error))
        await self._clock.sleep(FAILED_S)
        for entry in entries:
            self._wake.ready(entry.endpoint_id)
