"""What a body says: the payload as a value, and the type and the time of an event of ours in each of its formats."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hookline.core import percent
from hookline.core.verifiers.json_body import BodyError, parse
from hookline.sdk.errors import MalformedBody

_STRUCTURED = "application/cloudevents+json"


class Said(NamedTuple):
    """What an event says of itself."""

    type: str
    time: str
    data: Any
    subject: str | None = None
    source: str | None = None


def media_type(content_type: str) -> str:
    """The media type in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether this is JSON by its content type."""
    kind = media_type(content_type)
    return kind == "application/json" or (kind.endswith("+json") and "/" in kind)


def value_of(body: bytes, content_type: str) -> Any:
    """JSON as its value, a form as a dict of texts (of lists of texts where a name is there more than once), anything
    else as its bytes. Without a content type it is JSON if it can be read as such.

    Raises `MalformedBody` for what says that it is JSON and is not; an empty body is None.
    """
    kind = media_type(content_type)
    if kind == "application/x-www-form-urlencoded":
        return _form(body)
    if kind and not is_json(kind):
        return body
    if not body:
        return None
    try:
        return parse(body)
    except BodyError as error:
        if not kind:
            return body
        raise MalformedBody("malformed_body", f"The body is {error}.") from None


def said(body: bytes, headers: Mapping[str, str]) -> Said:
    """What a delivery of ours says, whatever the endpoint's `format`. Raises `MalformedBody`."""
    content_type = headers.get("content-type", "")
    value = value_of(body, content_type)
    if "ce-type" in headers and "ce-id" in headers:
        attribute = {name: _attribute(headers.get(f"ce-{name}")) for name in ("type", "time", "subject", "source")}
        return Said(attribute["type"] or "", attribute["time"] or "", value, attribute["subject"], attribute["source"])
    if not isinstance(value, dict):
        return Said("", "", value)
    kind, time = _word(value, "type") or "", _word(value, "time") or _word(value, "timestamp") or ""
    if media_type(content_type) == _STRUCTURED:
        return Said(kind, time, _structured(value), _word(value, "subject"), _word(value, "source"))
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


def _structured(value: Mapping[str, Any]) -> Any:
    encoded = value.get("data_base64")
    if not isinstance(encoded, str):
        return value.get("data")
    try:
        return value_of(binascii.a2b_base64(encoded, strict_mode=True), _word(value, "datacontenttype") or "")
    except ValueError:
        raise MalformedBody("malformed_body", "data_base64 is not base64.") from None


def _attribute(value: str | None) -> str | None:
    try:
        return None if value is None else percent.decode(value)
    except ValueError:
        return value


def _word(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    return found if isinstance(found, str) else None


def _form(body: bytes) -> dict[str, Any]:
    from urllib.parse import parse_qsl

    found: dict[str, Any] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found
