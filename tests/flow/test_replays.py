"""Replays of many: each delivery once, in its place, at its pace, also over a crash."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import Conflict, DataError, NotFound, Refusal, StoreUnavailable
from hookline.core.page import format_time
from hookline.flow.catalogue import Catalogue
from hookline.flow.limits import Limits
from hookline.flow.replays import DryRun, Replays, ReplayView
from hookline.ports.store import ReplayRow, TenantRow
from tests.flow.rig import OK, Rig

GONE = Outcome(Kind.REJECTED, reason="client_error", status=400)
ORDER = {"type": "order.created", "data": {"id": 1}}


def service(rig: Rig) -> Replays:
    engine = rig.engine
    return Replays(rig.store, Catalogue(rig.store), engine.replay_steps, engine.replays, engine.ids, rig.clock)


async def start(rig: Rig, tenant: str = "default", **document: Any) -> ReplayView:
    made = await service(rig).create(tenant, json.dumps(document).encode())
    assert isinstance(made, ReplayView)
    return made


async def dry(rig: Rig, **document: Any) -> DryRun:
    made = await service(rig).create("default", json.dumps({**document, "dry_run": True}).encode())
    assert isinstance(made, DryRun)
    return made


async def view(rig: Rig, begun: ReplayView) -> ReplayView:
    return await service(rig).get(begun.row.tenant, begun.row.id)


async def ended(rig: Rig, begun: ReplayView) -> ReplayView:
    """Wait until it has ended and all it made is delivered as far as it goes."""
    for _ in range(2500):
        found = await view(rig, begun)
        if found.row.state != "running":
            await rig.quiet()
            return found
        await asyncio.sleep(0.002)
    raise AssertionError(f"it has not ended: {found}")


def numbers(found: ReplayView) -> tuple[str, int, int, int]:
    row = found.row
    return row.state, row.examined, row.replayed, row.skipped


async def failed(rig: Rig, endpoint: Endpoint, count: int, **more: Any) -> list[str]:
    """Events whose delivery to this endpoint failed for good; the receiver is well again afterwards."""
    rig.sender.default[endpoint.url] = GONE
    made = [await rig.publish({**ORDER, "data": {"n": n}, **more}) for n in range(count)]
    await rig.quiet()
    rig.sender.default[endpoint.url] = OK
    rig.sender.sent.clear()
    return [event["id"] for event in made]


async def test_what_failed_is_opened_again(rig: Rig) -> None:
    """Failed deliveries are the same deliveries again, with their attempts; nothing new is made."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 7)
    before = {row.id for row in await rig.deliveries(state="failed")}
    assert len(before) == 7
    begun = await start(rig, filter={"state": "failed"})
    found = await ended(rig, begun)
    assert numbers(found) == ("done", 7, 7, 0)
    assert found.progress == 1.0
    rows = await rig.deliveries()
    assert {row.id for row in rows} == before
    assert {(row.state, row.attempts, row.replay_of) for row in rows} == {("delivered", 2, None)}
    assert rig.sender.times(endpoint.url) == 7
    assert (await rig.counts()).delivered == 7


async def test_what_was_delivered_is_delivered_anew(rig: Rig) -> None:
    """A delivered one stays as it is; its event gets another delivery, once, though that is delivered too."""
    endpoint = await rig.endpoint("a")
    events = [(await rig.publish(ORDER))["id"] for _ in range(5)]
    await rig.quiet()
    found = await ended(rig, await start(rig, filter={"state": "delivered"}))
    assert numbers(found) == ("done", 5, 5, 0)
    rows = await rig.deliveries()
    assert len(rows) == 10
    again = [row for row in rows if row.replay_of is not None]
    assert sorted(ids.text(ids.EVENT, row.event_id) for row in again) == sorted(events)
    assert {row.state for row in rows} == {"delivered"}
    assert rig.sender.times(endpoint.url) == 10


