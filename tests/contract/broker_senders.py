"""What all senders of brokers are held to besides the suite of senders, and what their tests share.

A module defines `server`, `kind_of_sender`, `accepting` and `received`, and imports this one's names.

    received    reads what arrived since the test began: for each message its headers, content type, body and key
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.adapters.clock import SystemClock
from hookline.adapters.senders.broker import BrokerSender
from hookline.adapters.senders.http import HttpSender
from hookline.core.address import Networks
from hookline.core.attempt import Kind, Outcome
from hookline.core.bindings import Value, decode
from hookline.core.endpoint import AuthSpec, Endpoint
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.testing.certificates import SelfSigned
from hookline.testing.clock import START_WALL_MS
from hookline.testing.coroutine_sender import sent
from hookline.testing.samples import full_event, sample_event
from hookline.testing.sender_contract import check_outcome, request, spec_of

__all__ = [
    "Received",
    "sender",
    "silent",
    "test_a_private_address_is_refused",
    "test_a_stalled_server_is_left",
    "test_it_is_signed_as_a_webhook_is",
    "test_tls_is_verified",
    "test_what_arrives_is_the_event",
    "test_what_only_http_has_is_refused",
]

PASSWORD = "swordfish-4711"
Message = tuple[Mapping[str, Value], str | None, bytes, bytes | None]
Received = Callable[[], Awaitable[list[Message]]]
FULL = full_event(content_type="application/octet-stream; a=b")


@asynccontextmanager
async def sending(
    make: type[BrokerSender], *, allow: tuple[str, ...] = ("127.0.0.0/8",), **options: Any
) -> AsyncIterator[BrokerSender]:
    """A sender of one kind with a guard of its own."""
    clock = SystemClock()
    http = HttpSender(Networks(allow), clock, https_only=False, version="1.2.3")
    made = make(http.dialer, clock, version="1.2.3", **options)
    yield made
    await made.close()
    await http.close()


@pytest.fixture
async def sender(kind_of_sender: type[BrokerSender]) -> AsyncIterator[BrokerSender]:
    """A sender that may reach the loopback, on real time: the suite waits for its timeouts."""
    async with sending(kind_of_sender) as made:
        yield made


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of somebody who takes connections and never says a word."""
    taken: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    for writer in taken:
        writer.close()


async def one(sender: BrokerSender, endpoint: Endpoint, *events: Any) -> Outcome:
    """What becomes of one event."""
    (outcome,) = await sent(sender, request(endpoint, *events))
    check_outcome(outcome)
    return outcome


def basic(username: str = "", password: str = PASSWORD) -> AuthSpec:
    """User name and password."""
    return AuthSpec("basic", username=username, password=password)


@pytest.mark.parametrize("event", [sample_event(), FULL, sample_event(data=b"")], ids=["small", "full", "none"])
@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])
async def test_what_arrives_is_the_event(
    sender: BrokerSender, accepting: Any, received: Received, event: Event, form: str
) -> None:
    """What a consumer reads by the protocol's binding is the event, its payload byte for byte, its key beside it."""
    outcome = await one(sender, accepting(format=form), event)
    assert (outcome.kind, outcome.detail) == (Kind.DELIVERED, "")
    ((headers, content_type, body, key),) = await received()
    draft = decode(sender.binding, content_type, headers, body, START_WALL_MS)
    assert draft is not None
    assert (draft.data, draft.type, draft.ordering_key) == (event.data, event.type, event.ordering_key)
    assert (draft.subject, draft.source_id) == (event.subject, event.source_id or event.public_id)
    if sender.kind in ("kafka", "redis"):
        assert key == (None if event.ordering_key is None else event.ordering_key.encode())


