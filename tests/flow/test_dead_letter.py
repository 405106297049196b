"""Dead letters: what failed goes, with its history, to the endpoint named for it, and nowhere else; it never loops."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from hookline.core.delivery import LOST_MAX, State
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.tenant import TenantSpec
from hookline.flow.tell import READ_AGAIN_S, READ_TRIES
from hookline.ports.store import OpenRef, TenantRow
from tests.flow.rig import Rig

FAIL = Outcome(Kind.RETRY, reason="server_error", status=500, detail="it answered 500")
GONE = Outcome(Kind.GONE, reason="gone", status=410)
REJECT = Outcome(Kind.REJECTED, reason="rejected", status=422)
TWO_TRIES = {"schedule_s": [10], "jitter": 0}
ORDER = {"type": "order.created", "data": {"id": 1}}


def letters(rig: Rig, to: Endpoint) -> list[dict[str, Any]]:
    """The data of the dead letters that an endpoint got."""
    return [
        json.loads(item.event.data)
        for url, item in zip((sent[0] for sent in rig.sender.sent), rig.sender.items, strict=True)
        if url == to.url and item.event.type == "hookline.dead_letter"
    ]


async def confirm_error(rig: Rig) -> None:
    """The receiver says that his work failed."""
    url = rig.sender.items[0].confirm_url
    assert url is not None
    confirm = rig.engine.confirm
    body = '{"status": "error", "message": "no süch"}'.encode()
    assert await confirm.confirm(confirm.delivery(url.rpartition("/")[2]), body)
    await rig.engine.upkeep.once("settle")


async def test_a_letter_has_the_event_and_its_whole_history(rig: Rig) -> None:
    """After the last try the endpoint that is named gets event, delivery and attempts, oldest first."""
    target = await rig.endpoint("dead", uid="morgue", event_types=["nothing.of.this"])
    shop = await rig.endpoint("shop", uid="shop", dead_letter="morgue", retry=TWO_TRIES)
    rig.sender.script[shop.url] = [FAIL, Outcome(Kind.RETRY, reason="timeout")]
    answer = await rig.publish(
        {**ORDER, "source": "urn:shop", "id": "7", "subject": "order/1", "time": "2026-01-01T00:00:00Z"}
    )
    await rig.advance(11)
    (row,) = await rig.deliveries(state="failed")
    (letter,) = letters(rig, target)
    assert letter["event"] == {
        "id": answer["id"],
        "type": "order.created",
        "source": "urn:shop",
        "source_id": "7",
        "subject": "order/1",
        "time": "2026-01-01T00:00:00Z",
        "ordering_key": None,
        "correlation_id": None,
        "content_type": "application/json",
        "data": {"id": 1},
    }
    assert letter["delivery"] == {
        "id": ids.text(ids.DELIVERY, row.id),
        "endpoint_id": shop.public_id,
        "endpoint_uid": "shop",
        "url": shop.url,
        "reason": "timeout",
        "attempts": 2,
        "created_at": "2026-01-01T00:00:00.000Z",
        "failed_at": "2026-01-01T00:00:11.000Z",
    }
    assert letter["attempts"] == [
        {
            "number": 1,
            "at": "2026-01-01T00:00:00.000Z",
            "status": 500,
            "reason": "server_error",
            "cause": "application",
            "detail": "it answered 500",
            "duration_ms": 1.0,
        },
        {
            "number": 2,
            "at": "2026-01-01T00:00:11.000Z",
            "status": None,
            "reason": "timeout",
            "cause": "overload",
            "detail": "",
            "duration_ms": 1.0,
        },
    ]
    event = next(item.event for item in rig.sender.items if item.event.type == "hookline.dead_letter")
    assert (event.source, event.subject, event.hops) == ("/hookline", shop.public_id, 1)
    assert (event.causation_id, event.correlation_id) == (answer["id"], answer["id"])
    assert (await rig.counts(target)).delivered == 1


async def test_a_first_try_that_is_rejected_needs_no_history(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that fails with its first attempt has its letter without a look into the store."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.script[shop.url] = [REJECT]
    monkeypatch.setattr(rig.store, "attempts", None)
    await rig.publish(ORDER)
    await rig.quiet()
    (letter,) = letters(rig, target)
    assert [attempt["number"] for attempt in letter["attempts"]] == [1]
    assert letter["delivery"]["reason"] == "rejected"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{ "a" :1.50,"a":2}', "application/json", b'"data":{ "a" :1.50,"a":2}'),
        (b"123456789012345678901234567890", "application/vnd.x+json", b'"data":123456789012345678901234567890'),
        (b"", "application/json", b'"data_base64":""'),
        (b"null", "application/json", b'"data":null'),
        (b"\x00\xff", "application/octet-stream", b'"data_base64":"AP8="'),
        (b"", "text/plain", b'"data_base64":""'),
        (b"text", "text/plain; charset=utf-8", b'"data_base64":"dGV4dA=="'),
    ],
)
async def test_the_payload_keeps_its_bytes(rig: Rig, body: bytes, content_type: str, expected: bytes) -> None:
    """JSON is in the letter byte for byte; anything else in base64; the letter is JSON."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.script[shop.url] = [REJECT]
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "order.created"}
    await rig.publish(body, headers, content_type=content_type)
    await rig.quiet()
    event = next(item.event for item in rig.sender.items if item.event.type == "hookline.dead_letter")
    assert expected in event.data
    (letter,) = letters(rig, target)
    assert ("data" in letter["event"]) is (b'"data":' in expected)
    if "data_base64" in letter["event"]:
        assert base64.b64decode(letter["event"]["data_base64"]) == body


