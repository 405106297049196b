"""Send: a leased delivery through the sender of its endpoint's kind. Whatever happens is one outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hookline.core.attempt import Kind, Outcome
from hookline.core.confirm import Tokens
from hookline.core.endpoint import Endpoint
from hookline.flow.awaited import Awaited
from hookline.flow.channel import Job
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.sender import Item, Sender, SendRequest

CONFIRM_PATH: Final = "/v1/confirm/"

Ended = Callable[[Outcome], None]
"""Takes the outcome of one attempt. Must not raise."""


class Send:
    """Knows the senders by endpoint kind. `public_url` is our own address as receivers see it, without a slash at
    its end; `tokens` are those of confirmations. `awaited` are the deliveries whose answers somebody waits for."""

    def __init__(
        self,
        senders: Mapping[str, Sender],
        clock: Clock,
        observer: Observer,
        tokens: Tokens,
        public_url: str,
        awaited: Awaited,
    ) -> None:
        self._senders = senders
        self._clock = clock
        self._observer = observer
        self._tokens = tokens
        self._confirm_url = public_url + CONFIRM_PATH
        self._awaited = awaited

    def start(self, endpoint: Endpoint, job: Job, once: Once) -> None:
        """Begin one attempt; `once` is called with its outcome, maybe before this returns. Never raises."""
        sender = self._senders.get(endpoint.kind)
        if sender is None:
            once((Outcome(Kind.RETRY, reason="connect", detail=f"no sender for kind {endpoint.kind}"),))
            return
        confirm_url = None
        if endpoint.confirm_s is not None:
            confirm_url = self._confirm_url + self._tokens.make(job.delivery_id)
        whole = bool(self._awaited) and self._awaited.wants(job.event.id, endpoint.id)
        item = Item(job.delivery_id, job.fence, job.event, job.attempts + 1, confirm_url, whole)
        begin(sender, SendRequest(endpoint, (item,), self._clock.wall_ms()), once, self._observer)


class Once:
    """What a sender is given to call: passes the first outcome on, and is surprised by a second."""

    __slots__ = ("endpoint", "observer", "told")

    def __init__(self, endpoint: Endpoint, observer: Observer) -> None:
        self.endpoint = endpoint
        self.observer = observer
        self.told = False

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """What the sender says."""
        if self.told:
            self.observer.warn("sender_told_twice", kind=self.endpoint.kind, endpoint=self.endpoint.public_id)
            return
        self.told = True
        try:
            self.ended(outcomes[0])
        except Exception as error:  # noqa: BLE001 - a defect of the flow must not become one of the sender's connection
            self.observer.warn("outcome_defect", endpoint=self.endpoint.public_id, error=repr(error))

    def ended(self, outcome: Outcome) -> None:
        """The outcome."""
        raise NotImplementedError


class Told(Once):
    """One that calls a function."""

    __slots__ = ("_done",)

    def __init__(self, endpoint: Endpoint, observer: Observer, done: Ended) -> None:
        super().__init__(endpoint, observer)
        self._done = done

    def ended(self, outcome: Outcome) -> None:
        """Pass it on."""
        self._done(outcome)


def begin(sender: Sender, request: SendRequest, once: Once, observer: Observer) -> None:
    """Begin an attempt of a request with one item. `once` gets one outcome, whatever the sender does."""
    try:
        sender.start(request, once)
    except Exception as error:  # noqa: BLE001 - a sender never raises; if it does, the delivery is tried again
        outcome = raised(observer, once.endpoint, error)
        if not once.told:
            once((outcome,))


def raised(observer: Observer, endpoint: Endpoint, error: Exception) -> Outcome:
    """What a sender never does is said, and is an outcome all the same."""
    observer.warn("sender_raised", kind=endpoint.kind, endpoint=endpoint.public_id, error=repr(error))
    return Outcome(Kind.RETRY, reason="protocol", detail=f"the sender raised {type(error).__name__}")
