"""The timestamp that a provider signs: read strictly, used verbatim, held against a tolerance in both directions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.verifiers.place import Place
from hookline.core.verifiers.request_parts import Parts, Unproven

UNITS: Final = ("s", "ms", "rfc3339")
UNIX_DIGITS: Final = 10
"""Unix seconds from 2001 to 2286. Where nothing separates a timestamp from what follows it, only a fixed number of
digits keeps a forger from moving the border between the two."""
_DIGITS: Final = re.compile(r"[0-9]{1,16}")
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """How one is read."""

    place: Place | None = None
    """None: a field of the signature's own text."""
    field: str = ""
    unit: str = "s"
    digits: int = 0
    """So many, exactly; 0: 1 to 16."""
    number: bool = False
    """In a body only a JSON number will do."""

    def text(self, parts: Parts, item: Any) -> str:
        """As it was signed. Raises `Unproven`."""
        assert self.place is not None
        found = self.place.values(parts, item, "malformed_timestamp")[0]
        if isinstance(found, str) and not self.number:
            return found
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**16:
            return str(found)
        raise Unproven("malformed_timestamp", f"{self.place} is not the timestamp that was expected")

    def seconds(self, text: str) -> float:
        """Since 1970. Raises `Unproven`."""
        if self.unit == "rfc3339":
            return _rfc3339_s(text)
        if _DIGITS.fullmatch(text) is None or (self.digits and len(text) != self.digits):
            raise Unproven("malformed_timestamp", "the timestamp is not a plain whole number of the expected length")
        return int(text) / 1000 if self.unit == "ms" else float(int(text))


def check_fresh(at_s: float, now_s: float, tolerance_s: float) -> None:
    """Raise `Unproven` unless `at_s` is at most `tolerance_s` before or after `now_s`."""
    if not abs(now_s - at_s) <= tolerance_s:
        raise Unproven("stale", f"the timestamp is {abs(now_s - at_s):.0f} s from now, more than {tolerance_s:g} s")


def _rfc3339_s(text: str) -> float:
    import datetime as dt

    if _RFC3339.fullmatch(text) is not None:
        try:
            return dt.datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            pass  # a 13th month
    raise Unproven("malformed_timestamp", "the timestamp is not RFC 3339")
