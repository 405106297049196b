"""What people, publishers, receivers, the disk, the machine and time do: the steps of a walk."""

from __future__ import annotations

import json
import random
from typing import Any

from hookline.core.delivery import OPEN, State
from hookline.core.endpoint import RateSpec
from hookline.core.errors import StaleRegistry, StoreUnavailable
from hookline.flow.endpoints import Described
from tests.simulate.process import TENANT, Process
from tests.simulate.publish import Publishers
from tests.simulate.truth import Bucket, Row
from tests.simulate.world import MOODS, Known, World

RETENTION_S = 6 * 3600.0
DEAD = "dead"
SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "picky": {"event_types": ["t"], "dead_letter": DEAD},
    "waits": {"order": "key", "dead_letter": DEAD},
    "skips": {"order": {"by": "key", "when_failed": "skip"}},
    "confirms": {"confirm": {"within_s": 20}, "dead_letter": DEAD},
    "confirms-in-order": {"confirm": {"within_s": 20}, "order": {"by": "key", "when_failed": "skip"}},
    "rated": {"rate": {"n": 2, "per_s": 1, "burst": 3}},
    "rated-in-order": {"rate": {"n": 4, "per_s": 1}, "order": "key"},
}
STORE_CALLS = (
    *("accept", "record", "claim") * 3,
    *("claim_ids", "release", "due", "changes", "lost", "unfold", "healths", "confirm", "unconfirmed", "event"),
    *("attempts", "endpoints_of", "close_deleted", "fold", "expired", "purge", "step_replay", "running_replays"),
)


