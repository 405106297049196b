"""Replays of many, made: step by step, tenants in turn, beside the live traffic.

A step's deliveries and how far the replay is are one commit, so that it goes on after a crash exactly where it was.
It waits while an endpoint has too much to do, follows its rate, and pauses after each step for as long as that took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.errors import StaleRegistry, StoreUnavailable
from hookline.core.quota import take
from hookline.core.replay import OPEN_MAX, PORTION_S, STEP_DELIVERIES_MAX, Turns, portions
from hookline.flow.endpoints import Notify
from hookline.flow.registry import Registry
from hookline.flow.replay_steps import Plan, Step, Steps, TargetGone
from hookline.flow.waiting import wait_for_set
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import ReplayRow, Store

IDLE_S: Final = 1.0
"""How often replays are looked for that another process has taken."""
REST_S_MAX: Final = 1.0
FULL_S: Final = 1.0
"""How long a replay waits before it looks again whether an endpoint has room."""
UNREADABLE_S: Final = 60.0
TROUBLES_MAX: Final = 5
"""Steps that may fail in a row by a fault that is not the store's absence."""


class _Running(msgspec.Struct):
    """What this process remembers of a replay between its steps."""

    not_before_s: float = 0.0
    tat_ms: float = 0.0
    """Of its rate, see `core.quota`. Not stored: after a restart it may use its burst once more."""
    troubles: int = 0
    waits_for: str | None = None
    met: set[bytes] = msgspec.field(default_factory=set)
    """Endpoints that it has sent to."""


