"""Kept answers: given again while they hold, never after an erasure, never for a configuration that is over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from hookline.adapters.caches.memory import MemoryCache
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.reads import ERASED_S, TTL_S, Reads, Standing
from hookline.testing.clock import ToldClock
from tests.flow.rig import SilentObserver

EVENT = b"\x01" * 12


@dataclass
class Node:
    """One process: what it knows of the store, and what it asked it."""

    truth: dict[str, str]
    cache: GuardedCache
    clock: ToldClock
    version: int = 1
    erasures: int = 0
    fresh: bool = True
    asked: int = 0
    before_answer: list[asyncio.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        standing = Standing(lambda: self.version, lambda: self.erasures, lambda: self.fresh)
        self.reads = Reads(self.cache, self.clock, standing)

    async def make(self) -> tuple[bytes, bool]:
        self.asked += 1
        answer = self.truth["event"]
        for gate in self.before_answer:
            await gate.wait()
        return answer.encode(), answer != "erased"

    async def look(self) -> str:
        return (await self.reads.event("acme", EVENT, self.make)).decode()

    async def erase(self) -> None:
        await self.reads.forget_event("acme", EVENT)
        self.truth["event"] = "erased"
        await self.reads.forget_event("acme", EVENT)


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def nodes(clock: ToldClock) -> tuple[Node, Node]:
    """Two processes with one cache."""
    truth, cache = {"event": "payload"}, GuardedCache(MemoryCache(clock), clock, SilentObserver())
    return Node(truth, cache, clock), Node(truth, cache, clock)


async def test_an_answer_is_given_again_for_its_time(nodes: tuple[Node, Node], clock: ToldClock) -> None:
    """The store is asked once for all, until the time is over; what it was spared is counted."""
    one, other = nodes
    assert [await node.look() for node in (one, other, one)] == ["payload"] * 3
    assert (one.asked, other.asked) == (1, 0)
    assert one.reads.queries_saved + other.reads.queries_saved == 2
    clock.advance(TTL_S)
    assert await other.look() == "payload"
    assert other.asked == 1


async def test_a_tenant_gets_nothing_of_another(nodes: tuple[Node, Node]) -> None:
    """The same id under another tenant, and other kinds of answers of the same id, are other answers."""
    one, _ = nodes
    await one.look()
    for read in (one.reads.event, one.reads.payload, one.reads.delivery):
        for tenant in ("acme", "acme2", ""):
            await read(tenant, EVENT, one.make)
    assert one.asked == 9


@pytest.mark.rule(n=30)
async def test_an_erased_event_is_gone_everywhere_at_once(nodes: tuple[Node, Node], clock: ToldClock) -> None:
    """Where the cache is shared no process gives the payload after the erasure was answered."""
    one, other = nodes
    await other.look()
    await one.erase()
    for wait_s in (0.0, ERASED_S / 2, ERASED_S, TTL_S):
        clock.advance(wait_s)
        assert (await one.look(), await other.look()) == ("erased", "erased")


async def test_an_answer_from_before_the_erasure_is_not_kept(nodes: tuple[Node, Node], clock: ToldClock) -> None:
    """A process that read before the erasure and would keep it after leaves nothing behind, whoever it was."""
    for node in nodes:
        node.truth["event"] = "payload"
        gate = asyncio.Event()
        node.before_answer.append(gate)
        late = asyncio.create_task(node.look())
        await asyncio.sleep(0)
        await nodes[0].erase()
        gate.set()
        await late  # asked before it was erased: it may be told
        node.before_answer.clear()
        assert [await node.look() for node in nodes] == ["erased", "erased"]
        clock.advance(ERASED_S + TTL_S)


@pytest.mark.rule(n=30)
async def test_without_the_mark_an_erasure_counts_when_it_is_known(clock: ToldClock) -> None:
    """Processes with caches of their own give no answer from before an erasure that they have seen in the store."""
    truth = {"event": "payload"}
    one, other = (Node(truth, GuardedCache(MemoryCache(clock), clock, SilentObserver()), clock) for _ in range(2))
    await other.look()
    await one.erase()
    assert await one.look() == "erased"
    other.erasures = 1
    assert await other.look() == "erased"


async def test_an_answer_by_an_older_number_is_made_anew(nodes: tuple[Node, Node]) -> None:
    """An erasure of another event costs one question for each kept answer, which is then kept again."""
    one, other = nodes
    await one.look()
    one.erasures = other.erasures = 7
    assert [await node.look() for node in (one, other, one, other)] == ["payload"] * 4
    assert one.asked + other.asked == 2
    assert one.cache.counts.hits["event"] == 3


async def test_who_does_not_know_how_the_store_stands_asks_it(nodes: tuple[Node, Node]) -> None:
    """While the store has not been seen for about a second nothing that can change is given from the cache."""
    one, _ = nodes
    await one.look()
    await one.reads.event_type("acme", "order.created", one.make)
    one.fresh = False
    one.truth["event"] = "changed"
    assert await one.look() == "changed"
    assert await one.reads.event_type("acme", "order.created", one.make) == b"changed"


@pytest.mark.rule(n=30)
async def test_an_event_type_changes_with_the_registry(nodes: tuple[Node, Node]) -> None:
    """An answer by an older version of the configuration is never given by a process that knows a newer one."""
    one, other = nodes
    for node in nodes:
        assert await node.reads.event_type("acme", "order.created", node.make) == b"payload"
    assert (one.asked, other.asked) == (1, 0)
    one.truth["event"] = "changed"
    one.version = 2
    assert await one.reads.event_type("acme", "order.created", one.make) == b"changed"
    other.version = 2
    assert await other.reads.event_type("acme", "order.created", other.make) == b"changed"


async def test_what_may_not_be_kept_is_not(nodes: tuple[Node, Node]) -> None:
    """A delivery that can still change is asked for each time."""
    one, _ = nodes
    one.truth["event"] = "erased"
    for _ in range(3):
        assert await one.reads.delivery("acme", EVENT, one.make) == b"erased"
    assert one.asked == 3


async def test_without_a_cache_every_answer_is_made(clock: ToldClock) -> None:
    """No cache is no error."""
    node = Node({"event": "payload"}, None, clock)  # type: ignore[arg-type]
    await node.erase()
    node.truth["event"] = "payload"
    for read in (node.reads.event, node.reads.payload, node.reads.delivery):
        assert await read("acme", EVENT, node.make) == b"payload"
    assert await node.reads.event_type("acme", "x", node.make) == b"payload"
    assert (node.asked, node.reads.queries_saved) == (4, 0)


async def test_what_is_remembered_of_erasures_is_bounded(clock: ToldClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of erasures does not fill the memory."""
    monkeypatch.setattr("hookline.flow.reads.ERASED_MAX", 4)
    node = Node({"event": "payload"}, GuardedCache(MemoryCache(clock), clock, SilentObserver()), clock)
    for number in range(20):
        await node.reads.forget_event("acme", bytes([number]) * 12)
    assert len(node.reads._erased) <= 4
