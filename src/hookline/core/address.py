"""Where a delivery may go: the pure half of the guard against server-side request forgery.

One strict parser of our own turns a URL into a `Target`; what two parsers could read differently is refused, never
guessed. `Networks` judges the addresses a name resolves to. The other half (resolve once, check, connect to the
checked address) is the sender's. docs/reliability.md says how the two halves meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final

import idna
import msgspec

from hookline.core.errors import Refusal

URL_CHARS_MAX: Final = 4096
HOST_CHARS_MAX: Final = 253
HTTPS_ONLY: Final = "Only https:// endpoints are allowed here."
_PORTS: Final = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER_LIKE = re.compile(r"[0-9]+|0x.*")
_FORBIDDEN_ANYWHERE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_TO_ENCODE = re.compile(r"[^!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


class Target(msgspec.Struct, frozen=True):
    """A URL, taken apart. `host` is ASCII and lower case: a name (with its trailing dot, if it had one) or the
    canonical text of an address (IPv6 without brackets)."""

    scheme: str
    host: str
    port: int
    path: str
    """The request target in origin form, with the query; percent-encoded, begins with `/`."""
    literal: IPv4Address | IPv6Address | None = None
    """The address, where the URL holds one instead of a name."""

    @property
    def tls(self) -> bool:
        """Whether it is https."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only where it is not the scheme's."""
        host = f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def server_name(self) -> str:
        """The name a certificate must carry: the host without a trailing dot."""
        return self.host.removesuffix(".")


def parse_url(url: str, *, https_only: bool = False) -> Target:
    """Take `url` apart, or raise `Refusal` (`address_refused`, pointer `/url`).

    Allowed is `http(s)://host[:port][/path][?query]` of at most 4,096 characters. Refused are control characters,
    spaces and backslashes anywhere; user names, `%` and zones in the authority; fragments (they would never be
    sent); hosts that look like a number in any notation but dotted decimal. International names become ASCII by
    UTS-46 and IDNA 2008. In path and query, characters that RFC 3986 does not allow are percent-encoded as UTF-8.
    Whether the host may be reached is not judged here: see `Networks`.
    """
    if len(url) > URL_CHARS_MAX:
        raise _refused(f"The URL is longer than {URL_CHARS_MAX} characters.")
    if _FORBIDDEN_ANYWHERE.search(url):
        raise _refused("The URL contains a control character, a space or a backslash.")
    if "#" in url:
        raise _refused("The URL has a fragment (#…), which is never sent.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise _refused("The URL must begin with http:// or https://.")
    scheme = parts[1].lower()
    if https_only and scheme != "https":
        raise _refused(HTTPS_ONLY)
    server = parse_server(parts[2], _PORTS[scheme], tls=scheme == "https")
    return Target(scheme, server.host, server.port, _encode((parts[3] or "/") + (parts[4] or "")), server.literal)


def parse_server(authority: str, port_default: int, *, tls: bool) -> Target:
    """The `host[:port]` of another protocol's URL as a target; its scheme tells no more than whether it speaks TLS.

    By the same rules as `parse_url`. Raises `Refusal` (`address_refused`, pointer `/url`).
    """
    host, port_text = _split_authority(authority)
    port = port_default if port_text is None else _port(port_text)
    literal: IPv4Address | IPv6Address | None
    if host.startswith("["):
        literal = _ipv6(host)
        host = literal.compressed
    else:
        host, literal = _name_or_ipv4(host)
    return Target("https" if tls else "http", host, port, "/", literal)


def is_forbidden_in_url(url: str) -> bool:
    """Whether a URL holds what none may hold: a control character, a space, a backslash."""
    return _FORBIDDEN_ANYWHERE.search(url) is not None


def _refused(detail: str) -> Refusal:
    return Refusal("address_refused", detail, pointer="/url")


def _split_authority(authority: str) -> tuple[str, str | None]:
    """Host (with brackets) and the text of the port, None where there is no colon."""
    if "@" in authority:
        raise _refused("A user name or password in the URL is not allowed; use the endpoint's auth.")
    if "%" in authority:
        raise _refused("The URL's host contains a percent sign.")
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _refused("The URL's host is not a correct IPv6 address in brackets.")
        return host + bracket, rest[1:] if rest else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65_535:
        raise _refused("The URL's port is not a number from 1 to 65535.")
    return int(text)


def _ipv6(bracketed: str) -> IPv6Address:
    try:
        return IPv6Address(bracketed[1:-1])
    except AddressValueError:
        raise _refused("The URL's host is not a correct IPv6 address in brackets.") from None


def _name_or_ipv4(original: str) -> tuple[str, IPv4Address | None]:
    host = _ascii_host(original)
    if _NUMBER_LIKE.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        # Resolvers read 127.1, 0x7f.1, 017700000001 and 2852039166 as addresses: only the one notation passes, and
        # only as it was written, not as full-width digits became it.
        return original, _ipv4(original)
    labels = host.removesuffix(".").split(".")
    if len(host) > HOST_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("The URL's host is not a correct name.")
    return host, None


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise _refused("The URL's host looks like a number, but is not four decimal numbers with dots.") from None


def _ascii_host(host: str) -> str:
    """The host in lower-case ASCII, by UTS-46 (non-transitional) and IDNA 2008; judged by the caller."""
    if host.isascii():
        mapped = host.lower()
    else:
        try:
            mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        except idna.IDNAError:
            raise _refused("The URL's host is not a correct international name.") from None
    return ".".join(_ascii_label(label) for label in mapped.split("."))


def _ascii_label(label: str) -> str:
    try:
        if not label.isascii():
            return idna.alabel(label).decode("ascii")
        if label.startswith("xn--"):
            # It must stand for a name that maps to itself: else it hides another one.
            name = label[4:].encode("ascii").decode("punycode")
            if idna.uts46_remap(name, std3_rules=False, transitional=False) != name:
                raise _refused("The URL's host is not a correct international name.")
    except (idna.IDNAError, UnicodeError):
        raise _refused("The URL's host is not a correct international name.") from None
    return label


def _encode(target: str) -> str:
    try:
        return _TO_ENCODE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), target)
    except UnicodeEncodeError:
        raise _refused("The URL contains half of a surrogate pair.") from None


