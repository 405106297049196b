"""What our own defects and broken adapters must not bring about: a silent loop, a hanging publisher, a lost lease."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.errors import DataError, StoreUnavailable
from hookline.core.secret import Keyring
from tests.flow.rig import Rig

ORDER = {"type": "order.created", "data": {"id": 1}}
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)


class Defect(Exception):
    """Nobody expects it."""


async def test_a_defect_in_the_accept_commit_answers_everybody(rig: Rig, monkeypatch) -> None:
    """An unexpected error of the store is 500 for the request that brings it about and 202 for the others."""
    endpoint = await rig.endpoint("a")
    original = rig.store.accept

    async def broken(requests, version):
        if any(item.event.subject == "bad" for request in requests for item in request.items):
            raise Defect("in the store")
        return await original(requests, version)

    monkeypatch.setattr(rig.store, "accept", broken)
    bodies = [{**ORDER, "subject": "bad" if n == 7 else "good"} for n in range(20)]
    answers = await asyncio.wait_for(asyncio.gather(*(rig.publishing(body) for body in bodies)), 5)
    assert [answer.status for answer in answers] == [500 if n == 7 else 202 for n in range(20)]
    assert json.loads(answers[7].body)["code"] == "internal"
    await rig.quiet()
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    assert (channel.reserved, rig.engine.deliver._handed, rig.engine.deliver._handed_bytes) == (0, 0, 0)
    assert (await rig.counts()).delivered == 19


async def test_a_defect_while_a_request_is_read_is_answered(rig: Rig, monkeypatch) -> None:
    """An error that is no refusal is 500; `publish` does not raise."""

    def broken(*args):
        raise Defect("in the registry")

    monkeypatch.setattr(rig.engine.registry, "event_type", broken)
    assert (await asyncio.wait_for(rig.publishing(ORDER), 5)).status == 500


async def test_a_publisher_who_cannot_be_answered_does_not_harm_the_others(rig: Rig) -> None:
    """When telling one answer fails, the others of the commit are answered and everything is delivered."""
    endpoint = await rig.endpoint("a")

    def gone(answer):
        raise Defect("the connection is gone")

    body = json.dumps(ORDER).encode()
    rig.engine.accept.publish("default", {}, "application/json", body, gone)
    answers = await asyncio.wait_for(asyncio.gather(*(rig.publishing(ORDER) for _ in range(3))), 5)
    assert {answer.status for answer in answers} == {202}
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 4


async def test_a_sender_that_raises_is_a_failed_attempt(rig: Rig, monkeypatch) -> None:
    """The attempt is recorded and retried, the slot goes on, and the defect is told."""
    endpoint = await rig.endpoint("a", concurrency_max=1, retry={"schedule_s": [10]})
    original = rig.sender.start
    raised = 0

    def start(request, done):
        nonlocal raised
        if not raised:
            raised += 1
            raise Defect("in the adapter")
        original(request, done)

    monkeypatch.setattr(rig.sender, "start", start)
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1
    assert rig.engine.deliver.slots.in_flight == 0
    await rig.advance(13, 1)
    assert (await rig.counts()).delivered == 2
    assert any(name == "sender_raised" for name, _ in rig.observer.warnings)


@pytest.mark.parametrize("raises", [False, True])
async def test_a_sender_that_tells_twice_is_heard_once(rig: Rig, monkeypatch, raises: bool) -> None:
    """The first outcome counts, whatever is told or raised after it; the defect is told, and no count drifts."""
    endpoint = await rig.endpoint("a", concurrency_max=1)

    def start(request, done):
        done([Outcome(Kind.DELIVERED, status=200)])
        if raises:
            raise Defect("after the outcome")
        done([Outcome(Kind.RETRY, "connect")])

    monkeypatch.setattr(rig.sender, "start", start)
    for _ in range(3):
        await rig.publish(ORDER)
    await rig.quiet()
    assert (await rig.counts()).delivered == 3
    assert rig.engine.deliver.slots.in_flight == rig.engine.deliver.channel(endpoint.id).in_flight == 0
    told = {name for name, _ in rig.observer.warnings}
    assert told == {"sender_raised" if raises else "sender_told_twice"}


async def test_an_outcome_that_can_never_be_stored_is_left_to_its_lease(rig: Rig, monkeypatch) -> None:
    """It is dropped loudly, its lease is taken back when it ends, and no count drifts."""
    endpoint = await rig.endpoint("a")
    original = rig.store.record
    broken = True

    async def record(items, *args):
        if broken and any(item.attempt is not None or item.tries for item in items):
            raise Defect("in the store")
        return await original(items, *args)

    monkeypatch.setattr(rig.store, "record", record)
    rig.engine.deliver.channel(endpoint.id).overflow = True  # claimed, not handed off
    await rig.publish(ORDER)
    await rig.until(lambda: any(name == "outcome_dropped" for name, _ in rig.observer.warnings), "dropped")
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    assert channel.leased_by_claim == 0
    broken = False
    await rig.advance(60, 5)
    assert (await rig.counts()).delivered == 1


async def test_an_outage_that_ends_with_a_bad_outcome_does_not_stop_sending(rig: Rig, monkeypatch) -> None:
    """The store is back, even if the first thing it says is that an outcome cannot be stored."""
    endpoint = await rig.endpoint("a")
    original = rig.store.record
    answers: list[Exception] = [StoreUnavailable("away"), *(DataError("bad") for _ in range(3))]

    async def record(items, *args):
        if answers:
            raise answers.pop(0)
        return await original(items, *args)

    monkeypatch.setattr(rig.store, "record", record)
    await rig.publish(ORDER)
    await rig.until(lambda: len(answers) == 3, "the store is away")
    rig.clock.advance(1)
    await rig.until(lambda: not answers, "and back")
    await rig.quiet()
    assert not rig.engine.recorder.behind
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 2


@pytest.mark.parametrize("method", ["claim", "due", "endpoints_of", "unfold", "lost", "fold"])
async def test_no_loop_ends(rig: Rig, monkeypatch, method: str) -> None:
    """Whatever the store raises, each loop goes on and works again when the store does."""
    endpoint = await rig.endpoint("a", rate={"n": 100, "per_s": 1})
    original = getattr(rig.store, method)
    raised = 0

    async def broken(*args, **named):
        nonlocal raised
        raised += 1
        raise Defect("in the store")

    monkeypatch.setattr(rig.store, method, broken)
    await rig.publish(ORDER)
    for _ in range(12):
        rig.clock.advance(1)
        await asyncio.sleep(0.005)
    assert raised
    monkeypatch.setattr(rig.store, method, original)
    await rig.advance(12, 1)
    await rig.publish(ORDER)
    await rig.advance(2, 1)
    assert (await rig.counts()).delivered == 2
    assert rig.sender.times(endpoint.url) == 2
    assert not any(task.done() for task in rig.engine._loops)


async def test_a_claim_that_one_endpoint_spoils_serves_the_others(rig: Rig, monkeypatch) -> None:
    """A claim that fails because of one endpoint's rows is divided until that endpoint stands alone."""
    bad = await rig.endpoint("bad", rate={"n": 9, "per_s": 1})
    good = [await rig.endpoint(f"e{n}", rate={"n": 9, "per_s": 1}) for n in range(5)]
    original = rig.store.claim

    async def claim(entries, *args, **named):
        if any(entry.endpoint_id == bad.id for entry in entries):
            raise DataError("a row that cannot be read")
        return await original(entries, *args, **named)

    monkeypatch.setattr(rig.store, "claim", claim)
    monkeypatch.setattr(rig.store, "claim_ids", claim)
    rig.engine.queue.publish = lambda ids: None
    await rig.publish(ORDER)
    await rig.quiet()
    assert [rig.sender.times(endpoint.url) for endpoint in good] == [1] * 5


