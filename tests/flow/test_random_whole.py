"""All of the flow in one walk: confirmation, lanes, retries, pauses, verification, replays, expiry, restarts.

`WALKS=200 SEED=1 pytest tests/flow/test_random_whole.py` makes more of them; a walk that fails is made again with
`WALKS=1` and its number as `SEED`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from tests.flow.verifying import YES
from tests.flow.whole_walk import DEAD, Walk

STEPS = 60
WALKS = int(os.environ.get("WALKS", "3"))
SEED = int(os.environ.get("SEED", "0"))
OPEN = (State.PENDING, State.LEASED, State.HELD, State.UNCONFIRMED)
LATE_MS = 5_000


class Checks:
    """What must hold whenever nothing moves, read from the file itself."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.letters: set[str] = set()
        self.failed: set[bytes] = set()
        self.purged = 0

    def rows(self, sql: str, *parameters: object) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self.walk.path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    async def all(self, step: str) -> None:
        """Raise where something does not hold."""
        await self.walk.rig.quiet()
        for check in (self.books, self.lanes, self.deadlines, self.confirmed):
            found = ""
            for _ in range(300):  # upkeep has its own pace; what is wrong stays wrong
                found = await check()
                if not found:
                    break
                await asyncio.sleep(0.005)
            assert not found, f"after {step}: {found}"
        await self.dead_letters(step)
        assert not self.walk.faults, f"after {step}: {self.walk.faults}"
        await self.states()

    async def states(self) -> None:
        """Who is shut from now on, who has consented."""
        walk = self.walk
        for row in (await walk.rig.store.changes(0)).endpoints:
            endpoint = walk.rig.engine.registry.endpoint(row.id)
            if endpoint is None:
                continue
            if row.state is EndpointState.ACTIVE:
                walk.shut.discard(endpoint.public_id)
            elif walk.rig.sender.consent.get(endpoint.url) is not YES:  # else it may agree at any time
                walk.shut.add(endpoint.public_id)

    async def books(self) -> str:
        """Deliveries made = delivered + failed + discarded + open; what is open is what there is, for each."""
        rig = self.walk.rig
        for endpoint_id in [None, *(row[0] for row in self.rows("SELECT id FROM endpoints"))]:
            counts = await rig.store.counts("default", endpoint_id)
            closed = counts.delivered + counts.failed + counts.discarded
            opened = counts.pending + counts.leased + counts.held + counts.unconfirmed
            if counts.deliveries != closed + opened:
                return f"the books do not balance: {counts}"
            where = "" if endpoint_id is None else " WHERE endpoint_id = ?"
            given = () if endpoint_id is None else (endpoint_id,)
            states = Counter(dict(self.rows(f"SELECT state, count(*) FROM open{where} GROUP BY state", *given)))
            kept = self.rows(f"SELECT count(*) FROM closed{where}", *given)[0][0]
            there = [states[State.LEASED], states[State.UNCONFIRMED], states[State.PENDING] + states[State.HELD]]
            if there != [counts.leased, counts.unconfirmed, counts.pending + counts.held] or kept > closed:
                return f"not what is there, {there}, {kept} closed: {counts}"
        return ""

    async def lanes(self) -> str:
        """Each lane with open work has one head, that is not held, or a block before all of it."""
        lanes = {(row[0], row[1]): row[2:] for row in self.rows("SELECT endpoint_id, lane, head, blocks FROM lanes")}
        of: dict[tuple[bytes, str], list[tuple[int, bytes, int]]] = {}
        for endpoint_id, lane, seq, identifier, state in self.rows(
            "SELECT endpoint_id, lane, seq, id, state FROM open WHERE lane IS NOT NULL ORDER BY seq"
        ):
            of.setdefault((endpoint_id, lane), []).append((seq, identifier, state))
        for lane, work in of.items():
            head, blocks = lanes.get(lane, (None, None))
            run = [identifier for _, identifier, state in work if state != State.HELD]
            if run not in ([], [head]):
                return f"{lane}: {run} run, the head is {head!r}"
            if not run and not (blocks and int.from_bytes(blocks[:8], "big") < work[0][0]):
                return f"{lane} has neither head nor block: {work}"
        return ""

    async def deadlines(self) -> str:
        """Nothing is unconfirmed beyond its deadline and a step."""
        now_ms = self.walk.rig.store.now_ms()
        late = self.rows("SELECT id, due_ms FROM open WHERE state = 3 AND due_ms < ?", now_ms - LATE_MS)
        if late:
            self.walk.rig.clock.advance(1.0)
            return f"unconfirmed too long: {late} at {now_ms}"
        return ""

    async def confirmed(self) -> str:
        """Nothing is delivered without a success said, where each attempt that was taken asked for it."""
        walk = self.walk
        for (identifier,) in self.rows("SELECT id FROM closed WHERE state = 4"):
            if walk.asked_to_confirm.get(identifier, False) and identifier not in walk.said:
                return f"{identifier.hex()} is delivered and nobody said so"
        return ""

    async def dead_letters(self, step: str) -> None:
        """What has failed has its letter where one is named."""
        walk = self.walk
        for (data,) in self.rows("SELECT data FROM events WHERE type = 'hookline.dead_letter' AND encoding = 0"):
            self.letters.add(json.loads(data)["delivery"]["id"])
        failed = self.rows(
            "SELECT c.id, c.endpoint_id FROM closed c JOIN events v ON v.id = coalesce(c.event_id, substr(c.id, 1, 12))"
            " WHERE c.state = 5 AND v.type = 't'"
        )
        for identifier, endpoint_id in failed:
            endpoint = walk.rig.engine.registry.endpoint(endpoint_id)
            if identifier in self.failed or endpoint is None or endpoint.dead_letter != DEAD or "patch" in step:
                continue
            assert ids.text(ids.DELIVERY, identifier) in self.letters, f"after {step}: no letter of {identifier.hex()}"
        self.failed = {identifier for identifier, _ in failed}


@pytest.mark.parametrize("seed", range(SEED, SEED + WALKS))
async def test_whatever_happens_what_must_hold_holds(tmp_path: Path, seed: int) -> None:
    """After each of many steps books, lanes, deadlines, consents and letters are right; at the end all is closed."""
    walk = Walk(tmp_path / "walk.db", seed)
    checks = Checks(walk)
    walked: list[str] = []
    await walk.start()
    try:
        for _ in range(STEPS):
            walked.append(await walk.step())
            await checks.all(walked[-1])
        await walk.end_well()
        await checks.all("the end")
        deliver = walk.rig.engine.deliver
        assert (deliver._handed, deliver._handed_bytes, deliver.slots.in_flight) == (0, 0, 0)
        assert all(channel.idle for channel in deliver._channels.values())
    except BaseException as error:
        error.add_note(f"SEED={seed} WALKS=1, after {len(walked)} steps: {', '.join(walked[-12:])}")
        raise
    finally:
        await walk.rig.stop()
