"""Exactly which bytes are sent, and what of them is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook
from tests.adapters.senders.sending import send_to

from hookline.adapters.senders.answer import NOTHING
from hookline.adapters.senders.request import Prepared, Unsendable
from hookline.core.attempt import BodyEncoding, Exchange
from hookline.core.endpoint import Endpoint, SigningKey
from hookline.core.event import Event
from hookline.testing.clock import START_WALL_MS
from hookline.testing.receiver import Receiver
from hookline.testing.samples import SIGNING_SECRET, full_event, sample_endpoint, sample_event

URL = "https://receiver.example:8443/hooks/%C3%A9?a=1&b=%20"


def built(endpoint: Endpoint, event: Event, attempt: int = 1) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The bytes of a request, and the headers that are kept of it."""
    prepared = Prepared(endpoint, "1.2.3", https_only=False)
    wire, kept = prepared.request(prepared.content(event, None), attempt, START_WALL_MS)
    return wire, exchange_of(kept).request_headers


def exchange_of(kept: bytes) -> Exchange:
    """What is kept of a request to which nothing was answered."""
    return msgspec.msgpack.decode(kept + NOTHING, type=Exchange)


def test_the_whole_request() -> None:
    """A request is these bytes: request line, headers in lower case in this order, content-length, body."""
    endpoint = sample_endpoint(
        URL,
        headers=[(b"X-Shop", b"7")],
        auth_headers=[(b"Authorization", b"Bearer secret")],
        method="PUT",
    )
    event = sample_event(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="v=1")
    wire, _ = built(endpoint, event, attempt=3)
    head, _, body = wire.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    signature = lines.pop(-2)
    assert lines == [
        "PUT /hooks/%C3%A9?a=1&b=%20 HTTP/1.1",
        "host: receiver.example:8443",
        "user-agent: Hookline/1.2.3",
        "accept-encoding: identity",
        "x-shop: 7",
        "authorization: Bearer secret",
        "content-type: application/json",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: v=1",
        f"content-length: {len(body)}",
        f"webhook-id: {event.public_id}",
        f"webhook-timestamp: {START_WALL_MS // 1000}",
        "hookline-attempt: 3",
    ]
    assert signature.startswith("webhook-signature: v1,")
    assert body == b'{"type":"order.created","timestamp":"2026-01-01T00:00:00.000Z","data":' + event.data + b"}"


def test_where_to_confirm_is_sent_and_not_kept() -> None:
    """Where a confirmation is asked for, the request says where, once, and what is kept of it is masked."""
    url = "https://hooks.example/v1/confirm/kVZ0bmV2ZXItc2hvd24tdG8tYW55Ym9keQ"
    prepared = Prepared(sample_endpoint(URL), "1.2.3", https_only=False)
    content = prepared.content(sample_event(), None)
    wire, kept = prepared.request(content, 1, START_WALL_MS, url)
    plain, plain_kept = prepared.request(content, 1, START_WALL_MS)
    line = b"hookline-confirm-url: " + url.encode() + b"\r\n"
    assert wire.replace(line, b"") == plain
    assert wire.count(line) == 1
    headers = exchange_of(plain_kept).request_headers
    assert exchange_of(kept).request_headers == [*headers, (b"hookline-confirm-url", b"***")]


@pytest.mark.parametrize("form", ["standard", "raw", "cloudevents", "cloudevents-binary"])
@pytest.mark.parametrize("event", [sample_event(), full_event(), sample_event(data=b"")], ids=["a", "b", "c"])
@pytest.mark.parametrize("keys", [1, 2, 6])
@pytest.mark.parametrize("attempt", [1, 10, 123_456])
def test_what_is_kept_is_the_head_as_sent(form: str, event: Event, keys: int, attempt: int) -> None:
    """However long its values and many its headers are, the packed form has the headers of the request, in order."""
    own = [(b"x-%d" % number, b"v" * number * 100) for number in range(keys * 3)]
    signing = [SigningKey(SIGNING_SECRET)] * keys
    endpoint = sample_endpoint(URL, format=form, headers=own, signing=signing, method="PATCH")
    prepared = Prepared(endpoint, "1.2.3", https_only=False)
    content = prepared.content(event, None)
    wire, kept = prepared.request(content, attempt, START_WALL_MS)
    lines = wire.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    exchange = exchange_of(kept)
    assert [b"%b: %b" % header for header in exchange.request_headers] == lines
    body = content.body
    expected = Exchange("PATCH", URL, exchange.request_headers, body.prefix, body.suffix, body.encoding)
    assert exchange == expected


