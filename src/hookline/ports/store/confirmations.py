"""What receivers say after their answer: confirmations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.core.event import Event
from hookline.ports.store.record import OpenRef


class Unconfirmed(msgspec.Struct, frozen=True, gc=False):
    """An unconfirmed delivery that the receiver has spoken about, or whose deadline has passed."""

    ref: OpenRef
    event: Event
    tries: int
    """Tries used up, this one included."""
    attempts: int
    success: bool | None
    """What the receiver said; None: nothing, in time."""
    message: bytes = b""
    lane: str | None = None


class Confirmations(Protocol):
    """Confirmation of deliveries whose endpoint asks for it."""

    async def confirm(self, delivery_id: bytes, success: bool, message: bytes) -> bool:
        """Keep what the receiver says of a delivery; whether it counts.

        It counts if the delivery is UNCONFIRMED before its deadline and nothing was said yet: then it is due for
        `unconfirmed` at once. It also counts if the delivery is LEASED and nothing was said yet (receivers may
        confirm before they answer): kept until the next record of it as UNCONFIRMED, which is then due at once.

        A success that counts settles the delivery: it ends DELIVERED. Said while LEASED it outlives the attempt:
        recorded (or released) as PENDING, or recorded as FAILED or DISCARDED, it is UNCONFIRMED instead and due at
        once, and the record's events are not made. From then on only DELIVERED can be recorded, and nothing else
        closes it: nobody can discard it, it is neither expired nor overflow, and waits for its end though its
        endpoint is deleted. Erasing its event delivers it at once.

        An error is forgotten when the delivery is pending again, and everything when it is closed. In any other
        state, or a second time, it changes nothing. Unknown deliveries: False.
        """
        ...

    async def unconfirmed(self, limit: int = 500) -> Sequence[Unconfirmed]:
        """Those that are due, oldest deadline first. The flow records what becomes of them (fenced as ever)."""
        ...