async def test_what_is_open_is_let_be(rig: Rig) -> None:
    """A delivery that is still to be sent is skipped, and counted as skipped."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 2)
    await rig.set_state(endpoint, EndpointState.PAUSED)
    for _ in range(3):
        await rig.publish(ORDER)
    found = await ended(rig, await start(rig, filter={"endpoint": endpoint.public_id}))
    assert numbers(found) == ("done", 5, 2, 3)
    assert (await rig.counts()).held == 5


async def test_discarded_ones_are_opened_again_too(rig: Rig) -> None:
    """Who changed his mind replays what he discarded."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 3)
    for row in await rig.deliveries(state="failed"):
        await rig.store.discard("default", row.id)
    found = await ended(rig, await start(rig, filter={"state": "discarded"}))
    assert numbers(found) == ("done", 3, 3, 0)
    assert (await rig.counts()).delivered == 3


async def test_the_filters_are_those_of_the_lists(rig: Rig) -> None:
    """Type, endpoint, event, reason and time choose what is replayed; a dry run counts the same and does nothing."""
    a, b = await rig.endpoint("a", uid="first"), await rig.endpoint("b")
    rig.sender.default[b.url] = GONE
    await failed(rig, a, 2)
    rig.clock.advance(60)
    since = format_time(rig.store.now_ms())
    rig.sender.default[b.url] = GONE
    late = await failed(rig, a, 3, type="order.paid")
    for wanted, count in (
        ({"type": "order.paid"}, 6),
        ({"endpoint": "first"}, 5),
        ({"endpoint": b.public_id, "type": "order.created"}, 2),
        ({"event": late[0]}, 2),
        ({"reason": "client_error"}, 10),
        ({"reason": "timeout"}, 0),
        ({"since": since}, 6),
        ({"until": since}, 4),
        ({"since": since, "endpoint": "first", "state": "failed"}, 3),
    ):
        counted = await dry(rig, filter=wanted)
        assert (counted.matched, counted.would_replay, counted.complete) == (count, count, True), wanted
    assert (await rig.counts()).failed == 10
    found = await ended(rig, await start(rig, filter={"since": since, "endpoint": "first"}))
    assert numbers(found) == ("done", 3, 3, 0)
    assert (await rig.counts(a)).failed == 2
    assert (await rig.counts(b)).failed == 5


async def test_to_another_endpoint_every_event_goes_once(rig: Rig) -> None:
    """An event with several deliveries goes to the other endpoint as one new delivery; its own stay as they are."""
    for n in range(3):
        await rig.endpoint(f"e{n}", event_types=["order.*"])
    for _ in range(4):
        await rig.publish(ORDER)
    await rig.quiet()
    other = await rig.endpoint("other", uid="other", event_types=["nothing"])
    wanted = {"filter": {"type": "order.created"}, "endpoint_id": "other"}
    counted = await dry(rig, **wanted)
    assert (counted.matched, counted.would_replay) == (4, 4)
    found = await ended(rig, await start(rig, **wanted))
    assert numbers(found) == ("done", 4, 4, 0)
    assert rig.sender.times(other.url) == 4
    assert (await rig.counts()).deliveries == 16


async def test_to_another_endpoint_in_small_pages(rig: Rig) -> None:
    """Also where the steps end within an event's deliveries it goes to the other endpoint once."""
    for n in range(3):
        await rig.endpoint(f"e{n}", event_types=["order.*"])
    for _ in range(40):
        await rig.publish(ORDER)
    await rig.quiet()
    other = await rig.endpoint("other", event_types=["nothing"])
    begun = await start(
        rig, filter={"type": "order.created"}, endpoint_id=other.public_id, rate={"n": 7, "per_s": 0.25, "burst": 7}
    )
    for _ in range(200):
        rig.clock.advance(0.25)
        await asyncio.sleep(0.005)
        if (await view(rig, begun)).row.state == "done":
            break
    assert numbers(await ended(rig, begun)) == ("done", 40, 40, 0)
    await rig.until(lambda: rig.sender.times(other.url) == 40, "all are sent")


async def test_a_new_subscriber_gets_the_past(rig: Rig) -> None:
    """Events go to the endpoint named, whatever it subscribes to, oldest first; erased ones are skipped."""
    await rig.endpoint("a")
    events = [await rig.publish({"type": "order.created", "data": n}) for n in range(6)]
    await rig.quiet()
    await rig.store.erase("default", ids.parse(ids.EVENT, events[2]["id"]) or b"")
    new = await rig.endpoint("new", event_types=["nothing"], concurrency_max=1)
    wanted = {"of": "events", "filter": {"type": "order.created"}, "endpoint_id": new.public_id}
    counted = await dry(rig, **wanted)
    assert (counted.matched, counted.would_replay) == (6, 5)
    found = await ended(rig, await start(rig, **wanted))
    assert numbers(found) == ("done", 6, 5, 1)
    assert [data for url, data, _ in rig.sender.sent if url == new.url] == [b"0", b"1", b"3", b"4", b"5"]


