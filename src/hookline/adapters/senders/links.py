"""Long-lived connections to brokers: one for each set of credentials of a tenant, shared, bounded, closed when idle."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, Final

from hookline.adapters.senders.dial import NoRoom
from hookline.adapters.senders.publication import Publication, Unpublished
from hookline.ports.clock import Clock

CONNECTIONS_MAX: Final = 256
IDLE_S_MAX: Final = 60.0
SWEEP_S: Final = 5.0
CLOSE_S_MAX: Final = 2.0

Answer = list[tuple[bytes, bytes]]
"""What the broker said of where it put a message, as names and values, to be kept with the attempt."""


class Link(ABC):
    """One connection to a broker, on which any number of messages is published at the same time."""

    @abstractmethod
    async def publish(self, publication: Publication) -> Answer:
        """Returns when the broker has confirmed the message. Raises `Unpublished`.

        Whoever waits may stop waiting (his time is over); the message may arrive all the same.
        """

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether it can still be published on."""

    @abstractmethod
    async def close(self) -> None:
        """End it, at once or within 2 s. What still waits for a confirmation is `Unpublished`."""


class _Place:
    """A link that is there or is being made."""

    __slots__ = ("closing", "heard_s", "idle_since_s", "last", "making", "users")

    def __init__(self, making: asyncio.Task[Link], now_s: float) -> None:
        self.making = making
        self.users = 0
        self.idle_since_s = now_s
        self.heard_s = now_s
        """When the broker last confirmed something on it."""
        self.closing = False
        self.last = False
        """Nobody comes after those who use it now."""

    @property
    def link(self) -> Link | None:
        """The link, once it is made."""
        task = self.making
        return task.result() if task.done() and not task.cancelled() and task.exception() is None else None

    @property
    def usable(self) -> bool:
        """Whether it may be published on, now or when it is made."""
        if self.closing:
            return False
        link = self.link
        return not self.making.done() if link is None else link.is_open


class Links:
    """The connections of one sender. Belongs to one event loop."""

    def __init__(self, clock: Clock, *, connections_max: int = CONNECTIONS_MAX, idle_s_max: float = IDLE_S_MAX) -> None:
        self._monotonic_s = clock.monotonic_s
        self._connections_max = connections_max
        self._idle_s_max = idle_s_max
        self._places: dict[Hashable, _Place] = {}
        self._ending: set[asyncio.Task[Any]] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def use(self, key: Hashable, make: Callable[[], Awaitable[Link]]) -> AsyncIterator[Link]:
        """The link of a key, made where there is none that can be used.

        All who ask while it is being made wait for the same. Raises what `make` raises; `NoRoom`. Who leaves by a
        `TimeoutError` or a cancellation, while nobody heard of the broker since he came, ends the link: it may be one
        that died without a word.
        """
        now_s = self._monotonic_s()
        place = self._places.get(key)
        if place is None or not place.usable:
            if place is not None:
                self._forget(key, place)
            place = self._new(key, make, now_s)
        place.users += 1
        try:
            link = await asyncio.shield(place.making)
            yield link
            place.heard_s = self._monotonic_s()
        except Unpublished:
            place.heard_s = self._monotonic_s()
            raise
        except asyncio.CancelledError:
            if place.making.done() and place.heard_s <= now_s:
                self._forget(key, place)
            raise
        finally:
            place.users -= 1
            place.idle_since_s = self._monotonic_s()
            if not place.usable or (place.last and not place.users):
                self._forget(key, place)

    def _new(self, key: Hashable, make: Callable[[], Awaitable[Link]], now_s: float) -> _Place:
        if self._closed:
            raise NoRoom("the sender is closing")
        if len(self._places) >= self._connections_max:
            self._make_room()
        task = asyncio.get_running_loop().create_task(_awaited(make))
        task.add_done_callback(_look)
        place = self._places[key] = _Place(task, now_s)
        if self._sweep_timer is None:
            self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        return place

    def _make_room(self) -> None:
        """End the link that has been idle for longest."""
        idle = [(place.idle_since_s, key) for key, place in self._places.items() if not place.users]
        if not idle:
            raise NoRoom(f"{self._connections_max} connections to brokers are in use")
        _, key = min(idle, key=lambda entry: entry[0])
        self._forget(key, self._places[key])

    def _forget(self, key: Hashable, place: _Place) -> None:
        if self._places.get(key) is place:
            del self._places[key]
        if place.closing:
            return
        place.closing = True
        link = place.link
        task: asyncio.Task[Any] = place.making
        if link is not None:
            task = asyncio.get_running_loop().create_task(_ended(link))
        elif not task.done():
            task.cancel()  # it cleans up after itself, which may take a moment
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _sweep(self) -> None:
        self._sweep_timer = None
        before_s = self._monotonic_s() - self._idle_s_max
        for key, place in list(self._places.items()):
            if not place.users and (place.idle_since_s <= before_s or not place.usable):
                self._forget(key, place)
        if self._places:
            self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    async def close(self) -> None:
        """End what is idle, and what is in use as soon as it no longer is; make none any more."""
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for key, place in list(self._places.items()):
            place.last = True
            if not place.users:
                self._forget(key, place)
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_S_MAX)


async def _awaited(make: Callable[[], Awaitable[Link]]) -> Link:
    return await make()


def _look(task: asyncio.Task[Link]) -> None:
    """Who waited may have gone: nobody else looks at how it ended."""
    if not task.cancelled():
        task.exception()


async def _ended(link: Link) -> None:
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await link.close()
    except Exception:  # noqa: BLE001, S110 - it is given up either way
        pass
