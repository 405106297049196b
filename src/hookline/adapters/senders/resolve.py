"""Names to addresses, bounded: a slow or hostile name costs its own tenant time, and nobody else.

The system's resolver blocks and cannot be stopped, so each look-up has a thread of its own, at most `lookups_max`
at a time. A tenant has at most half of them and one DNS zone an eighth, counted until the thread really ends, which
for a dead name server is long after everybody stopped waiting. One look-up per name is in flight, whoever asks.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from hookline.adapters.senders.deadlines import Deadlines
from hookline.ports.clock import Clock

Address = IPv4Address | IPv6Address
Lookup = Callable[[str], Sequence[str]]
"""Blocking: a name to the texts of all its addresses. May raise `OSError` or `ValueError`."""

LOOKUP_S_MAX: Final = 2.0
"""Nobody waits longer for a name."""
KEEP_S: Final = 30.0
KEEP_FAILURE_S: Final = 1.0
NAMES_MAX: Final = 4096
WAITING_MAX: Final = 1024
ANSWERS_MAX: Final = 64


class NameNotResolved(Exception):
    """A name has no address, or none came in time. The text is one line for a person."""


def system_lookup(host: str) -> list[str]:
    """All addresses of `host`, in the order in which the system would try them."""
    # As bytes: a text would go through Python's own, older IDNA once more.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class _Pending:
    """A look-up that waits for a thread, or runs."""

    __slots__ = ("group", "host", "started_s", "waiters", "zone")

    def __init__(self, host: str, group: str) -> None:
        self.host = host
        self.group = group
        self.zone = _zone(host)
        self.started_s: float | None = None
        self.waiters: set[asyncio.Future[tuple[Address, ...]]] = set()


class Resolver:
    """Looks names up, remembers answers for 30 s and failures for 1 s. Belongs to one event loop."""

    def __init__(
        self, clock: Clock, deadlines: Deadlines, *, lookup: Lookup = system_lookup, lookups_max: int = 32
    ) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._lookup = lookup
        self._running_max = lookups_max
        self._group_max = max(1, lookups_max // 2)
        self._zone_max = max(1, lookups_max // 8)
        self._running = 0
        self._by_group: Counter[str] = Counter()
        self._by_zone: Counter[str] = Counter()
        self._pending: dict[str, _Pending] = {}
        self._waiting: dict[str, _Pending] = {}
        self._known: dict[str, tuple[float, tuple[Address, ...]]] = {}

    async def resolve(self, host: str, *, group: str, deadline_s: float) -> tuple[Address, ...]:
        """All addresses of `host`, at least one; waits at most 2 s, and not beyond `deadline_s`.

        `group` is who shares the bound on look-ups (a tenant). Raises `NameNotResolved`.
        """
        now_s = self._clock.monotonic_s()
        known = self._known.get(host)
        if known is not None and now_s < known[0]:
            return _some(known[1])
        pending = self._pending.get(host)
        if pending is None:
            pending = self._ask(host, group)
        elif pending.started_s is not None and now_s - pending.started_s >= LOOKUP_S_MAX:
            raise NameNotResolved("The host's name did not resolve in time.")
        waiter: asyncio.Future[tuple[Address, ...]] = asyncio.get_running_loop().create_future()
        pending.waiters.add(waiter)
        try:
            async with self._deadlines.limit(min(deadline_s, now_s + LOOKUP_S_MAX)):
                addresses = await waiter
        except TimeoutError:
            raise NameNotResolved("The host's name did not resolve in time.") from None
        finally:
            pending.waiters.discard(waiter)
            if not pending.waiters and pending.started_s is None:
                self._waiting.pop(host, None)
                self._pending.pop(host, None)
        return _some(addresses)

    def close(self) -> None:
        """Start nothing any more; who waits gets `NameNotResolved`. Look-ups that run end by themselves."""
        self._running_max = 0
        self._waiting.clear()
        for pending in list(self._pending.values()):
            self._tell(pending, ())

    def _ask(self, host: str, group: str) -> _Pending:
        if len(self._waiting) >= WAITING_MAX or self._running_max == 0:
            raise NameNotResolved("Too many names are being looked up.")
        pending = self._pending[host] = self._waiting[host] = _Pending(host, group)
        self._start_waiting()
        return pending

    def _start_waiting(self) -> None:
        """Give threads to those that wait, in their order, as far as all three bounds allow."""
        for pending in list(self._waiting.values()):
            if self._running >= self._running_max:
                return
            if self._by_group[pending.group] < self._group_max and self._by_zone[pending.zone] < self._zone_max:
                del self._waiting[pending.host]
                self._start(pending)

    def _start(self, pending: _Pending) -> None:
        pending.started_s = self._clock.monotonic_s()
        self._running += 1
        self._by_group[pending.group] += 1
        self._by_zone[pending.zone] += 1
        # A daemon: a look-up that hangs does not keep the program from ending.
        thread = threading.Thread(
            target=self._run, args=(asyncio.get_running_loop(), pending), name="hookline-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads on this machine
            self._ended(pending, ())

    def _run(self, loop: asyncio.AbstractEventLoop, pending: _Pending) -> None:
        """In its thread."""
        addresses: tuple[Address, ...] = ()
        try:
            addresses = tuple(ip_address(text) for text in dict.fromkeys(self._lookup(pending.host)))
        except (OSError, ValueError):
            pass  # it does not resolve
        try:
            loop.call_soon_threadsafe(self._ended, pending, addresses)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for this

    def _ended(self, pending: _Pending, addresses: tuple[Address, ...]) -> None:
        self._running -= 1
        for counter, name in ((self._by_group, pending.group), (self._by_zone, pending.zone)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        if len(addresses) > ANSWERS_MAX:
            addresses = ()
        self._known.pop(pending.host, None)
        if len(self._known) >= NAMES_MAX:
            del self._known[next(iter(self._known))]
        self._known[pending.host] = (
            self._clock.monotonic_s() + (KEEP_S if addresses else KEEP_FAILURE_S),
            addresses,
        )
        self._tell(pending, addresses)
        self._start_waiting()

    def _tell(self, pending: _Pending, addresses: tuple[Address, ...]) -> None:
        self._pending.pop(pending.host, None)
        for waiter in pending.waiters:
            if not waiter.done():
                waiter.set_result(addresses)


def _some(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    if not addresses:
        raise NameNotResolved("The host's name does not resolve.")
    return addresses


def _zone(host: str) -> str:
    """The part of a name that one owner most likely answers for: its last two labels, or three where the second
    is as short as in `co.uk`. Only a bound hangs on it, so a wrong guess costs little."""
    labels = host.rstrip(".").split(".")
    return ".".join(labels[-3:] if len(labels) > 1 and len(labels[-2]) <= 3 else labels[-2:])