async def test_erased_events_are_not_delivered_again(rig: Rig) -> None:
    """A delivery whose event was erased is skipped, to its own endpoint or another, and a dry run counts it so."""
    endpoint, other = await rig.endpoint("a"), await rig.endpoint("b", event_types=["nothing"])
    events = await failed(rig, endpoint, 3)
    await rig.store.erase("default", ids.parse(ids.EVENT, events[0]) or b"")
    for more in ({"endpoint_id": other.public_id}, {}):
        wanted = {"filter": {"state": "failed"}, **more}
        assert await dry(rig, **wanted) == DryRun(3, 2, complete=True)
        assert numbers(await ended(rig, await start(rig, **wanted))) == ("done", 3, 2, 1)
    assert (rig.sender.times(endpoint.url), rig.sender.times(other.url)) == (2, 2)


async def test_events_go_to_all_that_match_now(rig: Rig) -> None:
    """Without an endpoint events go to all that want them now; one that nobody wants is skipped."""
    await rig.publish({"type": "order.created", "data": 1})
    await rig.publish({"type": "order.paid", "data": 2})
    a = await rig.endpoint("a", event_types=["order.created"])
    b = await rig.endpoint("b", event_types=["order.created"])
    found = await ended(rig, await start(rig, of="events", filter={"since": "2026-01-01T00:00:00Z"}))
    assert numbers(found) == ("done", 3, 2, 1)
    assert (rig.sender.times(a.url), rig.sender.times(b.url)) == (1, 1)


async def test_an_event_for_very_many_takes_several_steps(rig: Rig) -> None:
    """More endpoints than a step may make are served in several, each once."""
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    for n in range(620):
        endpoint = await rig.endpoint(f"e{n}")
        if n % 50 == 0:
            await rig.set_state(endpoint, EndpointState.PAUSED)
    found = await ended(rig, await start(rig, of="events", filter={"type": "order.created"}))
    assert numbers(found) == ("done", 1240, 1240, 0)
    counts = await rig.counts()
    assert (counts.deliveries, counts.held) == (1240, 26)


async def test_nothing_that_came_later_is_part_of_it(rig: Rig) -> None:
    """What is accepted, or fails, after the replay began is not replayed by it."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 3)
    rig.engine.replays.stop()
    begun = await start(rig, filter={"endpoint": endpoint.public_id})
    rig.clock.advance(1)
    await failed(rig, endpoint, 2)
    rig.engine.replays._stopped = False
    rig.engine.replays.soon()
    assert numbers(await ended(rig, begun)) == ("done", 3, 3, 0)
    assert (await rig.counts()).failed == 2


async def test_what_it_opens_again_and_fails_again_is_not_opened_twice(rig: Rig) -> None:
    """A receiver that is still ill costs one more attempt each, not an endless replay."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 4)
    rig.sender.default[endpoint.url] = GONE
    found = await ended(rig, await start(rig, filter={"state": "failed"}))
    assert numbers(found) == ("done", 4, 4, 0)
    assert rig.sender.times(endpoint.url) == 4
    assert (await rig.counts()).failed == 4


async def test_live_traffic_goes_first(rig: Rig) -> None:
    """What was replayed waits behind live deliveries of the same endpoint, also the older ones."""
    endpoint = await rig.endpoint("a", concurrency_max=1)
    await failed(rig, endpoint, 3)
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await ended(rig, await start(rig, filter={"state": "failed"}))
    await rig.publish({"type": "order.created", "data": "live"})
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.advance(1, 0.5)
    sent = [data for _, data, _ in rig.sender.sent]
    assert sent == [b'"live"', b'{"n": 0}', b'{"n": 1}', b'{"n": 2}']


