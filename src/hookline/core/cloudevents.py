"""CloudEvents 1.0: how its three modes over HTTP are read, and its attributes are written.

    structured   application/cloudevents+json: attributes and data in one JSON object
    batched      application/cloudevents-batch+json: an array of those
    binary       `ce-*` headers, the body is the data, Content-Type is its `datacontenttype`

The attributes are the event's: `id` is the publisher's own id. Extension attributes that we know become the event's
fields, and are written again as the same attributes: `orderingkey`, `correlationid`, `causationid` (the correlation
extension), `deliverat`, `traceparent` and `tracestate` (distributed tracing; the request's headers of the same name
win, except over those of a batch). `partitionkey` (the partitioning extension) is taken as the ordering key where
there is no `orderingkey`. All others are kept as they are.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hookline.core import percent
from hookline.core.draft import (
    SOURCE_BYTES_MAX,
    TEXT_BYTES_MAX,
    Draft,
    check_payload,
    check_size,
    check_text,
    check_time,
    deliver_at_ms,
    is_publishable,
    refuse_type,
    trace,
)
from hookline.core.errors import Refusal
from hookline.core.event import JSON, JSON_DEPTH_MAX, Event
from hookline.core.json_text import check_depth, check_keys, decoded, is_json, pointer
from hookline.core.page import format_time

STRUCTURED: Final = "application/cloudevents+json"
REQUIRED: Final = ("specversion", "id", "source", "type")
EXTENSIONS_MAX: Final = 64
EXTENSION_BYTES_MAX: Final = 2048
ATTRIBUTES_BYTES_MAX: Final = 16 * 1024

_CODE: Final = "invalid_cloudevent"
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,64}")
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:;[\t\x20-\x7e]*)?")
_PLAIN: Final = re.compile(r"[!#$&-~]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')

Attributes = dict[str, str | int | bool]


class _Structured(msgspec.Struct, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    data: Raw | UnsetType = UNSET
    data_base64: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    subject: str | None = None
    time: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    orderingkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    deliverat: str | None = None


KNOWN: Final = frozenset(_Structured.__struct_fields__)
_TEXTS: Final = tuple(name for name in _Structured.__struct_fields__ if name not in ("data", "data_base64"))

_decode_structured = msgspec.json.Decoder(_Structured).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_extension = msgspec.json.Decoder(str | int | bool | None).decode
_decode_text = msgspec.json.Decoder(str).decode

# -------------------------------------------------------------------------------------------------------- read


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether a request that is not `application/cloudevents…` is an event in binary mode (or a bad attempt at it)."""
    return "ce-specversion" in headers or "ce-id" in headers or "ce-source" in headers or "ce-type" in headers


def parse_structured(body: bytes, headers: Mapping[str, str], now_ms: int) -> Draft:
    """The event of a structured request. `body` is UTF-8. Raises `Refusal`."""
    draft = parse_item(body, {}, now_ms)
    traceparent, tracestate = trace(headers)
    if traceparent is not None:
        draft.traceparent, draft.tracestate = traceparent, tracestate
    return draft


def parse_item(text: bytes, headers: Mapping[str, str], now_ms: int) -> Draft:
    """One event of a batch; the request's trace is its own where it has none. `text` is UTF-8. Raises `Refusal`."""
    event = decoded(_decode_structured, text, code=_CODE, noun="event")
    data = b"" if event.data is UNSET else bytes(event.data)
    rest_bytes = len(text) - len(data) - len(event.data_base64 or "")
    if rest_bytes > ATTRIBUTES_BYTES_MAX:
        raise Refusal("event_too_large", f"The attributes take more than {ATTRIBUTES_BYTES_MAX} bytes.")
    attributes: Attributes = {}
    for name in _TEXTS:
        value = getattr(event, name)
        if value is not None:
            attributes[name] = value
    # Each member has four quotes, unless it is data: so there are no others and none is there twice.
    quotes = 4 * len(attributes) + (2 if data else 0) + (0 if event.data_base64 is None else 4)
    if text.count(b'"') - data.count(b'"') != quotes or text.count(b"\\") != data.count(b"\\"):
        members = _decode_members(text)
        check_keys(text, members)
        _read_extensions(members, attributes)
    content_type = _content_type(attributes.get("datacontenttype", JSON))
    payload = _payload(data, event.data_base64, content_type)
    return _draft(attributes, payload, content_type, headers, now_ms)


