"""Accepting: answers, duplicates, routes, shared commits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from hookline.core.errors import DataError, StoreUnavailable
from hookline.core.event_type import is_operational
from hookline.flow.upkeep import UNFOLD_BESIDE
from hookline.ports.store import EventTypeRow
from tests.flow.rig import Rig

ORDER = {"type": "order.created", "data": {"id": 1}}


async def test_an_accepted_event_reaches_its_endpoint_byte_for_byte(rig: Rig) -> None:
    """What the publisher wrote in `data` is what the sender gets, spaces, key order and number spelling kept."""
    endpoint = await rig.endpoint("a")
    data = b'{ "b":1.0,  "a":[1e2,\n"\\u00e9"] }'
    answer = await rig.publish(b'{"type":"order.created","data":' + data + b"}")
    await rig.quiet()
    assert answer["deliveries"] == 1
    assert answer["duplicate"] is False
    assert rig.sender.sent == [(endpoint.url, data, 1)]
    counts = await rig.counts()
    assert (counts.events, counts.deliveries, counts.delivered) == (1, 1, 1)


@pytest.mark.rule(n=11)
async def test_a_first_delivery_is_handed_off_without_a_claim(rig: Rig, monkeypatch) -> None:
    """With room, a just-accepted delivery goes straight to the sender: the store is not asked for it."""
    claims: list[object] = []
    original = rig.store.claim

    async def claim(entries, *args, **kwargs):
        claims.append(entries)
        return await original(entries, *args, **kwargs)

    monkeypatch.setattr(rig.store, "claim", claim)
    await rig.endpoint("a")
    await rig.publish(ORDER)
    await rig.quiet()
    assert len(rig.sender.sent) == 1
    assert claims == []


async def test_a_repeated_id_answers_with_the_first_event(rig: Rig) -> None:
    """The second publish of an id of the same source is a duplicate of the first and makes nothing."""
    await rig.endpoint("a")
    body = {**ORDER, "id": "o-1", "source": "/shop"}
    first = await rig.publish(body)
    second = await rig.publish({**body, "data": {"id": 2}})
    other = await rig.publish({**body, "source": "/other"})
    assert second == {**first, "duplicate": True}
    assert other["duplicate"] is False
    assert (await rig.counts()).events == 2


@pytest.mark.rule(n=7)
async def test_a_hundred_parallel_publishes_of_one_id_make_one_event(rig: Rig) -> None:
    """However many come at once, one is the first and the others are told so."""
    await rig.endpoint("a")
    answers = await asyncio.gather(*(rig.publishing({**ORDER, "id": "same"}) for _ in range(100)))
    bodies = [json.loads(answer.body) for answer in answers]
    assert len({body["id"] for body in bodies}) == 1
    assert sum(not body["duplicate"] for body in bodies) == 1
    assert (await rig.counts()).events == 1


async def test_an_idempotency_key_gets_the_first_answer_byte_for_byte(rig: Rig) -> None:
    """A repeat with the same body gets the stored answer, one with another body is refused."""
    await rig.endpoint("a")
    batch = [ORDER, {"type": "!", "data": 1}, {**ORDER, "id": "x"}]
    first = await rig.publishing(batch, {"idempotency-key": '"k-1"'})
    await rig.endpoint("b")
    again = await rig.publishing(batch, {"idempotency-key": "k-1"})
    other = await rig.publishing(ORDER, {"idempotency-key": "k-1"})
    assert first.status == 202
    assert again == first
    assert other.status == 422
    assert json.loads(other.body)["code"] == "idempotency_key_reused"
    assert (await rig.counts()).events == 2


async def test_keys_are_known_after_a_restart(rig: Rig, tmp_path: Path) -> None:
    """Ids and Idempotency-Keys outlive the process."""
    body = {**ORDER, "id": "o-1"}
    first = await rig.publish(body)
    keyed = await rig.publishing(ORDER, {"idempotency-key": "k"})
    await rig.stop()
    later = Rig(rig.path, rig.clock)
    await later.start()
    try:
        assert (await later.publish(body)) == {**first, "duplicate": True}
        assert (await later.publishing(ORDER, {"idempotency-key": "k"})) == keyed
    finally:
        await later.stop()
        await rig.start()


@pytest.mark.rule(n=1)
async def test_concurrent_publishes_share_commits(rig: Rig) -> None:
    """Two hundred publishes that arrive together need a handful of commits."""
    await asyncio.gather(*(rig.publishing(ORDER) for _ in range(200)))
    assert rig.observer.commits["accept"] <= 4


@pytest.mark.rule(n=3)
async def test_a_batch_answers_per_item(rig: Rig) -> None:
    """Accepted, duplicate and invalid items of one batch are told apart, in order."""
    answer = await rig.publish([{**ORDER, "id": "1"}, {**ORDER, "id": "1"}, {"type": "x"}, ORDER])
    assert [row["status"] for row in answer["data"]] == ["accepted", "duplicate", "invalid", "accepted"]
    assert answer["data"][1]["id"] == answer["data"][0]["id"]
    assert answer["data"][2]["problem"]["code"] == "invalid_event"


async def test_a_batch_with_nothing_acceptable_is_refused(rig: Rig) -> None:
    """Nothing to accept is 422, and nothing is stored."""
    answer = await rig.publishing([{"type": "x"}, {"data": 1}])
    empty = await rig.publishing([])
    assert (answer.status, empty.status) == (422, 422)
    assert (await rig.counts()).events == 0


async def test_an_enforced_schema_refuses_with_pointer_expected_and_found(rig: Rig) -> None:
    """A payload that breaks the schema of its type says where and how; mode warn lets it pass."""
    schema = b'{"type":"object","properties":{"amount":{"type":"integer"}},"required":["amount"]}'
    row = EventTypeRow("default", "pay", 0, "enforce", schema)
    await rig.store.put_event_type(row, create=True)
    await rig.store.put_event_type(EventTypeRow("default", "soft", 0, "warn", schema), create=True)
    await rig.engine.registry.refresh()
    answer = await rig.publishing({"type": "pay", "data": {"amount": "12"}})
    problem = json.loads(answer.body)
    assert answer.status == 422
    assert problem["code"] == "schema_violation"
    assert problem["pointer"] == "/data/amount"
    assert "integer" in problem["expected"]
    assert "12" in problem["found"]
    assert (await rig.publish({"type": "pay", "data": {"amount": 12}}))["deliveries"] == 0
    await rig.publish({"type": "soft", "data": {}})
    assert any(name == "schema_violation" for name, _ in rig.observer.warnings)


async def test_an_endpoint_created_elsewhere_gets_the_next_event(rig: Rig) -> None:
    """The accept transaction finds the newer registry version, so an answered creation misses nothing."""
    await rig.endpoint("a")
    version = rig.engine.registry.version
    second = Rig(rig.path, rig.clock)
    second.engine = rig.engine
    refresh = rig.engine.registry.refresh

    async def not_yet() -> None:
        """This process has not heard of the creation."""

    rig.engine.registry.refresh = not_yet  # type: ignore[method-assign]
    try:
        await_row = rig.endpoint("b")
        try:
            await await_row
        except AssertionError:
            pass
    finally:
        rig.engine.registry.refresh = refresh  # type: ignore[method-assign]
    assert rig.engine.registry.version == version
    answer = await rig.publish(ORDER)
    assert answer["deliveries"] == 2
    assert rig.engine.registry.version > version


async def test_deliver_at_waits_and_then_goes(rig: Rig) -> None:
    """An event with `deliver_at` is delivered then, not before."""
    endpoint = await rig.endpoint("a")
    at = "2026-01-01T01:00:00Z"
    await rig.publish({**ORDER, "deliver_at": at})
    await rig.advance(3590, 600)
    assert rig.sender.times(endpoint.url) == 0
    await rig.advance(20, 10)
    assert rig.sender.times(endpoint.url) == 1


@pytest.mark.rule(n=22)
async def test_a_store_that_cannot_write_answers_503_and_recovers(rig: Rig, monkeypatch) -> None:
    """While the store refuses nobody reads 202; afterwards publishing goes on by itself."""
    endpoint = await rig.endpoint("a")
    original = rig.store.accept

    async def full(*args):
        raise StoreUnavailable("no space", code="disk_full", retry_after_s=2)

    monkeypatch.setattr(rig.store, "accept", full)
    answer = await rig.publishing(ORDER)
    assert answer.status == 503
    assert (b"retry-after", b"2") in answer.headers
    monkeypatch.setattr(rig.store, "accept", original)
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1


@pytest.mark.rule(n=3)
async def test_one_bad_item_fails_alone(rig: Rig, monkeypatch) -> None:
    """A shared commit with an item that cannot be stored is halved until only that request is refused."""
    original = rig.store.accept

    async def picky(requests, version):
        if any(item.event.subject == "bad" for request in requests for item in request.items):
            raise DataError("cannot be stored")
        return await original(requests, version)

    monkeypatch.setattr(rig.store, "accept", picky)
    bodies = [{**ORDER, "subject": "bad" if n == 37 else "good"} for n in range(64)]
    answers = await asyncio.gather(*(rig.publishing(body) for body in bodies))
    assert [answer.status for answer in answers] == [422 if n == 37 else 202 for n in range(64)]
    assert (await rig.counts()).events == 63


@pytest.mark.rule(n=5)
async def test_a_big_fan_out_is_one_row_and_unfolds(rig: Rig) -> None:
    """One event to 300 endpoints counts at once in full, is not in anybody's way while somebody publishes, and reaches
    every one of them."""
    for n in range(300):
        await rig.endpoint(f"e{n}")
    answer = await rig.publish(ORDER)
    assert answer["deliveries"] == 300
    assert (await rig.counts()).deliveries == 300
    await rig.quiet()
    assert 0 < len(rig.sender.sent) <= UNFOLD_BESIDE
    await rig.advance(1)  # nobody publishes any more
    await rig.until(lambda: len(rig.sender.sent) >= 300, "all unfolded")
    await rig.quiet()
    assert len({url for url, _, _ in rig.sender.sent}) == 300
    assert (await rig.counts()).delivered == 300


async def test_publishing_an_operational_type_is_refused(rig: Rig) -> None:
    """`hookline.` types are ours alone."""
    answer = await rig.publishing({"type": "hookline.endpoint.disabled", "data": {}})
    assert is_operational("hookline.endpoint.disabled")
    assert answer.status == 422
    assert json.loads(answer.body)["code"] == "reserved_event_type"


async def test_a_refused_item_of_a_batch_points_into_the_batch(rig: Rig) -> None:
    """The pointer of an item that breaks its schema begins with its place."""
    schema = b'{"type":"object","required":["amount"]}'
    await rig.store.put_event_type(EventTypeRow("default", "pay", 0, "enforce", schema), create=True)
    await rig.engine.registry.refresh()
    answer = await rig.publish([ORDER, {"type": "pay", "data": {}}])
    assert answer["data"][1]["problem"]["pointer"].startswith("/1/data")


async def test_a_repeat_gets_the_first_answer_though_it_would_be_refused_now(rig: Rig) -> None:
    """A schema added in between changes nothing for a known Idempotency-Key; another body or key is refused."""
    first = await rig.publishing(ORDER, {"idempotency-key": "k"})
    row = EventTypeRow("default", "order.created", 0, "enforce", b'{"type":"string"}')
    await rig.store.put_event_type(row, create=True)
    await rig.engine.registry.refresh()
    again = await rig.publishing(ORDER, {"idempotency-key": "k"})
    other_key = await rig.publishing(ORDER, {"idempotency-key": "other"})
    other_body = await rig.publishing({**ORDER, "subject": "s"}, {"idempotency-key": "k"})
    assert first.status == 202
    assert again == first
    assert [json.loads(a.body)["code"] for a in (other_key, other_body)] == ["schema_violation"] * 2
    fixed = await rig.publishing({"type": "order.created", "data": "text"}, {"idempotency-key": "other"})
    assert fixed.status == 202
    assert (await rig.counts()).events == 2
