"""Confirmation by the receiver: after the answer, before it, late, twice, with an error, never; by the told clock."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.core.errors import NotFound, Refusal
from hookline.core.history import AttemptRecord
from hookline.flow.limits import Limits
from tests.flow.rig import Rig

ORDER = {"type": "order.created", "data": {"id": 1}}
CONFIRM = {"confirm": {"within_s": 60}, "retry": {"schedule_s": [10, 100], "jitter": 0}}
SUCCESS = b'{"status": "success"}'
ERROR = b'{"status": "error", "message": "no such customer"}'


@pytest.fixture
async def rig(tmp_path: Path):
    """An engine that knows its own address."""
    made = Rig(tmp_path / "flow.db", limits=Limits(public_url="https://hooks.example"))
    await made.start()
    yield made
    for gate in made.sender.gates.values():
        gate.set()
    await made.stop()


def token(rig: Rig, number: int = -1) -> str:
    """What the receiver was told with an item sent."""
    url = rig.sender.items[number].confirm_url
    assert url is not None
    base, _, text = url.rpartition("/")
    assert base == "https://hooks.example/v1/confirm"
    return text


async def say(rig: Rig, body: bytes, text: str | None = None) -> bool:
    """The receiver confirms; whether it counted. What follows from it has happened then."""
    confirm = rig.engine.confirm
    applied = await confirm.confirm(confirm.delivery(token(rig) if text is None else text), body)
    await rig.engine.upkeep.once("settle")
    await rig.quiet()
    return applied


async def state(rig: Rig) -> tuple[str, str | None]:
    """The one delivery's state and reason."""
    (row,) = await rig.deliveries(type="order.created")
    return row.state, row.reason


async def test_a_success_waits_for_its_confirmation_and_is_delivered_by_it(rig: Rig) -> None:
    """After a 2xx the delivery is unconfirmed; the receiver's word delivers it, once."""
    await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    assert await state(rig) == ("unconfirmed", None)
    assert (await rig.counts()).unconfirmed == 1
    (row,) = await rig.deliveries()
    (attempt,) = await rig.store.attempts(row.id)
    record = AttemptRecord.unpack(attempt.packed)
    assert (record.kind, record.reason, record.next_wait_s) == ("unconfirmed", None, None)
    assert await say(rig, SUCCESS)
    assert await state(rig) == ("delivered", None)
    assert not await say(rig, SUCCESS)
    assert not await say(rig, ERROR)
    assert await state(rig) == ("delivered", None)
    await rig.advance(1000, 100)
    assert len(rig.sender.sent) == 1


async def test_without_confirm_nothing_is_asked(rig: Rig) -> None:
    """An endpoint without confirm is given no address to confirm at, and its success is one."""
    await rig.endpoint("a")
    await rig.publish(ORDER)
    await rig.quiet()
    assert [item.confirm_url for item in rig.sender.items] == [None]
    assert await state(rig) == ("delivered", None)


async def test_an_error_is_a_failed_try(rig: Rig) -> None:
    """Each error leads to the next wait of the schedule, the last one to failed; a try counts once."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    for wait_s, attempts in ((10, 1), (100, 2)):
        assert await say(rig, ERROR)
        assert await state(rig) == ("pending", "answer_rejected")
        await rig.advance(wait_s - 1, 10)
        assert rig.sender.times(endpoint.url) == attempts
        await rig.advance(2)
        assert rig.sender.times(endpoint.url) == attempts + 1
        assert await state(rig) == ("unconfirmed", None)
    assert await say(rig, ERROR)
    assert await state(rig) == ("failed", "answer_rejected")
    assert [item.attempt for item in rig.sender.items] == [1, 2, 3]
    (row,) = await rig.deliveries()
    assert row.attempts == 3


async def test_the_token_stays_the_same_over_all_attempts(rig: Rig) -> None:
    """The receiver may confirm with what the first attempt told him, after the second."""
    await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    first = token(rig, 0)
    await say(rig, ERROR)
    await rig.advance(11)
    assert token(rig, 1) == first
    assert await say(rig, SUCCESS, first)
    assert await state(rig) == ("delivered", None)


async def test_silence_is_a_failed_try_at_the_deadline(rig: Rig) -> None:
    """At the deadline it is sent again at once while tries are left, and failed with the last."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.advance(59, 1)
    assert await state(rig) == ("unconfirmed", None)
    await rig.advance(3, 1)
    assert rig.sender.times(endpoint.url) == 2
    assert await state(rig) == ("unconfirmed", None)
    await rig.advance(62, 1)
    assert rig.sender.times(endpoint.url) == 3
    await rig.advance(62, 1)
    assert await state(rig) == ("failed", "timeout")
    assert rig.sender.times(endpoint.url) == 3


