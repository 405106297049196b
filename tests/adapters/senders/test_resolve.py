"""Names to addresses: bounded in time, in threads, in memory, by tenant and by zone."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest
from tests.adapters.senders.sending import advance_until

from hookline.adapters.senders.deadlines import Deadlines
from hookline.adapters.senders.resolve import (
    ANSWERS_MAX,
    KEEP_FAILURE_S,
    KEEP_S,
    LOOKUP_S_MAX,
    NAMES_MAX,
    WAITING_MAX,
    Address,
    NameNotResolved,
    Resolver,
    system_lookup,
)
from hookline.testing.clock import ToldClock

FAR_S = 1e9


class Names:
    """A resolver of the system that answers, fails and hangs on cue, and counts who is inside."""

    def __init__(self) -> None:
        self.answers: dict[str, Sequence[str]] = {}
        self.asked: Counter[str] = Counter()
        self.inside = 0
        self.inside_most = 0
        self.release = threading.Event()
        self._lock = threading.Lock()

    def lookup(self, host: str) -> Sequence[str]:
        """`slow…` hangs until released, what is not in `answers` fails."""
        with self._lock:
            self.asked[host] += 1
            self.inside += 1
            self.inside_most = max(self.inside_most, self.inside)
        try:
            if host.startswith("slow"):
                self.release.wait(30)
            if host not in self.answers:
                raise OSError("no such name")
            return self.answers[host]
        finally:
            with self._lock:
                self.inside -= 1


@pytest.fixture
def names() -> Iterator[Names]:
    """Two names that answer; whoever hangs is released in the end."""
    names = Names()
    names.answers = {"one.test": ["192.0.2.1"], "two.test": ["192.0.2.2", "2001:db8::2", "192.0.2.2"]}
    yield names
    names.release.set()


def make(names: Names, clock: ToldClock, lookups_max: int = 8) -> Resolver:
    """A resolver over `names`."""
    return Resolver(clock, Deadlines(clock), lookup=names.lookup, lookups_max=lookups_max)


async def resolve(resolver: Resolver, host: str, group: str = "tenant") -> tuple[Address, ...]:
    """All addresses of a name."""
    return await resolver.resolve(host, group=group, deadline_s=FAR_S)


async def inside(names: Names, count: int) -> None:
    """Wait until so many look-ups run."""
    async with asyncio.timeout(10):
        while names.inside < count:
            await asyncio.sleep(0.001)


async def test_all_addresses_are_told_once(names: Names, clock: ToldClock) -> None:
    """All addresses of a name come back, each once, in the order of the system."""
    assert await resolve(make(names, clock), "two.test") == (ip_address("192.0.2.2"), ip_address("2001:db8::2"))


async def test_answers_are_kept_for_a_while(names: Names, clock: ToldClock) -> None:
    """An answer is kept for 30 s and a failure for 1 s, not longer."""
    resolver = make(names, clock)
    for host, keep_s in (("one.test", KEEP_S), ("none.test", KEEP_FAILURE_S)):
        for wait_s, asked in ((0.0, 1), (keep_s - 0.01, 1), (0.02, 2)):
            clock.advance(wait_s)
            try:
                assert await resolve(resolver, host) == (ip_address("192.0.2.1"),)
            except NameNotResolved:
                assert host == "none.test"
            assert names.asked[host] == asked


@pytest.mark.parametrize(
    "answer", [[], ["not an address"], [f"192.0.2.{number}" for number in range(1, ANSWERS_MAX + 2)]]
)
async def test_what_is_no_answer(names: Names, clock: ToldClock, answer: list[str]) -> None:
    """No address, something that is none, or far too many of them is a name that does not resolve."""
    names.answers["odd.test"] = answer
    with pytest.raises(NameNotResolved):
        await resolve(make(names, clock), "odd.test")


async def test_one_look_up_per_name(names: Names, clock: ToldClock) -> None:
    """Whoever asks for a name while it is looked up waits for the same look-up."""
    resolver = make(names, clock)
    names.answers["slow.test"] = ["192.0.2.9"]
    tasks = [asyncio.create_task(resolve(resolver, "slow.test", f"tenant {number}")) for number in range(50)]
    await inside(names, 1)
    tasks[0].cancel()
    names.release.set()
    assert {await task for task in tasks[1:]} == {(ip_address("192.0.2.9"),)}
    assert names.asked["slow.test"] == 1


async def test_nobody_waits_longer_than_2_s(names: Names, clock: ToldClock) -> None:
    """A name that takes over 2 s does not resolve; nobody waits for it again while its look-up still hangs."""
    resolver = make(names, clock)
    task = asyncio.create_task(resolve(resolver, "slow.test"))
    await inside(names, 1)
    passed_s = await advance_until(clock, task)
    assert LOOKUP_S_MAX <= passed_s <= LOOKUP_S_MAX + 0.25
    with pytest.raises(NameNotResolved):
        await task
    with pytest.raises(NameNotResolved):
        await resolve(resolver, "slow.test")
    assert names.asked["slow.test"] == 1


async def test_the_callers_deadline_comes_first(names: Names, clock: ToldClock) -> None:
    """Where the attempt has less time left than 2 s, it waits no longer than that."""
    resolver = make(names, clock)
    task = asyncio.create_task(resolver.resolve("slow.test", group="tenant", deadline_s=clock.monotonic_s() + 0.5))
    await inside(names, 1)
    assert 0.5 <= await advance_until(clock, task) <= 0.75
    with pytest.raises(NameNotResolved):
        await task


async def test_a_tenants_slow_names_do_not_block_others(names: Names, clock: ToldClock) -> None:
    """A tenant whose names all hang has at most half of the threads, and another tenant is served at once."""
    resolver = make(names, clock, lookups_max=8)
    hostile = [asyncio.create_task(resolve(resolver, f"slow.zone-{n}.test", "hostile")) for n in range(40)]
    await inside(names, 4)
    assert await resolve(resolver, "one.test", "other") == (ip_address("192.0.2.1"),)
    assert names.inside == 4
    for task in hostile:
        await advance_until(clock, task)
    assert all(isinstance(task.exception(), NameNotResolved) for task in hostile)
    # Nobody waits for the stuck ones, but they still count against their tenant.
    more = asyncio.create_task(resolve(resolver, "slow.more.test", "hostile"))
    assert await resolve(resolver, "two.test", "other")
    assert names.asked["slow.more.test"] == 0
    await advance_until(clock, more)
    assert isinstance(more.exception(), NameNotResolved)


async def test_a_zones_slow_names_do_not_block_its_tenants_others(names: Names, clock: ToldClock) -> None:
    """A DNS zone that hangs has an eighth of the threads, so that the same tenant's other names resolve."""
    resolver = make(names, clock, lookups_max=16)
    tasks = [asyncio.create_task(resolve(resolver, f"slow-{n}.hostile.test")) for n in range(20)]
    await inside(names, 2)
    assert await resolve(resolver, "one.test") == (ip_address("192.0.2.1"),)
    assert names.inside == 2
    names.release.set()
    for task in tasks:
        with pytest.raises(NameNotResolved):
            await task


