"""What all connections of a front have in common."""

from __future__ import annotations

from typing import cast

from hookline.ports.observer import Observer
from hookline.web.address_rate import AddressRate
from hookline.web.auth import Authority
from hookline.web.client_address import Proxies
from hookline.web.heads import Heads
from hookline.web.inbound import Receiver
from hookline.web.limits import Limits
from hookline.web.publish import Publisher


class Shared:
    """What all connections of a front have in common."""

    def __init__(
        self,
        authority: Authority,
        publisher: Publisher | None,
        observer: Observer,
        limits: Limits,
        proxies: Proxies,
        address_rate: AddressRate | None,
        receiver: Receiver | None = None,
        public_url: str = "",
    ) -> None:
        self.receiver = receiver
        self.public_url = public_url
        self.authority = authority
        self.proxies = proxies
        self.address_rate = address_rate
        self.publishes = publisher is not None
        """False: the hot route is none here, and the application answers what asks for it."""
        self.publisher = cast("Publisher", publisher)
        self.observer = observer
        self.limits = limits
        self.heads = Heads()
        self.draining = False
        """Every answer is the last of its connection."""
        self.bodies_bytes = 0
        """Held of larger publish bodies that are still coming in."""
