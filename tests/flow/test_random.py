"""The whole engine under chance: endpoints, lanes, pauses, deletes, failures, a faulty store; the books balance."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import DataError, StoreUnavailable
from hookline.flow.limits import Limits
from tests.flow.rig import FaultyRig

FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
BUSY = Outcome(Kind.RETRY, reason="rate_limited", status=429, retry_after_s=5)
FULL = Outcome(Kind.RETRY, reason="connect", started=False)
OUTCOMES = (FAIL, FAIL, FAIL, BUSY, FULL)
METHODS = ("accept", "record", "claim", "claim_ids", "release", "due", "endpoints_of", "changes", "unfold", "lost")


async def _some_time(rig: FaultyRig, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 8)):
        rig.clock.advance(chance.choice((0.05, 0.3, 1.0)))
        await asyncio.sleep(0.002)


async def _trouble(rig: FaultyRig, chance: random.Random, endpoints: list[Endpoint], gone: set[str]) -> None:
    """One of the things that happen."""
    endpoint = chance.choice(endpoints)
    what = chance.random()
    if what < 0.35:
        error = StoreUnavailable("away") if chance.random() < 0.8 else DataError("bad")
        method = chance.choice(METHODS)
        if isinstance(error, DataError) and method == "record":
            error = StoreUnavailable("away")  # an outcome that is dropped is sent again: counted elsewhere
        rig.faults.fail(method, error, times=chance.randint(1, 3))
    elif what < 0.65:
        rig.sender.script[endpoint.url] += [chance.choice(OUTCOMES) for _ in range(chance.randint(1, 12))]
    elif what < 0.9:
        state = chance.choice((EndpointState.PAUSED, EndpointState.ACTIVE, EndpointState.ACTIVE))
        if endpoint.url not in gone:
            await rig.store.set_endpoint_state(endpoint.id, state)
            try:
                await rig.engine.registry.refresh()
            except (StoreUnavailable, DataError):
                pass  # the next accept finds it
    elif len(gone) < 2 and endpoint.url not in gone:
        gone.add(endpoint.url)
        await rig.store.delete_endpoint(endpoint.id)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_everything_closes_and_is_delivered_once_in_order(tmp_path, seed: int) -> None:
    """After any sequence of troubles, once they end, each delivery was taken exactly once, lanes in order."""
    chance = random.Random(seed)
    rig = FaultyRig(tmp_path / "chance.db", limits=Limits(concurrency_max=16, host_concurrency_max=6))
    taken: Counter[tuple[str, bytes]] = Counter()
    order: dict[str, list[int]] = {}
    original = rig.sender.send

    async def send(request):
        (outcome,) = await original(request)
        if outcome.kind is Kind.DELIVERED:
            taken[request.endpoint.url, request.items[0].event.id] += 1
            if request.endpoint.lane is not None:
                order.setdefault(request.endpoint.url, []).append(int(request.items[0].event.data))
        return [outcome]

    rig.sender.send = send  # type: ignore[method-assign]
    await rig.start()
    try:
        retry = {"schedule_s": [1] * 90}
        endpoints = [await rig.endpoint(f"e{n}", retry=retry, concurrency_max=3) for n in range(5)]
        endpoints += [await rig.endpoint(f"l{n}", retry=retry, order="key") for n in range(3)]
        endpoints.append(await rig.endpoint("r", retry=retry, rate={"n": 5, "per_s": 1}))
        gone: set[str] = set()
        accepted = 0
        for n in range(150):
            answer = await rig.publishing({"type": "t", "data": n, "ordering_key": "k"})
            accepted += answer.status == 202
            if chance.random() < 0.5:
                await _trouble(rig, chance, endpoints, gone)
            if chance.random() < 0.3:
                await _some_time(rig, chance)
        rig.faults.heal()
        rig.sender.script.clear()
        for endpoint in endpoints:
            if endpoint.url not in gone:
                await rig.store.set_endpoint_state(endpoint.id, EndpointState.ACTIVE)
        await rig.engine.registry.refresh()
        for _ in range(10):  # who waits to try the store again does so before anything can be quiet
            rig.clock.advance(0.3)
            await asyncio.sleep(0.01)
        for _ in range(60):
            await rig.advance(3, 1)
            counts = await rig.counts()
            if not (counts.pending or counts.leased or counts.held):
                break
        assert (counts.pending, counts.leased, counts.held, counts.failed) == (0, 0, 0, 0)
        assert counts.events == accepted
        assert counts.delivered == sum(taken.values())
        assert set(taken.values()) == {1}
        for endpoint in endpoints:
            if endpoint.url not in gone:
                assert sum(1 for url, _ in taken if url == endpoint.url) == accepted
        assert all(numbers == sorted(numbers) for numbers in order.values())
        deliver = rig.engine.deliver
        assert (deliver._handed, deliver._handed_bytes, deliver.slots.in_flight) == (0, 0, 0)
        for channel in deliver._channels.values():
            assert channel.idle
            assert (channel.reserved, channel.leased_by_claim, channel.destination.queued) == (0, 0, 0)
            assert channel.destination.in_flight == 0
    finally:
        rig.faults.heal()
        await rig.stop()
