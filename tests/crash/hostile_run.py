"""`make hostile`: healthy endpoints alone and beside hundreds of hostile ones, in one program, as one table.

HOSTILE (500) endpoints, HEALTHY (20) endpoints, RATE (100) events per second to the healthy ones, ROUNDS (3) of
SECONDS (16) alone and as long beside. The exit code is 0 only if all that is asked for holds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
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
SECONDS = float(os.environ.get("SECONDS", "16"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
TIMEOUT_S = 2.0
EVENTS_MAX = 8
"""For each hostile endpoint and round: at ten failures in a row it would be left alone."""
RATIO_MAX = 2.0
RESIDENT_MIB_MAX = 300.0
OVER_S_MAX = 1.0


@dataclass
class Result:
    """What was measured."""

    alone_s: list[list[float]] = field(default_factory=list)
    beside_s: list[list[float]] = field(default_factory=list)
    """Latencies of the healthy ones, by round."""
    in_flight: list[int] = field(default_factory=list)
    """Deliveries that were leased, looked at once per hostile event."""
    resident_mib: list[float] = field(default_factory=list)
    """Before the first hostile endpoint and after the last."""
    peak_mib: float = 0.0
    tally: Tally = field(default_factory=Tally)
    held_s: float = 0.0
    """The longest that the receivers saw a connection held."""
    repeated: int = 0

    @property
    def ratio(self) -> float:
        """p99 beside ÷ p99 alone."""
        return quantile_ms(sum(self.beside_s, []), 0.99) / quantile_ms(sum(self.alone_s, []), 0.99)


async def measure(folder: Path, receivers: HostileReceivers) -> Result:
    """All rounds in one program."""
    result = Result()
    with running(folder, ca_file=str(folder / "trust.pem")) as program:
        async with Healthy(program, HEALTHY) as healthy:
            await healthy.send(int(RATE * 3), RATE)  # warm
            for _ in range(ROUNDS):
                result.alone_s.append(await healthy.send(int(RATE * SECONDS), RATE))
                if not result.resident_mib:
                    result.resident_mib.append(resident_mib(program)[0])
                hostile = HostileEndpoints(program, receivers, TIMEOUT_S)
                await hostile.create()
                attacking = asyncio.create_task(_attack(hostile, result))
                await asyncio.sleep(TIMEOUT_S / 2)
                result.beside_s.append(await healthy.send(int(RATE * SECONDS), RATE))
                await attacking
                await hostile.settled(60)
                tally = await hostile.tally()
                result.tally = tally if not result.tally.attempts else _both(result.tally, tally)
                await hostile.delete()
            now_mib, result.peak_mib = resident_mib(program)
            result.resident_mib.append(now_mib)
            result.repeated = healthy.repeated
        assert program.terminate() == 0, program.log()
    return result


async def _attack(hostile: HostileEndpoints, result: Result) -> None:
    """Give every hostile endpoint an event whenever the one before has had its time."""
    for _ in range(min(EVENTS_MAX, int(SECONDS / TIMEOUT_S))):
        await hostile.publish()
        await asyncio.sleep(TIMEOUT_S / 2)
        result.in_flight.append(await hostile.in_flight())
        await asyncio.sleep(TIMEOUT_S / 2)


def _both(one: Tally, other: Tally) -> Tally:
    longest = max(one, other, key=lambda tally: tally.over_s)
    return Tally(
        one.attempts + other.attempts,
        one.by_reason + other.by_reason,
        one.wrong + other.wrong,
        longest.over_s,
        longest.over_kind,
    )


def table(result: Result) -> str:
    """The result for people."""
    alone, beside = sum(result.alone_s, []), sum(result.beside_s, [])

    def row(name: str, latencies_s: Sequence[float]) -> str:
        values = "  ".join(f"{quantile_ms(latencies_s, share):8.1f}" for share in (0.5, 0.9, 0.99, 1.0))
        return f"{name:<34}{len(latencies_s):>7}  {values}"

    rounds = "  ".join(
        f"{quantile_ms(a, 0.99):.1f}/{quantile_ms(b, 0.99):.1f}"
        for a, b in zip(result.alone_s, result.beside_s, strict=True)
    )
    tally = result.tally
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.by_reason.most_common())
    return "\n".join(
        [
            f"{'healthy endpoints, end to end, ms':<34}{'events':>7}  {'p50':>8}  {'p90':>8}  {'p99':>8}  {'max':>8}",
            row("  alone", alone),
            row(f"  beside {HOSTILE} hostile endpoints", beside),
            f"  p99 beside ÷ alone               {result.ratio:.2f}  (p99 alone/beside by round: {rounds})",
            f"  p50 beside ÷ alone               {quantile_ms(beside, 0.5) / quantile_ms(alone, 0.5):.2f}",
            f"hostile deliveries leased at once  {min(result.in_flight)} to {max(result.in_flight)}",
            f"attempts at hostile endpoints      {tally.attempts}: {reasons}",
            f"  with another end than they must  {len(tally.wrong)}",
            f"longest beyond its timeout_s       {tally.over_s:.2f} s ({tally.over_kind}); "
            f"longest held connection, as the receivers saw it: {result.held_s:.2f} s of {TIMEOUT_S:g} s",
            f"resident memory                    {result.resident_mib[0]:.0f} MiB before, "
            f"{result.resident_mib[1]:.0f} MiB after, {result.peak_mib:.0f} MiB at most",
        ]
    )


def verdict(result: Result) -> list[str]:
    """What does not hold."""
    missed = [f"wrong: {line}" for line in sorted(set(result.tally.wrong))]
    if result.ratio > RATIO_MAX:
        missed.append(f"the healthy endpoints' p99 is {result.ratio:.2f} times theirs alone, not {RATIO_MAX:g}")
    if result.peak_mib >= RESIDENT_MIB_MAX:
        missed.append(f"{result.peak_mib:.0f} MiB of memory, not {RESIDENT_MIB_MAX:g}")
    if result.tally.over_s > OVER_S_MAX:
        missed.append(f"an attempt ended {result.tally.over_s:.2f} s after its time, not {OVER_S_MAX:g}")
    if result.repeated:
        missed.append(f"{result.repeated} healthy deliveries came twice")
    return missed


def main() -> int:
    """Measure, print, judge."""
    with tempfile.TemporaryDirectory() as name, hostile_receivers(HOSTILE) as receivers:
        folder = Path(name)
        (folder / "trust.pem").write_text(receivers.trust)
        result = uvloop.run(measure(folder, receivers))
        result.held_s = max(receivers.end()["held_s"].values(), default=0.0)
    print(table(result))
    missed = verdict(result)
    print("all that is asked for holds" if not missed else "MISSED\n  " + "\n  ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
