"""The wall clock is set back and forth under the flow, and an answer comes long after its lease."""

from __future__ import annotations

import asyncio

import pytest

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from tests.flow.rig import Rig

HOUR_MS = 3_600_000
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
ORDER = {"type": "order.created", "data": {"id": 1}}


def set_wall(rig: Rig, hours: float) -> None:
    """Set the machine's clock that many hours from where it is."""
    rig.clock.set_wall(rig.clock.wall_ms() + int(hours * HOUR_MS))


@pytest.mark.rule(n=17)
@pytest.mark.parametrize("hours", [1, -1, 24])
async def test_rule_17_what_is_in_flight_is_not_taken_back(rig: Rig, hours: float) -> None:
    """However the wall is set, a living process keeps the leases whose real time is not over: nothing is sent twice,
    and the late answer is the one that counts (rules 16, 17)."""
    endpoint = await rig.endpoint("a", timeout_s=30)
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    for _ in range(3):
        await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(endpoint.url) >= 1, "in flight")
    sent = rig.sender.times(endpoint.url)
    set_wall(rig, hours)
    await rig.advance(25, 1)
    assert rig.sender.times(endpoint.url) == sent
    set_wall(rig, -hours)
    set_wall(rig, hours)
    gate.set()
    await rig.advance(60, 1)
    counts = await rig.counts()
    assert (counts.delivered, rig.sender.times(endpoint.url)) == (3, 3)
    assert [row.attempts for row in await rig.deliveries()] == [1, 1, 1]
    assert not any(name == "outcome_fenced" for name, _ in rig.observer.warnings)


@pytest.mark.rule(n=17)
async def test_rule_17_a_retry_waits_its_time_though_the_wall_goes_back(rig: Rig) -> None:
    """A wall that is set back by an hour between two tries delays the second one by nothing."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [30], "jitter": 0})
    rig.sender.script[endpoint.url] = [FAIL]
    await rig.publish(ORDER)
    await rig.quiet()
    set_wall(rig, -1)
    await rig.advance(29, 1)
    assert rig.sender.times(endpoint.url) == 1
    await rig.advance(2, 1)
    assert rig.sender.times(endpoint.url) == 2
    assert (await rig.counts()).delivered == 1


@pytest.mark.rule(n=17)
async def test_rule_17_a_retry_is_early_by_the_jump_and_only_once(rig: Rig) -> None:
    """A wall that goes forward by an hour brings each waiting try forward once; the same hour again brings nothing."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [1800, 7200], "jitter": 0})
    rig.sender.default[endpoint.url] = FAIL
    for _ in range(3):
        await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 3
    for _ in range(3):
        set_wall(rig, 1)
        await rig.advance(30, 1)
        assert rig.sender.times(endpoint.url) == 6
        set_wall(rig, -1)
        await rig.advance(30, 1)
    assert rig.sender.times(endpoint.url) == 6
    assert (await rig.counts()).pending == 3


@pytest.mark.rule(n=17)
async def test_rule_17_signatures_use_the_wall(rig: Rig) -> None:
    """What is signed carries the wall's time of its attempt, also after the wall went back, while ids go on rising."""
    signed: list[int] = []
    send = rig.sender.send

    async def noting(request):
        signed.append(request.now_ms - rig.clock.wall_ms())
        return await send(request)

    rig.sender.send = noting
    await rig.endpoint("a")
    made = []
    for hours in (1, -1, -1, 2):
        set_wall(rig, hours)
        made.append((await rig.publish(ORDER))["id"])
        await rig.quiet()
    assert signed == [0, 0, 0, 0]
    assert made == sorted(made)


@pytest.mark.rule(n=12)
async def test_rule_12_an_answer_after_the_take_back_changes_nothing(rig: Rig) -> None:
    """A delivery whose lease ended is taken back and sent again; what the first attempt brings later is not recorded,
    neither while the second runs nor after it (rule 12)."""
    endpoint = await rig.endpoint("a", timeout_s=1)
    await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(endpoint.url) == 1, "a success: from now on two may be in flight")
    await rig.quiet()
    first = rig.sender.gates["first"] = rig.sender.gates[endpoint.url] = asyncio.Event()
    late = (await rig.publish(ORDER))["id"]
    await rig.until(lambda: rig.sender.times(endpoint.url) == 2, "the first is in flight")
    second = rig.sender.gates[endpoint.url] = asyncio.Event()
    await rig.advance(40, 1)
    await rig.until(lambda: rig.sender.times(endpoint.url) == 3, "it is sent again")
    rig.sender.script[endpoint.url] = [FAIL]
    first.set()
    await rig.until(lambda: any(name == "outcome_fenced" for name, _ in rig.observer.warnings), "told that it is late")
    (row,) = await rig.deliveries(event_id=ids.parse("evt_", late))
    assert (row.state, row.attempts) == ("leased", 0)
    second.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the second has ended")
    await rig.quiet()
    (row,) = await rig.deliveries(event_id=ids.parse("evt_", late))
    assert (row.state, row.attempts) == ("delivered", 1)
    assert (await rig.counts()).delivered == 2