def parse_binary(content_type: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> Draft:
    """The event of a request in binary mode. Raises `Refusal`; what is wrong with a header says its name."""
    try:
        draft = _read_binary(content_type, headers, body, now_ms)
    except Refusal as refusal:
        if refusal.pointer is not None:  # there is no JSON to point into
            name = refusal.pointer[1:]
            refusal.extra = {"header": "content-type" if name == "datacontenttype" else f"ce-{name}"}
            refusal.pointer = None
        raise
    traceparent, tracestate = trace(headers)
    if traceparent is not None:
        draft.traceparent, draft.tracestate = traceparent, tracestate
    return draft


def _read_binary(content_type: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> Draft:
    attributes: Attributes = {}
    for header, value in headers.items():
        if header.startswith("ce-"):
            name = header[3:]
            if name not in _TEXTS:
                _check_extension_name(name)
            try:
                attributes[name] = decode_header(value)
            except ValueError as error:
                raise Refusal(_CODE, f"The header {header} {error}.", pointer=pointer(name)) from None
    if "datacontenttype" in attributes:
        detail = "Content-Type is the datacontenttype: ce-datacontenttype must not be sent."
        raise Refusal(_CODE, detail, pointer="/datacontenttype")
    for name in REQUIRED:
        if name not in attributes:
            raise Refusal(_CODE, f"The header ce-{name} is missing.", pointer=pointer(name))
    return _of_binary(attributes, content_type, body, now_ms)


def parse_attributes(attributes: Attributes, content_type: str, body: bytes, now_ms: int) -> Draft:
    """The event of a message in binary mode, its attributes taken from wherever its binding has them.

    `content_type` is the `datacontenttype`, empty where none was named. Raises `Refusal` with the attribute's pointer.
    """
    for name in attributes:
        if name not in _TEXTS:
            _check_extension_name(name)
    for name in REQUIRED:
        if name not in attributes:
            raise Refusal(_CODE, f"The attribute {name} is missing.", pointer=pointer(name))
    return _of_binary(attributes, content_type, body, now_ms)


def _of_binary(attributes: Attributes, content_type: str, body: bytes, now_ms: int) -> Draft:
    # With no type and no data there is nothing to name; data without a type is just bytes.
    content_type = _content_type(content_type) if content_type else "application/octet-stream" if body else JSON
    check_payload(body, content_type)
    return _draft(attributes, body, content_type, {}, now_ms)


def _read_extensions(members: Mapping[str, Raw], attributes: Attributes) -> None:
    for name, raw in members.items():
        if name in KNOWN:
            continue
        _check_extension_name(name)
        try:
            value = _decode_extension(raw)
        except msgspec.ValidationError:
            detail = f"The attribute {name} must be a string, an integer or a boolean."
            raise Refusal(_CODE, detail, pointer=pointer(name)) from None
        if value is not None:  # null is the same as absent
            attributes[name] = value


def is_attribute_name(name: str) -> bool:
    """Whether an attribute may have this name."""
    return _EXTENSION.fullmatch(name) is not None and name != "data"


def _check_extension_name(name: str) -> None:
    if not is_attribute_name(name):
        detail = "The name of an attribute is 1 to 64 of a-z and 0-9."
        raise Refusal(_CODE, detail, pointer=pointer(name[:TEXT_BYTES_MAX]))


def _content_type(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_BYTES_MAX or _MEDIA_TYPE.fullmatch(value) is None:
        detail = f"A content type is type/subtype and parameters, at most {TEXT_BYTES_MAX} characters."
        raise Refusal(_CODE, detail, pointer="/datacontenttype")
    return value


def _payload(data: bytes, encoded: str | None, content_type: str) -> bytes:
    """The data's own bytes (JSON event format, 3.1)."""
    if encoded is not None:
        if data:
            raise Refusal(_CODE, "Either data or data_base64, not both.", pointer="/data_base64")
        try:
            decoded_data = binascii.a2b_base64(encoded, strict_mode=True)
        except ValueError:  # also what is no ASCII
            raise Refusal(_CODE, "data_base64 is not Base64 (RFC 4648, 4).", pointer="/data_base64") from None
        check_payload(decoded_data, content_type)
        return decoded_data
    if is_json(content_type) or not data:
        check_size(data)
        check_depth(data, JSON_DEPTH_MAX - 1)
        return data
    if not data.startswith(b'"'):
        detail = f"Data of type {content_type} must be a JSON string, or be sent as data_base64."
        raise Refusal(_CODE, detail, pointer="/data")
    payload = _decode_text(data).encode()
    check_size(payload)
    return payload


def _draft(attributes: Attributes, data: bytes, content_type: str, headers: Mapping[str, str], now_ms: int) -> Draft:
    if attributes["specversion"] != "1.0":
        raise Refusal(_CODE, "The specversion must be 1.0.", pointer="/specversion")
    extensions = {name: value for name, value in attributes.items() if name not in KNOWN}
    _check_extensions(extensions)
    texts = {name: str(value) for name, value in attributes.items() if name in KNOWN}
    if not is_publishable(texts["type"]):
        refuse_type(texts["type"])
    for name, bytes_max in _BYTES_MAX.items():
        if name in texts:
            check_text(texts[name], name, bytes_max, _CODE)
    if "time" in texts:
        check_time(texts["time"], "time", _CODE)
    ordering_key = texts.get("orderingkey")
    if ordering_key is None and "partitionkey" in extensions:
        ordering_key = str(extensions["partitionkey"])
        check_text(ordering_key, "partitionkey", TEXT_BYTES_MAX, _CODE)
    # The distributed tracing extension: where the event's trace began.
    traceparent, tracestate = trace(texts)
    if traceparent is None and headers:
        traceparent, tracestate = trace(headers)
    return Draft(
        type=texts["type"],
        data=data,
        content_type=content_type,
        source=texts["source"],
        source_id=texts["id"],
        subject=texts.get("subject"),
        time=texts.get("time"),
        ordering_key=ordering_key,
        deliver_at_ms=deliver_at_ms(texts["deliverat"], now_ms, "deliverat", _CODE) if "deliverat" in texts else None,
        correlation_id=texts.get("correlationid"),
        causation_id=texts.get("causationid"),
        traceparent=traceparent,
        tracestate=tracestate,
        dataschema=texts.get("dataschema"),
        extensions=extensions or None,
    )


_BYTES_MAX: Final = {
    "id": TEXT_BYTES_MAX,
    "source": SOURCE_BYTES_MAX,
    "subject": TEXT_BYTES_MAX,
    "dataschema": SOURCE_BYTES_MAX,
    "orderingkey": TEXT_BYTES_MAX,
    "correlationid": TEXT_BYTES_MAX,
    "causationid": TEXT_BYTES_MAX,
}


def _check_extensions(extensions: Attributes) -> None:
    if len(extensions) > EXTENSIONS_MAX:
        raise Refusal(_CODE, f"An event has at most {EXTENSIONS_MAX} extension attributes.")
    total = 0
    for name, value in extensions.items():
        if isinstance(value, str):
            if value:
                check_text(value, name, EXTENSION_BYTES_MAX, _CODE)
            total += len(value.encode())
        elif not isinstance(value, bool) and not -(2**31) <= value < 2**31:
            raise Refusal(_CODE, f"The attribute {name} must be a 32-bit integer.", pointer=pointer(name))
    if total > ATTRIBUTES_BYTES_MAX:
        raise Refusal(_CODE, f"The extension attributes take more than {ATTRIBUTES_BYTES_MAX} bytes.")


def decode_header(value: str) -> str:
    """The attribute in a `ce-*` header: unquoted, then percent-decoded once (HTTP binding, 3.1.3.2).

    Strict: raises `ValueError` for characters that are not ASCII, a percent sign that encodes nothing, and bytes
    that are not UTF-8.
    """
    value = value.strip(" \t")
    if not value.isascii():
        raise ValueError("has characters that are not ASCII")
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            raise ValueError("begins a quoted string and does not end it")
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    return percent.decode(value)


# ------------------------------------------------------------------------------------------------------- write


def encode_header(value: str | int | bool) -> bytes:
    """An attribute as a `ce-*` header carries it: everything but U+0021 to U+007E, and `"` and `%`, is encoded."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    text = str(value)
    return (text if _PLAIN.fullmatch(text) else percent.encode(text, percent.VISIBLE)).encode("ascii")


def attributes_of(event: Event, time: str) -> Attributes:
    """The event's context attributes, except `datacontenttype`, in the order they are written. `time` is its own."""
    attributes: Attributes = {
        "specversion": "1.0",
        "id": event.source_id or event.public_id,
        "source": event.source or "/hookline/" + percent.encode(event.tenant, percent.UNRESERVED),
        "type": event.type,
        "time": time,
    }
    extensions = event.extensions or {}
    for name, value in (
        ("subject", event.subject),
        ("dataschema", event.dataschema),
        ("traceparent", event.traceparent),
        ("tracestate", event.tracestate),
        ("correlationid", event.correlation_id),
        ("causationid", event.causation_id),
    ):
        if value is not None:
            attributes[name] = value
    if event.ordering_key is not None and str(extensions.get("partitionkey", "")) != event.ordering_key:
        attributes["orderingkey"] = event.ordering_key
    if event.deliver_at_ms is not None:
        attributes["deliverat"] = format_time(event.deliver_at_ms)
    return {**attributes, **extensions}
