"""Payloads that are not JSON as JSON-like values: what filters, readings and schemas see of a form and of XML.

    form    {"field": "text", "again": ["one", "two"]}, a file {"filename", "content_type", "size_bytes"}
    XML     {"order": {"@id": "7", "line": ["a", "b"], "#text": "…"}}: names without their prefixes, attributes with @,
            an element of text alone is that text, one with `nil` is null, one that is there again makes a list

The payload itself stays as it came. XML is read by defusedxml: no DTD, no entity, nothing fetched.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from hookline.core.verifiers.json_body import BodyError, parse

FIELDS_MAX: Final = 1000
ELEMENTS_MAX: Final = 20_000
DEPTH_MAX: Final = 128

JSON: Final = "json"
FORM: Final = "form"
MULTIPART: Final = "multipart"
XML: Final = "xml"
_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(r'(?:^|;)\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE: Final = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\(.)")


class MappedError(Exception):
    """The payload is not what its content type says; the text says why."""


@lru_cache(maxsize=1024)
def kind_of(content_type: str) -> str:
    """`json`, `form`, `multipart`, `xml` by a Content-Type; empty for anything else, another charset of JSON too."""
    essence, _, parameters = content_type.partition(";")
    essence = essence.strip().lower()
    subtype = essence.partition("/")[2]
    if subtype == "json" or subtype.endswith("+json"):
        charset = re.search(r'charset\s*=\s*"?([^\s;"]+)', parameters, re.IGNORECASE)
        return JSON if charset is None or charset[1].lower() in ("utf-8", "utf8") else ""
    if essence == "application/x-www-form-urlencoded":
        return FORM
    if essence == "multipart/form-data":
        return MULTIPART
    if subtype == "xml" or subtype.endswith("+xml"):
        return XML
    return ""


def value_of(content_type: str, body: bytes) -> Any:
    """The value of a payload; None where its type has none. Raises `MappedError`."""
    kind = kind_of(content_type)
    if kind == JSON:
        try:
            return parse(body)
        except BodyError as error:
            raise MappedError(str(error)) from None
    if kind in (FORM, MULTIPART):
        return form_value(form_fields(content_type, body))
    return xml_value(body) if kind == XML else None


# -------------------------------------------------------------------------------------------------------- forms

Field = tuple[str, "str | dict[str, Any]"]
"""A name, and its text or what is known of a file."""


def form_fields(content_type: str, body: bytes) -> list[Field]:
    """The fields of a form, urlencoded or multipart, in order. Raises `MappedError`: more than 1,000, no boundary, no
    end."""
    if kind_of(content_type) == MULTIPART:
        return _multipart(content_type, body)
    if body.count(b"&") >= FIELDS_MAX:
        raise MappedError(f"more than {FIELDS_MAX} fields")
    text = body.decode("utf-8", "replace")
    return list(parse_qsl(text, keep_blank_values=True, errors="replace", separator="&"))


def form_value(fields: list[Field]) -> dict[str, Any]:
    """Fields as an object; a name that is there again has a list."""
    found: dict[str, Any] = {}
    for name, one in fields:
        if name not in found:
            found[name] = one
        elif isinstance(found[name], list):
            found[name].append(one)
        else:
            found[name] = [found[name], one]
    return found


def _multipart(content_type: str, body: bytes) -> list[Field]:
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise MappedError("multipart/form-data without a boundary")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(delimiter, FIELDS_MAX + 2)
    fields: list[Field] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return fields
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or len(fields) == FIELDS_MAX:
            break
        part = _part(head.decode("utf-8", "replace"), content)
        if part is not None:
            fields.append(part)
    raise MappedError(f"multipart/form-data that does not end, or with more than {FIELDS_MAX} parts")


def _part(head: str, content: bytes) -> Field | None:
    headers: dict[str, str] = {}
    for line in head.split("\r\n"):
        name, _, text = line.partition(":")
        headers[name.strip().lower()] = text.strip()
    disposition = headers.get("content-disposition", "").partition(";")[2]
    named, file = _NAME.search(disposition), _FILE.search(disposition)
    if named is None:
        return None
    name = _ESCAPED.sub(r"\1", named[1])
    if file is None:
        return name, content.decode("utf-8", "replace")
    told = {
        "filename": _ESCAPED.sub(r"\1", file[1]),
        "content_type": headers.get("content-type", ""),
        "size_bytes": len(content),
    }
    return name, told


# ---------------------------------------------------------------------------------------------------------- XML


@dataclass(slots=True)
class Element:
    """An element, and where it stands: `body[start:end]` is all of it, from `<` to `>`."""

    name: str
    """Without its prefix."""
    attributes: dict[str, str]
    start: int = 0
    end: int = 0
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def value(self) -> Any:
        """It as a JSON-like value."""
        if self.attributes.get("nil") in ("true", "1"):
            return None
        text = "".join(self.texts)
        if not self.children and not self.attributes:
            return text
        found: dict[str, Any] = {f"@{name}": one for name, one in self.attributes.items()}
        for child in self.children:
            one = child.value()
            if child.name not in found:
                found[child.name] = one
            elif isinstance(found[child.name], _Several):
                found[child.name].append(one)
            else:
                found[child.name] = _Several((found[child.name], one))
        if text.strip():
            found["#text"] = text
        return found


class _Several(list[Any]):
    """The values of children of one name."""


def xml_value(body: bytes) -> dict[str, Any]:
    """A document as a value: its root's name → its value. Raises `MappedError`."""
    root = xml_tree(body)
    return {root.name: root.value()}