@pytest.mark.rule(n=18)
async def test_a_drain_ends_although_the_store_takes_nothing(rig: Rig, monkeypatch) -> None:
    """Outcomes that cannot be recorded are left to the next start after some seconds, and said so."""
    await rig.endpoint("a")

    async def down(*args, **kwargs):
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "record", down)
        await rig.publish(ORDER)
        await rig.until(lambda: rig.engine.recorder.behind, "recording is behind")
        stopping = asyncio.ensure_future(rig.engine.stop(grace_s=1))
        for _ in range(60):
            rig.clock.advance(0.5)
            await asyncio.sleep(0.001)
        assert stopping.done()
        assert await stopping is False
    assert any(name == "outcomes_left" for name, _ in rig.observer.warnings)
    rig.engine = rig._engine()
    await rig.start()
    await rig.quiet()
    assert (await rig.counts()).delivered == 1


@pytest.mark.rule(n=18)
async def test_a_claim_in_flight_at_a_drain_is_given_back(rig: Rig, monkeypatch) -> None:
    """What a claim brings during the drain is released before the store is left."""
    await rig.endpoint("a", rate={"n": 9, "per_s": 1})
    original = rig.store.claim
    gate = asyncio.Event()
    claimed = asyncio.Event()

    async def claim(*args, **named):
        result = await original(*args, **named)
        claimed.set()
        await gate.wait()
        return result

    monkeypatch.setattr(rig.store, "claim", claim)
    rig.engine.queue.publish = lambda ids: None
    await rig.publish(ORDER)
    await claimed.wait()
    stopping = asyncio.ensure_future(rig.engine.stop(grace_s=1))
    await asyncio.sleep(0.02)
    gate.set()
    assert await asyncio.wait_for(stopping, 5)
    rig.engine = rig._engine()
    assert rig.sender.sent == []
    await rig.store.start()
    assert (await rig.counts()).pending == 1
    await rig.store.stop()
    await rig.start()


