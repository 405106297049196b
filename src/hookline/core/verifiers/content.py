"""What is signed: a template such as `{timestamp}.{body}`, filled with the bytes of a request.

{body} {timestamp} {method} {url}      raw bytes; the timestamp as it was written; the URL as it was called
{header:x} {form:x} {query:x}          a part of the request; `|` between alternatives
{body:path}                            a text, number or truth value of a JSON body, or of the item (`each`)
{config:key}                           a text of the configuration
{body:path?}                           with `?` empty where it is missing
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.place import Place, PlaceError, place
from hookline.core.verifiers.request_parts import Parts

TEMPLATE_CHARS_MAX: Final = 1024
_PIECE: Final = re.compile(r"\{([^{}]*)\}")
_WHOLE: Final = ("body", "timestamp", "method", "url")


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str
    """`literal`, one of `_WHOLE`, `config` or `place`."""
    literal: str = ""
    place: Place | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A template, compiled by `content`."""

    pieces: tuple[_Piece, ...]

    def octets(self, parts: Parts, config: Config, timestamp: str, item: Any) -> bytes:
        """What was signed. Raises `Unproven` where a part is missing, `ConfigError` where a configured text is."""
        return b"".join([_octets(piece, parts, config, timestamp, item) for piece in self.pieces])

    def covers(self, kind: str) -> bool:
        """Whether `body`, `timestamp`, `method` or `url` is a piece of it."""
        return any(piece.kind == kind for piece in self.pieces)

    def config_keys(self) -> tuple[str, ...]:
        """The keys of the configuration that are pieces of it."""
        return tuple(piece.literal for piece in self.pieces if piece.kind == "config")

    def borders(self, kind: str) -> bool:
        """Whether such a piece stands beside another without a literal between them."""
        pairs = zip(self.pieces, self.pieces[1:], strict=False)
        return any(kind in (one.kind, other.kind) and "literal" not in (one.kind, other.kind) for one, other in pairs)


def content(template: str) -> Content:
    """The template, compiled. Raises `PlaceError`."""
    if not template or len(template) > TEMPLATE_CHARS_MAX:
        raise PlaceError(f"a template has 1 to {TEMPLATE_CHARS_MAX} characters")
    pieces: list[_Piece] = []
    at = 0
    for found in _PIECE.finditer(template):
        pieces.append(_literal(template[at : found.start()]))
        pieces.append(_piece(found[1]))
        at = found.end()
    pieces.append(_literal(template[at:]))
    return Content(tuple(piece for piece in pieces if piece.kind != "literal" or piece.literal))


def _literal(written: str) -> _Piece:
    if "{" in written or "}" in written:
        raise PlaceError("a brace in the template has no partner")
    return _Piece("literal", written)


def _piece(written: str) -> _Piece:
    if written in _WHOLE:
        return _Piece(written)
    optional = written.endswith("?")
    written = written.removesuffix("?")
    source, _, key = written.partition(":")
    if source == "config" and key:
        return _Piece("config", key)
    return _Piece("place", place=place(written), optional=optional)


def _octets(piece: _Piece, parts: Parts, config: Config, timestamp: str, item: Any) -> bytes:
    match piece.kind:
        case "literal":
            return piece.literal.encode()
        case "body":
            return parts.request.body
        case "timestamp":
            return timestamp.encode("utf-8", "surrogatepass")
        case "method":
            return parts.request.method.encode("utf-8", "surrogatepass")
        case "url":
            return parts.request.url.encode("utf-8", "surrogatepass")
        case "config":
            return config.text(piece.literal).encode()
    assert piece.place is not None
    return piece.place.octets(parts, item, "malformed_body", optional=piece.optional)
