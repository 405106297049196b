"""Shared commits: what arrives while a commit runs goes together into the next one.

Accepting and recording both pay one fsync for many. What waits is taken round robin by tenant, so that a tenant
who floods does not put the others behind himself (docs/reliability.md, rule 4).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from hookline.ports.clock import Clock

T = TypeVar("T")

COMMIT_ITEMS_MAX = 1000
COMMIT_BYTES_MAX = 4 * 1024 * 1024
LINGER_ENTRIES_MAX = 128
"""With so many waiting nobody waits for others to come."""
BUSY_ENTRIES_MIN = 4
BUSY_S_MAX = 0.02
"""A batch of fewer entries, or one so long ago, says that there is nobody to wait for."""


class SharedCommits(Generic[T]):
    """Collects entries and gives them to `commit` in batches, at most `in_flight_max` batches at once.

    `commit` must not raise; whatever becomes of an entry is its own to tell. An entry is never divided: it counts
    `items` and `size_bytes` against the bounds of a batch, and the one that passes a bound is the batch's last.

    An entry that is not urgent waits up to `linger_s` for others to share its commit with, and for another kind of
    commit to share the fsync with: `before` is called when a batch of this kind is about to be taken, so that it can
    say `hurry` to those. While many come, an urgent one waits for as many as the last batch had, `gather_s` at most: a
    commit costs what many entries cost, and who comes alone waits for nobody.
    """

    def __init__(
        self,
        commit: Callable[[list[T]], Awaitable[None]],
        clock: Clock,
        *,
        in_flight_max: int = 1,
        linger_s: float = 0.0,
        gather_s: float = 0.0,
        before: Callable[[], None] | None = None,
    ) -> None:
        self._commit = commit
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._linger_s = linger_s
        self._lingering: asyncio.Task[None] | None = None
        self._urgent = False
        """Whether anything that waits is urgent."""
        self._gather_s = gather_s
        self._last_entries = 0
        self._last_s = 0.0
        """The last batch: how many entries, and when it was taken."""
        self._before = before
        self._tenants: OrderedDict[str, deque[tuple[T, int, int, float]]] = OrderedDict()
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.waiting = 0
        self.waiting_bytes = 0
        self.oldest_wait_s = 0.0
        """How long the oldest entry of the batch taken last had waited."""

    def put(self, tenant: str, entry: T, items: int, size_bytes: int, now_s: float, *, urgent: bool = True) -> None:
        """Add an entry, at `now_s` of the monotonic clock; it commits soon."""
        queue = self._tenants.get(tenant)
        if queue is None:
            queue = self._tenants[tenant] = deque()
        queue.append((entry, items, size_bytes, now_s))
        self.waiting += 1
        self.waiting_bytes += size_bytes
        if urgent:
            self._urgent = True
        if not self._scheduled and len(self._tasks) < self._in_flight_max:
            self._soon(now_s)

    def hurry(self) -> None:
        """Nothing that waits is to wait for others any longer."""
        if self.waiting and not self._scheduled and len(self._tasks) < self._in_flight_max:
            self._flush()

    def _soon(self, now_s: float) -> None:
        self._quiet.clear()
        wait_s = self._wait_s(now_s)
        if wait_s <= 0:
            # call_soon, not now: everything that this turn of the loop brings shares the commit.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        elif self._lingering is None:
            self._lingering = asyncio.get_running_loop().create_task(self._linger(wait_s))

    def _wait_s(self, now_s: float) -> float:
        """How long what waits may wait for others."""
        waiting = self.waiting
        if waiting >= LINGER_ENTRIES_MAX:
            return 0.0
        if not self._urgent:
            return self._linger_s
        last = self._last_entries
        many = last > waiting and last >= BUSY_ENTRIES_MIN and now_s - self._last_s < BUSY_S_MAX
        return self._gather_s if many else 0.0

    async def _linger(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._lingering = None
        self.hurry()

    def oldest_age_s(self, now_s: float) -> float:
        """How long the oldest waiting entry has waited at `now_s`; 0 when nothing waits."""
        if not self.waiting:
            return 0.0
        tenants = self._tenants
        if len(tenants) == 1:
            oldest = next(iter(tenants.values()))[0][3]
        else:
            oldest = min(queue[0][3] for queue in tenants.values())
        return now_s - oldest

    @property
    def busy(self) -> bool:
        """Whether anything waits or is in flight."""
        return not self._quiet.is_set()

    async def drained(self) -> None:
        """Return when nothing waits and nothing is in flight."""
        self._linger_s = self._gather_s = 0.0  # it ends: nobody is waited for any more
        self.hurry()
        await self._quiet.wait()

    def _flush(self) -> None:
        self._scheduled = False
        self._urgent = False
        if self._before is not None:
            self._before()
        while self.waiting and len(self._tasks) < self._in_flight_max:
            task = asyncio.get_running_loop().create_task(self._run(self._take()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _take(self) -> list[T]:
        batch: list[T] = []
        tenants = self._tenants
        items = size = 0
        oldest = now = self._clock.monotonic_s()
        while tenants and items < COMMIT_ITEMS_MAX and size < COMMIT_BYTES_MAX:
            tenant, queue = next(iter(tenants.items()))
            alone = len(tenants) == 1
            # One tenant's entries are in the order of their coming: the first is the oldest.
            oldest = min(oldest, queue[0][3])
            while queue:
                entry, entry_items, entry_bytes, _ = queue.popleft()
                batch.append(entry)
                items += entry_items
                size += entry_bytes
                if not alone or items >= COMMIT_ITEMS_MAX or size >= COMMIT_BYTES_MAX:
                    break
            if not queue:
                del tenants[tenant]
            elif not alone:
                tenants.move_to_end(tenant)
        self.waiting -= len(batch)
        self.waiting_bytes -= size
        self.oldest_wait_s = now - oldest
        self._last_entries, self._last_s = len(batch), now
        return batch

    async def _run(self, batch: list[T]) -> None:
        await self._commit(batch)

    def abandon(self) -> int:
        """Give up what waits and what is in flight, at the very end; how many entries that were at least."""
        left = self.waiting + len(self._tasks)
        self._tenants.clear()
        self.waiting = self.waiting_bytes = 0
        for task in (*self._tasks, *([self._lingering] if self._lingering is not None else ())):
            task.cancel()
        if not self._tasks:
            self._quiet.set()
        return left

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A defect of ours: said loudly, but what waits behind it commits all the same.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a shared commit raised", "exception": error, "task": task}
            )
        if self.waiting:
            self._soon(self._clock.monotonic_s())
        elif not self._tasks:
            self._quiet.set()
