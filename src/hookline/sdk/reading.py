"""What a body says: the payload as a value, and the type and the time of an event of ours in each of its formats."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hookline.core import mapped, percent
from hookline.core.verifiers.json_body import BodyError, parse

_STRUCTURED = "application/cloudevents+json"
_PERHAPS_JSON = ("text/plain", "application/octet-stream")
"""What senders of JSON say who do not say that it is JSON, SNS among them."""


class Said(NamedTuple):
    """What an event says of itself."""

    type: str
    time: str
    data: Any
    malformed: str = ""
    subject: str | None = None
    source: str | None = None


class Value(NamedTuple):
    """A body as a value; `malformed` says why it cannot be had: `data` are its bytes then."""

    data: Any
    malformed: str = ""


def value_of(body: bytes, content_type: str, *, loose: bool = False) -> Value:
    """JSON as its value; a form, urlencoded or multipart, and XML as `core.mapped` has them; anything else as its
    bytes. XML needs defusedxml, without which it is its bytes too.

    An empty body is None. What does not say what it is is JSON, if it can be read so; with `loose` also what says that
    it is a text or bytes. What is not what it says that it is is malformed.
    """
    if not body:
        return Value(None)
    if not content_type or (loose and content_type.partition(";")[0].strip().lower() in _PERHAPS_JSON):
        try:
            return Value(parse(body))
        except BodyError:
            return Value(body)
    try:
        return Value(mapped.value_of(content_type, body) if mapped.kind_of(content_type) else body)
    except mapped.MappedError as error:
        return Value(body, f"The body is {error}.")
    except ImportError:
        return Value(body)


def said(body: bytes, headers: Mapping[str, str]) -> Said:
    """What a delivery of ours says, whatever the endpoint's `format`. Never raises."""
    content_type = headers.get("content-type", "")
    value, malformed = value_of(body, content_type)
    if "ce-type" in headers and "ce-id" in headers:
        told = {name: _attribute(headers.get(f"ce-{name}")) for name in ("type", "time", "subject", "source")}
        return Said(told["type"] or "", told["time"] or "", value, malformed, told["subject"], told["source"])
    if not isinstance(value, dict):
        return Said("", "", value, malformed)
    kind, time = _word(value, "type") or "", _word(value, "time") or _word(value, "timestamp") or ""
    if content_type.partition(";")[0].strip().lower() == _STRUCTURED:
        data, malformed = _structured(value)
        return Said(kind, time, data, malformed, _word(value, "subject"), _word(value, "source"))
    return Said(kind, time, value["data"] if kind and "data" in value else value)


def instant(text: str, otherwise_s: float) -> datetime:
    """An RFC 3339 time; `otherwise_s` since 1970 where it is none. Never raises."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        return datetime.fromtimestamp(otherwise_s, UTC)
    return found


def _structured(value: Mapping[str, Any]) -> Value:
    encoded = value.get("data_base64")
    if not isinstance(encoded, str):
        return Value(value.get("data"))
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return Value(encoded, "data_base64 is not base64.")
    return value_of(data, _word(value, "datacontenttype") or "")


def _attribute(value: str | None) -> str | None:
    try:
        return None if value is None else percent.decode(value)
    except ValueError:
        return value


def _word(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    return found if isinstance(found, str) else None