async def test_only_the_endpoint_that_is_named_gets_it(rig: Rig) -> None:
    """Neither patterns nor filters have a say: who subscribes to everything of ours does not get it."""
    target = await rig.endpoint("dead", event_types=["nothing"], filter={"type": "never"})
    ops = await rig.endpoint("ops", event_types=["hookline.*"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.script[shop.url] = [REJECT]
    await rig.publish(ORDER)
    await rig.quiet()
    assert len(letters(rig, target)) == 1
    assert letters(rig, ops) == []
    assert rig.sender.times(ops.url) == 1  # hookline.delivery.failed


async def test_gone_is_a_dead_letter(rig: Rig) -> None:
    """A 410 fails the delivery, so it has a letter too."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.script[shop.url] = [GONE]
    await rig.publish(ORDER)
    await rig.quiet()
    assert [letter["delivery"]["reason"] for letter in letters(rig, target)] == ["gone"]


@pytest.mark.parametrize("reason", ["overflow", "expired"])
async def test_what_fails_without_an_attempt_has_a_letter_with_those_before(rig: Rig, reason: str) -> None:
    """Overflow and expiry are dead letters too, with the attempts that were made before."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id, retry=TWO_TRIES)
    rig.sender.script[shop.url] = [FAIL]
    await rig.publish(ORDER)
    await rig.quiet()
    refs = await rig.store.oldest(shop.id, 10)
    await (rig.engine.rescue.overflow(refs) if reason == "overflow" else rig.engine.rescue.expire(refs))
    await rig.quiet()
    (letter,) = letters(rig, target)
    assert (letter["delivery"]["reason"], letter["delivery"]["attempts"]) == (reason, 1)
    assert [attempt["status"] for attempt in letter["attempts"]] == [500]


async def test_poison_is_a_dead_letter(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What killed its process twenty times has a letter with the attempts that ended."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id, retry=TWO_TRIES)
    rig.sender.script[shop.url] = [FAIL]
    await rig.publish(ORDER)
    await rig.quiet()
    rig.sender.gates[shop.url] = asyncio.Event()
    (ref,) = await rig.store.oldest(shop.id, 10)
    rig.clock.advance(11)
    await rig.until(lambda: rig.sender.times(shop.url) == 2, "the attempt that never ends")
    lost = msgspec.structs.replace(ref, fence=ref.fence + 1, state=State.LEASED, lost=LOST_MAX - 1)

    async def found(limit: int = 1000) -> list[OpenRef]:
        return [lost]

    monkeypatch.setattr(rig.store, "lost", found)
    await rig.engine.rescue.once()
    await rig.until(lambda: bool(letters(rig, target)), "the letter")
    (letter,) = letters(rig, target)
    assert (letter["delivery"]["reason"], letter["delivery"]["attempts"]) == ("poison", 1)


async def test_a_confirmed_error_is_in_the_letter(rig: Rig) -> None:
    """What the receiver said when he confirmed an error is for those who read the letter."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    await rig.endpoint(
        "shop", dead_letter=target.public_id, confirm={"within_s": 60}, retry={"on": {"answer_rejected": "fail"}}
    )
    await rig.publish(ORDER)
    await rig.quiet()
    await confirm_error(rig)
    await rig.quiet()
    (letter,) = letters(rig, target)
    assert letter["delivery"]["message"] == "no süch"
    assert (letter["delivery"]["reason"], letter["delivery"]["attempts"]) == ("answer_rejected", 1)
    assert [attempt["reason"] for attempt in letter["attempts"]] == [None]


async def test_a_letter_that_cannot_be_delivered_makes_no_letter(rig: Rig) -> None:
    """Two endpoints that name each other: what fails at one is told to the other, and that is the end."""
    one = await rig.endpoint("one", uid="one", dead_letter="two", event_types=["order.*"])
    two = await rig.endpoint("two", uid="two", dead_letter="one", event_types=["nothing"])
    rig.sender.default[one.url] = rig.sender.default[two.url] = REJECT
    await rig.publish(ORDER)
    await rig.advance(10, 1)
    assert (rig.sender.times(one.url), rig.sender.times(two.url)) == (1, 1)
    assert (await rig.counts()).failed == 2


async def test_an_endpoint_gets_no_letter_about_itself(rig: Rig) -> None:
    """The tenant's own endpoint for dead letters tells itself nothing when it fails."""
    target = await rig.endpoint("dead", uid="dead")
    await rig.store.put_tenant(TenantRow("default", msgspec.json.encode(TenantSpec(id="default", dead_letter="dead"))))
    await rig.engine.registry.refresh()
    rig.sender.script[target.url] = [REJECT]
    await rig.publish(ORDER)
    await rig.advance(10, 1)
    assert rig.sender.times(target.url) == 1
    assert rig.observer.warnings == []


async def test_the_tenants_endpoint_gets_what_has_no_other(rig: Rig) -> None:
    """An endpoint's own `dead_letter` goes before its tenant's."""
    common = await rig.endpoint("common", uid="common", event_types=["nothing"])
    own = await rig.endpoint("own", uid="own", event_types=["nothing"])
    await rig.store.put_tenant(
        TenantRow("default", msgspec.json.encode(TenantSpec(id="default", dead_letter="common")))
    )
    first = await rig.endpoint("first", event_types=["order.first"])
    second = await rig.endpoint("second", event_types=["order.second"], dead_letter="own")
    rig.sender.default[first.url] = rig.sender.default[second.url] = REJECT
    await rig.publish({**ORDER, "type": "order.first"})
    await rig.publish({**ORDER, "type": "order.second"})
    await rig.quiet()
    assert [letter["event"]["type"] for letter in letters(rig, common)] == ["order.first"]
    assert [letter["event"]["type"] for letter in letters(rig, own)] == ["order.second"]


async def test_an_address_that_is_gone_is_warned_about_once_an_hour(rig: Rig) -> None:
    """Where the endpoint for dead letters was deleted nothing is lost: failed is failed, and people are told."""
    target = await rig.endpoint("dead", uid="dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter="dead", retry={"on": {"rejected": "fail"}})
    rig.sender.default[shop.url] = REJECT
    await rig.store.delete_endpoint(target.id)
    await rig.engine.registry.refresh()
    for _ in range(3):
        await rig.publish(ORDER)
        await rig.quiet()
    named = ("dead_letter_unaddressed", {"endpoint": shop.public_id, "dead_letter": "dead"})
    assert rig.observer.warnings == [named]
    assert (await rig.counts()).failed == 3
    await rig.advance(3601, 600)
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.observer.warnings == [named, named]


async def test_a_uid_finds_who_has_it_now(rig: Rig) -> None:
    """A uid that was given to another endpoint after the first was deleted leads to the other."""
    old = await rig.endpoint("old", uid="dead", event_types=["nothing"])
    await rig.store.delete_endpoint(old.id)
    new = await rig.endpoint("new", uid="dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter="dead")
    rig.sender.script[shop.url] = [REJECT]
    await rig.publish(ORDER)
    await rig.quiet()
    assert (len(letters(rig, old)), len(letters(rig, new))) == (0, 1)
    assert rig.engine.registry.endpoint_of("default", "dead") is rig.engine.registry.endpoint(new.id)
    assert rig.engine.registry.endpoint_of("other", "dead") is None
    assert rig.engine.registry.endpoint_of("other", new.public_id) is None


async def test_a_paused_address_holds_its_letters(rig: Rig) -> None:
    """Letters to a paused endpoint wait like any delivery."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    await rig.set_state(target, EndpointState.PAUSED)
    rig.sender.script[shop.url] = [REJECT]
    await rig.publish(ORDER)
    await rig.quiet()
    assert (await rig.counts(target)).held == 1
    await rig.set_state(target, EndpointState.ACTIVE)
    await rig.quiet()
    assert len(letters(rig, target)) == 1


async def test_letters_keep_the_order_of_their_lane(rig: Rig) -> None:
    """An address that orders by key gets the letters of one key one after the other."""
    target = await rig.endpoint("dead", event_types=["nothing"], order="key", retry=TWO_TRIES)
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.default[shop.url] = REJECT
    rig.sender.script[target.url] = [FAIL]
    for number in range(3):
        await rig.publish({**ORDER, "data": number, "ordering_key": "k"})
        await rig.quiet()
    assert rig.sender.times(target.url) == 1
    await rig.advance(11)
    assert [letter["event"]["data"] for letter in letters(rig, target)] == [0, 0, 1, 2]
    rows = await rig.deliveries(endpoint_id=target.id)
    assert {row.ordering_key for row in rows} == {"k"}


async def test_a_retried_delivery_that_fails_again_has_another_letter(rig: Rig) -> None:
    """A person retries what failed; when it fails again the letter has all attempts of both times."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id)
    rig.sender.default[shop.url] = REJECT
    await rig.publish(ORDER)
    await rig.quiet()
    (row,) = await rig.deliveries(endpoint_id=shop.id)
    await rig.store.reopen("default", row.id)
    rig.engine.wake.ready(shop.id)
    await rig.quiet()
    assert [[a["number"] for a in letter["attempts"]] for letter in letters(rig, target)] == [[1], [1, 2]]


async def test_a_letter_has_the_last_hundred_attempts(rig: Rig) -> None:
    """Of many attempts the last hundred are in the letter, and their number is told."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    retry = {"schedule_s": [0] * 100}
    await rig.endpoint("shop", dead_letter=target.public_id, retry=retry, confirm={"within_s": 60})
    await rig.publish(ORDER)
    for number in range(101):
        await rig.until(lambda: len(rig.sender.items) == number + 1, "the next attempt")  # noqa: B023 - within the turn
        await rig.quiet()
        await confirm_error(rig)
    await rig.quiet()
    (letter,) = letters(rig, target)
    assert letter["delivery"]["attempts"] == 101
    assert [attempt["number"] for attempt in letter["attempts"]] == list(range(2, 102))


async def test_a_history_that_cannot_be_read_keeps_no_outcome(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the attempts cannot be read for long the delivery is failed all the same, its letter is shorter."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id, retry=TWO_TRIES)
    rig.sender.default[shop.url] = FAIL
    asked: list[bytes] = []

    async def broken(delivery_id: bytes) -> None:
        asked.append(delivery_id)
        raise OSError

    monkeypatch.setattr(rig.store, "attempts", broken)
    await rig.publish(ORDER)
    await rig.quiet()
    rig.clock.advance(11)
    for number in range(1, READ_TRIES + 1):
        await rig.until(lambda: len(asked) == number, "the next look")  # noqa: B023 - within the turn
        rig.clock.advance(READ_AGAIN_S)
    await rig.quiet()
    (letter,) = letters(rig, target)
    assert [attempt["number"] for attempt in letter["attempts"]] == [2]
    assert (await rig.counts(shop)).failed == 1
    assert [name for name, _ in rig.observer.warnings] == ["history_unread"]


@pytest.mark.rule(n=12)
async def test_while_a_history_is_read_nothing_is_behind_for_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome that waits for its history counts as one that waits: for over a second nothing further is sent."""
    target = await rig.endpoint("dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter=target.public_id, retry=TWO_TRIES)
    rig.sender.default[shop.url] = FAIL
    attempts, gate = rig.store.attempts, asyncio.Event()

    async def slow(delivery_id: bytes):
        await gate.wait()
        return await attempts(delivery_id)

    monkeypatch.setattr(rig.store, "attempts", slow)
    await rig.publish(ORDER)
    await rig.quiet()
    rig.clock.advance(11)
    recorder = rig.engine.recorder
    await rig.until(lambda: recorder.waiting == 1, "the outcome waits")
    assert recorder.busy
    assert not recorder.behind
    rig.clock.advance(1.1)
    assert recorder.behind
    gate.set()
    await rig.quiet()
    assert not recorder.behind
    assert len(letters(rig, target)) == 1


async def test_a_registry_that_changed_meanwhile_gets_the_letter_routed_again(rig: Rig) -> None:
    """The address is deleted by another hand while the outcome waits: nothing is made for it, and nothing is lost."""
    target = await rig.endpoint("dead", uid="dead", event_types=["nothing"])
    shop = await rig.endpoint("shop", dead_letter="dead")
    rig.sender.gates[shop.url] = gate = asyncio.Event()
    rig.sender.script[shop.url] = [REJECT]
    await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.running[shop.url] == 1, "the attempt runs")
    await rig.store.delete_endpoint(target.id)  # the registry in memory does not know it yet
    gate.set()
    await rig.until(lambda: not rig.sender.running[shop.url], "the attempt ended")
    await rig.quiet()
    assert letters(rig, target) == []
    assert (await rig.counts(shop)).failed == 1
    assert [name for name, _ in rig.observer.warnings] == ["dead_letter_unaddressed"]
