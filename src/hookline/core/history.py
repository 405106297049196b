"""What is kept of one attempt: the record that the store holds as opaque bytes and the API shows.

Packed as a MessagePack array, so fields are only ever appended, each with a default: what version n wrote,
versions n - 1 and n + 1 read.
"""

from __future__ import annotations

import msgspec

from hookline.core.attempt import Exchange, Outcome, Timing


class AttemptRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt as it is kept. Everything the receiver said is bytes (see `Exchange`)."""

    number: int
    """From 1, probes included."""
    at_ms: int
    """When it began, ms since 1970."""
    kind: str
    """The outcome's `Kind`: `delivered`, `retry`, `rejected`, `gone`, `unconfirmed`."""
    status: int | None = None
    reason: str | None = None
    """A key of `attempt.REASONS`, unless delivered."""
    cause: str | None = None
    detail: str = ""
    """One line for a person."""
    duration_us: int = 0
    timing: Timing = Timing()
    next_wait_s: float | None = None
    """Seconds from its end until the delivery was due again; None: there was no next one."""
    endpoint_version: int = 0
    """The registry version of the endpoint it ran with."""
    exchange: Exchange | None = None
    """What was sent and what came back; None for senders that have no such thing."""

    def pack(self) -> bytes:
        """The bytes for `RecordItem.attempt`; see also `pack_attempt`."""
        return _ENCODER.encode(self)

    @staticmethod
    def unpack(packed: bytes) -> AttemptRecord:
        """The record that was packed. Raises `msgspec.DecodeError` when it is none."""
        return _DECODER.decode(packed)


def pack_attempt(
    outcome: Outcome,
    *,
    number: int,
    at_ms: int,
    kind: str,
    reason: str | None,
    cause: str | None,
    next_wait_s: float | None,
    endpoint_version: int,
) -> bytes:
    """What `AttemptRecord.pack` makes of an attempt that came to this outcome, in one step: every delivery pays it.

    The arguments are the record's fields; an exchange that is packed already is taken as it is.
    """
    timing = outcome.timing
    return _ENCODER.encode(
        (
            number,
            at_ms,
            kind,
            outcome.status,
            reason,
            cause,
            outcome.detail,
            timing.total_us,
            timing,
            next_wait_s,
            endpoint_version,
            outcome.exchange,
        )
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(AttemptRecord)
