"""Handling events: the schema, the replay guard around the check and the handler, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from hookline.sdk.answer import Answer
from hookline.sdk.errors import Unacceptable
from hookline.sdk.event import Event
from hookline.sdk.guard import AnyReplayGuard, Claim
from hookline.sdk.host import Host, Native
from hookline.sdk.schema import Check, Fault
from hookline.sdk.steps import Ask, Run, Steps

Events: TypeAlias = tuple[Event, ...]
RunEvents: TypeAlias = Callable[[Events], Ask | Run]


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of events that were handled together."""

    kind: str
    """One of `outcome.KINDS`."""
    status: int
    events: Events
    answer: Answer | Native | None = None
    """The handler's own."""
    fault: Fault | None = None
    detail: str = ""
    error: Exception | None = None
    raised_on: Exception | None = None
    """What the framework is to make an answer of."""


@dataclass(frozen=True, slots=True)
class Handling:
    """How the events of one receiver are handled."""

    schema: Check | None
    check: Callable[[Event], Any] | None
    guard: AnyReplayGuard | None
    logger: logging.Logger

    def steps(self, events: Events, run: RunEvents, host: Host) -> Steps[Handled]:
        """Handle these events together, once: those that were handled before are left out."""
        malformed = next((event.malformed for event in events if event.malformed), "")
        if malformed:
            return Handled("malformed", 400, events, detail=malformed)
        fault = self._fault(events)
        if fault is not None:
            return Handled("invalid", 400, events, fault=fault, detail=fault.message)
        claims: list[Claim] = []
        try:
            todo = yield from self._begin(events, claims)
        except Exception as error:  # noqa: BLE001 - a guard's driver has its own exceptions; the sender comes again
            yield from self._release(claims)
            return Handled("guard_unavailable", 503, events, detail=type(error).__name__, error=error)
        if todo is None:
            yield from self._release(claims)
            return Handled("running", 409, events)
        if events and not todo:
            return Handled("duplicate", 200, events)
        return (yield from self._run(todo, claims, run, host))

    def _run(self, events: Events, claims: list[Claim], run: RunEvents, host: Host) -> Steps[Handled]:
        try:
            for event in events:
                yield from self._check(event)
            answer = _answer((yield run(events)), host)
        except Unacceptable as error:
            yield from self._release(claims)
            return Handled("unacceptable", error.status, events, detail=error.message)
        except host.errors as error:
            yield from self._release(claims)
            status = host.error_status(error)
            return Handled("answered", status, events, detail=type(error).__name__, raised_on=error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the sender is to try again
            yield from self._release(claims)
            return Handled("failed", 500, events, detail=f"{type(error).__name__}: {error}", error=error)
        except GeneratorExit:
            raise  # nobody drives these steps any more; the claims end with their lease
        except BaseException:
            yield from self._release(claims)  # cancelled, or the process is told to end
            raise
        if answer is not None and answer.status >= 400:
            yield from self._release(claims)
            return Handled("answered", answer.status, events, answer)
        yield from self._done(claims, host)
        return Handled("handled", 200 if answer is None else answer.status, events, answer)

    def _fault(self, events: Events) -> Fault | None:
        if self.schema is None:
            return None
        return next((fault for event in events if (fault := self.schema(event.data)) is not None), None)

    def _begin(self, events: Events, claims: list[Claim]) -> Steps[Events | None]:
        """The events that are ours to handle, with their claims; None if somebody is on one of them."""
        if self.guard is None:
            return events
        todo = []
        for event in events:
            if event.id:
                claim: Claim = yield Ask(partial(self.guard.begin, f"{event.verifier}:{event.id}"))
                if claim.state == "running":
                    return None
                if claim.state == "done":
                    continue
                claims.append(claim)
            todo.append(event)
        return tuple(todo)

    def _check(self, event: Event) -> Steps[None]:
        if self.check is None:
            return
        found = yield Ask(partial(self.check, event))
        if isinstance(found, str):
            raise Unacceptable(found)
        if found is False:
            raise Unacceptable("This event is not acceptable.")

    def _release(self, claims: list[Claim]) -> Steps[None]:
        assert self.guard is not None or not claims
        for claim in claims:
            try:
                yield Ask(partial(self.guard.release, claim))  # type: ignore[union-attr]
            except Exception:
                self.logger.exception("a claim could not be released; it ends with its lease")

    def _done(self, claims: list[Claim], host: Host) -> Steps[None]:
        for claim in claims:
            try:
                yield Ask(partial(host.settle, partial(self.guard.done, claim)))  # type: ignore[union-attr]
            except Exception:
                # The work is done: to answer with an error would have it done again.
                self.logger.exception("an event could not be marked as handled; its claim ends with its lease")


def _answer(result: Any, host: Host) -> Answer | Native | None:
    """What a handler returned, as an answer; None: the usual one. Raises `TypeError` for what is none."""
    if result is None or isinstance(result, Answer | Native):
        return result
    native = host.native(result)
    if native is not None:
        return native
    if isinstance(result, Mapping | list):
        return Answer.of(result)
    raise TypeError(f"A handler returns nothing, a mapping, a list or an Answer, not {type(result).__name__}.")
