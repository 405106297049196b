"""Malformed and hostile requests, by name: what must be answered with a 4xx and never with a 5xx or silence.

`REQUESTS` are whole requests as bytes, from the request line on. `BODIES` are bodies for a well-formed publish.
"""

from __future__ import annotations

from collections.abc import Iterator

KEY = b"hl_acceptance_0123456789"
AUTH = b"authorization: Bearer " + KEY + b"\r\n"
HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\n"
EVENT = b'{"type":"hostile","data":1}'


def head(line: bytes = b"POST /v1/events HTTP/1.1", *fields: bytes, auth: bytes = AUTH, host: bytes = HOST) -> bytes:
    """A request's head."""
    return line + b"\r\n" + host + auth + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def sized(body: bytes = EVENT, *fields: bytes) -> bytes:
    """A publish with its length."""
    return head(b"POST /v1/events HTTP/1.1", JSON[:-2], b"content-length: %d" % len(body), *fields) + body


def chunked(*pieces: bytes, fields: tuple[bytes, ...] = ()) -> bytes:
    """A publish whose body is these bytes after a chunked head."""
    lines = (JSON[:-2], b"transfer-encoding: chunked", *fields)
    return head(b"POST /v1/events HTTP/1.1", *lines) + b"".join(pieces)


GOOD = sized()
CHUNKED_GOOD = chunked(b"%x\r\n" % len(EVENT), EVENT, b"\r\n0\r\n\r\n")


def _framing() -> Iterator[tuple[str, bytes]]:
    n = b"content-length: %d" % len(EVENT)
    yield "length and chunked", head(b"POST /v1/events HTTP/1.1", n, b"transfer-encoding: chunked") + b"0\r\n\r\n"
    yield "chunked and length", head(b"POST /v1/events HTTP/1.1", b"transfer-encoding: chunked", n) + b"0\r\n\r\n"
    yield "two lengths", head(b"POST /v1/events HTTP/1.1", n, b"content-length: 1") + EVENT
    yield "two equal lengths", head(b"POST /v1/events HTTP/1.1", n, n) + EVENT
    yield "length list", head(b"POST /v1/events HTTP/1.1", n + b", 27") + EVENT
    for value in (b"-1", b"+27", b"0x1b", b"27abc", b"2 7", b"1e1", b"", b"9" * 40, b"\xb2\xb7", b"27;"):
        yield f"length {value[:10]!r}", head(b"POST /v1/events HTTP/1.1", b"content-length: " + value) + EVENT
    for value in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"xchunked", b"chunked, chunked", b""):
        field = b"transfer-encoding: " + value
        yield f"coding {value!r}", head(b"POST /v1/events HTTP/1.1", field) + b"0\r\n\r\n"
    two = (b"transfer-encoding: chunked", b"transfer-encoding: chunked")
    yield "two codings", head(b"POST /v1/events HTTP/1.1", *two) + b"0\r\n\r\n"
    line = b"POST /v1/events HTTP/1.0"
    yield "chunked in 1.0", head(line, b"transfer-encoding: chunked") + b"0\r\n\r\n"
    yield "space before colon", head(b"POST /v1/events HTTP/1.1", b"content-length : 27") + EVENT
    yield "folded header", head(b"POST /v1/events HTTP/1.1", b"x: a\r\n b", n) + EVENT
    for size in (b"zz", b"-1", b"0x1b", b" 1b", b"", b"f" * 20, b"1b\n"):
        yield f"chunk size {size!r}", chunked(size, b"\r\n", EVENT, b"\r\n0\r\n\r\n")
    yield "chunk without end", chunked(b"%x\r\n" % len(EVENT), EVENT, b"XX0\r\n\r\n")
    yield "chunk too short", chunked(b"5\r\n", EVENT, b"\r\n0\r\n\r\n")
    yield "chunk extension flood", chunked(b"1b;" + b"a=b;" * 60_000 + b"\r\n", EVENT, b"\r\n0\r\n\r\n")
    yield "trailer flood", chunked(b"%x\r\n" % len(EVENT), EVENT, b"\r\n0\r\n", b"x: y\r\n" * 5_000, b"\r\n")
    yield "one-byte chunks", chunked(b"".join(b"1\r\n \r\n" for _ in range(200_000)), b"0\r\n\r\n")


