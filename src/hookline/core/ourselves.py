"""What of the network is Hookline itself: a delivery to it would be a request of our own making, and could make the
next one, for ever. Pure: what is ours is told once, at the start.

Two questions, because each sees what the other cannot. `names` judges a URL: our address as the world has it may lie
behind a proxy, whose socket is not ours. `listens` judges an address that is about to be connected to: whatever name
led there. What leads here through another proxy, under another name, is seen by neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from hookline.core.address import Target, parse_url
from hookline.core.errors import Refusal
from hookline.core.percent import decode

OURS: Final = "The address is Hookline's own: what is delivered there could make the next delivery, for ever."

Address = IPv4Address | IPv6Address


class Ourselves:
    """Our own addresses: `public_url` as the world sees us (empty: no such name), and `listening`, each a numeric
    address (a zone is left out) and a port."""

    def __init__(self, public_url: str = "", listening: Iterable[tuple[str, int]] = ()) -> None:
        self._public = _read(public_url)
        self._below = [] if self._public is None else _steps(self._public.path)
        self._listening = frozenset((ip_address(host.partition("%")[0]), port) for host, port in listening)
        self._ports = frozenset(port for _, port in self._listening)

    def names(self, target: Target) -> bool:
        """Whether a URL lies at our public address: the same host and port whatever the scheme, and below its path
        where it has one."""
        public = self._public
        if public is None or target.port != public.port or target.server_name != public.server_name:
            return False
        return _steps(target.path)[: len(self._below)] == self._below

    def listens(self, address: Address, port: int, is_local: Callable[[Address], bool]) -> bool:
        """Whether a connection to `address` and `port` would reach us. `is_local` says whether an address is one of
        this machine's; it is asked only where we listen on all of them. A listener on the IPv4 loopback stands for
        the whole loopback network."""
        if port not in self._ports:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        for ours, at in self._listening:
            if at != port or ours.version != address.version:
                continue
            if ours == address or (ours.is_loopback and address.is_loopback):
                return True
            if ours.is_unspecified and (address.is_loopback or address.is_unspecified or is_local(address)):
                return True
        return False


def _read(public_url: str) -> Target | None:
    try:
        return parse_url(public_url) if public_url else None
    except Refusal:
        return None  # no URL of an endpoint can have this host


def _steps(path: str) -> list[str]:
    """The path as the most forgiving proxy would read it: decoded, without empty steps and dots, in lower case."""
    plain = path.partition("?")[0]
    try:
        plain = decode(plain)
    except ValueError:
        pass  # compared as it is written
    steps: list[str] = []
    for step in plain.lower().split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in {"", "."}:
            steps.append(step)
    return steps
