"""Verification by the told clock: who is asked, when, what is written down, and that nothing is sent before."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.consent import CHALLENGE_TYPE
from hookline.core.endpoint import EndpointState, RateSpec
from hookline.core.errors import Conflict, NotFound, Refusal, StoreUnavailable
from hookline.flow.limits import Limits
from hookline.ports.sender import Consent
from tests.flow.rig import OK, Rig
from tests.flow.verifying import NO, PUBLIC_URL, YES, create, look, patch, reference, service, token_of, url

ORDER = {"type": "order.created", "data": {"id": 1}}
HOUR_S = 3600.0


@pytest.fixture
async def rig(tmp_path: Path):
    """An engine that knows its own address."""
    made = Rig(tmp_path / "flow.db", limits=Limits(public_url=PUBLIC_URL))
    await made.start()
    yield made
    for gate in made.sender.gates.values():
        gate.set()
    await made.stop()


async def wait_s(rig: Rig, span_s: float) -> None:
    """Time passes, the step looks, and what it began ends."""
    rig.clock.advance(span_s)
    await rig.engine.upkeep.once("verify")
    await rig.until(lambda: not rig.engine.verification._running, "verifications end")


# ----------------------------------------------------------------------------------------------------- creation


async def test_a_challenge_that_is_met(rig: Rig):
    """An endpoint whose receiver consents is active in the answer to its creation, without a warning."""
    made = await create(rig)
    assert (made.state, list(made.row.warnings)) == ("active", [])
    (asked,) = rig.sender.asked
    assert asked.how == "challenge"
    assert asked.event.type == CHALLENGE_TYPE
    assert json.loads(asked.event.data) == {"challenge": asked.challenge}
    assert (asked.origin, asked.endpoint.state) == ("hooks.example", EndpointState.UNVERIFIED)
    assert asked.callback_url is not None
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(url()) == 1


async def test_challenges_differ(rig: Rig):
    """Each question has a challenge of its own."""
    for path in ("a", "b", "c"):
        await create(rig, path=path)
    assert len({asked.challenge for asked in rig.sender.asked}) == 3


async def test_until_then_nothing_is_sent(rig: Rig):
    """Without consent the endpoint is unverified, says what was missing, and its deliveries are held; with consent
    they flow, and the books balance all the time."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    assert (made.state, list(made.row.warnings)) == ("unverified", ["Not verified: It said no."])
    published = await rig.publish(ORDER)
    assert published["deliveries"] == 1
    await rig.advance(9)
    assert rig.sender.sent == []
    assert (await rig.counts()).held == 1
    assert [row.state for row in await rig.deliveries()] == ["held"]
    rig.sender.consent[url()] = YES
    await wait_s(rig, 1)
    await rig.until(lambda: rig.sender.times(url()) == 1, "the held one is delivered")
    await rig.quiet()
    counts = await rig.counts()
    assert (counts.delivered, counts.held) == (1, 0)


async def test_the_state_is_durable(tmp_path: Path):
    """After a restart an unverified endpoint is still unverified, is asked at once, and then as before."""
    rig = Rig(tmp_path / "flow.db")
    await rig.start()
    rig.sender.consent[url()] = NO
    made = await create(rig)
    await rig.stop()
    again = Rig(tmp_path / "flow.db", clock=rig.clock)
    again.clock.advance(100)
    again.sender.consent[url()] = NO
    await again.start()
    assert (await look(again, made)).state == "unverified"
    await again.until(lambda: len(again.sender.asked) == 1, "asked after the start")
    again.sender.consent[url()] = YES
    await wait_s(again, 300)
    assert (await look(again, made)).state == "active"
    await again.stop()


