"""Expressions over a request: where a type, an id or a part of an answer is read from.

    header:x-github-event        a header, there once                   'text'       the text itself
    query:topic  form:type       a parameter of the URL, a field        item:path    into the item of a split
    body:data.type               into the body (JSON, form or XML)      parent:path  into what holds the item
    request:url                  `method`, `url`, `path`, `sha256`      a|b          the first that yields something
    {a}.{b?}                     a template: text with expressions in braces; `?`: may be missing, with the . / - : _
                                 before it

A path is names and places of an array, with dots; a name with a dot in double quotes; `*` is the first element for
which the rest yields something. `>json`, `>base64`, `>xml` and `>form` read text inside text:
`body:Message>json.Records`, `form:payload>json.type`. What is not there yields nothing; nothing is an error.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from hookline.core.mapped import (
    FORM,
    JSON,
    MULTIPART,
    MappedError,
    form_fields,
    form_value,
    kind_of,
    value_of,
    xml_value,
)
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse, text

TEXT_CHARS_MAX: Final = 1024
STEPS_MAX: Final = 32
SOURCES: Final = ("header", "query", "form", "body", "item", "parent", "request", "answer")
"""Where an expression may begin. `answer:` is known where an answer is made: what became of the request."""
_START: Final = re.compile(rf"({'|'.join(SOURCES)}):")
_STEP: Final = re.compile(r'\.?(?:"([^"]+)"|([^.">|{}\']+))?((?:>[a-z0-9]+)*)')
_READERS: Final = frozenset({"json", "base64", "xml", "form"})
_DROPPED: Final = "./-:_"


class ExpressionError(Exception):
    """An expression that cannot be read; the text says why."""


_UNREAD: Final = object()


class Scope:
    """What expressions are evaluated over: a verified request, and within a split one of its items."""

    __slots__ = ("_body", "_form", "answer", "content_type", "item", "item_bytes", "parent", "request")

    def __init__(self, request: Inbound, answer: Mapping[str, Any] | None = None) -> None:
        """`answer`: what `answer:` yields, by name."""
        self.request = request
        self.content_type = request.header("content-type") or ""
        self.answer = answer or {}
        self.item: Any = None
        self.item_bytes: bytes = request.body
        self.parent: Any = None
        self._body: Any = _UNREAD
        self._form: Any = _UNREAD

    @property
    def body(self) -> Any:
        """The body as a value, read once; None where it has none. A body that does not say what it is, or says that it
        is text (SNS), is read as JSON where it looks like it."""
        if self._body is _UNREAD:
            self._body = _body_of(self.request, self.content_type)
        return self._body

    @property
    def form(self) -> Mapping[str, Any]:
        """The fields of a form; none where it is no form."""
        if self._form is _UNREAD:
            self._form = {}
            if kind_of(self.content_type) in (FORM, MULTIPART):
                try:
                    self._form = form_value(form_fields(self.content_type, self.request.body))
                except MappedError:
                    pass  # it yields nothing
        found: Mapping[str, Any] = self._form
        return found


def _body_of(request: Inbound, content_type: str) -> Any:
    kind = kind_of(content_type)
    try:
        if kind == JSON:
            return parse(request.body)
        if kind:
            return value_of(content_type, request.body)
        first = request.body.lstrip(b" \t\r\n")[:1]
        if first in (b"{", b"[") and request.content_type in ("", "text/plain"):
            return parse(request.body)
    except (MappedError, BodyError):
        pass  # it yields nothing
    return None


Get = Callable[[Scope], Any]
Step = tuple[str, str]
"""`name` and the name, `each`, or one of the readers."""


# ------------------------------------------------------------------------------------------------------- paths


def path_steps(path: str) -> tuple[Step, ...]:
    """The steps of a path. Raises `ExpressionError`."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or found.end() == at or (found[0][0] == "." and (at == 0 or found[0] == ".")):
            raise ExpressionError(f"the path {path[:64]!r} cannot be read at character {at + 1}")
        name = found[1] or found[2]
        if name is not None:
            steps.append(("each", "") if name == "*" and not found[1] else ("name", name))
        elif found[0][0] == ".":
            raise ExpressionError(f"the path {path[:64]!r} has no name at character {at + 1}")
        for reader in found[3].split(">")[1:]:
            if reader not in _READERS:
                raise ExpressionError(f"there is no >{reader}; known are {' '.join(sorted(_READERS))}")
            steps.append((reader, ""))
        at = found.end()
    if len(steps) > STEPS_MAX:
        raise ExpressionError(f"a path has at most {STEPS_MAX} steps")
    return tuple(steps)


def follow(value: Any, steps: Sequence[Step]) -> Any:
    """What stands at the end of the steps; None where nothing does."""
    for place, (kind, name) in enumerate(steps):
        if value is None:
            return None
        if kind == "name":
            value = _member(value, name)
        elif kind == "each":
            rest = steps[place + 1 :]
            elements = value if isinstance(value, list) else ()
            return next((found for one in elements if (found := follow(one, rest)) is not None), None)
        else:
            value = read_inner(kind, value)
    return value


