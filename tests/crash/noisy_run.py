"""A tenant with a huge backlog, or with endpoints that always fail, and what another tenant's events feel of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from tests.acceptance.program import KEY, Program, running
from tests.crash.healthy import Healthy, quantile_ms
from tests.crash.hostile_endpoints import resident_mib
from tests.crash.hostile_receivers import HostileReceivers, hostile_receivers

ENDPOINTS = 20
BACKLOG = 100_000
BATCH = 500
QUIET = 5
RATIO_MAX = 2.0
RESIDENT_MIB_MAX = 300.0
PHASES = {"alone": "", "beside a backlog": "slow", "beside failing endpoints": "failing"}
"""What the quiet tenant's events are beside → the manner of the noisy one's receivers."""


class NoisyTenant:
    """Endpoints of the tenant `noisy`, which all get all its events."""

    def __init__(self, program: Program, receivers: HostileReceivers) -> None:
        self._program = program
        self._receivers = receivers
        self._endpoints: list[str] = []

    async def begin(self, backlog: int) -> None:
        """Make so many deliveries, then let them go."""
        urls = list(self._receivers.url_kinds)
        async with self._client() as client:
            for url in urls:
                made = await client.post("/v1/endpoints", json={"url": url, "event_types": ["noise"]})
                self._endpoints.append(made.json()["id"])
                assert (await client.post(f"/v1/endpoints/{self._endpoints[-1]}/pause")).status_code == 200
            events = json.dumps([{"type": "noise", "data": "x" * 200}] * BATCH).encode()
            for _ in range(backlog // (BATCH * len(urls))):
                made = await client.post("/v1/events", content=events, headers={"content-type": "application/json"})
                assert made.status_code == 202, made.text
            for endpoint in self._endpoints:
                assert (await client.post(f"/v1/endpoints/{endpoint}/resume")).status_code == 200

    async def waiting(self) -> int:
        """How many of its deliveries are open."""
        async with self._client() as client:
            opened: dict[str, int] = (await client.get("/v1/stats")).json()["open"]
        return sum(opened.values())

    async def end(self) -> None:
        """Delete its endpoints, and wait until what was open is closed."""
        async with self._client() as client:
            for endpoint in self._endpoints:
                assert (await client.delete(f"/v1/endpoints/{endpoint}")).status_code in (200, 204)
        async with asyncio.timeout(120):
            while await self.waiting():
                await asyncio.sleep(0.5)

    def _client(self) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {KEY}", "hookline-tenant": "noisy"}
        return httpx2.AsyncClient(base_url=self._program.url, headers=headers, timeout=60, trust_env=False)


@dataclass
class NoisyResult:
    """What was measured."""

    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    """Of the noisy tenant's deliveries, at the end of a phase."""
    peak_mib: float = 0.0

    def ratio(self, phase: str) -> float:
        """A phase's p99 ÷ that alone."""
        return quantile_ms(self.latencies_s[phase], 0.99) / quantile_ms(self.latencies_s["alone"], 0.99)

    def table(self) -> str:
        """The result for people."""
        lines = []
        for phase, latencies_s in self.latencies_s.items():
            values = "".join(f"{quantile_ms(latencies_s, share):9.1f}" for share in (0.5, 0.9, 0.99, 1.0))
            beside = (
                "" if phase == "alone" else f"   p99 ÷ alone {self.ratio(phase):.2f}; {self.waiting[phase]} waiting"
            )
            lines.append(f"  {phase:<34}{values}{beside}")
        return "\n".join(["a quiet tenant beside a noisy one", *lines, f"  at most {self.peak_mib:.0f} MiB resident"])

    def missed(self) -> list[str]:
        """What does not hold."""
        found = [
            f"{phase}: the quiet tenant's p99 is {self.ratio(phase):.2f} times that alone, not {RATIO_MAX:g}"
            for phase in self.waiting
            if self.ratio(phase) > RATIO_MAX
        ]
        if self.peak_mib >= RESIDENT_MIB_MAX:
            found.append(f"{self.peak_mib:.0f} MiB beside a noisy tenant, not {RESIDENT_MIB_MAX:g}")
        return found


async def measure_noise(folder: Path, rate: float, seconds: float) -> NoisyResult:
    """All phases in one program."""
    result = NoisyResult()
    with running(folder) as program:
        async with Healthy(program, QUIET, "quiet", tenant="quiet") as quiet:
            await quiet.send(int(rate * 3), rate)  # warm
            for phase, manner in PHASES.items():
                if not manner:
                    result.latencies_s[phase] = await quiet.send(int(rate * seconds), rate)
                    continue
                with hostile_receivers(ENDPOINTS, manner) as receivers:
                    noisy = NoisyTenant(program, receivers)
                    await noisy.begin(BACKLOG)
                    result.latencies_s[phase] = await quiet.send(int(rate * seconds), rate)
                    result.waiting[phase] = await noisy.waiting()
                    await noisy.end()
        result.peak_mib = resident_mib(program)[1]
        assert program.terminate() == 0, program.log()
    return result
