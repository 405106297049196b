"""A payload is erased on request; everything else of its event stays, and the books."""

from __future__ import annotations

import pytest

from hookline.core import ids
from hookline.core.attempt import BodyEncoding, Exchange
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound
from hookline.core.history import AttemptRecord
from hookline.ports.store import NewDelivery
from hookline.testing.store_contract.case import Case, StoreContract
from hookline.testing.store_contract.retention import age, circle

MARK = b"do-not-keep-me"


def told(number: int = 1) -> bytes:
    """An attempt with something of the payload wherever it can be."""
    exchange = Exchange(
        "POST",
        "https://receiver.example/hooks",
        [(b"webhook-id", b"evt_1")],
        body_prefix=MARK * 10,
        body_suffix=MARK,
        body_encoding=int(BodyEncoding.NONE),
        response_headers=[(b"x-echo", MARK)],
        response_body=MARK * 1000,
    )
    record = AttemptRecord(number, 7, "retry", 500, "server_error", "application", MARK.decode(), exchange=exchange)
    return record.pack()


class TestErase(StoreContract):
    """A payload is erased on request, the books stay."""

    async def test_the_payload_is_gone(self, case: Case) -> None:
        """The event is there with all but its payload, in lists too, and stays so for the next process."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        await case.close(await case.claim_one(endpoint))
        before = await case.counts()
        assert not (await case.row(ids.delivery_id(new.event.id, 1))).erased
        begun = (await case.store.pulse()).erasures
        assert await case.store.erase("default", new.event.id) == 0
        assert (await case.store.pulse()).erasures > begun
        for _ in range(2):
            found = await case.store.event(None, new.event.id)
            assert found is not None
            assert (found.data, found.erased, found.type, found.id) == (b"", True, new.event.type, new.event.id)
            assert await case.listed_events() == [found]
            row = await case.row(ids.delivery_id(new.event.id, 1))
            assert (row.state, row.erased) == ("delivered", True)
            assert await case.counts() == before
            await case.restart()

    async def test_open_ones_are_discarded(self, case: Case) -> None:
        """What is open of it, replays and lanes included, is discarded, and how many is told; lanes go on."""
        first, second = await case.endpoints(2)
        new = case.new(first, second)
        await case.accept(new)
        in_lane = case.new(first, lane="k")
        await case.accept(in_lane)
        following = await case.one(first, lane="k")
        assert await case.close(await case.claim_one(second), State.UNCONFIRMED, wait_s=60)
        root = case.new_id()
        deliveries = [NewDelivery(first, 1, lane="j"), NewDelivery(first, 2, lane="j")]
        await case.store.replay(None, new.event.id, root, deliveries, await case.version())
        assert await case.store.erase(None, new.event.id) == 4
        gone = [ids.delivery_id(one, ordinal) for one in (new.event.id, root) for ordinal in (1, 2)]
        assert await case.words(*gone) == ["discarded"] * 4
        assert await case.store.erase(None, in_lane.event.id) == 1
        assert await case.words(following) == ["pending"]
        assert [claimed.delivery_id for claimed in await case.claim(first)] == [following]
        assert not await case.store.confirm(gone[1], success=True, message=b"")
        counts = await case.counts("default")
        assert (counts.discarded, counts.leased, counts.deliveries) == (5, 1, 6)
        assert await case.store.sweep_lanes() == 0

    async def test_not_while_it_is_in_flight(self, case: Case) -> None:
        """While one of its deliveries is leased nothing is erased and nothing is discarded."""
        first, second = await case.endpoints(2)
        new = case.new(first, second)
        await case.accept(new)
        lease = await case.claim_one(first)
        with pytest.raises(Conflict) as refused:
            await case.store.erase("default", new.event.id)
        assert refused.value.code == "wrong_state"
        assert await case.store.event(None, new.event.id) == new.event
        assert await case.words(ids.delivery_id(new.event.id, 2)) == ["pending"]
        assert await case.close(lease)
        assert await case.store.erase("default", new.event.id) == 1

    async def test_it_is_never_sent_again(self, case: Case) -> None:
        """To retry or replay what was erased is refused, and a fan-out of it ends discarded."""
        endpoint, other = await case.endpoints(2)
        new = case.new(endpoint, fanout=[other])
        await case.accept(new)
        await case.close(await case.claim_one(endpoint), State.FAILED)
        failed = ids.delivery_id(new.event.id, 1)
        assert await case.store.erase(None, new.event.id) == 1
        with pytest.raises(Conflict) as refused:
            await case.store.reopen(None, failed)
        assert refused.value.code == "wrong_state"
        deliveries = [NewDelivery(endpoint, 1)]
        with pytest.raises(Conflict) as refused:
            await case.store.replay(None, new.event.id, case.new_id(), deliveries, await case.version())
        assert refused.value.code == "wrong_state"
        assert (await case.store.unfold())[0] == {}
        assert await case.words(failed, ids.delivery_id(new.event.id, 2)) == ["failed", "discarded"]
        assert await case.store.due() == {}
        counts = await case.counts("default", other)
        assert (counts.discarded, counts.deliveries) == (1, 1)

    async def test_erasing_twice(self, case: Case) -> None:
        """A second time is no error and does nothing; unknown events, and other tenants', are not found."""
        new = case.new()
        await case.accept(new)
        for tenant, event_id in (("other", new.event.id), (None, b"\x01" * 12)):
            with pytest.raises(NotFound):
                await case.store.erase(tenant, event_id)
        assert await case.store.event(None, new.event.id) == new.event
        for _ in range(2):
            assert await case.store.erase(None, new.event.id) == 0

    async def test_a_failed_one_can_still_be_discarded(self, case: Case) -> None:
        """What failed of it stays failed and can be discarded, and is purged in the end."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        await case.store.erase(None, failed[: ids.ROOT_BYTES])
        assert await case.words(failed) == ["failed"]
        await case.store.discard(None, failed)
        await age(case)
        removed = await circle(case)
        assert (removed.deliveries, removed.events) == (1, 1)

    async def test_what_attempts_have_kept(self, case: Case) -> None:
        """Of each attempt, replays' too, what was sent and answered is gone, and what happened is still there."""
        endpoint = await case.endpoint()
        new = case.new(endpoint, data=MARK)
        await case.accept(new)
        for number in range(1, 106):
            lease = await case.claim_one(endpoint)
            assert await case.close(lease, State.PENDING, attempt=told(number))
        root = case.new_id()
        await case.store.replay(None, new.event.id, root, [NewDelivery(endpoint, 1)], await case.version())
        for lease in await case.claim(endpoint):
            assert await case.close(lease, State.FAILED, attempt=told())
        other = await case.one(endpoint)
        assert await case.close(await case.claim_one(endpoint), attempt=told())
        await case.store.erase(None, new.event.id)
        rows = await case.store.attempts(ids.delivery_id(new.event.id, 1))
        rows = [*rows, *await case.store.attempts(ids.delivery_id(root, 1))]
        assert len(rows) == 107
        numbers = []
        for row in rows:
            assert MARK not in row.packed
            record = AttemptRecord.unpack(row.packed)
            numbers.append(record.number)
            assert (record.at_ms, record.kind, record.status, record.reason) == (7, "retry", 500, "server_error")
            assert record.exchange is not None
            assert record.exchange.url == "https://receiver.example/hooks"
            assert record.exchange.request_headers == [(b"webhook-id", b"evt_1")]
        assert numbers == [*range(1, 106), 1, 1]
        (kept,) = await case.store.attempts(other)
        assert kept.packed == told()

    async def test_an_attempt_that_nobody_can_read(self, case: Case) -> None:
        """What is stored of an attempt in a form that is not known may hold anything: it goes, the attempt stays."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        lease = await case.claim_one(endpoint)
        assert await case.close(lease, attempt=MARK)
        await case.store.erase(None, lease.event.id)
        (row,) = await case.store.attempts(lease.delivery_id)
        assert MARK not in row.packed
        assert AttemptRecord.unpack(row.packed).exchange is None
