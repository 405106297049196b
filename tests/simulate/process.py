"""One process of the program: the engine as `compose` makes it, with the simulation's clock, store and sender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hookline.adapters.queues.embedded import EmbeddedQueue
from hookline.core.errors import Conflict, NotFound, Refusal, StoreUnavailable
from hookline.core.secret import Keyring
from hookline.flow.catalogue import Catalogue
from hookline.flow.deliveries import Deliveries
from hookline.flow.endpoints import Endpoints
from hookline.flow.engine import Engine
from hookline.flow.limits import Limits
from hookline.flow.registry import Registry
from hookline.flow.replays import Replays
from hookline.flow.route import matches
from hookline.testing.faults import FaultyStore
from tests.flow.verifying import service
from tests.simulate.disk import SimulatedStore
from tests.simulate.loop import SimulatedClock, SimulatedLoop
from tests.simulate.world import Receivers, Silent, World

TENANT = "default"


class Process:
    """From its start until it ends or is cut off. What is asked of it begins at once and is answered some time."""

    def __init__(self, world: World, limits: Limits) -> None:
        self.world = world
        self.loop = SimulatedLoop(world.time)
        self.clock = SimulatedClock(self.loop, world.chance)
        self.disk_store = SimulatedStore(world.disk, self.loop, self.clock, world.chance)
        self.faults = FaultyStore(self.disk_store)
        self.store = self.faults.wrapped
        self.sender = Receivers(world, self.loop, self.clock, self.disk_store.now_ms)
        self.sender.concurrency_max = limits.concurrency_max
        self.sender.host_concurrency_max = limits.host_concurrency_max
        self.sender.confirm = self.confirm
        self.keyring = Keyring([b"k" * 32])
        self.engine = Engine(
            self.store,
            {"http": self.sender},
            EmbeddedQueue(),
            self.keyring,
            self.clock,
            Silent(world),
            limits,
        )
        self.asked = 0
        """Calls that are not answered."""

    def start(self) -> bool:
        """Whether it came up."""
        task = self.loop.spawn(self.engine.start())
        for _ in range(600):
            if task.done():
                break
            self.loop.run_for(0.1)
        if not task.done():
            self.world.truth.fault("it does not start")
            return False
        error = task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):
            raise error
        return error is None

    def end(self, grace_s: float) -> bool:
        """Drain; whether all that was in flight ended in time."""
        task = self.loop.spawn(self.engine.stop(grace_s))
        for _ in range(300):
            if task.done():
                return task.result()
            self.loop.run_for(0.5)
        self.world.truth.fault("it does not end")
        return False

    # -------------------------------------------------------------------------------------------- what it is asked

    def call(
        self, name: str, work: Coroutine[Any, Any, Any], answered: Callable[[Any], None] = lambda _result: None
    ) -> None:
        """Begin a call; `answered` is told what came of it, unless it was refused."""
        self.asked += 1
        self.loop.spawn(work).add_done_callback(lambda task: self._called(name, task, answered))

    def _called(self, name: str, task: asyncio.Task[Any], answered: Callable[[Any], None]) -> None:
        self.asked -= 1
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.world.note(f"  {name}: answered")
            answered(task.result())
            return
        self.world.note(f"  {name}: {type(error).__name__} {error}")
        if not isinstance(error, (Conflict, NotFound, Refusal, StoreUnavailable)):
            self.world.truth.fault(f"{name} raised {error!r}")

    def confirm(self, delivery_id: bytes, after_s: float, word: str | None = None) -> None:
        """The receiver speaks of a delivery, with the token that he got for it."""
        world = self.world
        token = world.tokens[delivery_id]
        words = ("success",) if world.peace else ("success", "success", "success", "error")
        word = word or world.chance.choice(words)

        async def say() -> None:
            await self.clock.sleep(after_s)
            identifier = self.engine.confirm.delivery(token)
            if word == "success":
                world.said.add(identifier)
            body = b'{"status": "success"}' if word == "success" else b'{"status": "error"}'
            if await self.engine.confirm.confirm(identifier, body) and word == "success":
                world.truth.settled[identifier] = world.truth.commits

        self.call(f"confirms {delivery_id.hex()[4:12]} {word}", say())

    def forge(self, delivery_id: bytes) -> None:
        """Somebody speaks of a delivery with a token that is none."""
        token = self.world.tokens[delivery_id]
        forged = ("A" if token[30] != "A" else "B").join((token[:30], token[31:]))
        try:
            self.engine.confirm.delivery(forged)
        except NotFound:
            return
        self.world.truth.fault(f"a forged token was taken for {delivery_id.hex()}")

    @property
    def endpoints(self) -> Endpoints:
        return service(self)  # type: ignore[arg-type]

    @property
    def endpoints_elsewhere(self) -> Endpoints:
        """The same service of another node: this process hears of what it does from the store alone."""
        return Endpoints(
            self.store,
            Registry(self.store, self.keyring),
            Catalogue(self.store),
            self.keyring,
            self.engine.senders,
            self.clock,
            self.engine.ids,
            lambda _due: None,
            self.engine.verification,
        )

    @property
    def history(self) -> Deliveries:
        engine = self.engine
        return Deliveries(
            self.store,
            engine.registry,
            Catalogue(self.store),
            lambda event: matches(event, engine.registry),
            engine.ids,
            engine.wake.notify,
            Silent(self.world),
        )

    @property
    def replays(self) -> Replays:
        engine = self.engine
        return Replays(self.store, Catalogue(self.store), engine.replay_steps, engine.replays, engine.ids, self.clock)
