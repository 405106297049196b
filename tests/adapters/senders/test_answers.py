"""What comes back: verdicts of answers, hostile receivers, the total deadline."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

import msgspec
import pytest
from tests.adapters.senders.sending import advance_until, send

from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind, Timing
from hookline.core.success import parse_success
from hookline.testing import answers
from hookline.testing.answers import Answer, chunked, hang, informational, raw, redirect, reply
from hookline.testing.clock import ToldClock
from hookline.testing.coroutine_sender import sent
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import request

VERDICTS = [
    (reply(200), Kind.DELIVERED, None, None),
    (reply(204), Kind.DELIVERED, None, None),
    (reply(299, b"odd"), Kind.DELIVERED, None, None),
    (reply(400), Kind.RETRY, "client_error", None),
    (reply(404, b"not here"), Kind.RETRY, "client_error", None),
    (reply(410), Kind.GONE, "gone", None),
    (reply(429), Kind.RETRY, "rate_limited", None),
    (reply(429, headers=[(b"Retry-After", b"7")]), Kind.RETRY, "rate_limited", 7.0),
    (reply(503, headers=[(b"retry-after", b"1e99")]), Kind.RETRY, "server_error", None),
    (reply(503, headers=[(b"retry-after", b"999999999")]), Kind.RETRY, "rate_limited", 86_400.0),
    (reply(503, headers=[(b"retry-after", b"Thu, 01 Jan 1970 00:00:00 GMT")]), Kind.RETRY, "rate_limited", 0.0),
    (reply(500, b"\xff\x00"), Kind.RETRY, "server_error", None),
    (reply(304), Kind.RETRY, "redirect", None),
]


@pytest.mark.parametrize(("answer", "kind", "reason", "wait_s"), VERDICTS)
async def test_what_a_status_means(
    sender: HttpSender, receiver: Receiver, answer: Answer, kind: Kind, reason: str | None, wait_s: float | None
) -> None:
    """A status becomes a kind, a reason and a wait, and the attempt holds status, headers and body."""
    receiver.answer("/", answer)
    outcome = await send(sender, receiver.url + "/")
    assert (outcome.kind, outcome.reason, outcome.retry_after_s) == (kind, reason, wait_s)
    assert outcome.status is not None
    assert outcome.seen is not None
    assert outcome.detail == ""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(sender: HttpSender, receiver: Receiver, status: int) -> None:
    """A redirect is an outcome of its own: nothing is sent to where it points, not even to the same receiver."""
    async with Receiver() as elsewhere:
        receiver.answer("/", redirect(elsewhere.url, status))
        receiver.answer("/self", redirect(receiver.url + "/self", status))
        for path in ("/", "/self"):
            outcome = await send(sender, receiver.url + path)
            assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "redirect", status)
        assert elsewhere.connections == 0
    assert len(receiver.requests) == 2


async def test_a_redirects_body_is_not_read(sender: HttpSender, receiver: Receiver) -> None:
    """A redirect with an endless body ends at its headers."""
    receiver.answer("/", answers.endless_body(302))
    outcome = await send(sender, receiver.url + "/")
    assert (outcome.reason, outcome.status) == ("redirect", 302)
    assert outcome.seen is not None
    assert outcome.seen.response_body == b""


async def test_what_is_kept_of_an_answer(sender: HttpSender, receiver: Receiver) -> None:
    """Headers and bodies are kept as bytes: 1 KiB of a success, 16 KiB of anything else."""
    body = bytes(range(256)) * 200
    for status, kept in ((200, 1024), (500, 16_384)):
        receiver.answer("/", reply(status, body, [(b"X-Odd", b"\xff\xfe")]))
        outcome = await send(sender, receiver.url + "/", response_bytes_max=1024 * 1024)
        assert outcome.seen is not None
        assert outcome.seen.response_body == body[:kept]
        assert (b"x-odd", b"\xff\xfe") in outcome.seen.response_headers


async def test_nothing_is_unpacked(sender: HttpSender, receiver: Receiver) -> None:
    """A gzip bomb stays the bytes that came, and identity was asked for."""
    receiver.answer("/", answers.gzip_bomb())
    await send(sender, receiver.url + "/")  # the receiver packs it, in this process
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await send(sender, receiver.url + "/")
    assert (outcome.kind, outcome.status) == (Kind.DELIVERED, 200)
    assert outcome.seen is not None
    assert outcome.seen.response_body.startswith(b"\x1f\x8b")
    assert len(outcome.seen.response_body) == 1024
    assert receiver.requests[0].header("accept-encoding") == "identity"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown < 10 * 1024


PROTOCOL = {
    "HTTP/0.9": answers.http_0_9(),
    "not HTTP": answers.not_http(),
    "huge headers": answers.huge_headers(),
    "many headers": answers.many_headers(),
    "endless headers": answers.endless_headers(),
    "17 interim answers": informational(17, reply(200)),
    "200 interim answers": informational(200, reply(200)),
    "endless interim answers": answers.endless_informational(),
    "an upgrade": raw(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    "bad chunks": answers.bad_chunks(),
    "two lengths": answers.two_lengths(),
    "a length and chunks": answers.length_and_chunks(),
    "no colon": answers.header_without_colon(),
}


@pytest.mark.parametrize("answer", PROTOCOL.values(), ids=PROTOCOL)
async def test_answers_that_are_none(
    sender: HttpSender, receiver: Receiver, answer: Answer, open_files: Callable[[], int]
) -> None:
    """What is no correct answer is a failed attempt, reason protocol; its connection ends and the sender works on."""
    receiver.answer("/bad", answer)
    assert (await send(sender, receiver.url + "/good")).kind is Kind.DELIVERED
    before = open_files()
    outcome = await send(sender, receiver.url + "/bad")
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "protocol", None)
    assert outcome.detail
    assert len(sender._pool) == 0
    assert (await send(sender, receiver.url + "/good")).kind is Kind.DELIVERED
    async with asyncio.timeout(5):
        while open_files() > before:
            await asyncio.sleep(0.01)


BROKEN = {
    "closed at once": answers.close_at_once(),
    "closed before the request was read": answers.close_at_once(reads_body=False),
    "reset": answers.reset(),
    "closed in the body": answers.close_early(),
    "closed in the chunks": answers.chunks_cut_off(),
    "closed in the headers": raw(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "closed after an interim answer": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_connections_that_break(sender: HttpSender, receiver: Receiver, answer: Answer) -> None:
    """A connection that breaks before the answer ended is reason connect; the request is not sent a second time."""
    receiver.answer("/", answer)
    outcome = await send(sender, receiver.url + "/")
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "connect", None)
    assert outcome.detail.startswith("The connection broke before the answer ended.")
    assert len(receiver.requests) == 1


async def test_interim_answers(sender: HttpSender, receiver: Receiver) -> None:
    """A few interim answers are passed over."""
    receiver.answer("/", informational(16, reply(200)))
    assert (await send(sender, receiver.url + "/")).status == 200


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("status", [200, 500])
async def test_an_endless_body(sender: HttpSender, receiver: Receiver, status: int, in_chunks: bool) -> None:
    """A body without an end is read to the endpoint's limit, then the connection ends and the status counts."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    receiver.answer("/", answers.endless_body(status, in_chunks=in_chunks))
    outcomes = await asyncio.gather(*(send(sender, receiver.url + "/") for _ in range(20)))
    assert {outcome.status for outcome in outcomes} == {status}
    assert {outcome.kind for outcome in outcomes} == {Kind.DELIVERED if status == 200 else Kind.RETRY}
    assert len(sender._pool) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # both ends are in this process


