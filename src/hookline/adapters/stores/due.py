"""What is due of endpoints, as every store reckons it."""

from __future__ import annotations

from collections.abc import Sequence

from hookline.ports.store import OpenRef

Due = dict[bytes, float]
"""endpoint → seconds until the earliest of what became pending."""


def sooner(due_s: Due, endpoint_id: bytes, wait_s: float) -> None:
    """Note that something of an endpoint is due in `wait_s`."""
    wait_s = max(0.0, wait_s)
    known_s = due_s.get(endpoint_id)
    if known_s is None or wait_s < known_s:
        due_s[endpoint_id] = wait_s


def by_age(pending: Sequence[OpenRef], unconfirmed: Sequence[OpenRef]) -> list[OpenRef]:
    """`pending` in their order, and among them `unconfirmed`, each before the first that is younger."""
    found: list[OpenRef] = []
    at = 0
    for ref in pending:
        while at < len(unconfirmed) and unconfirmed[at].delivery_id < ref.delivery_id:
            found.append(unconfirmed[at])
            at += 1
        found.append(ref)
    found += unconfirmed[at:]
    return found
