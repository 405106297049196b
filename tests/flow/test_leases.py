"""A lease runs since it was asked for, however late the process hears that it has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.flow.rig import FaultyRig

ORDER = {"type": "order.created", "data": {"id": 1}}


class StallingRig(FaultyRig):
    """The store's answers may be held back."""

    async def until_leased(self) -> None:
        while (await self.store.counts("default")).leased == 0:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("method", ["accept", "claim"])
async def test_nothing_is_sent_under_a_lease_that_ended_before_it_was_heard_of(tmp_path: Path, method: str) -> None:
    """Who stood still between the commit of a lease and its answer gives it back and sends under another one."""
    rig = StallingRig(tmp_path / "leases.db")
    await rig.start()
    try:
        # A rate is never handed off: it is claimed.
        more = {"rate": {"n": 100, "per_s": 1}} if method == "claim" else {}
        endpoint = await rig.endpoint("a", timeout_s=1, **more)
        await rig.quiet()
        rig.faults.stall(method, after_commit=True)
        publishing = rig.publishing(ORDER)
        await rig.until_leased()
        rig.clock.advance(17.0)  # a lease lasts the timeout and 15 s more
        rig.faults.heal()
        assert (await publishing).status == 202
        await rig.until(lambda: rig.sender.times(endpoint.url) > 0, "it was sent")
        await rig.advance(1, 0.5)
        assert [item.fence for item in rig.sender.items] == [2]
    finally:
        await rig.stop()
