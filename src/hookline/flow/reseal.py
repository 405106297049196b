"""Reseal: after HOOKLINE_SECRET_KEY was rotated, stored secrets are encrypted anew with the first key.

It runs once after a start, in small steps beside everything else. When it is done the old key can be taken away: the
fact `secrets_resealed` with `left` 0 says so.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.errors import Conflict, NotFound
from hookline.core.secret import NONCE_BYTES, Keyring
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import EndpointRow, SourceRow, Store

_Row = EndpointRow | SourceRow
STEP: Final = 20
"""Endpoints and sources per step: each is a commit that raises the registry's version."""


class Reseal:
    """The step, for `flow.upkeep`."""

    def __init__(self, store: Store, keyring: Keyring, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._observer = observer
        self._stale: list[_Row] | None = None
        self._resealed = {EndpointRow: 0, SourceRow: 0}
        self._lost = 0

    async def step(self) -> bool:
        """Encrypt some more anew; whether there is more to do."""
        if self._stale is None:
            self._stale = await self._look(0)
            if not self._stale:
                return False
        for row in self._stale[:STEP]:
            await self._again(row)
        del self._stale[:STEP]
        if self._stale:
            return True
        resealed = self._resealed
        if any(resealed.values()) or self._lost:
            self._observer.fact(
                "secrets_resealed", endpoints=resealed[EndpointRow], sources=resealed[SourceRow], left=self._lost
            )
            self._resealed = dict.fromkeys(resealed, 0)
            self._lost = 0
        return False

    async def _look(self, since: int) -> list[_Row]:
        """What changed since this version of the registry and is sealed with another key than the first."""
        changes = await self._store.changes(since)
        rows: list[_Row] = [*changes.endpoints, *changes.sources]
        return [row for row in rows if not row.deleted and not self._keyring.is_current(row.sealed)]

    async def _again(self, row: _Row) -> None:
        try:
            plain = self._keyring.open(row.sealed)
        except ValueError:
            # Its key is not here (said by the registry, which holds its deliveries): it cannot be helped now.
            self._lost += 1
            of, prefix = ("endpoint", ids.ENDPOINT) if isinstance(row, EndpointRow) else ("source", ids.SOURCE)
            self._observer.warn("secret_not_resealed", **{of: ids.text(prefix, row.id)})
            return
        sealed = self._keyring.seal(plain, self._clock.random_bytes(NONCE_BYTES))
        try:
            if isinstance(row, EndpointRow):
                await self._store.put_endpoint(msgspec.structs.replace(row, sealed=sealed), row.version)
            else:
                await self._store.put_source(msgspec.structs.replace(row, sealed=sealed), row.version)
        except (Conflict, NotFound):
            # Changed or deleted meanwhile. A change need not have sealed anew: it is looked at again.
            await self._look_again(row)
        else:
            self._resealed[type(row)] += 1

    async def _look_again(self, row: _Row) -> None:
        assert self._stale is not None
        self._stale += [now for now in await self._look(row.version) if now.id == row.id]
