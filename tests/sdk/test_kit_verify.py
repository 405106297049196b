"""`verify` of the receiver kit: what is let through, what is not, and that nothing else is ever raised."""

from __future__ import annotations

import base64
import http.client
import io
import math
import time
from collections import UserDict
from datetime import UTC, datetime
from typing import Any

import pytest
import requests.structures
import standardwebhooks
import werkzeug.datastructures
from django.http import HttpHeaders
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from tests.sdk.signed import ED_PUBLIC, ED_SECRET, ORDER, OTHER, SECRET, sent

from hookline.sdk import (
    Event,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    TimestampOutsideTolerance,
    Unverifiable,
    VerificationError,
    verify,
)

NOW_S = 1_700_000_000


def refusal(*arguments: Any, **named: Any) -> VerificationError:
    """Why a request is not verified."""
    with pytest.raises(VerificationError) as error:
        verify(*arguments, **named)
    return error.value


# --------------------------------------------------------------------------------------------------- what is verified


def test_the_event_is_what_was_sent():
    """Id, type, time, payload, bytes, attempt and headers are those of the delivery."""
    request = sent(headers={"Hookline-Attempt": "3"})
    event = verify(request.body, request.headers, SECRET)
    assert (event.id, event.type, event.data, event.body) == ("msg_1", "order.created", ORDER, request.body)
    assert event.timestamp == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert (event.attempt, event.content_type, event.verifier) == (3, "application/json", "standard_webhooks")
    assert event.headers["webhook-id"] == "msg_1"
    assert event.confirm_url is None


@pytest.mark.parametrize("secret", [SECRET, [OTHER, SECRET], (SECRET,), [ED_PUBLIC, SECRET]])
def test_several_secrets_are_tried(secret: Any):
    """One of the secrets is enough, public keys among them."""
    request = sent()
    assert verify(request.body, request.headers, secret).id == "msg_1"


@pytest.mark.parametrize("secret", [ED_PUBLIC, ED_SECRET, [SECRET, ED_PUBLIC]])
def test_public_keys_verify(secret: Any):
    """What is signed by an Ed25519 key is verified by its public half."""
    request = sent(secret=ED_SECRET)
    assert verify(request.body, request.headers, secret).data == ORDER


def mappings(headers: dict[str, str]) -> dict[str, Any]:
    """The same headers as every framework has them."""
    message = http.client.parse_headers(
        io.BytesIO("".join(f"{n}: {v}\r\n" for n, v in headers.items()).encode() + b"\r\n")
    )
    return {
        "dict": headers,
        "titled": {name.title(): value for name, value in headers.items()},
        "pairs": list(headers.items()),
        "iterator": iter(headers.items()),
        "bytes": [(name.encode(), value.encode()) for name, value in headers.items()],
        "lists": {name: [value] for name, value in headers.items()},
        "userdict": UserDict(headers),
        "werkzeug": werkzeug.datastructures.Headers(headers),
        "starlette": Headers(headers),
        "django": HttpHeaders({f"HTTP_{n.upper().replace('-', '_')}": v for n, v in headers.items()}),
        "requests": requests.structures.CaseInsensitiveDict(headers),
        "http.client": message,
        "blanks": {name: f" {value}\t" for name, value in headers.items()},
    }


@pytest.mark.parametrize("kind", mappings({}))
def test_headers_of_any_framework(kind: str):
    """Mappings and pairs of every make are read, names in any case."""
    request = sent(content_type=None)
    assert verify(request.body, mappings(request.headers)[kind], SECRET).id == "msg_1"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda body: memoryview(body + b"x")[:-1]])
def test_bodies_are_bytes_of_any_kind(make: Any):
    """Bytes, a bytearray and a memoryview are the body; the event has them as bytes."""
    request = sent()
    event = verify(make(request.body), request.headers, SECRET)
    assert type(event.body) is bytes
    assert event.body == request.body


