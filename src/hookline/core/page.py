"""Pages of lists: cursors that nobody should read, and times as RFC 3339 writes them."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from hookline.core.errors import Refusal

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 250
KEY_BYTES_MAX: Final = 512
_CHECK_BYTES = 4
_CURSOR = re.compile(r"[A-Za-z0-9_-]{6,700}")

_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,18}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_cursor(key: bytes) -> str:
    """The text that stands for a place in a list, safe in a URL. `key` is 1 to 512 bytes."""
    assert 0 < len(key) <= KEY_BYTES_MAX
    return urlsafe_b64encode(_check(key) + key).decode("ascii").rstrip("=")


def parse_cursor(text: str, *, parameter: str = "cursor") -> bytes:
    """The key of a cursor that `make_cursor` made. Raises `Refusal` (`invalid_parameter`) for any other text."""
    if _CURSOR.fullmatch(text) and len(text) % 4 != 1:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        key = decoded[_CHECK_BYTES:]
        if key and decoded[:_CHECK_BYTES] == _check(key) and make_cursor(key) == text:
            return key
    raise _refused("This is not a cursor of ours: give back what next was, unchanged.", parameter)


def _check(key: bytes) -> bytes:
    return hashlib.blake2s(key, digest_size=_CHECK_BYTES, person=b"cursor").digest()


def _refused(detail: str, parameter: str) -> Refusal:
    return Refusal("invalid_parameter", detail, extra={"parameter": parameter})


def parse_time(text: str, *, parameter: str = "time") -> int:
    """Milliseconds since 1970 of an RFC 3339 time with its offset; finer fractions are cut off.

    A leap second is the next minute's first. Raises `Refusal` (`invalid_parameter`).
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise _refused("A time is written 2026-01-31T23:59:59.000Z (or +01:00; in a URL, write + as %2B).", parameter)
    clock, leap = found["time"], 0
    if clock.endswith(":60"):
        clock, leap = clock[:-2] + "59", 1
    try:
        # The offset is subtracted by hand: the years at the ends of the calendar have no room for it.
        at = datetime.fromisoformat(f"{found['date']}T{clock}+00:00")
        offset = timedelta(0) if found["sign"] is None else _offset(found)
    except ValueError:
        raise _refused("There is no such day or hour.", parameter) from None
    seconds = (at - _EPOCH - offset) // timedelta(seconds=1) + leap
    return seconds * 1000 + int((found["fraction"] or "0").ljust(3, "0")[:3])


def _offset(found: re.Match[str]) -> timedelta:
    hours, minutes = int(found["hours"]), int(found["minutes"])
    if minutes > 59:
        raise ValueError("minutes")
    offset = timezone(timedelta(hours=hours, minutes=minutes)).utcoffset(None)
    return offset if found["sign"] == "+" else -offset


def format_time(ms: int) -> str:
    """`ms` since 1970 as RFC 3339 in UTC with milliseconds. From year 1 to 9999."""
    seconds, thousandths = divmod(ms, 1000)
    whole = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{whole[:19]}.{thousandths:03d}Z"
