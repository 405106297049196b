"""Lanes under random use: against a model step by step, and under concurrent appenders and workers."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import AcceptRequest, Claimed, NewDelivery, NewEvent, OpenRef
from hookline.testing.store_contract.case import LEASE_S, Case, StoreContract, outcome

LANES = ("a", "b")
OPEN = ("pending", "held", "leased")


class LaneModel:
    """What must be said of each delivery, computed anew from the order, the leases, and what blocks."""

    def __init__(self) -> None:
        self.order: dict[str, list[bytes]] = {lane: [] for lane in LANES}
        self.closed: dict[bytes, str] = {}
        self.leases: dict[bytes, Claimed | OpenRef] = {}
        self.blocking: set[bytes] = set()

    def words(self) -> dict[bytes, str]:
        """The state of every delivery: the first open one before any block is the head, unless one is leased."""
        words = dict(self.closed)
        for deliveries in self.order.values():
            free = not any(delivery in self.leases for delivery in deliveries)
            for delivery in deliveries:
                if delivery in self.blocking:
                    free = False
                if delivery in self.leases:
                    words[delivery] = "leased"
                elif delivery not in self.closed:
                    words[delivery] = "pending" if free else "held"
                    free = False
        return words

    def end(self, delivery: bytes, word: str, *, blocks: bool = False) -> None:
        """It is closed."""
        self.leases.pop(delivery, None)
        self.closed[delivery] = word
        self.blocking.discard(delivery)
        if blocks:
            self.blocking.add(delivery)

    def reopen(self, delivery: bytes) -> None:
        """It is open again, at its place."""
        del self.closed[delivery]
        self.blocking.discard(delivery)


class LaneWalk:
    """One random walk over one endpoint's lanes."""

    def __init__(self, case: Case, endpoint: bytes, chance: random.Random) -> None:
        self.case = case
        self.endpoint = endpoint
        self.chance = chance
        self.model = LaneModel()

    def any_with(self, *words: str) -> bytes | None:
        """Some delivery in one of these states."""
        found = [delivery for delivery, word in self.model.words().items() if word in words]
        return self.chance.choice(found) if found else None

    async def accept(self) -> None:
        """One event, handed off or not."""
        lane = self.chance.choice(LANES)
        handed_off = self.chance.random() < 0.4
        new = self.case.new(self.endpoint, lane=lane, lease_s=LEASE_S if handed_off else None)
        delivery = ids.delivery_id(new.event.id, 1)
        states = (await self.case.accept(new))[0].states
        self.model.order[lane].append(delivery)
        if handed_off and self.model.words()[delivery] == "pending":
            self.model.leases[delivery] = OpenRef(
                delivery, 1, self.endpoint, new.event.tenant, new.event.id, State.LEASED
            )
        assert State(states[0]).word == self.model.words()[delivery]

    async def claim(self) -> None:
        """Some of what is pending."""
        slots = self.chance.randint(1, 3)
        expected = {delivery for delivery, word in self.model.words().items() if word == "pending"}
        claimed = await self.case.claim(self.endpoint, slots=slots)
        assert len(claimed) == min(slots, len(expected))
        assert {c.delivery_id for c in claimed} <= expected
        self.model.leases.update({c.delivery_id: c for c in claimed})

    async def record(self) -> None:
        """The end of an attempt, or its lease given back."""
        delivery = self.any_with("leased")
        if delivery is None:
            return
        lease = self.model.leases[delivery]
        what = self.chance.choice(("delivered", "again", "wait", "skip", "discarded", "release"))
        if what == "release":
            assert list(await self.case.store.release([(lease.delivery_id, lease.fence)])) == [True]
            del self.model.leases[delivery]
        elif what == "again":
            assert await self.case.close(lease, State.PENDING)
            del self.model.leases[delivery]
        elif what in {"wait", "skip"}:
            assert await self.case.close(lease, State.FAILED, lane_waits=what == "wait")
            self.model.end(delivery, "failed", blocks=what == "wait")
        else:
            after = State.DELIVERED if what == "delivered" else State.DISCARDED
            assert await self.case.close(lease, after)
            self.model.end(delivery, what)

    async def reopen(self) -> None:
        """A person retries a closed one."""
        delivery = self.any_with("failed", "discarded")
        if delivery is not None:
            await self.case.store.reopen(None, delivery)
            self.model.reopen(delivery)

    async def discard(self) -> None:
        """A person discards one that is not leased."""
        delivery = self.any_with("pending", "held", "failed")
        if delivery is not None:
            await self.case.store.discard(None, delivery)
            self.model.end(delivery, "discarded")

    async def restart(self) -> None:
        """The process dies and the next one takes its leases back."""
        await self.case.restart()
        lost = await self.case.store.lost()
        assert {ref.delivery_id for ref in lost} == set(self.model.leases)
        result = await self.case.record(*(outcome(ref, State.PENDING, lost=1, tries=0, attempt=None) for ref in lost))
        assert all(result.applied)
        self.model.leases.clear()

    async def step(self) -> str:
        """One random move; its name."""
        moves = (self.accept, self.claim, self.record, self.reopen, self.discard, self.restart)
        move = self.chance.choices(moves, weights=(6, 5, 6, 3, 2, 0.3))[0]
        await move()
        return move.__name__