HANGING = {
    "before the status": hang(),
    "before the request was read": hang(reads_body=False),
    "in the headers": answers.hang_in_headers(),
    "in the body": answers.hang_in_body(),
    "after an interim answer": hang(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dripping": answers.drip(),
    "dripping interim answers": answers.drip(b"HTTP/1.1 103 Early\r\n\r\n" * 10),
    "dripping chunks": answers.drip(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000),
}


@pytest.mark.parametrize("answer", HANGING.values(), ids=HANGING)
async def test_the_deadline_is_for_everything(
    sender: HttpSender, receiver: Receiver, clock: ToldClock, answer: Answer
) -> None:
    """Whatever a receiver waits with, and if it keeps sending a little, the attempt ends at its total deadline."""
    receiver.answer("/", answer)
    task = asyncio.create_task(send(sender, receiver.url + "/", timeout_s=30.0))
    await receiver.wait_for(1)
    await asyncio.sleep(0.02)
    passed_s = await advance_until(clock, task)
    assert 30.0 <= passed_s <= 30.25
    outcome = await task
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "timeout", None)
    assert outcome.timing.total_us >= 30_000_000
    assert len(sender._pool) == 0


async def test_the_part_of_an_answer_that_came_is_kept(
    sender: HttpSender, receiver: Receiver, clock: ToldClock
) -> None:
    """Of an answer that did not end in time the attempt holds what came, and says its status."""
    receiver.answer("/", answers.hang_in_body())
    task = asyncio.create_task(send(sender, receiver.url + "/"))
    await receiver.wait_for(1)
    await asyncio.sleep(0.05)
    await advance_until(clock, task)
    outcome = await task
    assert outcome.seen is not None
    assert outcome.seen.response_body == b"0123456789"
    assert outcome.detail.endswith("Its status was 200.")


