"""What `POST /v1/events` takes: one event, an array of events, or CloudEvents in any of their modes.

Hookline's own form is `{"type", "data"}` and optional `id source subject time ordering_key deliver_at
correlation_id`; an unknown member is refused. `data` is any JSON value, also `null`; its bytes are kept exactly as
they were written. This is the hot path: one decode by msgspec, which copies the payload and reads no more of it than
its syntax; everything exact but slow (depth, keys that are there twice, words for what is wrong) is behind a cheap
test that nearly every request passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from hookline.core import cloudevents
from hookline.core.draft import (
    SOURCE_BYTES_MAX,
    Draft,
    check_size,
    check_text,
    check_time,
    deliver_at_ms,
    event_of,
    is_publishable,
    refuse_type,
    trace,
)
from hookline.core.errors import Refusal
from hookline.core.event import BATCH_ITEMS_MAX, EVENT_BYTES_MAX, JSON, JSON_DEPTH_MAX
from hookline.core.json_text import check_depth, check_keys, check_utf8, decoded, media_type

__all__ = ["Draft", "Publication", "event_of", "parse_publication"]

CONTENT_TYPE_CHARS_MAX: Final = 255
_ACCEPTED: Final = (
    "Accepted are application/json, application/cloudevents+json and application/cloudevents-batch+json, each in "
    "UTF-8, and CloudEvents in binary mode (ce-specversion, ce-id, ce-source, ce-type) with any content type."
)
_SPACE: Final = b" \t\r\n"
_SHALLOW_BYTES: Final = 2 * (JSON_DEPTH_MAX - 1)
_QUOTES_MIN: Final = 6
"""Those of `"type": "…", "data":`."""


class Publication(msgspec.Struct):
    """What a request asks to publish. `batch`: it was an array, so each item is judged and answered alone."""

    drafts: list[Draft | Refusal]
    batch: bool = False


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str
    data: Raw
    id: str | None = None
    source: str | None = None
    subject: str | None = None
    time: str | None = None
    ordering_key: str | None = None
    deliver_at: str | None = None
    correlation_id: str | None = None


# An array of at most so many items, decoded without making an object for each one of the millions that 16 MiB of
# "[0,0,0…" hold: msgspec stops at the first item too many of a positional struct, but not of a list.
_Items = msgspec.defstruct(
    "_Items",
    [(f"item_{n}", Raw, msgspec.UNSET) for n in range(BATCH_ITEMS_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
)

_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items = msgspec.json.Decoder(_Items).decode


def parse_publication(content_type: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> Publication:
    """The events of a request, all attributes checked.

    `headers` has lower-case names; `ce-*`, `traceparent` and `tracestate` are read. `now_ms` is the store's clock.
    Raises `Refusal` where the request as a whole cannot be read; a bad item of an array is a `Refusal` in `drafts`,
    with a pointer that begins with its index.
    """
    mode = _mode(content_type) if len(content_type) <= CONTENT_TYPE_CHARS_MAX else ""
    if mode == "structured":
        check_utf8(body)
        return Publication([cloudevents.parse_structured(body, headers, now_ms)])
    if mode == "batch":
        return _batch(body, headers, now_ms, cloudevents.parse_item)
    if headers and cloudevents.is_binary(headers):
        return Publication([cloudevents.parse_binary(content_type, headers, body, now_ms)])
    if mode != "json":
        raise Refusal("unsupported_media_type", _ACCEPTED)
    if body[:1] != b"{" and body.lstrip(_SPACE)[:1] == b"[":
        return _batch(body, headers, now_ms, _parse_event)
    if not body.isascii():
        check_utf8(body)
    return Publication([_parse_event(body, headers, now_ms)])


@lru_cache(maxsize=256)
def _mode(content_type: str) -> str:
    essence, charset = media_type(content_type)
    if charset not in (None, "utf-8", "utf8"):
        return ""
    # The batch first: its type begins with the other one's (CloudEvents HTTP binding, 1.3).
    if essence == "application/cloudevents-batch+json":
        return "batch"
    if essence == "application/cloudevents+json":
        return "structured"
    return "json" if essence == JSON else ""


def _batch(
    body: bytes,
    headers: Mapping[str, str],
    now_ms: int,
    parse: Callable[[bytes, Mapping[str, str], int], Draft],
) -> Publication:
    check_utf8(body)
    drafts: list[Draft | Refusal] = []
    for place, item in enumerate(_items(body)):
        try:
            drafts.append(parse(bytes(item), headers, now_ms))
        except Refusal as refusal:
            refusal.pointer = f"/{place}{refusal.pointer or ''}"
            drafts.append(refusal)
    return Publication(drafts, batch=True)


def _items(body: bytes) -> list[Raw]:
    try:
        items = _decode_items(body)
    except msgspec.ValidationError as error:
        if "of at most length" in str(error):
            detail = f"A batch has at most {BATCH_ITEMS_MAX} events."
            raise Refusal("batch_too_large", detail) from None
        items = decoded(_decode_items, body)
    except (msgspec.DecodeError, RecursionError):
        items = decoded(_decode_items, body)
    found = [item for item in msgspec.structs.astuple(items) if item is not msgspec.UNSET]
    if not found:
        raise Refusal("empty_batch", "The array is empty.")
    return found


def _parse_event(body: bytes, headers: Mapping[str, str], now_ms: int) -> Draft:
    try:
        envelope = _decode_envelope(body)
    except (msgspec.DecodeError, RecursionError):
        envelope = decoded(_decode_envelope, body)
    data = bytes(envelope.data)
    size_bytes = len(data)
    # Depth d takes 2 d brackets, the envelope is one level, and most have fewer than 128 of what opens.
    if size_bytes > _SHALLOW_BYTES:
        if size_bytes > EVENT_BYTES_MAX:
            check_size(data)
        # Taking a few out looks for them a word at a time, counting them all byte by byte.
        bare = data.replace(b"{", b"", JSON_DEPTH_MAX).replace(b"[", b"", JSON_DEPTH_MAX)
        if size_bytes - len(bare) >= JSON_DEPTH_MAX:
            check_depth(data, JSON_DEPTH_MAX - 1)
    if not is_publishable(envelope.type):
        refuse_type(envelope.type)
    # A member that is there twice is refused: a decoder takes the last, a person may have meant the first. Without an
    # escape each member has four quotes (`data` two and its own); one more member has at least two more.
    rest = body[: -1 - size_bytes] if body.endswith(data, 0, -1) else _without(body, data)
    quotes = rest.count(b'"')
    escaped = rest.find(b"\\") >= 0  # a third of what `in` costs
    if quotes == _QUOTES_MIN and not escaped:
        draft = Draft(envelope.type, data)  # nothing but the type and the payload
    else:
        expected = _QUOTES_MIN + _check_attributes(envelope)
        if quotes != expected or escaped:
            check_keys(body, _decode_members(body))
        draft = _draft(envelope, data, now_ms)
    if headers:
        draft.traceparent, draft.tracestate = trace(headers)
    return draft


def _draft(envelope: _Envelope, data: bytes, now_ms: int) -> Draft:
    return Draft(
        envelope.type,
        data,
        JSON,
        envelope.source or "",
        envelope.id,
        envelope.subject,
        envelope.time,
        envelope.ordering_key,
        None if envelope.deliver_at is None else deliver_at_ms(envelope.deliver_at, now_ms),
        envelope.correlation_id,
    )


def _check_attributes(envelope: _Envelope) -> int:
    """Check the optional members; how many quotes they have if none has an escape: four each."""
    quotes = 0
    if envelope.id is not None:
        check_text(envelope.id, "id")
        quotes += 4
    if envelope.source is not None:
        check_text(envelope.source, "source", SOURCE_BYTES_MAX)
        quotes += 4
    if envelope.subject is not None:
        check_text(envelope.subject, "subject")
        quotes += 4
    if envelope.time is not None:
        check_time(envelope.time)
        quotes += 4
    if envelope.ordering_key is not None:
        check_text(envelope.ordering_key, "ordering_key")
        quotes += 4
    if envelope.deliver_at is not None:
        quotes += 4
    if envelope.correlation_id is not None:
        check_text(envelope.correlation_id, "correlation_id")
        quotes += 4
    return quotes


def _without(body: bytes, data: bytes) -> bytes:
    """The rest of the body. It is the same bytes wherever its bytes are taken out, so any place will do."""
    at = body.rfind(data)
    return body[:at] + body[at + len(data) :]
