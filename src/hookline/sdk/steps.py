"""One decision for every framework: it is written once, as a generator of steps, and driven with or without a loop.

A step is a call that may block or may be awaited (a replay guard, a check, a handler, a fetched key), or `Run`, at
which whoever drives may leave the decision: a middleware and a dependency run the application in between.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from hookline.sdk.event import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A call; its result is sent back, what it raises is thrown back."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Run:
    """The application is to handle these events now; what it answers is sent back, what it raises is thrown back."""

    events: tuple[Event, ...]


Steps: TypeAlias = Generator[Ask | Run, Any, T]
InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a blocking call beside the event loop."""


def advance(steps: Steps[T], value: Any = None, error: BaseException | None = None) -> T | Run:
    """Drive the steps without an event loop, to their end or to the next `Run`.

    `value` or `error` is what came of the `Run` before. A coroutine is run in a loop of its own.
    """
    while True:
        try:
            step = steps.send(value) if error is None else steps.throw(error)
        except StopIteration as end:
            ended: T = end.value
            return ended
        if isinstance(step, Run):
            return step
        value = error = None
        try:
            value = step.call()
            if inspect.isawaitable(value):
                value = _run(value)
        except BaseException as raised:  # noqa: BLE001 - the steps decide; what they do not take they raise again
            error = raised


async def advance_async(
    steps: Steps[T], value: Any = None, error: BaseException | None = None, *, in_thread: InThread | None = None
) -> T | Run:
    """The same in an event loop. What is no coroutine function is called in a thread (`asyncio.to_thread` unless the
    framework has its own way)."""
    if in_thread is None:
        import asyncio

        in_thread = asyncio.to_thread
    while True:
        try:
            step = steps.send(value) if error is None else steps.throw(error)
        except StopIteration as end:
            ended: T = end.value
            return ended
        if isinstance(step, Run):
            return step
        value = error = None
        try:
            value = step.call() if is_async(step.call) else await in_thread(step.call)
            if inspect.isawaitable(value):
                value = await value
        except BaseException as raised:  # noqa: BLE001 - as above; a cancelled handler's claim must be released
            error = raised


def is_async(call: object) -> bool:
    """Whether it is a coroutine function, also behind `functools.partial`, or an object that is called like one."""
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _run(waiting: Awaitable[Any]) -> Any:
    import asyncio

    async def wait() -> Any:
        return await waiting

    return asyncio.run(wait())
