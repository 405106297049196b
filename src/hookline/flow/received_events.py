"""A verified request becomes events, each judged by its schema; what may not pass is quarantined, or refused.

A request is answered once, so only one that is refused as a whole is refused: where some of its items may pass, the
others wait in quarantine, whatever the source says of what is invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.body import NOTHING, readable
from hookline.core.draft import check_time, trace
from hookline.core.errors import Refusal
from hookline.core.event import EVENT_BYTES_MAX, Event, Origin
from hookline.core.ids import IdMaker
from hookline.core.json_text import check_depth, check_syntax, check_utf8, cut, is_json
from hookline.core.reading import Item
from hookline.core.schema import Schema, Violation
from hookline.core.source import Source
from hookline.core.verifiers.inbound import Inbound
from hookline.flow.registry import Registry
from hookline.ports.observer import Observer
from hookline.ports.store import NewQuarantine

REQUEST: Final = "req_"
HEADERS_MAX: Final = 64
HEADERS_CHARS_MAX: Final = 16 * 1024
OPAQUE: Final = "application/octet-stream"
"""The content type of a body that says it is JSON and is not: its bytes are kept, and nobody splices them into JSON."""
_CONTENT_TYPE_CHARS_MAX: Final = 255
_KEPT: Final = "hookline.kept"
"""Where a source's `__dict__` remembers which headers it keeps."""
_NAMES_MAX: Final = 256
_NO_TRACE: Final[tuple[str | None, str | None]] = (None, None)


class Judged(msgspec.Struct):
    """The events of a request, and for each why it is to be quarantined, or None."""

    events: list[Event]
    quarantine: list[NewQuarantine | None]
    split: bool
    """They are items of one request, which may be many."""


class ReceivedEvents:
    """Makes events. `strict` refuses types that are not in the catalogue."""

    def __init__(self, registry: Registry, id_maker: IdMaker, observer: Observer, *, strict: bool) -> None:
        self._registry = registry
        self._ids = id_maker
        self._observer = observer
        self._strict = strict

    def make(self, source: Source, request: Inbound, items: Sequence[Item], request_id: str, now_ms: int) -> Judged:
        """The events of what was read from a request. Raises `Refusal` where it is refused as a whole."""
        kept = kept_headers(source, request)
        origin = Origin(source.name, request_id, request.method, kept)
        traces = _NO_TRACE
        parent = request.header("traceparent")
        if parent is not None:
            state = request.header("tracestate")
            traces = trace({"traceparent": parent} if state is None else {"traceparent": parent, "tracestate": state})
        events: list[Event] = []
        problems: list[Refusal | None] = []
        good = True
        for item in items:
            content_type, problem = self._judge(source, item)
            good &= problem is None
            problems.append(problem)
            events.append(self._event(source, item, content_type, origin, traces, now_ms))
        split = bool(items[0].pointer)
        if good:
            return Judged(events, [None] * len(events), split)
        refused = [problem for problem in problems if problem is not None]
        if refused and len(refused) == len(items) and (source.on_invalid != "quarantine" or _too_large(refused)):
            raise refused[0]
        return Judged(
            events,
            [None if one is None else NewQuarantine(source.id, msgspec.json.encode(one.problem())) for one in problems],
            split,
        )

    def _event(
        self,
        source: Source,
        item: Item,
        content_type: str,
        origin: Origin,
        traces: tuple[str | None, str | None],
        now_ms: int,
    ) -> Event:
        return Event(
            id=self._ids.make(now_ms),
            tenant=source.tenant,
            type=item.type,
            data=item.data,
            content_type=content_type,
            source=source.event_source,
            source_id=item.id or None,
            subject=item.subject or None,
            time=_time(item.time),
            traceparent=traces[0],
            tracestate=traces[1],
            inbound=origin,
        )

    # ------------------------------------------------------------------------------------------------ judging

    def _judge(self, source: Source, item: Item) -> tuple[str, Refusal | None]:
        """The event's content type, and why it may not pass."""
        content_type = _content_type(item.content_type)
        if len(item.data) > EVENT_BYTES_MAX:
            detail = f"The payload has {len(item.data)} bytes, at most {EVENT_BYTES_MAX} are taken."
            return content_type, Refusal("event_too_large", detail, pointer=item.pointer)
        problem = _malformed(item) if item.data and is_json(content_type) else None
        if problem is not None:
            content_type = OPAQUE
        found = self._invalid(source, item, content_type, problem)
        if found is None or source.on_invalid != "accept":
            return content_type, found
        self._warn(source, item, found)
        return content_type, None

    def _invalid(self, source: Source, item: Item, content_type: str, malformed: Refusal | None) -> Refusal | None:
        schema = source.schema_of(item.type)
        known = self._registry.event_type(source.tenant, item.type)
        mode = "enforce"
        if schema is None and known is not None and known.mode != "off":
            schema, mode = known.schema, known.mode
        if malformed is not None:
            # Without a schema nobody has said that it must be JSON: it is kept as the bytes that it is.
            asked = source.schemas or source.on_invalid == "quarantine" or (schema is not None and mode == "enforce")
            return malformed if asked else None
        if schema is not None:
            broken = _broken(schema, item, content_type)
            if broken is not None and mode == "warn":
                self._warn(source, item, broken)
                return None
            return broken
        if self._strict and known is None:
            detail = f"The event type {item.type} is not in the catalogue."
            return Refusal("unknown_event_type", detail, pointer=item.pointer)
        return None

    def _warn(self, source: Source, item: Item, problem: Refusal) -> None:
        self._observer.warn(
            "received_invalid", source=source.public_id, type=item.type, code=problem.code, pointer=problem.pointer
        )


