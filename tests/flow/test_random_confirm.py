"""Confirmations and dead letters under chance: receivers of every kind and a store that fails now and then."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from hookline.core.errors import StoreUnavailable
from hookline.flow.limits import Limits
from hookline.ports.sender import SendRequest
from tests.flow.rig import FaultyRig

METHODS = ("confirm", "unconfirmed", "attempts", "record", "claim")
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
REJECT = Outcome(Kind.REJECTED, reason="rejected", status=422)
WORDS = {"success": b'{"status":"success"}', "error": b'{"status":"error"}'}


class Receivers:
    """Each delivery meets, at each attempt, a receiver drawn by chance; what counted is written down."""

    def __init__(self, rig: FaultyRig, chance: random.Random) -> None:
        self._rig = rig
        self._chance = chance
        self._send = rig.sender.send
        self.later: list[tuple[bytes, str]] = []
        """(delivery, word) that is still to be said."""
        self.counted: dict[bytes, str] = {}
        """The last word of each delivery that counted."""
        self.successes: set[bytes] = set()
        """Of which a success was said, whether it counted or not."""
        self.order: dict[str, list[int]] = {}

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        """Take a delivery."""
        (outcome,) = await self._send(request)
        (item,) = request.items
        if item.confirm_url is None:
            return [outcome]
        if request.endpoint.lane is not None:
            self.order.setdefault(request.endpoint.url, []).append(int(item.event.data))
        what = self._chance.random()
        if what < 0.15:
            return [FAIL]
        if what < 0.2:
            return [REJECT]
        word = "success" if what < 0.7 else "error"
        if what % 0.1 < 0.03:
            await self.say(item.delivery_id, word)
        elif what < 0.9:
            self.later.append((item.delivery_id, word))
            if what % 0.1 > 0.09:
                self.later.append((item.delivery_id, word))
        return [outcome]

    async def say(self, delivery_id: bytes, word: str) -> None:
        """Say it until it was answered, as a receiver does."""
        if word == "success":
            self.successes.add(delivery_id)
        while True:
            try:
                counts = await self._rig.engine.confirm.confirm(delivery_id, WORDS[word])
            except StoreUnavailable:
                await asyncio.sleep(0)
                continue
            if counts:
                self.counted[delivery_id] = word
            return

    async def catch_up(self, share: float = 1.0) -> None:
        """Some of what was to be said later is said."""
        for said in [pair for pair in self.later if self._chance.random() < share]:
            self.later.remove(said)
            await self.say(*said)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_receivers_say_everything_closes_once(tmp_path: Path, seed: int) -> None:
    """Once the troubles end all is closed; a success that counted is delivered; each failure has one letter."""
    chance = random.Random(seed)
    rig = FaultyRig(tmp_path / "chance.db", limits=Limits(public_url="https://hooks.example"))
    receivers = Receivers(rig, chance)
    rig.sender.send = receivers.send  # type: ignore[method-assign]
    await rig.start()
    try:
        target = await rig.endpoint("dead", uid="dead", event_types=["nothing"], retry={"schedule_s": [1] * 50})
        asks = {"confirm": {"within_s": 5}, "retry": {"schedule_s": [1] * 3}, "dead_letter": "dead"}
        shops = [await rig.endpoint(f"e{n}", **asks) for n in range(3)]
        shops += [await rig.endpoint(f"l{n}", order={"by": "key", "when_failed": "skip"}, **asks) for n in range(2)]
        accepted = 0
        for n in range(60):
            answer = await rig.publishing({"type": "t", "data": n, "ordering_key": "k"})
            accepted += answer.status == 202
            if chance.random() < 0.3:
                after = chance.random() < 0.5
                rig.faults.fail(chance.choice(METHODS), StoreUnavailable("away"), times=2, after_commit=after)
            if chance.random() < 0.5:
                await receivers.catch_up(0.3)
            rig.clock.advance(chance.choice((0.05, 0.3, 1.0)))
            await asyncio.sleep(0.002)
        rig.faults.heal()
        for _ in range(10):  # who waits to try the store again does so before anything can be quiet
            rig.clock.advance(0.3)
            await asyncio.sleep(0.01)
        for _ in range(400):
            await receivers.catch_up()
            await rig.advance(2, 1)
            counts = await rig.counts()
            if not (counts.pending or counts.leased or counts.held or counts.unconfirmed):
                break
        else:
            raise AssertionError(counts)
        rows = [row for shop in shops for row in await rig.deliveries(endpoint_id=shop.id)]
        assert len(rows) == accepted * len(shops)
        state = {row.id: row.state for row in rows}
        assert set(state.values()) == {"delivered", "failed"}
        for delivery_id, word in receivers.counted.items():
            assert word == "error" or state[delivery_id] == "delivered"
        delivered = {delivery_id for delivery_id, word in state.items() if word == "delivered"}
        assert delivered <= receivers.successes
        letters = Counter(
            json.loads(item.event.data)["delivery"]["id"]
            for item in rig.sender.items
            if item.event.type == "hookline.dead_letter"
        )
        failed = {ids.text(ids.DELIVERY, delivery_id) for delivery_id, word in state.items() if word == "failed"}
        assert set(letters) == failed
        assert (await rig.counts(target)).deliveries == len(failed)
        for numbers in receivers.order.values():
            assert numbers == sorted(numbers)
    finally:
        rig.faults.heal()
        await rig.stop()
