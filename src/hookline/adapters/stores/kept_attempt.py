"""An attempt as every store keeps it, packed: what a stream shows of it, and what an erased event leaves of it."""

from __future__ import annotations

import msgspec

from hookline.core import ids
from hookline.core.attempt import BodyEncoding, Kind
from hookline.core.history import AttemptRecord


def shown(packed: bytes) -> AttemptRecord:
    """Without its exchange, as those who read along see it."""
    try:
        record = AttemptRecord.unpack(packed)
    except msgspec.DecodeError:
        return AttemptRecord(number=0, at_ms=0, kind="", detail="what is stored of this attempt cannot be read")
    return msgspec.structs.replace(record, exchange=None)


def without_exchange(packed: bytes, delivery_id: bytes, fence: int) -> bytes:
    """Without what was sent and answered, packed again."""
    try:
        record = AttemptRecord.unpack(packed)
    except msgspec.DecodeError:  # what cannot be read may hold anything
        return AttemptRecord(number=fence, at_ms=ids.time_ms(delivery_id), kind=Kind.RETRY.value).pack()
    exchange = record.exchange
    if exchange is not None:
        exchange = msgspec.structs.replace(
            exchange,
            body_prefix=b"",
            body_suffix=b"",
            body_encoding=int(BodyEncoding.NONE),
            response_headers=[],
            response_body=b"",
        )
    return msgspec.structs.replace(record, detail="", exchange=exchange).pack()
