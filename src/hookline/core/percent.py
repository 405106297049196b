"""Percent-encoding (RFC 3986, 2.1), strict both ways: UTF-8, upper-case digits, and nothing guessed."""

from __future__ import annotations

import re
from typing import Final

UNRESERVED: Final = re.compile(rb"[^A-Za-z0-9._~-]")
"""Keeps what a URI never reserves."""
VISIBLE: Final = re.compile(rb'[^!-~]|["%]')
"""Keeps visible ASCII but the quote and the percent sign."""

_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_LONE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def encode(text: str, odd: re.Pattern[bytes]) -> str:
    """`text` with every byte that `odd` finds encoded."""
    return odd.sub(lambda found: b"%%%02X" % found[0][0], text.encode()).decode("ascii")


def decode(text: str) -> str:
    """What was encoded. Raises `ValueError` for a % that encodes nothing and for bytes that are not UTF-8."""
    if "%" not in text:
        return text
    if _LONE.search(text):
        raise ValueError("has a % that is not followed by two hex digits")
    try:
        return _ENCODED.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), text.encode()).decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 when percent-decoded") from None
