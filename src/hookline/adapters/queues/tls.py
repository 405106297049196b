"""TLS to a broker: it proves who it is, or there is no connection."""

from __future__ import annotations

import ssl

from hookline.core.broker_address import BrokerAddress


def tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    """What to connect with; None where the address asks for no TLS."""
    if not address.tls:
        return None
    context = ssl.create_default_context()
    if address.ca_file:
        context.load_verify_locations(address.ca_file)
    return context
