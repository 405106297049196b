"""What fuzzing begins with: the corpora of the other tests, in the forms that the checks read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.acceptance.hostile import AUTH, BODIES, CHUNKED_GOOD, EVENT, GOOD, HOST, JSON, REQUESTS, head
from tests.adapters.senders.test_answer import COMPLETE, EXTRA, FAULTY
from tests.core.test_publish_json import BROKEN
from tests.core.verifiers.signed_requests import JSON_BODY, NOW_S, ROWS
from tests.web.test_hostile_values import ENDPOINT, KEY, OF_EVENTS, REPLAY, TENANT

SEED_BYTES_MAX = 4096

_TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_PUBLISHED = {
    "type": "order.created", "data": {"id": 7, "total": 1.50, "lines": [{"sku": "a"}, {"sku": "é"}]}, "id": "o-7",
    "source": "/shop", "subject": "order 7", "time": "2026-01-31T23:59:59.5Z", "ordering_key": "k",
    "deliver_at": "2026-09-21T23:59:59Z", "correlation_id": "c",
}  # fmt: skip
_CLOUD = {
    "specversion": "1.0", "id": "o-7", "source": "/shop", "type": "order.created", "subject": "é\"%", "data": {"a": [1]},
    "time": "2026-01-31T23:59:59Z", "partitionkey": "p", "extension": 7, "flag": True, "text": "%41", "dataschema": "s",
    "correlationid": "c", "causationid": "d", "orderingkey": "k", "deliverat": "2026-09-21T23:59:59Z",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
}  # fmt: skip
_BINARY = f'ce-specversion: 1.0\nce-id: o-7\nce-source: /shop\nce-type: order.created\nce-subject: %C3%A9"\n{_TRACE}'
_FILTERS: list[Any] = [
    {"type": "order.created", "data": {"total": {"$gt": 1, "$lte": 9.5}}},
    {
        "$or": [{"data.lines.sku": "a"}, {"$not": {"subject": {"$startsWith": ["order", "x"]}}}],
        "source": {"$exist": True},
    },
    {
        "data": {
            "lines": {"$contains": {"$ref": "data.lines[0]"}},
            "tags": ["a", "b"],
            "n": {"$in": [1, 2.0, "x", None]},
        }
    },
    {
        "data": {"lines": {"sku": {"$nin": ["a"]}}},
        "$and": [{"type": {"$endsWith": "d"}}, {"data": {"a.b": {"$ne": 1}}}],
    },
    {"data": {"total": {"$eq": {"a": [1, {"b": None}]}}, "x": {"$neq": {"$ref": "subject"}}, "y": {"$exists": False}}},
]
_PAYLOADS: list[Any] = [
    {
        "id": 7,
        "total": 1.5,
        "lines": [{"sku": "a"}, {"sku": "b"}],
        "tags": ["b", "a"],
        "n": [2],
        "a": {"b": 1},
        "a.b": 2,
    },
    {"total": {"a": [1, {"b": None}]}, "x": "order 7", "lines": [[[{"sku": "x"}]], "sku"]},
    [1, [2, [3]], {"a": [True, None, 1.0, "1"]}],
    "text",
    None,
]
_SCHEMAS: list[Any] = [
    {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer", "minimum": 1}}},
    {
        "anyOf": [
            {"type": "string", "maxLength": 3},
            {"type": "array", "items": {"enum": [1, "a"]}, "uniqueItems": True},
        ]
    },
    {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
    {"oneOf": [{"const": 1}, {"not": {"type": "null"}}], "if": {"type": "number"}, "then": {"multipleOf": 0.5}},
    {"prefixItems": [{"type": "number"}], "contains": {"type": "string"}, "minContains": 1, "unevaluatedItems": False},
    {
        "patternProperties": {"^a": {"format": "uuid"}},
        "additionalProperties": False,
        "propertyNames": {"pattern": "^."},
    },
    {"dependentSchemas": {"a": {"required": ["b"]}}, "minProperties": 1, "unevaluatedProperties": {"type": "boolean"}},
    {"$id": "https://a.example/s", "$anchor": "x", "allOf": [{"$ref": "#x"}, {"$ref": "https://a.example/s"}]},
    True,
]
_TEXTS = [
    "https://receiver.example/hook?a=b", "http://127.0.0.1:8080/", "http://[2001:db8::1]:443/x", "https://bücher.example/é",
    "http://0x7f.1/", "https://xn--bcher-kva.example./", "http://user@host/", "https://１２７.0.0.1/", "http://a..b/",
    "https://a.example:65535?x#y", "bücher.example", "2026-01-31T23:59:60.123456789+01:00", "0001-01-01T00:00:00+23:59",
    "9999-12-31t23:59:59z", "Wed, 21 Oct 2026 07:28:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
    "120", "1.5", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "hl_acceptance_0123456789", "acme", "..",
    "10.0.0.2, 192.0.2.1:80", "[2001:db8::1]:443, ::ffff:10.0.0.1, fe80::1%eth0", "evt_" + "0a" * 12, "ep_" + "00" * 12,
    "kUZvA2s", "%C3%A9%zz", '"quoted \\" %41"', "event: a\nid: 1\ndata: x\ndata: y\n\n", "\ufeffdata:z\r\n\r\nretry: 10\r\r",
    ": c\nid: \0\ndata\n\nid\n\ndata: last",
]  # fmt: skip


def front() -> list[bytes]:
    """Requests, hostile ones and several on one connection."""
    expects = head(b"POST /v1/events HTTP/1.1", JSON[:-2], b"content-length: %d" % len(EVENT), b"expect: 100-continue")
    upgrade = head(b"GET /x HTTP/1.1", b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AA")
    proxied = head(b"GET /v1/stats?a=b HTTP/1.1", b"x-forwarded-for: 10.0.0.1, 192.0.2.9", b"x-forwarded-for: ::1")
    old = head(b"GET / HTTP/1.0", b"connection: keep-alive")
    absolute = head(b"GET http://a.example/x?y HTTP/1.1")
    trailers = head(b"PUT /x HTTP/1.1", b"transfer-encoding: chunked") + b"3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n"
    streams = [
        GOOD, CHUNKED_GOOD, GOOD + GOOD, GOOD + CHUNKED_GOOD + old, expects + EVENT, upgrade + GOOD, proxied * 3, absolute,
        trailers + GOOD, head(b"HEAD /x HTTP/1.1") + GOOD, head(b"OPTIONS * HTTP/1.1"), expects + EVENT + GOOD,
        b"\r\n" + GOOD, GOOD[:-5], b"POST /v1/events HTTP/1.1\r\n" + HOST + AUTH + b"Content-Length:0\r\n\r\n" + GOOD,
    ]  # fmt: skip
    return [*streams, *REQUESTS.values()]


def publication() -> list[bytes]:
    """Publications in every mode, and the bodies that are refused."""
    own = b"content-type: application/json\n\n"
    structured = b"content-type: application/cloudevents+json\n\n"
    batch = b"content-type: application/cloudevents-batch+json; charset=utf-8\n" + _TRACE.encode() + b"\n\n"
    event, cloud = (json.dumps(one, ensure_ascii=False).encode() for one in (_PUBLISHED, _CLOUD))
    encoded = json.dumps({**_CLOUD, "data": None, "data_base64": "AAEC", "datacontenttype": "image/png"}).encode()
    text = json.dumps({**_CLOUD, "data": "text", "datacontenttype": "text/plain"}).encode()
    binary = _BINARY.encode("latin-1")
    return [
        own + event, own + b"[" + event + b", " + event + b",1]", own + EVENT, structured + cloud, structured + text,
        structured + encoded.replace(b'"data": null, ', b""), batch + b"[" + cloud + b"," + text + b"]",
        binary + b"\ncontent-type: application/json\n\n" + b'{"a": [1.0, 1e400]}', binary + b"\n\n", own,
        binary + b"\ncontent-type: text/plain\nce-deliverat: 2026-09-21T00:00:00Z\n\nhello",
        *(own + body for body in (*BODIES.values(), *BROKEN)),
    ]  # fmt: skip


def answer() -> list[bytes]:
    """Answers, right and wrong, each with two ways of asking."""
    rows = [row[0] for row in COMPLETE.values()] + [*FAULTY.values(), *EXTRA.values()]
    return [asked + row for row in rows for asked in (b"\x04", b"\xff")]


def filters() -> list[bytes]:
    """Each filter with each payload."""
    return _pairs(_FILTERS, _PAYLOADS)


def schemas() -> list[bytes]:
    """Each schema with each payload."""
    return _pairs(_SCHEMAS, _PAYLOADS)


def proofs() -> list[bytes]:
    """Secrets of each kind with signatures of each kind."""
    from hookline.core.secret import public_key

    seed = "whsk_" + "A" * 43 + "="
    secrets = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_YQ",
        seed,
        public_key(seed) or "",
        "whsec_",
        "whsec_YR==",
    ]
    signatures = [
        "good",
        "v1,good v1a,x good",
        "v1",
        "v1,a,b",
        "v1," + "A" * 43 + "=",
        "v1a," + "A" * 86 + "==",
        " ",
        "v2,x",
    ]
    return [
        f"{secret}\nmsg_1\nnow\n{signature}\n".encode() + body
        for secret in secrets
        for signature in signatures
        for body in (EVENT, b"\xff\0")
    ]


def configuration() -> list[bytes]:
    """Documents of every kind, with a patch."""
    patch = {
        "retry": {"preset": "five", "on": {"5xx": "escalate", "409": {"retry": {"schedule_s": [1]}}}},
        "filter": None,
    }
    endpoint = {
        **ENDPOINT, "filter": _FILTERS[0], "format": "cloudevents", "success_when": {"status": [200, "2xx"], "filter": {"body": {"ok": True}}},
        "retry": {"first_s": 1, "factor": 2, "attempts": 5, "on": {"gone": "disable", "400-499": "fail"}},
    }  # fmt: skip
    short = {"since": "2020-01-01T00:00:00Z", "state": "failed", "dry_run": True}
    own = [ENDPOINT, endpoint, {"url": "https://a.example/"}, TENANT, KEY, REPLAY, OF_EVENTS, short]
    return _pairs(
        own, [patch, {}, {"headers": {"x": "y"}, "metadata": {"a": None}, "auth": {"kind": "bearer", "token": "t"}}]
    )


def texts() -> list[bytes]:
    """One text each, and addresses as bytes."""
    addresses = [b"\x7f\0\0\1", b"\x08\x08\x08\x08", bytes(15) + b"\1", b"\x20\x01\x48\x60" + bytes(12)]
    return [text.encode() for text in _TEXTS] + addresses


def _pairs(first: list[Any], second: list[Any]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" + json.dumps(two).encode() for one in first for two in second]


def verifiers() -> list[bytes]:
    """The vectors of all providers, requests signed as they sign, and some schemes of one's own."""

    def seed(asked: dict[str, Any], headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [json.dumps(asked), *(f"{name}: {value}" for name, value in headers.items())]
        return "\n".join(lines).encode("latin-1") + b"\n\n" + body

    path = Path(__file__).parents[1] / "core" / "verifiers" / "vectors.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    asked = (
        {"preset": one["provider"], **{key: one[key] for key in ("config", "now", "method", "url")}} for one in vectors
    )
    made = [seed(ask, one["headers"], one["body"].encode()) for ask, one in zip(asked, vectors, strict=True)]
    post = {"method": "POST", "url": "https://h.example/in/x?key=k", "now": NOW_S}
    made += [seed({"preset": row.name, "config": row.config_of(), **post}, row.headers(), JSON_BODY) for row in ROWS]
    signed: dict[str, Any] = {
        "scheme": "hmac",
        "signature": "header:x-a",
        "content": "{timestamp}.{header:x-b?}.{body}",
    }
    signed |= {"item_separator": ",", "field": "v1", "timestamp": "field:t", "encoding": "base64", "tolerance_s": None}
    schemes: list[dict[str, Any]] = [
        signed,
        {"scheme": "hmac", "signature": "body:mac", "content": "{body:id}:{body:n?}", "each": "items.*", "key": "hex"},
        {"scheme": "public_key", "signature": "form:sig", "algorithm": "rsa-sha256", "content": "{form:a}{url}"},
        {"scheme": "client_certificate", "form": "pem", "header": "x-a"},
        {"scheme": "jwt", "issuer": "https://i.example", "audience": "us", "algorithms": "HS256"},
        {"scheme": "static", "header": "x-a", "query": "key"},
        {"scheme": "basic"},
    ]
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-A": "t=1760000000,v1=AAAA", "X-B": "b"}
    config = {"secret": "00ff", "username": "u", "password": "p", "fingerprint": "00" * 32, "public_key": "AAAA"}
    made += [seed({"scheme": one, "config": config, **post}, headers, b"sig=AAAA&a=b") for one in schemes]
    return made


SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    function.__name__: function
    for function in (front, publication, answer, filters, schemas, proofs, configuration, verifiers, texts)
}
_WORDS: Mapping[str, str] = {
    "front": "content-length: |transfer-encoding: chunked|\r\n|\r\n\r\n|0\r\n\r\n| HTTP/1.1|host: a|expect: 100-continue"
    "|connection: close|connection: upgrade|upgrade: h2c|POST /v1/events |GET |HEAD |HTTP/1.0|, |\t|chunked|;a=b|:|%|*"
    "|authorization: Bearer |x-forwarded-for: |content-type: application/json|idempotency-key: k|5\r\nhello\r\n|\n|\r",
    "answer": "HTTP/1.1 |HTTP/1.0 |200|204|304|100|101|content-length: 2|transfer-encoding: chunked|\r\n|\r\n\r\n|gzip"
    "|keep-alive: timeout=5|connection: close|0\r\n\r\n|ffffffffffffffff|upgrade: x|;a=b|\n|\r|\t",
    "publication": "content-type: application/json|application/cloudevents+json|ce-|\n\n|\"type\"|\"data\"|\\u0000|\\ud800|{|}|[|]"
    "|\"data_base64\"|1e999|\"specversion\":\"1.0\"|charset=utf-8|%C3%A9|null|\\\"|NaN|\xc3\xa9",
    "filters": "$eq|$neq|$ne|$gt|$gte|$lt|$lte|$in|$nin|$contains|$startsWith|$endsWith|$exist|$exists|$ref|$and|$or|$not"
    "|data|data.lines|data.lines[0].sku|type|subject|sku|lines|tags|total|a.b",
    "schemas": "type|properties|required|items|prefixItems|anyOf|oneOf|allOf|not|if|then|else|$ref|$defs|#/$defs/n|#|const"
    "|enum|pattern|^a+$|format|uuid|date-time|minimum|maxLength|uniqueItems|contains|minContains|dependentSchemas"
    "|additionalProperties|unevaluatedProperties|unevaluatedItems|propertyNames|multipleOf|$anchor|$id|string|object"
    "|array|number|integer|null|boolean|dependentRequired|patternProperties|minItems|$dynamicRef|$dynamicAnchor",
    "verifiers": "v1=|v0=|t=|ts=|h1=|sha256=|v1,|v1a,|Bearer |Basic |JWT |\n\n|\n|{|}|[|]|\"secret\"|\"config\"|null|whsec_|whpk_"
    "|multipart/form-data; boundary=x|--x|application/x-www-form-urlencoded|signature=|timestamp=|token=|1760000000|=|==|&"
    "|-----BEGIN CERTIFICATE-----|.|eyJhbGciOiJub25lIn0|OPTIONS|GET|HEAD|hub.mode=subscribe|challenge=|%|<!DOCTYPE|<a/>",
    "proofs": "whsec_|whsk_|whpk_|good|now|v1,|v1a,| |=|==|msg_1|.|1790000000",
    "configuration": "url|event_types|filter|retry|schedule_s|first_s|factor|attempts|wait_s_max|jitter|on|preset|five|5xx"
    "|409|timeout|fail|disable|escalate|headers|auth|kind|bearer|token|secret|rate|n|per_s|burst|format|order|verify"
    "|success_when|status|2xx|metadata|uid|scopes|operator|publish|tenant|expires_at|state|failed|since|until|dry_run",
    "texts": "https://|http://|[|]|@|:|%|.|..|xn--|0x|127.|::|é|。|１|/|?|#|2026-01-31T|23:59:60|+01:00|Z|GMT|data: |id: "
    "|\n\n|\r|\r\n|retry: |event: |, |-|00-|\ufeff|\u00ad|ß",
}  # fmt: skip


@cache
def seeds(name: str) -> list[bytes]:
    """The inputs that a target begins with, none above 4 KiB."""
    return [seed for seed in SEEDS[name]() if len(seed) <= SEED_BYTES_MAX]


@cache
def words(name: str) -> tuple[str, ...]:
    """What is put into inputs."""
    return tuple(_WORDS[name].split("|"))
