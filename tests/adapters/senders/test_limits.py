"""What must not grow: cancelled questions, closing, hundreds that hang."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.adapters.senders.sending import advance_until, send

from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind
from hookline.testing import answers
from hookline.testing.answers import Answer, hang, reply
from hookline.testing.clock import ToldClock
from hookline.testing.coroutine_sender import sent
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import question, request

MANY = 500


@pytest.mark.parametrize("name", ["localhost-of-the-test.test", "127.0.0.1"])
async def test_cancelling_at_any_moment(
    make_sender: Callable[..., HttpSender], receiver: Receiver, open_files: Callable[[], int], name: str
) -> None:
    """A question that is cancelled, in whatever phase, leaves no connection, file or deadline behind."""
    sender = make_sender(lookup=lambda host: ["127.0.0.1"])
    receiver.answer("/hang", hang())
    url = f"http://{name}:{receiver.port}/hang"
    await send(sender, f"http://{name}:{receiver.port}/")
    before = open_files()
    for turns in range(30):
        task = asyncio.create_task(sender.verify(question(sample_endpoint(url))))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    task = asyncio.create_task(sender.verify(question(sample_endpoint(url))))
    await receiver.wait_for(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while open_files() > before or len(sender._deadlines) > len(sender._pool):
            await asyncio.sleep(0.01)
    assert (await send(sender, f"http://{name}:{receiver.port}/")).kind is Kind.DELIVERED


async def test_several_items_end_together(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """A request of several items is told of once, when the last of them has ended, each with its own outcome."""
    receiver.answer("/", reply(200), reply(500), hang())
    endpoint = sample_endpoint(receiver.url + "/", timeout_s=3.0)
    task = asyncio.create_task(sent(sender, request(endpoint, *(sample_event(n) for n in range(1, 6)))))
    await receiver.wait_for(5)
    await asyncio.sleep(0.05)
    assert not task.done()
    await advance_until(clock, task)
    assert Counter(outcome.reason for outcome in await task) == {None: 1, "server_error": 1, "timeout": 3}


@pytest.mark.parametrize("answer", [hang(), answers.drip()], ids=["hang", "drip"])
async def test_hundreds_that_hang(
    sender: HttpSender,
    clock: ToldClock,
    receiver: Receiver,
    open_files: Callable[[], int],
    answer: Answer,
) -> None:
    """500 endpoints that hang or drip do not slow a healthy one, all end in time, and nothing of them remains."""
    receiver.answer("/bad", answer)
    async with Receiver() as healthy:
        await send(sender, healthy.url)
        before = open_files()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stuck = [
            asyncio.create_task(sent(sender, request(sample_endpoint(receiver.url + "/bad", number=n, timeout_s=20.0))))
            for n in range(MANY)
        ]
        await receiver.wait_for(MANY, 30.0)
        start_s = time.monotonic()
        for number in range(50):
            assert (await send(sender, healthy.url, number=number)).kind is Kind.DELIVERED
        assert time.monotonic() - start_s < 5
        assert healthy.connections == 1
        clock.advance(20.1)
        outcomes = [outcome for task in stuck for outcome in await task]
        assert {outcome.reason for outcome in outcomes} == {"timeout"}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100 * 1024  # both ends are here
        async with asyncio.timeout(10):
            while open_files() > before:
                await asyncio.sleep(0.01)
        assert len(sender._deadlines) == len(sender._pool)


async def test_nothing_is_left_for_the_collector(sender: HttpSender, receiver: Receiver) -> None:
    """Attempts make no reference cycles, so memory does not wait for the garbage collector."""
    receiver.answer("/close", reply(200, headers=[(b"connection", b"close")]))
    receiver.answer("/break", answers.close_early())
    receiver.answer("/cut", answers.endless_body())
    receiver.answer("/bad", answers.many_headers())
    gc.collect()
    gc.disable()
    try:
        for path in ("/", "/close", "/break", "/cut", "/bad"):
            for _ in range(10):
                await send(sender, receiver.url + path)
            await asyncio.sleep(0.05)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [entry for entry in gc.garbage if "hookline.adapters" in type(entry).__module__]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kept == []


async def test_connections_that_are_lost_as_soon_as_made(sender: HttpSender, clock: ToldClock) -> None:
    """A listener that resets each connection at once is a failed connection, and no deadline watches it for ever."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setblocking(False)  # noqa: FBT003
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    async def slam() -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    slamming = asyncio.create_task(slam())
    outcomes = [await send(sender, url) for _ in range(100)]
    outcomes += await asyncio.gather(*(send(sender, url) for _ in range(100)))
    slamming.cancel()
    await asyncio.gather(slamming, return_exceptions=True)
    listener.close()
    assert {outcome.reason for outcome in outcomes} == {"connect"}
    async with asyncio.timeout(5):
        while len(sender._deadlines):
            await asyncio.sleep(0.01)


async def test_closing_ends_idle_connections(
    make_sender: Callable[..., HttpSender], receiver: Receiver, open_files: Callable[[], int]
) -> None:
    """Closing ends idle connections and the sweep before it returns."""
    sender = make_sender()
    before = open_files()
    await asyncio.gather(*(send(sender, receiver.url) for _ in range(5)))
    assert len(sender._pool) == 5
    await sender.close()
    assert (len(sender._pool), len(sender._deadlines)) == (0, 0)
    async with asyncio.timeout(5):
        while open_files() > before + 1:
            await asyncio.sleep(0.01)
    await sender.close()


async def test_closing_lets_attempts_end(
    make_sender: Callable[..., HttpSender], receiver: Receiver, clock: ToldClock
) -> None:
    """Attempts in flight while the sender closes go on to their own end, and nothing new is started."""
    sender = make_sender()
    receiver.answer("/hang", hang())
    receiver.answer("/late", answers.after(0.1, reply(200)))
    hanging, late = (asyncio.create_task(send(sender, receiver.url + path)) for path in ("/hang", "/late"))
    await receiver.wait_for(2)
    await sender.close()
    assert (await late).kind is Kind.DELIVERED
    assert len(sender._pool) == 0
    outcome = await send(sender, receiver.url)
    assert (outcome.kind, outcome.started) == (Kind.RETRY, False)
    await advance_until(clock, hanging)
    assert (await hanging).reason == "timeout"
    assert len(sender._deadlines) == 0
