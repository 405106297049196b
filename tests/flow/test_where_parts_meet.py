"""Where parts meet in one moment: verification with pauses and outcomes, upkeep with what cannot be stored."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import Conflict, DataError
from hookline.flow import confirm
from hookline.flow.channel import Job
from hookline.flow.limits import Limits
from hookline.flow.send import Once
from hookline.ports.store import Purged
from tests.flow.rig import Rig
from tests.flow.verifying import NO, create, look, patch, reference, service, url

ORDER = {"type": "order.created", "data": {"id": 1}}
GONE = Outcome(Kind.GONE, "gone", status=410)


# ------------------------------------------------------------------------------------------------- verification


async def test_an_attempt_goes_to_the_endpoint_that_it_was_begun_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that comes between the start of an attempt and its first step sends nothing to the new address."""
    endpoint = await rig.endpoint("a")
    deliver, send = rig.engine.deliver, rig.engine.deliver._send
    before = deliver.destinations.join(endpoint)
    after = msgspec.structs.replace(
        endpoint, url="http://other.example/b", state=EndpointState.UNVERIFIED, version=endpoint.version + 1
    )

    def then_change(endpoint: Endpoint, job: Job, once: Once) -> None:
        # Before the first step of what the sender begins.
        asyncio.get_running_loop().call_soon(deliver._endpoint_changed, endpoint, after)
        send(endpoint, job, once)

    monkeypatch.setattr(deliver, "_send", then_change)
    await rig.publish(ORDER)
    await rig.until(lambda: bool(rig.sender.sent), "something is sent")
    await rig.quiet()
    assert (rig.sender.times(url("a")), rig.sender.times(after.url)) == (1, 0)
    assert (before.in_flight, deliver.destinations.join(after).in_flight) == (0, 0)


@pytest.mark.parametrize(("act", "before"), [("pause", EndpointState.ACTIVE), ("resume", EndpointState.PAUSED)])
async def test_a_pause_or_resume_does_not_overtake_a_change(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, act: str, before: EndpointState
) -> None:
    """An endpoint that became unverified while somebody pauses or resumes it is unverified still."""
    made = await create(rig)
    await rig.store.set_endpoint_state(made.row.id, before)
    rig.sender.consent[url("b")] = NO
    original = rig.store.set_endpoint_state

    async def slow(*given):
        monkeypatch.setattr(rig.store, "set_endpoint_state", original)
        assert (await patch(rig, made, url=url("b"))).state == "unverified"
        return await original(*given)

    monkeypatch.setattr(rig.store, "set_endpoint_state", slow)
    with pytest.raises(Conflict) as refused:
        await getattr(service(rig), act)("default", reference(made))
    assert refused.value.code == "wrong_state"
    assert (await look(rig, made)).state == "unverified"


async def test_the_old_address_cannot_disable_the_new_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 410 of the address before, recorded after the change, leaves the endpoint unverified and is told nobody."""
    ops = await rig.endpoint("ops", event_types=["hookline.endpoint.*"])
    made = await create(rig, event_types=["order.*"])
    rig.sender.consent[url("b")] = NO
    rig.sender.script[url()] = [GONE]
    original = rig.store.record

    async def slow(*given):
        monkeypatch.setattr(rig.store, "record", original)
        row = (await look(rig, made)).row
        changed = json.loads(row.spec) | {"url": url("b")}
        unverified = msgspec.structs.replace(row, spec=json.dumps(changed).encode(), state=EndpointState.UNVERIFIED)
        await rig.store.put_endpoint(unverified, row.version)
        return await original(*given)

    monkeypatch.setattr(rig.store, "record", slow)
    await rig.publish(ORDER)
    await rig.quiet()
    assert (await look(rig, made)).state == "unverified"
    assert rig.sender.times(ops.url) == 0
    assert [row.state for row in await rig.deliveries()] == ["failed"]


async def test_an_answer_of_the_address_before_does_not_disable(rig: Rig) -> None:
    """A 410 that comes after the address was changed says nothing about the new one."""
    endpoint = await rig.endpoint("a")
    rig.sender.gates[endpoint.url] = gate = asyncio.Event()
    rig.sender.script[endpoint.url] = [GONE]
    await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.running[endpoint.url] == 1, "the attempt runs")
    await service(rig).patch("default", endpoint.public_id, json.dumps({"url": url("b")}).encode())
    gate.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(url("b")) == 1


# -------------------------------------------------------------------------------------------------------- upkeep


async def test_a_letter_that_cannot_be_stored_does_not_keep_its_delivery_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of an expired delivery is left out where the store refuses it: the delivery is failed."""
    await rig.endpoint("dead", uid="dead", event_types=["nothing"])
    endpoint = await rig.endpoint("a", dead_letter="dead")
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await rig.publish(ORDER)
    refs = await rig.store.oldest(endpoint.id, 10)
    original = rig.store.record

    async def picky(items, *more):
        if any(item.events for item in items):
            raise DataError("no letters")
        return await original(items, *more)

    monkeypatch.setattr(rig.store, "record", picky)
    await rig.engine.rescue.expire(refs)
    assert [(row.state, row.reason) for row in await rig.deliveries()] == [("failed", "expired")]
    assert [name for name, _ in rig.observer.warnings] == ["outcome_cut"]


