"""Deadlines without a timer each, in told time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from hookline.adapters.senders.deadlines import EXPIRED_MAX, SWEEP_S, Deadlines
from hookline.testing.clock import ToldClock


class Entry:
    """Something with a deadline that notes when it was ended."""

    def __init__(self, clock: ToldClock, wait_s: float) -> None:
        self.deadline_s = clock.monotonic_s() + wait_s
        self.ended_s: float | None = None
        self._clock = clock

    def expire(self) -> None:
        """The deadline passed."""
        assert self.ended_s is None
        self.ended_s = self._clock.monotonic_s()


async def test_entries_end_in_time(clock: ToldClock) -> None:
    """Each entry ends once, never early, and at most a sweep late."""
    deadlines = Deadlines(clock)
    entries = [Entry(clock, number / 10) for number in range(50)]
    for entry in entries:
        deadlines.add(entry)
    await clock.run_for(10.0)
    for entry in entries:
        assert entry.ended_s is not None
        assert 0 <= entry.ended_s - entry.deadline_s <= SWEEP_S + 0.001
    assert len(deadlines) == 0


async def test_hundreds_that_end_at_once_leave_turns_to_others(clock: ToldClock) -> None:
    """Between two turns of the event loop at most `EXPIRED_MAX` of those that are overdue together are ended."""
    deadlines = Deadlines(clock)
    entries = [Entry(clock, 1.0) for _ in range(10 * EXPIRED_MAX)]
    for entry in entries:
        deadlines.add(entry)
    ended: list[int] = []

    async def look() -> None:
        while len(deadlines):
            ended.append(sum(entry.ended_s is not None for entry in entries))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await clock.run_for(2.0)
    await looking
    steps = [after - before for before, after in itertools.pairwise([*ended, len(entries)])]
    assert max(steps) == EXPIRED_MAX
    assert sum(step > 0 for step in steps) == 10


async def test_a_deadline_may_change(clock: ToldClock) -> None:
    """What counts is the deadline of the moment, and what is no longer watched does not end."""
    deadlines = Deadlines(clock)
    moved, dropped = Entry(clock, 1.0), Entry(clock, 1.0)
    deadlines.add(moved)
    deadlines.add(dropped)
    moved.deadline_s += 2.0
    deadlines.discard(dropped)
    await clock.run_for(2.0)
    assert (moved.ended_s, dropped.ended_s) == (None, None)
    await clock.run_for(1.5)
    assert moved.ended_s is not None
    assert dropped.ended_s is None


async def test_the_sweep_rests_when_there_is_nothing(clock: ToldClock) -> None:
    """Without entries nothing wakes up, and a later entry is watched again."""
    deadlines = Deadlines(clock)
    deadlines.add(Entry(clock, 0.1))
    await clock.run_for(1.0)
    assert clock.sleepers == 0
    later = Entry(clock, 2.0)
    deadlines.add(later)
    await clock.run_for(2.0)
    assert later.ended_s is not None


async def test_stopping_an_empty_one(clock: ToldClock) -> None:
    """Stopping ends the sweep at once if there is nothing to watch, and only then."""
    deadlines = Deadlines(clock)
    entry = Entry(clock, 1.0)
    deadlines.add(entry)
    deadlines.stop_if_empty()
    await clock.asleep()
    deadlines.discard(entry)
    deadlines.stop_if_empty()
    await asyncio.sleep(0)
    assert clock.sleepers == 0


async def test_a_block_that_takes_too_long(clock: ToldClock) -> None:
    """A limited block ends with TimeoutError when its time is over."""
    deadlines = Deadlines(clock)

    async def wait() -> None:
        async with deadlines.limit(clock.monotonic_s() + 1.0):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(wait())
    await clock.run_for(0.9)
    assert not task.done()
    await clock.run_for(0.3)
    with pytest.raises(TimeoutError):
        await task
    assert len(deadlines) == 0


async def test_a_block_that_ends_by_itself(clock: ToldClock) -> None:
    """A block that ends in time, or fails by itself, is not touched."""
    deadlines = Deadlines(clock)
    async with deadlines.limit(clock.monotonic_s() + 1.0):
        await asyncio.sleep(0)
    with pytest.raises(KeyError):
        async with deadlines.limit(clock.monotonic_s() + 1.0):
            raise KeyError
    await clock.run_for(2.0)
    assert len(deadlines) == 0


async def test_a_cancellation_from_outside_stays_one(clock: ToldClock) -> None:
    """Who is cancelled from outside stays cancelled, also when the time is over at the same moment."""
    deadlines = Deadlines(clock)

    async def wait() -> None:
        async with deadlines.limit(clock.monotonic_s() + 1.0):
            await asyncio.get_running_loop().create_future()

    for together in (False, True):
        task = asyncio.create_task(wait())
        await clock.asleep()
        if together:
            clock.advance(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await clock.run_for(2.0)
