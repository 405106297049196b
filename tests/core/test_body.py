"""What is sent in each format, and that it can be published again."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.attempt import BodyEncoding
from hookline.core.body import FORMATS, build_body, event_document
from hookline.core.event import Event
from hookline.core.ids import IdMaker
from hookline.core.page import format_time
from hookline.core.publish import parse_publication

NOW_MS = 1_790_000_000_123
ID = IdMaker(b"abcd").make(NOW_MS)
AT = format_time(NOW_MS)
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
ODD_JSON = b'{ "b" : 1.50, "a":[1e999, "\\u00e9"]\n, "b":2 }'


def event(**fields):
    return Event(**{"id": ID, "tenant": "default", "type": "order.created", "data": ODD_JSON, **fields})


def sent(one, body_format):
    body, headers = build_body(one, body_format)
    return body.render(one.data), body.content_type, headers


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/vnd.x+json", "application/json;charset=utf-8"]
)
def test_standard_splices_the_payload_in(content_type):
    """The standard form is type, timestamp and the payload's own bytes."""
    content, sent_type, headers = sent(event(content_type=content_type), "standard")
    assert content == b'{"type":"order.created","timestamp":"%b","data":%b}' % (AT.encode(), ODD_JSON)
    assert (sent_type, headers) == ("application/json", [])


def test_standard_says_when_it_happened():
    """The timestamp is the publisher's time as he wrote it, else that of the acceptance."""
    content, _, _ = sent(event(time="2026-01-31T23:59:60.5+01:00"), "standard")
    assert json.loads(content)["timestamp"] == "2026-01-31T23:59:60.5+01:00"


def test_an_event_without_payload_has_null_in_standard():
    """Receivers count on the member data: without a payload it is null."""
    content, _, _ = sent(event(data=b""), "standard")
    assert json.loads(content) == {"type": "order.created", "timestamp": AT, "data": None}


@pytest.mark.parametrize("body_format", ["standard", "raw"])
@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/plain; charset=latin1", "application/json; charset=utf-16"]
)
def test_what_is_not_json_goes_as_it_is(body_format, content_type):
    """A payload that is not JSON cannot stand in JSON: also the standard form sends it raw."""
    one = event(data=b"\xff<a/>\x00", content_type=content_type)
    assert sent(one, body_format) == (b"\xff<a/>\x00", content_type, [])


def test_raw_is_the_payload_alone():
    """The raw form is the payload with its own content type."""
    assert sent(event(content_type="application/vnd.x+json"), "raw") == (ODD_JSON, "application/vnd.x+json", [])
    assert sent(event(data=b""), "raw") == (b"", "application/json", [])


def full(**fields):
    return event(
        source="/shop",
        source_id='o"1',
        subject="é",
        time="2026-01-31T23:59:59Z",
        ordering_key="k",
        deliver_at_ms=NOW_MS + 1000,
        correlation_id="c",
        causation_id="b",
        traceparent=TRACE,
        tracestate="a=1",
        dataschema="https://example.com/s",
        extensions={"foo": "b%r", "n": -5, "yes": True},
        **fields,
    )


ATTRIBUTES = {
    "specversion": "1.0",
    "id": 'o"1',
    "source": "/shop",
    "type": "order.created",
    "time": "2026-01-31T23:59:59Z",
    "subject": "é",
    "dataschema": "https://example.com/s",
    "traceparent": TRACE,
    "tracestate": "a=1",
    "correlationid": "c",
    "causationid": "b",
    "orderingkey": "k",
    "deliverat": format_time(NOW_MS + 1000),
    "foo": "b%r",
    "n": -5,
    "yes": True,
}


def test_structured_has_every_attribute_and_the_payload():
    """The structured form is one JSON object: attributes, extensions, and JSON data byte for byte."""
    content, content_type, headers = sent(full(), "cloudevents")
    assert (content_type, headers) == ("application/cloudevents+json", [])
    assert content.endswith(b',"data":' + ODD_JSON + b"}")
    members = json.loads(content)
    del members["data"]
    assert members == {**ATTRIBUTES, "datacontenttype": "application/json"}


def test_structured_encodes_what_is_not_json():
    """Any other payload is Base64 in the structured form; no payload is no member."""
    content, _, _ = sent(event(data=b"\xff\x00<a/>", content_type="application/xml"), "cloudevents")
    members = json.loads(content)
    assert base64.b64decode(members["data_base64"]) == b"\xff\x00<a/>"
    assert members["datacontenttype"] == "application/xml"
    members = json.loads(sent(event(data=b""), "cloudevents")[0])
    assert set(members) == {"specversion", "id", "source", "type", "time", "datacontenttype"}


def test_an_event_of_hookline_has_the_required_attributes():
    """Where the publisher named no source and no id, they are made of the tenant and our id."""
    members = json.loads(sent(event(tenant="acme x"), "cloudevents")[0])
    assert (members["id"], members["source"], members["time"]) == ("evt_" + ID.hex(), "/hookline/acme%20x", AT)


def test_binary_has_the_attributes_as_headers():
    """The binary form is the raw payload and a `ce-` header for each attribute, percent-encoded."""
    content, content_type, headers = sent(full(content_type="application/vnd.x+json"), "cloudevents-binary")
    assert (content, content_type) == (ODD_JSON, "application/vnd.x+json")
    found = dict(headers)
    assert (found[b"ce-id"], found[b"ce-subject"], found[b"ce-foo"]) == (b"o%221", b"%C3%A9", b"b%25r")
    assert (found[b"ce-n"], found[b"ce-yes"]) == (b"-5", b"true")
    assert set(found) == {b"ce-" + name.encode() for name in ATTRIBUTES}


