"""Send: a leased delivery through the sender of its endpoint's kind. Whatever happens is one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hookline.core.attempt import Kind, Outcome
from hookline.core.confirm import Tokens
from hookline.core.endpoint import Endpoint
from hookline.flow.channel import Job
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.sender import Item, Sender, SendRequest

CONFIRM_PATH: Final = "/v1/confirm/"

Ended = Callable[[Outcome], None]
"""Takes the outcome of one attempt. Must not raise."""


class Send:
    """Knows the senders by endpoint kind. `public_url` is our own address as receivers see it, without a slash at
    its end; `tokens` are those of confirmations."""

    def __init__(
        self, senders: Mapping[str, Sender], clock: Clock, observer: Observer, tokens: Tokens, public_url: str
    ) -> None:
        self._senders = senders
        self._clock = clock
        self._observer = observer
        self._tokens = tokens
        self._confirm_url = public_url + CONFIRM_PATH

    def start(self, endpoint: Endpoint, job: Job, done: Ended) -> None:
        """Begin one attempt. `done` is called once, maybe before this returns. Never raises."""
        sender = self._senders.get(endpoint.kind)
        if sender is None:
            done(Outcome(Kind.RETRY, reason="connect", detail=f"no sender for kind {endpoint.kind}"))
            return
        confirm_url = None
        if endpoint.confirm_s is not None:
            confirm_url = self._confirm_url + self._tokens.make(job.delivery_id)
        item = Item(job.delivery_id, job.fence, job.event, job.attempts + 1, confirm_url)
        begin(sender, SendRequest(endpoint, (item,), self._clock.wall_ms()), done, self._observer)


class _Once:
    """What a sender is given to call: passes the first outcome on, and is surprised by a second."""

    __slots__ = ("_done", "_endpoint", "_observer")

    def __init__(self, endpoint: Endpoint, done: Ended, observer: Observer) -> None:
        self._endpoint = endpoint
        self._done: Ended | None = done
        self._observer = observer

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        done, self._done = self._done, None
        if done is None:
            self._observer.warn("sender_told_twice", kind=self._endpoint.kind, endpoint=self._endpoint.public_id)
            return
        try:
            done(outcomes[0])
        except Exception as error:  # noqa: BLE001 - a defect of the flow must not become one of the sender's connection
            self._observer.warn("outcome_defect", endpoint=self._endpoint.public_id, error=repr(error))

    def raised(self, error: Exception) -> None:
        """`start` raised: that is the outcome, unless there is one already."""
        outcome = raised(self._observer, self._endpoint, error)
        if self._done is not None:
            self((outcome,))


def begin(sender: Sender, request: SendRequest, done: Ended, observer: Observer) -> None:
    """Begin an attempt of a request with one item. `done` gets one outcome, once, whatever the sender does."""
    once = _Once(request.endpoint, done, observer)
    try:
        sender.start(request, once)
    except Exception as error:  # noqa: BLE001 - a sender never raises; if it does, the delivery is tried again
        once.raised(error)


def raised(observer: Observer, endpoint: Endpoint, error: Exception) -> Outcome:
    """What a sender never does is said, and is an outcome all the same."""
    observer.warn("sender_raised", kind=endpoint.kind, endpoint=endpoint.public_id, error=repr(error))
    return Outcome(Kind.RETRY, reason="protocol", detail=f"the sender raised {type(error).__name__}")