@given(st.binary(min_size=24, max_size=64), st.text(max_size=300))
def test_what_the_official_library_signs_is_verified(key: bytes, text: str):
    """Whatever standardwebhooks signs is verified; changed by one character it is not."""
    secret = "whsec_" + base64.b64encode(key).decode()
    at = datetime.fromtimestamp(NOW_S, UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_2", at, text)
    headers = {"webhook-id": "msg_2", "webhook-timestamp": str(NOW_S), "webhook-signature": signature}
    assert verify(text.encode(), headers, secret, now=NOW_S).body == text.encode()
    assert refusal(text.encode() + b" ", headers, secret, now=NOW_S).reason == "no_matching_signature"


def test_the_official_library_agrees_on_what_is_ours():
    """What the kit takes, standardwebhooks takes, and reads the same."""
    request = sent()
    official = standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert official["data"] == verify(request.body, request.headers, SECRET).data


# ------------------------------------------------------------------------------------------------------ each format


def test_a_payload_alone_is_its_own_data():
    """Of the format `raw` the whole body is the payload, and there is no type."""
    request = sent(body=b'{"order_id": "A-1"}')
    event = verify(request.body, request.headers, SECRET)
    assert (event.type, event.data) == ("", {"order_id": "A-1"})


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("text/plain", b"hello", b"hello"),
        ("application/octet-stream", b"\x00\xff", b"\x00\xff"),
        (None, b"hello", b"hello"),
        (None, b"[1]", [1]),
        ("application/json", b"", None),
        ("application/x-www-form-urlencoded", b"a=1&b=2&b=3", {"a": "1", "b": ["2", "3"]}),
        ("application/xml", b"<order><id>7</id></order>", {"order": {"id": "7"}}),
        ("application/vnd.shop+json; charset=utf-8", b"7", 7),
    ],
)
def test_a_payload_of_any_type(content_type: str | None, body: bytes, data: Any):
    """JSON, forms and XML are values, everything else is its bytes."""
    request = sent(body=body, content_type=content_type)
    event = verify(request.body, request.headers, SECRET)
    assert event.data == data
    assert event.malformed == ""
    assert event.timestamp.timestamp() == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ('"data": {"a": 1}', {"a": 1}),
        ('"data_base64": "AP8=", "datacontenttype": "image/png"', b"\x00\xff"),
        ('"data_base64": "eyJhIjogMX0=", "datacontenttype": "application/json"', {"a": 1}),
        ('"x": 1', None),
    ],
)
def test_cloudevents_structured(data: str, found: Any):
    """A structured CloudEvent's type, subject, source, time and data are the event's."""
    body = f'{{"specversion": "1.0", "id": "1", "type": "t.x", "source": "/s", "subject": "u", {data}}}'.encode()
    request = sent(body=body, content_type="application/cloudevents+json")
    event = verify(request.body, request.headers, SECRET)
    assert (event.type, event.subject, event.source, event.data) == ("t.x", "u", "/s", found)


def test_cloudevents_binary():
    """The `ce-` headers of a binary CloudEvent are read, percent-encoding undone."""
    ce = {
        "ce-id": "1",
        "ce-type": "t.x",
        "ce-source": "/a%20b",
        "ce-time": "2026-01-02T03:04:05Z",
        "ce-subject": "100%",
    }
    request = sent(body=b'{"type": "not.this", "data": 1}', headers=ce)
    event = verify(request.body, request.headers, SECRET)
    assert (event.type, event.source, event.subject) == ("t.x", "/a b", "100%")
    assert event.data == {"type": "not.this", "data": 1}
    assert event.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"{", b"[NaN]", b"\xff", b'{"a": "\xed\xa0\x80"}', b"[" * 200 + b"]" * 200])
def test_json_that_is_none_is_said_to_be_so(body: bytes):
    """A genuine body that cannot be read is an event that says why, with its bytes."""
    request = sent(body=body)
    event = verify(request.body, request.headers, SECRET)
    assert event.malformed.startswith("The body is ")
    assert event.data == body


def test_an_event_does_not_show_what_it_holds():
    """Neither the payload nor the headers nor the address of the confirmation stand in its representation."""
    request = sent({"card": "4242"}, headers={"hookline-confirm-url": "https://h.example/c/t0ken"})
    shown = repr(verify(request.body, request.headers, SECRET))
    assert "4242" not in shown
    assert "t0ken" not in shown
    assert "v1," not in shown


# ------------------------------------------------------------------------------------------------- what is refused