async def test_a_late_word_changes_nothing(rig: Rig) -> None:
    """What is said after the deadline does not count, though the retry that it led to can be confirmed."""
    await rig.endpoint("a", confirm={"within_s": 60}, retry={"schedule_s": [0], "on": {"timeout": "fail"}})
    await rig.publish(ORDER)
    await rig.advance(62, 1)
    assert await state(rig) == ("failed", "timeout")
    assert not await say(rig, SUCCESS)
    assert await state(rig) == ("failed", "timeout")


async def test_a_word_before_the_answer_counts(rig: Rig) -> None:
    """A receiver who confirms while the attempt runs has delivered as soon as he answers."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    rig.sender.gates[endpoint.url] = gate = asyncio.Event()
    await rig.publish(ORDER)
    await rig.until(lambda: len(rig.sender.items) == 1, "the attempt runs")
    assert await say(rig, SUCCESS)
    assert await state(rig) == ("leased", None)
    gate.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
    await rig.quiet()
    # No time has passed: nothing had to wait for the next round.
    assert await state(rig) == ("delivered", None)


async def test_an_error_before_a_failure_is_forgotten(rig: Rig) -> None:
    """A receiver who says error and then answers 500 has failed once: the next attempt begins afresh."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    rig.sender.script[endpoint.url] = [Outcome(Kind.RETRY, "server_error", status=500)]
    rig.sender.gates[endpoint.url] = gate = asyncio.Event()
    await rig.publish(ORDER)
    await rig.until(lambda: len(rig.sender.items) == 1, "the attempt runs")
    assert await say(rig, ERROR)
    gate.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
    await rig.advance(11)
    assert await state(rig) == ("unconfirmed", None)
    assert await say(rig, SUCCESS)
    assert await state(rig) == ("delivered", None)


async def test_a_success_before_a_failure_settles_it(rig: Rig) -> None:
    """A receiver who says success while his last answer gets lost has delivered: nothing failed, nobody is told so."""
    ops = await rig.endpoint("ops", event_types=["hookline.delivery.*"])
    dead = await rig.endpoint("dead", event_types=["nothing"])
    endpoint = await rig.endpoint(
        "a", confirm={"within_s": 60}, retry={"schedule_s": [10], "on": {"timeout": "fail"}}, dead_letter=dead.public_id
    )
    rig.sender.script[endpoint.url] = [Outcome(Kind.RETRY, "timeout")]
    rig.sender.gates[endpoint.url] = gate = asyncio.Event()
    await rig.publish(ORDER)
    await rig.until(lambda: len(rig.sender.items) == 1, "the attempt runs")
    assert await say(rig, SUCCESS)
    gate.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
    await rig.advance(2, 1)
    assert await state(rig) == ("delivered", None)
    assert [item.event.type for item in rig.sender.items[1:]] == ["hookline.delivery.delivered"]
    assert (rig.sender.times(ops.url), rig.sender.times(dead.url)) == (1, 0)


