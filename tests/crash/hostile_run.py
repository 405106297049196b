"""`make hostile`: healthy endpoints alone and beside hundreds of hostile ones, in one program, as one table.

HOSTILE (500) endpoints, each with a new event every TIMEOUT_S (6) seconds, when the attempt before must have ended, so
that those that hang are always at it; HEALTHY (20) endpoints, RATE (100) events per second to them; ROUNDS (2) of four
phases of SECONDS (30). Then the same for a noisy tenant (`tests.crash.noisy_run`). The exit code is 0 only if all that
is asked for holds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from tests.acceptance.program import running
from tests.crash.healthy import Healthy, quantile_ms
from tests.crash.hostile_endpoints import HostileEndpoints, Tally, resident_mib
from tests.crash.hostile_receivers import HostileReceivers, hostile_receivers

HOSTILE = int(os.environ.get("HOSTILE", "500"))
HEALTHY = int(os.environ.get("HEALTHY", "20"))
RATE = float(os.environ.get("RATE", "100"))
SECONDS = float(os.environ.get("SECONDS", "30"))
ROUNDS = int(os.environ.get("ROUNDS", "2"))
TIMEOUT_S = float(os.environ.get("TIMEOUT_S", "6"))
EVENTS_MAX = 8
"""For each hostile endpoint and round: at ten failures in a row it would be left alone."""
RATIO_MAX = 2.0
RESIDENT_MIB_MAX = 300.0
OVER_S_MAX = 1.0


ALONE, POLITE, EVENLY, AT_ONCE = (
    "alone",
    f"beside {HOSTILE} polite ones",
    "beside hostile ones",
    "the same, all at once",
)
PHASES = (ALONE, POLITE, EVENLY, AT_ONCE)
"""Beside as many that answer 200 at once and close (what the load alone does, without hostility); beside hostile ones
that get their events one group after the other; beside such that get one event for all."""


@dataclass
class Result:
    """What was measured."""

    latencies_s: dict[str, list[list[float]]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    """Of the healthy ones, by phase and round."""
    in_flight: list[int] = field(default_factory=list)
    """Deliveries that were leased, looked at once per hostile event."""
    resident_mib: list[float] = field(default_factory=list)
    """Before the first hostile endpoint and after the last."""
    peak_mib: float = 0.0
    tally: Tally = field(default_factory=Tally)
    held_s: float = 0.0
    """The longest that the receivers saw a connection held."""
    repeated: int = 0

    def quantile_ms(self, phase: str, share: float) -> float:
        """Over all rounds of a phase."""
        return quantile_ms([latency_s for row in self.latencies_s[phase] for latency_s in row], share)

    def ratio(self, phase: str, share: float = 0.99) -> float:
        """Of a phase to that alone."""
        return self.quantile_ms(phase, share) / self.quantile_ms(ALONE, share)


async def measure(folder: Path, receivers: HostileReceivers, polite: HostileReceivers) -> Result:
    """All rounds in one program."""
    result = Result()
    with running(folder, ca_file=str(folder / "trust.pem")) as program:
        async with Healthy(program, HEALTHY) as healthy:
            await healthy.send(int(RATE * 3), RATE)  # warm
            result.resident_mib.append(resident_mib(program)[0])
            for _ in range(ROUNDS):
                for phase in PHASES:
                    if phase == ALONE:
                        latencies_s = await healthy.send(int(RATE * SECONDS), RATE)
                    else:
                        hostile = HostileEndpoints(program, polite if phase == POLITE else receivers, TIMEOUT_S)
                        latencies_s = await _beside(healthy, hostile, phase, result)
                    result.latencies_s[phase].append(latencies_s)
            now_mib, result.peak_mib = resident_mib(program)
            result.resident_mib.append(now_mib)
            result.repeated = healthy.repeated
        assert program.terminate() == 0, program.log()
    return result


async def _beside(healthy: Healthy, hostile: HostileEndpoints, phase: str, result: Result) -> list[float]:
    """The healthy ones' latencies while all hostile endpoints are at it."""
    await hostile.create()
    attacking = asyncio.create_task(_attack(hostile, phase, result))
    await asyncio.sleep(TIMEOUT_S / 2)
    latencies_s = await healthy.send(int(RATE * SECONDS), RATE)
    await attacking
    await hostile.settled(60)
    tally = await hostile.tally()
    if phase == POLITE:
        assert not tally.wrong, tally.wrong
    else:
        result.tally.join(tally)
    await hostile.delete()
    return latencies_s


