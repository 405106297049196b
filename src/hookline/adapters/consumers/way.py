"""The way to a broker: addresses that were checked, and TLS that checks the name.

A driver is given an address in numbers, which the guard of deliveries judged, and never a name, so that no second
look-up can answer otherwise.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hookline.core.address import Target
from hookline.core.broker_source import BrokerConfig, Hosts, broker_config, parse_address
from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.ports.consumer import ConsumerLost

CONNECT_S_MAX = 5.0
"""For a connection, with TLS and who we are."""
ANSWER_S_MAX = 10.0
"""A broker that answers nothing for so long is lost."""

Check = Callable[[Target, str], Awaitable[Sequence[str]]]
"""(host and port, tenant) → its addresses in numbers, all of them allowed. Raises `ConsumerLost`."""


@dataclass(frozen=True, slots=True)
class Way:
    """What every adapter needs to connect."""

    check: Check
    context: ssl.SSLContext
    """For brokers with TLS: it verifies certificate and name."""
    ca_file: str | None
    """Trusted beside the system's authorities; for a driver that takes no context."""
    node: str
    """Tells this process from others that consume the same; where there is only one, it is always the same."""
    place: str
    """The same, and the same again when this process is started again where it was."""
    alone: bool
    """No other process consumes the same."""

    async def hosts(self, source: Source, hosts: Hosts) -> list[tuple[str, Target]]:
        """Every address of every host, with the host it is of. Raises `ConsumerLost` where none can be reached."""
        found: list[tuple[str, Target]] = []
        lost: ConsumerLost | None = None
        for target in hosts.targets:
            try:
                found += [(address, target) for address in await self.check(target, source.tenant)]
            except ConsumerLost as error:
                lost = error
        if not found:
            raise lost or ConsumerLost("The broker has no address.")
        return found


def read_config(source: Source) -> tuple[Any, Hosts]:
    """The source's configuration, which was checked when it was made, and its address. Raises `ConsumerLost`."""
    if not source.readable:
        raise ConsumerLost("Its secrets were sealed with a key that is not here.")
    try:
        config: BrokerConfig = broker_config(source.kind, source.config)
        return config, parse_address(source.kind, config.url)
    except Refusal as refusal:
        raise ConsumerLost(refusal.detail) from None


def scope(*parts: str) -> str:
    """Eight digits that stand for where something is read from, so that coordinates of another place are others."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()


def lost(error: BaseException, *secrets: str | None) -> ConsumerLost:
    """What a driver raised, as one line without a credential."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return ConsumerLost(text)