@pytest.mark.parametrize("step", ["overflow", "expire"])
async def test_what_can_never_be_recorded_does_not_keep_a_step_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A step whose changes the store refuses says that it is done for now."""
    rig = Rig(tmp_path / "busy.db", limits=Limits(open_max=1, retention_s=60))
    await rig.start()
    try:
        endpoint = await rig.endpoint("a")
        await rig.set_state(endpoint, EndpointState.PAUSED)
        for _ in range(3):
            await rig.publish(ORDER)

        async def refusing(items, *more):
            raise DataError("nothing")

        monkeypatch.setattr(rig.store, "record", refusing)
        rig.clock.advance(61)
        # The engine makes the same steps beside these.
        assert False in [await rig.engine.upkeep.once(step) for _ in range(6)]
    finally:
        await rig.stop()


@pytest.mark.rule(n=15)
async def test_overflow_fails_what_waits_for_confirmation(tmp_path: Path) -> None:
    """An endpoint whose receiver never confirms keeps no more open than it may: the oldest are failed."""
    rig = Rig(tmp_path / "over.db", limits=Limits(open_max=3))
    await rig.start()
    try:
        endpoint = await rig.endpoint("a", confirm={"within_s": 86_400})
        for number in range(8):
            await rig.publish({**ORDER, "data": number})
            await rig.quiet()
            rig.clock.advance(0.01)
        await rig.advance(6, 1)
        counts = await rig.counts(endpoint)
        assert (counts.unconfirmed, counts.failed) == (3, 5)
        rows = sorted(await rig.deliveries(), key=lambda row: row.id)
        assert [row.reason for row in rows] == ["overflow"] * 5 + [None] * 3
    finally:
        await rig.stop()


async def test_what_was_purged_is_said_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says how much went when all was looked at, not one for each of many steps."""
    await rig.quiet()
    said: list[dict[str, object]] = []
    monkeypatch.setattr(rig.observer, "fact", lambda name, **fields: said.append({"name": name, **fields}))
    steps = [*[Purged(10, deliveries=2, events=1)] * 5, Purged(0), Purged(0)]

    async def purge(_keep):
        return steps.pop(0)

    monkeypatch.setattr(rig.store, "purge", purge)
    assert [await rig.engine.upkeep.once("purge") for _ in range(7)] == [True] * 5 + [False] * 2
    assert said == [{"name": "purged", "deliveries": 10, "events": 5, "quarantined": 0}]


async def test_words_that_came_to_nothing_do_not_delay_later_ones(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many errors were said of attempts that failed anyway, a word before the answer is recorded at once."""
    monkeypatch.setattr(confirm, "_SPOKEN_MAX", 2)
    endpoint = await rig.endpoint("a", confirm={"within_s": 60}, retry={"schedule_s": [1000]})

    async def taken(word: str) -> str:
        gate = rig.sender.gates[endpoint.url] = asyncio.Event()
        before = len(rig.sender.items)
        await rig.publish(ORDER)
        await rig.until(lambda: len(rig.sender.items) > before, "the attempt runs")
        delivery_id = rig.sender.items[-1].delivery_id
        assert await rig.engine.confirm.confirm(delivery_id, json.dumps({"status": word}).encode())
        await rig.quiet()
        gate.set()
        await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
        await rig.quiet()
        row = await rig.store.delivery("default", delivery_id)
        assert row is not None
        return row.state

    rig.sender.script[endpoint.url] = [Outcome(Kind.RETRY, "server_error", status=500)] * 3
    assert [await taken("error") for _ in range(3)] == ["pending"] * 3
    assert await taken("success") == "delivered"
