"""The consumer: a broker's messages come in by it, and are acknowledged there only when they are durable here.

An adapter is thin. It does not heal, wait or try again: whatever goes wrong raises `ConsumerLost`, and who runs it
closes it and opens another one (`flow.consume`). What was received and not acknowledged comes again then, or goes to
another process. `hookline.testing.consumer_contract` is what every adapter promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from hookline.core.bindings import Value
from hookline.core.source import Source

MESSAGES_MAX = 256
"""So many messages of one source are in flight: received, and not acknowledged yet."""
BYTES_MAX = 4 * 1024 * 1024
"""With so many bytes received, no further message is added to them."""


class ConsumerLost(Exception):
    """There is no connection to the broker, or what is consumed is not there. The text is one line for a person,
    without a credential."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of a broker."""

    body: bytes
    properties: Mapping[str, Value] = {}
    """Its headers, fields or properties as they came, but for the body; names keep their case."""
    content_type: str | None = None
    """Where the protocol has a place of its own for it; else it is one of `properties`."""
    topic: str = ""
    """The topic, subject, stream or routing key that it was published to."""
    key: str = ""
    """What the broker orders or partitions by; empty: nothing."""
    id: str = ""
    """The publisher's own id of it, where the broker's protocol has a place for one."""
    coordinates: str = ""
    """What tells it from any other message and stays the same when it comes again; empty: the broker has no such
    thing. Unique within its source, also after what it was read from was deleted and made anew."""
    time_ms: int | None = None
    """When it was published, ms since 1970, as far as the broker knows."""
    token: object = None
    """The adapter's own, for `acknowledge`."""


class Consumer(Protocol):
    """An open connection to what one source consumes. All methods raise `ConsumerLost`."""

    async def receive(self) -> Sequence[Message]:
        """The next messages in the broker's order, at least one; waits for it. At most `MESSAGES_MAX`, and none is
        added once they have `BYTES_MAX`. Not called again before these are acknowledged, or this is closed. Cancelling
        it loses nothing: what had been read comes again."""
        ...

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """They are durable: they need not come again. Those of one `receive`, in its order, maybe in several parts."""
        ...

    async def close(self) -> None:
        """End it, within some seconds. What was not acknowledged comes again, here or elsewhere. Never raises."""
        ...


class Broker(Protocol):
    """A kind of broker."""

    @property
    def kind(self) -> str:
        """As `Source.kind` has it."""
        ...

    async def open(self, source: Source) -> Consumer:
        """Connect, and begin where the source's group is. Every address is checked before it is connected to. Raises
        `ConsumerLost` within some seconds."""
        ...
