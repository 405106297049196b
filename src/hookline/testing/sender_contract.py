"""What every sender promises. An adapter's test module defines five fixtures and imports `TestSender`.

    sender      the sender, closed after the test; its clock is the machine's
    accepting   makes an endpoint whose receiver takes everything
    failing     makes one whose receiver answers that it failed, or is not there
    hanging     makes one whose receiver takes the request and never answers
    consenting  makes one whose receiver consents, however it is asked

Each of the last four is an `EndpointFactory`: a function that takes fields of `Endpoint` to change.

    from hookline.testing.sender_contract import *
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import pytest

from hookline.core import ids
from hookline.core.attempt import REASONS, RETRY_AFTER_S_MAX, Exchange, Kind, Outcome
from hookline.core.consent import CHALLENGE_TYPE
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.errors import STATUS_BY_CODE, Refusal
from hookline.core.event import Event
from hookline.ports.sender import Consent, Item, Sender, SendRequest, VerifyRequest
from hookline.testing.clock import START_WALL_MS
from hookline.testing.samples import full_event, sample_event

__all__ = ["EndpointFactory", "TestSender"]

CANARY = "canary-5f1d7c"
"""A credential that must not be seen anywhere but at the receiver."""

CHALLENGE = "kL2x0Yp8Qm4tN6vB1cR7sW3eA9dF5gH-jK_uZiXoPqT"
"""The same as in the receivers of the adapters' tests, where they cannot read it from what they got."""

CHECK_CODES = frozenset({"address_refused", "invalid_endpoint", "invalid_header", "not_supported"})

BUSY_MACHINE_S = 4.0
"""What a busy machine may add to the time of an attempt without being the sender's fault."""

FORMATS = ("standard", "raw", "cloudevents", "cloudevents-binary")

EVENTS: dict[str, Event] = {
    "plain": sample_event(),
    "every field": full_event(),
    "nothing in it": sample_event(data=b""),
    "not the JSON it says": sample_event(data=b'{"a": \xff'),
    "spread over lines": sample_event(data=b'{\r\n  "a": 1,\n\n"b"\t: "\\u2028"}\n'),
    "the largest": sample_event(data=b'"' + b"x" * (1024 * 1024 - 2) + b'"'),
}


class EndpointFactory(Protocol):
    """Makes an endpoint; `changes` are fields of `Endpoint`."""

    def __call__(self, **changes: Any) -> Endpoint:
        """An endpoint of the sender's kind."""
        ...


CONFIRM_URL = "https://hooks.example/v1/confirm/unguessable"


def request(endpoint: Endpoint, *events: Event, attempt: int = 1) -> SendRequest:
    """The events on their way to the endpoint; one small event when none is given."""
    items = [
        Item(ids.delivery_id(event.id, number), attempt, event, attempt)
        for number, event in enumerate(events or (sample_event(),), 1)
    ]
    return SendRequest(endpoint, items, START_WALL_MS)


def question(endpoint: Endpoint, how: str = "challenge") -> VerifyRequest:
    """A question to the endpoint, the challenge always the same."""
    event = sample_event(type=CHALLENGE_TYPE, data=b'{"challenge":"%b"}' % CHALLENGE.encode())
    callback_url = f"https://hooks.example/v1/endpoint-consent/{CANARY}"
    return VerifyRequest(endpoint, how, CHALLENGE, event, START_WALL_MS, "hooks.example", callback_url)


def spec_of(endpoint: Endpoint, **changes: Any) -> EndpointSpec:
    """The endpoint as a client asks for it."""
    return EndpointSpec(**{"url": endpoint.url, "kind": endpoint.kind, "config": endpoint.config, **changes})


def check_outcome(outcome: Outcome) -> None:
    """What holds for every outcome, whatever happened."""
    assert isinstance(outcome.kind, Kind)
    assert (outcome.reason is None) == (outcome.kind in {Kind.DELIVERED, Kind.UNCONFIRMED})
    assert outcome.reason is None or outcome.reason in REASONS
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= RETRY_AFTER_S_MAX
    assert outcome.status is None or 100 <= outcome.status <= 599
    assert "\n" not in outcome.detail
    assert outcome.timing.total_us >= 0
    packed = msgspec.msgpack.encode(outcome.exchange)
    assert msgspec.msgpack.decode(packed, type=Exchange | None) == outcome.seen


