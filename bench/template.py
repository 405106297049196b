"""The requests that publish: 1 kB of an order, in every form that `POST /v1/events` takes, and as a provider's webhook.

`load` writes the tokens anew in each request: see load.c.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass

KEY = "hl_bench_0123456789"
TYPE = "bench.order.created"
PATTERN = "bench.order.*"
FILTER = {"data.currency": "EUR", "data.total": {"$gte": 100}}
"""Met by every order: the payload is read for it."""
BODY_BYTES = 1024
SEQ, NOW, KEY_TOKEN, NUM = (f"@@@@@@@@@@@@@{name}" for name in ("SEQ", "NOW", "KEY", "NUM"))
FORMATS = ("json", "json + id", "cloudevents structured", "cloudevents binary")
"""One event in a request. CloudEvents have an id, so they pay for telling duplicates as `json + id` does."""
RECEIVED = "received"
"""A webhook to a source: verified by HMAC, its type and id read from headers. What is signed stands in a header, as the
body is another one in each request. So hashing its 1 kB (about 1 µs) is not in the figure."""
SOURCE = "bench"
SOURCE_SECRET = "secret-of-the-bench"
_PROOF = "1760000000.0123456789abcdef"
BATCHES = ("array of", "cloudevents batch of")


def order(fill: str) -> dict[str, object]:
    """A payload as publishers have them, with the mark that the sink reads."""
    return {
        "mark": f"{SEQ}-{NOW}",
        "order": "ord_8f14e45fceea167a5a36dedd4bea2543",
        "customer": {"id": "cus_c9f0f895fb98ab91", "name": "Ada Lovelace", "email": "ada@example.org", "vip": False},
        "currency": "EUR",
        "total": 129.5,
        "lines": [
            {"sku": "A-1001", "title": "Analytical engine, small", "quantity": 1, "price": 99.5},
            {"sku": "B-2002", "title": "Punched cards, 500", "quantity": 3, "price": 10.0},
        ],
        "ship_to": {"street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH", "country": "GB"},
        "paid": True,
        "note": fill,
    }


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _filled(fill_bytes: int) -> dict[str, object]:
    words = "leave it with the neighbour if nobody opens; "
    return order((words * (fill_bytes // len(words) + 1))[:fill_bytes])


def _fill_bytes() -> int:
    """How much text makes the plain publish of an order exactly `BODY_BYTES` long."""
    return BODY_BYTES - len(_text({"type": TYPE, "data": order("")}))


@dataclass(frozen=True)
class Template:
    """A whole request with tokens, and how many events it publishes."""

    name: str
    request: bytes
    events: int = 1


def template(form: str = "json", *, event_type: str = TYPE, items: int = 1) -> Template:
    """The request in one of `FORMATS`, or of `items` events in one of `BATCHES`."""
    data = _filled(_fill_bytes())
    attributes = {"specversion": "1.0", "id": KEY_TOKEN, "source": "/bench", "type": event_type}
    plain = {"type": event_type, "data": data}
    cloud = attributes | {"datacontenttype": "application/json", "data": data}
    headers: dict[str, str] = {"content-type": "application/json"}
    if form == "json":
        body = _text(plain)
    elif form == "json + id":
        body = _text({"type": event_type, "id": KEY_TOKEN, "data": data})
    elif form == "cloudevents structured":
        headers["content-type"] = "application/cloudevents+json"
        body = _text(cloud)
    elif form == "cloudevents binary":
        headers |= {f"ce-{name}": value for name, value in attributes.items()}
        body = _text(data)
    elif form == "array of":
        body = _text([plain] * items)
    elif form == "cloudevents batch of":
        headers["content-type"] = "application/cloudevents-batch+json"
        body = _text([cloud] * items)
    elif form == RECEIVED:
        return Template(form, _request(_signed(event_type), _text(data).encode(), f"/in/{SOURCE}", key=False))
    else:
        raise ValueError(form)
    name = f"{form} {items}" if form in BATCHES else form
    return Template(name, _request(headers, body.encode()), items)


def source_spec() -> dict[str, object]:
    """The source that takes what is `RECEIVED`."""
    return {
        "name": SOURCE,
        "verifier": {"scheme": "hmac", "signature": "header:x-bench-signature", "content": "{header:x-bench-proof}"},
        "config": {"secret": SOURCE_SECRET},
        "reading": {"type": "header:x-bench-event", "id": "header:x-bench-delivery"},
    }


def _signed(event_type: str) -> dict[str, str]:
    """Headers as providers send them."""
    signature = hmac.new(SOURCE_SECRET.encode(), _PROOF.encode(), hashlib.sha256).hexdigest()
    return {
        "user-agent": "Bench-Hookshot/0123456",
        "accept": "*/*",
        "content-type": "application/json",
        "x-bench-event": event_type,
        "x-bench-delivery": KEY_TOKEN,
        "x-bench-hook-id": "292430182",
        "x-bench-proof": _PROOF,
        "x-bench-signature": signature,
    }


def _request(headers: dict[str, str], body: bytes, path: str = "/v1/events", *, key: bool = True) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        *([f"authorization: Bearer {KEY}"] if key else []),
        *(f"{name}: {value}" for name, value in headers.items()),
        f"content-length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def bare_body() -> bytes:
    """What the bare client sends: the body of a delivery of such an event, mark and all."""
    marked = _text(_filled(_fill_bytes())).replace(SEQ, "f" * 16).replace(NOW, "0" * 16)
    return f'{{"type":"{TYPE}","timestamp":"2026-01-01T00:00:00.000Z","data":{marked}}}'.encode()
