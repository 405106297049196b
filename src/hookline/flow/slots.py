"""Slots: how much may run at once, per endpoint, per destination and in this process, and who waits for one.

The process's slots are shared by a dynamic threshold (`core.quota.share`), and an eighth of them is kept for
endpoints that have answered of late, so that any number of endpoints that hang leaves room for those that do not
(docs/reliability.md, rules 9 and 14).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from hookline.core.endpoint import Endpoint
from hookline.core.quota import share
from hookline.flow.channel import Channel, Destination
from hookline.ports.observer import Observer
from hookline.ports.sender import Sender

SENDING_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of all events in flight together, so that large ones at receivers that never read are no matter of memory: beyond it
nothing more starts. As of the slots, an eighth of it is kept for endpoints that have answered of late."""


class Destinations:
    """The destinations of this process, each for as long as an endpoint leads to it. `senders` are by kind."""

    def __init__(self, senders: Mapping[str, Sender], observer: Observer) -> None:
        self._senders = senders
        self._observer = observer
        self._known: dict[str, Destination] = {}

    def __len__(self) -> int:
        return len(self._known)

    def join(self, endpoint: Endpoint) -> Destination:
        """The destination that the endpoint's sender names, with one user more."""
        sender = self._senders.get(endpoint.kind)
        try:
            name = sender.destination(endpoint) if sender is not None else endpoint.url
        except Exception as error:  # noqa: BLE001 - an adapter's defect concerns this endpoint alone
            self._observer.warn("destination_failed", endpoint=endpoint.public_id, error=repr(error))
            name = endpoint.url
        key = f"{endpoint.kind} {name}"
        destination = self._known.get(key)
        if destination is None:
            destination = self._known[key] = Destination()
        destination.users += 1
        return destination

    def move(self, channel: Channel, endpoint: Endpoint) -> None:
        """The channel's endpoint has changed, and with it perhaps the address."""
        before, after = channel.destination, self.join(endpoint)
        before.users -= 1
        before.queued -= channel.queued
        after.queued += channel.queued
        if after is not before and channel.blocked and channel in before.waiting:
            before.waiting.remove(channel)
            channel.blocked = False
        channel.destination = after

    def idle(self) -> list[Destination]:
        """Those with somebody in line and nothing in flight that would ask him when it ends. Forgets the unused."""
        idle: list[Destination] = []
        for key, destination in list(self._known.items()):
            if destination.in_flight:
                continue
            if destination.waiting:
                idle.append(destination)
            elif not destination.users:
                del self._known[key]
        return idle


class Slots:
    """Counts what runs. `behind` says, given the monotonic clock, that recording does not keep up: then nothing
    starts."""

    def __init__(self, concurrency_max: int, host_concurrency_max: int, behind: Callable[[float], bool]) -> None:
        self._concurrency_max = concurrency_max
        self._host_concurrency_max = host_concurrency_max
        self._behind = behind
        self.in_flight = 0
        self.sending_bytes = 0
        """Of the events in flight."""
        self.waiting: deque[Channel] = deque()
        """Channels that wait for a slot of the process, or for recording to keep up."""

    def take(self, channel: Channel, size_bytes: int) -> None:
        """A job of the channel starts, with an event of this size."""
        channel.in_flight += 1
        channel.destination.in_flight += 1
        self.in_flight += 1
        self.sending_bytes += size_bytes

    def give(self, channel: Channel, destination: Destination, size_bytes: int) -> None:
        """An attempt ended; `destination` is the one it started with."""
        channel.in_flight -= 1
        destination.in_flight -= 1
        self.in_flight -= 1
        self.sending_bytes -= size_bytes

    def borrow(self, destination: Destination) -> bool:
        """Take one of a destination's slots for a request that is no delivery; False: there is none."""
        if destination.in_flight >= self._host_concurrency_max:
            return False
        destination.in_flight += 1
        return True

    def hand_back(self, destination: Destination) -> None:
        """That request ended."""
        destination.in_flight -= 1

    def free(self, channel: Channel, now_s: float) -> bool:
        """Whether one more attempt of it may start now; where it is not its own cap, it waits in line."""
        in_flight = self.in_flight
        if self._behind(now_s) or self._full(channel):
            self._block(channel, self.waiting)
            return False
        if channel.destination.in_flight >= self._host_concurrency_max:
            self._block(channel, channel.destination.waiting)
            return False
        running = channel.in_flight
        if channel.health.failing:
            return running < 1
        return running < share(channel.cap(), self._concurrency_max, in_flight)

    def _full(self, channel: Channel) -> bool:
        """Whether nothing more may run in this process for such an endpoint: one that has answered of late has all
        slots and bytes."""
        slots_max, bytes_max = self._concurrency_max, SENDING_BYTES_MAX
        if channel.slow.cap <= 1:
            slots_max -= slots_max // 8
            bytes_max -= bytes_max // 8
        return self.in_flight >= slots_max or self.sending_bytes >= bytes_max

    def _block(self, channel: Channel, line: deque[Channel]) -> None:
        if not channel.blocked:
            channel.blocked = True
            line.append(channel)

    def room(self, channel: Channel, asked: int, now_s: float) -> int:
        """How much more of it its destination (of which `asked` is promised already) and the process can take on.
        Where there is none, the channel waits in line and its endpoint is ready again when its turn comes."""
        destination = channel.destination
        host = self._host_concurrency_max - destination.in_flight - destination.queued - asked
        if host <= 0:
            self._block(channel, destination.waiting)
            return 0
        if self._behind(now_s) or self._full(channel):
            self._block(channel, self.waiting)
            return 0
        process = share(channel.cap(), self._concurrency_max, self.in_flight) - channel.in_flight - channel.queued
        return min(host, process)
