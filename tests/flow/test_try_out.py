"""Trying an endpoint out: the whole attempt, no books, and room for deliveries."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import Conflict, NotFound, Refusal
from hookline.flow.aside import AT_ONCE_MAX
from hookline.flow.event_types import EventTypes
from hookline.flow.limits import Limits
from hookline.flow.try_out import Tried
from tests.flow.rig import OK, Rig
from tests.flow.verifying import NO, create, look, reference, service, url


async def send(rig: Rig, endpoint: Endpoint | str, wish: dict[str, Any] | bytes = b"") -> Tried:
    """A test, as the API asks for it."""
    body = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
    name = endpoint if isinstance(endpoint, str) else endpoint.public_id
    return await rig.engine.try_out().run("default", name, body)


async def add_type(rig: Rig, name: str, **more: Any) -> None:
    types = EventTypes(rig.store, rig.engine.registry, rig.engine.catalogue)
    await types.create("default", json.dumps({"name": name, **more}).encode())


async def test_the_default(rig: Rig):
    """Without a type a small test event is sent, and the attempt is answered whole; no books change."""
    endpoint = await rig.endpoint(event_types=["never.*"], filter={"data.x": 1})
    tried = await send(rig, endpoint)
    assert tried.success
    record = tried.view.record
    assert (record.number, record.kind, record.status) == (1, "delivered", 200)
    assert record.exchange is not None
    assert record.duration_us == 1000
    ((sent, data, attempt),) = rig.sender.sent
    assert (sent, attempt) == (url(), 1)
    assert set(json.loads(data)) == {"message"}
    assert rig.sender.items[0].event.type == "hookline.test"
    await rig.quiet()
    counts = await rig.counts()
    assert (counts.events, counts.deliveries) == (0, 0)


async def test_the_catalogues_example(rig: Rig):
    """A type of the catalogue is sent with the example of its current version, byte for byte; data that is given
    wins."""
    await add_type(rig, "order.created", example={"id": 1, "total": 1.5})
    endpoint = await rig.endpoint()
    await send(rig, endpoint, {"type": "order.created"})
    await send(rig, endpoint, b'{"type": "order.created", "data": [1,  2.50]}')
    await send(rig, endpoint, b'{"data": null}')
    assert [json.loads(data) for _, data, _ in rig.sender.sent] == [{"id": 1, "total": 1.5}, [1, 2.5], None]
    assert rig.sender.sent[1][1] == b"[1,  2.50]"
    assert [item.event.type for item in rig.sender.items] == ["order.created", "order.created", "hookline.test"]


@pytest.mark.parametrize(
    ("wish", "code", "pointer"),
    [
        (b'{"type": "known.bare"}', "invalid_parameter", "/data"),
        (b'{"type": "unknown"}', "unknown_event_type", "/type"),
        (b'{"type": "a b"}', "invalid_event_type", "/type"),
        (b'{"type": 1}', "invalid_parameter", "/type"),
        (b'{"typ": "x"}', "unknown_field", "/typ"),
        (b"[]", "invalid_parameter", ""),
        (b"{", "malformed_json", None),
        (b'{"data": ' + b"[" * 200 + b"]" * 200 + b"}", "too_deep", None),
        (b'{"data": "' + b"x" * 1024 * 1024 + b'"}', "event_too_large", "/data"),
    ],
)
async def test_what_cannot_be_asked_for(rig: Rig, wish: bytes, code: str, pointer: str | None):
    """A wish that cannot be met is refused with its code and where the fault is, and nothing is sent."""
    await add_type(rig, "known.bare")
    endpoint = await rig.endpoint()
    with pytest.raises(Refusal) as refused:
        await send(rig, endpoint, wish)
    assert refused.value.code == code
    assert refused.value.pointer == pointer
    assert rig.sender.sent == []


async def test_a_type_that_is_not_in_the_catalogue(rig: Rig):
    """With data any type may be tried, also one of ours."""
    endpoint = await rig.endpoint()
    assert (await send(rig, endpoint, {"type": "hookline.delivery.failed", "data": {}})).success
    assert (await send(rig, endpoint, {"type": "not.there", "data": 1})).success


@pytest.mark.parametrize(
    ("outcome", "success", "cause"),
    [
        (OK, True, None),
        (Outcome(Kind.RETRY, "server_error", status=503), False, "application"),
        (Outcome(Kind.RETRY, "client_error", status=401), False, "authentication"),
        (Outcome(Kind.GONE, "gone", status=410), False, "configuration"),
        (Outcome(Kind.RETRY, "timeout", detail="The answer did not end within 15 s."), False, "overload"),
        (Outcome(Kind.REJECTED, "address_refused", detail="The address is not public."), False, "configuration"),
    ],
)
async def test_failures_are_answers(rig: Rig, outcome: Outcome, success: bool, cause: str | None):
    """Whatever comes of it is told as an attempt with its reason and cause, and changes nothing of the endpoint."""
    endpoint = await rig.endpoint()
    rig.sender.default[url()] = outcome
    tried = await send(rig, endpoint)
    record = tried.view.record
    assert (tried.success, record.reason, record.cause) == (success, outcome.reason, cause)
    assert (record.detail, record.status) == (outcome.detail, outcome.status)
    current = rig.engine.registry.endpoint(endpoint.id)
    assert current is not None
    assert current.state is EndpointState.ACTIVE
    assert list(await rig.store.healths()) == []


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.UNVERIFIED])
async def test_any_state(rig: Rig, state: EndpointState):
    """An endpoint that gets no deliveries can be tried out all the same, and stays as it is."""
    endpoint = await rig.endpoint()
    await rig.set_state(endpoint, state)
    assert (await send(rig, endpoint)).success
    current = rig.engine.registry.endpoint(endpoint.id)
    assert current is not None
    assert current.state is state


async def test_nothing_of_ones_own_before_consent(rig: Rig):
    """Who has not agreed gets the built-in event or the catalogue's example, and nothing that the caller wrote, which
    is refused and not sent; once he has agreed, everything."""
    await add_type(rig, "order.created", example={"id": 1})
    rig.sender.consent[url()] = NO
    made = await create(rig, "challenge")
    for wish in ({"data": {"buy": "now"}}, {"type": "order.created", "data": 1}, {"data": None}):
        with pytest.raises(Conflict, match="unverified") as refused:
            await send(rig, reference(made), wish)
        assert refused.value.code == "wrong_state"
    assert rig.sender.sent == []
    await send(rig, reference(made))
    await send(rig, reference(made), {"type": "order.created"})
    assert [item.event.type for item in rig.sender.items] == ["hookline.test", "order.created"]
    rig.sender.consent.clear()
    assert (await service(rig).verify("default", reference(made))).state == "active"
    assert (await send(rig, reference(made), {"data": 1})).success


async def test_by_uid_and_only_ones_own(rig: Rig):
    """A uid works in place of an id; another tenant's endpoint is not there."""
    endpoint = await rig.endpoint(uid="mine")
    assert (await send(rig, "mine")).success
    with pytest.raises(NotFound):
        await rig.engine.try_out().run("other", endpoint.public_id, b"")


