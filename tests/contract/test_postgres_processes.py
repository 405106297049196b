"""Several processes on one PostgreSQL: nothing is claimed twice, lanes keep their order, the dead are replaced.

`make claims` (`DELIVERIES=1000000`) is the long form of the first, and prints what was counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("asyncpg")

from tests.contract.postgres_place import DELIVERIES

from hookline.adapters.stores.postgres import PostgresStore
from hookline.core.delivery import State
from hookline.core.errors import StoreUnavailable
from hookline.ports.store import Accepted, Store
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract.case import Case, entry, outcome

CLAIMERS = 20
ENDPOINTS = 16
LANES = 6
APPENDERS = 4
PER_APPENDER = 60


class Processes:
    """As many stores on one database as a test wants."""

    def __init__(self, dsn: str, clock: ToldClock, stack: AsyncExitStack) -> None:
        self._dsn = dsn
        self.clock = clock
        self._stack = stack
        self._first: Case | None = None

    async def open(self, **more: object) -> Case:
        """One more."""
        settings = {"told": True, "unsafe": True, "connections_max": 1} | more
        store = PostgresStore(self._dsn, self.clock, **settings)  # type: ignore[arg-type]
        await store.start()
        self._stack.push_async_callback(store.stop)

        async def none() -> Store:
            raise NotImplementedError

        case = Case(store, self.clock, none)
        self._first = self._first or case
        case.new_id = self._first.new_id  # type: ignore[method-assign]  # no two make the same
        return case


@pytest.fixture
async def processes(dsn: str, clock: ToldClock) -> AsyncIterator[Processes]:
    """On a new database."""
    async with AsyncExitStack() as stack:
        yield Processes(dsn, clock, stack)


@pytest.mark.rule(n=10)
async def test_nothing_is_claimed_twice(processes: Processes) -> None:
    """20 claimers take 4,000 deliveries (`DELIVERIES`) of 16 endpoints: each once, and each endpoint's cap holds at
    every moment."""
    first = await processes.open()
    endpoints = await first.endpoints(ENDPOINTS)
    for start in range(0, DELIVERIES, 500):
        await first.accept(*(first.new(endpoints[(start + n) % ENDPOINTS]) for n in range(500)))
    claimed: Counter[bytes] = Counter()
    held: Counter[bytes] = Counter()
    cap, worst = 8, 0

    async def work(case: Case, number: int) -> None:
        nonlocal worst
        at = number
        while claimed.total() < DELIVERIES:
            at += 1
            asked = [entry(endpoints[(at + n) % ENDPOINTS], 8, concurrency_max=cap) for n in range(4)]
            found = (await case.ask(*asked)).claimed
            for one in found:
                claimed[one.delivery_id] += 1
                held[one.endpoint_id] += 1
                worst = max(worst, held[one.endpoint_id])
            if found:
                for one in found:  # before the store knows: a claim that comes between may be counted too high
                    held[one.endpoint_id] -= 1
                result = await case.record(*(outcome(one, State.DELIVERED) for one in found))
                assert all(result.applied)

    cases = [await processes.open() for _ in range(CLAIMERS)]
    began_s = time.monotonic()
    await asyncio.gather(*(work(case, number) for number, case in enumerate(cases)))
    for_s = time.monotonic() - began_s
    twice = sum(count > 1 for count in claimed.values())
    print(f"\n{CLAIMERS} claimers, {DELIVERIES} deliveries in {for_s:.0f} s: {twice} claimed twice")
    assert len(claimed) == DELIVERIES
    assert set(claimed.values()) == {1}
    assert worst <= cap
    counts = await first.counts()
    assert (counts.delivered, counts.pending, counts.leased) == (DELIVERIES, 0, 0)


@pytest.mark.rule(n=13)
async def test_lanes_keep_their_order(processes: Processes) -> None:
    """Appenders and claimers of several processes at once: all goes out, in each lane in the order of its places, and
    no lane is left without a head."""
    cases = [await processes.open() for _ in range(APPENDERS)]
    endpoint = await cases[0].endpoint()
    sent: dict[str, list[bytes]] = defaultdict(list)

    async def append(case: Case, number: int) -> None:
        for n in range(PER_APPENDER):
            await case.one(endpoint, lane=f"lane{(number + n) % LANES}")

    async def claim(case: Case) -> None:
        while sum(map(len, sent.values())) < APPENDERS * PER_APPENDER:
            for one in await case.claim(endpoint, 4):
                assert one.lane is not None
                sent[one.lane].append(one.delivery_id)
                assert await case.close(one)

    claimers = [await processes.open() for _ in range(3)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(append(c, n) for n, c in enumerate(cases)), *(claim(c) for c in claimers))
    store = cases[0].store
    assert isinstance(store, PostgresStore)
    assert await store.sweep_lanes() == 0
    stored: dict[str, list[bytes]] = defaultdict(list)
    for row in await store._rows("SELECT id, lane FROM closed ORDER BY seq"):
        stored[row["lane"]].append(row["id"])
    assert stored == sent


@pytest.mark.rule(n=16)
async def test_who_was_taken_for_dead_leases_as_another_one(processes: Processes) -> None:
    """A process that stood still so long that its leases were taken back has a new number when it claims again, and
    what it claims is its own."""
    one, other = await processes.open(), await processes.open()
    endpoint = await one.endpoint()
    delivery = await one.one(endpoint)
    lease = await one.claim_one(endpoint)
    assert isinstance(one.store, PostgresStore)
    before = one.store.instance
    await one.store._rows("UPDATE instances SET dead = true WHERE id = $1", before)
    (ref,) = await other.store.lost()
    assert ref.delivery_id == delivery
    assert await other.close(ref, State.PENDING, lost=1, tries=0, attempt=None)
    assert not await one.close(lease)
    again = await one.claim_one(endpoint)
    assert (again.delivery_id, again.lost) == (delivery, 1)
    assert one.store.instance != before
    assert list(await other.store.lost()) == []
    assert await one.close(again)


@pytest.mark.rule(n=16)
async def test_two_of_a_name_do_not_end_each_other_for_ever(processes: Processes) -> None:
    """The second start under a name ends the first process; that one goes on without the name."""
    first = await processes.open(name="twin")
    second = await processes.open(name="twin")
    endpoint = await second.endpoint()
    await second.one(endpoint)
    await first.claim_one(endpoint)
    assert isinstance(second.store, PostgresStore)
    names = await second.store._rows("SELECT name FROM instances WHERE NOT dead ORDER BY id")
    assert [row["name"] for row in names] == ["twin", ""]
    assert list(await second.store.lost()) == []


@pytest.mark.rule(n=25)
async def test_a_server_that_does_not_flush_is_refused(processes: Processes) -> None:
    """Whoever does not say that he accepts it does not start on a server with fsync off, and is told why."""
    with pytest.raises(StoreUnavailable, match=r"fsync.*HOOKLINE_DB_UNSAFE"):
        await processes.open(unsafe=False)


async def test_the_pulse_tells_how_things_stand(processes: Processes) -> None:
    """Each process sees the newest configuration, how many deliver, and exactly one that is the first of them."""
    api = await processes.open(delivers=False)
    workers = [await processes.open(), await processes.open()]
    pulses = [await case.store.pulse() for case in (api, *workers)]
    assert [pulse.workers for pulse in pulses] == [2, 2, 2]
    assert [pulse.first for pulse in pulses] == [False, True, False]
    await api.endpoint()
    assert (await workers[1].store.pulse()).registry_version == pulses[0].registry_version + 1
    await workers[0].store.stop()
    assert (await workers[1].store.pulse()).first


@pytest.mark.rule(n=30)
async def test_the_stream_waits_for_what_may_still_come_before(processes: Processes, dsn: str) -> None:
    """While a transaction with a lower number is open, what was committed after it is not shown; a reader that began
    meanwhile sees it once that has ended, and misses nothing."""
    import asyncpg

    case = await processes.open()
    before = await case.store.stream_end()
    other = await asyncpg.connect(dsn)
    transaction = other.transaction()
    await transaction.start()
    await other.fetchval("SELECT pg_current_xact_id()")
    event = case.new()
    await case.accept(event)
    assert list(await case.store.stream(before)) == []
    began = await case.store.stream_end()
    await transaction.commit()
    await other.close()
    for position in (before, began):
        (entry_,) = await case.store.stream(position)
        assert isinstance(entry_.what, Accepted)
        assert entry_.what.event.id == event.event.id
