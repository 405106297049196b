"""The way to brokers of the tests' own: every address is let through, and said to be so."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from hookline.adapters.consumers.way import Way
from hookline.core.address import Target


async def _any(target: Target, _tenant: str) -> Sequence[str]:
    return [target.host]


def way(node: str = "1") -> Way:
    """One for an adapter under test."""
    return Way(_any, ssl.create_default_context(), None, node, node, alone=False)