class TestSender:
    """The promise of `ports.sender.Sender`."""

    async def sent_once(self, sender: Sender, asked: SendRequest) -> Sequence[Outcome]:
        """Start, and wait until it is told what came of it; told once, on the loop."""
        told: list[Sequence[Outcome]] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(outcomes: Sequence[Outcome]) -> None:
            assert asyncio.get_running_loop() is ended.get_loop()
            told.append(outcomes)
            if not ended.done():
                ended.set_result(None)

        sender.start(asked, done)
        await ended
        await asyncio.sleep(0)
        (outcomes,) = told
        return outcomes

    async def send(self, sender: Sender, asked: SendRequest) -> Sequence[Outcome]:
        """Send, and check what holds for every answer: one outcome per item, in time."""
        start_s = time.monotonic()
        outcomes = await self.sent_once(sender, asked)
        assert time.monotonic() - start_s <= asked.endpoint.timeout_s + 1 + BUSY_MACHINE_S
        assert len(outcomes) == len(asked.items)
        for outcome in outcomes:
            check_outcome(outcome)
        return outcomes

    async def test_it_has_the_kind_of_its_endpoints(self, sender: Sender, accepting: EndpointFactory) -> None:
        """A sender's kind is that of the endpoints it serves."""
        assert accepting().kind == sender.kind

    async def test_delivers(self, sender: Sender, accepting: EndpointFactory) -> None:
        """What the receiver took is delivered, on the first attempt as on a later one."""
        for attempt in (1, 2, 17):
            (outcome,) = await self.send(sender, request(accepting(), attempt=attempt))
            assert (outcome.kind, outcome.started) == (Kind.DELIVERED, True)

    @pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
    @pytest.mark.parametrize("form", FORMATS)
    async def test_delivers_any_event_in_any_format(
        self, sender: Sender, accepting: EndpointFactory, event: Event, form: str
    ) -> None:
        """Whatever an event holds and whatever format its endpoint asks for, it is delivered."""
        (outcome,) = await self.send(sender, request(accepting(format=form), event))
        assert outcome.kind is Kind.DELIVERED

    async def test_where_to_confirm_is_not_kept(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory
    ) -> None:
        """The address at which a delivery is confirmed is a credential: nothing of it is left in the outcome."""
        for endpoint in (accepting(), failing()):
            asked = request(endpoint)
            items = [msgspec.structs.replace(item, confirm_url=CONFIRM_URL) for item in asked.items]
            (outcome,) = await self.send(sender, msgspec.structs.replace(asked, items=items))
            assert b"unguessable" not in msgspec.msgpack.encode(outcome)

    async def test_several_in_one_request(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory
    ) -> None:
        """A request with several deliveries has one outcome for each."""
        events = [sample_event(number) for number in range(1, 6)]
        assert {o.kind for o in await self.send(sender, request(accepting(), *events))} == {Kind.DELIVERED}
        assert Kind.DELIVERED not in {o.kind for o in await self.send(sender, request(failing(), *events))}

    async def test_a_failure_is_an_outcome(self, sender: Sender, failing: EndpointFactory) -> None:
        """What the receiver did not take is told as such, with its reason and without an exception."""
        (outcome,) = await self.send(sender, request(failing()))
        assert outcome.kind in {Kind.RETRY, Kind.REJECTED, Kind.GONE}
        assert outcome.started

    async def test_a_hang_ends_in_time(self, sender: Sender, hanging: EndpointFactory) -> None:
        """A receiver that never answers is a timeout, after timeout_s and not much later."""
        start_s = time.monotonic()
        (outcome,) = await self.send(sender, request(hanging(timeout_s=1.0)))
        assert time.monotonic() - start_s >= 0.9
        assert (outcome.kind, outcome.reason, outcome.started) == (Kind.RETRY, "timeout", True)

    async def test_those_that_hang_do_not_delay_the_others(
        self, sender: Sender, accepting: EndpointFactory, hanging: EndpointFactory
    ) -> None:
        """While many requests hang, others are delivered at once."""
        stuck = [asyncio.create_task(self.send(sender, request(hanging(timeout_s=4.0)))) for _ in range(30)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(20.0):
            results = await asyncio.gather(
                *(self.send(sender, request(accepting(), sample_event(number))) for number in range(1, 11))
            )
        assert not any(task.done() for task in stuck)
        assert {outcome.kind for result in results for outcome in result} == {Kind.DELIVERED}
        ended = await asyncio.gather(*stuck)
        assert {outcome.reason for result in ended for outcome in result} == {"timeout"}

    async def test_the_next_may_start_from_within_done(self, sender: Sender, accepting: EndpointFactory) -> None:
        """What is told of one attempt may start the next at once, as often as there is one."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        endpoint = accepting()
        kinds: list[Kind] = []

        def done(outcomes: Sequence[Outcome]) -> None:
            kinds.extend(outcome.kind for outcome in outcomes)
            if len(kinds) == 5:
                ended.set_result(None)
            else:
                sender.start(request(endpoint, sample_event(len(kinds))), done)

        sender.start(request(endpoint), done)
        await ended
        assert kinds == [Kind.DELIVERED] * 5

    async def test_many_at_once(self, sender: Sender, accepting: EndpointFactory) -> None:
        """A hundred requests at once to one endpoint all end as they should."""
        endpoint = accepting()
        results = await asyncio.gather(
            *(self.send(sender, request(endpoint, sample_event(number))) for number in range(1, 101))
        )
        assert {outcome.kind for result in results for outcome in result} == {Kind.DELIVERED}

    async def test_what_is_kept_is_what_was_sent(self, sender: Sender, accepting: EndpointFactory) -> None:
        """An exchange that is kept names the address; with the payload its pieces are the body that was sent."""
        endpoint, event = accepting(), sample_event()
        (outcome,) = await self.send(sender, request(endpoint, event))
        exchange = outcome.seen
        if exchange is not None:
            assert exchange.url == endpoint.url
            sent = exchange.body_prefix + event.data + exchange.body_suffix
            assert sent.count(event.data) == 1

    async def test_credentials_are_masked(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory, hanging: EndpointFactory
    ) -> None:
        """An endpoint's credentials and signing secrets are in no outcome, however the attempt ended."""
        credentials = [(b"authorization", f"Bearer {CANARY}".encode())]
        for make in (accepting, failing, hanging):
            endpoint = make(auth_headers=credentials, timeout_s=1.0)
            for outcome in await self.send(sender, request(endpoint)):
                told = repr((outcome, outcome.seen))
                assert CANARY not in told
                assert not [key.secret for key in endpoint.signing if key.secret in told]

    def test_a_destination_is_the_resource_behind(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory
    ) -> None:
        """A destination is told at once, is the same for the same address, and contains no secret."""
        endpoint = accepting(auth_headers=[(b"authorization", CANARY.encode())])
        assert sender.destination(endpoint)
        assert sender.destination(endpoint) == sender.destination(accepting(number=2, tenant="other"))
        assert CANARY not in sender.destination(endpoint)
        assert sender.destination(failing())

    async def test_check_accepts_what_it_can_serve(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory
    ) -> None:
        """An address and config that can be served are accepted, perhaps with warnings in words; nothing is sent."""
        for endpoint in (accepting(), failing()):
            warnings = await sender.check(spec_of(endpoint))
            assert all(isinstance(warning, str) and warning for warning in warnings)

    @pytest.mark.parametrize("url", ["::", "nothing", "other:///place", "http//x", "\x00", "mailbox:relative", "//"])
    async def test_check_refuses_what_is_no_address(self, sender: Sender, accepting: EndpointFactory, url: str) -> None:
        """What is no address of its kind is refused with a code, a sentence and where the fault is."""
        with pytest.raises(Refusal) as refused:
            await sender.check(spec_of(accepting(), url=url))
        assert refused.value.code in CHECK_CODES
        assert refused.value.code in STATUS_BY_CODE
        assert refused.value.detail
        assert refused.value.pointer == "/url"

    # ------------------------------------------------------------------------------------------------- verifying

    async def ask(self, sender: Sender, asked: VerifyRequest) -> Consent:
        """Ask, and check what holds for every answer: in time, a whole outcome, a reason in words for a no."""
        start_s = time.monotonic()
        consent = await sender.verify(asked)
        assert time.monotonic() - start_s <= asked.endpoint.timeout_s + 1 + BUSY_MACHINE_S
        check_outcome(consent.outcome)
        assert consent.given == (consent.outcome.kind is Kind.DELIVERED)
        assert consent.given or consent.outcome.detail
        assert consent.given or consent.rate_per_min is None
        return consent

    async def can_ask(self, sender: Sender, endpoint: Endpoint, how: str = "challenge") -> bool:
        """Whether this kind has that question; one that has not refuses it when the endpoint is created."""
        try:
            await sender.check(spec_of(endpoint, verify=how))
        except Refusal as refusal:
            refused = refusal
        else:
            return True
        assert (refused.code, refused.pointer) == ("not_supported", "/verify")
        return False

    async def test_what_cannot_be_asked_does_not_consent(self, sender: Sender, consenting: EndpointFactory) -> None:
        """A kind that cannot be challenged says no when it is asked all the same, and how it may be verified."""
        if not await self.can_ask(sender, consenting()):
            assert not (await self.ask(sender, question(consenting()))).given
            assert await self.can_ask(sender, consenting(), "test")

    async def test_consent_is_given_by_an_echo(self, sender: Sender, consenting: EndpointFactory) -> None:
        """A receiver that echoes the challenge has consented, in whatever format it was asked."""
        if not await self.can_ask(sender, consenting()):
            return
        for form in FORMATS:
            assert (await self.ask(sender, question(consenting(format=form)))).given

    async def test_taking_the_challenge_is_no_consent(self, sender: Sender, accepting: EndpointFactory) -> None:
        """A receiver that answers well but does not echo the challenge has not consented."""
        assert not (await self.ask(sender, question(accepting()))).given

    async def test_no_answer_is_no_consent(
        self, sender: Sender, failing: EndpointFactory, hanging: EndpointFactory
    ) -> None:
        """Where the receiver fails or hangs there is no consent, no exception, and an end in time."""
        assert not (await self.ask(sender, question(failing()))).given
        consent = await self.ask(sender, question(hanging(timeout_s=1.0)))
        assert not consent.given
        assert consent.outcome.reason == "timeout" or not await self.can_ask(sender, hanging())

    async def test_the_handshake_or_a_refusal(
        self, sender: Sender, accepting: EndpointFactory, consenting: EndpointFactory
    ) -> None:
        """A kind either does the handshake of CloudEvents, or refuses it when the endpoint is created."""
        if not await self.can_ask(sender, consenting(), "cloudevents"):
            return
        assert (await self.ask(sender, question(consenting(), "cloudevents"))).given
        assert not (await self.ask(sender, question(accepting(), "cloudevents"))).given

    async def test_questions_show_no_credentials(
        self, sender: Sender, accepting: EndpointFactory, failing: EndpointFactory, consenting: EndpointFactory
    ) -> None:
        """Credentials, signing secrets and the callback are in no outcome of a question."""
        credentials = [(b"authorization", f"Bearer {CANARY}".encode())]
        for make in (accepting, failing, consenting):
            endpoint = make(auth_headers=credentials)
            for how in ("challenge", "cloudevents"):
                consent = await self.ask(sender, question(endpoint, how))
                told = repr((consent, consent.outcome.seen))
                assert CANARY not in told
                assert not [key.secret for key in endpoint.signing if key.secret in told]

    async def test_a_cancelled_question_ends_at_once(self, sender: Sender, hanging: EndpointFactory) -> None:
        """Cancelling a question ends it."""
        if not await self.can_ask(sender, hanging()):
            return  # the answer is there at once
        task = asyncio.create_task(sender.verify(question(hanging(timeout_s=30.0))))
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(BUSY_MACHINE_S):
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_closing(self, sender: Sender, accepting: EndpointFactory) -> None:
        """Closing twice is closing once, and what is sent afterwards is an outcome, not an exception."""
        await self.send(sender, request(accepting()))
        await sender.close()
        await sender.close()
        (outcome,) = await self.send(sender, request(accepting()))
        assert outcome.started or outcome.kind is Kind.RETRY
        assert not (await self.ask(sender, question(accepting()))).given
