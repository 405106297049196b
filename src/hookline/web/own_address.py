"""Our own address as the world sees it: what is configured, or else what we listen on. Pure."""

from __future__ import annotations

from typing import Final

from hookline.web.client_address import parse_address

_PORTS: Final = {"http": 80, "https": 443}
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (read, not bound)


def is_wildcard(host: str) -> bool:
    """Whether this host means all addresses of the machine."""
    address = parse_address(host)
    return address is not None and address.is_unspecified


def own_address(public_url: str, host: str, port: int, *, secure: bool) -> str:
    """A URL without a slash at its end: `public_url` where there is one, else that of `host` (an address or a name,
    as configured) and the port that is really bound.

    All addresses of the machine are none that anybody could call: then it is the loopback, which is right for whoever
    runs on this machine and for nobody else.
    """
    if public_url:
        return public_url.rstrip("/")
    scheme = "https" if secure else "http"
    address = parse_address(host)
    name = host if address is None else str(address)
    if address is not None and address.is_unspecified:
        name = _WILDCARDS[name]
    if ":" in name:
        name = f"[{name}]"
    return f"{scheme}://{name}" if port == _PORTS[scheme] else f"{scheme}://{name}:{port}"
