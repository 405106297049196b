"""Reading along: everything once, in order, from any position that was given, and from no other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.core.errors import NotFound
from hookline.core.history import AttemptRecord
from hookline.ports.store import (
    Accepted,
    Attempted,
    Change,
    Claimed,
    Entry,
    HealthChange,
    HealthRow,
    Keep,
    NewDelivery,
    OpenRef,
    Query,
    TenantRow,
)
from hookline.testing.samples import PACKED_ATTEMPT
from hookline.testing.store_contract.case import Case, StoreContract, outcome


def told(entry: Entry) -> tuple[Any, ...]:
    """An entry in short."""
    what = entry.what
    if isinstance(what, Accepted):
        return ("event", what.event.id)
    if isinstance(what, Attempted):
        return ("attempt", what.delivery.id, what.fence)
    return ("change", what.delivery_id or what.endpoint_id, what.before, what.after)


async def read_on(case: Case, position: bytes, limit: int = 500) -> list[Entry]:
    """All that follows a position, in steps."""
    found: list[Entry] = []
    while step := await case.store.stream(position, limit):
        assert len(step) <= limit
        found += step
        position = step[-1].position
    return found


async def behind(case: Case, position: bytes) -> list[tuple[Any, ...]]:
    """All that follows a position, in short."""
    return [told(entry) for entry in await read_on(case, position)]


async def changes_behind(case: Case, position: bytes) -> list[Change]:
    """The changes behind a position."""
    return [entry.what for entry in await read_on(case, position) if isinstance(entry.what, Change)]


async def attempted(case: Case, lease: Claimed | OpenRef, after: State = State.DELIVERED, **changes: Any) -> None:
    """Record an attempt of a moment."""
    attempt = AttemptRecord(number=1, at_ms=case.store.now_ms(), kind="delivered", status=204).pack()
    assert await case.close(lease, after, attempt=attempt, **changes)


@pytest.mark.rule(n=30)
class TestStream(StoreContract):
    """`stream` and its positions."""

    async def test_an_empty_store(self, case: Case) -> None:
        """Nothing follows the end, and the end of an empty store is a position like any other."""
        end = await case.store.stream_end()
        assert list(await case.store.stream(end)) == []
        event = case.new()
        await case.accept(event)
        assert await behind(case, end) == [("event", event.event.id)]
        assert list(await case.store.stream(await case.store.stream_end())) == []

    async def test_an_event_without_its_payload(self, case: Case) -> None:
        """An accepted event comes with all its attributes but no payload, and says how long that is."""
        start = await case.store.stream_end()
        new = case.new(subject="s", source_id="", data=b"x" * 70_000, extensions={"a": 1})
        await case.accept(new)
        (entry,) = await case.store.stream(start)
        assert isinstance(entry.what, Accepted)
        assert entry.what.event == msgspec.structs.replace(new.event, data=b"")
        assert entry.what.data_bytes == 70_000

    async def test_an_attempt_without_its_exchange(self, case: Case) -> None:
        """A recorded attempt comes as its record, its fence, and its delivery as it is now."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        start = await case.store.stream_end()
        record = AttemptRecord(
            number=1, at_ms=case.store.now_ms(), kind="retry", status=503, reason="server_error", detail="busy"
        )
        assert await case.close(lease, State.PENDING, attempt=record.pack(), reason="server_error", wait_s=60.0)
        (entry,) = await case.store.stream(start)
        assert entry.what == Attempted(1, record, await case.row(lease.delivery_id))
        await case.store.discard(None, lease.delivery_id)
        (entry, _) = await case.store.stream(start)
        assert isinstance(entry.what, Attempted)
        assert entry.what.delivery.state == "discarded"

    async def test_an_attempt_that_cannot_be_read_is_not_left_out(self, case: Case) -> None:
        """What is stored is opaque: where it is no record, the attempt is told all the same."""
        lease = await case.handed_off(await case.endpoint())
        start = await case.store.stream_end()
        assert await case.close(lease, attempt=PACKED_ATTEMPT)
        assert await behind(case, start) == [("attempt", lease.delivery_id, 1)]

    async def test_everything_once_from_every_position(self, case: Case) -> None:
        """From each entry's position the rest follows, in the same order, whatever the step; tenants together."""
        start = await case.store.stream_end()
        endpoints = [await case.endpoint(), await case.endpoint("other")]
        for number in range(12):
            tenant = ("default", "other")[number % 2]
            lease = await case.handed_off(endpoints[number % 2], tenant=tenant)
            case.clock.advance(0.01)
            if number % 3:
                await attempted(case, lease)
            elif number % 2:
                await attempted(case, lease, State.FAILED, reason="client_error")
                await case.store.discard(None, lease.delivery_id)
        whole = await read_on(case, start)
        assert len({entry.position for entry in whole}) == len(whole) == len({told(entry) for entry in whole}) == 24
        for step in (1, 2, 7):
            assert await read_on(case, start, step) == whole
        for at, entry in enumerate(whole):
            assert await read_on(case, entry.position) == whole[at + 1 :]
        await case.restart()
        assert await read_on(case, whole[4].position) == whole[5:]

    async def test_up_to_where_another_reader_is(self, case: Case) -> None:
        """With `until` one reader ends exactly where another was, however far the stream has gone on since."""
        start = await case.store.stream_end()
        endpoint = await case.endpoint()
        for _ in range(4):
            await attempted(case, await case.handed_off(endpoint))
        one = await case.store.stream(start, 5)
        until = one[-1].position
        two = await case.store.stream(start, 3, until)
        two = [*two, *await case.store.stream(two[-1].position, 500, until)]
        assert two[-1].position == until
        assert {told(entry) for entry in two} == {told(entry) for entry in one}
        assert list(await case.store.stream(until, 500, until)) == []
        rest = await read_on(case, until)
        assert len({told(entry) for entry in [*two, *rest]}) == len(two) + len(rest) == 8
        with pytest.raises(NotFound):
            await case.store.stream(start, 3, b"x")

    async def test_in_the_order_of_what_happened(self, case: Case) -> None:
        """An event, its attempts and what a person did about them come in the order in which they were."""
        endpoint = await case.endpoint()
        start = await case.store.stream_end()
        lease = await case.handed_off(endpoint)
        expected: list[tuple[Any, ...]] = [("event", lease.event_id)]
        for fence in (1, 2):
            case.clock.advance(1)
            other = case.new()
            await case.accept(other)
            case.clock.advance(1)
            await attempted(case, lease, State.FAILED, reason="client_error")
            case.clock.advance(1)
            reopened = await case.store.reopen(None, lease.delivery_id)
            expected += [
                ("event", other.event.id),
                ("attempt", lease.delivery_id, fence),
                ("change", lease.delivery_id, "failed", "pending"),
            ]
            lease = msgspec.structs.replace(reopened, fence=(await case.claim_one(endpoint)).fence)
        assert await behind(case, start) == expected

    async def test_nothing_before_its_event(self, case: Case) -> None:
        """An event comes before its attempt although a clock says otherwise, and also where steps end between."""
        endpoint = await case.endpoint()
        start = await case.store.stream_end()
        events = [case.new() for _ in range(5)]
        for event in events:
            await case.accept(event)
        lease = await case.handed_off(endpoint)
        attempt = AttemptRecord(number=1, at_ms=1, kind="delivered").pack()
        assert await case.close(lease, attempt=attempt)
        expected = [("event", event.event.id) for event in events] + [("event", lease.event_id)]
        for step in (1, 3, 500):
            entries = [told(entry) for entry in await read_on(case, start, step)]
            assert entries == [*expected, ("attempt", lease.delivery_id, 1)]

    async def test_of_one_commit(self, case: Case) -> None:
        """Many events of one commit are told one by one, in steps of any size."""
        start = await case.store.stream_end()
        batch = [case.new() for _ in range(50)]
        await case.accept(*batch)
        for step in (7, 50):
            entries = await read_on(case, start, step)
            assert {told(entry) for entry in entries} == {("event", new.event.id) for new in batch}
            assert len(entries) == 50

    async def test_more_than_a_step_may_give(self, case: Case) -> None:
        """A limit above what a store gives at once is no error: the rest comes with the next step."""
        start = await case.store.stream_end()
        for _ in range(3):
            await case.accept(*(case.new() for _ in range(1000)))
        first = await case.store.stream(start, 1_000_000)
        assert 0 < len(first) <= 10_000
        assert len(first) + len(await read_on(case, first[-1].position, 1_000_000)) == 3000

    async def test_purging_brings_no_position_back(self, case: Case) -> None:
        """Who was at the end when all of history was purged is told what comes next, once; who was not is refused."""
        start = await case.store.stream_end()
        endpoint = await case.endpoint()
        for _ in range(3):
            await attempted(case, await case.handed_off(endpoint))
            await case.failed(endpoint)
        end = await case.store.stream_end()
        for _ in range(2):
            case.clock.advance(100 * 86_400)
            while (await case.store.purge(Keep(1.0))).examined:
                pass
            assert list(await case.store.stream(end)) == []
        assert len((await case.store.deliveries(Query(tenant=None))).rows) <= 1
        await case.restart()
        delivery, fence = await case.failed(endpoint)
        await case.store.discard(None, delivery)
        expected = [
            ("event", delivery[: ids.ROOT_BYTES]),
            ("attempt", delivery, fence),
            ("change", delivery, "failed", "discarded"),
        ]
        assert sorted(await behind(case, end)) == sorted(expected)
        with pytest.raises(NotFound):
            await case.store.stream(start)

    async def test_what_is_no_position(self, case: Case) -> None:
        """What is not ours, or ahead of the end, raises NotFound."""
        position = await case.store.stream_end()
        await case.accept(case.new())
        ahead = await case.store.stream_end()
        for wrong in (b"", b"x", position[:-1], position + b"\x00", b"\xff" * len(position)):
            with pytest.raises(NotFound):
                await case.store.stream(wrong)
        assert list(await case.store.stream(ahead)) == []