async def test_the_request_has_no_reader(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """A receiver that never reads a large request is a timeout, and the unsent rest is dropped."""
    receiver.answer("/", hang(reads_body=False))
    event = msgspec.structs.replace(sample_event(), data=b'"' + b"x" * (16 * 1024 * 1024) + b'"')
    task = asyncio.create_task(sent(sender, request(sample_endpoint(receiver.url + "/", timeout_s=3.0), event)))
    await receiver.wait_for(1)
    await advance_until(clock, task)
    assert (await task)[0].reason == "timeout"


async def test_an_answer_before_the_request_is_read(sender: HttpSender, receiver: Receiver) -> None:
    """An answer that comes before the request was read counts, and its connection is not used again."""
    receiver.answer("/", msgspec.structs.replace(reply(413, b"too large"), reads_body=False))
    event = msgspec.structs.replace(sample_event(), data=b'"' + b"x" * (16 * 1024 * 1024) + b'"')
    async with asyncio.timeout(10):
        (outcome,) = await sent(sender, request(sample_endpoint(receiver.url + "/"), event))
    assert (outcome.reason, outcome.status) == ("client_error", 413)
    assert len(sender._pool) == 0


async def test_success_when(sender: HttpSender, receiver: Receiver) -> None:
    """The endpoint's rule for success sees the whole body, beyond what an attempt keeps of it."""
    rule = parse_success({"filter": {"body.ok": True, "headers.x-mark": "yes"}})
    large = b'{"filling": "%s", "ok": true}' % (b"x" * 5000)
    receiver.answer("/yes", reply(200, large, [(b"X-Mark", b"yes")]))
    receiver.answer("/no", reply(200, b'{"ok": false}', [(b"x-mark", b"yes")]))
    receiver.answer("/too-large", reply(200, b'{"ok": true, "filling": "%s"}' % (b"x" * 20_000), [(b"x-mark", b"yes")]))
    yes, no, too_large = [
        await send(sender, receiver.url + path, success=rule) for path in ("/yes", "/no", "/too-large")
    ]
    assert (yes.kind, yes.reason) == (Kind.DELIVERED, None)
    assert yes.seen is not None
    assert yes.seen.response_body == large[:1024]
    assert (no.kind, no.reason, no.status) == (Kind.RETRY, "answer_rejected", 200)
    assert (too_large.kind, too_large.reason) == (Kind.RETRY, "answer_rejected")


async def test_where_the_time_went(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """The timing tells the phases that happened, in microseconds, and none that did not."""
    receiver.answer("/", hang(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"), reply(200))
    task = asyncio.create_task(send(sender, receiver.url + "/"))
    await receiver.wait_for(1)
    await asyncio.sleep(0.02)
    clock.advance(60)
    first = (await task).timing
    assert (first.dns_us, first.connect_us, first.tls_us, first.first_byte_us) == (None, 0, None, 0)
    assert first.total_us == 60_000_000
    assert (await send(sender, receiver.url + "/")).timing == Timing(None, 0, None, 0, 0)
    assert (await send(sender, receiver.url + "/")).timing == Timing(None, None, None, 0, 0)


async def test_chunks(sender: HttpSender, receiver: Receiver) -> None:
    """A chunked answer is put together, and its connection is used again."""
    receiver.answer("/", chunked(b"one, ", b"two", status=500))
    for _ in range(3):
        outcome = await send(sender, receiver.url + "/")
        assert outcome.seen is not None
        assert outcome.seen.response_body == b"one, two"
    assert receiver.connections == 1
