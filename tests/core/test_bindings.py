"""CloudEvents in the messages of brokers."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.bindings import AMQP, BINDINGS, KAFKA, MQTT, NATS, REDIS, Binding, decode, encode, key_of
from hookline.core.body import FORMATS
from hookline.core.draft import event_of
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.core.page import format_time
from hookline.testing.clock import START_WALL_MS
from hookline.testing.samples import full_event, sample_event

STRUCTURED = "application/cloudevents+json"
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"}
FULL = full_event(content_type="application/octet-stream; a=b")
ids_of = [binding.name for binding in BINDINGS]


def named(binding: Binding, attributes: dict) -> dict:
    """Attributes as the headers of a message in binary mode."""
    return {binding.prefixes[0] + name: value for name, value in attributes.items()}


def read(binding: Binding, message_headers: dict, body: bytes = b"", content_type: str | None = None):
    """The draft of a message; its content type goes where the binding has it."""
    if content_type is not None and binding.header:
        message_headers = {**message_headers, "content-type": content_type}
    return decode(binding, None if binding.header else content_type, message_headers, body, START_WALL_MS)


def sent(event: Event, body_format: str, binding: Binding):
    """The draft of an event that went through a message."""
    message = encode(event, body_format, binding)
    headers = {}
    for name, value in message.headers:
        assert name not in headers
        headers[name] = value if binding.typed else str(value).encode()  # as they come off the wire
    content_type = None if binding.header else message.content_type
    return decode(binding, content_type, headers, message.body.render(event.data), START_WALL_MS)


def as_sent(event: Event, body_format: str, binding: Binding) -> Event:
    """The event as a receiver may expect it: with the attributes that every CloudEvent has."""
    extensions = event.extensions
    if extensions and body_format == "cloudevents-binary" and not binding.typed:
        extensions = {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in extensions.items()
        }
    return msgspec.structs.replace(
        event,
        source=event.source or "/hookline/default",
        source_id=event.source_id or event.public_id,
        time=event.time or format_time(event.accepted_at_ms),
        extensions=extensions,
        hops=0,
        inbound=None,
    )


def refusal_of(*arguments, **more) -> Refusal:
    with pytest.raises(Refusal) as refused:
        read(*arguments, **more)
    return refused.value


# ------------------------------------------------------------------------------------------------------- write


def test_amqp_keeps_types_and_prefixes_with_a_colon():
    """AMQP binding 1.0.2, 3.1.3: application properties `cloudEvents:…`, native types, content-type a property."""
    message = encode(full_event(), "cloudevents-binary", AMQP)
    headers = dict(message.headers)
    assert message.content_type == full_event().content_type
    assert headers["cloudEvents:specversion"] == "1.0"
    assert headers["cloudEvents:flag"] is True
    assert headers["cloudEvents:number"] == -(2**31)
    assert headers["cloudEvents:subject"] == "sku/é"
    assert "content-type" not in headers


def test_kafka_has_texts_with_an_underscore():
    """Kafka binding, 3.2.3: headers `ce_…` in UTF-8, the content type a header, never an attribute."""
    headers = dict(encode(full_event(), "cloudevents-binary", KAFKA).headers)
    assert headers["content-type"] == full_event().content_type
    assert headers["ce_subject"] == "sku/é"
    assert headers["ce_flag"] == "true"
    assert headers["ce_number"] == "-2147483648"
    assert "ce_datacontenttype" not in headers


def test_nats_is_percent_encoded():
    """NATS binding 1.0.3, 3.1.3: headers `ce-…`, `datacontenttype` among them, everything else than ASCII encoded."""
    event = sample_event(subject="Euro € 😀")
    headers = dict(encode(event, "cloudevents-binary", NATS).headers)
    assert headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert headers["ce-datacontenttype"] == "application/json"
    assert "content-type" not in headers


def test_mqtt_has_no_prefix():
    """MQTT binding, 3.1.3: attribute names are those of the user properties."""
    message = encode(full_event(), "cloudevents-binary", MQTT)
    headers = dict(message.headers)
    assert (headers["id"], headers["flag"]) == (full_event().source_id, "true")
    assert message.content_type == full_event().content_type
    assert "content-type" not in headers


@pytest.mark.parametrize("binding", BINDINGS, ids=ids_of)
def test_structured_mode_is_one_document_everywhere(binding):
    """The body holds everything, and its type says so where the protocol has a place for it."""
    message = encode(sample_event(), "cloudevents", binding)
    assert message.content_type == STRUCTURED
    assert message.headers == ([("content-type", STRUCTURED)] if binding.header else [])
    assert message.body.render(sample_event().data).startswith(b'{"specversion":"1.0"')


@pytest.mark.parametrize("body_format", ["raw", "standard"])
@pytest.mark.parametrize("binding", BINDINGS, ids=ids_of)
def test_other_formats_are_no_cloudevents(binding, body_format):
    """A message in a format of ours has a content type and no attributes; it is not read as a CloudEvent."""
    message = encode(sample_event(), body_format, binding)
    assert message.headers == ([("content-type", "application/json")] if binding.header else [])
    assert sent(sample_event(), body_format, binding) is None


def test_the_key_is_the_ordering_key():
    """Events of one lane share their message's key."""
    assert key_of(full_event()) == "sku-é"
    assert key_of(sample_event()) is None


