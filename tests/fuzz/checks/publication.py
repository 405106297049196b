"""Publications: a content type, headers and a body become events, or a refusal; and what is sent of those events.

The input is a head of `name: value` lines, an empty line, and the body.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

from hookline.core.body import FORMATS, build_body, event_document
from hookline.core.draft import Draft
from hookline.core.errors import STATUS_BY_CODE, Refusal
from hookline.core.event import BATCH_ITEMS_MAX, EVENT_BYTES_MAX, JSON_DEPTH_MAX, Event
from hookline.core.json_text import is_json, media_type
from hookline.core.publish import event_of, parse_publication

NOW_MS = 1_790_000_000_000
_KEPT = (
    "type", "source_id", "subject", "time", "ordering_key", "correlation_id", "causation_id", "traceparent",
    "tracestate", "dataschema", "extensions", "data",
)  # fmt: skip


def split(data: bytes) -> tuple[str, dict[str, str], bytes]:
    """Content type, headers and body of an input."""
    head, _, body = data.partition(b"\n\n")
    headers: dict[str, str] = {}
    content_type = ""
    for line in head.split(b"\n"):
        name, _, value = line.decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "content-type":
            content_type = value
        elif name.startswith("ce-") or name in ("traceparent", "tracestate", "idempotency-key"):
            headers[name] = value
    return content_type, headers, body


def refused(refusal: Refusal) -> None:
    """Raise unless a refusal is one that a client can be told."""
    assert refusal.code in STATUS_BY_CODE
    assert 400 <= refusal.status < 500, refusal.code
    assert refusal.pointer is None or refusal.pointer == "" or refusal.pointer.startswith("/")
    assert len(msgspec.json.encode(refusal.problem())) < 8192


def strict_json(text: bytes) -> Any:
    """`text` as the standard library reads it, without what JSON does not know."""

    def no_constant(name: str) -> NoReturn:
        raise ValueError(name)

    return json.loads(text.decode("utf-8"), parse_constant=no_constant, parse_int=str, parse_float=str)


def depth(value: Any) -> int:
    """How deep arrays and objects nest."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth(one) for one in inner), default=0)


def accepted(draft: Draft, body: bytes) -> None:
    """Raise unless an accepted event is whole, bounded, and sent as JSON that says the same."""
    assert len(draft.data) <= EVENT_BYTES_MAX
    assert draft.deliver_at_ms is None or draft.deliver_at_ms > NOW_MS
    payload = strict_json(draft.data) if draft.data and is_json(draft.content_type) else None
    assert depth(payload) <= JSON_DEPTH_MAX
    event = event_of(draft, b"\0" * 12, "default")
    for form in FORMATS:
        built, headers = build_body(event, form)
        sent = built.render(event.data)
        for name, value in headers:
            assert not {0, 10, 13} & set(name + value), f"a header can be split: {name!r} {value!r}"
        if form == "cloudevents" or (form == "standard" and is_json(draft.content_type)):
            document = strict_json(sent)
            if draft.data and is_json(draft.content_type):
                assert document["data"] == payload
    event_document(event)
    same_again(event, draft)


def same_again(event: Event, draft: Draft) -> None:
    """Raise unless what is sent as CloudEvents is taken again, by the same door, as the same event."""
    if event.source_id is None or not event.source:
        return  # its id or source is one that we give
    built, _ = build_body(event, "cloudevents")
    size = len(built.prefix)
    if size > 8192:
        return  # attributes are bounded together at the door, by what they take there
    (again,) = parse_publication("application/cloudevents+json", {}, built.render(event.data), NOW_MS).drafts
    binary, headers = build_body(event, "cloudevents-binary")
    named = {name.decode(): value.decode() for name, value in headers}
    (over,) = parse_publication(binary.content_type, named, event.data, NOW_MS).drafts
    for other in (again, over):
        assert isinstance(other, Draft)
        for field in _KEPT:
            mine, theirs = getattr(draft, field), getattr(other, field)
            if other is over and field == "extensions":  # all headers are text
                mine = mine and {name: _text(value) for name, value in mine.items()}
            if field == "time" and mine is None:
                continue
            if field == "extensions" and (mine or {}).get("partitionkey") is None:
                theirs = theirs or None
            assert mine == theirs, f"{field}: {mine!r} became {theirs!r}"


def _text(value: str | int | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def check(data: bytes) -> None:
    """Raise unless the publication is taken or refused as it must be."""
    content_type, headers, body = split(data)
    try:
        publication = parse_publication(content_type, headers, body, NOW_MS)
    except Refusal as refusal:
        refused(refusal)
        if refusal.code == "malformed_json" and media_type(content_type)[0] == "application/json":
            really_malformed(body)
        return
    assert 1 <= len(publication.drafts) <= BATCH_ITEMS_MAX
    assert publication.batch or len(publication.drafts) == 1
    for item in publication.drafts:
        if isinstance(item, Refusal):
            assert publication.batch
            refused(item)
        else:
            accepted(item, body)
    if media_type(content_type)[0] == "application/json" and not any(name.startswith("ce-") for name in headers):
        document = strict_json(body)
        assert isinstance(document, list) == publication.batch
        items = document if publication.batch else [document]
        for item, draft in zip(items, publication.drafts, strict=True):
            if isinstance(draft, Draft):
                assert strict_json(draft.data) == item["data"]
                assert draft.data in body
        no_member_twice(body)


def no_member_twice(body: bytes) -> None:
    """Raise if the one event that was taken says a member twice."""
    if body.lstrip(b" \t\r\n").startswith(b"{"):
        tops: list[list[str]] = []

        def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
            tops.append([name for name, _ in found])
            return dict(found)

        json.loads(body.decode(), object_pairs_hook=pairs, parse_int=str, parse_float=str)
        assert len(set(tops[-1])) == len(tops[-1]), tops[-1]


def really_malformed(body: bytes) -> None:
    """Raise if what was called malformed is JSON, in UTF-8, without half surrogates and without a key twice."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        if len(set(names)) < len(names):
            raise ValueError("twice")
        return dict(found)

    try:
        value = json.loads(body.decode(), parse_int=str, parse_float=str, object_pairs_hook=pairs)
        json.dumps(value, ensure_ascii=False).encode()
        strict_json(body)
    except (ValueError, RecursionError):
        return
    raise AssertionError("this is strict JSON, and was called malformed")
