"""An event: something that happened, in the words of CloudEvents 1.0, its payload kept byte for byte."""

from __future__ import annotations

import msgspec

from hookline.core import ids

JSON = "application/json"
TENANT_DEFAULT = "default"


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The inbound request that an event came in by. New fields go to the end: it is stored in this form."""

    source: str
    """The name of the source."""
    request_id: str
    """`req_…`: the same for all events of one request."""
    method: str
    headers: tuple[tuple[str, str], ...] = ()
    """Those that the source keeps, in order, names in lower case; never a credential."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One accepted (or about to be accepted) event. Immutable.

    Texts are the publisher's, checked at the door (`core.publish`); `data` are the payload's bytes as he wrote
    them, of content type `content_type`. `extensions` are CloudEvents extension attributes that we do not know.
    """

    id: bytes
    """12 bytes, see `core.ids`. Its outside form is the event's id in the API and the `webhook-id`."""
    tenant: str
    type: str
    data: bytes
    content_type: str = JSON
    source: str = ""
    """CloudEvents `source`; empty where the publisher named none."""
    source_id: str | None = None
    """The publisher's own `id`: used for duplicates and as the CloudEvents `id`."""
    subject: str | None = None
    time: str | None = None
    """When it happened, RFC 3339, as the publisher wrote it; None: when it was accepted."""
    ordering_key: str | None = None
    deliver_at_ms: int | None = None
    """Not to be delivered before this instant (store's clock, ms since 1970)."""
    correlation_id: str | None = None
    causation_id: str | None = None
    hops: int = 0
    """How many events of ours caused this one; an event beyond `HOPS_MAX` is never made."""
    traceparent: str | None = None
    tracestate: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None
    inbound: Origin | None = None
    """None: it was published, or made here."""
    erased: bool = False
    """Its payload was erased on request: `data` is empty, and it is never sent again."""

    @property
    def accepted_at_ms(self) -> int:
        """When it was accepted, in ms since 1970 by the store's clock."""
        return ids.time_ms(self.id)

    @property
    def public_id(self) -> str:
        """`evt_…`: the id in the API and the `webhook-id`."""
        return ids.EVENT + self.id.hex()

    @property
    def size_bytes(self) -> int:
        """What it counts against limits in bytes."""
        return len(self.data) + 512


HOPS_MAX = 8
EVENT_BYTES_MAX = 1024 * 1024
REQUEST_BYTES_MAX = 16 * 1024 * 1024
BATCH_ITEMS_MAX = 1000
JSON_DEPTH_MAX = 128
DELIVER_AT_AHEAD_S_MAX = 30 * 86_400
