"""What is sent: an event in one of the four formats of an endpoint; and the event as filters see it.

    standard             {"type", "timestamp", "data"}, the form of Standard Webhooks 1.0
    raw                  the payload with its own content type
    cloudevents          structured mode: one JSON object, the payload as `data` or `data_base64`
    cloudevents-binary   the payload with its own content type, the attributes as `ce-*` headers

The payload is never read or written again: JSON is spliced in byte for byte. A payload that is not JSON cannot be a
member of a JSON object as it is; the format `standard` sends it as `raw` does. An event without a payload has
`"data": null` in `standard` (receivers count on the member), no `data` in `cloudevents`, and an empty body otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from hookline.core import cloudevents
from hookline.core.attempt import Body, BodyEncoding
from hookline.core.event import JSON, Event
from hookline.core.json_text import is_json, media_type, parse
from hookline.core.mapped import MappedError, kind_of, value_of
from hookline.core.page import format_time

FORMATS = ("standard", "raw", "cloudevents", "cloudevents-binary")

Header = tuple[bytes, bytes]


def build_body(event: Event, body_format: str) -> tuple[Body, list[Header]]:
    """The request's body and the headers that belong to it, without Content-Type (that is the body's).

    `body_format` is one of `FORMATS`. What says it is JSON is JSON: the door has checked it (`core.publish`).
    """
    content_type = event.content_type
    if body_format == "standard" and (content_type == JSON or is_json(content_type)):
        # A type and a time have no character that JSON escapes.
        prefix = f'{{"type":"{event.type}","timestamp":"{time_of(event)}","data":'.encode()
        if event.data:
            return Body(prefix, b"}", BodyEncoding.AS_IS, JSON), []
        return Body(prefix, b"null}", BodyEncoding.NONE, JSON), []
    if body_format == "cloudevents":
        return _structured(event), []
    headers: list[Header] = []
    if body_format == "cloudevents-binary":
        for name, value in cloudevents.attributes_of(event, time_of(event)).items():
            headers.append((b"ce-" + name.encode("ascii"), cloudevents.encode_header(value)))
    return Body(b"", b"", BodyEncoding.AS_IS, content_type), headers


def _structured(event: Event) -> Body:
    attributes = cloudevents.attributes_of(event, time_of(event))
    if not event.data:
        attributes["datacontenttype"] = event.content_type
        return Body(msgspec.json.encode(attributes), b"", BodyEncoding.NONE, cloudevents.STRUCTURED)
    attributes["datacontenttype"] = event.content_type
    prefix = msgspec.json.encode(attributes)[:-1]
    if is_json(event.content_type):
        return Body(prefix + b',"data":', b"}", BodyEncoding.AS_IS, cloudevents.STRUCTURED)
    return Body(prefix + b',"data_base64":"', b'"}', BodyEncoding.BASE64, cloudevents.STRUCTURED)


def time_of(event: Event) -> str:
    """When it happened as the publisher wrote it, else when it was accepted."""
    return event.time if event.time is not None else _instant(event.accepted_at_ms)


@lru_cache(maxsize=64)  # events of the same instant are many, those of the same second are more
def _instant(accepted_at_ms: int) -> str:
    seconds, thousandths = divmod(accepted_at_ms, 1000)
    return f"{_second(seconds)}.{thousandths:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return format_time(seconds * 1000)[:19]


def event_document(event: Event, *, data: bool = True) -> dict[str, object]:
    """The event as filters see it: `id source type subject time data` and its extension attributes.

    As in CloudEvents, `id` is the publisher's own or ours and `time` may be that of the acceptance; `source` and
    `subject` are absent where there is none, and so is `data` where the payload cannot be read (JSON as it is, forms
    and XML as `core.mapped` has them, text where it is a JSON object or array), or where `data` says that no filter
    asks for it (`Filter.needs_data`), which saves the reading. Never raises.
    """
    document: dict[str, object] = dict(event.extensions) if event.extensions else {}
    document["id"] = event.source_id or event.public_id
    document["type"] = event.type
    document["time"] = time_of(event)
    if event.source:
        document["source"] = event.source
    if event.subject is not None:
        document["subject"] = event.subject
    if data and event.data:
        found = readable(event.content_type, event.data)
        if found is not NOTHING:
            document["data"] = found
    return document


NOTHING: Final = object()


def readable(content_type: str, data: bytes) -> object:
    """A payload as a value for filters and schemas; `NOTHING` where it cannot be read as one. Never raises."""
    try:
        if is_json(content_type):
            return parse(data)
        if kind_of(content_type):
            return value_of(content_type, data)
        # SNS and others say text/plain of JSON.
        if media_type(content_type)[0] == "text/plain" and data.lstrip(b" \t\r\n")[:1] in (b"{", b"["):
            return parse(data)
    except (MappedError, ValueError):
        pass  # it is not what it says: nothing to ask for
    return NOTHING
