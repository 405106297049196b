"""W3C Trace Context: which `traceparent` is believed, and how a new one is made."""

from __future__ import annotations

import re
from typing import Final

RANDOM_BYTES: Final = 24
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CHARS_MAX = 512


def parse_traceparent(text: str) -> str | None:
    """The header as it is passed on, or None where it is not valid (a new trace begins then).

    Ids of zeros, version `ff`, upper case, and anything after the flags of version `00` are invalid. A later version
    is read as far as `00` goes and passed on as `00`, with no flag but `sampled`, as the standard asks.
    """
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "00":
        return text if more is None else None
    return f"00-{trace}-{parent}-{int(flags, 16) & 1:02x}"


def make_traceparent(random: bytes) -> str:
    """A new trace from 24 random bytes, marked as sampled: receivers that follow their parent record it."""
    assert len(random) == RANDOM_BYTES
    # Zeros are invalid; a set bit in each half keeps every 24 bytes good.
    return f"00-{random[:15].hex()}{random[15] | 1:02x}-{random[16:23].hex()}{random[23] | 1:02x}-01"