# -------------------------------------------------------------------------------------------------------- read


@pytest.mark.parametrize("body_format", ["cloudevents", "cloudevents-binary"])
@pytest.mark.parametrize("binding", BINDINGS, ids=ids_of)
@pytest.mark.parametrize("event", [sample_event(), FULL, sample_event(data=b"")], ids=["small", "full", "none"])
def test_what_is_written_is_read_again(binding, body_format, event):
    """Each binding gives back the event, its payload byte for byte."""
    draft = sent(event, body_format, binding)
    assert event_of(draft, event.id, event.tenant) == as_sent(event, body_format, binding)


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
_EXTENSIONS = st.dictionaries(
    st.from_regex(r"x[a-z0-9]{0,18}", fullmatch=True),
    _TEXTS | st.booleans() | st.integers(-(2**31), 2**31 - 1),
    max_size=4,
)


@given(
    binding=st.sampled_from(BINDINGS),
    body_format=st.sampled_from(["cloudevents", "cloudevents-binary"]),
    data=st.binary(max_size=200),
    texts=st.tuples(_TEXTS, _TEXTS, _TEXTS, _TEXTS),
    extensions=_EXTENSIONS,
)
def test_any_event_survives_any_binding(binding, body_format, data, texts, extensions):
    """Whatever its texts, extensions and bytes are, an event comes out of a message as it went in."""
    source, source_id, subject, ordering_key = texts
    event = sample_event(
        data=data,
        content_type="application/octet-stream",
        source=source,
        source_id=source_id,
        subject=subject,
        ordering_key=ordering_key,
        extensions=extensions or None,
    )
    draft = sent(event, body_format, binding)
    assert event_of(draft, event.id, event.tenant) == as_sent(event, body_format, binding)


@given(
    binding=st.sampled_from(BINDINGS),
    headers=st.dictionaries(
        st.sampled_from(
            [prefix + name for prefix in ("ce_", "ce-", "cloudEvents_", "") for name in [*LEAST, "time", "X", "data"]]
            + ["content-type", "Content-Type", "traceparent"]
        ),
        st.sampled_from([*LEAST.values(), STRUCTURED, b"\xff", b"1.0", "%ff", '"', 7, True]) | st.text(max_size=5),
    ),
    content_type=st.sampled_from([None, "", "a/b", STRUCTURED, "application/cloudevents", "application/json"]),
    body=st.binary(max_size=20) | st.just(b'{"specversion":"1.0","id":"1","source":"/s","type":"a"}'),
)
def test_no_message_breaks_the_decoder(binding, headers, content_type, body):
    """Any message is an event, no CloudEvent, or refused with a code."""
    try:
        draft = decode(binding, content_type, headers, body, START_WALL_MS)
    except Refusal:
        return
    assert draft is None or draft.type