@pytest.mark.rule(n=14)
async def test_an_endpoint_starts_slowly_with_a_replay(rig: Rig) -> None:
    """However well it went before, what a replay brings begins with one attempt at a time."""
    endpoint = await rig.endpoint("a")
    for _ in range(20):
        await rig.publish(ORDER)
        await rig.quiet()
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    assert channel.slow.cap > 10
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    await ended(rig, await start(rig, filter={"state": "delivered"}))
    assert rig.sender.running[endpoint.url] == 1
    gate.set()
    del rig.sender.gates[endpoint.url]
    await rig.until(lambda: rig.sender.times(endpoint.url) == 40, "all are sent")


async def test_lanes_keep_their_order(rig: Rig) -> None:
    """Failed ones of a lane go again in their order, before what waits behind them."""
    endpoint = await rig.endpoint("a", order="key")
    rig.sender.default[endpoint.url] = GONE
    await rig.publish({**ORDER, "data": 1, "ordering_key": "k"})
    await rig.quiet()
    for n in (2, 3):
        await rig.publish({**ORDER, "data": n, "ordering_key": "k"})
    await rig.quiet()
    rig.sender.default[endpoint.url] = OK
    rig.sender.sent.clear()
    found = await ended(rig, await start(rig, filter={"endpoint": endpoint.public_id}))
    assert numbers(found) == ("done", 3, 1, 2)
    await rig.until(lambda: len(rig.sender.sent) == 3, "the lane goes on")
    assert [data for _, data, _ in rig.sender.sent] == [b"1", b"2", b"3"]


async def test_new_deliveries_have_the_lanes_of_their_new_endpoint(rig: Rig) -> None:
    """An endpoint that asks for order gets the past in order, though the one it comes from did not."""
    await rig.endpoint("a")
    for n in range(5):
        await rig.publish({**ORDER, "data": n, "ordering_key": "k"})
    await rig.quiet()
    other = await rig.endpoint("other", event_types=["nothing"], order="key")
    gate = rig.sender.gates[other.url] = asyncio.Event()
    found = await ended(rig, await start(rig, filter={"state": "delivered"}, endpoint_id=other.public_id))
    assert found.row.replayed == 5
    rows = await rig.deliveries(endpoint_id=other.id)
    assert {row.ordering_key for row in rows} == {"k"}
    assert sorted(row.state for row in rows) == ["held"] * 4 + ["leased"]
    gate.set()
    del rig.sender.gates[other.url]
    await rig.until(lambda: rig.sender.times(other.url) == 5, "the lane is sent")
    assert [data for url, data, _ in rig.sender.sent if url == other.url] == [b"0", b"1", b"2", b"3", b"4"]


async def test_its_rate_is_kept(rig: Rig) -> None:
    """A capped replay makes its burst at once, and then no more than its rate, by the clock."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 40)
    begun = await start(rig, filter={"state": "failed"}, rate={"n": 10, "per_s": 1})
    await rig.until(lambda: rig.sender.times(endpoint.url) == 10, "the burst is sent")
    made = []
    for sent in (15, 20, 25, 30, 35, 40, 40, 40):
        rig.clock.advance(0.5)
        await rig.until(lambda sent=sent: rig.sender.times(endpoint.url) >= sent, f"{sent} are sent")
        await rig.quiet()
        made.append((await view(rig, begun)).row.replayed)
    assert made == [15, 20, 25, 30, 35, 40, 40, 40]
    assert numbers(await ended(rig, begun)) == ("done", 40, 40, 0)


async def test_canceled_it_stops_before_its_next_step(rig: Rig) -> None:
    """What it made stays, nothing further is made, and what has ended cannot be canceled."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 20)
    begun = await start(rig, filter={"state": "failed"}, rate={"n": 5, "per_s": 1000})
    await rig.until(lambda: rig.sender.times(endpoint.url) == 5, "the burst is sent")
    await rig.quiet()
    assert 0 <= (await view(rig, begun)).progress < 1
    canceled = await service(rig).cancel("default", begun.row.id)
    assert numbers(canceled) == ("canceled", 5, 5, 0)
    rig.clock.advance(3000)
    await asyncio.sleep(0.05)
    assert numbers(await view(rig, begun)) == ("canceled", 5, 5, 0)
    assert (await rig.counts()).failed == 15
    with pytest.raises(Conflict) as refused:
        await service(rig).cancel("default", begun.row.id)
    assert refused.value.code == "wrong_state"


