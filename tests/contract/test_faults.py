"""The store that fails on cue fails where it was told to, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.core.errors import DataError, StoreUnavailable
from hookline.ports.store import AcceptRequest, NewEvent, Store
from hookline.testing.clock import ToldClock
from hookline.testing.faults import FaultyStore
from hookline.testing.samples import sample_event


@pytest.fixture
async def faults(tmp_path: Path, clock: ToldClock) -> AsyncIterator[FaultyStore]:
    """Faults around a store that works."""
    store = SqliteStore(str(tmp_path / "faults.db"), clock, disk_free_min_bytes=0)
    await store.start()
    yield FaultyStore(store)
    await store.stop()


async def accept(store: Store, number: int) -> None:
    """Accept event number so and so."""
    await store.accept([AcceptRequest("default", [NewEvent(sample_event(number))])], 0)


async def is_there(store: Store, number: int) -> bool:
    """Whether that event was committed."""
    return await store.event(None, sample_event(number).id) is not None


@pytest.mark.parametrize("after_commit", [False, True])
async def test_fails_at_the_call_it_was_told(faults: FaultyStore, after_commit: bool) -> None:
    """Only call n fails; before the commit nothing of it is there, after the commit all of it is."""
    store = faults.wrapped
    faults.fail("accept", StoreUnavailable("gone"), call=2, after_commit=after_commit)
    await accept(store, 1)
    with pytest.raises(StoreUnavailable, match="gone"):
        await accept(store, 2)
    await accept(store, 3)
    assert [await is_there(store, number) for number in (1, 2, 3)] == [True, after_commit, True]
    assert (faults.calls["accept"], faults.raised["accept"]) == (3, 1)


async def test_counts_from_now_and_several_times(faults: FaultyStore) -> None:
    """A fault told later counts calls from then on, and may last for several."""
    store = faults.wrapped
    await accept(store, 1)
    faults.fail("accept", DataError("bad"), times=2)
    for number in (2, 3):
        with pytest.raises(DataError):
            await accept(store, number)
    await accept(store, 4)
    assert await is_there(store, 4)


async def test_other_methods_and_plain_ones_pass(faults: FaultyStore) -> None:
    """A fault in one method leaves the others alone, the clock included."""
    store = faults.wrapped
    faults.fail("accept", StoreUnavailable("gone"), times=1000)
    assert store.now_ms() > 0
    assert (await store.counts(None)).events == 0
    faults.heal()
    await accept(store, 1)
    assert await is_there(store, 1)


async def test_stalls_until_let_go(faults: FaultyStore) -> None:
    """A stalled call waits, its work undone, and then does it."""
    store = faults.wrapped
    faults.stall("accept")
    waiting = asyncio.create_task(accept(store, 1))
    await asyncio.sleep(0)
    assert not await is_there(store, 1)
    assert not waiting.done()
    faults.let_go()
    await waiting
    assert await is_there(store, 1)


def test_an_unknown_method_is_a_mistake(tmp_path: Path, clock: ToldClock) -> None:
    """A fault for a method that a store does not have, or that cannot fail, is refused."""
    faults = FaultyStore(SqliteStore(str(tmp_path / "unused.db"), clock))
    for method in ("acept", "now_ms"):
        with pytest.raises(ValueError, match=method):
            faults.fail(method, StoreUnavailable("never"))
