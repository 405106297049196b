"""Ids: made of the time, a counter and the process's own random bits; they sort by time.

    event     12 bytes   6 milliseconds since 1970, 2 counter, 4 random of the process
    delivery  16 bytes   its event's 12, then 4 that number the deliveries of the event from 1
    attempt   20 bytes   its delivery's 16, then the 4 of the fence it ran under
    endpoint  12 bytes   like an event; so are keys, replays, sources, quarantined requests and rejections

So the deliveries of an event are one range of keys, an index that need not be kept. A replay is a delivery
with 12 bytes of its own. Inside the program ids are bytes; outside they are a prefix and lower-case hex.
"""

from __future__ import annotations

from typing import Final

EVENT: Final = "evt_"
ENDPOINT: Final = "ep_"
DELIVERY: Final = "dlv_"
ATTEMPT: Final = "att_"
KEY: Final = "key_"
REPLAY: Final = "rpl_"
SOURCE: Final = "src_"
QUARANTINED: Final = "qrn_"
REJECTION: Final = "rej_"

ROOT_BYTES: Final = 12
DELIVERY_BYTES: Final = 16
ATTEMPT_BYTES: Final = 20
_LENGTHS: Final = {
    EVENT: ROOT_BYTES,
    ENDPOINT: ROOT_BYTES,
    DELIVERY: DELIVERY_BYTES,
    ATTEMPT: ATTEMPT_BYTES,
    KEY: ROOT_BYTES,
    REPLAY: ROOT_BYTES,
    SOURCE: ROOT_BYTES,
    QUARANTINED: ROOT_BYTES,
    REJECTION: ROOT_BYTES,
}
_COUNTER_BITS: Final = 16


class IdMaker:
    """Makes ids that never repeat and never go back, even when the clock does.

    `instance` is 4 random bytes drawn once per process.
    """

    def __init__(self, instance: bytes) -> None:
        assert len(instance) == 4
        self._instance = instance
        self._last = 0
        """Milliseconds and counter of the last one, as one number: a full counter carries into the milliseconds."""

    def make(self, now_ms: int) -> bytes:
        """A new 12-byte id for `now_ms`, above every id made before."""
        first = now_ms << _COUNTER_BITS
        last = self._last = first if first > self._last else self._last + 1
        return last.to_bytes(8, "big") + self._instance


def delivery_id(root: bytes, ordinal: int) -> bytes:
    """The id of delivery number `ordinal` (from 1) of the event `root`."""
    return root + ordinal.to_bytes(4, "big")


def last_delivery_id(root: bytes) -> bytes:
    """The highest id that a delivery of `root` can have: with `root` itself, the bounds of all of them."""
    return root + b"\xff" * (DELIVERY_BYTES - ROOT_BYTES)


def attempt_id(delivery: bytes, fence: int) -> bytes:
    """The id of the attempt that ran on `delivery` under `fence`."""
    return delivery + fence.to_bytes(4, "big")


def time_ms(identifier: bytes) -> int:
    """When an id was made, in milliseconds since 1970."""
    return int.from_bytes(identifier[:6], "big")


def floor(now_ms: int) -> bytes:
    """A key below every id made at or after `now_ms` and above those made before: a bound for ranges."""
    return max(0, now_ms).to_bytes(6, "big")


def text(prefix: str, identifier: bytes) -> str:
    """The outside form, as `evt_0193…`."""
    return prefix + identifier.hex()


def parse(prefix: str, value: str) -> bytes | None:
    """The bytes of an outside form, or None when it is not one."""
    digits = value[len(prefix) :]
    if not value.startswith(prefix) or len(digits) != 2 * _LENGTHS[prefix] or digits != digits.lower():
        return None
    try:
        identifier = bytes.fromhex(digits)
    except ValueError:
        return None
    return identifier if len(identifier) == _LENGTHS[prefix] else None
