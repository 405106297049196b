"""The parts of a request as any framework hands them over, brought into one form. Odd ones are refused clearly."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from hookline.sdk.errors import refused

Body: TypeAlias = bytes | bytearray | memoryview
Pairs: TypeAlias = tuple[tuple[str, str], ...]
Headers: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
"""A mapping, anything with `items()`, or pairs; names and values are text or bytes, a value may be a list of them."""


_NUMBER_MAX: Final = 1e15


def raw_body(body: object) -> bytes:
    """The bytes. Raises `Unverifiable` (`unusable_body`) for what is not bytes: of a text nobody knows which bytes
    were signed."""
    if isinstance(body, bytes):
        return bytes(body)
    if isinstance(body, bytearray | memoryview):
        try:
            return bytes(body)
        except ValueError:
            raise refused("unusable_body", "The memoryview is released.") from None
    kind = type(body).__name__
    raise refused("unusable_body", f"The body must be the bytes as they came, before anything read them, not {kind}.")


def header_pairs(headers: Headers) -> Pairs:
    """Headers in order, names in lower case, values as text without blanks around. Raises `Unverifiable`
    (`unusable_headers`) for what holds no headers."""
    try:
        items = getattr(headers, "items", None)
        return tuple(
            (_text(name).lower(), _text(one).strip(" \t"))
            for name, value in (items() if callable(items) else headers)
            for one in (value if isinstance(value, list | tuple) else (value,))
        )
    except Exception as error:  # noqa: BLE001 - a mapping of whatever kind may raise whatever it likes
        why = f"No headers can be read from this {type(headers).__name__} ({type(error).__name__})."
        raise refused("unusable_headers", why) from None


def _text(value: object) -> str:
    """A name or a value as latin-1 text, as it travelled."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise TypeError


def by_name(pairs: Pairs) -> dict[str, str]:
    """The headers as a mapping; values of one name are joined by a comma and a blank, as HTTP means them."""
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def clock_s(now: float | None) -> float:
    """The time in seconds since 1970. Raises `Unverifiable` (`unusable_setting`) for what is no time."""
    return time.time() if now is None else number("now", now)


def number(name: str, value: object) -> float:
    """A finite number of 0 or more. Raises `Unverifiable` (`unusable_setting`)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _NUMBER_MAX:
        raise refused("unusable_setting", f"{name} must be a number of seconds, 0 or more.")
    return float(value)