async def test_rules_by_reason_hold_for_confirmations(rig: Rig) -> None:
    """`answer_rejected` may fail, disable and escalate; people are told as after an attempt."""
    ops = await rig.endpoint("ops", event_types=["hookline.*"])
    endpoint = await rig.endpoint(
        "a", confirm={"within_s": 60}, retry={"schedule_s": [10], "on": {"answer_rejected": "disable"}}
    )
    await rig.publish(ORDER)
    await rig.quiet()
    assert await say(rig, ERROR)
    assert await state(rig) == ("failed", "answer_rejected")
    await rig.quiet()
    current = rig.engine.registry.endpoint(endpoint.id)
    assert current is not None
    assert current.state is EndpointState.DISABLED
    told = [(item.event.type, json.loads(item.event.data)) for item in rig.sender.items if item.event.source]
    assert {name for name, _ in told} == {"hookline.delivery.failed", "hookline.endpoint.disabled"}
    failed = next(data for name, data in told if name == "hookline.delivery.failed")
    assert (failed["reason"], failed["attempts"], failed["status"]) == ("answer_rejected", 1, None)
    assert rig.sender.times(ops.url) == 2


async def test_delivered_is_told_when_it_is_confirmed(rig: Rig) -> None:
    """`hookline.delivery.delivered` is made by the confirmation, not by the answer."""
    ops = await rig.endpoint("ops", event_types=["hookline.delivery.delivered"])
    await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.advance(30, 1)
    assert rig.sender.times(ops.url) == 0
    await say(rig, SUCCESS, token(rig, 0))
    await rig.quiet()
    assert rig.sender.times(ops.url) == 1


async def test_an_escalated_error_is_told_and_tried_again(rig: Rig) -> None:
    """With `escalate` an error confirmed is told at once, and tried again as the schedule says."""
    ops = await rig.endpoint("ops", event_types=["hookline.delivery.escalated"])
    await rig.endpoint("a", confirm={"within_s": 60}, retry={"schedule_s": [10], "on": {"answer_rejected": "escalate"}})
    await rig.publish(ORDER)
    await rig.quiet()
    await say(rig, ERROR)
    await rig.quiet()
    assert rig.sender.times(ops.url) == 1
    assert await state(rig) == ("pending", "answer_rejected")


async def test_a_changed_endpoint_keeps_the_deadlines_of_what_waits(rig: Rig) -> None:
    """Who takes confirm away, pauses or resumes an endpoint changes nothing for what is unconfirmed."""
    endpoint = await rig.endpoint("a", uid="shop", **CONFIRM)
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    await rig.quiet()
    row = next(r for r in (await rig.store.changes(0)).endpoints if r.id == endpoint.id)
    spec = json.loads(row.spec) | {"confirm": None}
    await rig.store.put_endpoint(msgspec.structs.replace(row, spec=json.dumps(spec).encode()), row.version)
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await rig.advance(30, 1)
    assert (await rig.counts()).unconfirmed == 2
    assert await say(rig, SUCCESS, token(rig, 0))
    assert (await rig.counts()).delivered == 1
    await rig.advance(32, 1)
    counts = await rig.counts()
    assert (counts.unconfirmed, counts.held, counts.delivered) == (0, 1, 1)
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.quiet()
    assert (await rig.counts()).delivered == 2