class ReplayWorker:
    """Makes the steps of all running replays. `slowly` lets an endpoint start slowly, before much comes to it
    (docs/reliability.md, rule 14). `open_max` is what an endpoint may have open before it is overflow."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        steps: Steps,
        notify: Notify,
        slowly: Callable[[bytes], None],
        clock: Clock,
        observer: Observer,
        *,
        open_max: int = 1_000_000,
    ) -> None:
        self._store = store
        self._registry = registry
        self._steps = steps
        self._notify = notify
        self._slowly = slowly
        self._clock = clock
        self._observer = observer
        self._open_max = min(OPEN_MAX, open_max // 2)
        self._running: dict[bytes, _Running] = {}
        self._turns = Turns()
        self._wanted = asyncio.Event()
        self._stopped = False
        self.mine: Callable[[], bool] = lambda: True
        """Whether this process makes the replays of all."""

    def soon(self) -> None:
        """A replay was made: look now."""
        self._wanted.set()

    def stop(self) -> None:
        """Make no more steps: the process drains."""
        self._stopped = True

    def waits_for(self, replay_id: bytes) -> str | None:
        """Why a replay does not go on at the moment, as far as this process knows."""
        running = self._running.get(replay_id)
        return None if running is None else running.waits_for

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._wanted.clear()
            began_s = self._clock.monotonic_s()
            try:
                wait_s = await self.once()
            except Exception as error:  # noqa: BLE001 - a loop that ended silently would be the worst of failures
                self._observer.warn("replay_failed", error=str(error) or repr(error))
                wait_s = IDLE_S
            if wait_s > 0:
                await wait_for_set(self._wanted, self._clock, wait_s)
            else:
                # Half of the time is the others'; but who stood still in a step does not stand as long again.
                await self._clock.sleep(min(REST_S_MAX, self._clock.monotonic_s() - began_s))

    async def once(self) -> float:
        """At most one step of one replay; in how many seconds there may be another (0: now). Raises
        `StoreUnavailable`."""
        if self._stopped or not self.mine():
            return IDLE_S
        rows = {row.id: row for row in await self._store.running_replays()}
        tenants = {row.id: row.tenant for row in rows.values()}
        self._turns.keep(tenants)
        self._running = {one: self._running.get(one) or _Running() for one in rows}
        now_s = self._clock.monotonic_s()
        ready = {one: tenants[one] for one, running in self._running.items() if running.not_before_s <= now_s}
        if not ready:
            return min([running.not_before_s - now_s for running in self._running.values()], default=IDLE_S)
        row = rows[self._turns.take(ready)]
        running = self._running[row.id]
        try:
            await self._step(row, running)
        except StaleRegistry:
            await self._registry.refresh()  # and again at its next turn
        except StoreUnavailable:
            running.not_before_s = now_s + IDLE_S
            raise
        except TargetGone as gone:
            await self._end(row, "failed", f"The endpoint {ids.text(ids.ENDPOINT, gone.args[0])} was deleted.")
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the replays of others
            await self._trouble(row, running, error)
        else:
            running.troubles = 0
        return 0.0

    async def _trouble(self, row: ReplayRow, running: _Running, error: Exception) -> None:
        running.troubles += 1
        running.not_before_s = self._clock.monotonic_s() + 2.0**running.troubles
        self._observer.warn("replay_failed", replay=ids.text(ids.REPLAY, row.id), error=str(error) or repr(error))
        if running.troubles >= TROUBLES_MAX:
            await self._end(row, "failed", f"{TROUBLES_MAX} steps in a row did not work: {type(error).__name__}.")

    async def _step(self, row: ReplayRow, running: _Running) -> None:
        if self._registry.tenant_deleted(row.tenant):
            await self._end(row, "failed", "The tenant was deleted.")
            return
        now_s = self._clock.monotonic_s()
        try:
            plan = Plan.of(row)
        except msgspec.DecodeError as error:
            # Written by a newer Hookline: a process of that one makes it.
            self._observer.warn("replay_unreadable", replay=ids.text(ids.REPLAY, row.id), error=str(error))
            running.not_before_s = now_s + UNREADABLE_S
            return
        room = STEP_DELIVERIES_MAX
        rate = None if plan.spec.rate is None else portions(plan.spec.rate)
        if rate is not None:
            room, _, wait_s = take(running.tat_ms, now_s * 1000, rate, STEP_DELIVERIES_MAX)
            if room == 0:
                running.not_before_s = now_s + max(wait_s, PORTION_S)
                return
        version = self._registry.version
        full = await self._store.open_by_endpoint(self._open_max)
        step = await self._steps.next(plan, row.after, room, full)
        if step.after is not None and step.after != row.after:
            made = await self._store.step_replay(row.id, row.after, step.after, step.examined, step.again, version)
            if not made.applied:
                return  # canceled, or another process was first
            self._start_slowly(step, running)
            self._notify(made.due_s)
            if rate is not None:
                running.tat_ms = take(running.tat_ms, now_s * 1000, rate, len(step.again))[1]
        if step.ended:
            await self._end(row, "done")
            return
        self._wait_for_room(step, row, running, now_s)
        if rate is not None and len(step.again) == room:
            running.not_before_s = max(running.not_before_s, now_s + PORTION_S)

    def _start_slowly(self, step: Step, running: _Running) -> None:
        for endpoint_id in {one.endpoint_id for one in step.again} - running.met:
            running.met.add(endpoint_id)
            self._slowly(endpoint_id)

    def _wait_for_room(self, step: Step, row: ReplayRow, running: _Running, now_s: float) -> None:
        running.waits_for = None
        if step.full is not None:
            endpoint = ids.text(ids.ENDPOINT, step.full)
            running.waits_for = f"{endpoint} has more than {self._open_max:,} open deliveries."
            if step.after == row.after:
                running.not_before_s = now_s + FULL_S

    async def _end(self, row: ReplayRow, state: str, detail: str = "") -> None:
        ended = await self._store.end_replay(None, row.id, state, detail)
        self._observer.fact(
            "replay_ended",
            replay=ids.text(ids.REPLAY, row.id),
            tenant=row.tenant,
            state=ended.state,
            replayed=ended.replayed,
            skipped=ended.skipped,
        )
