"""The live view: who reads along gets what was committed, in order, each entry once.

    catching up   a reader with a position reads its own pages from the store, up to where the tailer is
    following     one tailer per process reads the store for all of them and fills their bounded buffers
    over          cut off (its buffer is full), closed (the drain), failed; it gets what it has, except at a drain

The tailer runs only while somebody reads, and asks the store ten times a second: accepting and delivering know
nothing of it. Whoever is over comes back with its position and misses nothing (docs/reliability.md, rule 30).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from hookline.core import ids
from hookline.core.errors import NotFound, Refusal, StoreUnavailable
from hookline.flow.registry import Registry
from hookline.flow.stream_entry import Item, Reset, Show, Wanted
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Entry, Stream

READERS_MAX: Final = 100
"""In one process."""
TENANT_READERS_MAX: Final = 20
"""Of one tenant, by whatever keys: no tenant can take the places of the others."""
OPERATOR_READERS: Final = 20
"""Places that are kept for readers of all tenants."""
BUFFER_ENTRIES_MAX: Final = 1000
BUFFER_BYTES_MAX: Final = 1024 * 1024
PAGE: Final = 200
"""Entries of one read: so many are made ready before the loop turns to others."""
POLL_S: Final = 0.1
RETRY_S: Final = 1.0
"""After a read that the store could not serve."""
_PAGES_FRESH_MAX: Final = 50
_READERS_A_TURN: Final = 8


class Reader:
    """One who reads along. `close` must be called; reading is for one task."""

    def __init__(self, live: Live, wanted: Wanted) -> None:
        self._live = live
        self._wanted = wanted
        self.position = b""
        """Whoever resumes here misses nothing and gets nothing twice; to be looked at when `read` gave nothing."""
        self.over: str | None = None
        """Why nothing more will come, once what is buffered was read: `cut_off`, `closed`, `failed`, `gone`."""
        self._behind = b""
        """All up to here is in the buffer, was read, or is not wanted."""
        self._following = False
        self._near = False
        self._buffer: deque[Item | Reset] = deque()
        self._buffer_bytes = 0
        self._wake: asyncio.Future[None] | None = None

    @property
    def tenant(self) -> str | None:
        """Whose entries it reads; None: all tenants'."""
        return self._wanted.tenant

    async def read(self, wait_s: float) -> Sequence[Item | Reset]:
        """What came, at most 200 entries; nothing when `wait_s` passed without, or when it is `over`."""
        if not self._following and self.over is None:
            items = await self._catch_up(wait_s)
            if items or not self._following:
                return items
        if not self._buffer and self.over is None:
            await self._woken(wait_s)
        taken = [self._buffer.popleft() for _ in range(min(PAGE, len(self._buffer)))]
        if self._buffer:
            self._buffer_bytes -= sum(item.size_bytes for item in taken)
            self.position = taken[-1].position
        else:
            self._buffer_bytes = 0
            self.position = self._behind
        return taken

    def close(self) -> None:
        """Leave; what is buffered is dropped."""
        self.end("gone")
        self._buffer.clear()
        self._live.leave(self)

    def end(self, why: str) -> None:
        """Nothing more comes."""
        if self.over is None:
            self.over = why
            self._live.followers.discard(self)
        if why == "closed":
            self._buffer.clear()
        self._wake_up()

    def follow(self, position: bytes) -> None:
        """From `position`, where the tailer is, the tailer fills the buffer. For `Live`, which holds its lock."""
        self._behind = self.position = position
        self._following = True
        if self.over is None:
            self._live.followers.add(self)

    def resume(self, position: bytes) -> None:
        """It catches up from `position`."""
        self._behind = self.position = position

    def take(self, items: Sequence[Item | Reset], position: bytes) -> None:
        """The tailer has these; all up to `position` are among them. Too much ends it: nothing is left out."""
        wanted = self._wanted
        for item in items:
            if isinstance(item, Item) and not wanted.wants(item):
                continue
            size_bytes = item.size_bytes
            if len(self._buffer) == self._live.entries_max or self._buffer_bytes + size_bytes > self._live.bytes_max:
                self._live.cut_offs += 1
                self.end("cut_off")
                return
            self._buffer.append(item)
            self._buffer_bytes += size_bytes
            self._behind = item.position
        self._behind = position
        if self._buffer:
            self._wake_up()
        else:
            self.position = position

    async def _catch_up(self, wait_s: float) -> Sequence[Item | Reset]:
        """Read pages until there is something to give, or the tailer is reached."""
        until_s = self._live.clock.monotonic_s() + wait_s
        while self.over is None and not self._following:
            try:
                page = await self._page()
            except NotFound:
                return await self._start_over()
            except StoreUnavailable:
                self.end("failed")
                return ()
            self.position = self._behind
            items = [item for item in map(self._live.item, page) if self._wanted.wants(item)]
            if items or self._live.clock.monotonic_s() >= until_s:
                return items
        return ()

    async def _page(self) -> Sequence[Entry]:
        """The next page of its own. The last one is read while the tailer stands still, so that both meet."""
        live = self._live
        if not self._near:
            page = await live.store.stream(self._behind, PAGE, live.at)
            self._near = len(page) < PAGE
        else:
            async with live.lock:
                page = await live.store.stream(self._behind, PAGE, live.at)
                if not page or page[-1].position == live.at:
                    self.follow(live.at)
                    return page
                self._near = len(page) < PAGE
        if page:
            self._behind = page[-1].position
        return page

    async def _start_over(self) -> Sequence[Reset]:
        async with self._live.lock:
            if self.over is not None:
                return ()
            self.follow(self._live.at)
            return (Reset(self._live.at),)

    async def _woken(self, wait_s: float) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        slept = asyncio.ensure_future(self._live.clock.sleep(wait_s))
        try:
            await asyncio.wait((self._wake, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wake = None
            slept.cancel()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Live:
    """All readers of this process, and their tailer."""

    def __init__(
        self,
        store: Stream,
        registry: Registry,
        clock: Clock,
        observer: Observer,
        show: Show,
        *,
        readers_max: int = READERS_MAX,
        entries_max: int = BUFFER_ENTRIES_MAX,
        bytes_max: int = BUFFER_BYTES_MAX,
    ) -> None:
        self.store = store
        self.clock = clock
        self._registry = registry
        self.entries_max = entries_max
        self.bytes_max = bytes_max
        self.lock = asyncio.Lock()
        """Held while the tailer reads and hands on, and while a reader meets it."""
        self.at = b""
        """Where the tailer is: all up to here was handed to the followers. Empty: nobody reads."""
        self.followers: set[Reader] = set()
        self.cut_offs = 0
        """Readers that were too slow, since the start."""
        self._observer = observer
        self._show = show
        self._readers_max = readers_max
        self._readers: set[Reader] = set()
        self._tailer: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def readers(self) -> int:
        """How many read along now."""
        return len(self._readers)

    async def endpoint_id(self, tenant: str, reference: str, *, every_tenant: bool) -> bytes:
        """The endpoint that an `ep_…` or a uid of the tenant names. With `every_tenant` an `ep_…` may be any tenant's.

        Raises `NotFound`.
        """
        await self._registry.refresh()
        endpoint = self._registry.endpoint_of(tenant, reference)
        if endpoint is None and every_tenant:
            endpoint = self._registry.endpoint(ids.parse(ids.ENDPOINT, reference) or b"")
        if endpoint is None:
            raise NotFound("no such endpoint")
        return endpoint.id

    def item(self, entry: Entry) -> Item:
        """An entry for readers."""
        return Item(entry, self._show)

    async def open(self, wanted: Wanted, after: bytes | None, *, known: bool = True) -> Reader:
        """A new reader, from `after` on (None: from now). `known` is False for a position that was not even readable:
        it is told so by a `reset`, like for one that the store cannot resume.

        Raises `Refusal` (`overloaded`, `draining`) and `StoreUnavailable`.
        """
        if self._closed:
            raise Refusal("draining", "This process is stopping; come back.", retry_after_s=1)
        self._find_room(wanted.tenant)
        reader = Reader(self, wanted)
        self._readers.add(reader)
        try:
            await self._bring_up()
            if known and after is not None:
                reader.resume(after)
            else:
                async with self.lock:
                    reader.follow(self.at)
                    if not known:
                        reader.take((Reset(self.at),), self.at)
                        reader.position = b""  # it is not there before it was told
        except BaseException:
            reader.close()
            raise
        return reader

    def _find_room(self, tenant: str | None) -> None:
        """Raises `Refusal` where there is no place for one more reader of this tenant (None: of all)."""
        full = f"{self._readers_max} readers follow already"
        room = len(self._readers) < self._readers_max
        if tenant is not None and room:
            of_tenants = [reader.tenant for reader in self._readers if reader.tenant is not None]
            if of_tenants.count(tenant) >= TENANT_READERS_MAX:
                full, room = f"{TENANT_READERS_MAX} readers of this tenant follow already", False
            elif len(of_tenants) >= max(1, self._readers_max - OPERATOR_READERS):
                full, room = "All places for readers of one tenant are taken", False
        if not room:
            raise Refusal("overloaded", f"{full}; come back.", retry_after_s=5)

    def leave(self, reader: Reader) -> None:
        """A reader is gone; with the last one the tailer ends."""
        self._readers.discard(reader)
        if not self._readers and self._tailer is not None:
            self._tailer.cancel()
            self._tailer = None
            self.at = b""

    def close(self) -> None:
        """Every reader is over at once, and no other comes in: the drain does not wait for them."""
        self._closed = True
        for reader in tuple(self._readers):
            reader.end("closed")

    async def _bring_up(self) -> None:
        """Bring the tailer to what is committed now, so that no position given out lies ahead of it."""
        async with self.lock:
            if not self.at:
                self.at = await self.store.stream_end()
        for _ in range(_PAGES_FRESH_MAX):
            async with self.lock:
                if not await self._advance():
                    break
        if self._tailer is None:
            self._tailer = asyncio.get_running_loop().create_task(self._tail(), name="stream-tailer")
            self._tailer.add_done_callback(self._tailer_ended)

    async def _tail(self) -> None:
        while True:
            await self.clock.sleep(POLL_S)
            try:
                more = True
                while more:
                    async with self.lock:
                        more = await self._advance()
            except StoreUnavailable:
                await self.clock.sleep(RETRY_S)

    async def _advance(self) -> bool:
        """Read a page and hand it on; whether there may be more. The caller holds the lock."""
        try:
            page = await self.store.stream(self.at, PAGE)
        except NotFound:
            # What is not kept any longer was not read in time: the store was away for a day.
            self.at = await self.store.stream_end()
            await self._hand_on([Reset(self.at)], self.at)
            return False
        if page:
            await self._hand_on([self.item(entry) for entry in page], page[-1].position)
        return len(page) == PAGE

    async def _hand_on(self, items: Sequence[Item | Reset], position: bytes) -> None:
        waiting = list(self.followers)
        self.at = position
        try:
            while waiting:
                if waiting[-1] in self.followers:
                    waiting[-1].take(items, position)
                waiting.pop()
                if len(waiting) % _READERS_A_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            for reader in waiting:  # cut short: they come back for it
                reader.end("failed")

    def _tailer_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._observer.warn("stream_failed", error=repr(error))
        if self._tailer is task:
            self._tailer = None
            self.at = b""
        for reader in tuple(self._readers):
            reader.end("failed")
