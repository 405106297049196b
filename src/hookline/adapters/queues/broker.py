"""The queue over any broker: what is the same for all of them. An adapter says how to connect, send and receive.

    publish   buffer of 1,000 messages ─► sending, at most every 20 ms ─► Outlet
    receive   buffer of 64 messages   ◄─ receiving                     ◄─ Inlet ◄─ acknowledgements

Sending and receiving have a connection each: a broker that blocks who publishes must not stop who receives, and a
process that only accepts never receives. What an adapter raises, whatever it is, ends its connection; another one is
made, with growing waits between. Messages are hints (docs/reliability.md, rules 27 and 28): one that is lost, came
twice or comes late costs time. So nothing here is confirmed, ordered or kept beyond its bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from hookline.adapters.queues.lasting import for_ever, within
from hookline.adapters.queues.outgoing import Outgoing
from hookline.adapters.queues.packing import unpacked
from hookline.ports.clock import Clock
from hookline.ports.queue import Message

KEPT_MESSAGES_MAX: Final = 10_000
"""So many a broker keeps, the newest."""
KEPT_S_MAX: Final = 3600.0
"""So long a broker keeps them, where it can be told."""
COMING_MAX: Final = 64
"""So many a process has in hand: what it has no time for is for others."""
EVERY_S: Final = 0.02
CONNECT_S_MAX: Final = 5.0
SEND_S_MAX: Final = 5.0
RECEIVE_S: Final = 2.0
"""How long `Inlet.receive` waits for messages."""
STALLED_S: Final = 3.0
"""A receive that takes so much longer is one from a broker that has stopped."""
LAST_S_MAX: Final = 0.2
CLOSE_S_MAX: Final = 2.0


class BrokerError(Exception):
    """Something is wrong with a broker that its driver does not say."""


class Received(NamedTuple):
    """One message as the broker gave it; `token` is what `Inlet.acknowledge` needs, None where nothing is needed."""

    payload: bytes
    token: Any = None


class Outlet(Protocol):
    """A connection for sending. It raises whatever its driver raises when it is lost or its queue is gone."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Return when the broker has them all."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class Inlet(Protocol):
    """A connection for receiving. It raises when it is lost or its queue is gone."""

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """What has come, at most so many; waits for the first, at most `wait_s`, and not for the others."""
        ...

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """These were claimed. Called while `receive` waits."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class Broker(Protocol):
    """How to connect to one. What it needs there (stream, group, queue, topic) it makes with each connection, since it
    may be gone, and never makes it without a bound."""

    async def outlet(self) -> Outlet:
        """A connection for sending."""
        ...

    async def inlet(self) -> Inlet:
        """A connection for receiving."""
        ...


class BrokerQueue:
    """`ports.queue.Queue` over a broker, whose processes share the messages."""

    def __init__(
        self, broker: Broker, clock: Clock, warn: Callable[[str, str], None] = lambda _name, _detail: None
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._warn = warn
        self._outgoing = Outgoing()
        self._coming: asyncio.Queue[Message] = asyncio.Queue(COMING_MAX)
        self._claimed: list[tuple[Inlet, Any]] = []
        self._acknowledging = asyncio.Event()
        self._sending: asyncio.Task[Any] | None = None
        self._receiving: asyncio.Task[Any] | None = None
        self._hears = False
        self._closed = False

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """`Queue.publish`; dropped and counted when 1,000 messages wait to be sent, or after `close`."""
        self._outgoing.add(delivery_ids)
        if self._sending is None and self._outgoing:
            self._sending = self._lasting(self._send, "queue_sending_lost")

    async def receive(self) -> Message:
        """`Queue.receive`."""
        if self._receiving is None and not self._closed:
            self._receiving = self._lasting(self._receive, "queue_receiving_lost")
        return await self._coming.get()

    async def acknowledge(self, message: Message) -> None:
        """`Queue.acknowledge`: noted; the broker is told with others, if it is still the same connection."""
        if message.token is not None:
            self._claimed.append(message.token)  # type: ignore[arg-type]
            self._acknowledging.set()

    @property
    def hears(self) -> bool:
        """Whether there is a connection for receiving, and the broker answered lately."""
        return self._hears

    @property
    def dropped(self) -> int:
        """How many messages were dropped since the start."""
        return self._outgoing.dropped

    async def close(self) -> None:
        """`Queue.close`. What was published just now is still sent, if the broker takes it at once: a process that is
        stopped in order leaves nobody waiting."""
        end_s = self._clock.monotonic_s() + LAST_S_MAX
        while self._outgoing.left and not self._closed and self._clock.monotonic_s() < end_s:
            await self._clock.sleep(EVERY_S)
        self._closed = True
        self._outgoing.close()
        tasks = [task for task in (self._sending, self._receiving) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * CLOSE_S_MAX)

    def _lasting(self, work: Callable[[], Any], lost: str) -> asyncio.Task[Any]:
        running = for_ever(work, self._clock, lambda detail: self._warn(lost, detail))
        return asyncio.get_running_loop().create_task(running, name="hookline-queue")

    # --------------------------------------------------------------------------------------------------- sending

    async def _send(self) -> None:
        """Connect, and send what comes until the connection is lost."""
        outlet = await within(CONNECT_S_MAX, self._broker.outlet())
        try:
            while True:
                await self._outgoing.some()
                messages = self._outgoing.take()
                try:
                    await within(SEND_S_MAX, outlet.send(messages))
                except BaseException:
                    self._outgoing.back(messages)
                    raise
                self._outgoing.sent(messages)
                await self._clock.sleep(EVERY_S)
        finally:
            await _closed(outlet)

    # ------------------------------------------------------------------------------------------------- receiving

    async def _receive(self) -> None:
        """Connect, and take what comes until the connection is lost."""
        inlet = await within(CONNECT_S_MAX, self._broker.inlet())
        acknowledging = asyncio.get_running_loop().create_task(self._acknowledge(inlet))
        self._hears = True
        try:
            while not acknowledging.done():
                room = COMING_MAX - self._coming.qsize()
                waiting = inlet.receive(max(1, room), RECEIVE_S)
                received = await within(RECEIVE_S + STALLED_S, waiting)
                for payload, token in received:
                    await self._came(inlet, payload, token)
                if not received:
                    await self._clock.sleep(EVERY_S)  # whatever makes it return at once, it is not asked in a hot loop
            acknowledging.result()
        finally:
            self._hears = False
            acknowledging.cancel()
            await _closed(inlet)

    async def _came(self, inlet: Inlet, payload: bytes, token: Any) -> None:
        ids = unpacked(payload)
        owed = None if token is None else (inlet, token)
        if ids is not None:
            await self._coming.put(Message(ids, owed))
        elif owed is not None:
            await self.acknowledge(Message((), owed))

    async def _acknowledge(self, inlet: Inlet) -> None:
        """Tell the broker what was claimed; raises when that fails."""
        while True:
            await self._acknowledging.wait()
            self._acknowledging.clear()
            claimed, self._claimed = self._claimed, []
            # Of an earlier connection: the broker gives it again, and its claim finds nothing.
            tokens = [token for whose, token in claimed if whose is inlet]
            if tokens:
                await within(SEND_S_MAX, inlet.acknowledge(tokens))
            await self._clock.sleep(EVERY_S)


async def _closed(connection: Inlet | Outlet) -> None:
    """Close, if that can be done; what cannot be is gone anyway."""
    try:
        await within(CLOSE_S_MAX, connection.close())
    except Exception:  # noqa: BLE001, S110 - the reason why it is closed has been said, or nobody asks
        pass
