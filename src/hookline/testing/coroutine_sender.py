"""Senders and coroutines: a sender written as one, and any sender's attempt waited for in one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from hookline.core.attempt import Outcome
from hookline.ports.sender import Done, Sender, SendRequest


class CoroutineSender(ABC):
    """Makes `Sender.start` of `send`, with a task for each request: for senders that need not be cheap."""

    @abstractmethod
    async def send(self, request: SendRequest) -> Sequence[Outcome]:
        """One outcome per item, in order; must not raise."""

    def start(self, request: SendRequest, done: Done) -> None:
        """Begin `send`; `done` is called when it has ended."""
        task = asyncio.get_running_loop().create_task(self._run(request, done))
        # The loop alone does not keep a task alive.
        running: set[asyncio.Task[None]] = self.__dict__.setdefault("_running", set())
        running.add(task)
        task.add_done_callback(running.discard)

    async def _run(self, request: SendRequest, done: Done) -> None:
        done(await self.send(request))


async def sent(sender: Sender, request: SendRequest) -> Sequence[Outcome]:
    """The outcomes of a request, waited for. Whoever stops waiting does not stop the attempt."""
    ended: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()

    def done(outcomes: Sequence[Outcome]) -> None:
        if not ended.done():
            ended.set_result(outcomes)

    sender.start(request, done)
    return await ended