async def test_a_test_that_verifies(rig: Rig):
    """With verify test a success makes the endpoint active, a failure does not, and other kinds of verification are
    not met by a test."""
    rig.sender.default[url()] = Outcome(Kind.RETRY, "server_error", status=500)
    made = await create(rig, "test")
    assert not (await send(rig, reference(made))).success
    assert (await look(rig, made)).state == "unverified"
    rig.sender.default.clear()
    assert (await send(rig, reference(made))).success
    assert (await look(rig, made)).state == "active"
    rig.sender.consent[url("b")] = NO
    challenged = await create(rig, "challenge", "b")
    assert (await send(rig, reference(challenged))).success
    assert (await look(rig, challenged)).state == "unverified"


async def test_secrets_that_cannot_be_opened(rig: Rig):
    """An endpoint whose secrets cannot be opened is a clear conflict; nothing is sent unsigned."""
    endpoint = await rig.endpoint()
    row = (await rig.store.changes(0)).endpoints[0]
    await rig.store.put_endpoint(msgspec.structs.replace(row, sealed=b"\x01" + bytes(60)), row.version)
    with pytest.raises(Conflict) as refused:
        await send(rig, endpoint)
    assert refused.value.code == "wrong_state"
    assert "HOOKLINE_SECRET_KEY" in str(refused.value)
    assert rig.sender.sent == []


async def test_sixteen_at_once(rig: Rig):
    """One more than 16 at once is told to come back, and can when one has ended."""
    endpoint = await rig.endpoint()
    gate = rig.sender.gates[url()] = asyncio.Event()
    running = [asyncio.create_task(send(rig, endpoint)) for _ in range(AT_ONCE_MAX)]
    await rig.until(lambda: len(rig.sender.sent) == AT_ONCE_MAX)
    with pytest.raises(Refusal) as refused:
        await send(rig, endpoint)
    assert (refused.value.code, refused.value.retry_after_s) == ("overloaded", 2)
    gate.set()
    assert all(tried.success for tried in await asyncio.gather(*running))
    assert (await send(rig, endpoint)).success
    assert rig.engine.aside.running == 0


async def test_the_destinations_cap_holds_over_both(tmp_path: Path):
    """Tests and deliveries share what a destination may have in flight: each waits, or is refused, for the other."""
    rig = Rig(tmp_path / "flow.db", limits=Limits(host_concurrency_max=2))
    await rig.start()
    endpoint = await rig.endpoint()
    gate = rig.sender.gates[url()] = asyncio.Event()
    tests = [asyncio.create_task(send(rig, endpoint)) for _ in range(2)]
    await rig.until(lambda: len(rig.sender.sent) == 2)
    with pytest.raises(Refusal) as refused:
        await send(rig, endpoint)
    assert refused.value.code == "overloaded"
    await rig.publish({"type": "a", "data": 1})
    await asyncio.sleep(0.05)
    assert len(rig.sender.sent) == 2
    gate.set()
    await asyncio.gather(*tests)
    await rig.until(lambda: len(rig.sender.sent) == 3, "the delivery goes on when the tests have ended")
    await rig.quiet()
    assert rig.sender.most[url()] == 2
    assert (await rig.counts()).delivered == 1
    await rig.stop()


async def test_a_sender_without_room(rig: Rig):
    """Where nothing could be sent there is no attempt to show: come back later."""
    endpoint = await rig.endpoint()
    rig.sender.default[url()] = Outcome(Kind.RETRY, "connect", detail="No room.", started=False)
    with pytest.raises(Refusal) as refused:
        await send(rig, endpoint)
    assert (refused.value.code, refused.value.detail) == ("overloaded", "No room.")


async def test_a_senders_defect_is_an_outcome(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """A sender that raises is logged, and the attempt is a failure like any other."""
    endpoint = await rig.endpoint()

    def broken(request: object, done: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(rig.sender, "start", broken)
    tried = await send(rig, endpoint)
    assert (tried.success, tried.view.record.reason) == (False, "protocol")
    assert ("sender_raised") in [name for name, _ in rig.observer.warnings]
    assert rig.engine.aside.running == 0