def _malformed(item: Item) -> Refusal | None:
    data = item.data
    try:
        check_utf8(data)
        check_syntax(data)
        check_depth(data)
    except Refusal as refusal:
        detail = f"The body says it is JSON. {refusal.detail}"
        return Refusal("malformed_json", detail, pointer=item.pointer, extra=refusal.extra)
    return None


def _broken(schema: Schema, item: Item, content_type: str) -> Refusal | None:
    value = readable(content_type, item.data)
    if value is NOTHING:
        what = cut(content_type, 100) if item.data else "nothing"
        violations = [Violation("/data", "a payload that can be read: JSON, a form or XML", what)]
    else:
        violations = schema.violations(value)
    if not violations:
        return None
    told = [
        {"pointer": item.pointer + one.pointer.removeprefix("/data"), "expected": one.expected, "found": one.found}
        for one in violations
    ]
    first = told[0]
    return Refusal(
        "invalid_payload",
        f"The payload breaks the schema of {item.type}: expected {first['expected']}.",
        pointer=first["pointer"],
        extra={"expected": first["expected"], "found": first["found"], "violations": told},
    )


def _too_large(refused: Sequence[Refusal]) -> bool:
    """Whether what is wrong is only the size: what no person could release is not kept for one."""
    return all(refusal.code == "event_too_large" for refusal in refused)


# ------------------------------------------------------------------------------------------------------ parts


def _content_type(given: str) -> str:
    """As it came, where it can be a header of a delivery."""
    if len(given) <= _CONTENT_TYPE_CHARS_MAX and given.isascii() and given.isprintable():
        return given
    return OPAQUE


def _time(text: str) -> str | None:
    if not text:
        return None
    try:
        check_time(text)
    except Refusal:
        return None  # a provider's odd time is no reason to lose his event
    return text


def kept_headers(source: Source, request: Inbound) -> tuple[tuple[str, str], ...]:
    """Those headers that the source keeps: at most 64, and 16 KiB of them."""
    known: dict[str, bool] | None = source.__dict__.get(_KEPT)
    if known is None or len(known) > _NAMES_MAX:
        known = source.__dict__[_KEPT] = {}
    kept: list[tuple[str, str]] = []
    chars = 0
    for field in request.headers:
        name = field[0]
        wanted = known.get(name)
        if wanted is None:
            wanted = known[name] = name in source.headers
        if wanted:
            chars += len(name) + len(field[1])
            if len(kept) == HEADERS_MAX or chars > HEADERS_CHARS_MAX:
                break
            kept.append(field)
    return tuple(kept)


def request_id(id_maker: IdMaker, now_ms: int) -> str:
    """`req_…`, new."""
    return ids.text(REQUEST, id_maker.make(now_ms))
