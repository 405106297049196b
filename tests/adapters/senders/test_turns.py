"""New connections begin a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.adapters.senders.sending import send

from hookline.adapters.senders.http import HttpSender
from hookline.adapters.senders.turns import STARTS_MAX, Turns
from hookline.core.attempt import Kind
from hookline.testing.coroutine_sender import sent
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint
from hookline.testing.sender_contract import request

MANY = 200


def pings(number: list[int]) -> Callable[[], None]:
    """A callback that counts the turns of the loop, for as long as the loop runs."""

    def ping() -> None:
        number[0] += 1
        asyncio.get_running_loop().call_soon(ping)

    return ping


async def test_a_few_start_in_each_turn() -> None:
    """The first start at once, the rest in order, so many in each turn of the loop."""
    turns, turn, started = Turns(), [0], list[tuple[int, int]]()
    pings(turn)()
    for number in range(MANY):
        turns.add("tenant", lambda number=number: started.append((number, turn[0])))
    assert len(started) == STARTS_MAX
    while len(started) < MANY:
        await asyncio.sleep(0)
    assert [number for number, _ in started] == list(range(MANY))
    by_turn = [sum(1 for _, at in started if at == turn) for turn in range(turn[0] + 1)]
    assert max(by_turn) <= 2 * STARTS_MAX  # the ping of a turn may come before or behind


async def test_groups_take_turns() -> None:
    """One that comes behind hundreds of another group starts with the next of them."""
    turns, started = Turns(), list[str]()
    for _ in range(MANY):
        turns.add("noisy", lambda: started.append("noisy"))
    turns.add("quiet", lambda: started.append("quiet"))
    while len(started) <= MANY:
        await asyncio.sleep(0)
    assert started.index("quiet") <= STARTS_MAX + 1


async def test_after_a_rest_the_next_starts_at_once() -> None:
    """When all have started, and a turn has passed, there is room again."""
    turns, started = Turns(), list[int]()
    for number in range(STARTS_MAX + 1):
        turns.add("tenant", lambda number=number: started.append(number))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(started) == STARTS_MAX + 1
    turns.add("tenant", lambda: started.append(-1))
    assert started[-1] == -1


async def test_a_kept_connection_does_not_wait_for_new_ones(sender: HttpSender, receiver: Receiver) -> None:
    """An attempt on a kept connection has ended before hundreds that were begun earlier have their connections."""
    async with Receiver() as kept:
        await send(sender, kept.url)
        many = [
            asyncio.create_task(sent(sender, request(sample_endpoint(receiver.url, number=number))))
            for number in range(MANY)
        ]
        await asyncio.sleep(0)
        assert (await send(sender, kept.url)).kind is Kind.DELIVERED
        assert receiver.connections < MANY // 2
        for task in many:
            assert (await task)[0].kind is Kind.DELIVERED
        assert len(receiver.requests) == MANY


async def test_those_who_wait_at_the_end_are_told(sender: HttpSender, receiver: Receiver) -> None:
    """What has not begun when the sender closes was not sent, and used up no try."""
    many = [
        asyncio.create_task(sent(sender, request(sample_endpoint(receiver.url, number=number))))
        for number in range(MANY)
    ]
    await asyncio.sleep(0)
    await sender.close()
    outcomes = [(await task)[0] for task in many]
    begun = [outcome for outcome in outcomes if outcome.started]
    assert len(begun) < MANY // 2
    assert len(receiver.requests) == len(begun)