def test_a_partition_key_is_not_written_twice():
    """An ordering key that came as partitionkey goes as partitionkey only."""
    members = json.loads(sent(event(ordering_key="p", extensions={"partitionkey": "p"}), "cloudevents")[0])
    assert members["partitionkey"] == "p"
    assert "orderingkey" not in members
    members = json.loads(sent(event(ordering_key="o", extensions={"partitionkey": "p"}), "cloudevents")[0])
    assert (members["orderingkey"], members["partitionkey"]) == ("o", "p")


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
EXTENSIONS = st.dictionaries(
    st.from_regex(r"\Ae[a-z0-9]{0,8}\Z"), st.one_of(TEXTS, st.integers(-(2**31), 2**31 - 1), st.booleans()), max_size=3
)
EVENTS = st.builds(
    event,
    source=TEXTS,
    source_id=TEXTS,
    subject=st.none() | TEXTS,
    time=st.none() | st.just("2026-01-31T23:59:59.5Z"),
    ordering_key=st.none() | TEXTS,
    correlation_id=st.none() | TEXTS,
    causation_id=st.none() | TEXTS,
    deliver_at_ms=st.none() | st.integers(NOW_MS + 1, NOW_MS + 10**9),
    traceparent=st.none() | st.just(TRACE),
    extensions=EXTENSIONS.map(lambda found: found or None),
    data=st.one_of(st.just(b""), st.just(ODD_JSON), TEXTS.map(lambda text: json.dumps(text).encode())),
)


@pytest.mark.parametrize("body_format", ["cloudevents", "cloudevents-binary"])
@given(one=EVENTS)
def test_a_cloudevent_that_is_sent_can_be_published(body_format, one):
    """What goes out as a CloudEvent comes in as the same event; in headers every value is text."""
    content, content_type, headers = sent(one, body_format)
    names = {name.decode(): value.decode() for name, value in headers}
    (draft,) = parse_publication(content_type, names, content, NOW_MS).drafts
    fields = ("type", "data", "content_type", "source", "source_id", "subject", "ordering_key", "deliver_at_ms")
    fields += ("correlation_id", "causation_id", "traceparent", "dataschema")
    assert [getattr(draft, name) for name in fields] == [getattr(one, name) for name in fields]
    assert draft.time == (one.time or AT)
    words = {True: "true", False: "false"}
    texts = {
        name: words[value] if isinstance(value, bool) else str(value) for name, value in (one.extensions or {}).items()
    }
    assert (draft.extensions or {}) == (texts if body_format == "cloudevents-binary" else one.extensions or {})


@given(one=EVENTS, body_format=st.sampled_from(FORMATS))
def test_a_body_is_its_pieces(one, body_format):
    """Prefix, payload and suffix are the body, so that the payload need not be kept twice."""
    body, _ = build_body(one, body_format)
    content = body.render(one.data)
    assert content.startswith(body.prefix)
    assert content.endswith(body.suffix)
    if body.encoding == BodyEncoding.AS_IS:
        assert content == body.prefix + one.data + body.suffix
    if one.data and body_format != "cloudevents-binary":
        msgspec.json.decode(content, type=msgspec.Raw)


# -------------------------------------------------------------------------------------------------- documents


def test_the_document_is_what_filters_ask():
    """A filter sees the attributes, the extensions and the parsed payload; what there is not is absent."""
    one = event(data=b'{"a":1}', source="/s", source_id="1", subject="x", extensions={"foo": "bar", "id": "evil"})
    assert event_document(one) == {
        "id": "1",
        "source": "/s",
        "type": "order.created",
        "subject": "x",
        "time": AT,
        "data": {"a": 1},
        "foo": "bar",
    }
    assert event_document(event(data=b"null")) == {
        "id": "evt_" + ID.hex(),
        "type": "order.created",
        "time": AT,
        "data": None,
    }
    assert "data" not in event_document(one, data=False)


@pytest.mark.parametrize(
    ("data", "content_type", "document"),
    [
        (b"1e999", "application/json", {"data": 1.7976931348623157e308}),
        (b"", "application/json", {}),
        (b'<a b="1">x</a>', "application/xml", {"data": {"a": {"@b": "1", "#text": "x"}}}),
        (b"<!DOCTYPE a><a/>", "text/xml", {}),
        (b"a=1&b=2&a=3", "application/x-www-form-urlencoded", {"data": {"a": ["1", "3"], "b": "2"}}),
        (b' {"a":1}', "text/plain; charset=UTF-8", {"data": {"a": 1}}),
        (b"{no}", "text/plain", {}),
        (b"1", "text/plain", {}),
        (b"{", "application/json", {}),
        (b"\xff", "application/json", {}),
        (b"[" * 100_000, "application/json", {}),
        (b"1", "application/vnd.x+json", {"data": 1}),
    ],
)
def test_a_document_never_fails(data, content_type, document):
    """Whatever a payload says it is, there is a document; data is in it only if it can be read."""
    found = event_document(event(data=data, content_type=content_type))
    assert {name: value for name, value in found.items() if name == "data"} == document