async def _attack(hostile: HostileEndpoints, phase: str, result: Result) -> None:
    """Give every hostile endpoint an event whenever the one before has had its time, and a large one in between."""
    for number in range(min(EVENTS_MAX, int(SECONDS / TIMEOUT_S))):
        if phase == AT_ONCE:
            await hostile.publish_to_all()
            await asyncio.sleep(TIMEOUT_S)
        else:
            await hostile.publish_evenly(TIMEOUT_S)
        if number == 1:
            await hostile.publish_large()
        if phase != POLITE:
            result.in_flight.append(await hostile.in_flight())


def table(result: Result) -> str:
    """The result for people."""
    lines = [
        f"{'healthy endpoints, end to end, ms':<36}" + "".join(f"{name:>9}" for name in ("p50", "p90", "p99", "max"))
    ]
    for phase in PHASES:
        values = "".join(f"{result.quantile_ms(phase, share):9.1f}" for share in (0.5, 0.9, 0.99, 1.0))
        rounds = " ".join(f"{quantile_ms(row, 0.99):.1f}" for row in result.latencies_s[phase])
        ratio = (
            "" if phase == ALONE else f"; ÷ alone: p50 {result.ratio(phase, 0.5):.2f}, p99 {result.ratio(phase):.2f}"
        )
        lines.append(f"  {phase:<34}{values}   p99 by round: {rounds}{ratio}")
    tally = result.tally
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.by_reason.most_common())
    before_mib, after_mib = result.resident_mib
    lines += [
        f"hostile deliveries leased at once   {min(result.in_flight)} to {max(result.in_flight)}",
        f"attempts at hostile endpoints       {tally.attempts}: {reasons}",
        f"  that did not end as they must     {len(tally.wrong)}",
        f"longest beyond its timeout_s        {tally.over_s:.2f} s ({tally.over_kind})",
        f"longest that a receiver was held    {result.held_s:.2f} s, at timeout_s {TIMEOUT_S:g}",
        (
            f"resident memory                     {before_mib:.0f} MiB, {after_mib:.0f} after, "
            f"{result.peak_mib:.0f} at most"
        ),
    ]
    return "\n".join(lines)


def verdict(result: Result) -> list[str]:
    """What does not hold."""
    missed = [f"wrong: {line}" for line in sorted(set(result.tally.wrong))]
    missed += [
        f"{phase}: the healthy endpoints' p99 is {result.ratio(phase):.2f} times theirs alone, not {RATIO_MAX:g}"
        for phase in (EVENLY, AT_ONCE)
        if result.ratio(phase) > RATIO_MAX
    ]
    if result.peak_mib >= RESIDENT_MIB_MAX:
        missed.append(f"{result.peak_mib:.0f} MiB of memory, not {RESIDENT_MIB_MAX:g}")
    if result.tally.over_s > OVER_S_MAX:
        missed.append(f"an attempt ended {result.tally.over_s:.2f} s after its time, not {OVER_S_MAX:g}")
    if result.repeated:
        missed.append(f"{result.repeated} healthy deliveries came twice")
    return missed


def main() -> int:
    """Measure, print, judge."""
    with (
        tempfile.TemporaryDirectory() as name,
        hostile_receivers(HOSTILE) as receivers,
        hostile_receivers(HOSTILE, "polite") as polite,
    ):
        folder = Path(name)
        (folder / "trust.pem").write_text(receivers.trust)
        result = uvloop.run(measure(folder, receivers, polite))
        result.held_s = max(receivers.end()["held_s"].values(), default=0.0)
    print(table(result))
    missed = verdict(result)
    print("all that is asked for holds" if not missed else "MISSED\n  " + "\n  ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
