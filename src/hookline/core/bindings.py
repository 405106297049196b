"""CloudEvents 1.0 in the messages of brokers: how an event is written into one, and read from one. Pure.

    binding   attributes in binary mode              content type                     values
    AMQP      cloudEvents:id, read: cloudEvents_id   the property content-type        typed: booleans, integers, texts
    Kafka     ce_id                                  the header content-type          UTF-8
    NATS      ce-id                                  the header content-type          percent-encoded, as over HTTP
    MQTT 5    id (a user property, no prefix)        the property Content Type        UTF-8
    Redis     ce_id (a field of the stream's entry)  the field content-type           UTF-8

Structured mode is the same everywhere: the content type is `application/cloudevents+json`, the body holds everything.
The first four are the protocol bindings of the specification. For Redis there is none: this one follows Kafka's, and
the body is the field `data`. NATS has the content type of the data a second time, as `ce-datacontenttype`; in binary
mode only there.

The key of a message (a Kafka key, a field) is the event's `ordering_key`: see `key_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from hookline.core import cloudevents
from hookline.core.attempt import Body
from hookline.core.body import build_body, time_of
from hookline.core.draft import Draft, check_size, trace
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.core.json_text import check_utf8, media_type, pointer

CONTENT_TYPE: Final = "content-type"
_MEDIA_TYPE: Final = "application/cloudevents"
_CODE: Final = "invalid_cloudevent"

Value = str | int | bool | bytes
"""Of a header: bytes where the protocol has nothing else; they are UTF-8 where they are an attribute."""


class Binding(msgspec.Struct, frozen=True):
    """How one protocol carries an event."""

    name: str
    prefixes: tuple[str, ...]
    """Of attributes in binary mode: the first is written, all are read."""
    header: bool = True
    """The content type is a header, `content-type`; else the protocol has a property for it."""
    percent: bool = False
    """Values are percent-encoded, and names are in any case, as over HTTP."""
    typed: bool = False
    """Values that are booleans and integers stay so."""
    names_datacontenttype: bool = False
    """In binary mode the content type is an attribute like the others, and nothing else."""


AMQP: Final = Binding("amqp", ("cloudEvents:", "cloudEvents_"), header=False, typed=True)
KAFKA: Final = Binding("kafka", ("ce_",))
NATS: Final = Binding("nats", ("ce-",), percent=True, names_datacontenttype=True)
MQTT: Final = Binding("mqtt", ("",), header=False)
REDIS: Final = Binding("redis", ("ce_",))
BINDINGS: Final = (AMQP, KAFKA, NATS, MQTT, REDIS)


class Message(msgspec.Struct, frozen=True):
    """An event as a message."""

    body: Body
    content_type: str
    """For a protocol that has a property for it; where it is a header it is in `headers` too."""
    headers: list[tuple[str, str | int | bool]]


def key_of(event: Event) -> str | None:
    """What keeps an event's message together with, and in the order of, others of the same key."""
    return event.ordering_key


def encode(event: Event, body_format: str, binding: Binding) -> Message:
    """The event as a message in one of the formats of `core.body`. Never raises."""
    binary = body_format == "cloudevents-binary"
    # What HTTP would have as headers is of no use here: the attributes are written anew.
    body, _ = build_body(event, "raw" if binary else body_format)
    headers: list[tuple[str, str | int | bool]] = []
    if not binary:
        if binding.header:
            headers.append((CONTENT_TYPE, body.content_type))
        return Message(body, body.content_type, headers)
    attributes = cloudevents.attributes_of(event, time_of(event))
    if binding.names_datacontenttype:
        attributes["datacontenttype"] = event.content_type
    elif binding.header:
        headers.append((CONTENT_TYPE, body.content_type))
    prefix = binding.prefixes[0]
    headers += ((prefix + name, _written(value, binding)) for name, value in attributes.items())
    return Message(body, body.content_type, headers)


def _written(value: str | int | bool, binding: Binding) -> str | int | bool:
    if binding.typed:
        return value
    if binding.percent:
        return cloudevents.encode_header(value).decode("ascii")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# ---------------------------------------------------------------------------------------------------------- read


def decode(
    binding: Binding, content_type: str | None, headers: Mapping[str, Value], body: bytes, now_ms: int
) -> Draft | None:
    """The event in a message; None where the message is no CloudEvent, so that others may make something of it.

    `content_type` is that of the protocol's property; where it is a header it is found in `headers`. A message is one
    in structured mode where its content type says so, in binary mode where it has all four required attributes. One
    that is, but not a correct one, raises `Refusal` with a pointer to the attribute at fault.
    """
    if binding.percent:
        headers = {name.lower(): value for name, value in headers.items()}
    if binding.header:
        content_type = _content_type(headers)
    essence, charset = media_type(content_type or "")
    if essence.startswith(_MEDIA_TYPE):
        if essence != cloudevents.STRUCTURED or charset not in (None, "utf-8", "utf8"):
            detail = f"Of the CloudEvents formats a message may have {cloudevents.STRUCTURED} only, in UTF-8."
            raise Refusal("unsupported_media_type", detail)
        check_utf8(body)
        return cloudevents.parse_structured(body, _trace_headers(headers), now_ms)
    attributes = _attributes(binding, headers)
    if not attributes.keys() >= frozenset(cloudevents.REQUIRED):
        return None
    check_size(body)
    named = str(attributes.pop("datacontenttype", ""))
    own = (named or content_type) if binding.names_datacontenttype else (content_type or named)
    draft = cloudevents.parse_attributes(attributes, own or "", body, now_ms)
    traceparent, tracestate = trace(_trace_headers(headers))
    if traceparent is not None:
        draft.traceparent, draft.tracestate = traceparent, tracestate
    return draft


def _content_type(headers: Mapping[str, Value]) -> str | None:
    for name, value in headers.items():
        if name.lower() == CONTENT_TYPE:
            return _text(value, CONTENT_TYPE)
    return None


def _trace_headers(headers: Mapping[str, Value]) -> dict[str, str]:
    """The trace of the message itself, which is that of its last hop."""
    found: dict[str, str] = {}
    for name in ("traceparent", "tracestate"):
        value = headers.get(name)
        if isinstance(value, bytes):
            value = value.decode("latin-1")  # a bad one never refuses an event
        if isinstance(value, str):
            found[name] = value
    return found


def _attributes(binding: Binding, headers: Mapping[str, Value]) -> cloudevents.Attributes:
    attributes: cloudevents.Attributes = {}
    for header, value in headers.items():
        prefix = next((prefix for prefix in binding.prefixes if header.startswith(prefix)), None)
        if prefix is None:
            continue
        name = header[len(prefix) :]
        if not prefix and not cloudevents.is_attribute_name(name):
            continue  # a user property of somebody's own
        attributes[name] = _read(binding, name, value)
    return attributes


def _read(binding: Binding, name: str, value: Value) -> str | int | bool:
    if binding.typed and isinstance(value, bool | int):
        return value if name not in cloudevents.KNOWN else str(value)
    text = _text(value, name)
    if not binding.percent:
        return text
    try:
        return cloudevents.decode_header(text)
    except ValueError as error:
        raise Refusal(_CODE, f"The attribute {name} {error}.", pointer=pointer(name)) from None


def _text(value: Value, name: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Refusal(_CODE, f"The attribute {name} is not UTF-8.", pointer=pointer(name)) from None
    return str(value)
