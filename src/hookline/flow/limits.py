"""What one process may use, and what it is for: from the settings."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What the engine may use, from the settings."""

    strict_types: bool = False
    dedupe_s: float = 86_400.0
    concurrency_max: int = 2048
    host_concurrency_max: int = 64
    handoff_max: int = 4096
    open_max: int = 1_000_000
    retention_s: float = 30 * 86_400.0
    """How long events and closed deliveries are kept, unless their tenant says otherwise."""
    public_url: str = ""
    """Our own address as the world sees it, without a slash at its end: for links that receivers call."""
    commits_in_flight: int = 1
    """Shared commits of each kind that may run at once: 1 for one writer, more for a server."""
    accept_gather_s: float = 0.0
    """How long, while many are published, a publish waits for others to share its commit with."""
    record_linger_s: float = 0.0
    """How long a success waits for others, or for an accept, to share its commit with. Nobody waits for it meanwhile:
    its slot is free. What it adds is in flight a little longer (docs/reliability.md, rule 12)."""

    shared: bool = False
    """Other processes work on the same store."""
    delivers: bool = True
    """Whether this process claims, hands off and sends; otherwise others on the same store do."""