async def test_an_endpoint_whose_secrets_cannot_be_opened_loses_nothing(rig: Rig) -> None:
    """With another secret key the process starts and says so; events are kept for the endpoint and sent later."""
    endpoint = await rig.endpoint("a")
    good = rig.keyring
    await rig.stop()
    rig.keyring = Keyring([b"x" * 32])
    rig.engine = rig._engine()
    await rig.start()
    assert any(name == "endpoint_sealed" for name, _ in rig.observer.warnings)
    assert (await rig.publish(ORDER))["deliveries"] == 1
    await rig.advance(30, 5)
    assert rig.sender.sent == []
    await rig.stop()
    rig.keyring = good
    rig.engine = rig._engine()
    await rig.start()
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1


async def test_a_row_that_cannot_be_read_does_not_block_the_registry(rig: Rig) -> None:
    """One endpoint's broken spec is told; the endpoints created after it work."""
    broken = await rig.endpoint("broken")
    (row,) = (await rig.store.changes(0)).endpoints
    await rig.store.put_endpoint(msgspec.structs.replace(row, spec=b"{"), row.version)
    endpoint = await rig.endpoint("b")
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1
    assert any(name == "endpoint_unreadable" for name, _ in rig.observer.warnings)
    assert rig.engine.registry.endpoint(broken.id) is not None


async def test_a_take_back_does_not_wait_for_a_quiet_moment(rig: Rig, monkeypatch) -> None:
    """While outcomes keep coming, what was taken back is known to be so as soon as its own commit ends."""
    other = await rig.endpoint("b", rate={"n": 1, "per_s": 1000, "burst": 1})
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    await rig.quiet()
    refs = await rig.store.oldest(other.id, 5)
    with monkeypatch.context() as patched:
        patched.setattr(rig.engine.recorder, "drained", asyncio.Event().wait)  # there is no quiet moment
        await asyncio.wait_for(rig.engine.rescue.overflow(refs), 3)
    assert (await rig.counts()).failed == len(refs) == 1
