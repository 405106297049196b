"""The books under expiry, purging, erasing, confirmation and replays of many: at random, recounted after each step."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict
from hookline.ports.store import EXPIRED_KEPT_S, Again, Claimed, DeliveryRow, Keep, ReplayRow
from hookline.testing.store_contract.books import TENANTS, WORDS, BookWalk, counted, words_of
from hookline.testing.store_contract.case import Case, StoreContract, outcome

KEEP = Keep(1000.0, {"other": 300.0})
OPEN = ("pending", "leased", "held", "unconfirmed")


class RetentionWalk(BookWalk):
    """A book walk in which time passes, things end, and what was removed is still counted."""

    def __init__(self, case: Case, chance: random.Random) -> None:
        super().__init__(case, chance)
        self.purged: dict[str, Counter[str]] = {tenant: Counter() for tenant in TENANTS}
        self.erased: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        """Deliveries whose success counted."""
        self.jobs: list[ReplayRow] = []

    def old(self, identifier: bytes, tenant: str) -> bool:
        """Whether it is past its tenant's retention."""
        return ids.time_ms(identifier) < self.case.store.now_ms() - KEEP.of(tenant) * 1000

    async def claim(self) -> None:
        """Whatever is due of one endpoint, and never anything that was erased."""
        leased = len(self.leases)
        await super().claim()
        for lease in self.leases[leased:]:
            assert isinstance(lease, Claimed)
            assert lease.event.id not in self.erased

    async def record(self) -> None:
        """Some outcomes, some with a new event: it is made unless an early success settled its delivery."""
        self.chance.shuffle(self.leases)
        count = self.chance.randint(1, 4)
        leases, self.leases = self.leases[:count], self.leases[count:]
        items = []
        for lease in leases:
            after = self.chance.choice((State.PENDING, State.DELIVERED, State.DELIVERED, State.FAILED))
            endpoint = self.endpoint()
            event = self.case.new(endpoint, tenant=self.endpoints[endpoint])
            events = [event] if self.chance.random() < 0.3 else []
            items.append(outcome(lease, after, events=events, lane_waits=self.chance.random() < 0.5, reason="timeout"))
        assert all((await self.case.record(*items)).applied)
        for item in items:
            for new in item.events:
                if await self.case.store.event(None, new.event.id) is None:
                    assert await self.case.words(item.delivery_id) == ["unconfirmed"]
                    continue
                self.made[new.event.tenant] += 1
                self.events[new.event.tenant] += 1

    async def answered(self) -> None:
        """Some receivers answered, and are to confirm."""
        self.chance.shuffle(self.leases)
        count = self.chance.randint(1, 3)
        leases, self.leases = self.leases[:count], self.leases[count:]
        items = [outcome(lease, State.UNCONFIRMED, wait_s=self.chance.choice((5.0, 500.0))) for lease in leases]
        assert all((await self.case.record(*items)).applied)

    async def confirm(self) -> None:
        """A receiver speaks, in time or not."""
        rows = await self.case.listed(state=self.chance.choice(("leased", "unconfirmed", "delivered")))
        if rows:
            row = self.chance.choice(rows)
            success = self.chance.random() < 0.5
            if await self.case.store.confirm(row.id, success, b"said") and success:
                self.confirmed.add(row.id)

    async def settle(self) -> None:
        """What is due of the unconfirmed gets its end, once."""
        for found in await self.case.store.unconfirmed(self.chance.randint(1, 5)):
            assert not found.event.erased
            assert bool(found.success) == (found.ref.delivery_id in self.confirmed)
            after = self.chance.choice((State.PENDING, State.FAILED, State.DISCARDED))
            item = outcome(found.ref, after, attempt=None, tries=0)
            if found.success:
                assert list((await self.case.record(item)).applied) == [False]
                item = outcome(found.ref, State.DELIVERED, attempt=None, tries=0)
            assert list((await self.case.record(item, item)).applied) == [True, False]

    async def time_passes(self) -> None:
        """Minutes, sometimes more than a day."""
        self.case.clock.advance(self.chance.choice((1.0, 60.0, 200.0, 400.0, 400.0, EXPIRED_KEPT_S + 1)))

    async def expire(self) -> None:
        """Some of what is open for too long is failed."""
        refs = await self.case.store.expired(KEEP, self.chance.randint(1, 20))
        leased = {lease.delivery_id for lease in self.leases}
        assert all(self.old(ref.delivery_id, ref.tenant) for ref in refs)
        assert not {ref.delivery_id for ref in refs} & leased
        waits = self.chance.random() < 0.5
        items = [outcome(ref, State.FAILED, reason="expired", attempt=None, tries=0, lane_waits=waits) for ref in refs]
        assert all((await self.case.record(*items)).applied)

    async def rows(self) -> dict[bytes, DeliveryRow]:
        """Every delivery that is listed."""
        return {row.id: row for row in await self.case.listed(limit=250)}

    async def purge(self) -> None:
        """Some steps: only closed ones go, past their time, and an event after its last delivery."""
        rows, events = await self.rows(), {event.id: event for event in await self.case.listed_events(limit=250)}
        deliveries = removed = 0
        for _ in range(self.chance.randint(1, 12)):
            step = await self.case.store.purge(KEEP, self.chance.randint(1, 30))
            deliveries, removed = deliveries + step.deliveries, removed + step.events
        left = await self.rows()
        gone = [row for row in rows.values() if row.id not in left]
        assert len(gone) == deliveries
        for row in gone:
            assert row.state not in OPEN
            assert self.old(row.id, row.tenant)
            assert row.finished_at_ms is not None
            kept_ms = EXPIRED_KEPT_S * 1000 if row.reason == "expired" else 0
            assert row.finished_at_ms <= self.case.store.now_ms() - kept_ms
            assert list(await self.case.store.attempts(row.id)) == []
            self.purged[row.tenant][row.state] += 1
        still = {event.id for event in await self.case.listed_events(limit=250)}
        assert len(events.keys() - still) == removed
        assert all(self.old(event, events[event].tenant) for event in events.keys() - still)
        assert {row.event_id for row in left.values()} <= still

    async def erase(self) -> None:
        """One event's payload goes, unless it is in flight."""
        events = await self.case.listed_events(limit=30)
        if not events:
            return
        event = self.chance.choice(events)
        rows = await self.case.listed(event_id=event.id, limit=250)
        is_open = [row for row in rows if row.state in OPEN and row.id not in self.confirmed]
        if any(row.state == "leased" for row in rows):
            with pytest.raises(Conflict):
                await self.case.store.erase(None, event.id)
            return
        discarded = await self.case.store.erase(event.tenant, event.id)
        assert discarded >= len(is_open)
        self.erased.add(event.id)
        found = await self.case.store.event(None, event.id)
        assert found is not None
        assert (found.erased, found.data) == (True, b"")
        rows = await self.case.listed(event_id=event.id, limit=250)
        assert not [row for row in rows if row.state in OPEN]

    async def retry_or_discard(self) -> None:
        """What a person does to one delivery; what was erased is never retried."""
        word = self.chance.choice(("failed", "discarded", "pending", "unconfirmed"))
        rows = [row for row in await self.case.listed(state=word) if row.endpoint_id in self.endpoints]
        if not rows:
            return
        row = self.chance.choice(rows)
        if row.id in self.confirmed:
            with pytest.raises(Conflict, match="confirmed"):
                await self.case.store.discard(None, row.id)
        elif word in ("pending", "unconfirmed"):
            await self.case.store.discard(None, row.id)
        elif row.event_id in self.erased:
            with pytest.raises(Conflict):
                await self.case.store.reopen(None, row.id)
        else:
            await self.case.store.reopen(None, row.id)

    async def replay(self) -> None:
        """A step of a replay of many: some new, some again, some that cannot be."""
        if not self.jobs or self.chance.random() < 0.3:
            begun = ReplayRow(self.case.new_id(), self.chance.choice(TENANTS), b"{}")
            self.jobs.append(await self.case.store.put_replay(begun))
        job = self.jobs[-1]
        rows = list((await self.rows()).values())
        self.chance.shuffle(rows)
        root = self.case.new_id()
        again = []
        for ordinal, row in enumerate(rows[:4], 1):
            reopen = self.chance.random() < 0.5
            delivery = row.id if reopen else ids.delivery_id(root, ordinal)
            endpoint = row.endpoint_id if row.endpoint_id in self.endpoints else self.endpoint()
            if reopen or self.endpoints[endpoint] == row.tenant:
                lane = self.chance.choice((None, "k"))
                again.append(Again(row.event_id, endpoint, delivery, reopen=reopen, lane=lane))
        after = self.case.new_id()
        version = await self.case.version()
        step = await self.case.store.step_replay(job.id, job.after, after, len(again), again, version)
        assert step.applied
        self.made[job.tenant] += sum(made and not one.reopen for made, one in zip(step.made, again, strict=True))
        assert not {one.event_id for made, one in zip(step.made, again, strict=True) if made} & self.erased
        found = await self.case.store.replay_of(job.tenant, job.id)
        assert found is not None
        assert found.replayed - job.replayed == sum(step.made)
        if self.chance.random() < 0.3:
            found = await self.case.store.end_replay(None, job.id, "done")
            self.jobs.pop()
        else:
            self.jobs[-1] = found

    async def step(self) -> str:
        """One random move; its name."""
        moves = {
            self.accept: 6.0,
            self.claim: 5.0,
            self.record: 4.0,
            self.answered: 2.0,
            self.confirm: 2.0,
            self.settle: 2.0,
            self.time_passes: 4.0,
            self.expire: 2.0,
            self.purge: 3.0,
            self.erase: 1.0,
            self.set_state: 0.7,
            self.retry_or_discard: 2.0,
            self.replay: 1.5,
            self.delete: 0.5,
            self.upkeep: 3.0,
            self.restart: 0.4,
        }
        move = self.chance.choices(list(moves), weights=list(moves.values()))[0]
        await move()
        return move.__name__

    async def recount(self) -> None:
        """What is listed and what was purged is what the books say, also for each endpoint's open ones."""
        while (await self.case.store.unfold())[1]:
            pass
        rows = (await self.rows()).values()
        for row in rows:
            assert row.id not in self.confirmed or row.state in ("leased", "unconfirmed", "delivered")
        for tenant in TENANTS:
            states = Counter(row.state for row in rows if row.tenant == tenant)
            assert counted(states + self.purged[tenant]) == words_of(await self.case.counts(tenant))
        for endpoint, tenant in self.endpoints.items():
            states = Counter(row.state for row in rows if row.endpoint_id == endpoint)
            counts = words_of(await self.case.counts(tenant, endpoint))
            assert {word: states[word] for word in OPEN} == {word: counts[word] for word in OPEN}
            assert all(states[word] <= counts[word] for word in WORDS)


@pytest.mark.rule(n=15)
class TestRetentionWalk(StoreContract):
    """The identity, and that nothing open ever goes, as a property."""

    @pytest.mark.parametrize("seed", range(5))
    async def test_the_books_add_up_although_history_goes(self, case: Case, seed: int) -> None:
        """After each of many random moves a recount of rows and of what was purged gives the books, no lane is
        stuck, and nothing open or young was removed."""
        walk = RetentionWalk(case, random.Random(seed))  # noqa: S311  repeated by its seed
        await walk.prepare()
        moves: list[str] = []
        for _ in range(150):
            moves.append(await walk.step())
            await walk.check()
            await walk.recount()
            assert await case.store.sweep_lanes() == 0, (seed, moves)
        assert sum(purged.total() for purged in walk.purged.values()) > 0
