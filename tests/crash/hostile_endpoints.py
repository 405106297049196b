"""Endpoints that lead to hostile receivers, the events they get, and the check of what was recorded of each attempt."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from tests.acceptance.program import KEY, Program
from tests.crash.hostile_kinds import Kind
from tests.crash.hostile_receivers import HostileReceivers

LARGE_BYTES = 1024 * 1024 - 64
"""An event of the largest size: what does not fit the buffers on the way is held by its sender."""
PARALLEL = 8
GROUPS = 50
"""The endpoints are in so many groups, each with an event type of its own."""


@dataclass
class Tally:
    """What the attempts at hostile receivers say."""

    attempts: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Deliveries that did not end as their kind must."""
    over_s: float = -1e9
    """The longest time that an attempt took beyond its `timeout_s`."""
    over_kind: str = ""

    def join(self, other: Tally) -> None:
        """Count what another one counted, too."""
        self.attempts += other.attempts
        self.by_reason += other.by_reason
        self.wrong += other.wrong
        if other.over_s > self.over_s:
            self.over_s, self.over_kind = other.over_s, other.over_kind

    def add(self, kind: Kind, timeout_s: float, delivery: dict[str, Any], attempts: Sequence[dict[str, Any]]) -> None:
        """Count a delivery that is closed, and check it."""
        said = [(attempt["reason"], delivery["state"]) for attempt in attempts]
        state = "delivered" if kind.reason is None else "failed"
        if said != [(kind.reason, state)] or delivery["reason"] != kind.reason:
            details = [attempt["detail"] for attempt in attempts]
            self.wrong.append(f"{kind.name}: {said} {delivery['state']} {delivery['reason']} {details}")
        for attempt in attempts:
            self.attempts += 1
            self.by_reason[attempt["reason"] or "delivered"] += 1
            over_s = attempt["duration_ms"] / 1000 - timeout_s
            if over_s > self.over_s:
                self.over_s, self.over_kind = over_s, kind.name


class HostileEndpoints:
    """One endpoint for each receiver. Every delivery has one try, so that each attempt closes one."""

    def __init__(
        self, program: Program, receivers: HostileReceivers, timeout_s: float, tenant: str = "default"
    ) -> None:
        self._program = program
        self._receivers = receivers
        self._timeout_s = timeout_s
        self._tenant = tenant
        self._kinds: dict[str, Kind] = {}
        self._events: list[str] = []
        self.deliveries = 0
        """Made so far."""

    async def create(self) -> None:
        """Make the endpoints."""
        async with self._client() as client:

            async def one(number: int, url: str, kind: Kind) -> None:
                large = ["hostile.large"] if kind.large else []
                spec = {
                    "url": url,
                    "event_types": ["hostile.all", f"hostile.{number % GROUPS}", *large],
                    "timeout_s": self._timeout_s,
                    "retry": {"first_s": 1, "attempts": 1},
                }
                answer = await client.post("/v1/endpoints", json=spec)
                assert answer.status_code == 201, answer.text
                self._kinds[answer.json()["id"]] = kind

            receivers = self._receivers.url_kinds.items()
            await _in_parallel([(one, number, url, kind) for number, (url, kind) in enumerate(receivers)])

    async def publish_to_all(self) -> None:
        """One event, which goes to all of them at once."""
        async with self._client() as client:
            await self._publish(client, "hostile.all", "")

    async def publish_large(self) -> None:
        """One event of the largest size to those for which that makes a difference."""
        async with self._client() as client:
            await self._publish(client, "hostile.large", "x" * LARGE_BYTES)

    async def publish_evenly(self, for_s: float) -> None:
        """One event for each of them, group by group."""
        began_s = time.monotonic()
        async with self._client() as client:
            for group in range(GROUPS):
                await asyncio.sleep(began_s + for_s * group / GROUPS - time.monotonic())
                await self._publish(client, f"hostile.{group}", "")
        await asyncio.sleep(began_s + for_s - time.monotonic())

    async def _publish(self, client: httpx2.AsyncClient, event_type: str, data: str) -> None:
        answer = await client.post("/v1/events", json={"type": event_type, "data": data})
        assert answer.status_code == 202, answer.text
        made = answer.json()
        self._events.append(made["id"])
        self.deliveries += made["deliveries"]

    async def in_flight(self) -> int:
        """How many deliveries are leased now."""
        return int((await asyncio.to_thread(self._program.stats))["open"]["leased"])

    async def in_flight_at_least(self, count: int, wait_s: float = 60.0) -> None:
        """Wait until so many deliveries are leased."""
        async with asyncio.timeout(wait_s):
            while await self.in_flight() < count:
                await asyncio.sleep(0.1)

    async def settled(self, wait_s: float) -> None:
        """Wait until none of them is open any more."""
        end_s = time.monotonic() + wait_s
        while True:
            stats = await asyncio.to_thread(self._program.stats)
            if not any(stats["open"].values()):
                return
            assert time.monotonic() < end_s, stats["open"]
            await asyncio.sleep(0.2)

    async def tally(self) -> Tally:
        """Read every attempt and check it."""
        tally = Tally()
        seen = 0
        async with self._client() as client:

            async def one(row: dict[str, Any]) -> None:
                answer = await client.get(f"/v1/deliveries/{row['id']}/attempts")
                tally.add(self._kinds[row["endpoint_id"]], self._timeout_s, row, answer.json()["data"])

            for event in self._events:
                rows = await self._rows(client, event)
                seen += len(rows)
                await _in_parallel([(one, row) for row in rows])
        assert seen == self.deliveries, (seen, self.deliveries)
        return tally

    async def delete(self) -> None:
        """Delete the endpoints."""
        async with self._client() as client:

            async def one(endpoint: str) -> None:
                assert (await client.delete(f"/v1/endpoints/{endpoint}")).status_code in (200, 204)

            await _in_parallel([(one, endpoint) for endpoint in self._kinds])

    async def _rows(self, client: httpx2.AsyncClient, event: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query = {"event": event, "limit": "250"}
        while True:
            page = (await client.get("/v1/deliveries", params=query)).json()
            found += page["data"]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    def _client(self) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {KEY}", "hookline-tenant": self._tenant}
        return httpx2.AsyncClient(base_url=self._program.url, headers=headers, timeout=30, trust_env=False)


async def _in_parallel(calls: Sequence[tuple[Any, ...]]) -> None:
    left = iter(calls)

    async def work() -> None:
        for function, *arguments in left:
            await function(*arguments)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(PARALLEL):
            tasks.create_task(work())


def resident_mib(program: Program) -> tuple[float, float]:
    """Memory that the program holds now, and the most it ever held."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = dict(line.split(":", 1) for line in status.splitlines())
    return int(found["VmRSS"].split()[0]) / 1024, int(found["VmHWM"].split()[0]) / 1024