class Steps:
    """A walk's steps; `tests.simulate.walk` chooses among them."""

    chance: random.Random
    world: World
    publishers: Publishers
    process: Process | None

    def _start(self) -> None:
        raise NotImplementedError

    def _run(self, wait_s: float, turns_max: int = 0) -> bool:
        raise NotImplementedError

    def _cut(self) -> None:
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------- publish, time

    def publish(self) -> None:
        """Some requests at once."""
        for _ in range(self.chance.randint(1, 3)):
            self.publishers.publish(self._here)

    @property
    def _here(self) -> Process:
        assert self.process is not None
        return self.process

    def wait(self) -> None:
        """A little passes."""
        self._run(self.chance.choice((0.3, 0.6, 1.2, 4.0)))

    def stand_still(self) -> None:
        """The process is stopped for a while, perhaps longer than its leases last."""
        wait_s = self.chance.choice((1.0, 8.0, 20.0, 60.0))
        if wait_s > 5:
            self.world.excuse()
        self._here.loop.stand_still(wait_s)

    def leap(self) -> None:
        """Much passes: what is there grows old."""
        self.world.excuse()
        self._here.loop.stand_still(self.chance.choice((600.0, RETENTION_S / 2, RETENTION_S + 90)))
        self._run(1.0)

    def set_wall(self) -> None:
        """Somebody sets the machine's clock."""
        by_ms = self.chance.choice((-3_600_000, -5_000, -700, 700, 5_000))
        if by_ms < 0:  # the store's clock goes on, but after a crash it may begin at an earlier time
            self.world.hurried.add(b"")
        self.world.time.wall_ahead_ms += by_ms

    def full_disk(self) -> None:
        """The disk fills up, or somebody makes room."""
        disk = self.world.disk
        disk.free_bytes = 0 if disk.free_bytes and self.chance.random() < 0.7 else 1 << 40

    def crash(self) -> None:
        """The process ends between any two of its steps, and another one begins."""
        self._run(1.0, self.chance.randint(1, 120))
        self.world.counted["crashes"] += 1
        self._cut()
        self._start()

    def restart(self) -> None:
        """The process is told to end; another one begins."""
        process = self._here
        grace_s = self.chance.choice((0.0, 0.5, 20.0))
        if grace_s < 20:
            self.world.excuse()
        ended = process.end(grace_s)
        self.world.note(f"  it ended {'in time' if ended else 'late'}")
        self._cut()
        self._start()

    def trouble(self) -> None:
        """The store fails: before its commit or after it, for one call or for some."""
        method = self.chance.choice(STORE_CALLS)
        after = self.chance.random() < 0.4
        error: Any = StoreUnavailable("told so")
        if method in ("accept", "record", "step_replay") and self.chance.random() < 0.2:
            error, after = StaleRegistry("told so"), False
        times = self.chance.choice((1, 1, 1, 2, 5))
        self.world.note(f"  {method} fails {times} times {'after' if after else 'before'} its commit: {error!r}")
        self._here.faults.fail(method, error, times=times, after_commit=after)

    # -------------------------------------------------------------------------------------------------- receivers

    def mood(self) -> None:
        """A receiver is another one from now on."""
        known = self._one()
        known.mood = self.chance.choice(list(MOODS))
        self.world.note(f"  {known.path} is {known.mood}")

    def say(self) -> None:
        """Receivers speak of what they took, early, late, twice; and somebody who has no token."""
        tokens = list(self.world.tokens)[-20:]
        for delivery_id in self.chance.sample(tokens, min(3, len(tokens))):
            self._here.confirm(delivery_id, 0.0)
        if tokens:
            self._here.forge(self.chance.choice(tokens))

    # -------------------------------------------------------------------------------------------------- endpoints

    def _one(self) -> Known:
        known = [one for one in self.world.endpoints.values() if not one.asked_to_delete]
        plain = [one for one in known if not one.path.startswith("crowd")]
        return self.chance.choice(plain or known)

    def _create(self, path: str, **spec: Any) -> None:
        chance, process = self.chance, self._here
        cap = chance.choice((1, 2, 3, 16))
        body = {
            "url": f"http://{chance.choice(('one', 'two'))}.example/{path}",
            "retry": {"schedule_s": [1, 5, 30]},
            "timeout_s": chance.choice((1, 5, 20)),
            "concurrency_max": cap,
            **spec,
        }

        def created(described: Described) -> None:
            known = Known(described.row.id, path, body, cap=cap, cap_asked=cap)
            self.world.endpoints[path] = self.world.by_id[known.id] = known
            self._rate(known, body.get("rate"))

        service = process.endpoints if chance.random() < 0.5 else process.endpoints_elsewhere
        process.call(f"creates {path}", service.create(TENANT, json.dumps(body).encode()), created)

    def _rate(self, known: Known, rate: dict[str, Any] | None) -> None:
        if rate is None:
            self.world.truth.buckets.pop(known.id, None)
        else:
            self.world.truth.buckets[known.id] = Bucket(RateSpec(**rate))

    def _rate_later(self, known: Known, rate: dict[str, Any] | None, rates: int) -> None:
        if known.rates == rates:
            self._rate(known, rate)

    def create(self) -> None:
        """One more endpoint, of a kind that is not there."""
        self.publish()
        missing = [path for path in SPECS if path not in self.world.endpoints]
        if missing:
            path = self.chance.choice(missing)
            self._create(path, **SPECS[path])
            self._run(0.1)
            self.publish()

    def delete(self) -> None:
        """An endpoint goes."""
        known = self._one()
        if known.path == DEAD or len(self.world.endpoints) < 3:
            return
        known.asked_to_delete = True
        del self.world.endpoints[known.path]

        def deleted(_: object) -> None:
            known.deleted = known.shut = True

        process = self._here
        process.call(f"deletes {known.path}", process.endpoints.delete(TENANT, known.name), deleted)

    def pause(self) -> None:
        """A person pauses one."""
        known, process = self._one(), self._here
        resumed = known.resumed
        if process.sender.waits_until_s.get(known.id) == -1.0:
            return  # it is being resumed: which of the two comes last would not be known

        def paused(_: object) -> None:
            known.shut = known.resumed == resumed

        process.call(f"pauses {known.path}", process.endpoints.pause(TENANT, known.name), paused)

    def resume(self) -> None:
        """A person resumes one."""
        shut = [one for one in self.world.endpoints.values() if one.shut]
        self._resume(self.chance.choice(shut) if shut else self._one())

    def _resume(self, known: Known) -> None:
        known.shut = False
        known.resumed += 1
        process = self._here
        # It may ask for a pause once more before it is resumed.
        process.sender.waits_until_s[known.id] = -1.0
        process.call(
            f"resumes {known.path}",
            process.endpoints.resume(TENANT, known.name),
            lambda _: process.sender.waits_until_s.pop(known.id, None),
        )

    def patch(self) -> None:
        """One has other limits from now on."""
        known, process, truth = self._one(), self._here, self.world.truth
        changes: dict[str, Any] = {}
        if self.chance.random() < 0.5:
            cap = changes["concurrency_max"] = self.chance.choice((1, 2, 3, 16))
            known.cap_asked = max(known.cap_asked, cap)
        else:
            changes["rate"] = self.chance.choice(
                (None, {"n": 2, "per_s": 1, "burst": 2}, {"n": 5, "per_s": 1, "burst": 1})
            )
            truth.buckets.pop(known.id, None)
            known.rates += 1
        rates = known.rates

        def patched(described: Described) -> None:
            if "concurrency_max" in changes:
                known.cap = known.cap_asked = changes["concurrency_max"]
            elif known.rates == rates:
                # A claim that was on its way may still be by the old rate.
                process.loop.call_later(2.0, self._rate_later, known, changes["rate"], rates)

        body = json.dumps(changes).encode()
        process.call(f"patches {known.path} {changes}", process.endpoints.patch(TENANT, known.name, body), patched)

    def rotate(self) -> None:
        """One gets another secret; the old one goes on for a while."""
        known, process = self._one(), self._here
        process.call(f"rotates {known.path}", process.endpoints.rotate(TENANT, known.name, b'{"overlap_s": 60}'))

    # ------------------------------------------------------------------------------------------------- deliveries

    def _row(self, *states: State) -> Row | None:
        rows = [row for row in self.world.truth.rows.values() if row.state in states and not row.purged]
        return self.chance.choice(rows) if rows else None

    def retry(self) -> None:
        """A person wants one sent now."""
        row = self._row(State.FAILED, State.DISCARDED, State.PENDING)
        if row is not None:
            self.world.hurried.add(row.id)
            process = self._here
            process.call(f"retries {row.id.hex()[4:12]}", process.history.retry(TENANT, row.id))

    def discard(self) -> None:
        """A person gives one up."""
        row = self._row(State.FAILED, *OPEN)
        if row is not None:
            process = self._here
            process.call(f"discards {row.id.hex()[4:12]}", process.history.discard(TENANT, row.id))

    def erase(self) -> None:
        """An event's payload goes for ever."""
        row = self._row(State.FAILED, State.DELIVERED, State.PENDING, State.HELD)
        if row is not None:
            process, event_id = self._here, row.event_id
            process.call(
                f"erases {event_id.hex()[4:12]}",
                process.history.erase(TENANT, event_id),
                lambda _: self.world.erased.add(event_id),
            )

    def replay(self) -> None:
        """An event goes once more."""
        row = self._row(State.FAILED, State.DELIVERED, State.DISCARDED)
        if row is not None:
            process = self._here
            body = b"{}" if self.chance.random() < 0.5 else json.dumps({"endpoint_id": self._one().name}).encode()
            process.call(f"replays {row.event_id.hex()[4:12]}", process.history.replay(TENANT, row.event_id, body))

    def replay_many(self) -> None:
        """Much goes once more; it may be stopped."""
        wanted: dict[str, Any] = {"filter": {"state": self.chance.choice(("failed", "discarded", "delivered"))}}
        if self.chance.random() < 0.3:
            wanted = {"of": "events", "filter": {"type": "t"}}
        if self.chance.random() < 0.4:
            wanted["endpoint_id"] = self._one().name
        if self.chance.random() < 0.4:
            wanted["rate"] = {"n": 5, "per_s": 1}
        process = self._here

        def made(view: Any) -> None:
            if self.chance.random() < 0.3:
                process.call("cancels a replay", process.replays.cancel(TENANT, view.row.id))

        process.call(f"replays {wanted}", process.replays.create(TENANT, json.dumps(wanted).encode()), made)
