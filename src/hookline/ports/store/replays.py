"""Replays of many: jobs whose progress is committed with what they make, so that they go on after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.ports.store.archive import Page


class ReplayRow(msgspec.Struct, frozen=True, gc=False):
    """A replay as stored. `spec` is what was asked for, in JSON (see `core.replay`)."""

    id: bytes
    tenant: str
    spec: bytes
    state: str = "running"
    """`running`, `done`, `canceled` or `failed`."""
    after: bytes | None = None
    """How far it is: the id of the last delivery (or event) examined; they are walked oldest first."""
    until: bytes = b""
    """It ends before this id: what is accepted after its beginning is not part of it."""
    examined: int = 0
    replayed: int = 0
    skipped: int = 0
    """Examined, but open still, or without a payload or an endpoint."""
    detail: str = ""
    """Why it failed."""
    created_at_ms: int = 0
    updated_at_ms: int = 0


class Again(msgspec.Struct, frozen=True, gc=False):
    """One thing to be sent again."""

    event_id: bytes
    endpoint_id: bytes
    delivery_id: bytes
    """Of the new delivery, or of the closed one that is reopened."""
    reopen: bool = False
    """Open the failed or discarded delivery again (it keeps its place in its lane, and ranks behind live ones)."""
    lane: str | None = None


class ReplayStep(msgspec.Struct, frozen=True):
    """What a step did."""

    applied: bool
    """False: the replay was canceled, or another process made this step; nothing was done."""
    made: Sequence[bool] = ()
    """Per `Again`: False where the event or the delivery is not as it was any more (then it counts as skipped)."""
    due_s: dict[bytes, float] = {}


class Replays(Protocol):
    """Replays of many deliveries or events."""

    async def put_replay(self, row: ReplayRow) -> ReplayRow:
        """Create; returns it with its times."""
        ...

    async def end_replay(self, tenant: str | None, replay_id: bytes, state: str, detail: str = "") -> ReplayRow:
        """A running one becomes `done`, `canceled` or `failed`; one that has ended stays as it is. Raises
        `NotFound`."""
        ...

    async def step_replay(
        self,
        replay_id: bytes,
        before: bytes | None,
        after: bytes,
        examined: int,
        again: Sequence[Again],
        registry_version: int,
    ) -> ReplayStep:
        """Commit one step: the new and reopened deliveries with the progress, if the replay is running and its
        `after` is still `before`. What is examined beyond `again` counts as skipped. Raises `StaleRegistry`."""
        ...

    async def replay_of(self, tenant: str | None, replay_id: bytes) -> ReplayRow | None:
        """One replay."""
        ...

    async def replays(self, tenant: str | None, limit: int, before: bytes | None) -> Page[ReplayRow]:
        """Newest first."""
        ...

    async def running_replays(self) -> Sequence[ReplayRow]:
        """Of all tenants, oldest first (at most 1,000)."""
        ...