async def test_an_endpoint_with_too_much_to_do_is_waited_for(tmp_path: Path) -> None:
    """No step adds to an endpoint that has more open than it should; it says so, and goes on once there is room."""
    rig = Rig(tmp_path / "full.db", limits=Limits(open_max=20))
    await rig.start()
    try:
        endpoint = await rig.endpoint("a")
        await rig.set_state(endpoint, EndpointState.PAUSED)
        for _ in range(11):
            await rig.publish(ORDER)
        other = await rig.endpoint("b", event_types=["order.*"])
        await rig.set_state(other, EndpointState.PAUSED)
        begun = await start(rig, of="events", filter={"type": "order.created"}, endpoint_id=endpoint.public_id)
        await rig.until(lambda: rig.engine.replays.waits_for(begun.row.id) is not None, "it waits")
        found = await view(rig, begun)
        assert found.waits_for == f"{endpoint.public_id} has more than 10 open deliveries."
        assert numbers(found) == ("running", 0, 0, 0)
        await rig.set_state(endpoint, EndpointState.ACTIVE)
        for _ in range(20):
            await rig.advance(1)
        assert numbers(await ended(rig, begun)) == ("done", 11, 11, 0)
        assert rig.sender.times(endpoint.url) == 22
    finally:
        await rig.stop()


async def test_its_endpoint_is_deleted_meanwhile(rig: Rig) -> None:
    """A replay to an endpoint that is deleted fails and says so; one of many endpoints is skipped."""
    a, b = await rig.endpoint("a"), await rig.endpoint("b")
    rig.sender.default[b.url] = GONE
    await failed(rig, a, 3)
    rig.sender.default[b.url] = OK
    rig.engine.replays.stop()
    to_a = await start(rig, filter={"state": "failed"}, endpoint_id=a.public_id)
    to_all = await start(rig, filter={"state": "failed"})
    await rig.store.delete_endpoint(a.id)
    rig.engine.replays._stopped = False
    rig.engine.replays.soon()
    found = await ended(rig, to_a)
    assert (found.row.state, found.row.detail) == ("failed", f"The endpoint {a.public_id} was deleted.")
    assert numbers(await ended(rig, to_all)) == ("done", 6, 3, 3)
    assert rig.sender.times(b.url) == 3


async def test_tenants_take_turns(rig: Rig) -> None:
    """A tenant with many replays does not keep another one's single replay waiting."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 4)
    rig.engine.replays.stop()
    many = [await start(rig, filter={"state": "failed"}, endpoint_id=endpoint.public_id) for _ in range(5)]
    single = await start(rig, tenant="other", filter={"type": "none"})
    rig.engine.replays._stopped = False
    served = []
    for _ in range(2):
        await rig.engine.replays.once()
        served.append((await view(rig, single)).row.state)
    assert "done" in served
    for one in many:
        assert (await ended(rig, one)).row.state == "done"


async def test_at_most_ten_run_at_once(rig: Rig) -> None:
    """The eleventh replay of a tenant is refused until one has ended; other tenants are not concerned."""
    rig.engine.replays.stop()
    begun = [await start(rig, filter={"type": "x"}) for _ in range(10)]
    with pytest.raises(Conflict) as refused:
        await start(rig, filter={"type": "x"})
    assert refused.value.code == "limit_reached"
    await start(rig, tenant="other", filter={"type": "x"})
    await service(rig).cancel("default", begun[0].row.id)
    await start(rig, filter={"type": "x"})


async def test_references_are_looked_up_when_it_begins(rig: Rig) -> None:
    """An unknown uid is refused, an unknown target is not found, an unknown id matches nothing."""
    with pytest.raises(Refusal) as refused:
        await start(rig, filter={"endpoint": "nobody"})
    assert (refused.value.code, refused.value.pointer) == ("invalid_replay", "/filter/endpoint")
    with pytest.raises(NotFound):
        await start(rig, filter={"type": "x"}, endpoint_id="nobody")
    assert await dry(rig, filter={"endpoint": "ep_" + "0" * 24}) == DryRun(0, 0, complete=True)


async def test_another_tenants_is_not_there(rig: Rig) -> None:
    """Nobody sees, cancels or reaches what is another tenant's."""
    endpoint = await rig.endpoint("a", uid="mine")
    await failed(rig, endpoint, 2)
    begun = await ended(rig, await start(rig, filter={"state": "failed"}))
    api = service(rig)
    for call in (api.get, api.cancel):
        with pytest.raises(NotFound):
            await call("other", begun.row.id)
    assert (await api.page("other", 50, None)).rows == []
    assert [one.row.id for one in (await api.page("default", 50, None)).rows] == [begun.row.id]
    with pytest.raises(NotFound):
        await start(rig, tenant="other", filter={"state": "failed"}, endpoint_id=endpoint.public_id)
    counted = await api.create(
        "other", b'{"filter": {"endpoint": "%b"}, "dry_run": true}' % endpoint.public_id.encode()
    )
    assert counted == DryRun(0, 0, complete=True)


