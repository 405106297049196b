"""Reading: a verified request becomes items, each an event to be: its type, id, subject, time and exact bytes."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hookline.core.expression import (
    ExpressionError,
    Get,
    Scope,
    Step,
    compile_expression,
    path_steps,
    text_of,
)
from hookline.core.json_items import TooManyItems, items_at
from hookline.core.mapped import JSON, XML, Element, MappedError, kind_of, xml_tree
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse
from hookline.core.verifiers.preset import Reading

__all__ = ["ExpressionError", "Item", "TooManyItems", "check", "events_of", "type_of"]

TYPE_CHARS_MAX: Final = 255
TEXT_BYTES_MAX: Final = 255
_BAD: Final = re.compile(r"[^A-Za-z0-9_.:/-]")
_RESERVED: Final = "hookline."
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,12}))?([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_NUMBER: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?")
_MS_FROM: Final = 1e11
"""As seconds this would be the year 5138, as milliseconds it is 1973."""
JSON_TYPE: Final = "application/json"
_ENCODING: Final = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")


@dataclass(slots=True)
class Item:
    """An event to be. `pointer` is where in the request it stands: empty, or a JSON pointer (of XML the place among
    the items)."""

    type: str
    id: str
    """The provider's own; empty: none is known."""
    subject: str
    """Empty: none."""
    time: str
    """RFC 3339; empty: none is known."""
    data: bytes
    content_type: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class _Compiled:
    type: Get | None
    """None, here and below: it is not read."""
    id: Get | None
    subject: Get | None
    time: Get | None
    splits: tuple[tuple[str, tuple[Step, ...]], ...]
    """Where a split may begin (`body` or `form`), and its path."""
    default_type: str


def events_of(request: Inbound, reading: Reading) -> list[Item]:
    """The items of a request: one, or as many as the array of `split` has (none, where it is empty).

    What cannot be read is left empty, a type is then the default. Raises `TooManyItems` (more than 10,000) and
    `ExpressionError` (a reading that `check` would refuse).
    """
    compiled = _compile(reading)
    scope = Scope(request)
    split = _split_xml if compiled.splits and kind_of(scope.content_type) == XML else _split
    for source, steps in compiled.splits:
        found = split(compiled, scope, source, steps)
        if found is not None:
            return found
    return [_item(compiled, scope, request.body, scope.content_type or "application/octet-stream", "")]


def check(reading: Reading) -> None:
    """Raise `ExpressionError` unless every expression can be read; its text begins with the member's name."""
    for name in ("type", "id", "subject", "time", "split"):
        text: str = getattr(reading, name)
        try:
            if name == "split":
                _splits(text)
            elif text:
                compile_expression(text)
        except ExpressionError as error:
            raise ExpressionError(f"{name}: {error}") from None


@lru_cache(maxsize=4096)  # a provider has few words for what it sends
def type_of(text: str, default: str) -> str:
    """An event type out of a provider's word: what a type may not have becomes `_`, at most 255 characters. Ours
    (`hookline.…`) are nobody else's: `hookline_…`."""
    made = _type(text) or _type(default) or "webhook"
    return made.replace(".", "_", 1) if made.startswith(_RESERVED) else made


def _type(text: str) -> str:
    return _BAD.sub("_", text.strip())[:TYPE_CHARS_MAX].lstrip("_.:/-")


# --------------------------------------------------------------------------------------------------- compiling


@lru_cache(maxsize=1024)
def _compile(reading: Reading) -> _Compiled:
    def get(expression: str) -> Get | None:
        return compile_expression(expression) if expression else None

    return _Compiled(
        get(reading.type),
        get(reading.id),
        get(reading.subject),
        get(reading.time),
        _splits(reading.split),
        reading.default_type,
    )


def _splits(split: str) -> tuple[tuple[str, tuple[Step, ...]], ...]:
    return tuple(_split_steps(one.strip()) for one in split.split("|")) if split else ()


def _split_steps(split: str) -> tuple[str, tuple[Step, ...]]:
    source, colon, path = split.partition(":")
    if not colon or source not in ("body", "form"):
        raise ExpressionError("a path to an array begins with body: or form:")
    steps = path_steps(path)
    if source == "form" and (not steps or steps[0][0] != "name"):
        raise ExpressionError("form: takes a name")
    return source, steps


# --------------------------------------------------------------------------------------------------- splitting