def xml_tree(body: bytes) -> Element:
    """The root element, with all below it. Raises `MappedError`: not well-formed, a DTD, an entity, more than 20,000
    elements, deeper than 128."""
    # Only here: whoever receives no XML needs no defusedxml, and starts sooner.
    from xml.sax import SAXException  # noqa: PLC0415
    from xml.sax.handler import ContentHandler  # noqa: PLC0415

    from defusedxml.common import DefusedXmlException  # noqa: PLC0415
    from defusedxml.expatreader import DefusedExpatParser  # noqa: PLC0415

    tree = _Tree(body)
    parser = DefusedExpatParser(forbid_dtd=True)
    handler: Any = ContentHandler()
    handler.startElement = tree.started
    handler.endElement = tree.ended
    handler.characters = tree.said
    parser.setContentHandler(handler)
    tree.at = lambda: int(parser._parser.CurrentByteIndex)  # noqa: SLF001 - SAX tells lines, which bytes are not
    try:
        parser.feed(body)
        parser.close()
    except DefusedXmlException:
        raise MappedError("XML with a DTD or an entity, which is not read") from None
    except (SAXException, ValueError, LookupError) as error:
        raise MappedError(f"not XML: {str(error)[:200]}") from None
    if tree.root is None:
        raise MappedError("not XML: no element")
    return tree.root


def no_position() -> int:
    """Before the parser is there."""
    return 0


class _Tree:
    """Builds the elements while the parser tells of them."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._open: list[Element] = []
        self._count = 0
        self.root: Element | None = None
        self.at = no_position

    def started(self, name: str, attributes: Any) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._open) >= DEPTH_MAX:
            raise MappedError(f"XML of more than {ELEMENTS_MAX} elements, or deeper than {DEPTH_MAX}")
        told = {
            key.rpartition(":")[2]: attributes[key]
            for key in attributes.getNames()
            if key != "xmlns" and not key.startswith("xmlns:")
        }
        element = Element(name.rpartition(":")[2], told, self.at())
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def ended(self, _name: str) -> None:
        element = self._open.pop()
        at = self.at()
        # Of `<a/>` the parser says where it has ended, of `</a>` where that begins.
        empty = not element.children and not element.texts and self._body[max(at - 2, 0) : at] == b"/>"
        element.end = at if empty else self._body.find(b">", at) + 1

    def said(self, text: str) -> None:
        if self._open:
            self._open[-1].texts.append(text)


def json_text(value: Any) -> str:
    """A value as compact JSON text. Raises `ValueError` for what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