async def test_a_dry_run_has_its_time_and_its_number(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts for three seconds at most and says whether that was all; a third one at once is refused."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 2)
    api, original = service(rig), rig.store.deliveries
    waiting = asyncio.Event()

    async def slow(query: Any) -> Any:
        await waiting.wait()
        rig.clock.advance(4)
        page = await original(query)
        return type(page)(page.rows, page.rows[-1].id)

    monkeypatch.setattr(rig.store, "deliveries", slow)
    body = b'{"filter": {"state": "failed"}, "dry_run": true}'
    counting = [asyncio.create_task(api.create("default", body)) for _ in range(2)]
    await asyncio.sleep(0.02)
    with pytest.raises(Refusal) as refused:
        await api.create("default", body)
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 3)
    waiting.set()
    assert await asyncio.gather(*counting) == [DryRun(2, 2, complete=False)] * 2
    monkeypatch.undo()
    assert await api.create("default", body) == DryRun(2, 2, complete=True)


async def test_a_killed_process_goes_on_where_it_was(rig: Rig, tmp_path: Path) -> None:
    """Killed in the middle, the next process goes on with the first that was not replayed: no double, no gap."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 30)
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    begun = await start(rig, filter={"state": "failed"}, rate={"n": 12, "per_s": 60})
    for _ in range(500):
        if (await view(rig, begun)).row.replayed == 12:
            break
        await asyncio.sleep(0.002)
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        source = rig.path.with_name(rig.path.name + suffix)
        if source.exists():
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    after = Rig(copy, rig.clock)
    await after.start()
    try:
        for _ in range(40):
            after.clock.advance(10)
            await asyncio.sleep(0.01)
            if (await view(after, begun)).row.state != "running":
                break
        assert numbers(await ended(after, begun)) == ("done", 30, 30, 0)
        await after.until(lambda: len(after.sender.sent) == 30, "each is sent")
        await after.quiet()
        assert len({data for _, data, _ in after.sender.sent}) == 30
        counts = await after.counts()
        assert (counts.deliveries, counts.delivered) == (30, 30)
        gate.set()
    finally:
        await after.stop()


async def test_a_store_that_is_away_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that cannot be committed is made again; nothing is skipped."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 3)
    original, calls = rig.store.step_replay, []

    async def down(*args: Any) -> Any:
        calls.append(args)
        if len(calls) < 3:
            raise StoreUnavailable("gone for a while")
        return await original(*args)

    monkeypatch.setattr(rig.store, "step_replay", down)
    begun = await start(rig, filter={"state": "failed"})
    for _ in range(10):
        await asyncio.sleep(0.01)
        rig.clock.advance(1)
    assert numbers(await ended(rig, begun)) == ("done", 3, 3, 0)
    assert rig.sender.times(endpoint.url) == 3


async def test_who_stood_still_in_a_step_does_not_rest_as_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for six hours within a step of one replay begins the next within seconds."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 1)
    original, calls = rig.store.step_replay, []

    async def stopped(*args: Any) -> Any:
        calls.append(args)
        rig.clock.advance(6 * 3600)
        return await original(*args)

    monkeypatch.setattr(rig.store, "step_replay", stopped)
    first = await start(rig, filter={"state": "failed"})
    assert (await ended(rig, first)).row.state == "done"
    second = await start(rig, filter={"state": "delivered"})
    for _ in range(5):
        await asyncio.sleep(0.01)
        rig.clock.advance(1)
    assert len(calls) > 1
    assert (await ended(rig, second)).row.state == "done"


async def test_a_replay_that_cannot_go_on_does_not_stop_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps in a row that fail by a fault of their own end the replay as failed; the others go on."""
    endpoint = await rig.endpoint("a")
    await failed(rig, endpoint, 3)
    original = rig.store.step_replay
    rig.engine.replays.stop()
    ill = await start(rig, filter={"endpoint": endpoint.public_id})
    well = await start(rig, filter={"endpoint": endpoint.public_id})

    async def picky(replay_id: bytes, *args: Any) -> Any:
        if replay_id == ill.row.id:
            raise DataError("cannot be stored")
        return await original(replay_id, *args)

    monkeypatch.setattr(rig.store, "step_replay", picky)
    rig.engine.replays._stopped = False
    rig.engine.replays.soon()
    assert numbers(await ended(rig, well)) == ("done", 3, 3, 0)
    for _ in range(60):
        await asyncio.sleep(0.005)
        rig.clock.advance(8)
    found = await view(rig, ill)
    assert (found.row.state, found.row.detail) == ("failed", "5 steps in a row did not work: DataError.")
    assert {name for name, _ in rig.observer.warnings} == {"replay_failed"}


