"""The queue over any broker, over one in memory that does what a test says: what real ones cannot be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.broker import BrokerQueue, Received
from hookline.adapters.queues.lasting import AGAIN_S_MAX, for_ever, within
from hookline.adapters.queues.outgoing import Outgoing
from hookline.adapters.queues.packing import packed, unpacked
from hookline.testing.clock import ToldClock
from hookline.testing.queue_contract import delivery_ids


async def nothing() -> None:
    """What a broker does that does what it should."""


class MemoryBroker:
    """Messages in a list; `sending`, `receiving` and `connecting` may raise or never end."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.acknowledged: list[Any] = []
        self.connects = 0
        self.connecting: Callable[[], Awaitable[None]] = nothing
        self.sending: Callable[[], Awaitable[None]] = nothing
        self.receiving: Callable[[], Awaitable[None]] = nothing

    async def outlet(self) -> MemoryConnection:
        """`Broker.outlet`."""
        self.connects += 1
        await self.connecting()
        return MemoryConnection(self)

    inlet = outlet


class MemoryConnection:
    """`Outlet` and `Inlet`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def send(self, messages: Sequence[bytes]) -> None:
        """`Outlet.send`."""
        await self._broker.sending()
        for message in messages:
            self._broker.messages.put_nowait(message)

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`."""
        await self._broker.receiving()
        payload = await self._broker.messages.get()
        return [Received(payload, len(payload))]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`Inlet.acknowledge`."""
        self._broker.acknowledged += tokens

    async def close(self) -> None:
        """`Outlet.close`, `Inlet.close`."""
        raise ConnectionResetError


async def deaf_to_cancelling() -> None:
    """What some drivers do while they connect and close."""
    for _ in range(2):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            continue


async def test_a_message_that_waits_is_not_sent_twice() -> None:
    """What is published again while it waits is one message; once it is on its way it is another."""
    outgoing = Outgoing()
    for _ in range(3):
        outgoing.add(delivery_ids(1))
    outgoing.add(delivery_ids(2))
    taken = outgoing.take()
    assert [unpacked(message) for message in taken] == [tuple(delivery_ids(1)), tuple(delivery_ids(2))]
    outgoing.add(delivery_ids(1))
    outgoing.back(taken)
    assert outgoing.take() == taken
    assert outgoing.dropped == 0


async def test_what_is_on_its_way_counts() -> None:
    """The bound holds for what waits and what is being sent together."""
    outgoing = Outgoing()
    for one in delivery_ids(600):
        outgoing.add([one])
    taken = outgoing.take()
    for one in delivery_ids(500, first=601):
        outgoing.add([one])
    assert outgoing.dropped == 100
    outgoing.back(taken)
    assert len(outgoing) == 1000
    outgoing.sent(outgoing.take())
    outgoing.add(delivery_ids(1))
    assert (len(outgoing), outgoing.dropped) == (1, 100)


@pytest.mark.rule(n=18)
@pytest.mark.parametrize(
    "raw", [b"", b"\x01", b"\x02\x01x", b"\x01\x00", b"\x01\x05abcd", packed([b"x"] * 256) + b"\x01x"]
)
def test_what_is_no_message_is_none(raw: bytes) -> None:
    """Another form, an empty id, an end that is missing and more than 256 ids are not read."""
    assert unpacked(raw) is None


async def test_within_ends_though_the_work_does_not() -> None:
    """Work that goes on when it is cancelled is left behind, after the time, and when who waits is cancelled."""
    with pytest.raises(TimeoutError, match=r"0\.01"):
        await within(0.01, deaf_to_cancelling())
    waiting = asyncio.create_task(within(30, deaf_to_cancelling()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


@pytest.mark.rule(n=28)
async def test_what_fails_is_tried_less_and_less_often() -> None:
    """Over a minute of failures there are some attempts a second at first, then one in two seconds, and a warning a
    second at most; after a connection that lasted the next is made at once."""
    clock = ToldClock()
    tries: list[float] = []
    warned: list[str] = []
    lasts = 0.0

    async def work() -> None:
        tries.append(clock.monotonic_s())
        await clock.sleep(lasts)
        raise ConnectionRefusedError("nobody is there")

    task = asyncio.create_task(for_ever(work, clock, warned.append))
    for _ in range(600):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(0.1)
    assert 30 <= len(tries) <= 70
    assert len(warned) <= 61
    assert warned[0] == "ConnectionRefusedError: nobody is there"
    lasts = 6.0
    for _ in range(200):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(0.1)
    *_, before, last = tries
    assert last - before < lasts + AGAIN_S_MAX / 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_could_not_be_sent_is_sent_again() -> None:
    """A send that fails loses nothing that waited, and a close that fails ends nothing."""
    broker = MemoryBroker()
    failures = iter([ConnectionResetError("gone"), ValueError("a driver's defect")])

    async def fail() -> None:
        for error in failures:
            raise error

    broker.sending = fail
    said: list[str] = []
    queue = BrokerQueue(broker, SystemClock(), lambda name, detail: said.append(f"{name} {detail}"))
    queue.publish(delivery_ids(3))
    async with asyncio.timeout(5):
        assert list((await queue.receive()).delivery_ids) == delivery_ids(3)
    assert said == ["queue_sending_lost ConnectionResetError: gone"]
    assert broker.connects == 4  # three to send, one to receive
    await queue.close()


async def test_what_was_claimed_is_acknowledged() -> None:
    """A message is acknowledged after it was claimed, one of a foreign form at once, one of a lost connection never."""
    broker = MemoryBroker()
    queue = BrokerQueue(broker, SystemClock())
    broker.messages.put_nowait(b"foreign")
    queue.publish(delivery_ids(1))
    async with asyncio.timeout(5):
        message = await queue.receive()
        while broker.acknowledged != [7]:
            await asyncio.sleep(0.01)
        await queue.acknowledge(message)
        while broker.acknowledged != [7, len(packed(delivery_ids(1)))]:
            await asyncio.sleep(0.01)
        queue.publish(delivery_ids(2))
        message = await queue.receive()

        async def lost() -> None:
            broker.receiving = nothing
            raise ConnectionResetError

        broker.receiving = lost
        queue.publish(delivery_ids(3))
        await queue.receive()
        while broker.connects < 3:
            await asyncio.sleep(0.01)
    await queue.acknowledge(message)
    await asyncio.sleep(0.1)
    assert len(broker.acknowledged) == 2
    await queue.close()


async def test_a_close_sends_what_waits() -> None:
    """What was published right before a close is with the broker when it ends."""
    broker = MemoryBroker()
    queue = BrokerQueue(broker, SystemClock())
    queue.publish(delivery_ids(1))
    await asyncio.sleep(0.005)
    queue.publish(delivery_ids(2))
    await queue.close()
    assert [unpacked(broker.messages.get_nowait()) for _ in range(2)] == [
        tuple(delivery_ids(1)),
        tuple(delivery_ids(2)),
    ]


async def test_a_driver_that_cannot_be_cancelled_does_not_hinder_a_close() -> None:
    """Publishing, receiving and closing go on though a connect never ends."""
    broker = MemoryBroker()
    broker.connecting = deaf_to_cancelling
    queue = BrokerQueue(broker, SystemClock())
    queue.publish(delivery_ids(1))
    receiving = asyncio.create_task(queue.receive())
    await asyncio.sleep(0.05)
    assert not queue.hears
    receiving.cancel()
    async with asyncio.timeout(1):
        await queue.close()