async def test_it_is_signed_as_a_webhook_is(sender: BrokerSender, accepting: Any, received: Received) -> None:
    """Id, time, signature and the address to confirm at travel beside the payload; of credentials nothing is kept."""
    from standardwebhooks import Webhook

    endpoint = accepting(format="raw", headers=[(b"x-shop", b"7"), (b"x-api-key", b"hidden")])
    asked = request(endpoint, sample_event())
    items = [msgspec.structs.replace(item, confirm_url="https://h.example/unguessable") for item in asked.items]
    (outcome,) = await sent(sender, msgspec.structs.replace(asked, items=items))
    assert outcome.kind is Kind.DELIVERED, outcome.detail
    ((headers, content_type, body, _),) = await received()
    texts = {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()}
    assert body == sample_event().data
    assert texts.get("content-type", content_type) == "application/json"
    assert texts["webhook-id"] == sample_event().public_id
    assert (texts["x-shop"], texts["hookline-attempt"]) == ("7", "1")
    assert texts["hookline-confirm-url"] == "https://h.example/unguessable"
    assert outcome.seen is not None
    kept = dict(outcome.seen.request_headers)
    assert (kept[b"x-api-key"], kept[b"hookline-confirm-url"]) == (b"***", b"***")
    at = datetime.fromtimestamp(int(texts["webhook-timestamp"]), UTC)
    assert (
        Webhook(endpoint.signing[0].secret).sign(texts["webhook-id"], at, body.decode()) == texts["webhook-signature"]
    )


async def test_a_private_address_is_refused(kind_of_sender: type[BrokerSender], accepting: Any) -> None:
    """The guard of HTTP endpoints guards brokers: at creation, and again when the socket is opened."""
    async with sending(kind_of_sender, allow=()) as guarded:
        with pytest.raises(Refusal) as refused:
            await guarded.check(spec_of(accepting()))
        assert (refused.value.code, refused.value.pointer) == ("address_refused", "/url")
        outcome = await one(guarded, accepting())
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "address_refused")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"success_when": {"status": [200]}}, "/success_when"),
        ({"method": "PUT"}, "/method"),
        ({"auth": AuthSpec("api_key", header="x", value="y")}, "/auth"),
        ({"config": {}}, None),
    ],
)
async def test_what_only_http_has_is_refused(
    sender: BrokerSender, accepting: Any, changes: dict[str, Any], pointer: str | None
) -> None:
    """What has no meaning for a broker is refused at creation, and so is a config that names no place."""
    with pytest.raises(Refusal) as refused:
        await sender.check(spec_of(accepting(), **changes))
    assert (refused.value.pointer or "").startswith(pointer or "/config/")


async def test_a_stalled_server_is_left(sender: BrokerSender, accepting: Any, server: Any) -> None:
    """A server that stops answering is a timeout; when it is back, so are deliveries."""
    outcome = await one(sender, accepting())
    assert outcome.kind is Kind.DELIVERED, outcome
    server.stall()
    await asyncio.sleep(0.3)  # a signal may take its time on a busy machine
    try:
        outcome = await one(sender, accepting(timeout_s=1.0))
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "timeout")
    finally:
        server.resume()
    async with asyncio.timeout(20):
        while (outcome := await one(sender, accepting())).kind is not Kind.DELIVERED:
            await asyncio.sleep(0.2)


async def test_tls_is_verified(
    kind_of_sender: type[BrokerSender], accepting: Any, received: Received, server: Any, tmp_path: Path
) -> None:
    """Behind TLS all is the same; a certificate that nobody trusts gets neither credentials nor events."""
    certificate = SelfSigned(("127.0.0.1",))
    (tmp_path / "ca.pem").write_text(certificate.pem)
    spoken = bytearray()

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(65_536):
                spoken.extend(chunk)
                sink.write(chunk)
            sink.close()

        await asyncio.gather(way(reader, far_writer), way(far_reader, writer), return_exceptions=True)
        writer.close()

    listener = await asyncio.start_server(front, "127.0.0.1", 0, ssl=certificate.server())
    endpoint = accepting()
    scheme = kind_of_sender.broker.tls_scheme
    port = listener.sockets[0].getsockname()[1]
    secured = msgspec.structs.replace(endpoint, url=f"{scheme}://127.0.0.1:{port}")
    async with sending(kind_of_sender) as made:
        outcome = await one(made, secured)
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "tls"), outcome.detail
        assert not spoken
    async with sending(kind_of_sender, ca_file=str(tmp_path / "ca.pem")) as made:
        outcome = await one(made, secured)
        assert outcome.kind is Kind.DELIVERED, outcome.detail
    assert len(await received()) == 1
    await asyncio.sleep(0.2)
    listener.close()
