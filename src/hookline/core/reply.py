"""What a provider is answered: a template, filled with what the request says and what became of it.

    {"status": "success", "event_data": {"order_id": "{body:order.id}", "amount": {body:amount}}}

An expression in braces is one of `core.expression`; any other brace is text. In JSON an expression within quotes is put
in as text, escaped; elsewhere as the value it is, `null` where there is none. In XML it is escaped, in anything else it
is put in as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any, Final

from hookline.core.expression import SOURCES, ExpressionError, Get, Scope, compile_expression, text_of
from hookline.core.mapped import JSON, XML, json_text, kind_of

TEMPLATE_CHARS_MAX: Final = 16_384
VALUE_CHARS_MAX: Final = 16_384
"""A longer value is put in as if it was not there: an answer is no copy of the request."""
_PLACE: Final = re.compile(rf"\{{((?:{'|'.join(SOURCES)}):[^{{}}]*|'[^'{{}}]*')\}}")
_STRING_PARTS: Final = re.compile(r'\\.|"')
Write = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Template:
    """A template, read."""

    pieces: tuple[tuple[str, Get, Write], ...]
    """Each: the text before an expression, the expression, how its value is written."""
    rest: str

    def fill(self, scope: Scope) -> bytes:
        """The answer's body."""
        if not self.pieces:
            return self.rest.encode()
        made: list[str] = []
        for before, get, write in self.pieces:
            made.append(before)
            found = write(text_of(get, scope) if write is not _json_value else get(scope))
            made.append(found if len(found) <= VALUE_CHARS_MAX else write(None))
        return "".join((*made, self.rest)).encode("utf-8", "replace")


@lru_cache(maxsize=1024)
def compile_template(template: str, content_type: str) -> Template:
    """The template of an answer of this content type. Raises `ExpressionError`."""
    if len(template) > TEMPLATE_CHARS_MAX:
        raise ExpressionError(f"a template has at most {TEMPLATE_CHARS_MAX} characters")
    try:
        template.encode()
    except UnicodeEncodeError:
        raise ExpressionError("a template has no half of a surrogate pair") from None
    kind = kind_of(content_type)
    pieces: list[tuple[str, Get, Write]] = []
    quoted = False
    at = 0
    for place in _PLACE.finditer(template):
        before = template[at : place.start()]
        if kind == JSON:
            quoted ^= len([part for part in _STRING_PARTS.findall(before) if part == '"']) % 2 == 1
            write = _json_string if quoted else _json_value
        else:
            write = _xml_text if kind == XML else _plain_text
        pieces.append((before, compile_expression(place[1]), write))
        at = place.end()
    return Template(tuple(pieces), template[at:])


def _json_string(text: str | None) -> str:
    return json.dumps(text or "", ensure_ascii=False)[1:-1]


def _json_value(value: Any) -> str:
    try:
        return json_text(value)
    except (TypeError, ValueError, RecursionError):
        return "null"


def _xml_text(text: str | None) -> str:
    return escape(text or "")


def _plain_text(text: str | None) -> str:
    return text or ""