def _heads() -> Iterator[tuple[str, bytes]]:
    n = b"content-length: %d" % len(EVENT)
    yield "no host", head(host=b"")
    yield "two hosts", head(b"POST /v1/events HTTP/1.1", b"host: other", n) + EVENT
    yield "100 KiB header", head(b"POST /v1/events HTTP/1.1", b"x: " + b"a" * 100_000, n) + EVENT
    yield "64 KiB in many", head(b"POST /v1/events HTTP/1.1", *[b"x%d: " % i + b"a" * 900 for i in range(80)], n)
    yield "20,000 headers", head(b"POST /v1/events HTTP/1.1", *[b"x: y"] * 20_000, n) + EVENT
    yield "101 headers", head(b"POST /v1/events HTTP/1.1", *[b"x%d: y" % i for i in range(101)], n) + EVENT
    yield "2 MiB header", head(b"POST /v1/events HTTP/1.1", b"x: " + b"a" * 2_097_152, n) + EVENT
    yield "NUL in a value", head(b"POST /v1/events HTTP/1.1", b"x: a\0b", n) + EVENT
    yield "bare CR in a value", head(b"POST /v1/events HTTP/1.1", b"x: a\rb: c", n) + EVENT
    yield "control in a name", head(b"POST /v1/events HTTP/1.1", b"x\x01: y", n) + EVENT
    yield "no colon", head(b"POST /v1/events HTTP/1.1", b"nonsense", n) + EVENT
    yield "empty name", head(b"POST /v1/events HTTP/1.1", b": y", n) + EVENT
    yield "name with space", head(b"POST /v1/events HTTP/1.1", b"a b: y", n) + EVENT
    yield "two content types", head(b"POST /v1/events HTTP/1.1", JSON[:-2], b"content-type: text/xml", n) + EVENT
    yield "two keys", head(b"POST /v1/events HTTP/1.1", AUTH[:-2], n) + EVENT
    yield "gzip", sized(b"\x1f\x8b\x08" + b"\0" * 20, b"content-encoding: gzip")
    yield "br", sized(EVENT, b"content-encoding: br")
    yield "two codings of content", sized(EVENT, b"content-encoding: identity, gzip")
    yield "tenant with slash", sized(EVENT, b"hookline-tenant: a/b")
    yield "tenant not ASCII", sized(EVENT, b"hookline-tenant: \xc3\xa9")
    yield "two tenants", sized(EVENT, b"hookline-tenant: a", b"hookline-tenant: b")
    yield "key of idempotency too long", sized(EVENT, b"idempotency-key: " + b"k" * 300)
    yield "key of idempotency empty", sized(EVENT, b'idempotency-key: ""')


def _lines() -> Iterator[tuple[str, bytes]]:
    yield "no HTTP", b"nonsense\r\n\r\n"
    yield "binary", bytes(range(128, 256)) * 4 + b"\r\n\r\n"
    yield "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/3", head(b"POST /v1/events HTTP/3.0")
    yield "HTTP/1.2", head(b"POST /v1/events HTTP/1.2")
    yield "HTTP/0.9", b"GET /\r\n\r\n"
    yield "lower case version", head(b"POST /v1/events http/1.1")
    yield "no version", b"POST /v1/events\r\n" + HOST + b"\r\n"
    yield "tab in the line", head(b"POST\t/v1/events\tHTTP/1.1")
    yield "two spaces", head(b"POST  /v1/events HTTP/1.1")
    yield "NUL in the path", head(b"GET /v1/\0 HTTP/1.1")
    yield "space in the path", head(b"GET /v1/ev ents HTTP/1.1")
    yield "raw UTF-8 in the path", head(b"GET /v1/events/\xc3\xa9 HTTP/1.1")
    yield "fragment", head(b"GET /v1/events#x HTTP/1.1")
    yield "100 KiB path", head(b"GET /" + b"a" * 100_000 + b" HTTP/1.1")
    yield "100 KiB query", head(b"GET /v1/events?a=" + b"a" * 100_000 + b" HTTP/1.1")
    yield "CONNECT", head(b"CONNECT example.com:443 HTTP/1.1")
    yield "TRACE", head(b"TRACE / HTTP/1.1")
    yield "unknown method", head(b"BREW /v1/events HTTP/1.1")
    yield "lower case method", head(b"post /v1/events HTTP/1.1")
    yield "long method", head(b"P" * 10_000 + b" /v1/events HTTP/1.1")
    yield "dots in the path", head(b"GET /v1/../../etc/passwd HTTP/1.1")
    yield "encoded slash", head(b"GET /v1/events/%2e%2e%2fx HTTP/1.1")
    yield "encoded NUL", head(b"GET /v1/events/%00 HTTP/1.1")
    yield "bad percent", head(b"GET /v1/events/%zz HTTP/1.1")
    yield "bad UTF-8", head(b"GET /v1/events/%ff%fe HTTP/1.1")
    yield "PUT", head(b"PUT /v1/events HTTP/1.1", b"content-length: 0")
    yield "DELETE", head(b"DELETE /v1/events HTTP/1.1")