@pytest.mark.rule(n=13)
class TestLaneModel(StoreContract):
    """Every state of every delivery, after every step."""

    @pytest.mark.parametrize("seed", range(6))
    async def test_lanes_do_what_their_model_says(self, case: Case, seed: int) -> None:
        """After each of many random moves all deliveries of all lanes are in the states of the model."""
        walk = LaneWalk(case, await case.endpoint(), random.Random(seed))  # noqa: S311  repeated by its seed
        moves: list[str] = []
        for _ in range(80):
            moves.append(await walk.step())
            listed = {row.id: row.state for row in await case.listed(limit=250)}
            assert listed == walk.model.words(), (seed, moves)
            assert await case.store.sweep_lanes() == 0, (seed, moves)
            await case.counts("default", walk.endpoint)


class Crowd:
    """Appenders and workers that run at the same time on a few lanes of one endpoint."""

    def __init__(self, case: Case, endpoint: bytes, version: int, chance: random.Random) -> None:
        self.case = case
        self.endpoint = endpoint
        self.version = version
        self.chance = chance
        self.accepted: dict[str, list[set[bytes]]] = defaultdict(list)
        self.running: set[str] = set()
        self.ended: dict[str, list[bytes]] = defaultdict(list)

    def new(self, lane: str) -> NewEvent:
        """An event in the lane, some to be handed off."""
        lease_s = LEASE_S if self.chance.random() < 0.5 else None
        return NewEvent(self.case.event(ordering_key=lane), [NewDelivery(self.endpoint, 1, lane=lane, lease_s=lease_s)])

    async def append(self, lane: str, wave: set[bytes]) -> None:
        """Accept one event; work on it at once if it was handed off."""
        new = self.new(lane)
        delivery = ids.delivery_id(new.event.id, 1)
        wave.add(delivery)
        result = await self.case.store.accept([AcceptRequest("default", [new])], self.version)
        if result[0].items[0].states == bytes([State.LEASED]):
            lease = OpenRef(delivery, 1, self.endpoint, "default", new.event.id, State.LEASED)
            await self.attempt(lane, lease)

    async def attempt(self, lane: str, lease: Claimed | OpenRef) -> None:
        """Be the only one on the lane, then record some outcome."""
        assert lane not in self.running, "two of one lane at once"
        self.running.add(lane)
        await asyncio.sleep(0)
        what = self.chance.random()
        self.running.remove(lane)  # before the commit: from then on the next may run
        if what < 0.6:
            self.ended[lane].append(lease.delivery_id)
            assert await self.case.close(lease)
        elif what < 0.7:
            self.ended[lane].append(lease.delivery_id)
            assert await self.case.close(lease, State.FAILED, lane_waits=False)
        elif what < 0.9:
            assert await self.case.close(lease, State.PENDING)
        else:
            assert list(await self.case.store.release([(lease.delivery_id, lease.fence)])) == [True]

    async def work(self, rounds: int) -> None:
        """Claim and attempt, again and again."""
        for _ in range(rounds):
            for claimed in await self.case.claim(self.endpoint, slots=2):
                assert claimed.lane is not None
                await self.attempt(claimed.lane, claimed)


@pytest.mark.rule(n=13)
class TestConcurrentLanes(StoreContract):
    """Lanes with concurrent appenders: no lane stalls, none runs twice, none goes out of order."""

    @pytest.mark.parametrize("seed", range(4))
    async def test_appenders_and_workers_at_once(self, case: Case, seed: int) -> None:
        """Under racing accepts, claims and records each lane keeps its order, one at a time, and comes to its end."""
        endpoint = await case.endpoint()
        crowd = Crowd(case, endpoint, await case.version(), random.Random(seed))  # noqa: S311  repeated by its seed
        for _ in range(4):
            appends = []
            for lane in ("a", "b", "c"):
                wave: set[bytes] = set()
                crowd.accepted[lane].append(wave)
                appends += [crowd.append(lane, wave) for _ in range(5)]
            await asyncio.gather(*appends, *(crowd.work(3) for _ in range(4)))
            await self.check_heads(case)
        for _ in range(1000):
            if not await case.store.due():
                break
            await crowd.work(1)
        assert await case.store.sweep_lanes() == 0
        assert (await case.counts()).pending + (await case.counts()).held == 0
        for lane, waves in crowd.accepted.items():
            rank = {delivery: number for number, wave in enumerate(waves) for delivery in wave}
            ranks = [rank[delivery] for delivery in crowd.ended[lane]]
            assert len(ranks) == len(rank)
            assert ranks == sorted(ranks)

    async def check_heads(self, case: Case) -> None:
        """Every lane with anything open has exactly one that is pending."""
        by_lane: dict[str | None, list[str]] = defaultdict(list)
        for row in await case.listed(limit=250):
            if row.state in OPEN:
                by_lane[row.ordering_key].append(row.state)
        for words in by_lane.values():
            assert words.count("pending") == 1
            assert words.count("held") == len(words) - 1
        assert await case.store.sweep_lanes() == 0
