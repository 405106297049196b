"""Hostile receivers and noisy tenants beside healthy ones in one program, by counts. `make hostile` measures it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.program import balanced, running
from tests.crash.healthy import Healthy, quantile_ms
from tests.crash.hostile_endpoints import HostileEndpoints, resident_mib
from tests.crash.hostile_kinds import KINDS
from tests.crash.hostile_receivers import hostile_receivers
from tests.crash.noisy_run import NoisyTenant

TIMEOUT_S = 12.0
"""Long beside what the healthy ones need, also on a busy machine."""
LATE_S_MAX = 10.0
"""What a busy machine may add to it."""
CONNECT_S = 5.0
HANGING = sum(kind.reason == "timeout" or (kind.holds and bool(kind.tls)) for kind in KINDS)
"""Kinds at which an attempt lasts until its time-out; connecting ends before."""
RESIDENT_MIB_MAX = 300.0


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(240)
async def test_hostile_receivers_hold_nobody_up(tmp_path: Path):
    """Healthy endpoints get everything while every kind of hostile receiver is at it, and each attempt at those ends
    with its time and says what its kind deserves."""
    with hostile_receivers(len(KINDS)) as receivers:
        trust = tmp_path / "trust.pem"
        trust.write_text(receivers.trust)
        with running(tmp_path / "hookline", ca_file=str(trust)) as program:
            hostile = HostileEndpoints(program, receivers, TIMEOUT_S)
            async with Healthy(program, 5) as healthy:
                alone_s = await healthy.send(200, 100)
                await hostile.create()
                await hostile.publish_to_all()
                await hostile.in_flight_at_least(HANGING)
                beside_s = await healthy.send(200, 100)
                still_open = await hostile.in_flight()
                await hostile.publish_large()
                await hostile.settled(120)
                assert healthy.repeated == 0
                assert sorted(healthy.arrived_s) == list(range(400))
            assert still_open >= HANGING
            tally = await hostile.tally()
            peak_mib = resident_mib(program)[1]
            stats = program.stats()
            print(
                f"\n{tally.attempts} attempts at {len(KINDS)} kinds of hostile receivers: {dict(tally.by_reason)}; the "
                f"longest {tally.over_s:.2f} s beyond its time ({tally.over_kind}); healthy p99 "
                f"{quantile_ms(alone_s, 0.99):.1f} ms alone, {quantile_ms(beside_s, 0.99):.1f} ms beside; "
                f"{peak_mib:.0f} MiB at most"
            )
            assert tally.wrong == []
            assert tally.attempts == hostile.deliveries == len(KINDS) + sum(kind.large for kind in KINDS)
            assert tally.over_s < LATE_S_MAX
            assert peak_mib < RESIDENT_MIB_MAX
            assert balanced(stats)
            assert stats["delivered"] + stats["failed"] == 400 + tally.attempts
            assert program.terminate() == 0


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(240)
@pytest.mark.parametrize("manner", ["slow", "failing"])
async def test_a_noisy_tenant_holds_nobody_up(tmp_path: Path, manner: str):
    """A tenant's events all arrive while another one's thousands wait for endpoints that are slow, or always fail."""
    with hostile_receivers(10, manner) as receivers, running(tmp_path / "hookline") as program:
        noisy = NoisyTenant(program, receivers)
        async with Healthy(program, 5, "quiet", tenant="quiet") as quiet:
            alone_s = await quiet.send(200, 100)
            await noisy.begin(20_000)
            beside_s = await quiet.send(200, 100)
            waiting = await noisy.waiting()
            assert quiet.repeated == 0
            assert sorted(quiet.arrived_s) == list(range(400))
        print(
            f"\nbeside {waiting} deliveries that wait for endpoints that are {manner}: p99 "
            f"{quantile_ms(alone_s, 0.99):.1f} ms alone, {quantile_ms(beside_s, 0.99):.1f} ms beside"
        )
        assert waiting > 10_000
        assert resident_mib(program)[1] < RESIDENT_MIB_MAX
        assert balanced(program.stats())
