"""Nothing is kept longer than its tenant's retention, and nothing open is ever deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.flow.limits import Limits
from hookline.ports.store import Query, TenantRow
from tests.flow.rig import Rig

DAY_S = 86_400.0
URL = "http://receiver.example/a"
AWAY = Outcome(Kind.RETRY, reason="connect")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "a.db", limits=Limits(retention_s=2 * DAY_S))
    await rig.start()
    yield rig
    await rig.stop()


async def swept(rig: Rig) -> None:
    """What the background would do until there is nothing left to do."""
    while await rig.engine.upkeep.once("expire"):
        pass
    for _ in range(50):
        if not await rig.engine.upkeep.once("purge"):
            return
    raise AssertionError("purging never ended")


async def pass_time(rig: Rig, wait_s: float) -> None:
    rig.clock.advance(wait_s)
    await rig.quiet()


async def events(rig: Rig, tenant: str = "default") -> int:
    return len((await rig.store.events(Query(tenant=tenant, limit=250))).rows)


async def test_history_goes_when_it_is_old_and_the_books_stay(rig: Rig) -> None:
    """After the retention closed deliveries, attempts and events go, all but the newest; lifetime totals do not."""
    endpoint = await rig.endpoint()
    for number in range(5):
        await rig.publish({"type": "a.b", "data": number})
    await rig.until(lambda: rig.sender.times(URL) == 5)
    await rig.quiet()
    *_, oldest = await rig.deliveries()
    await pass_time(rig, DAY_S)
    await swept(rig)
    assert (await events(rig), len(await rig.deliveries())) == (5, 5)
    await pass_time(rig, 2 * DAY_S)
    await swept(rig)
    assert len(await rig.deliveries()) <= 1
    assert await events(rig) <= 1
    assert list(await rig.store.attempts(oldest.id)) == []
    counts = await rig.counts(endpoint)
    assert (counts.deliveries, counts.delivered) == (5, 5)


@pytest.mark.rule(n=15)
async def test_open_work_is_closed_first_and_kept_a_day(rig: Rig) -> None:
    """What is open beyond the retention is failed as expired, announced once, and only a day later removed."""
    endpoint = await rig.endpoint()
    await rig.endpoint("ops", event_types=["hookline.*"])
    await rig.set_state(endpoint, EndpointState.PAUSED)
    for number in range(3):
        await rig.publish({"type": "a.b", "data": number})
    await pass_time(rig, 2 * DAY_S + 60)
    await swept(rig)
    rows = [row for row in await rig.deliveries() if row.endpoint_id == endpoint.id]
    assert [(row.state, row.reason) for row in rows] == [("failed", "expired")] * 3
    assert rig.sender.times(URL) == 0
    await rig.until(lambda: rig.sender.times("http://receiver.example/ops") > 0)
    told = [json.loads(data) for url, data, _ in rig.sender.sent if url.endswith("/ops")]
    assert [(report["endpoint_id"], report["failed"]) for report in told] == [(endpoint.public_id, 3)]
    await pass_time(rig, DAY_S / 2)
    await swept(rig)
    assert len([row for row in await rig.deliveries() if row.endpoint_id == endpoint.id]) == 3
    await pass_time(rig, DAY_S)
    await swept(rig)
    assert [row for row in await rig.deliveries() if row.endpoint_id == endpoint.id] == []
    counts = await rig.counts(endpoint)
    assert (counts.deliveries, counts.failed, counts.held) == (3, 3, 0)


async def test_an_attempt_in_flight_is_waited_for(rig: Rig) -> None:
    """A leased delivery is neither expired nor purged, however old; its outcome counts."""
    endpoint = await rig.endpoint(timeout_s=60)
    gate = rig.sender.gates[URL] = asyncio.Event()
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await rig.publish({"type": "a.b", "data": 1})
    await pass_time(rig, 2 * DAY_S - 5)
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.until(lambda: rig.sender.times(URL) == 1)
    rig.clock.advance(10)  # past its retention, and well within its lease
    while await rig.engine.upkeep.once("expire"):
        pass
    assert [row.state for row in await rig.deliveries()] == ["leased"]
    gate.set()
    await rig.until(lambda: not rig.engine.recorder.busy and not rig.sender.running[URL])
    await rig.quiet()
    assert (await rig.counts()).delivered == 1


async def test_a_tenants_own_retention_comes_before_the_settings(rig: Rig) -> None:
    """A tenant who keeps things for an hour loses them after it, while others keep theirs."""
    spec = json.dumps({"id": "brief", "retention_s": 3600}).encode()
    await rig.store.put_tenant(TenantRow("brief", spec))
    await rig.engine.registry.refresh()
    for tenant in ("brief", "default"):
        for number in range(3):
            await rig.publish({"type": "a.b", "data": number}, tenant=tenant)
    await pass_time(rig, 2 * 3600)
    await swept(rig)
    assert (await events(rig, "brief"), await events(rig)) == (0, 3)
