"""Rules of docs/reliability.md that bound the flow, with the numbers that they name."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.flow.limits import Limits
from hookline.ports.store import AcceptRequest, AcceptResult, NewEvent
from tests.flow.rig import OK, Rig

ORDER = {"type": "order.created", "data": {"n": 1}}
MIB = 1024 * 1024
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)


class Accepts:
    """The accept commits of a rig, which wait while `gate` is closed."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[AcceptRequest]] = []
        self.results: list[AcceptResult] = []
        original = rig.store.accept

        async def accept(requests: Any, version: int) -> Any:
            self.batches.append(list(requests))
            await self.gate.wait()
            results = await original(requests, version)
            self.results += results
            return results

        monkeypatch.setattr(rig.store, "accept", accept)

    @property
    def items(self) -> list[int]:
        """How many events each commit held."""
        return [sum(len(request.items) for request in batch) for batch in self.batches]

    @property
    def new(self) -> list[NewEvent]:
        """Every event that was to be made."""
        return [item for batch in self.batches for request in batch for item in request.items]

    def handed_off(self) -> int:
        """How many deliveries were committed as leased."""
        return sum(item.states.count(State.LEASED) for result in self.results for item in result.items)


@pytest.fixture
def accepts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Accepts:
    """What the rig accepts."""
    return Accepts(rig, monkeypatch)


async def held_up(rig: Rig, accepts: Accepts) -> asyncio.Future[Any]:
    """A publish whose commit waits: what comes now waits behind it."""
    accepts.gate.clear()
    first = rig.publishing(ORDER)
    await rig.until(lambda: len(accepts.batches) > 0, "the first commit")
    return first


@pytest.mark.rule(n=4)
async def test_rule_4_a_commit_is_bounded_and_divides_nobody(rig: Rig, accepts: Accepts) -> None:
    """A commit takes no further request once it holds 1,000 events or 4 MiB, and a client's batch stays whole."""
    first = await held_up(rig, accepts)
    several = [rig.publishing([ORDER] * 300) for _ in range(5)]
    large = [rig.publishing({**ORDER, "data": "x" * (MIB - 1000)}) for _ in range(9)]
    accepts.gate.set()
    answers = await asyncio.gather(first, *several, *large)
    assert {answer.status for answer in answers} == {202}
    assert sum(accepts.items) == 1 + 5 * 300 + 9
    for batch in accepts.batches:
        assert sum(len(request.items) for request in batch[:-1]) < 1000
    for batch in accepts.batches:
        sizes = [sum(len(item.event.data) for item in request.items) for request in batch]
        assert sum(sizes[:-1]) < 4 * MIB


@pytest.mark.rule(n=4)
async def test_rule_4_a_flood_is_not_before_the_others(rig: Rig, accepts: Accepts) -> None:
    """What waits is taken round robin by tenant: behind 3,000 publishes of one, another's is in the next commit."""
    first = await held_up(rig, accepts)
    flood = [rig.publishing(ORDER, tenant="loud") for _ in range(3000)]
    single = rig.publishing(ORDER, tenant="quiet")
    accepts.gate.set()
    await asyncio.gather(first, *flood, single)
    place = next(n for n, batch in enumerate(accepts.batches) if any(request.tenant == "quiet" for request in batch))
    assert place <= 1
    assert len(accepts.batches) >= 4


@pytest.mark.rule(n=4)
@pytest.mark.rule(n=19)
async def test_rule_4_what_waits_is_bounded_in_bytes(rig: Rig, accepts: Accepts) -> None:
    """At most 64 MiB wait for their commit: what comes beyond is 503 with Retry-After, and the process stays ready."""
    first = await held_up(rig, accepts)
    body = {**ORDER, "data": "x" * (MIB - 1000)}
    waiting = [rig.publishing(body) for _ in range(70)]
    refused = [future.result() for future in waiting if future.done()]
    assert 5 <= len(refused) <= 8
    assert {answer.status for answer in refused} == {503}
    assert all((b"retry-after", b"1") in answer.headers for answer in refused)
    assert await rig.store.check() is None
    assert not rig.engine.draining
    accepts.gate.set()
    answers = await asyncio.gather(first, *waiting)
    assert sum(answer.status == 202 for answer in answers) == 71 - len(refused)


