"""A walk: one thing happens after the other, chosen by the seed; and after each of them all must hold."""

from __future__ import annotations

import random
from collections.abc import Callable

from hookline.core import ids
from hookline.core.delivery import State
from hookline.flow import route
from hookline.flow.limits import Limits
from tests.simulate import books
from tests.simulate.process import TENANT, Process
from tests.simulate.publish import Publishers
from tests.simulate.steps import DEAD, RETENTION_S, SPECS, Steps
from tests.simulate.truth import Row
from tests.simulate.world import World

CROWD = 260
STEPS = 12
STEPS_LONG = 40
"""Of every tenth seed: most of what can go wrong needs few steps, and many walks of them."""
STUCK_ROUNDS = 60
"""So often nothing more is closed, ten seconds after the other, and it is stuck."""


class Violation(AssertionError):
    """Something that must always hold does not."""


class Walk(Steps):
    """One seed."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.world = World(seed, chance)
        self.chance = chance
        self.steps = STEPS_LONG if seed % 10 == 0 else STEPS
        self.limits = Limits(
            public_url="https://hooks.example",
            retention_s=RETENTION_S,
            concurrency_max=chance.choice((6, 64)),
            host_concurrency_max=chance.choice((2, 5, 64)),
            handoff_max=chance.choice((3, 4096)),
            open_max=chance.choice((25, 1_000_000)) if seed % 8 == 0 else 1_000_000,
            commits_in_flight=chance.choice((1, 1, 3)),
        )
        self.world.truth.retention_ms = int(RETENTION_S * 1000)
        self.publishers = Publishers(self.world)
        self.process: Process | None = None
        self.crowd = seed % 100 == 50
        self.fanout_from = 256 if self.crowd else chance.choice((2, 256))
        self._weighted: list[Callable[[], None]] = [
            *(self.publish,) * 12,
            *(self.wait,) * 6,
            *(self.mood,) * 5,
            *(self.trouble,) * 5,
            *(self.say,) * 3,
            *(self.pause, self.resume, self.patch, self.retry, self.crash) * 2,
            *(self.replay, self.replay_many, self.discard, self.erase, self.rotate, self.delete, self.create),
            *(self.restart, self.stand_still, self.set_wall, self.full_disk, self.leap),
        ]

    # ------------------------------------------------------------------------------------------------- the walk

    def run(self) -> None:
        """All of it. Raises `Violation`."""
        before, route.FANOUT_FROM = route.FANOUT_FROM, self.fanout_from
        try:
            self._begin()
            for number in range(self.steps):
                step = self.chance.choice(self._weighted)
                self.world.note(f"{number}: {step.__name__}")
                step()
                if self.process is not None:
                    self._run(self.chance.choice((0.0, 0.002, 0.02, 0.1, 0.1, 0.7)))
                self.check()
            self._end_well()
        except Violation:
            raise
        except Exception as error:
            error.add_note(f"at {self.world.time.now_s:.3f}")
            raise
        finally:
            route.FANOUT_FROM = before

    def check(self) -> None:
        """Raise where something does not hold."""
        found = self.world.truth.found
        if self.process is not None:
            found += self.process.loop.defects
            books.check(self.world, self.process)
        if found:
            raise Violation("; ".join(found[:3]))

    def _begin(self) -> None:
        self._start()
        paths = self.chance.sample(list(SPECS), self.chance.randint(2, 4))
        if self.chance.random() < 0.5:
            everything = self.chance.random() < 0.2
            self._create(
                "told",
                event_types=["hookline.*"] if everything else ["hookline.delivery.failed", "hookline.endpoint.*"],
            )
        if any(SPECS[path].get("dead_letter") for path in paths):
            self._create(DEAD, uid=DEAD, event_types=["nothing"])
            self._run(0.5)
        for path in paths:
            self._create(path, **SPECS[path])
        for number in range(CROWD if self.crowd else 0):
            self._create(f"crowd-{number}", event_types=["u"])
        self._run(1.5)
        self.check()

    def _start(self) -> None:
        for _ in range(10):
            self.process = Process(self.world, self.limits)
            if self.process.start():
                for row in self.world.truth.rows.values():
                    if row.open and row.state == State.LEASED and row.process < self.world.truth.rounds:
                        self.world.truth.fault(f"{row.id.hex()} is leased still by a process that is no more")
                return
            self._cut()
        raise Violation("it did not start in ten times")

    def _run(self, wait_s: float, turns_max: int = 0) -> bool:
        assert self.process is not None
        return self.process.loop.run_for(wait_s, turns_max)

    def _cut(self) -> None:
        self.world.excuse()
        if self.process is not None:
            self.process.loop.cut_off()
        self.process = None

    # ------------------------------------------------------------------------------------------------------ the end

    def _end_well(self) -> None:
        """All troubles end; then everything is closed soon, and nothing is left of it in memory."""
        world = self.world
        world.note("all troubles end")
        world.peace = True
        world.disk.free_bytes = 1 << 40
        self._here.faults.heal()
        for known in world.by_id.values():
            known.mood = "good"
        self._run(2.0)
        for endpoint_id, state in world.disk.rows("SELECT id, state FROM endpoints WHERE deleted = 0"):
            known = world.by_id.get(endpoint_id)
            if state != "active" or endpoint_id in world.truth.failing:
                name = ids.text(ids.ENDPOINT, endpoint_id)
                if known is not None:
                    known.shut, known.resumed = False, known.resumed + 1
                self._here.sender.waits_until_s.pop(endpoint_id, None)
                self._here.call(f"resumes {name}", self._here.endpoints.resume(TENANT, name))
        for known in world.endpoints.values():
            world.truth.buckets.pop(known.id, None)
            known.rates += 1
            self._here.call("lifts a rate", self._here.endpoints.patch(TENANT, known.name, b'{"rate": null}'))
        idle, before = 0, -1
        while idle < STUCK_ROUNDS:
            self._run(0.6)
            self.check()
            if self._closed():
                break
            left = len(self._open())
            idle, before = (0, left) if left < before or before < 0 else (idle + 1, before)
            if idle:
                self.world.excuse()
                self._here.loop.stand_still(10.0)
        else:
            left = [f"{ids.text(ids.DELIVERY, row.id)} {State(row.state).word}" for row in self._open()]
            for row in self._open()[:5]:
                world.note(f"left: {row} of {world.by_id[row.endpoint_id]}")
            raise Violation(f"not all was closed: {left[:5]}, {len(left)} in all, {self._here.asked} calls")
        for _ in range(12):
            if not self._here.sender.in_all:
                break
            self._here.loop.stand_still(10.0)  # an attempt that outlived its lease is on its way still
            self._run(0.3)
        self._run(1.0)
        self.check()
        books.check_memory(world, self._here)
        if not self._here.end(5.0):
            raise Violation("it did not end in time although nothing was in flight")
        if world.truth.found:
            raise Violation("; ".join(world.truth.found[:3]))

    def _open(self) -> list[Row]:
        return [row for row in self.world.truth.rows.values() if row.open]

    def _closed(self) -> bool:
        rows = self._open()
        for row in rows:
            if row.state == State.UNCONFIRMED and row.id in self.world.tokens and self.chance.random() < 0.5:
                self._here.confirm(row.id, 0.0, "success")
        blocked = [row for row in rows if row.state == State.HELD]
        if blocked:
            for row in list(self.world.truth.rows.values()):
                if row.state == State.FAILED and not row.purged and row.lane is not None:
                    self._here.call("lets its lane go on", self._here.history.discard(TENANT, row.id))
        unfolded = self.world.disk.rows("SELECT count(*) FROM fanouts")[0][0]
        replays = self.world.disk.rows("SELECT count(*) FROM replay_jobs WHERE state = 'running'")[0][0]
        return not (rows or unfolded or replays or self._here.asked)
