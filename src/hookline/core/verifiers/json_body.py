"""JSON in a body, read with the standard library but as strictly as RFC 8259: UTF-8, no NaN, bounded depth."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

DEPTH_MAX: Final = 128
_NESTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


class BodyError(Exception):
    """The body is not the JSON that was expected; the text says why."""


def parse(body: bytes | str) -> Any:
    """The value. Raises `BodyError`. Integers of any length stay exact; the last of two equal keys counts."""
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    _check_depth(data)
    try:
        return _decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BodyError(f"not JSON: {str(error)[:200]}") from None


def parse_object(body: bytes | str) -> Mapping[str, Any]:
    """The object. Raises `BodyError`."""
    found = parse(body)
    if not isinstance(found, dict):
        raise BodyError("not a JSON object")
    return found


def member(value: Any, path: str) -> Any:
    """What stands at a path of member names and array places, separated by dots; None where nothing does."""
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, Sequence) and not isinstance(value, str) and name.isascii() and name.isdigit():
            value = value[int(name)] if len(name) < 10 and int(name) < len(value) else None
        else:
            return None
    return value


def text(value: Any) -> str | None:
    """A scalar as text, numbers as JSON writes them; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            return json.dumps(value, allow_nan=False)
        except ValueError:
            return None
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decode: Final = json.JSONDecoder(parse_constant=_no_constant).decode
"""Made once: `json.loads` would make one for each call."""


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return
    depth = 0
    for found in _NESTED.finditer(data):
        first = found.group()[:1]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise BodyError(f"nested deeper than {DEPTH_MAX}")
        elif first in b"]}":
            depth -= 1
