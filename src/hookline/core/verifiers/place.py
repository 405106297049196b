"""Where in a request a text stands: `header:x-signature`, `body:signature.value`, `form:token`, `query:key`.

Alternatives are separated by `|`, and the first that is there counts, right or wrong: a request must not choose by
what is easier to forge. `header:x-signature-*` are the headers with the numbers 1 to 100 at the star's place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.verifiers.encoded import header_bytes
from hookline.core.verifiers.json_body import member, text
from hookline.core.verifiers.request_parts import Parts, Unproven

TEXT_CHARS_MAX: Final = 16_384
NUMBERS_MAX: Final = 100
SOURCES: Final = ("header", "body", "form", "query")
_TOO_LONG: Final = {"missing_signature": "malformed_signature"}
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_NUMBER: Final = re.compile(r"[1-9][0-9]?|100")


class PlaceError(ValueError):
    """A place that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place, compiled by `place`."""

    source: str
    names: tuple[str, ...]
    """Alternatives."""
    numbered: bool = False

    def find(self, parts: Parts, item: Any, reason: str) -> list[Any]:
        """What stands there: texts, of a body also a number or a truth value; nothing where nothing does. Raises
        `Unproven` with `reason` for a header or parameter that is there more than once, and for what is too long."""
        found = self._numbered(parts, reason) if self.numbered else self._first(parts, item, reason)
        for one in found:
            if isinstance(one, str) and len(one) > TEXT_CHARS_MAX:
                raise Unproven(
                    reason.replace("missing", "malformed"), f"{self} has more than {TEXT_CHARS_MAX} characters"
                )
        return found

    def values(self, parts: Parts, item: Any, reason: str) -> list[Any]:
        """The same; raises `Unproven` where nothing stands there."""
        found = self.find(parts, item, reason)
        if not found:
            raise Unproven(reason, f"{self} is missing")
        return found

    def octets(self, parts: Parts, item: Any, reason: str, *, optional: bool = False) -> bytes:
        """What stands there as the bytes that travelled (of a body's text its UTF-8). Raises `Unproven`."""
        values = self.find(parts, item, reason) if optional else self.values(parts, item, reason)
        if not values:
            return b""
        found = text(values[0])
        if found is None:
            raise Unproven(reason, f"{self} is neither a text nor a number")
        return header_bytes(found) if self.source == "header" else found.encode("utf-8", "surrogatepass")

    def __str__(self) -> str:
        return f"{self.source}:{'|'.join(self.names)}{'*' if self.numbered else ''}"

    def _first(self, parts: Parts, item: Any, reason: str) -> list[Any]:
        for name in self.names:
            found = _READERS[self.source](parts, item, name)
            if len(found) > 1:
                raise Unproven(reason, f"{self.source}:{name} is there more than once")
            if found:
                return found
        return []

    def _numbered(self, parts: Parts, reason: str) -> list[Any]:
        found: dict[str, str] = {}
        for field, value in parts.request.headers:
            if field.startswith(self.names[0]) and _NUMBER.fullmatch(field[len(self.names[0]) :]):
                if field in found:
                    raise Unproven(reason, f"header:{field} is there more than once")
                found[field] = value
        return list(found.values())


def place(written: str, *, sources: tuple[str, ...] = SOURCES) -> Place:
    """The place that is `written`. Raises `PlaceError`."""
    source, _, rest = written.partition(":")
    names = tuple(name.strip().removeprefix(f"{source}:") for name in rest.split("|"))
    if source not in sources:
        raise PlaceError(f"{written[:64]!r} must begin with one of {', '.join(f'{one}:' for one in sources)}")
    if not all(names):
        raise PlaceError(f"{written[:64]!r} names nothing")
    if source == "header":
        names = tuple(name.lower() for name in names)
        if not all(_HEADER.fullmatch(name.removesuffix("*")) for name in names):
            raise PlaceError(f"{written[:64]!r} is no name of a header")
        if names[0].endswith("*"):
            return Place(source, (names[0][:-1],), numbered=True)
    return Place(source, names)


def _of_header(parts: Parts, _item: Any, name: str) -> list[Any]:
    return list(parts.request.all(name))


def _of_body(parts: Parts, item: Any, name: str) -> list[Any]:
    found = member(parts.json() if item is None else item, name)
    return [] if found is None else [found]


def _of_form(parts: Parts, _item: Any, name: str) -> list[Any]:
    found = parts.form().get(name)
    return [] if found is None else [found]


def _of_query(parts: Parts, _item: Any, name: str) -> list[Any]:
    return parts.request.query_all(name)


_READERS: Final[dict[str, Callable[[Parts, Any, str], list[Any]]]] = {
    "header": _of_header,
    "body": _of_body,
    "form": _of_form,
    "query": _of_query,
}