def test_both_prefixes_of_amqp_are_read():
    """Version 1.0.3 of the binding writes `cloudEvents_`, older ones `cloudEvents:`."""
    for prefix in ("cloudEvents:", "cloudEvents_"):
        draft = read(AMQP, {prefix + name: value for name, value in LEAST.items()}, b"x", "text/plain")
        assert (draft.type, draft.data, draft.content_type) == ("a.b", b"x", "text/plain")


def test_names_of_nats_are_in_any_case():
    """NATS header names are case-insensitive."""
    draft = read(NATS, {f"CE-{name.upper()}": value for name, value in LEAST.items()})
    assert (draft.type, draft.source_id) == ("a.b", "1")


def test_others_user_properties_are_no_attributes():
    """What could be no attribute's name is not one: MQTT's have no prefix."""
    draft = read(MQTT, {**LEAST, "webhook-id": "evt_1", "Colour": "red", "data": "x", "mine": "1"})
    assert draft.extensions == {"mine": "1"}


@pytest.mark.parametrize("binding", BINDINGS, ids=ids_of)
def test_a_message_without_all_required_attributes_is_none(binding):
    """Three of the four are not enough, so that messages of others are not refused for a header of their own."""
    for missing in LEAST:
        attributes = {name: value for name, value in LEAST.items() if name != missing}
        assert read(binding, named(binding, attributes), b"{}", "application/json") is None


@pytest.mark.parametrize("binding", BINDINGS, ids=ids_of)
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"specversion": "0.3"}, "/specversion"), ({"time": "yesterday"}, "/time"), ({"source": ""}, "/source")],
)
def test_a_wrong_attribute_is_refused_where_it_is(binding, changes, pointer):
    """What is a CloudEvent, but no correct one, is refused with the attribute's pointer."""
    refusal = refusal_of(binding, named(binding, {**LEAST, **changes}))
    assert (refusal.code, refusal.pointer) == ("invalid_cloudevent", pointer)


def test_a_prefixed_name_that_can_be_none_is_refused():
    """A header with the prefix is meant as an attribute."""
    assert refusal_of(KAFKA, {**named(KAFKA, LEAST), "ce_A-B": "x"}).pointer == "/A-B"


@pytest.mark.parametrize("binding", [KAFKA, MQTT, REDIS], ids=["kafka", "mqtt", "redis"])
def test_bytes_that_are_no_text_are_refused(binding):
    """A header's value is UTF-8."""
    assert refusal_of(binding, named(binding, {**LEAST, "subject": b"\xff"})).pointer == "/subject"


@pytest.mark.parametrize("content_type", ["application/cloudevents-batch+json", "application/cloudevents+avro"])
def test_other_formats_of_the_specification_are_refused(content_type):
    """A batch is no message of any binding, and JSON is the one format."""
    assert refusal_of(KAFKA, {}, b"[]", content_type).code == "unsupported_media_type"


def test_the_messages_own_trace_wins():
    """`traceparent` as a header is the last hop's, the attribute is where the trace began."""
    headers = {**named(KAFKA, LEAST), "ce_traceparent": TRACE.replace("1", "3"), "traceparent": TRACE.encode()}
    assert read(KAFKA, headers).traceparent == TRACE


def test_structured_mode_is_told_by_the_content_type_alone():
    """Attributes as headers beside a structured body do not matter."""
    body = (
        b'{"specversion":"1.0","id":"1","source":"/s","type":"a","datacontenttype":"a/b","data_base64":"%b"}'
        % base64.b64encode(b"\x00")
    )
    draft = read(REDIS, {"ce_type": "other"}, body, STRUCTURED + "; charset=UTF-8")
    assert (draft.type, draft.data) == ("a", b"\x00")


def test_every_format_has_its_message():
    """Each format that an endpoint may ask for is written."""
    for body_format in FORMATS:
        assert encode(full_event(), body_format, KAFKA).body.render(b"1")
