"""What HOOKLINE_SPOOL_PATH names: where received requests wait while the store is away."""

from __future__ import annotations

from hookline.adapters.spools.file import FileSpool
from hookline.databases import MIB
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.settings import Settings


def spool_of(settings: Settings, clock: Clock, observer: Observer) -> FileSpool | None:
    """The spool, not started; None: there is none, or this process takes no requests."""
    if settings.spool_path is None or settings.role == "worker":
        return None
    return FileSpool(
        settings.spool_path,
        clock,
        bytes_max=settings.spool_max_mib * MIB,
        warn=lambda name, detail: observer.warn(name, detail=detail),
    )
