"""Where parts meet in one moment: verification with pauses and outcomes, upkeep with what cannot be stored."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.core.errors import Conflict
from hookline.flow.channel import Channel, Job
from tests.flow.rig import Rig
from tests.flow.verifying import NO, create, look, patch, reference, service, url

ORDER = {"type": "order.created", "data": {"id": 1}}
GONE = Outcome(Kind.GONE, "gone", status=410)


# ------------------------------------------------------------------------------------------------- verification


async def test_an_attempt_goes_to_the_endpoint_that_it_was_begun_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that comes between the start of an attempt and its first step sends nothing to the new address."""
    endpoint = await rig.endpoint("a")
    deliver, begin = rig.engine.deliver, rig.engine.deliver._begin
    before = deliver.destinations.join(endpoint)
    after = msgspec.structs.replace(
        endpoint, url="http://other.example/b", state=EndpointState.UNVERIFIED, version=endpoint.version + 1
    )

    def then_change(channel: Channel, job: Job) -> None:
        begin(channel, job)
        # Before the first step of the task that is begun next.
        asyncio.get_running_loop().call_soon(deliver._endpoint_changed, endpoint, after)

    monkeypatch.setattr(deliver, "_begin", then_change)
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