async def test_a_deleted_endpoint_takes_its_unconfirmed_along(rig: Rig) -> None:
    """What waits for a confirmation when its endpoint is deleted is discarded; a later word changes nothing."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    await rig.store.delete_endpoint(endpoint.id)
    await rig.engine.registry.refresh()
    await rig.engine.upkeep.once("close_deleted")
    assert await state(rig) == ("discarded", "endpoint_deleted")
    assert not await say(rig, SUCCESS)


async def test_an_answer_after_the_deletion_does_not_wait_for_a_word(rig: Rig) -> None:
    """An attempt that runs while its endpoint is deleted ends discarded, although it would have to be confirmed."""
    endpoint = await rig.endpoint("a", **CONFIRM)
    rig.sender.gates[endpoint.url] = gate = asyncio.Event()
    await rig.publish(ORDER)
    await rig.until(lambda: len(rig.sender.items) == 1, "the attempt runs")
    await rig.store.delete_endpoint(endpoint.id)
    await rig.engine.registry.refresh()
    gate.set()
    await rig.until(lambda: not rig.sender.running[endpoint.url], "the attempt ended")
    await rig.quiet()
    assert await state(rig) == ("discarded", "endpoint_deleted")


async def test_a_lane_waits_for_the_confirmation(rig: Rig) -> None:
    """With order by key the next is sent when the one before it is confirmed, and not before."""
    endpoint = await rig.endpoint("a", order="key", **CONFIRM)
    for number in range(3):
        await rig.publish({"type": "order.created", "data": number, "ordering_key": "k"})
    await rig.quiet()
    for number in range(3):
        await rig.advance(5, 1)
        assert [data for _, data, _ in rig.sender.sent] == [b"%d" % n for n in range(number + 1)]
        assert await say(rig, SUCCESS)
    assert (await rig.counts(endpoint)).delivered == 3


async def test_a_word_outlives_a_restart(tmp_path: Path) -> None:
    """Unconfirmed is in the store: after a restart the word still counts, and its deadline still comes."""
    limits = Limits(public_url="https://hooks.example")
    rig = Rig(tmp_path / "flow.db", limits=limits)
    await rig.start()
    endpoint = await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    await rig.quiet()
    texts = [token(rig, 0), token(rig, 1)]
    await rig.stop()
    again = Rig(tmp_path / "flow.db", rig.clock, limits)
    await again.start()
    assert await say(again, SUCCESS, texts[0])
    assert (await again.counts()).delivered == 1
    await again.advance(62, 1)
    assert again.sender.times(endpoint.url) == 1
    assert await say(again, SUCCESS, texts[1])
    assert (await again.counts()).delivered == 2
    await again.stop()


@pytest.mark.parametrize("text", ["", "x", "A" * 43, "A" * 42, "../events", "é" * 43])
async def test_a_forged_token_is_unknown(rig: Rig, text: str) -> None:
    """What is no token of ours speaks of no delivery."""
    with pytest.raises(NotFound):
        rig.engine.confirm.delivery(text)


async def test_a_token_of_what_is_gone_changes_nothing(rig: Rig) -> None:
    """A token of a delivery that is not there (any more) is read, and nothing comes of it."""
    tokens = rig.keyring.tokens(b"hookline confirm 1")
    assert not await say(rig, SUCCESS, tokens.make(bytes(16)))


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "malformed_json", None),
        (b"success", "malformed_json", None),
        (b'{"status": "success"', "malformed_json", None),
        (b'{"status": "success", "status": "error"}', "malformed_json", None),
        (b'{"status": "\xff"}', "malformed_json", None),
        (b"[]", "invalid_confirmation", ""),
        (b"{}", "invalid_confirmation", "/status"),
        (b'{"status": "Success"}', "invalid_confirmation", "/status"),
        (b'{"status": true}', "invalid_confirmation", "/status"),
        (b'{"status": "error", "message": 1}', "invalid_confirmation", "/message"),
        (b'{"status": "error", "message": null}', "invalid_confirmation", "/message"),
        (b'{"status": "error", "message": "%s"}' % (b"x" * 1025), "invalid_confirmation", "/message"),
        (b'{"status": "success", "why": ""}', "unknown_field", "/why"),
    ],
)
async def test_a_word_that_cannot_be_understood_is_refused(
    rig: Rig, body: bytes, code: str, pointer: str | None
) -> None:
    """Each fault has its code and points to its place; nothing is kept of it."""
    await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    with pytest.raises(Refusal) as refused:
        await say(rig, body)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)
    assert await say(rig, b'{"status": "success", "message": "%s"}' % ("ü" * 1024).encode())


async def test_what_cannot_be_recorded_does_not_keep_the_step_busy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store refuses to record one, the step says that it is done for now, and tries again later."""
    await rig.endpoint("a", **CONFIRM)
    await rig.publish(ORDER)
    await rig.quiet()
    confirm = rig.engine.confirm
    record = rig.store.record

    async def refusing(items, *more, **named):
        if any(item.attempt is None for item in items):
            raise ValueError("no")
        return await record(items, *more, **named)

    monkeypatch.setattr(rig.store, "record", refusing)
    await rig.store.confirm(confirm.delivery(token(rig)), success=True, message=b"")
    assert await rig.engine.upkeep.once("settle")
    assert not await rig.engine.upkeep.once("settle")
    monkeypatch.setattr(rig.store, "record", record)
    await rig.engine.upkeep.once("settle")
    assert await state(rig) == ("delivered", None)
