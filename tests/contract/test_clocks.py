"""Both clocks: the machine's, and the one that is told what to say."""

from __future__ import annotations

import asyncio

import pytest

from hookline.adapters.clock import SystemClock
from hookline.ports.clock import Clock
from hookline.testing.clock import START_WALL_MS, ToldClock


async def test_time_stands_until_it_is_told() -> None:
    """Without being told, neither wall nor monotonic time moves."""
    clock = ToldClock()
    before = (clock.wall_ms(), clock.monotonic_s())
    await asyncio.sleep(0.002)
    assert (clock.wall_ms(), clock.monotonic_s()) == before == (START_WALL_MS, before[1])


def test_advance_moves_both_times() -> None:
    """Advancing moves wall and monotonic time by the same span, without rounding it away."""
    clock = ToldClock()
    start_s = clock.monotonic_s()
    for _ in range(1000):
        clock.advance(0.1)
    assert clock.wall_ms() == START_WALL_MS + 100_000
    assert clock.monotonic_s() == start_s + 100


def test_the_wall_jumps_alone() -> None:
    """Setting the wall leaves durations as they are, and both go on from there."""
    clock = ToldClock()
    start_s = clock.monotonic_s()
    clock.set_wall(START_WALL_MS - 3_600_000)
    clock.advance(1.5)
    assert clock.wall_ms() == START_WALL_MS - 3_600_000 + 1_500
    assert clock.monotonic_s() == start_s + 1.5


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """One long step wakes all who fell due, the earliest first, and no one else."""
    clock = ToldClock()
    woken: list[float] = []

    async def sleep(wait_s: float) -> None:
        await clock.sleep(wait_s)
        woken.append(wait_s)

    tasks = [asyncio.create_task(sleep(wait_s)) for wait_s in (30.0, 10.0, 20.0, 40.0)]
    await clock.asleep(4)
    clock.advance(30)
    await asyncio.gather(*tasks[:3])
    assert woken == [10.0, 20.0, 30.0]
    assert clock.sleepers == 1
    clock.advance(10)
    await tasks[3]


async def test_run_for_wakes_each_at_its_own_time() -> None:
    """A loop that sleeps again and again sees every one of its times within one span."""
    clock = ToldClock()
    start_s = clock.monotonic_s()
    seen: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(10)
            seen.append(clock.monotonic_s() - start_s)

    task = asyncio.create_task(tick())
    await clock.run_for(35)
    task.cancel()
    assert seen == [10, 20, 30]
    assert clock.monotonic_s() - start_s == 35


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Who is cancelled in his sleep neither counts as a sleeper nor disturbs the next step."""
    clock = ToldClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.asleep()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    clock.advance(10)


async def test_a_wait_of_nothing_returns_at_once() -> None:
    """Sleeping for no time, or less, needs no advance."""
    clock = ToldClock()
    await clock.sleep(0)
    await clock.sleep(-1)


def test_chance_repeats_by_its_seed() -> None:
    """Told dice come first, and what follows is the same for the same seed and another for another."""

    def draws(seed: int) -> tuple[list[float], bytes]:
        clock = ToldClock(seed=seed, dice=[0.25])
        clock.tell_dice(0.5)
        return [clock.dice() for _ in range(4)], clock.random_bytes(8)

    assert draws(1)[0][:2] == [0.25, 0.5]
    assert draws(1) == draws(1)
    assert draws(1)[0][2:] != draws(2)[0][2:]
    assert draws(1)[1] != draws(2)[1]


def test_a_told_clock_refuses_nonsense() -> None:
    """Time that goes back and dice outside [0, 1) are mistakes of the test, and named."""
    with pytest.raises(ValueError, match="back"):
        ToldClock().advance(-1)
    with pytest.raises(ValueError, match="dice"):
        ToldClock().tell_dice(1.0)


@pytest.mark.parametrize("clock", [SystemClock(), ToldClock()], ids=["system", "told"])
async def test_every_clock_keeps_the_port(clock: Clock) -> None:
    """Dice are in [0, 1), random bytes are as many as asked for, and a sleep of nothing returns."""
    assert all(0 <= clock.dice() < 1 for _ in range(100))
    assert len(clock.random_bytes(12)) == 12
    first_s = clock.monotonic_s()
    await clock.sleep(0)
    assert clock.monotonic_s() >= first_s
    assert clock.wall_ms() >= START_WALL_MS