@pytest.mark.rule(n=4)
async def test_rule_4_what_waits_is_bounded_in_time(rig: Rig, accepts: Accepts) -> None:
    """While something has waited over a second for its commit, publishing is 503; afterwards it goes on by itself."""
    first = await held_up(rig, accepts)
    second = rig.publishing(ORDER)
    rig.clock.advance(1.1)
    assert (await rig.publishing(ORDER)).status == 503
    accepts.gate.set()
    assert [answer.status for answer in await asyncio.gather(first, second)] == [202, 202]
    assert (await rig.publishing(ORDER)).status == 202


@pytest.mark.rule(n=5)
async def test_rule_5_a_commit_has_4096_deliveries(rig: Rig, accepts: Accepts) -> None:
    """Of a batch whose events have 20 endpoints each, those beyond 4,096 rows are packed; all of them arrive."""
    for number in range(20):
        await rig.endpoint(f"e{number}")
    answer = await rig.publish([ORDER] * 220)
    assert {row["deliveries"] for row in answer["data"]} == {20}
    rows = sum(len(item.deliveries) for item in accepts.new)
    assert rows == 4096 // 20 * 20
    assert sum(item.deliveries_count for item in accepts.new) == 4400
    await rig.quiet()
    await rig.advance(1)  # nobody publishes any more: what is packed unfolds at once
    await rig.until(lambda: len(rig.sender.sent) == 4400, "all arrived")


