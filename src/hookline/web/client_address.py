"""The client's address: the peer's, or what trusted proxies say of it in X-Forwarded-For.

The list is read from the right, where each proxy adds the address that it saw: addresses of trusted proxies are passed
over, and the first other one is the client. What stands to the left of it is a client's own word and is never read. A
proxy is believed only as a peer or as an address that a believed one named. `Forwarded` (RFC 7239) is ignored; no
X-Forwarded-Port or -Prefix is read at all, -Proto and -Host only by `web.inbound`: our own address is
HOOKLINE_PUBLIC_URL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

HOPS_MAX: Final = 32
"""So many addresses of a list are looked at; behind so many trusted ones, the last of them counts."""
_ADDRESS_CHARS_MAX: Final = 64
_KNOWN_MAX: Final = 4096
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Hop = tuple[str, bool]
"""An address as text, and whether it is a trusted proxy's."""


class Proxies:
    """The trusted proxies: `cidrs` are their networks, as HOOKLINE_TRUSTED_PROXIES has them; empty: there are none."""

    def __init__(self, cidrs: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
        self._hop = lru_cache(_KNOWN_MAX)(self._look)

    def trusts(self, peer: str) -> bool:
        """Whether what this peer says of its clients is believed."""
        if not self._networks:
            return False
        hop = self._hop(peer)
        return hop is not None and hop[1]

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The client's address as text, in its shortest form; IPv4 in IPv6 as IPv4.

        `headers` have lower-case names; several X-Forwarded-For are one list, in their order (RFC 9110, 5.3). What is
        no address ends the list there: the proxy that passed it on is the last one known. Never raises.
        """
        seen = self._hop(peer)
        if seen is None:
            return peer
        if not seen[1]:
            return seen[0]
        found = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        if not found:
            return seen[0]
        for text in reversed(found.decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
            hop = self._hop(text.strip(" \t")) if len(text) <= _ADDRESS_CHARS_MAX else None
            if hop is None:
                break
            seen = hop
            if not hop[1]:
                break
        return seen[0]

    def _look(self, text: str) -> _Hop | None:
        address = parse_address(text)
        if address is None:
            return None
        return str(address), any(address in network for network in self._networks)


def parse_address(text: str) -> _Address | None:
    """An address, maybe with a port, IPv6 maybe in brackets; None for anything else. A zone (`%eth0`) is dropped: it
    means something on one machine only."""
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address