def test_a_confirm_url_with_a_line_break_is_not_sent() -> None:
    """An address of ours that would begin another header is refused before anything is sent."""
    prepared = Prepared(sample_endpoint(URL), "1.2.3", https_only=False)
    for url in ("http://a/\r\nx: 1", "http://ä/"):
        with pytest.raises(Unsendable):
            prepared.request(prepared.content(sample_event(), None), 1, START_WALL_MS, url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://receiver.example/", "receiver.example"),
        ("http://receiver.example:80/", "receiver.example"),
        ("http://receiver.example:443/", "receiver.example:443"),
        ("https://receiver.example/", "receiver.example"),
        ("http://93.184.216.34:8080/", "93.184.216.34:8080"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_the_host_header(url: str, host: str) -> None:
    """The host header names the port only where it is not the scheme's, and IPv6 in brackets."""
    wire, _ = built(sample_endpoint(url), sample_event())
    assert wire.split(b"\r\n")[1] == b"host: " + host.encode()


@pytest.mark.parametrize("form", ["standard", "raw", "cloudevents", "cloudevents-binary"])
@pytest.mark.parametrize(
    "event", [sample_event(), full_event(), sample_event(data=b"")], ids=["plain", "full", "empty"]
)
def test_the_kept_pieces_make_the_body(form: str, event: Event) -> None:
    """In every format the length is told, and prefix, payload and suffix as kept are the body as sent."""
    prepared = Prepared(sample_endpoint(format=form), "1.2.3", https_only=False)
    content = prepared.content(event, None)
    wire, kept = prepared.request(content, 1, START_WALL_MS)
    headers = exchange_of(kept).request_headers
    head, _, body = wire.partition(b"\r\n\r\n")
    assert body == content.body.render(event.data)
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert b"transfer-encoding" not in head
    if event.data and content.body.encoding is BodyEncoding.AS_IS:
        assert body == content.body.prefix + event.data + content.body.suffix


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("form", ["standard", "raw", "cloudevents", "cloudevents-binary"])
async def test_what_arrives_is_what_is_kept(sender: Any, receiver: Receiver, method: str, form: str) -> None:
    """The receiver reads the method, target, headers and body that the attempt keeps."""
    endpoint = sample_endpoint(receiver.url + "/a/b?c=d", method=method, format=form, headers=[(b"x-a", b"1")])
    outcome = await send_to(sender, endpoint)
    (received,) = receiver.requests
    assert (received.method, received.path, received.version) == (method, "/a/b?c=d", "HTTP/1.1")
    assert outcome.seen is not None
    assert received.headers == outcome.seen.request_headers
    assert (outcome.seen.method, outcome.seen.url) == (method, endpoint.url)


async def test_the_official_library_verifies_it(sender: Any, receiver: Receiver, monkeypatch: Any) -> None:
    """The official Standard Webhooks library accepts the request."""
    await send_to(sender, sample_endpoint(receiver.url))
    (received,) = receiver.requests
    headers = {name.decode(): value.decode() for name, value in received.headers}
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda self, header: _instant(header))
    assert Webhook(SIGNING_SECRET).verify(received.body, headers)["type"] == "order.created"


def _instant(header: str) -> Any:
    import datetime as dt

    return dt.datetime.fromtimestamp(float(header), tz=dt.UTC)


def test_a_signature_for_each_key_that_lives() -> None:
    """While a secret rotates the header has a signature by each, and none by one that has expired."""
    other = "whsec_" + "A" * 32
    keys = [SigningKey(SIGNING_SECRET), SigningKey(other, START_WALL_MS + 1), SigningKey(other, START_WALL_MS)]
    _, headers = built(sample_endpoint(signing=keys), sample_event())
    assert dict(headers)[b"webhook-signature"].count(b"v1,") == 2


def test_credentials_are_masked_where_they_are_kept() -> None:
    """Credentials are sent, and kept as ***; so are headers whose names say that they are secret."""
    endpoint = sample_endpoint(
        headers=[(b"X-Api-Token", b"canary"), (b"x-shop", b"7")], auth_headers=[(b"x-key", b"canary")]
    )
    wire, headers = built(endpoint, sample_event())
    assert wire.count(b"canary") == 2
    assert [header for header in headers if header[1] == b"***"] == [(b"x-api-token", b"***"), (b"x-key", b"***")]
    assert (b"x-shop", b"7") in headers


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "a\rb", "a\0b"])
async def test_a_header_never_ends_early(sender: Any, receiver: Receiver, bad: str) -> None:
    """A value that would end its header is refused for good before anything is sent, whatever the door let through."""
    with pytest.raises(Unsendable):
        built(sample_endpoint(headers=[(b"x-a", bad.encode())]), sample_event())
    for event in (
        sample_event(content_type=bad),
        sample_event(traceparent=bad),
        sample_event(traceparent="00-0", tracestate=bad),
    ):
        endpoint = sample_endpoint(receiver.url, format="raw")
        with pytest.raises(Unsendable):
            built(endpoint, event)
    outcome = await send_to(sender, sample_endpoint(receiver.url, headers=[(b"x-a", bad.encode())]))
    assert (outcome.kind, outcome.reason) == ("rejected", "rejected")
    assert receiver.connections == 0


@pytest.mark.parametrize("secret", ["whsec_", "whsec_???", "nothing"])
async def test_a_key_that_cannot_sign(sender: Any, receiver: Receiver, secret: str) -> None:
    """An endpoint whose stored key cannot sign fails for good, without a word of the key, and nothing is sent."""
    outcome = await send_to(sender, sample_endpoint(receiver.url, signing=[SigningKey(secret)]))
    assert (outcome.kind, outcome.reason) == ("rejected", "rejected")
    assert secret not in outcome.detail
    assert receiver.connections == 0


def test_an_event_for_many_is_built_once() -> None:
    """An event that goes to many endpoints of a format is made into a body once, and never taken for another."""
    first, second = (Prepared(sample_endpoint(number=n), "1.2.3", https_only=False) for n in (1, 2))
    event = sample_event()
    content = first.content(event, None)
    assert second.content(event, content) is content
    assert first.content(sample_event(2), content).data != content.data
    raw = Prepared(sample_endpoint(format="raw"), "1.2.3", https_only=False)
    assert raw.content(event, content).data == event.data
    assert raw.content(msgspec.structs.replace(event), content) is not content
