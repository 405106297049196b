"""What can be made different from what a provider sends: the payload, before it is signed; or the truth, after."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from hookline.core.simulate.draft import Draft, SimulationError

STALE_S: Final = 86_400
"""How old a stale request is: older than any provider tolerates."""
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different."""

    data: bytes | None = None
    """The payload, instead of the sample's."""
    sets: tuple[tuple[str, Any], ...] = ()
    """(path of names and places with dots, value): members of the payload that are set."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers, added or instead of those of the same name, before anything is signed."""
    content_type: str | None = None
    """What the request says that it is, whatever it is."""
    tampered: bool = False
    """Changed after it was signed; or with a wrong credential, where the body is not signed."""
    stale: bool = False
    """Made and signed a day ago."""
    malformed: bool = False
    """Its payload breaks off, and is signed so."""
    xml: bool = False
    """Its payload is XML, and is signed so."""
    size_bytes: int = 0
    """Its body has at least so many bytes, and is signed so."""


UNCHANGED: Final = Changes()


def with_members(value: Any, sets: tuple[tuple[str, Any], ...]) -> Any:
    """The payload with members set. Raises `SimulationError` for a path that leads nowhere."""
    for path, new in sets:
        names = path.split(".")
        place = value
        for name in names[:-1]:
            place = _step(place, name, path)
        _put(place, names[-1], new, path)
    return value


def _step(place: Any, name: str, path: str) -> Any:
    if isinstance(place, dict):
        return place.setdefault(name, {})
    if isinstance(place, list) and name.isdigit() and int(name) < len(place):
        return place[int(name)]
    raise SimulationError(f"the payload has no place {path}: there is nothing to hold {name!r}")


def _put(place: Any, name: str, new: Any, path: str) -> None:
    if isinstance(place, dict):
        place[name] = new
    elif isinstance(place, list) and name.isdigit() and int(name) <= len(place):
        place[int(name) : int(name) + 1] = [new]
    else:
        raise SimulationError(f"the payload has no place {path}: there is nothing to hold {name!r}")


def as_xml(value: Any) -> bytes:
    """A payload as XML: a member is an element, an item of an array is `<item>`."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_element("payload", value)}\n'.encode()


def _element(name: str, value: Any) -> str:
    name = _NAME.sub("_", name)
    if not name[:1].isalpha():
        name = f"_{name}"
    if isinstance(value, Mapping):
        inner = "".join(_element(str(key), item) for key, item in value.items())
    elif isinstance(value, list):
        inner = "".join(_element("item", item) for item in value)
    elif value is None:
        return f"<{name}/>"
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        inner = escape(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text))
    return f"<{name}>{inner}</{name}>"


def broken(payload: bytes) -> bytes:
    """A payload that breaks off in its last third."""
    return payload[: max(1, len(payload) * 2 // 3)]


def padded(payload: bytes, size_bytes: int, *, in_form: bool = False) -> bytes:
    """The payload with so many bytes at least, and still of its form."""
    missing = size_bytes - len(payload)
    if missing <= 0:
        return payload
    if in_form:
        return payload + b"&padding=" + b"x" * missing
    return payload + b" " * missing  # blanks behind JSON and XML change nothing


def changed_body(draft: Draft) -> Draft:
    """The request with one digit of its body changed (or one letter, where there is none)."""
    return draft.with_body(changed(draft.body))


def changed(data: bytes) -> bytes:
    """The bytes with their last digit changed, or their last letter, or a blank added."""
    for pattern in (rb"[0-9](?=[^0-9]*$)", rb"[A-Za-z](?=[^A-Za-z]*$)"):
        found = re.search(pattern, data)
        if found:
            return data[: found.start()] + changed_character(found.group()) + data[found.end() :]
    return data + b" "


def changed_character(old: bytes) -> bytes:
    """Another digit for a digit, never 0; another letter for a letter."""
    if old.isdigit():
        return b"%d" % (int(old) % 9 + 1)
    return {b"z": b"a", b"Z": b"A"}.get(old, bytes([old[0] + 1]))


def forged(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of somebody who does not know these."""
    result = dict(config)
    for key in keys:
        value = result.get(key)
        if isinstance(value, str) and value:
            result[key] = _another(value)
        elif isinstance(value, list) and value:
            result[key] = [_another(str(value[0]))]
    return result


def _another(text: str) -> str:
    last = text[-1]
    return text[:-1] + (changed_character(last.encode()).decode() if last.isascii() and last.isalnum() else "x")
