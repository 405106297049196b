"""Replays of many: jobs, steps that commit their progress, and lists that are walked oldest first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import NotFound, StaleRegistry
from hookline.ports.store import Again, Query, ReplayRow, ReplayStep
from hookline.testing.store_contract.case import Case, StoreContract


async def begun(case: Case, tenant: str = "default", **changes: Any) -> ReplayRow:
    """A replay that runs."""
    row = ReplayRow(case.new_id(), tenant, b'{"opaque": 1}', **changes)
    return await case.store.put_replay(row)


async def step(case: Case, row: ReplayRow, again: list[Again], examined: int | None = None) -> ReplayStep:
    """Its first step."""
    count = len(again) if examined is None else examined
    return await case.store.step_replay(row.id, None, b"\x01" * 16, count, again, await case.version())


def new(case: Case, delivery: bytes, endpoint: bytes, lane: str | None = None) -> Again:
    """A new delivery of a delivery's event."""
    return Again(delivery[: ids.ROOT_BYTES], endpoint, ids.delivery_id(case.new_id(), 1), lane=lane)


def reopened(delivery: bytes, endpoint: bytes) -> Again:
    """The same delivery again."""
    return Again(delivery[: ids.ROOT_BYTES], endpoint, delivery, reopen=True)


class TestReplayJobs(StoreContract):
    """What is known of a replay."""

    async def test_a_job_is_kept_as_it_was_given(self, case: Case) -> None:
        """A replay is stored with its times, found in its own tenant, by itself, in the list and among the running."""
        given = ReplayRow(case.new_id(), "default", b"\x00\xff", until=case.new_id())
        row = await case.store.put_replay(given)
        now_ms = case.store.now_ms()
        assert row == msgspec.structs.replace(given, created_at_ms=now_ms, updated_at_ms=now_ms)
        for tenant in (None, "default"):
            assert await case.store.replay_of(tenant, row.id) == row
            assert list((await case.store.replays(tenant, 10, None)).rows) == [row]
        assert await case.store.replay_of("other", row.id) is None
        assert await case.store.replay_of(None, b"\x01" * 12) is None
        assert list((await case.store.replays("other", 10, None)).rows) == []
        assert list(await case.store.running_replays()) == [row]
        await case.restart()
        assert list(await case.store.running_replays()) == [row]

    @pytest.mark.parametrize("tenant", [None, "default"])
    async def test_pages(self, case: Case, tenant: str | None) -> None:
        """The list is newest first in pages of the limit, those that run are oldest first."""
        rows = [await begun(case) for _ in range(5)]
        theirs = await begun(case, "other")
        expected = [*rows[::-1]] if tenant else [theirs, *rows[::-1]]
        found: list[ReplayRow] = []
        before: bytes | None = None
        while True:
            page = await case.store.replays(tenant, 2, before)
            assert len(page.rows) <= 2
            found += page.rows
            before = page.next
            if before is None:
                break
        assert found == expected
        assert list(await case.store.running_replays()) == [*rows, theirs]

    async def test_it_ends_once(self, case: Case) -> None:
        """A running one ends with a detail; one that has ended stays as it is; another tenant's is not found."""
        row = await begun(case)
        for tenant, replay_id in (("other", row.id), (None, b"\x01" * 12)):
            with pytest.raises(NotFound):
                await case.store.end_replay(tenant, replay_id, "canceled")
        case.clock.advance(1)
        ended = await case.store.end_replay("default", row.id, "failed", "why")
        assert (ended.state, ended.detail, ended.updated_at_ms) == ("failed", "why", case.store.now_ms())
        assert await case.store.end_replay(None, row.id, "canceled") == ended
        assert await case.store.replay_of(None, row.id) == ended
        assert list(await case.store.running_replays()) == []