class TestStreamChanges(StoreContract):
    """Which changes are told, and how."""

    async def test_the_states_of_an_endpoint(self, case: Case) -> None:
        """Pausing, verifying, resuming, disabling by hand and by health, and deleting are told; no change is not."""
        endpoint = await case.endpoint("other", state=EndpointState.UNVERIFIED)
        start = await case.store.stream_end()
        states = (EndpointState.ACTIVE, EndpointState.PAUSED, EndpointState.PAUSED, EndpointState.ACTIVE)
        for state in states:
            await case.store.set_endpoint_state(endpoint, state)
        (row,) = (await case.store.changes(0)).endpoints
        await case.store.put_endpoint(msgspec.structs.replace(row, spec=b"{}"), row.version)
        await case.record(healths=[HealthChange(HealthRow(endpoint, 0), disable=True)])
        await case.store.delete_endpoint(endpoint)
        found = await changes_behind(case, start)
        words = ["unverified", "active", "paused", "active", "disabled", "deleted"]
        assert [(change.before, change.after) for change in found] == list(itertools.pairwise(words))
        assert {(change.tenant, change.endpoint_id, change.delivery_id, change.event_id) for change in found} == {
            ("other", endpoint, None, None)
        }
        assert {change.at_ms for change in found} == {case.store.now_ms()}

    async def test_a_replaced_endpoint_with_another_state(self, case: Case) -> None:
        """A state that comes with the whole row is told like any."""
        endpoint = await case.endpoint()
        start = await case.store.stream_end()
        (row,) = (await case.store.changes(0)).endpoints
        await case.store.put_endpoint(msgspec.structs.replace(row, state=EndpointState.UNVERIFIED), row.version)
        assert await behind(case, start) == [("change", endpoint, "active", "unverified")]

    async def test_the_endpoints_of_a_deleted_tenant(self, case: Case) -> None:
        """Deleting a tenant is told for each of his endpoints."""
        await case.store.put_tenant(TenantRow("acme", b"{}"))
        endpoints = await case.endpoints(2, "acme")
        await case.endpoint()
        start = await case.store.stream_end()
        await case.store.delete_tenant("acme")
        assert set(await behind(case, start)) == {("change", endpoint, "active", "deleted") for endpoint in endpoints}

    async def test_what_a_person_decides(self, case: Case) -> None:
        """A retry and a discard are told with the delivery's event; what was refused is not."""
        endpoint = await case.endpoint()
        delivery, _ = await case.failed(endpoint, type="order.lost")
        waiting = await case.one(endpoint)
        start = await case.store.stream_end()
        await case.store.reopen(None, delivery)
        await case.store.discard(None, delivery)
        await case.store.discard(None, waiting)
        with pytest.raises(NotFound):
            await case.store.discard("other", delivery)
        first, second, third = await changes_behind(case, start)
        assert (first.delivery_id, first.before, first.after) == (delivery, "failed", "pending")
        assert (first.event_id, first.type, first.reason) == (delivery[: ids.ROOT_BYTES], "order.lost", "client_error")
        assert (second.delivery_id, second.before, second.after) == (delivery, "pending", "discarded")
        assert (third.delivery_id, third.before, third.after) == (waiting, "pending", "discarded")

    async def test_an_outcome_without_an_attempt(self, case: Case) -> None:
        """Taken back, poisoned, overflowed: told with the reason. One that missed its fence is not."""
        endpoint = await case.endpoint()
        first, second = await case.handed_off(endpoint), await case.handed_off(endpoint)
        start = await case.store.stream_end()
        assert await case.close(first, State.PENDING, attempt=None, lost=1)
        assert await case.close(second, State.FAILED, attempt=None, reason="poison")
        assert not await case.close(second, State.FAILED, attempt=None, reason="poison")
        found = await changes_behind(case, start)
        assert [(change.delivery_id, change.before, change.after, change.reason) for change in found] == [
            (first.delivery_id, "leased", "pending", None),
            (second.delivery_id, "leased", "failed", "poison"),
        ]

    async def test_what_was_open_for_a_deleted_endpoint(self, case: Case) -> None:
        """Deliveries that are closed with their endpoint are told, those of a fan-out too."""
        lane, plain, packed = await case.endpoints(3)
        held = [await case.one(lane, lane="k"), await case.one(lane, lane="k")]
        waiting = await case.one(plain)
        fan = case.new(fanout=[packed])
        await case.accept(fan)
        for endpoint in (lane, plain, packed):
            await case.store.delete_endpoint(endpoint)
        start = await case.store.stream_end()
        assert await case.store.close_deleted() == 3
        await case.store.unfold()
        found = await changes_behind(case, start)
        fanned = ids.delivery_id(fan.event.id, 1)
        assert {(change.delivery_id, change.before, change.after, change.reason) for change in found} == {
            (held[0], "pending", "discarded", "endpoint_deleted"),
            (held[1], "held", "discarded", "endpoint_deleted"),
            (waiting, "pending", "discarded", "endpoint_deleted"),
            (fanned, "pending", "discarded", "endpoint_deleted"),
        }

    async def test_what_an_attempt_brings_about_is_told_once(self, case: Case) -> None:
        """Accepting, claiming, releasing and recording attempts make no changes of their own."""
        endpoint = await case.endpoint()
        start = await case.store.stream_end()
        handed = await case.handed_off(endpoint)
        await attempted(case, handed, State.PENDING, reason="timeout")
        claimed = await case.claim_one(endpoint)
        await case.store.release([(claimed.delivery_id, claimed.fence)])
        await attempted(case, await case.claim_one(endpoint))
        assert await changes_behind(case, start) == []

    async def test_a_replay_is_of_its_event(self, case: Case) -> None:
        """A change of a replayed delivery names the event that it replays."""
        endpoint = await case.endpoint()
        new = case.new(type="order.old")
        await case.accept(new)
        root = case.new_id()
        deliveries: Sequence[NewDelivery] = [NewDelivery(endpoint_id=endpoint, ordinal=1)]
        await case.store.replay(None, new.event.id, root, deliveries, await case.version())
        start = await case.store.stream_end()
        await case.store.discard(None, ids.delivery_id(root, 1))
        (change,) = await changes_behind(case, start)
        assert (change.event_id, change.type) == (new.event.id, "order.old")

    async def test_a_refused_record_tells_nothing(self, case: Case) -> None:
        """What was rolled back with its commit is told to nobody."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        start = await case.store.stream_end()
        with pytest.raises(Exception, match="recorded"):
            await case.record(outcome(lease, State.PENDING, attempt=None), outcome(lease, State.LEASED, attempt=None))
        assert await behind(case, start) == []
