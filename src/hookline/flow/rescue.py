"""Rescue: leases whose owner is gone are taken back, so that a dead process loses nothing.

Each take-back is counted: from the fifth on the delivery waits 2 ** lost seconds, at the twentieth it is failed as
`poison`, so that what kills its process does not do so for ever (docs/reliability.md, rule 16).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hookline.core.delivery import State, lost_wait_s
from hookline.core.endpoint import Endpoint
from hookline.flow.record import Recorder
from hookline.flow.registry import Registry
from hookline.flow.tell import News, Tell
from hookline.ports.store import OpenRef, RecordItem, Store


class Rescue:
    """Takes back what nobody holds any more."""

    def __init__(self, store: Store, registry: Registry, recorder: Recorder, tell: Tell) -> None:
        self._store = store
        self._registry = registry
        self._recorder = recorder
        self._tell = tell

    async def once(self) -> int:
        """Take back what is lost now; how many deliveries that were."""
        refs = await self._store.lost()
        # Their own commits are waited for, not a moment when nothing else is to be recorded: there may be none.
        for change in [await self._close_or_wait(ref, lost_wait_s(ref.lost + 1), "poison") for ref in refs]:
            await change
        return len(refs)

    async def overflow(self, refs: Sequence[OpenRef]) -> None:
        """Fail the oldest open deliveries of an endpoint that has too many."""
        for change in [await self._close_or_wait(ref, None, "overflow") for ref in refs]:
            await change

    async def expire(self, refs: Sequence[OpenRef]) -> None:
        """Fail deliveries that have been open for longer than their tenant's retention."""
        for change in [await self._close_or_wait(ref, None, "expired") for ref in refs]:
            await change

    async def _close_or_wait(self, ref: OpenRef, wait_s: float | None, reason: str) -> asyncio.Future[None]:
        """Pending again after `wait_s`; None: failed with `reason`, which is announced."""
        endpoint = self._registry.endpoint(ref.endpoint_id)
        if wait_s is not None:
            item = RecordItem(
                ref.delivery_id, ref.fence, ref.endpoint_id, ref.tenant, State.PENDING, wait_s=wait_s, lost=1
            )
            return self._recorder.change(item)
        waits = endpoint is None or endpoint.lane != "skip"
        lost = 1 if reason == "poison" else 0
        item = RecordItem(
            ref.delivery_id,
            ref.fence,
            ref.endpoint_id,
            ref.tenant,
            State.FAILED,
            lost=lost,
            reason=reason,
            lane_waits=waits,
        )
        if endpoint is None:
            return self._recorder.change(item)
        return self._recorder.change(item, await self._news(ref, endpoint, reason))

    async def _news(self, ref: OpenRef, endpoint: Endpoint, reason: str) -> News | None:
        # Some are announced once per endpoint and hour (flow.expire), not once per delivery; letters are for each.
        quiet = reason in ("overflow", "expired")
        event = await self._store.event(ref.tenant, ref.event_id)
        if event is None or not self._tell.wanted(endpoint, event, State.FAILED, quiet=quiet):
            return None
        return News(endpoint, event, ref.delivery_id, State.FAILED, attempts=0, reason=reason, quiet=quiet)
