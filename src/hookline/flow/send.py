"""Send: a leased delivery through the sender of its endpoint's kind. Whatever happens is an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.attempt import Kind, Outcome
from hookline.core.confirm import Tokens
from hookline.core.endpoint import Endpoint
from hookline.flow.channel import Job
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.sender import Item, Sender, SendRequest

CONFIRM_PATH: Final = "/v1/confirm/"


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

    async def one(self, endpoint: Endpoint, job: Job) -> Outcome:
        """One attempt. Never raises."""
        sender = self._senders.get(endpoint.kind)
        if sender is None:
            return Outcome(Kind.RETRY, reason="connect", detail=f"no sender for kind {endpoint.kind}")
        confirm_url = None
        if endpoint.confirm_s is not None:
            confirm_url = self._confirm_url + self._tokens.make(job.delivery_id)
        item = Item(job.delivery_id, job.fence, job.event, job.attempts + 1, confirm_url)
        try:
            outcomes = await sender.send(SendRequest(endpoint, (item,), self._clock.wall_ms()))
            return outcomes[0]
        except Exception as error:  # noqa: BLE001 - a sender never raises; if it does, the delivery is tried again
            return raised(self._observer, endpoint, error)


def raised(observer: Observer, endpoint: Endpoint, error: Exception) -> Outcome:
    """What a sender never does is said, and is an outcome all the same."""
    observer.warn("sender_raised", kind=endpoint.kind, endpoint=endpoint.public_id, error=repr(error))
    return Outcome(Kind.RETRY, reason="protocol", detail=f"the sender raised {type(error).__name__}")
