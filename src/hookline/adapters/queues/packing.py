"""A message on its way: which form it has, and the ids. Versions n and n + 1 of the program read each other's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hookline.ports.queue import IDS_PER_MESSAGE_MAX

FORM: Final = 1
"""The first byte. What has another one is not read: a hint is lost, which costs time only."""


def packed(delivery_ids: Sequence[bytes]) -> bytes:
    """Ids as one message: of each its length and itself; 256 of the longest are about 4 KiB."""
    return bytes((FORM,)) + b"".join(bytes((len(one),)) + one for one in delivery_ids)


def packed_messages(delivery_ids: Sequence[bytes]) -> Iterator[bytes]:
    """Ids as messages of at most 256."""
    for start in range(0, len(delivery_ids), IDS_PER_MESSAGE_MAX):
        yield packed(delivery_ids[start : start + IDS_PER_MESSAGE_MAX])


def unpacked(raw: bytes) -> tuple[bytes, ...] | None:
    """The ids of a message; None for what is none of ours: others may write to a broker, too."""
    if not raw or raw[0] != FORM:
        return None
    found: list[bytes] = []
    at = 1
    while at < len(raw):
        end = at + 1 + raw[at]
        if end > len(raw) or end == at + 1 or len(found) == IDS_PER_MESSAGE_MAX:
            return None
        found.append(raw[at + 1 : end])
        at = end
    return tuple(found) or None
