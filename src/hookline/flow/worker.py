"""The worker: claims what is due and gives it to the sender, until it is told to drain.

It asks the store only for endpoints that are said to have something due (`flow.wake`), within the slots that are
free, tenants in turn; a poll every ten seconds finds what nobody said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from hookline.core import ids
from hookline.core.delivery import LEASE_MARGIN_S
from hookline.core.errors import StoreUnavailable
from hookline.flow.channel import Channel, Destination
from hookline.flow.deliver import Deliver
from hookline.flow.record import Recorder
from hookline.flow.waiting import wait_for_set
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.queue import Queue
from hookline.ports.store import ClaimEntry, ClaimResult, Store

ENTRIES_MAX: Final = 256
SLOTS_MAX: Final = 1000
BESIDE_ENTRIES_MAX: Final = 32
BESIDE_SLOTS_MAX: Final = 64
"""So much is claimed at once while somebody publishes: what a claim brings is begun in one go, and a publish that comes
meanwhile waits for its end."""
POLL_S: Final = 10.0
DEAF_POLL_S: Final = 0.5
"""While the queue does not hear what other processes say."""
TICK_S: Final = 0.5
FAILED_S: Final = 0.5


class Worker:
    """The loops that claim. `run` returns when cancelled or told to stop."""

    def __init__(
        self,
        store: Store,
        deliver: Deliver,
        recorder: Recorder,
        wake: Wake,
        queue: Queue,
        clock: Clock,
        observer: Observer,
        publishing: Callable[[], bool],
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._recorder = recorder
        self._deliver = deliver
        self._wake = wake
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self._stopping = False
        self._claiming = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def busy(self) -> bool:
        """A claim is in flight."""
        return self._claiming > 0

    async def drained(self) -> None:
        """Return when no claim is in flight."""
        await self._idle.wait()

    async def claims(self) -> None:
        """Claim what is due, for ever."""
        await self._for_ever("claims", self._claim_once)

    async def hints(self) -> None:
        """Claim what the queue's messages name, for ever."""
        await self._for_ever("hints", self._hint_once)

    async def poll(self) -> None:
        """Find what nobody said is due, every ten seconds and at the start."""
        await self._for_ever("poll", self._poll_once)

    async def ticks(self) -> None:
        """Release what could not start, twice a second; ask again those who wait in a line that nobody moves."""
        await self._for_ever("ticks", self._tick_once)

    async def _for_ever(self, name: str, once: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            try:
                await once()
            except StoreUnavailable as error:
                self._observer.warn(f"{name}_failed", code=error.code, error=str(error))
                await self._clock.sleep(FAILED_S)
            except Exception as error:  # noqa: BLE001 - a loop that ended silently would be the worst of failures
                self._observer.warn(f"{name}_defect", error=repr(error))
                await self._clock.sleep(FAILED_S)

    async def _claim_once(self) -> None:
        self._wake.changed.clear()
        self._wake.promote()
        entries = self._entries()
        if entries:
            await self._claim(entries)
        elif self._wake.ready_count and not self._deliver.stopping:
            await asyncio.sleep(0)  # the first 256 had no slot; the others are ready too
        else:
            await self._wait()

    async def _claim(self, entries: list[ClaimEntry]) -> None:
        try:
            with self._in_flight():
                asked_s = self._clock.monotonic_s()
                self._take(entries, await self._store.claim(entries), asked_s)
        except StoreUnavailable as error:
            self._observer.warn("claim_failed", code=error.code, error=str(error))
            await self._clock.sleep(FAILED_S)
            for entry in entries:
                self._wake.ready(entry.endpoint_id)
        except Exception as error:  # noqa: BLE001 - one row that cannot be read must not stop the other endpoints
            if len(entries) > 1:
                half = len(entries) // 2
                await self._claim(entries[:half])
                await self._claim(entries[half:])
                return
            self._observer.warn("claim_defect", endpoint=entries[0].endpoint_id.hex(), error=repr(error))
            self._wake.at(entries[0].endpoint_id, POLL_S)

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        self._claiming += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._claiming -= 1
            if not self._claiming:
                self._idle.set()

    async def _hint_once(self) -> None:
        message = await self._queue.receive()
        if self._stopping:
            return
        owners = {one for one in message.delivery_ids if len(one) == ids.ROOT_BYTES}
        try:
            named: dict[bytes, bytes] = {}
            with self._in_flight():
                if len(owners) < len(message.delivery_ids):
                    named = await self._store.endpoints_of([one for one in message.delivery_ids if one not in owners])
                    owners.update(named.values())
                asked: dict[Destination, int] = {}
                entries = [e for e in (self._entry(one, asked) for one in set(named.values())) if e]
                if entries:
                    asked_s = self._clock.monotonic_s()
                    result = await self._store.claim_ids(list(named), entries)
                    self._deliver.claimed(result.claimed, asked_s)
        finally:
            for endpoint_id in owners:
                # What had no free slot is found by endpoint as slots come free.
                self._wake.ready(endpoint_id)
            await self._queue.acknowledge(message)

    async def _poll_once(self) -> None:
        self._wake.notify(await self._store.due())
        await self._clock.sleep(POLL_S if self._queue.hears else DEAF_POLL_S)

    async def _tick_once(self) -> None:
        await self._clock.sleep(TICK_S)
        self._deliver.sweep()
        await self._recorder.tidy()

    def stop(self) -> None:
        """No further claim."""
        self._stopping = True
        self._wake.changed.set()

    # -------------------------------------------------------------------------------------------------- entries

    def _entries(self) -> list[ClaimEntry]:
        entries: list[ClaimEntry] = []
        asked: dict[Destination, int] = {}
        beside = self._publishing()
        slots = BESIDE_SLOTS_MAX if beside else SLOTS_MAX
        most = BESIDE_ENTRIES_MAX if beside else ENTRIES_MAX
        if self._deliver.stopping:
            return entries
        # Each ready endpoint is looked at once: one without a free slot comes back when a slot is free.
        for endpoint_id in self._wake.take(min(most, self._wake.ready_count)):
            entry = self._entry(endpoint_id, asked, slots) if slots > 0 else None
            if entry is not None:
                entries.append(entry)
                slots -= entry.slots
            elif slots <= 0:
                self._wake.ready(endpoint_id)
        return entries

    def _entry(
        self, endpoint_id: bytes, asked: dict[Destination, int], slots_max: int = SLOTS_MAX
    ) -> ClaimEntry | None:
        """What may be claimed for an endpoint now; None: nothing, and it is noted when to look again."""
        channel = self._deliver.channel(endpoint_id)
        if channel is None:
            return None
        endpoint = channel.endpoint
        channel.overflow = True
        if not endpoint.state.delivers or endpoint.deleted or channel.disabling:
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
                slots = min(slots, self._deliver.slots.room(channel, asked.get(channel.destination, 0), now_s))
        if slots <= 0:
            return None
        slots = min(slots, slots_max)
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

    def _take(self, entries: list[ClaimEntry], result: ClaimResult, asked_s: float) -> None:
        destinations: dict[Destination, None] = {}
        for entry in entries:
            channel = self._deliver.channel(entry.endpoint_id)
            if channel is None:
                continue
            destinations[channel.destination] = None
            next_s = result.next_due_s.get(entry.endpoint_id)
            if next_s is None or next_s > 0:
                # A claim that still had slots left found nothing more due: hand-offs may begin again.
                channel.overflow = entry.probe
                if next_s is not None:
                    self._wake.at(entry.endpoint_id, next_s)
        self._deliver.claimed(result.claimed, asked_s)
        got = {row.endpoint_id for row in result.claimed}
        for entry in entries:
            if result.next_due_s.get(entry.endpoint_id) != 0:
                continue
            channel = self._deliver.channel(entry.endpoint_id)
            if channel is not None:
                self._more(channel, entry, got)
        for destination in destinations:
            # Room that was asked for and not used is for those who were put in line because of it.
            self._deliver.next_in_line(destination)

    def _more(self, channel: Channel, entry: ClaimEntry, got: set[bytes]) -> None:
        """More is due than was claimed: go on at once if slots are free; otherwise a freed slot says so."""
        if entry.endpoint_id in got:
            if not entry.probe and channel.claim_slots() > 0:
                self._wake.ready(entry.endpoint_id)
        elif not (channel.in_flight or channel.queued or channel.leased_by_claim):
            # Nothing of it will end here and say that there is room again. If others got something, its turn may not
            # have come, the claim being full of their bytes; otherwise its cap is used up elsewhere.
            self._wake.at(entry.endpoint_id, 0 if got else FAILED_S)

    # --------------------------------------------------------------------------------------------------- waiting

    async def _wait(self) -> None:
        wait_s = self._wake.next_s()
        if self._wake.changed.is_set():
            return
        if wait_s is None:
            await self._wake.changed.wait()
            return
        await wait_for_set(self._wake.changed, self._clock, wait_s)
