"""Chance that can be repeated: the same seed gives the same ids, names and keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")
DIGITS: Final = "0123456789"
HEX: Final = "0123456789abcdef"
LOWER: Final = "abcdefghijklmnopqrstuvwxyz" + DIGITS
UPPER: Final = LOWER.upper()
BASE62: Final = DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"


class Dice:
    """An endless row of bytes made of a seed. As good as its seed: of 16 random bytes or more, it cannot be guessed."""

    __slots__ = ("_key", "_left", "_place")

    def __init__(self, seed: str | bytes) -> None:
        self._key = hashlib.sha256(seed.encode("utf-8", "surrogatepass") if isinstance(seed, str) else seed).digest()
        self._place = 0
        self._left = b""

    def fork(self, name: str) -> Dice:
        """Other dice, that depend on the seed and the name alone and not on what was thrown before."""
        return Dice(self._key + name.encode("utf-8", "surrogatepass"))

    def bytes(self, count: int) -> bytes:
        """The next so many bytes."""
        while len(self._left) < count:
            self._left += hashlib.sha256(self._key + self._place.to_bytes(8, "big")).digest()
            self._place += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1, each as likely as the others (to one in 2 to the 64th)."""
        assert limit >= 1
        return int.from_bytes(self.bytes((limit.bit_length() + 64 + 7) // 8), "big") % limit

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of them."""
        return items[self.below(len(items))]

    def text(self, alphabet: str, length: int) -> str:
        """So many characters of an alphabet."""
        return "".join(self.choice(alphabet) for _ in range(length))

    def number(self, length: int) -> str:
        """So many decimal digits, the first of them not 0."""
        return self.choice(DIGITS[1:]) + self.text(DIGITS, length - 1)

    def uuid(self) -> str:
        """A UUID of version 4."""
        raw = bytearray(self.bytes(16))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        digits = raw.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
