"""The whole flow at random: what people, receivers and time do, one step after the other."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from hookline.core.errors import Conflict, NotFound, Refusal, StoreUnavailable
from hookline.flow.catalogue import Catalogue
from hookline.flow.deliveries import Deliveries
from hookline.flow.endpoints import Endpoints
from hookline.flow.limits import Limits
from hookline.flow.replays import Replays
from hookline.flow.route import matches
from hookline.ports.sender import Consent, SendRequest, VerifyRequest
from hookline.ports.store import DeliveryRow
from tests.flow.rig import OK, Rig
from tests.flow.verifying import NO, YES, service, url

FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
REJECT = Outcome(Kind.REJECTED, reason="rejected", status=422)
GONE = Outcome(Kind.GONE, reason="gone", status=410)
RETENTION_S = 3 * 86_400.0
RETRY = {"schedule_s": [1, 5, 30]}
DEAD = "dead"
PATHS = ("plain", "letters", "waits", "skips", "confirms", "confirms-in-order", "asked")
SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "letters": {"dead_letter": DEAD, "rate": {"n": 20, "per_s": 1}},
    "waits": {"order": "key", "dead_letter": DEAD},
    "skips": {"order": {"by": "key", "when_failed": "skip"}},
    "confirms": {"confirm": {"within_s": 20}, "dead_letter": DEAD},
    "confirms-in-order": {"confirm": {"within_s": 20}, "order": {"by": "key", "when_failed": "skip"}},
    "asked": {"verify": "challenge", "dead_letter": DEAD},
}


class Walk:
    """One engine after the other on one file, and what was seen from outside."""

    def __init__(self, path: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.path = path
        self.limits = Limits(public_url="https://hooks.example", retention_s=RETENTION_S)
        self.rig = self._rig(Rig(path, limits=self.limits))
        self.names: dict[str, str] = {}
        """Of each path that there is an endpoint for: its id."""
        self.consented: set[str] = set()
        self.shut: set[str] = set()
        """Endpoints that nothing may be sent to: paused, unverified, disabled or deleted, and all is quiet."""
        self.asked_to_confirm: dict[bytes, bool] = {}
        """Of each delivery that a receiver took: whether every attempt that he took was to be confirmed."""
        self.said: set[bytes] = set()
        """Deliveries of which a success was said."""
        self.erased: set[bytes] = set()
        self.faults: list[str] = []
        self.bad = 0.3

    def _rig(self, rig: Rig) -> Rig:
        self._send, self._verify = rig.sender.send, rig.sender.verify
        rig.sender.send, rig.sender.verify = self.send, self.consent  # type: ignore[method-assign]
        return rig

    async def start(self) -> None:
        """With all endpoints there are."""
        await self.rig.start()
        await self._create(DEAD, uid=DEAD, event_types=["nothing"])
        await self._create("told", event_types=["hookline.*"])
        for path in PATHS:
            await self._create(path, **SPECS[path])

    async def _create(self, path: str, **spec: Any) -> None:
        yes = self.chance.random() < 0.5
        self.rig.sender.consent[url(path)] = YES if yes else NO
        body = {"url": url(path), "retry": RETRY, **spec}
        made = await service(self.rig).create("default", json.dumps(body).encode())
        self.names[path] = ids.text(ids.ENDPOINT, made.row.id)

    # ------------------------------------------------------------------------------------------------ receivers

    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        """Whether it may come at all, and what its receiver makes of it."""
        endpoint, item = request.endpoint, request.items[0]
        if endpoint.public_id in self.shut:
            self.faults.append(f"sent to {endpoint.url}, which is shut")
        if endpoint.verify != "none" and endpoint.url not in self.consented:
            self.faults.append(f"sent to {endpoint.url}, which has not consented")
        if item.event.id in self.erased:
            self.faults.append(f"sent {item.event.public_id}, which was erased")
        await self._send(request)
        what = self.chance.random()
        if endpoint.uid == DEAD or what >= self.bad:
            asked = item.confirm_url is not None
            self.asked_to_confirm[item.delivery_id] = self.asked_to_confirm.get(item.delivery_id, True) and asked
            if asked and self.chance.random() < 0.2:
                await self._say(item.delivery_id)
            return [OK]
        return [self.chance.choice((FAIL, FAIL, FAIL, FAIL, REJECT, GONE))]

    async def consent(self, request: VerifyRequest) -> Consent:
        """Whether it wants to be one, as was told."""
        consent = await self._verify(request)
        if consent.given:
            self.consented.add(request.endpoint.url)
        return consent

    async def _say(self, delivery_id: bytes, word: str | None = None) -> None:
        word = word or self.chance.choice(("success", "success", "error"))
        if word == "success":
            self.said.add(delivery_id)
        try:
            await self.rig.engine.confirm.confirm(delivery_id, json.dumps({"status": word}).encode())
        except StoreUnavailable:
            pass  # the engine was stopped

    # ----------------------------------------------------------------------------------------------------- steps

    async def step(self) -> str:
        """One thing happens; its name. What is refused because of the state that things are in, is."""
        steps = (
            *(self.publish,) * 6,
            *(self.say,) * 4,
            *(self.time,) * 6,
            *(self.pause, self.resume, self.patch, self.address) * 2,
            *(
                self.discard,
                self.retry,
                self.retry,
                self.retry,
                self.verify,
                self.replay,
                self.replay_many,
                self.erase,
                self.delete,
                self.leap,
            ),
            self.restart,
        )
        step = self.chance.choice(steps)
        try:
            await step()
        except (Conflict, NotFound, Refusal):
            return f"{step.__name__} (refused)"
        return step.__name__

    def _services(self) -> tuple[Endpoints, Deliveries]:
        engine = self.rig.engine
        history = Deliveries(
            self.rig.store,
            engine.registry,
            Catalogue(self.rig.store),
            lambda event: matches(event, engine.registry),
            engine.ids,
            engine.wake.notify,
            self.rig.observer,
        )
        return service(self.rig), history

    def _one(self) -> tuple[str, str]:
        path = self.chance.choice(PATHS)
        return path, self.names[path]

    async def _row(self) -> DeliveryRow:
        state = self.chance.choice(("pending", "held", "unconfirmed", "failed", "failed", "discarded", "delivered"))
        rows = [row for row in await self.rig.deliveries(state=state) if not row.type.startswith("hookline.")]
        if not rows:
            raise NotFound("none")
        return self.chance.choice(rows)

    async def publish(self) -> None:
        """Some events, most of them in lanes."""
        for _ in range(self.chance.randint(1, 4)):
            key = self.chance.choice(("a", "b", None))
            body = {"type": "t", "data": self.chance.random()} | ({} if key is None else {"ordering_key": key})
            await self.rig.publish(body)

    async def say(self) -> None:
        """Receivers speak of what they took, early, late, twice."""
        asked = [one for one, to_confirm in self.asked_to_confirm.items() if to_confirm][-40:]
        for delivery_id in self.chance.sample(asked, min(len(asked), 6)):
            await self._say(delivery_id)

    async def time(self) -> None:
        """A little passes."""
        await self.rig.advance(self.chance.choice((0.1, 1.0, 6.0, 25.0)), self.chance.choice((1.0, 10.0)))

    async def leap(self) -> None:
        """Much passes: nothing, or all that there is, is past its retention."""
        self.rig.clock.advance(self.chance.choice((3600.0, RETENTION_S / 2, RETENTION_S + 60)))
        await self.rig.advance(2, 1)

    async def pause(self) -> None:
        """A person pauses one."""
        _, name = self._one()
        await service(self.rig).pause("default", name)
        await self.rig.quiet()
        self.shut.add(name)

    async def resume(self) -> None:
        """A person resumes one, most often one that is shut."""
        shut_ones = [name for name in self.names.values() if name in self.shut]
        name = self.chance.choice(shut_ones) if shut_ones and self.chance.random() < 0.8 else self._one()[1]
        shut, self.shut = self.shut, self.shut - {name}
        try:
            await service(self.rig).resume("default", name)
        except Conflict:
            self.shut = shut
            raise

    async def _patched(self, path: str, **changes: Any) -> None:
        name = self.names[path]
        self.shut.discard(name)
        await service(self.rig).patch("default", name, json.dumps(changes).encode())
        await self.rig.quiet()

    async def patch(self) -> None:
        """Confirmation, dead letters or order of one are others from now on."""
        path, _ = self._one()
        changes: list[dict[str, Any]] = [
            {"confirm": None},
            {"confirm": {"within_s": 10}},
            {"dead_letter": None},
            {"dead_letter": DEAD},
            {"order": None},
            {"order": "key"},
            {"order": {"by": "key", "when_failed": "skip"}},
        ]
        await self._patched(path, **self.chance.choice(changes))

    async def address(self) -> None:
        """One has another address; who is verified is asked there."""
        path = self.chance.choice(("asked", "plain"))
        address = url(f"{path}-{self.chance.randint(0, 9)}")
        self._answer(address)
        await self._patched(path, url=address)

    def _answer(self, address: str) -> None:
        consent: Consent = self.chance.choice((YES, NO))
        self.rig.sender.consent[address] = consent

    async def verify(self) -> None:
        """A person wants it asked once more."""
        endpoint = await service(self.rig).get("default", self.names["asked"])
        self._answer(endpoint.spec.url)
        self.shut.discard(self.names["asked"])
        await service(self.rig).verify("default", self.names["asked"])

    async def discard(self) -> None:
        """A person gives one up."""
        await self._services()[1].discard("default", (await self._row()).id)

    async def retry(self) -> None:
        """A person wants one sent now."""
        await self._services()[1].retry("default", (await self._row()).id)

    async def replay(self) -> None:
        """An event goes again."""
        row = await self._row()
        body = b"{}" if self.chance.random() < 0.5 else json.dumps({"endpoint_id": self._one()[1]}).encode()
        await self._services()[1].replay("default", row.event_id, body)

    async def replay_many(self) -> None:
        """Much goes again, and may be stopped."""
        engine = self.rig.engine
        replays = Replays(self.rig.store, Catalogue(self.rig.store), engine.replay_steps, engine.replays, engine.ids,
                          self.rig.clock)  # fmt: skip
        wanted: dict[str, Any] = {"filter": {"state": self.chance.choice(("failed", "discarded", "delivered"))}}
        if self.chance.random() < 0.3:
            wanted = {"of": "events", "filter": {"type": "t"}}
        if self.chance.random() < 0.4:
            wanted["endpoint_id"] = self._one()[1]
        if self.chance.random() < 0.4:
            wanted["rate"] = {"n": 5, "per_s": 1}
        made = await replays.create("default", json.dumps(wanted).encode())
        await self.rig.advance(0.5, 0.25)
        if self.chance.random() < 0.2:
            await replays.cancel("default", made.row.id)  # type: ignore[union-attr]

    async def erase(self) -> None:
        """An event's payload goes."""
        event_id = (await self._row()).event_id
        await self._services()[1].erase("default", event_id)
        self.erased.add(event_id)

    async def delete(self) -> None:
        """An endpoint goes, and another one comes in its place."""
        path, name = self._one()
        await service(self.rig).delete("default", name)
        await self.rig.quiet()
        self.shut.add(name)
        await self._create(path, **SPECS[path])

    async def restart(self) -> None:
        """The process ends in the middle of what it does; another one takes over."""
        address = url(self.chance.choice(PATHS))
        gate = self.rig.sender.gates[address] = asyncio.Event()
        await self.publish()
        await self.rig.engine.stop(grace_s=0)
        gate.set()
        before = self.rig
        self.rig = self._rig(Rig(self.path, before.clock, self.limits))
        self.rig.sender.consent = before.sender.consent
        await self.rig.start()
        await self.rig.quiet()

    async def end_well(self) -> None:
        """All troubles end: everybody takes, consents and confirms; what was given up behind others is let go."""
        self.bad = 0.0
        self.shut.clear()
        for path in self.names:
            endpoint = await service(self.rig).get("default", self.names[path])
            self.rig.sender.consent[endpoint.spec.url] = YES
            if endpoint.state == "unverified":
                await service(self.rig).verify("default", self.names[path])
            await service(self.rig).resume("default", self.names[path])
        for _ in range(100):
            await self.rig.advance(4, 2)
            for row in await self.rig.deliveries(state="unconfirmed"):
                await self._say(row.id, "success")
            for row in await self.rig.deliveries(state="failed"):
                await self._services()[1].discard("default", row.id)  # else it blocks its lane
            counts = await self.rig.counts()
            running = await self.rig.store.running_replays()
            if not (running or counts.pending or counts.leased or counts.held or counts.unconfirmed):
                return
        raise AssertionError(f"not all was closed: {counts}, replays {running}")
