"""A draft: an event as a publisher sent it, before it has an id; and the checks of its attributes.

Every text of a publisher is checked here, at the door, so that nothing behind it (a column, a header, a log line)
has to wonder what is in it (docs/reliability.md, rule 3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NoReturn

import msgspec

from hookline.core.errors import Refusal
from hookline.core.event import DELIVER_AT_AHEAD_S_MAX, EVENT_BYTES_MAX, JSON, Event
from hookline.core.event_type import check_type, is_operational, is_type
from hookline.core.json_text import check_depth, check_syntax, check_utf8, is_json, pointer
from hookline.core.page import parse_time
from hookline.core.trace import parse_traceparent

TEXT_BYTES_MAX: Final = 255
SOURCE_BYTES_MAX: Final = 2048
TRACESTATE_CHARS_MAX: Final = 512

_PLAIN_TIME: Final = re.compile(
    r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z"
)
_NO_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Draft(msgspec.Struct, gc=False):
    """What a publisher asks to be accepted. The fields are those of `core.event.Event`, all checked."""

    type: str
    data: bytes
    content_type: str = JSON
    source: str = ""
    source_id: str | None = None
    subject: str | None = None
    time: str | None = None
    ordering_key: str | None = None
    deliver_at_ms: int | None = None
    """Later than now, at most 30 days; None: at once."""
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None


def event_of(draft: Draft, event_id: bytes, tenant: str) -> Event:
    """The event that a draft becomes once it has an id."""
    return Event(
        event_id,
        tenant,
        draft.type,
        draft.data,
        draft.content_type,
        draft.source or "",
        draft.source_id,
        draft.subject,
        draft.time,
        draft.ordering_key,
        draft.deliver_at_ms,
        draft.correlation_id,
        draft.causation_id,
        0,
        draft.traceparent,
        draft.tracestate,
        draft.dataschema,
        draft.extensions,
    )


def check_text(value: str, name: str, bytes_max: int = TEXT_BYTES_MAX, code: str = "invalid_event") -> None:
    """Raise `Refusal` unless `value` is 1 to `bytes_max` bytes of UTF-8 without control characters (C0, DEL, C1)."""
    if value.isascii() and value.isprintable() and 0 < len(value) <= bytes_max:
        return
    if value and _NO_TEXT.search(value) is None and len(value) <= bytes_max and len(value.encode()) <= bytes_max:
        return
    raise Refusal(
        code, f"{name} must be 1 to {bytes_max} bytes of text without control characters.", pointer=pointer(name)
    )


@lru_cache(maxsize=4096)  # a publisher sends few names very often
def is_publishable(event_type: str) -> bool:
    """Whether anyone may publish events of this type."""
    return is_type(event_type) and not is_operational(event_type)


def refuse_type(event_type: str) -> NoReturn:
    """Raise the `Refusal` (`invalid_event_type`, `reserved_event_type`) of a type that is not publishable."""
    check_type(event_type)
    raise Refusal("reserved_event_type", "Types that begin with hookline. are the server's own.", pointer="/type")


def check_size(data: bytes) -> None:
    """Raise `Refusal` (`event_too_large`) for a payload above 1 MiB."""
    if len(data) > EVENT_BYTES_MAX:
        raise Refusal("event_too_large", f"The payload has {len(data)} bytes, at most {EVENT_BYTES_MAX} are taken.")


def check_payload(data: bytes, content_type: str) -> None:
    """Raise `Refusal` (`event_too_large`, `malformed_json`, `too_deep`) unless a payload from elsewhere will do.

    What says it is JSON must be: it is spliced into bodies byte for byte.
    """
    check_size(data)
    if data and is_json(content_type):
        check_utf8(data)
        check_syntax(data)
        check_depth(data)


def check_time(value: str, name: str = "time", code: str = "invalid_event") -> None:
    """Raise `Refusal` unless `value` is an RFC 3339 time."""
    if _PLAIN_TIME.fullmatch(value) is None:  # what nearly all look like needs no calendar
        _instant_ms(value, name, code)


def _instant_ms(value: str, name: str, code: str) -> int:
    try:
        return parse_time(value)
    except Refusal as refusal:
        raise Refusal(code, refusal.detail, pointer=pointer(name)) from None


def deliver_at_ms(value: str, now_ms: int, name: str = "deliver_at", code: str = "invalid_event") -> int | None:
    """When to deliver, in ms since 1970; None: at once, because that time has come. Raises `Refusal`."""
    at_ms = _instant_ms(value, name, code)
    if at_ms > now_ms + DELIVER_AT_AHEAD_S_MAX * 1000:
        raise Refusal(code, f"{name} must be within the next 30 days.", pointer=pointer(name))
    return at_ms if at_ms > now_ms else None


def trace(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The valid `traceparent` and `tracestate` of a request, or nothing: a bad one never refuses an event."""
    parent = headers.get("traceparent")
    if parent is None or (parent := parse_traceparent(parent)) is None:
        return None, None
    state = headers.get("tracestate")
    # It is dropped whole, never cut: half a list member would be somebody else's broken state.
    good = state and len(state) <= TRACESTATE_CHARS_MAX and state.isascii() and state.isprintable()
    return parent, state if good else None
