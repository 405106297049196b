"""What differs between the frameworks that a receiver stands in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hookline.sdk.steps import InThread


@dataclass(frozen=True, slots=True)
class Native:
    """An answer of the framework's own kind, which a handler returned: passed on as it is."""

    response: Any
    status: int


def no_native(_result: Any) -> Native | None:
    """Where there is no framework there is no answer of its own."""
    return None


def at_once(call: Callable[[], Any]) -> Any:
    """Where there is no transaction nothing waits for its end."""
    return call()


def status_in(error: Exception) -> int:
    """The status that an exception has with it, as those of Starlette and Werkzeug do."""
    found = getattr(error, "status_code", None) or getattr(error, "code", None)
    return found if isinstance(found, int) else 500


@dataclass(frozen=True, slots=True)
class Host:
    """A framework. What is not said of it is as without one."""

    native: Callable[[Any], Native | None] = no_native
    """What a handler returned as an answer of the framework; None: it is none."""
    errors: tuple[type[Exception], ...] = ()
    """Exceptions that are answers of the framework (`abort(404)`): they release the guard, and are raised on."""
    error_status: Callable[[Exception], int] = status_in
    """The status of such an exception."""
    settle: Callable[[Callable[[], Any]], Any] = at_once
    """Calls what marks an event as handled, when what the handler wrote is safe."""
    in_thread: InThread | None = None
    """How a blocking call is run beside the event loop; None: `asyncio.to_thread`."""


PLAIN = Host()