def _queries() -> Iterator[tuple[str, bytes]]:
    queries = (
        b"limit=0", b"limit=-1", b"limit=251", b"limit=x", b"limit=1e9", b"limit=" + b"9" * 400, b"limit=",
        b"cursor=x", b"cursor=" + b"A" * 4000, b"cursor=%00", b"since=yesterday", b"since=99999999999999999999",
        b"until=2026-13-40T00:00:00Z", b"state=nonsense", b"endpoint=x%00", b"event=evt_zz", b"reason=%ff",
        b"unknown=1", b"limit=1&limit=2",
    )  # fmt: skip
    for query in queries:
        yield f"?{query[:30].decode()}", head(b"GET /v1/deliveries?" + query + b" HTTP/1.1")


REQUESTS = dict(_framing()) | dict(_heads()) | dict(_lines()) | dict(_queries())

BODIES: dict[str, bytes] = {
    "empty": b"",
    "space": b" ",
    "BOM": b"\xef\xbb\xbf" + EVENT,
    "UTF-16": EVENT.decode().encode("utf-16"),
    "UTF-32": EVENT.decode().encode("utf-32"),
    "UTF-16 without BOM": EVENT.decode().encode("utf-16-le"),
    "bad UTF-8": b'{"type":"hostile","data":"\xff"}',
    "overlong UTF-8": b'{"type":"hostile","data":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"type":"hostile","data":"\xed\xa0\x80"}',
    "UTF-8 beyond U+10FFFF": b'{"type":"hostile","data":"\xf5\x80\x80\x80"}',
    "lone surrogate in the type": b'{"type":"\\ud800","data":1}',
    "lone surrogate in the subject": b'{"type":"hostile","subject":"\\udc00","data":1}',
    "NUL in the subject": b'{"type":"hostile","subject":"a\\u0000","data":1}',
    "NaN": b'{"type":"hostile","data":NaN}',
    "Infinity": b'{"type":"hostile","data":Infinity}',
    "-Infinity": b'{"type":"hostile","data":-Infinity}',
    "leading zero": b'{"type":"hostile","data":01}',
    "plus": b'{"type":"hostile","data":+1}',
    "dot": b'{"type":"hostile","data":.5}',
    "trailing dot": b'{"type":"hostile","data":1.}',
    "hex": b'{"type":"hostile","data":0x10}',
    "comment": b'{"type":"hostile",/* */"data":1}',
    "trailing comma": b'{"type":"hostile","data":1,}',
    "single quotes": b"{'type':'hostile','data':1}",
    "unquoted": b"{type:1}",
    "two values": EVENT + EVENT,
    "junk behind": EVENT + b"x",
    "cut": EVENT[:-3],
    "control character in a string": b'{"type":"hostile","data":"a\nb"}',
    "bad escape": b'{"type":"hostile","data":"\\x"}',
    "short escape": b'{"type":"hostile","data":"\\u12"}',
    "form feed": b'{"type":"hostile",\x0c"data":1}',
    "no-break space": b'{"type":"hostile",\xc2\xa0"data":1}',
    "type twice": b'{"type":"hostile","type":"other","data":1}',
    "data twice": b'{"type":"hostile","data":1,"data":2}',
    "type twice, escaped": b'{"type":"hostile","\\u0074ype":"other","data":1}',
    "deep array": b'{"type":"hostile","data":' + b"[" * 200 + b"]" * 200 + b"}",
    "deep object": b'{"type":"hostile","data":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "100,000 deep, open": b'{"type":"hostile","data":' + b"[" * 100_000,
    "a million deep": b'{"a":' * 1_000_000,
    "string": b'"hostile"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "array of arrays": b"[[]]",
    "array of numbers": b"[1,2,3]",
    "no type": b'{"data":1}',
    "no data": b'{"type":"hostile"}',
    "type a number": b'{"type":1,"data":1}',
    "type null": b'{"type":null,"data":1}',
    "type an object": b'{"type":{},"data":1}',
    "id a huge number": b'{"type":"hostile","data":1,"id":' + b"9" * 5000 + b"}",
    "unknown member": b'{"type":"hostile","data":1,"__proto__":{}}',
    "10,000 members": b'{"type":"hostile","data":1' + b"".join(b',"m%d":1' % i for i in range(10_000)) + b"}",
    "long name": b'{"' + b"a" * 500_000 + b'":1}',
    "XML": b"<event/>",
    "billion laughs": b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
    "form": b"type=hostile&data=1",
    "NULs": b"\0" * 1000,
    "type of a line break": b'{"type":"a\\nb","data":1}',
    "log forging": b'{"type":"a\\r\\n{\\"level\\":\\"fatal\\"}","data":1}',
}
