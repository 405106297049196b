"""Accepting: durable before it is answered, all or nothing, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import DataError, StaleRegistry
from hookline.core.event import Event
from hookline.ports.store import AcceptRequest
from hookline.testing.samples import HOSTILE_DATA, full_event
from hookline.testing.store_contract.case import Case, StoreContract

UNSTORABLE: list[dict[str, Any]] = [
    {"subject": "\ud800"},
    {"type": "order.\udfff"},
    {"deliver_at_ms": 2**70},
    {"extensions": {"number": 2**70}},
]
"""Fields that no store can keep: lone surrogates have no UTF-8, integers beyond 64 bits no column."""


class TestAccept(StoreContract):
    """`accept` as the 202's promise."""

    @pytest.mark.rule(n=1)
    async def test_an_accepted_event_is_there_after_a_kill(self, case: Case) -> None:
        """What accept returned is there, with its deliveries, in a process that starts after a kill."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        accepted = (await case.accept(new))[0]
        assert (accepted.event_id, accepted.deliveries, accepted.duplicate) == (new.event.id, 1, False)
        await case.restart()
        assert await case.store.event(None, new.event.id) == new.event
        row = await case.row(ids.delivery_id(new.event.id, 1))
        assert (row.endpoint_id, row.event_id, row.state) == (endpoint, new.event.id, "pending")
        assert (await case.counts()).deliveries == 1

    async def test_an_event_keeps_every_field(self, case: Case) -> None:
        """Every field of an event comes back as it was given, the payload byte for byte."""
        endpoint = await case.endpoint()
        event = full_event(now_ms=case.store.now_ms())
        await case.accept(msgspec.structs.replace(case.new(endpoint), event=event))
        assert await case.store.event(event.tenant, event.id) == event
        claimed = await case.claim_one(endpoint)
        assert claimed.event == event
        assert claimed.event.data == HOSTILE_DATA

    @pytest.mark.parametrize("size", [0, 1, 1024 * 1024])
    async def test_a_payload_of_any_size_comes_back(self, case: Case, size: int) -> None:
        """An empty payload and one of the largest size are kept byte for byte."""
        new = case.new(data=b"\xff" * size)
        await case.accept(new)
        event = await case.store.event(None, new.event.id)
        assert event is not None
        assert event.data == new.event.data

    async def test_an_event_that_nobody_wants_is_kept(self, case: Case) -> None:
        """An event without deliveries is an event."""
        new = case.new()
        assert (await case.accept(new))[0].deliveries == 0
        assert await case.store.event(None, new.event.id) == new.event
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (1, 0)

    async def test_one_delivery_for_each_endpoint(self, case: Case) -> None:
        """Each endpoint of an event gets its own delivery, numbered by its ordinal, pending."""
        endpoints = await case.endpoints(3)
        new = case.new(*endpoints)
        accepted = (await case.accept(new))[0]
        assert accepted.deliveries == 3
        assert accepted.states == bytes([State.PENDING] * 3)
        rows = await case.listed(event_id=new.event.id)
        assert {(row.id, row.endpoint_id) for row in rows} == {
            (ids.delivery_id(new.event.id, ordinal), endpoint) for ordinal, endpoint in enumerate(endpoints, 1)
        }

    async def test_requests_of_one_call_are_answered_in_order(self, case: Case) -> None:
        """Several requests, of several tenants, are one commit with one result each, in the order given."""
        mine, theirs = await case.endpoint("default"), await case.endpoint("other")
        first, second = case.new(mine), case.new(mine)
        third = case.new(theirs, tenant="other")
        results = await case.store.accept(
            [AcceptRequest("default", [first, second]), AcceptRequest("other", [third])], await case.version()
        )
        assert [[item.event_id for item in result.items] for result in results] == [
            [first.event.id, second.event.id],
            [third.event.id],
        ]
        assert not any(result.repeated or result.reused for result in results)
        assert (await case.counts("default")).events == 2
        assert (await case.counts("other")).events == 1

    async def test_tenants_do_not_see_each_other(self, case: Case) -> None:
        """An event and its deliveries are found by their own tenant and by the operator, by nobody else."""
        endpoint = await case.endpoint("other")
        new = case.new(endpoint, tenant="other")
        await case.accept(new)
        delivery = ids.delivery_id(new.event.id, 1)
        assert await case.store.event("other", new.event.id) == new.event
        assert await case.store.event("default", new.event.id) is None
        assert await case.store.delivery("other", delivery) is not None
        assert await case.store.delivery("default", delivery) is None
        assert await case.listed(tenant="default") == []
        assert await case.listed_events(tenant="default") == []

    async def test_parallel_accepts_all_hold(self, case: Case) -> None:
        """Many accepts at once each get their own answer, and all are there after a kill."""
        endpoint = await case.endpoint()
        version = await case.version()
        items = [case.new(endpoint) for _ in range(60)]
        results = await asyncio.gather(
            *(case.store.accept([AcceptRequest("default", [item])], version) for item in items)
        )
        assert [result[0].items[0].event_id for result in results] == [item.event.id for item in items]
        await case.restart()
        assert {row.event_id for row in await case.listed()} == {item.event.id for item in items}
        assert (await case.counts()).deliveries == 60

    async def test_what_is_due_later_waits(self, case: Case) -> None:
        """Deliveries of an event with a wait are pending, and claimed from their time on, not before."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint, wait_s=60)
        row = await case.row(delivery)
        assert row.state == "pending"
        assert row.next_at_ms == case.store.now_ms() + 60_000
        case.clock.advance(59.9)
        assert await case.claim(endpoint) == []
        case.clock.advance(0.1)
        assert [claimed.delivery_id for claimed in await case.claim(endpoint)] == [delivery]


