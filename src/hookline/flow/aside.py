"""Requests to endpoints that are no deliveries: a test, a challenge, a handshake. They are in no books.

They go through the endpoint's real sender. At most 16 run at once in this process, and each takes one of the slots
that its destination has for deliveries, so that nobody can be flooded by tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from hookline.core import ids
from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint
from hookline.core.errors import Conflict, Refusal
from hookline.core.event import Event
from hookline.flow.channel import Destination
from hookline.flow.registry import Registry
from hookline.flow.send import begin, raised
from hookline.flow.slots import Destinations, Slots
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.sender import Consent, Item, Sender, SendRequest, VerifyRequest
from hookline.ports.store import EndpointRow

AT_ONCE_MAX: Final = 16
RETRY_AFTER_S: Final = 2
ORDINAL: Final = 1
FENCE: Final = 1
"""What has no row is as if it were the first try of its event's first delivery."""
TRIAL_TYPE: Final = "hookline.test"
TRIAL_DATA: Final = b'{"message":"This is a test: the endpoint can be reached."}'
_SUCCESS: Final = frozenset({Kind.DELIVERED, Kind.UNCONFIRMED})


class Aside:
    """Sends what is no delivery. `next_in_line` is told when a destination's slot is free again."""

    def __init__(
        self,
        senders: Mapping[str, Sender],
        destinations: Destinations,
        slots: Slots,
        next_in_line: Callable[[Destination], None],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._senders = senders
        self._destinations = destinations
        self._slots = slots
        self._next_in_line = next_in_line
        self._clock = clock
        self._observer = observer
        self.running = 0

    async def send(self, endpoint: Endpoint, event: Event) -> Outcome:
        """One event, once. Raises `Refusal` `overloaded` where there is no room."""
        sender = self._sender(endpoint)
        destination = self._take(endpoint)
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            # Not before: whoever stops waiting does not stop the attempt.
            self._give(destination)
            if not ended.done():
                ended.set_result(outcome)

        item = Item(ids.delivery_id(event.id, ORDINAL), FENCE, event, 1)
        begin(sender, SendRequest(endpoint, (item,), self._clock.wall_ms()), done, self._observer)
        outcome = await ended
        if not outcome.started:
            raise _no_room(outcome.detail)
        return outcome

    async def ask(self, request: VerifyRequest) -> Consent:
        """One question. Raises `Refusal` `overloaded` where there is no room."""
        endpoint = request.endpoint
        sender = self._sender(endpoint)
        destination = self._take(endpoint)
        try:
            consent = await sender.verify(request)
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001 - a sender never raises; if it does, it is an outcome all the same
            consent = Consent(given=False, outcome=raised(self._observer, endpoint, error))
        finally:
            self._give(destination)
        if not consent.outcome.started:
            raise _no_room(consent.outcome.detail)
        return consent

    def check_room(self) -> None:
        """Raise `Refusal` `overloaded` where one more could not run now."""
        if self.running >= AT_ONCE_MAX:
            raise _no_room(f"{AT_ONCE_MAX} tests and verifications run already.")

    def _take(self, endpoint: Endpoint) -> Destination:
        self.check_room()
        destination = self._destinations.join(endpoint)
        if not self._slots.borrow(destination):
            destination.users -= 1
            raise _no_room("This endpoint's host has as many requests in flight as it may.")
        self.running += 1
        return destination

    def _give(self, destination: Destination) -> None:
        self.running -= 1
        self._slots.hand_back(destination)
        destination.users -= 1
        self._next_in_line(destination)

    def _sender(self, endpoint: Endpoint) -> Sender:
        sender = self._senders.get(endpoint.kind)
        if sender is None:
            raise Refusal("not_supported", f"Nothing here sends to endpoints of kind {endpoint.kind}.")
        return sender


def _no_room(detail: str) -> Refusal:
    return Refusal("overloaded", detail, retry_after_s=RETRY_AFTER_S)


def trial_event(identifier: bytes, tenant: str) -> Event:
    """The event of a test for which no type is named."""
    return Event(id=identifier, tenant=tenant, type=TRIAL_TYPE, data=TRIAL_DATA, source="/hookline")


def succeeded(outcome: Outcome) -> bool:
    """Whether an outcome is a success by the endpoint's own rules."""
    return outcome.kind in _SUCCESS


async def usable(registry: Registry, row: EndpointRow) -> Endpoint:
    """The endpoint as the flow uses it, at least as new as `row`. Raises `Conflict` `wrong_state` where it cannot be
    sent to: its secrets cannot be opened, or it was made under other rules; `StoreUnavailable`."""
    await registry.refresh()
    endpoint = registry.endpoint(row.id)
    if endpoint is None:
        detail = "The endpoint was made under other rules and cannot be used: change it, or delete it."
        raise Conflict(detail, code="wrong_state")
    if not endpoint.signing:
        detail = "The endpoint's secrets were sealed with a key that is not in HOOKLINE_SECRET_KEY: nothing is sent."
        raise Conflict(detail, code="wrong_state")
    return endpoint