async def test_a_slow_answer_is_not_waited_for(rig: Rig):
    """Creation is answered after 10 s, unverified; the answer that comes later counts."""
    gate = rig.sender.gates[url()] = asyncio.Event()
    creating = asyncio.create_task(create(rig))
    await rig.until(lambda: len(rig.sender.asked) == 1)
    rig.clock.advance(9.9)
    await asyncio.sleep(0.02)
    assert not creating.done()
    rig.clock.advance(0.2)
    made = await creating
    assert (made.state, list(made.row.warnings)) == ("unverified", ["Not verified: The answer has not come yet."])
    gate.set()
    await rig.until(lambda: not rig.engine.verification._running)
    assert (await look(rig, made)).state == "active"


async def test_without_verify_nobody_is_asked(rig: Rig):
    """An endpoint with verify none is active at once and never asked."""
    assert (await create(rig, "none")).state == "active"
    assert rig.sender.asked == []


async def test_by_a_test(rig: Rig):
    """With verify test one delivered test event makes it active; until then its success rules decide."""
    rig.sender.default[url()] = Outcome(Kind.RETRY, "server_error", status=500)
    made = await create(rig, "test")
    assert (made.state, list(made.row.warnings)) == ("unverified", ["Not verified: The answer's status was 500."])
    rig.sender.default[url()] = OK
    await wait_s(rig, 10)
    assert (await look(rig, made)).state == "active"
    assert rig.sender.asked == []
    assert (await rig.counts()).deliveries == 0


async def test_a_kind_that_cannot_be_asked(rig: Rig):
    """What the sender's check refuses is not created."""

    async def check(spec: object) -> tuple[()]:
        raise Refusal("not_supported", "No.", pointer="/verify")

    rig.sender.check = check
    with pytest.raises(Refusal):
        await create(rig, "cloudevents")
    assert (await service(rig).page("default", 10, None)).rows == []


# ------------------------------------------------------------------------------------------------- time after time


async def test_it_is_asked_again_and_then_no_more(rig: Rig):
    """An unverified endpoint is asked after 10 s, 1 min, 5 min, 30 min, then every 6 hours for 3 days."""
    rig.sender.consent[url()] = NO
    await create(rig)
    at_s = [0.0]
    span_s = 0.0
    for step_s, until_s in ((5.0, 120.0), (60.0, 2 * HOUR_S), (HOUR_S, 100 * HOUR_S)):
        while span_s < until_s:
            before = len(rig.sender.asked)
            await wait_s(rig, step_s)
            span_s += step_s
            at_s += [span_s] * (len(rig.sender.asked) - before)
    assert at_s == [0.0, 10.0, 60.0, 300.0, 1800.0, *(hours * HOUR_S for hours in range(6, 73, 6))]


async def test_what_was_missing_is_told_as_of_the_last_time(rig: Rig):
    """The warning is that of the last question, also of one that nobody waited for."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    rig.sender.consent[url()] = Consent(given=False, outcome=Outcome(Kind.RETRY, "dns", detail="No such name."))
    await wait_s(rig, 10)
    assert list((await look(rig, made)).row.warnings) == ["Not verified: No such name."]


async def test_a_change_begins_anew(rig: Rig):
    """Whatever is changed of an unverified endpoint, the tries begin anew from then on."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    await wait_s(rig, 100 * HOUR_S)
    asked = len(rig.sender.asked)
    await patch(rig, made, description="x")
    assert len(rig.sender.asked) == asked
    await wait_s(rig, 10)
    assert len(rig.sender.asked) == asked + 1


async def test_a_deleted_one_is_asked_no_more(rig: Rig):
    """Nobody asks an endpoint that is gone, and an answer that comes after its end changes nothing."""
    gate = rig.sender.gates[url()] = asyncio.Event()
    creating = asyncio.create_task(create(rig))
    await rig.until(lambda: len(rig.sender.asked) == 1)
    (row,) = (await rig.store.changes(0)).endpoints
    await service(rig).delete("default", "ep_" + row.id.hex())
    gate.set()
    with pytest.raises(NotFound):
        await creating
    await wait_s(rig, 60)
    assert len(rig.sender.asked) == 1
    assert (await rig.store.changes(0)).endpoints == []