@pytest.mark.rule(n=3)
class TestOneBadItem(StoreContract):
    """A batch that cannot be stored leaves nothing behind, so that its caller can halve it."""

    @pytest.mark.parametrize("fields", UNSTORABLE, ids=[next(iter(fields)) for fields in UNSTORABLE])
    async def test_a_bad_item_commits_nothing(self, case: Case, fields: dict[str, Any]) -> None:
        """An item that cannot be stored raises DataError, and the good items beside it are not there either."""
        endpoint = await case.endpoint()
        good, alone = case.new(endpoint, dedupe_key=b"k" * 16), case.new(endpoint)
        bad = case.new(endpoint, **fields)
        with pytest.raises(DataError):
            await case.store.accept(
                [AcceptRequest("default", [good, bad]), AcceptRequest("default", [alone])], await case.version()
            )
        assert await case.listed_events() == []
        assert await case.listed() == []
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (0, 0)

    async def test_the_good_half_can_be_accepted_afterwards(self, case: Case) -> None:
        """After a DataError the same good item, key included, is accepted as new, and the store works on."""
        endpoint = await case.endpoint()
        good, bad = case.new(endpoint, dedupe_key=b"k" * 16), case.new(endpoint, **UNSTORABLE[0])
        with pytest.raises(DataError):
            await case.accept(good, bad)
        accepted = (await case.accept(good))[0]
        assert (accepted.event_id, accepted.duplicate) == (good.event.id, False)
        assert await case.store.event(None, good.event.id) == good.event

    async def test_a_bad_neighbour_in_a_parallel_call_fails_alone(self, case: Case) -> None:
        """A call that shares its moment with one that cannot be stored is committed all the same."""
        endpoint = await case.endpoint()
        version = await case.version()
        items = [case.new(endpoint, **(UNSTORABLE[0] if number == 5 else {})) for number in range(10)]
        results = await asyncio.gather(
            *(case.store.accept([AcceptRequest("default", [item])], version) for item in items), return_exceptions=True
        )
        assert [number for number, result in enumerate(results) if isinstance(result, BaseException)] == [5]
        assert isinstance(results[5], DataError)
        assert (await case.counts()).events == 9

    async def test_an_id_that_is_taken_is_a_data_error(self, case: Case) -> None:
        """A second event with the id of a first is not stored, and the first stays what it was."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        changed: Event = msgspec.structs.replace(new.event, data=b"other")
        with pytest.raises(DataError):
            await case.accept(msgspec.structs.replace(new, event=changed))
        assert await case.store.event(None, new.event.id) == new.event
        assert (await case.counts()).events == 1


class TestStaleRegistry(StoreContract):
    """Nobody accepts by a snapshot that the registry has left behind."""

    async def test_every_change_makes_older_snapshots_stale(self, case: Case) -> None:
        """After an endpoint is made, paused or deleted, an accept by the version before raises StaleRegistry."""
        endpoint = await case.endpoint()
        for change in (
            case.endpoint,
            lambda: case.pause(endpoint),
            lambda: case.store.delete_endpoint(endpoint),
        ):
            before = await case.version()
            await change()
            assert await case.version() == before + 1
            with pytest.raises(StaleRegistry):
                await case.store.accept([AcceptRequest("default", [case.new()])], before)
        assert (await case.counts()).events == 0

    async def test_a_stale_call_leaves_nothing_behind(self, case: Case) -> None:
        """After StaleRegistry neither the event nor its keys are there: routed again, the same request is new."""
        endpoint = await case.endpoint()
        before = await case.version()
        await case.endpoint()
        new = case.new(endpoint, dedupe_key=b"k" * 16)
        with pytest.raises(StaleRegistry):
            await case.store.accept([AcceptRequest("default", [new])], before)
        assert await case.store.event(None, new.event.id) is None
        assert not (await case.accept(new))[0].duplicate

    async def test_the_version_outlives_the_process(self, case: Case) -> None:
        """A restart neither lowers nor raises the registry's version."""
        await case.endpoints(3)
        before = (await case.store.changes(0)).version
        await case.restart()
        assert (await case.store.changes(0)).version == before

    async def test_a_change_is_seen_by_accepts_that_race_with_it(self, case: Case) -> None:
        """Of accepts that run beside the creation of an endpoint, none commits by the old version after it."""
        await case.endpoint()
        before = await case.version()

        async def publish(number: int) -> int | None:
            await asyncio.sleep(0)
            try:
                await case.store.accept([AcceptRequest("default", [case.new(subject=str(number))])], before)
            except StaleRegistry:
                return None
            return number

        create = asyncio.create_task(case.endpoint())
        published = [number for number in await asyncio.gather(*map(publish, range(20))) if number is not None]
        await create
        with pytest.raises(StaleRegistry):
            await case.store.accept([AcceptRequest("default", [case.new()])], before)
        assert {event.subject for event in await case.listed_events()} == set(map(str, published))