# ------------------------------------------------------------------------------------------------- addresses

NOT_PUBLIC: Final = "The address is not public."
"""The one sentence for every refused address: it must not tell a port scan anything."""

_IPV4_REFUSED: Final = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # a cloud's host agent, although public
    "169.254.0.0/16",  # link-local, metadata services
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments, a metadata service
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
_IPV6_ALLOWED: Final = "2000::/3"
"""Mapped, compatible, translated (64:ff9b::/96), unique-local, link-local, multicast … all lie outside."""
_IPV6_REFUSED: Final = (
    "2001::/23",  # protocol assignments, Teredo
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: holds any IPv4 address
    "3fff::/20",  # documentation
)

_Ranges = tuple[tuple[int, int], ...]


def _ranges(cidrs: Sequence[str], version: int) -> _Ranges:
    networks = (ip_network(cidr.strip()) for cidr in cidrs)
    return tuple(
        (int(network.network_address), int(network.broadcast_address))
        for network in networks
        if network.version == version
    )


def _inside(number: int, ranges: _Ranges) -> bool:
    return any(first <= number <= last for first, last in ranges)


LOOPBACK: Final = IPv4Address("127.0.0.1")


def is_loopback_name(host: str) -> bool:
    """Whether a name is loopback's by itself (RFC 6761, 6.3): localhost and everything below it."""
    name = host.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


class Networks:
    """Which addresses may be dialled: public ones, and those of the networks that the operator opened.

    `cidrs` as `127.0.0.0/8`; raises `ValueError` for anything that is not a network. An IPv4 network does not open
    the IPv6 addresses that embed it.
    """

    def __init__(self, cidrs: Sequence[str] = ()) -> None:
        self._opened = {4: _ranges(cidrs, 4), 6: _ranges(cidrs, 6)}
        self._refused = {4: _ranges(_IPV4_REFUSED, 4), 6: _ranges(_IPV6_REFUSED, 6)}
        self._allowed = {4: ((0, 2**32 - 1),), 6: _ranges((_IPV6_ALLOWED,), 6)}

    def refusal(self, address: IPv4Address | IPv6Address) -> str | None:
        """Why `address` may not be dialled, in one coarse sentence; None: it may."""
        number, version = int(address), address.version
        if _inside(number, self._opened[version]):
            return None
        if _inside(number, self._allowed[version]) and not _inside(number, self._refused[version]):
            return None
        return NOT_PUBLIC