async def test_a_store_that_is_away_costs_no_consent(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """Consent that could not be written is asked for again soon, not hours later."""
    put = rig.store.put_endpoint
    away = [True]

    async def unavailable(row, expected_version=None):
        if expected_version is not None and away:
            raise StoreUnavailable("away")
        return await put(row, expected_version)

    monkeypatch.setattr(rig.store, "put_endpoint", unavailable)
    made = await create(rig)
    assert made.state == "unverified"
    await wait_s(rig, 300)
    assert (await look(rig, made)).state == "unverified"
    away.clear()
    await wait_s(rig, 5)
    assert (await look(rig, made)).state == "active"


async def test_many_are_asked_in_turn(rig: Rig):
    """Of many unverified endpoints at most 8 are asked at once by themselves, and in the end all are."""
    rows = []
    for number in range(20):
        rig.sender.consent[url(str(number))] = NO
        rows.append(await create(rig, path=str(number)))
    rig.sender.consent.clear()
    for number in range(20):
        rig.sender.gates[url(str(number))] = asyncio.Event()
    rig.sender.asked.clear()
    rig.clock.advance(10)
    await rig.engine.upkeep.once("verify")
    await rig.until(lambda: len(rig.sender.asked) >= 8)
    await rig.engine.upkeep.once("verify")
    assert len(rig.sender.asked) == 8
    for gate in rig.sender.gates.values():
        gate.set()
    for _ in range(5):
        await wait_s(rig, 5)
    assert [(await look(rig, made)).state for made in rows] == ["active"] * 20


# ------------------------------------------------------------------------------------------------------ changes


@pytest.mark.parametrize("state", [EndpointState.ACTIVE, EndpointState.PAUSED, EndpointState.DISABLED])
async def test_another_address_is_another_endpoint(rig: Rig, state: EndpointState):
    """A change of where it leads is asked about, whatever the state; until the yes nothing is sent there."""
    made = await create(rig)
    await rig.store.set_endpoint_state(made.row.id, state)
    rig.sender.consent[url("b")] = NO
    changed = await patch(rig, made, url=url("b"))
    assert changed.state == "unverified"
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.sent == []
    rig.sender.consent[url("b")] = YES
    assert (await service(rig).verify("default", reference(made))).state == "active"
    await rig.until(lambda: rig.sender.times(url("b")) == 1)


async def test_other_changes_are_not_asked_about(rig: Rig):
    """What does not make it another endpoint changes nothing of its state."""
    made = await create(rig)
    changed = await patch(rig, made, description="x", headers={"x-a": "b"}, timeout_s=3, event_types=["a"])
    assert changed.state == "active"
    assert len(rig.sender.asked) == 1


async def test_verify_is_set_later(rig: Rig):
    """Setting verify on an active endpoint asks it; taking it away from an unverified one makes it active."""
    made = await create(rig, "none")
    rig.sender.consent[url()] = NO
    assert (await patch(rig, made, verify="challenge")).state == "unverified"
    assert (await patch(rig, made, verify=None)).state == "active"
    assert (await service(rig).get("default", reference(made))).row.warnings == []


async def test_a_change_during_the_question_wins(rig: Rig):
    """An answer to a question about an earlier address says nothing about the new one."""
    gate = rig.sender.gates[url()] = asyncio.Event()
    creating = asyncio.create_task(create(rig))
    await rig.until(lambda: len(rig.sender.asked) == 1)
    (row,) = (await rig.store.changes(0)).endpoints
    rig.sender.consent[url("b")] = NO
    changed = await service(rig).patch("default", "ep_" + row.id.hex(), json.dumps({"url": url("b")}).encode())
    assert changed.state == "unverified"
    gate.set()
    assert (await creating).state == "unverified"
    assert (await rig.store.changes(0)).endpoints[0].state is EndpointState.UNVERIFIED


async def test_an_unverified_one_is_neither_resumed_nor_paused(rig: Rig):
    """Resuming and pausing are no ways around verification."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    for act in (service(rig).resume, service(rig).pause):
        with pytest.raises(Conflict) as refused:
            await act("default", reference(made))
        assert refused.value.code == "wrong_state"


# ------------------------------------------------------------------------------------------------- a person asks


async def test_asking_again(rig: Rig):
    """A person may ask at any time: a yes makes it active, a no of an active one changes nothing but is told."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    assert (await service(rig).verify("default", reference(made))).state == "unverified"
    rig.sender.consent[url()] = YES
    assert (await service(rig).verify("default", reference(made))).state == "active"
    rig.sender.consent[url()] = NO
    told = await service(rig).verify("default", reference(made))
    assert (told.state, list(told.row.warnings)) == ("active", ["Not verified: It said no."])
    assert (await look(rig, made)).row.warnings == []
    assert len(rig.sender.asked) == 4


async def test_nothing_to_ask(rig: Rig):
    """An endpoint with verify none is not asked, nor is one that there is not."""
    made = await create(rig, "none")
    with pytest.raises(Conflict):
        await service(rig).verify("default", reference(made))
    with pytest.raises(NotFound):
        await service(rig).verify("other", reference(made))


async def test_two_who_ask_ask_once(rig: Rig):
    """Whoever asks while a question runs gets its answer."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    rig.sender.consent[url()] = YES
    gate = rig.sender.gates[url()] = asyncio.Event()
    both = [asyncio.create_task(service(rig).verify("default", reference(made))) for _ in range(2)]
    await rig.until(lambda: len(rig.sender.asked) == 2)
    gate.set()
    assert [answer.state for answer in await asyncio.gather(*both)] == ["active", "active"]
    assert len(rig.sender.asked) == 2


async def test_secrets_that_cannot_be_opened(rig: Rig):
    """An endpoint that could not be signed for is not asked: a clear conflict for who asks, a warning in the list."""
    rig.sender.consent[url()] = NO
    made = await create(rig)
    row = (await rig.store.changes(0)).endpoints[0]
    await rig.store.put_endpoint(msgspec.structs.replace(row, sealed=b"\x01" + bytes(60)), row.version)
    with pytest.raises(Conflict) as refused:
        await service(rig).verify("default", reference(made))
    assert refused.value.code == "wrong_state"
    asked = len(rig.sender.asked)
    await wait_s(rig, 10)
    assert len(rig.sender.asked) == asked
    assert "HOOKLINE_SECRET_KEY" in (await look(rig, made)).row.warnings[0]


# ------------------------------------------------------------------------------------------------- the handshake


async def test_the_allowed_rate_is_kept(rig: Rig):
    """The stored rate becomes the smaller of the endpoint's own and the allowed one."""
    for path, own, allowed, becomes in (
        ("a", None, 120, RateSpec(120, 60.0, 1)),
        ("b", None, None, None),
        ("c", {"n": 1, "per_s": 1, "burst": 1}, 120, RateSpec(1, 1.0, 1)),
        ("d", {"n": 100}, 60, RateSpec(60, 60.0, 1)),
    ):
        rig.sender.consent[url(path)] = Consent(given=True, outcome=OK, rate_per_min=allowed)
        made = await create(rig, "cloudevents", path, rate=own)
        assert (made.state, made.spec.rate) == ("active", becomes)
        endpoint = rig.engine.registry.endpoint(made.row.id)
        assert endpoint is not None
        assert endpoint.rate == becomes


async def test_a_higher_rate_is_asked_about(rig: Rig):
    """A rate above the allowed one is a question to the receiver, a lower one is not."""
    rig.sender.consent[url()] = Consent(given=True, outcome=OK, rate_per_min=120)
    made = await create(rig, "cloudevents")
    await patch(rig, made, rate={"n": 1, "per_s": 60, "burst": 1})
    assert len(rig.sender.asked) == 1
    changed = await patch(rig, made, rate=None)
    assert len(rig.sender.asked) == 2
    assert changed.spec.rate == RateSpec(120, 60.0, 1)


async def test_the_callback(rig: Rig):
    """Whoever has the callback's token consents, with a rate if he names one; then the token is worth nothing."""
    rig.sender.consent[url()] = NO
    made = await create(rig, "cloudevents", rate={"n": 10})
    callback = rig.sender.asked[0].callback_url
    assert callback is not None
    base, _, token = callback.rpartition("/")
    assert base == f"{PUBLIC_URL}/v1/endpoint-consent"
    verification = rig.engine.verification
    with pytest.raises(Refusal):
        await verification.consent(token, [(b"webhook-allowed-rate", b"many")])
    with pytest.raises(Refusal):
        await verification.consent(token, [(b"webhook-allowed-origin", b"other.example")])
    await verification.consent(token, [(b"webhook-allowed-rate", b"30")])
    now = await look(rig, made)
    assert (now.state, now.spec.rate) == ("active", RateSpec(30, 60.0, 1))
    with pytest.raises(NotFound):
        await verification.consent(token, [])


async def test_the_callback_without_a_rate(rig: Rig):
    """A callback that names no rate allows what was asked for."""
    rig.sender.consent[url()] = NO
    made = await create(rig, "cloudevents", rate={"n": 2, "per_s": 60})
    await rig.engine.verification.consent(token_of(rig, made.row), [])
    now = await look(rig, made)
    assert now.state == "active"
    assert now.spec.rate is not None
    assert (now.spec.rate.n, now.spec.rate.per_s) == (2, 60.0)


async def test_the_callbacks_token_survives_the_tries_and_dies_with_a_change(rig: Rig):
    """However often it is asked, the token stays good; with any change of the endpoint it dies."""
    rig.sender.consent[url()] = NO
    made = await create(rig, "cloudevents")
    await wait_s(rig, 10)
    await wait_s(rig, 50)
    assert len({asked.callback_url for asked in rig.sender.asked}) == 1
    old = token_of(rig, made.row)
    await patch(rig, made, description="x")
    with pytest.raises(NotFound):
        await rig.engine.verification.consent(old, [])
    assert (await look(rig, made)).state == "unverified"


async def test_tokens_that_are_none(rig: Rig):
    """Forged, foreign and malformed tokens, and those of endpoints that are not asked so, are all unknown."""
    rig.sender.consent[url()] = NO
    rig.sender.consent[url("b")] = NO
    made = await create(rig, "cloudevents")
    challenged = await create(rig, "challenge", "b")
    active = await create(rig, "cloudevents", "c")
    good = token_of(rig, made.row)
    foreign = rig.keyring.tokens(b"hookline confirm 1").make(made.row.id + made.row.version.to_bytes(4, "big"))
    flipped = ("A" if good[0] != "A" else "B") + good[1:]
    bad = ("", "x", good[:-1], good + "A", flipped, "é" * 43, foreign, token_of(rig, challenged.row))
    for token in (*bad, token_of(rig, active.row)):
        with pytest.raises(NotFound):
            await rig.engine.verification.consent(token, [])
    assert (await look(rig, made)).state == "unverified"


async def test_stopping_ends_questions(rig: Rig):
    """A process that stops asks nobody any more and does not wait for answers."""
    rig.sender.gates[url()] = asyncio.Event()
    creating = asyncio.create_task(create(rig))
    await rig.until(lambda: len(rig.sender.asked) == 1)
    await rig.engine.verification.stop()
    assert (await creating).state == "unverified"
    await wait_s(rig, 60)
    assert len(rig.sender.asked) == 1
