"""Events and endpoints to test with: valid, small, and different by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.core import ids
from hookline.core.address import parse_url
from hookline.core.endpoint import CONCURRENCY_DEFAULT, RESPONSE_BYTES_DEFAULT, Endpoint, EndpointState, SigningKey
from hookline.core.event import TENANT_DEFAULT, Event, Origin
from hookline.core.retry import parse_retry
from hookline.ports.store import EndpointRow
from hookline.testing.clock import START_WALL_MS

SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  the example of the Standard Webhooks text
PACKED_ATTEMPT = b"\x93\xa4what\x00the\xffreceiver said"
"""Something that is neither text nor JSON: a store keeps it byte for byte and never looks inside."""

HOSTILE_DATA = bytes(range(256)) + '{"a": 1.0, "a": "é\U0001f600\\u0000"}'.encode()
"""Every byte there is, U+0000, repeated keys: a payload that only a byte for byte store gives back."""


def sample_id(number: int = 1, now_ms: int = START_WALL_MS) -> bytes:
    """The event or endpoint id number `number` (below 65,536) of the millisecond `now_ms`."""
    return ids.floor(now_ms) + number.to_bytes(2, "big") + b"test"


def sample_event(number: int = 1, now_ms: int = START_WALL_MS, **changes: Any) -> Event:
    """A small JSON event of tenant `default`, accepted at `now_ms`; `changes` are fields of `Event`."""
    event = Event(
        id=sample_id(number, now_ms),
        tenant=TENANT_DEFAULT,
        type="order.created",
        data=b'{"order": %d,  "total": 12.50}' % number,
    )
    return msgspec.structs.replace(event, **changes)


def full_event(number: int = 1, now_ms: int = START_WALL_MS, **changes: Any) -> Event:
    """An event with every field filled, its payload `HOSTILE_DATA`."""
    fields: dict[str, Any] = {
        "type": "stock.level/reorder:v2-a_b",
        "data": HOSTILE_DATA,
        "content_type": "application/octet-stream; charset=é",
        "source": "/shops/7?é=☃",
        "source_id": f"source-{number}-\U0001f600",
        "subject": "sku/é",
        "time": "2025-12-31T23:59:59.123456789+05:30",
        "ordering_key": "sku-é",
        "deliver_at_ms": now_ms + 60_000,
        "correlation_id": "correlation",
        "causation_id": "evt_causation",
        "hops": 3,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=value",
        "dataschema": "https://example.com/schema",
        "extensions": {"text": "é", "number": -(2**31), "flag": True, "no": False},
        "inbound": Origin("shops", "req_0123", "PUT", (("x-topic", "é"), ("x-topic", "again"))),
    }
    return sample_event(number, now_ms, **{**fields, **changes})


def endpoint_row(number: int = 1, now_ms: int = START_WALL_MS, **changes: Any) -> EndpointRow:
    """An active endpoint of tenant `default` without a uid, as it is given to `Registry.put_endpoint`."""
    row = EndpointRow(
        id=sample_id(number, now_ms),
        tenant=TENANT_DEFAULT,
        uid=None,
        state=EndpointState.ACTIVE,
        spec=b'{"url": "https://receiver.example/hooks/%d"}' % number,
        sealed=b"\x00sealed\xff%d" % number,
    )
    return msgspec.structs.replace(row, **changes)


def sample_endpoint(
    url: str = "http://127.0.0.1:9/hook", number: int = 1, *, kind: str = "http", **changes: Any
) -> Endpoint:
    """An active endpoint as senders get it, signing with `SIGNING_SECRET`; `changes` are fields of `Endpoint`."""
    signing: Sequence[SigningKey] = [SigningKey(SIGNING_SECRET)]
    endpoint = Endpoint(
        id=sample_id(number),
        tenant=TENANT_DEFAULT,
        version=1,
        state=EndpointState.ACTIVE,
        kind=kind,
        url=url,
        target=parse_url(url) if kind == "http" else None,
        config={},
        patterns=["*"],
        filter=None,
        method="POST",
        format="standard",
        headers=[],
        signing=signing,
        auth_headers=[],
        retry=parse_retry(None),
        success=None,
        rate=None,
        timeout_s=5.0,
        concurrency_max=CONCURRENCY_DEFAULT,
        lane=None,
        response_bytes_max=RESPONSE_BYTES_DEFAULT,
    )
    return msgspec.structs.replace(endpoint, **changes)