async def test_threads_are_bounded(names: Names, clock: ToldClock) -> None:
    """However many tenants ask, no more look-ups run than allowed; the others come when there is room."""
    resolver = make(names, clock, lookups_max=5)
    tasks = []
    for number in range(30):
        host = f"slow.zone-{number}.test"
        names.answers[host] = ["192.0.2.9"]
        tasks.append(asyncio.create_task(resolve(resolver, host, f"tenant {number}")))
    await inside(names, 5)
    names.release.set()
    assert {await task for task in tasks} == {(ip_address("192.0.2.9"),)}
    assert names.inside_most == 5


async def test_who_waits_is_bounded(names: Names, clock: ToldClock) -> None:
    """Beyond 1,024 names that wait for a thread the next is refused at once, and one that nobody wants is dropped."""
    resolver = make(names, clock, lookups_max=1)
    first = asyncio.create_task(resolve(resolver, "slow.test"))
    await inside(names, 1)
    waiting = [asyncio.create_task(resolve(resolver, f"host-{n}.zone-{n}.test")) for n in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(NameNotResolved):
        await resolve(resolver, "one.test")
    waiting[0].cancel()
    await asyncio.sleep(0)
    names.release.set()
    assert await resolve(resolver, "two.test")
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert names.asked["host-0.zone-0.test"] == 0


async def test_memory_is_bounded(names: Names, clock: ToldClock) -> None:
    """Of the names looked up, the latest few thousand are remembered."""
    resolver = make(names, clock)
    names.answers.update({f"{number}.test": ["192.0.2.1"] for number in range(NAMES_MAX + 1)})
    for number in range(NAMES_MAX + 1):
        resolver._known[f"{number}.test"] = (FAR_S, (ip_address("192.0.2.1"),))
    del resolver._known[f"{NAMES_MAX}.test"]
    await resolve(resolver, "one.test")
    assert len(resolver._known) == NAMES_MAX
    await resolve(resolver, "0.test")
    assert names.asked["0.test"] == 1


async def test_closing(names: Names, clock: ToldClock) -> None:
    """Closing tells everybody who waits, also those whose look-up hangs, and nothing is started any more."""
    resolver = make(names, clock, lookups_max=1)
    tasks = [asyncio.create_task(resolve(resolver, host)) for host in ("slow.test", "one.test")]
    await inside(names, 1)
    resolver.close()
    for task in tasks:
        with pytest.raises(NameNotResolved):
            await task
    with pytest.raises(NameNotResolved):
        await resolve(resolver, "two.test")
    assert names.asked == {"slow.test": 1}


def test_the_systems_own_look_up() -> None:
    """The system's resolver answers for localhost, and a name that cannot be one is an OSError or ValueError."""
    assert set(system_lookup("localhost")) & {"127.0.0.1", "::1"}
    for host in ("a" * 300 + ".invalid", "host.invalid", "é.test"):
        with pytest.raises((OSError, ValueError)):
            system_lookup(host)