@pytest.mark.rule(n=5)
async def test_rule_5_lanes_are_never_packed(rig: Rig, accepts: Accepts) -> None:
    """Of an event to 300 endpoints the 10 that want order are rows of the accept transaction, whatever their number."""
    for number in range(300):
        await rig.endpoint(f"e{number}", **({"order": "key"} if number < 10 else {}))
    await rig.publish({**ORDER, "ordering_key": "k"})
    assert [(len(item.deliveries), len(item.fanout) // 12) for item in accepts.new] == [(10, 290)]
    assert {delivery.lane for delivery in accepts.new[0].deliveries} == {"k"}
    await rig.quiet()
    await rig.advance(1)  # as above
    await rig.until(lambda: len(rig.sender.sent) == 300, "all arrived")


@pytest.mark.rule(n=11)
async def test_rule_11_the_window_is_free_slots_plus_what_it_finished(rig: Rig, accepts: Accepts) -> None:
    """An endpoint with 10 slots that finished 90 within this second gets 100 of a burst handed off, not 10: with the
    free slots alone most of a steady stream would take the way over the store."""
    endpoint = await rig.endpoint("a", concurrency_max=10)
    for _ in range(12):  # the first after a start go one by one, then two, then three (rule 14)
        await rig.publish(ORDER)
        await rig.quiet()
    await rig.advance(2)
    accepts.results.clear()
    for _ in range(9):
        await rig.publish([ORDER] * 10)
        await rig.quiet()
    assert accepts.handed_off() == 90
    await rig.publish([ORDER] * 120)
    assert accepts.handed_off() == 90 + 100
    await rig.until(lambda: rig.sender.times(endpoint.url) == 12 + 210, "all arrived")
    assert rig.sender.most[endpoint.url] <= 10


@pytest.mark.rule(n=11)
async def test_rule_11_nothing_starts_near_the_end_of_its_lease(rig: Rig) -> None:
    """What was handed off and waits for a slot is not sent once less than timeout + 5 s of its lease is left: it is
    given back, and sent under another lease."""
    endpoint = await rig.endpoint("a", concurrency_max=1, timeout_s=30)
    for _ in range(12):
        await rig.publish(ORDER)
        await rig.quiet()
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    await rig.publish([ORDER] * 3)
    await rig.until(lambda: rig.sender.running[endpoint.url] == 1, "one is on its way")
    rig.clock.advance(11)
    gate.set()
    await rig.until(lambda: rig.sender.times(endpoint.url) == 15, "all were sent")
    assert [item.fence for item in rig.sender.items[-3:]] == [1, 2, 2]


@pytest.mark.rule(n=12)
async def test_rule_12_what_cannot_be_recorded_is_not_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While recording stands, sending stops at 512 outcomes that wait, whatever is due; then everything is delivered
    once."""
    endpoints = [await rig.endpoint(f"e{number}", concurrency_max=1000) for number in range(4)]
    stalled = asyncio.Event()
    original = rig.store.record

    async def record(*given: Any) -> Any:
        await stalled.wait()
        return await original(*given)

    monkeypatch.setattr(rig.store, "record", record)
    for _ in range(4):
        await rig.publish([ORDER] * 250)
    try:
        await rig.until(lambda: rig.engine.recorder.behind, "sending stops")
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert rig.engine.recorder.behind
        assert len(rig.sender.sent) <= 512 + 64 + 64  # as many are on their way to one host
    finally:
        stalled.set()
    await rig.until(lambda: len(rig.sender.sent) == 4000, "all were sent")
    await rig.quiet()
    assert [rig.sender.times(endpoint.url) for endpoint in endpoints] == [1000] * 4
    assert (await rig.counts()).delivered == 4000


@pytest.mark.rule(n=14)
async def test_rule_14_probes_leave_the_tries_of_a_dead_endpoints_events(tmp_path: Path) -> None:
    """After 20 minutes at an endpoint that is dead its events have used up few of their tries; were a probe a try, the
    first would have failed for good after 193 s."""
    rig = Rig(tmp_path / "dead.db")
    await rig.start()
    try:
        endpoint = await rig.endpoint("dead")
        rig.sender.default[endpoint.url] = FAIL
        for _ in range(20):
            await rig.publish(ORDER)
            await rig.advance(1)
        assert rig.engine.registry.failing(endpoint.id)
        await rig.advance(1200, 5)
        probes = rig.sender.times(endpoint.url)
        counts = await rig.counts(endpoint)
        assert (counts.failed, counts.pending) == (0, 20)
        assert probes >= 30
        rig.sender.default[endpoint.url] = OK
        await rig.advance(86_400 * 2, 3600)
        assert (await rig.counts(endpoint)).delivered == 20
    finally:
        await rig.stop()


@pytest.mark.rule(n=15)
async def test_rule_15_overflow_is_announced_once(tmp_path: Path) -> None:
    """Of 60 deliveries to an endpoint that may have 10 open the oldest 50 are failed, in whatever portions, and who
    listens is told once within the hour."""
    rig = Rig(tmp_path / "over.db", limits=Limits(open_max=10))
    await rig.start()
    try:
        endpoint = await rig.endpoint("a")
        await rig.endpoint("ops", event_types=["hookline.*"])
        await rig.set_state(endpoint, EndpointState.PAUSED)
        for _ in range(3):
            await rig.publish([ORDER] * 20)
            await rig.advance(10, 1)
        counts = await rig.counts(endpoint)
        assert (counts.held, counts.failed) == (10, 50)
        rows = sorted(await rig.deliveries(endpoint_id=endpoint.id), key=lambda row: row.id)
        assert [row.reason for row in rows] == ["overflow"] * 50 + [None] * 10
        told = [json.loads(data) for url, data, _ in rig.sender.sent if url.endswith("/ops")]
        assert [report["endpoint_id"] for report in told] == [endpoint.public_id]
    finally:
        await rig.stop()