async def test_a_newer_releases_replay_is_left_to_it(rig: Rig) -> None:
    """One whose form is not known here is shown and not touched; a person can cancel it."""
    later = b'{"spec": {"filter": {"colour": "red"}}, "start_ms": 0}'
    row = ReplayRow(rig.engine.ids.make(rig.store.now_ms()), "default", later, until=b"\xff")
    await rig.store.put_replay(row)
    rig.engine.replays.soon()
    await rig.until(lambda: bool(rig.observer.warnings), "it is said")
    assert [name for name, _ in rig.observer.warnings] == ["replay_unreadable"]
    (found,) = (await service(rig).page("default", 50, None)).rows
    assert (found.row.state, found.progress) == ("running", 0.0)
    assert (await service(rig).cancel("default", row.id)).row.state == "canceled"


async def test_its_tenant_is_deleted_meanwhile(rig: Rig) -> None:
    """Nothing more is made for a tenant that was deleted."""
    await rig.store.put_tenant(TenantRow("acme", b'{"id": "acme"}'))
    rig.engine.replays.stop()
    begun = await start(rig, tenant="acme", filter={"type": "x"})
    await rig.store.delete_tenant("acme")
    await rig.engine.registry.refresh()
    rig.engine.replays._stopped = False
    rig.engine.replays.soon()
    found = await ended(rig, begun)
    assert (found.row.state, found.row.detail) == ("failed", "The tenant was deleted.")


async def test_it_follows_a_configuration_that_changes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint made between the reading of a page and its commit is heard of before the commit."""
    await rig.endpoint("a")
    await rig.publish(ORDER)
    await rig.quiet()
    original, made = rig.store.events, []

    async def changing(query: Any) -> Any:
        page = await original(query)
        if query.limit > 1 and not made:
            made.append(await rig.endpoint("b"))
            rig.engine.registry.version -= 1
        return page

    monkeypatch.setattr(rig.store, "events", changing)
    found = await ended(rig, await start(rig, of="events", filter={"type": "order.created"}))
    assert numbers(found) == ("done", 2, 2, 0)
    assert rig.sender.times(made[0].url) == 1


async def test_many_go_in_steps_of_five_hundred(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit makes at most 500; all of them are made, oldest first."""
    await rig.endpoint("a")
    for _ in range(3):
        await rig.publish([ORDER] * 400)
    await rig.quiet()
    other = await rig.endpoint("other", event_types=["nothing"])
    await rig.set_state(other, EndpointState.PAUSED)
    original, steps = rig.store.step_replay, []

    async def noted(*args: Any) -> Any:
        again = args[4]
        steps.append(len(again))
        assert list(again) == sorted(again, key=lambda one: one.event_id)
        return await original(*args)

    monkeypatch.setattr(rig.store, "step_replay", noted)
    begun = await start(rig, filter={"state": "delivered"}, endpoint_id=other.public_id)
    assert numbers(await ended(rig, begun)) == ("done", 1200, 1200, 0)
    assert steps == [500, 500, 200]
    assert (await rig.counts(other)).held == 1200
