"""Short texts from outside: URLs, addresses, cursors, times, trace headers, Retry-After, keys, X-Forwarded-For, and
streams of server-sent events. One input is given to each of their readers.
"""

from __future__ import annotations

import ipaddress
import random
import re
import zlib
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
from tests.fuzz.checks.publication import refused

from hookline.core import ids, percent
from hookline.core.address import Networks, Target, parse_url
from hookline.core.attempt import RETRY_AFTER_S_MAX
from hookline.core.cloudevents import decode_header, encode_header
from hookline.core.errors import Refusal
from hookline.core.page import format_time, make_cursor, parse_cursor, parse_time
from hookline.core.server_sent import LINE_BYTES_MAX, Message, Reader
from hookline.core.success import retry_after_s
from hookline.core.trace import parse_traceparent
from hookline.web.auth import Authority, operator_keys
from hookline.web.client_address import Proxies, parse_address

NOW_S = 1_790_000_000.0
_PUBLIC = Networks()
_PROXIES = Proxies(["10.0.0.0/8", "fd00::/8"])
_AUTHORITY = Authority(operator_keys("hl_acceptance_0123456789"))
_LABELS = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_YEAR_1_MS = int((datetime(1, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000


def url(text: str) -> Target | None:
    """Raise unless a URL is refused, or taken apart into what every other parser reads in it as well."""
    try:
        target = parse_url(text)
    except Refusal as refusal:
        refused(refusal)
        assert refusal.code == "address_refused"
        return None
    assert target.host.isascii()
    assert target.host == target.host.lower()
    assert 1 <= target.port <= 65_535
    assert target.path.startswith("/")
    assert re.fullmatch(r"[\x21-\x7e]+", target.path + target.authority)
    written = f"{target.scheme}://{target.authority}{target.path}"
    assert parse_url(written) == target
    if target.literal is None:
        assert _LABELS.fullmatch(target.host)
        assert not re.fullmatch(r"[0-9.]+|.*\.0x[0-9a-f]*\.?", target.host)
    else:
        assert ipaddress.ip_address(target.host) == target.literal
        reachable(target.literal)
    by_library = urlsplit(written)
    assert (by_library.hostname, by_library.port or target.port) == (target.host, target.port)
    by_client = httpx2.URL(written)
    assert by_client.raw_host.decode().strip("[]") == target.host
    assert (by_client.port or target.port) == target.port
    return target


def reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Raise if the guard lets an address through that the standard library knows to be none of the public ones."""
    if _PUBLIC.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not (address.is_private)
        assert not (address.is_loopback)
        assert not (address.is_link_local)
        assert not (address.is_reserved)


def cursor(text: str) -> None:
    """Raise unless a text is refused, or a cursor that we made."""
    try:
        key = parse_cursor(text)
    except Refusal as refusal:
        refused(refusal)
    else:
        assert make_cursor(key) == text
    made = text.encode("utf-8", "replace")[:512] or b"k"
    assert parse_cursor(make_cursor(made)) == made


def instant(text: str) -> None:
    """Raise unless a time is refused, or read as the standard library reads it."""
    try:
        ms = parse_time(text)
    except Refusal as refusal:
        refused(refusal)
        return
    if _YEAR_1_MS <= ms <= 253_402_300_799_999:
        assert parse_time(format_time(ms)) == ms
    plain = text.upper().replace(" ", "T")
    if ":60" in plain or "." in plain:
        return  # leap seconds and long fractions are not everybody's
    try:
        wanted = datetime.fromisoformat(plain)
    except ValueError as error:
        raise AssertionError("the standard library refuses this time") from error
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        assert ms == (wanted - epoch) // timedelta(milliseconds=1)
    except OverflowError:
        pass  # at the ends of the calendar


def headers(text: str) -> None:
    """Raise unless every reader of a header's value says nothing, or something within its bounds."""
    wait_s = retry_after_s(text, NOW_S)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_S_MAX
    parent = parse_traceparent(text)
    assert parent is None or (_TRACEPARENT.fullmatch(parent) and parse_traceparent(parent) == parent)
    raw = text.encode("latin-1", "replace")
    try:
        _AUTHORITY.authorize([(b"authorization", b"Bearer " + raw)], "publish")
    except Refusal as refusal:
        assert refusal.code == "unauthorized"
    else:
        assert raw.strip(b" ") == b"hl_acceptance_0123456789"
    try:
        _AUTHORITY.authorize(
            [(b"authorization", b"Bearer hl_acceptance_0123456789"), (b"hookline-tenant", raw)], "publish"
        )
    except Refusal as refusal:
        assert refusal.code == "invalid_parameter"
    for peer in ("10.0.0.1", "192.0.2.1", text):
        client = _PROXIES.client(peer, [(b"x-forwarded-for", raw)])
        assert client == peer or parse_address(client) is not None
    for prefix in (ids.EVENT, ids.ENDPOINT):
        identifier = ids.parse(prefix, text)
        assert identifier is None or ids.text(prefix, identifier) == text
    try:
        value = decode_header(text)
    except ValueError:
        pass
    else:
        assert decode_header(encode_header(value).decode()) == value
    try:
        percent.decode(text)
    except ValueError:
        pass


def stream(data: bytes) -> list[Message]:
    """Raise unless a stream is read the same wherever it is cut."""
    whole = Reader()
    found = whole.feed(data)
    dice, at = random.Random(zlib.crc32(data)), 0
    pieces, bytewise = Reader(), Reader()
    in_pieces: list[Message] = []
    while at < len(data):
        size = dice.choice((1, 2, 5, 30))
        in_pieces += pieces.feed(data[at : at + size])
        at += size
    one_by_one = [message for at in range(len(data)) for message in bytewise.feed(data[at : at + 1])]
    assert found == in_pieces == one_by_one
    assert (whole.position, whole.retry_ms) == (pieces.position, pieces.retry_ms)
    assert (whole.position, whole.retry_ms) == (bytewise.position, bytewise.retry_ms)
    assert len(whole._rest) <= LINE_BYTES_MAX
    return found


def check(data: bytes) -> None:
    """Give the input to every reader."""
    text = data.decode("utf-8", "surrogateescape")
    url(text)
    url("https://" + text)
    url(f"https://{text}/hook?a=b")
    cursor(text)
    instant(text)
    headers(data.decode("latin-1"))
    headers(text)
    stream(data)
    if len(data) in (4, 16):
        reachable(ipaddress.ip_address(data))