def _split(compiled: _Compiled, scope: Scope, source: str, steps: tuple[Step, ...]) -> list[Item] | None:
    """The items of JSON, in the body or in a field of a form."""
    if source == "form":
        field = scope.form.get(steps[0][1])
        text, steps = field if isinstance(field, str) else None, steps[1:]
        steps = steps[1:] if steps and steps[0][0] == "json" else steps
    else:
        is_json = kind_of(scope.content_type) in (JSON, "") and scope.body is not None
        text = scope.request.body.decode("utf-8", "replace") if is_json else None
    if text is None:
        return None
    try:
        if source == "form":
            parse(text)
        elif not isinstance(scope.body, list | dict):
            return None
        found = items_at(text, steps)
    except BodyError:
        return None
    if found is None:
        return None
    items: list[Item] = []
    for one in found:
        scope.item, scope.parent = one.value, one.parent
        scope.item_bytes = data = one.text.encode("utf-8", "surrogatepass")
        items.append(_item(compiled, scope, data, JSON_TYPE, one.pointer))
    return items


def _split_xml(compiled: _Compiled, scope: Scope, source: str, steps: tuple[Step, ...]) -> list[Item] | None:
    """The elements at a path of names, each as it stands in the document."""
    body = scope.request.body
    if source != "body" or b"\0" in body:  # UTF-16: where an element stands is not known
        return None
    try:
        elements = _elements_at(xml_tree(body), steps)
    except MappedError:
        return None
    if not elements:
        return None
    content_type = _with_charset(scope.content_type, body)
    items: list[Item] = []
    for place, element in enumerate(elements):
        scope.item = element.value()
        scope.item_bytes = data = body[element.start : element.end]
        items.append(_item(compiled, scope, data, content_type, f"/{place}"))
    return items


def _elements_at(root: Element, steps: Sequence[Step]) -> list[Element]:
    at = [root] if steps and steps[0] == ("name", root.name) else []
    for kind, name in steps[1:]:
        if kind == "name":
            at = [child for element in at for child in element.children if child.name == name]
    return at


def _with_charset(content_type: str, body: bytes) -> str:
    """The content type of a part: what the document says of its encoding stands outside of it."""
    declared = _ENCODING.match(body)
    if declared is None or "charset" in content_type.lower() or declared[1].lower() in (b"utf-8", b"utf8"):
        return content_type
    return f"{content_type}; charset={declared[1].decode('ascii')}"


def _item(compiled: _Compiled, scope: Scope, data: bytes, content_type: str, pointer: str) -> Item:
    get_type, get_id, get_subject, get_time = compiled.type, compiled.id, compiled.subject, compiled.time
    return Item(
        type_of("" if get_type is None else text_of(get_type, scope) or "", compiled.default_type),
        "" if get_id is None else _id(text_of(get_id, scope)),
        "" if get_subject is None else _subject(text_of(get_subject, scope)),
        "" if get_time is None else _time(get_time(scope)),
        data,
        content_type,
        pointer,
    )


# ------------------------------------------------------------------------------------------------------ values


def _id(text: str | None) -> str:
    """As it is; what is too long for an id, or has what no id has, by its digest."""
    if not text:
        return ""
    if text.isascii() and text.isprintable() and len(text) <= TEXT_BYTES_MAX:
        return text
    if _CONTROL.search(text) is None and len(text.encode()) <= TEXT_BYTES_MAX:
        return text
    return "sha256-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _subject(text: str | None) -> str:
    if not text:
        return ""
    if text.isascii() and text.isprintable() and len(text) <= TEXT_BYTES_MAX:
        return text
    made = _CONTROL.sub("", text)
    return made.encode()[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _time(value: Any) -> str:
    """RFC 3339 out of RFC 3339 (a blank for the T, a zone without its colon), or a number of s or ms since 1970."""
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = value.strip() if isinstance(value, str) else repr(value)
    found = _TIME.fullmatch(text)
    if found is not None:
        return _rfc3339(found)
    if _NUMBER.fullmatch(text) is None:
        return ""
    number = float(text)
    ms = round(number if number >= _MS_FROM else number * 1000)
    try:
        at = dt.datetime.fromtimestamp(ms // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{at}.{ms % 1000:03d}Z" if ms % 1000 else f"{at}Z"


def _rfc3339(found: re.Match[str]) -> str:
    date, clock, fraction, zone = found.groups()
    zone = "Z" if zone in "Zz" else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        dt.datetime.fromisoformat(f"{date}T{clock}{zone}")
    except ValueError:
        return ""
    return f"{date}T{clock}{'.' + fraction[:9] if fraction else ''}{zone}"