class TestReplaySteps(StoreContract):
    """A step and its progress are one commit."""

    async def test_new_deliveries(self, case: Case) -> None:
        """A step makes deliveries of old events, counted, due now, behind live ones, with its progress."""
        endpoint, other = await case.endpoints(2)
        first, second = [await case.one(endpoint) for _ in range(2)]
        for claimed in await case.claim(endpoint):
            await case.close(claimed)
        row = await begun(case)
        case.clock.advance(1)
        again = [new(case, first, other), new(case, second, other)]
        result = await step(case, row, again, examined=5)
        assert (result.applied, list(result.made), result.due_s) == (True, [True, True], {other: 0})
        after = await case.store.replay_of(None, row.id)
        assert after is not None
        assert (after.after, after.examined, after.replayed, after.skipped) == (b"\x01" * 16, 5, 2, 3)
        assert (after.state, after.updated_at_ms) == ("running", case.store.now_ms())
        live = await case.one(other)
        leases = await case.claim(other)
        assert [lease.delivery_id for lease in leases] == [live, *(one.delivery_id for one in again)]
        assert [lease.replay for lease in leases] == [False, True, True]
        assert (await case.row(again[0].delivery_id)).replay_of == first[: ids.ROOT_BYTES]
        counts = await case.counts("default", other)
        assert (counts.deliveries, counts.leased) == (3, 3)

    async def test_reopened_deliveries(self, case: Case) -> None:
        """Failed and discarded ones are open again, tries at 0, fence going on, behind live ones."""
        endpoint = await case.endpoint()
        failed, fence = await case.failed(endpoint)
        discarded = await case.one(endpoint)
        await case.store.discard(None, discarded)
        result = await step(case, await begun(case), [reopened(failed, endpoint), reopened(discarded, endpoint)])
        assert (list(result.made), result.due_s) == ([True, True], {endpoint: 0})
        live = await case.one(endpoint)
        claimed = await case.claim(endpoint)
        assert {lease.delivery_id: lease.fence for lease in claimed}[failed] == fence + 1
        assert claimed[0].delivery_id == live
        assert {lease.delivery_id for lease in claimed[1:]} == {failed, discarded}
        assert {lease.tries for lease in claimed} == {0}
        counts = await case.counts("default", endpoint)
        assert (counts.failed, counts.discarded, counts.leased, counts.deliveries) == (0, 0, 3, 3)

    async def test_what_is_not_as_it_was(self, case: Case) -> None:
        """What is open, delivered, unknown, erased, another tenant's or of a deleted endpoint is skipped, the rest
        is made."""
        endpoint, gone = await case.endpoints(2)
        delivered = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        erased, _ = await case.failed(endpoint)
        await case.store.erase(None, erased[: ids.ROOT_BYTES])
        deleted, _ = await case.failed(gone)
        await case.store.delete_endpoint(gone)
        theirs = await case.endpoint("other")
        foreign, _ = await case.failed(theirs, tenant="other")
        fine, _ = await case.failed(endpoint)
        is_open = await case.one(endpoint)
        again = [
            *(reopened(one, endpoint) for one in (is_open, delivered, erased, b"\x01" * 16)),
            reopened(deleted, gone),
            reopened(foreign, theirs),
            new(case, erased, endpoint),
            new(case, foreign, endpoint),
            new(case, b"\x01" * 16, endpoint),
            reopened(fine, endpoint),
        ]
        row = await begun(case)
        result = await step(case, row, again)
        assert list(result.made) == [False] * 9 + [True]
        after = await case.store.replay_of(None, row.id)
        assert after is not None
        assert (after.examined, after.replayed, after.skipped) == (10, 1, 9)
        assert await case.words(is_open, delivered, erased, deleted, foreign, fine) == [
            "pending",
            "delivered",
            "failed",
            "failed",
            "failed",
            "pending",
        ]
        assert (await case.counts()).deliveries == 6

    async def test_a_step_is_made_once(self, case: Case) -> None:
        """Two who make the same step, and a step of a replay that has ended, make it once or never."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        row = await begun(case)
        assert (await step(case, row, [new(case, failed, endpoint)])).applied
        assert not (await step(case, row, [new(case, failed, endpoint)])).applied
        version = await case.version()
        end = b"\x02" * 16
        more = [new(case, failed, endpoint)]
        assert (await case.store.step_replay(row.id, b"\x01" * 16, end, 1, more, version)).applied
        await case.store.end_replay(None, row.id, "canceled")
        assert not (await case.store.step_replay(row.id, end, end, 1, more, version)).applied
        assert not (await case.store.step_replay(b"\x01" * 12, None, end, 1, more, version)).applied
        assert (await case.counts()).deliveries == 3
        after = await case.store.replay_of(None, row.id)
        assert after is not None
        assert (after.state, after.after, after.replayed) == ("canceled", end, 2)

    async def test_with_an_old_registry(self, case: Case) -> None:
        """A step that was planned with an older registry makes nothing."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        row = await begun(case)
        version = await case.version()
        await case.endpoint()
        with pytest.raises(StaleRegistry):
            await case.store.step_replay(row.id, None, b"\x01" * 16, 1, [reopened(failed, endpoint)], version)
        assert await case.words(failed) == ["failed"]
        assert await case.store.replay_of(None, row.id) == row

    async def test_lanes_are_kept(self, case: Case) -> None:
        """Reopened ones take their places in their lane again, new ones its end; one at a time, in order."""
        endpoint = await case.endpoint()
        lane = [await case.one(endpoint, lane="k") for _ in range(3)]
        for _ in range(2):
            assert await case.close(await case.claim_one(endpoint), State.FAILED, lane_waits=False)
        last = new(case, lane[0], endpoint, lane="k")
        again = [*(reopened(delivery, endpoint) for delivery in lane[1::-1]), last]
        result = await step(case, await begun(case), again)
        assert (list(result.made), result.due_s) == ([True] * 3, {endpoint: 0})
        order = [*lane, last.delivery_id]
        assert await case.words(*order) == ["pending", "held", "held", "held"]
        ended = []
        while claimed := await case.claim(endpoint):
            (lease,) = claimed
            ended.append(lease.delivery_id)
            assert await case.close(lease)
        assert ended == order
        assert await case.store.sweep_lanes() == 0

    async def test_it_goes_on_after_a_crash(self, case: Case) -> None:
        """The next process finds the progress together with what was made."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        row = await begun(case)
        again = [new(case, failed, endpoint)]
        await step(case, row, again)
        await case.restart()
        (found,) = await case.store.running_replays()
        assert (found.id, found.after, found.replayed) == (row.id, b"\x01" * 16, 1)
        assert await case.words(again[0].delivery_id) == ["pending"]


class TestOldestFirst(StoreContract):
    """Lists from their beginning."""

    @pytest.mark.parametrize("limit", [1, 2, 4, 250])
    async def test_deliveries(self, case: Case, limit: int) -> None:
        """Open and closed ones are one list, oldest first, whatever the limit and the filters."""
        endpoint, other = await case.endpoints(2)
        deliveries = []
        for number in range(9):
            deliveries.append(await case.one(endpoint if number % 3 else other))
            case.clock.advance(1)
        for claimed in (await case.claim(endpoint))[::2]:
            await case.close(claimed, State.FAILED)
        listed = await case.listed(limit=limit, oldest_first=True)
        assert [row.id for row in listed] == deliveries
        failed = await case.listed(limit=limit, oldest_first=True, state="failed", tenant="default")
        newest_first = await case.listed(state="failed", tenant="default")
        assert len(failed) == 3
        assert [row.id for row in failed] == [row.id for row in newest_first][::-1]
        since_ms, until_ms = ids.time_ms(deliveries[2]), ids.time_ms(deliveries[6])
        rows = await case.listed(limit=limit, oldest_first=True, since_ms=since_ms, until_ms=until_ms)
        assert [row.id for row in rows] == deliveries[2:6]
        rows = await case.listed(limit=limit, oldest_first=True, endpoint_id=other)
        assert [row.id for row in rows] == deliveries[::3]

    @pytest.mark.parametrize("limit", [1, 3, 250])
    async def test_events(self, case: Case, limit: int) -> None:
        """Events are walked oldest first, and the cursor is the last one seen."""
        made = [case.new() for _ in range(5)]
        for one in made:
            await case.accept(one)
        assert await case.listed_events(limit=limit, oldest_first=True) == [one.event for one in made]
        page = await case.store.events(Query(tenant=None, oldest_first=True, before=made[2].event.id))
        assert list(page.rows) == [one.event for one in made[3:]]

    async def test_replays_of_an_event(self, case: Case) -> None:
        """With an event's own deliveries its replays are listed, oldest first too."""
        endpoint = await case.endpoint()
        first = await case.one(endpoint)
        row = await begun(case)
        again = [new(case, first, endpoint) for _ in range(3)]
        await step(case, row, again)
        for limit in (1, 2, 50):
            rows = await case.listed(limit=limit, oldest_first=True, event_id=first[: ids.ROOT_BYTES])
            assert [row.id for row in rows] == [first, *(one.delivery_id for one in again)]