def _member(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 8 and int(name) < len(value):
        return value[int(name)]
    return None


def read_inner(reader: str, value: Any) -> Any:
    """Text inside text as a value, or as text; None where it cannot be read."""
    if not isinstance(value, str):
        return None
    try:
        if reader == "json":
            return parse(value)
        if reader == "base64":
            return binascii.a2b_base64("".join(value.split()).encode("ascii")).decode()
        if reader == "xml":
            return xml_value(value.encode())
        return form_value(form_fields("application/x-www-form-urlencoded", value.encode()))
    except (BodyError, MappedError, ValueError):
        return None


# -------------------------------------------------------------------------------------------------- expressions


@lru_cache(maxsize=4096)
def compile_expression(expression: str) -> Get:
    """What yields the expression's value (text, or any value of JSON). Raises `ExpressionError`."""
    if len(expression) > TEXT_CHARS_MAX:
        raise ExpressionError(f"an expression has at most {TEXT_CHARS_MAX} characters")
    parts = [_one(part.strip()) for part in _alternatives(expression)]
    if len(parts) == 1:
        return parts[0]

    def first(scope: Scope) -> Any:
        for part in parts:
            found = part(scope)
            if found is not None and found != "":
                return found
        return None

    return first


def text_of(get: Get, scope: Scope) -> str | None:
    """What an expression yields as text; None for nothing, and for what is no text (an object, a list)."""
    found = get(scope)
    return found if isinstance(found, str) else text(found)


def _alternatives(expression: str) -> list[str]:
    parts, begun, depth, quote = [], 0, 0, ""
    for at, character in enumerate(expression):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not (depth == 0 and _in_template(expression, begun)):
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "|" and depth == 0:
            parts.append(expression[begun:at])
            begun = at + 1
    parts.append(expression[begun:])
    return parts


def _in_template(expression: str, begun: int) -> bool:
    """Whether the alternative that begins here is a template, whose quotes outside of braces are only text."""
    start = expression[begun:].lstrip()
    return not start.startswith("'") and _START.match(start) is None


def _one(expression: str) -> Get:
    if len(expression) > 1 and expression[0] == expression[-1] == "'" and "'" not in expression[1:-1]:
        literal = expression[1:-1]
        return lambda _scope: literal
    start = _START.match(expression)
    if start is not None:
        return _source(start[1], expression[start.end() :])
    if "{" in expression:
        return _template(expression)
    raise ExpressionError(
        f"{expression[:64]!r} is no expression: it begins with one of {', '.join(SOURCES)} and a colon, is 'text' in "
        "single quotes, or has such in {braces}"
    )


def _source(source: str, path: str) -> Get:
    if source == "request":
        return _of_request(path)
    steps = path_steps(path)
    if source == "body" and len(steps) == 1 and steps[0][0] == "name":  # most types and ids
        member = steps[0][1]
        return lambda scope: _member(scope.body, member)
    if source == "body":
        return lambda scope: follow(scope.body, steps)
    if source == "item":
        return lambda scope: follow(scope.item, steps)
    if source == "parent":
        return lambda scope: follow(scope.parent, steps)
    if not steps or steps[0][0] != "name":
        raise ExpressionError(f"{source}: takes a name")
    name, rest = steps[0][1], steps[1:]
    if source == "header":
        name = name.lower()
        if not rest:
            return lambda scope: scope.request.header(name)
        return lambda scope: follow(scope.request.header(name), rest)
    if source == "query":
        return lambda scope: follow(_parameter(scope.request, name), rest)
    if source == "answer":
        return lambda scope: follow(scope.answer.get(name), rest)
    return lambda scope: follow(_last(scope.form.get(name)), rest)


def _parameter(request: Inbound, name: str) -> str | None:
    if "?" not in request.url:
        return None
    try:
        found = [one for key, one in parse_qsl(urlsplit(request.url).query, keep_blank_values=True) if key == name]
    except ValueError:
        return None
    return found[-1] if found else None


def _last(value: Any) -> Any:
    return value[-1] if isinstance(value, list) else value


def _of_request(name: str) -> Get:
    if name == "method":
        return lambda scope: scope.request.method
    if name == "url":
        return lambda scope: scope.request.url
    if name == "path":
        return lambda scope: urlsplit(scope.request.url).path
    if name == "sha256":  # of the item where there is one: what has no id of its own is known by its bytes
        return lambda scope: hashlib.sha256(scope.item_bytes).hexdigest()
    raise ExpressionError("request: knows method, url, path and sha256")


# ---------------------------------------------------------------------------------------------------- templates


def _template(template: str) -> Get:
    pieces: list[tuple[str, Get | None, bool]] = []
    at = 0
    while at < len(template):
        begin = template.find("{", at)
        if begin < 0:
            pieces.append((template[at:], None, False))
            break
        end = template.find("}", begin)
        if end < 0:
            raise ExpressionError(f"the brace at character {begin + 1} of {template[:64]!r} has no end")
        inner = template[begin + 1 : end]
        optional = inner.endswith("?")
        pieces.append((template[at:begin], compile_expression(inner.removesuffix("?")), optional))
        at = end + 1

    def fill(scope: Scope) -> str | None:
        made = ""
        for literal, get, optional in pieces:
            if get is None:
                return made + literal
            found = text_of(get, scope)
            if found is None or found == "":
                if not optional:
                    return None
                made += literal[:-1] if literal[-1:] and literal[-1] in _DROPPED else literal
            else:
                made += literal + found
        return made or None

    return fill