def test_reasons_have_their_classes():
    """Each reason is of the class that an application would catch it by."""
    request = sent(at_s=NOW_S)
    body, headers = request.body, request.headers
    cases = [
        (body, {}, SECRET, SignatureMissing, "missing_header", 401),
        (body, [*headers.items(), ("Webhook-Id", "msg_1")], SECRET, SignatureMalformed, "repeated_header", 401),
        (body, headers | {"webhook-id": "a.b"}, SECRET, SignatureMalformed, "invalid_id", 401),
        (body, headers | {"webhook-timestamp": "1.7e9"}, SECRET, SignatureMalformed, "invalid_timestamp", 401),
        (body, headers | {"webhook-signature": "é"}, SECRET, SignatureMalformed, "invalid_signature_header", 401),
        (body, headers | {"webhook-signature": "v1 " * 20}, SECRET, SignatureMalformed, "too_many_signatures", 401),
        (body + b" ", headers, SECRET, SignatureMismatch, "no_matching_signature", 401),
        (body, headers, OTHER, SignatureMismatch, "no_matching_signature", 401),
        (body, headers, "whsec_", Unverifiable, "invalid_secret", 500),
        (body, headers, "secret", Unverifiable, "invalid_secret", 500),
        (body, headers, [], Unverifiable, "invalid_secret", 500),
        (body, headers, [SECRET] * 17, Unverifiable, "invalid_secret", 500),
        (body, headers, None, Unverifiable, "invalid_secret", 500),
        (body, headers, [None], Unverifiable, "invalid_secret", 500),
        (body, None, SECRET, Unverifiable, "unusable_headers", 500),
        (body, [1], SECRET, Unverifiable, "unusable_headers", 500),
        (body, {"a": 1}, SECRET, Unverifiable, "unusable_headers", 500),
        (body.decode(), headers, SECRET, Unverifiable, "unusable_body", 500),
        (None, headers, SECRET, Unverifiable, "unusable_body", 500),
    ]
    for given_body, given_headers, secret, kind, reason, status in cases:
        error = refusal(given_body, given_headers, secret, now=NOW_S)
        assert (type(error), error.reason, error.status) == (kind, reason, status)


def test_the_tolerance_is_kept_both_ways():
    """300 s pass in both directions, 301 s do not, and another tolerance may be set, also none."""
    request = sent(at_s=NOW_S)
    for now in (NOW_S - 300, NOW_S + 300):
        verify(request.body, request.headers, SECRET, now=now)
    for now, reason in ((NOW_S - 301, "too_new"), (NOW_S + 301, "too_old")):
        error = refusal(request.body, request.headers, SECRET, now=now)
        assert (type(error), error.reason) == (TimestampOutsideTolerance, reason)
    verify(request.body, request.headers, SECRET, now=NOW_S, tolerance_s=0)
    assert refusal(request.body, request.headers, SECRET, now=NOW_S + 1, tolerance_s=0).reason == "too_old"


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1, "300", None, True, 10**400, [1]])
def test_odd_times_are_refused_and_let_nothing_through(odd: Any):
    """What is no number of seconds is refused as a setting, and never makes an old message a new one."""
    request = sent(at_s=NOW_S - 10_000)
    assert refusal(request.body, request.headers, SECRET, now=NOW_S, tolerance_s=odd).reason == "unusable_setting"
    if odd is not None:
        assert refusal(request.body, request.headers, SECRET, now=odd).reason == "unusable_setting"


def test_a_released_memoryview_is_refused():
    """A buffer that is gone is a refusal."""
    view = memoryview(b"x")
    view.release()
    assert refusal(view, {}, SECRET).reason == "unusable_body"


class Hostile:
    """Headers that raise when they are read."""

    def items(self) -> Any:
        """Raises."""
        raise KeyError("no")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=80),
    st.binary(max_size=80),
    st.just(Hostile()),
)
NAMES = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "Content-Type", "svix-id", "ce-type"])
VALUES = st.one_of(JUNK, st.lists(JUNK, max_size=3))
HEADERS = st.one_of(
    JUNK,
    st.dictionaries(st.one_of(NAMES, JUNK.filter(lambda one: not isinstance(one, Hostile))), VALUES, max_size=6),
    st.lists(st.one_of(JUNK, st.tuples(st.one_of(NAMES, JUNK), VALUES)), max_size=6),
)


@given(
    st.one_of(JUNK, st.just(bytearray(b"x"))),
    HEADERS,
    st.one_of(JUNK, st.lists(JUNK, max_size=3), st.sampled_from([SECRET, ED_PUBLIC])),
    VALUES,
    VALUES,
)
def test_whatever_is_passed_one_tree_is_raised(body: Any, headers: Any, secret: Any, tolerance_s: Any, now: Any):
    """Nothing of what can be passed raises anything but a `VerificationError`, nor is let through."""
    with pytest.raises(VerificationError) as error:
        verify(body, headers, secret, tolerance_s=tolerance_s, now=now)
    assert error.value.reason
    assert error.value.status in (401, 500)


@given(st.dictionaries(NAMES, st.one_of(st.text(max_size=100), st.binary(max_size=100)), max_size=6), st.binary())
def test_whatever_comes_with_a_good_signature_is_an_event(headers: Any, body: bytes):
    """A signed body of any bytes and with any other headers is an event."""
    request = sent(body=body, at_s=NOW_S)
    extra = {name: value for name, value in headers.items() if not name.startswith(("webhook-", "svix-"))}
    event = verify(body, {**extra, **request.headers}, SECRET, now=NOW_S)
    assert isinstance(event, Event)
    assert event.body == body
