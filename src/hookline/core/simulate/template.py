"""Payload templates: JSON or text with `${…}` where something is fresh in every request.

A place is `${kind:argument#label}`. With a label it is remembered: `${#label}` is the same value again.

    ${uuid} ${hex:40} ${digits:10} ${base62:24} ${upper:17} ${lower:8}      ids of so many characters
    ${base64:32} ${base64url:32}                                            so many bytes
    ${int:1-9999} ${pick:one|two} ${decimal:label}                          numbers; one of several; cents as 12.34
    ${s} ${ms} ${sf} ${iso} ${iso.3} ${day}  each also as ${s-3600}         the request's time, or so many s before it
    ${at} ${at.3}                                                           as iso, with +00:00; with +0000
    ${config:key} ${url} ${origin}                                          the receiver's configuration and address

`decimal` takes sums of labels, too (`a-b`). In JSON, a text that is one place of a number (`int`, `s`, `ms`, and `sf`:
s with its fraction) becomes a number; `${'s}` stays a text. A text that is `@name` becomes the fragment of this name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from hookline.core.simulate.dice import BASE62, HEX, LOWER, UPPER, Dice

_PLACE: Final = re.compile(r"\$\{(')?([a-z][a-z0-9.]*)?(?::([^#}]*))?(?:([+-][0-9]+))?(?:#([a-z_0-9]+))?\}")
_SUM: Final = re.compile(r"([+-]?)([a-z_0-9]+)")
_ALPHABETS: Final = {"hex": HEX, "base62": BASE62, "upper": UPPER, "lower": LOWER}


def composed(template: str, **parts: object) -> str:
    """A template made of others: each `@name@` becomes the part of this name."""
    for name, part in parts.items():
        template = template.replace(f"@{name}@", str(part))
    return template


def iso(at_s: float, digits: int = 0) -> str:
    """RFC 3339 in UTC with `Z` and 0 to 9 digits of a second."""
    whole = datetime.fromtimestamp(at_s // 1, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    part = f"{int(at_s % 1 * 1_000_000):06}000"[:digits]
    return f"{whole}.{part}Z" if digits else f"{whole}Z"


@dataclass(slots=True)
class Scene:
    """What a request is made of besides its template: its time, chance, address, and the receiver's configuration."""

    now_s: float
    dice: Dice
    url: str
    """The receiver's address as the provider knows it."""
    config: Mapping[str, Any]
    known: dict[str, Any] = field(default_factory=dict)
    """What was remembered by label."""

    def text(self, template: str) -> str:
        """The template with its places filled."""
        return _PLACE.sub(lambda match: str(self._value(match)), template)

    def value(self, template: Any, fragments: Mapping[str, str]) -> Any:
        """A JSON value with the places in its texts filled."""
        if isinstance(template, str):
            if template.startswith("@") and template[1:] in fragments:
                return self.value(json.loads(fragments[template[1:]]), fragments)
            whole = _PLACE.fullmatch(template)
            return self._value(whole) if whole else self.text(template)
        if isinstance(template, dict):
            return {self.text(name): self.value(item, fragments) for name, item in template.items()}
        if isinstance(template, list):
            return [self.value(item, fragments) for item in template]
        return template

    def _value(self, place: re.Match[str]) -> Any:
        as_text, kind, argument, shift, label = place.groups()
        if kind is None:
            found = self.known[label]
        else:
            found = self._made(kind, argument or "", int(shift or 0))
            if label is not None:
                found = self.known.setdefault(label, found)
        return str(found) if as_text else found

    def _made(self, kind: str, argument: str, shift_s: int) -> Any:
        if kind in _ALPHABETS:
            return self.dice.text(_ALPHABETS[kind], int(argument))
        if kind in ("s", "ms", "sf", "day", "at", "at.3") or kind.startswith("iso"):
            return _time(kind, self.now_s + shift_s)
        match kind:
            case "uuid":
                return self.dice.uuid()
            case "base64":
                return base64.b64encode(self.dice.bytes(int(argument))).decode("ascii")
            case "base64url":
                return base64.urlsafe_b64encode(self.dice.bytes(int(argument))).decode("ascii").rstrip("=")
            case "digits":
                return self.dice.number(int(argument))
            case "int":
                low, _, high = argument.partition("-")
                return self.dice.between(int(low), int(high))
            case "pick":
                return self.dice.choice(argument.split("|"))
            case "decimal":
                cents = sum(int(f"{sign}1") * self.known[name] for sign, name in _SUM.findall(argument))
                return f"{cents / 100:.2f}"
            case "config":
                return self.config[argument]
            case "url":
                return self.url
            case "origin":
                parts = urlsplit(self.url)
                return f"{parts.scheme}://{parts.netloc}"
        raise AssertionError(f"a template has the place {kind!r}, which there is not")


def _time(kind: str, at_s: float) -> str | int | float:
    if kind == "s":
        return int(at_s)
    if kind == "sf":
        return round(at_s, 6)
    if kind == "ms":
        return int(at_s * 1000)
    if kind == "day":
        return iso(at_s)[:10]
    if kind.startswith("at"):
        return iso(at_s, 3)[:-1] + "+0000" if kind == "at.3" else iso(at_s)[:-1] + "+00:00"
    return iso(at_s, int(kind[4:] or 0))
