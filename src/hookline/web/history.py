"""`/v1/events`, `/v1/deliveries` and `/v1/stats`: what happened, and again."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.attempt import REASONS
from hookline.core.delivery import State
from hookline.core.errors import NotFound
from hookline.flow.answers import Answer
from hookline.flow.deliveries import Deliveries, Replay, Replayed
from hookline.flow.reads import Reads
from hookline.ports.store import Query
from hookline.web.auth import MANAGE, READ, Authority
from hookline.web.conditional import conditional, encoded
from hookline.web.door import Door, Visit, answer, client_of, identifier_in_path, read_body, read_parameters
from hookline.web.errors import response_of
from hookline.web.operation import operation
from hookline.web.publish import PATH, Publisher, admit
from hookline.web.views import (
    DeliveryDocument,
    EventDocument,
    PageDocument,
    StatsDocument,
    attempt_document,
    delivery_document,
    event_document,
    page_document,
    stats_document,
)

_STATES: Final = frozenset(state.word for state in State)
_FINAL: Final = State.DELIVERED.word
"""The state that a delivery never leaves."""
_REASONS: Final = frozenset(REASONS)
_RANGE: Final = ("limit", "cursor", "since", "until", "type")
_OF_EVENTS: Final = (*_RANGE, "source", "source_id", "subject")
_OF_DELIVERIES: Final = (*_RANGE, "state", "endpoint", "event", "reason")
_EVENT_PATH: Final = PATH + "/{id}"
_DELIVERY_PATH: Final = "/v1/deliveries/{id}"
_ONE: Final = ("id",)


_AS_A_FILE: Final = {
    "content-disposition": "attachment",
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def _query(visit: Visit) -> Query:
    return Query(
        tenant=visit.tenant,
        limit=visit.limit(),
        before=visit.cursor(),
        since_ms=visit.time_ms("since"),
        until_ms=visit.time_ms("until"),
        type=visit.given.get("type"),
        source=visit.given.get("source"),
        source_id=visit.given.get("source_id"),
        subject=visit.given.get("subject"),
        state=visit.one_of("state", _STATES),
        event_id=visit.identifier("event", ids.EVENT),
        reason=visit.one_of("reason", _REASONS),
    )


def publish_route(router: APIRouter, authority: Authority, publisher: Publisher, bytes_max: int) -> None:
    """`POST /v1/events` as an ordinary route: for servers without our front, and for targets that it does not
    recognise byte for byte. It answers the same."""

    @router.post(
        PATH,
        **operation("Publish", 202, "Published", body="Publication", tag="events"),
    )
    async def publish(request: Request) -> Response:
        """Durable once it is answered: a JSON event, a JSON array, or CloudEvents (structured, batched, binary)."""
        headers = request.scope["headers"]
        admission = admit(headers, dict(headers), authority, bytes_max, client_of(request))
        read_parameters(request, ())
        body = await read_body(request, bytes_max)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():  # cancelled: the client is gone
                answered.set_result(answer)

        publisher.publish(admission.tenant, admission.headers, admission.content_type, body, done, admission.allowed)
        return response_of(await answered)


def event_routes(router: APIRouter, door: Door, deliveries: Deliveries, reads: Reads) -> None:
    """Looking at events, and replaying one."""
    _event_looks(router, door, deliveries, reads)
    _event_deeds(router, door, deliveries)


def _event_looks(router: APIRouter, door: Door, deliveries: Deliveries, reads: Reads) -> None:

    @router.get(PATH, **operation("List", 200, "EventPage", query=_OF_EVENTS, tag="events"))
    async def list_events(request: Request) -> Response:
        """Newest first, without payloads."""
        visit = door.enter(request, READ, *_OF_EVENTS)
        page = await deliveries.events(_query(visit))
        return answer(page_document([event_document(event, payload=False) for event in page.rows], page.next))

    @router.get(_EVENT_PATH, **operation("Look", 200, EventDocument, path=_ONE, tagged=True, tag="events"))
    async def get_event(request: Request) -> Response:
        """With its payload, byte for byte."""
        visit = door.enter(request, READ)
        event_id = identifier_in_path(request, ids.EVENT)

        async def make() -> tuple[bytes, bool]:
            event = await deliveries.event(visit.tenant, event_id)
            return encoded(event_document(event, payload=True)), not event.erased

        return conditional(request, await reads.event(visit.tenant, event_id, make))

    @router.get(_EVENT_PATH + "/payload", **_payload_operation())
    async def get_payload(request: Request) -> Response:
        """The payload alone: its very bytes, with its own content type. 404 when it was erased."""
        visit = door.enter(request, READ)
        event_id = identifier_in_path(request, ids.EVENT)

        async def make() -> tuple[bytes, bool]:
            event = await deliveries.event(visit.tenant, event_id)
            if event.erased:
                raise NotFound("its payload was erased")
            return event.content_type.encode() + b"\0" + event.data, True

        content_type, _, data = (await reads.payload(visit.tenant, event_id, make)).partition(b"\0")
        # Whoever sent the event chose the content type: it must not run as a page of ours.
        return conditional(request, data, _AS_A_FILE | {"content-type": content_type.decode()})


def _event_deeds(router: APIRouter, door: Door, deliveries: Deliveries) -> None:
    @router.delete(
        _EVENT_PATH + "/payload",
        **operation("Erase the payload", 200, EventDocument, path=_ONE, refuses=(409,), tag="events"),
    )
    async def erase_payload(request: Request) -> Response:
        """For ever. The event, its deliveries and the books stay; what is open of it is discarded."""
        visit = door.enter(request, MANAGE)
        event = await deliveries.erase(visit.tenant, identifier_in_path(request, ids.EVENT))
        return answer(event_document(event, payload=True))

    @router.post(
        _EVENT_PATH + "/replay",
        **operation("Replay", 202, Replayed, path=_ONE, body=Replay, body_required=False, refuses=(409,), tag="events"),
    )
    async def replay_event(request: Request) -> Response:
        """New deliveries with the same `webhook-id`: to one endpoint, or to all that match now."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(await deliveries.replay(visit.tenant, identifier_in_path(request, ids.EVENT), body), 202)


def _payload_operation() -> dict[str, Any]:
    arguments = operation("Look at the payload", 200, None, path=_ONE, tagged=True, tag="events")
    arguments["responses"][200]["content"] = {"*/*": {"schema": {"description": "As it came, byte for byte"}}}
    return arguments


def delivery_routes(router: APIRouter, door: Door, deliveries: Deliveries, reads: Reads) -> None:
    """Looking at deliveries and attempts, retrying, discarding, counting."""
    _delivery_looks(router, door, deliveries, reads)
    _delivery_deeds(router, door, deliveries)


def _delivery_looks(router: APIRouter, door: Door, deliveries: Deliveries, reads: Reads) -> None:

    @router.get("/v1/deliveries", **operation("List", 200, "DeliveryPage", query=_OF_DELIVERIES, tag="deliveries"))
    async def list_deliveries(request: Request) -> Response:
        """Open and closed, newest first."""
        visit = door.enter(request, READ, *_OF_DELIVERIES)
        page = await deliveries.page(_query(visit), visit.given.get("endpoint"))
        return answer(page_document([delivery_document(row) for row in page.rows], page.next))

    @router.get(_DELIVERY_PATH, **operation("Look", 200, DeliveryDocument, path=_ONE, tagged=True, tag="deliveries"))
    async def get_delivery(request: Request) -> Response:
        """One delivery."""
        visit = door.enter(request, READ)
        delivery_id = identifier_in_path(request, ids.DELIVERY)

        async def make() -> tuple[bytes, bool]:
            row = await deliveries.get(visit.tenant, delivery_id)
            return encoded(delivery_document(row)), row.state == _FINAL

        return conditional(request, await reads.delivery(visit.tenant, delivery_id, make))

    @router.get(_DELIVERY_PATH + "/attempts", **operation("Attempts", 200, "AttemptPage", path=_ONE, tag="deliveries"))
    async def list_attempts(request: Request) -> Response:
        """Oldest first, each with the request exactly as it was sent; at most 1,000."""
        visit = door.enter(request, READ)
        views = await deliveries.attempts(visit.tenant, identifier_in_path(request, ids.DELIVERY))
        return answer(PageDocument([attempt_document(view) for view in views], None))


def _delivery_deeds(router: APIRouter, door: Door, deliveries: Deliveries) -> None:
    @router.post(
        _DELIVERY_PATH + "/retry",
        **operation("Retry", 202, DeliveryDocument, path=_ONE, refuses=(409,), tag="deliveries"),
    )
    async def retry_delivery(request: Request) -> Response:
        """A failed or discarded one is open again, tries from 0; a pending one is due now."""
        visit = door.enter(request, MANAGE)
        row = await deliveries.retry(visit.tenant, identifier_in_path(request, ids.DELIVERY))
        return answer(delivery_document(row), 202)

    @router.post(
        _DELIVERY_PATH + "/discard",
        **operation("Discard", 200, DeliveryDocument, path=_ONE, refuses=(409,), tag="deliveries"),
    )
    async def discard_delivery(request: Request) -> Response:
        """Never sent (again); its lane goes on."""
        visit = door.enter(request, MANAGE)
        row = await deliveries.discard(visit.tenant, identifier_in_path(request, ids.DELIVERY))
        return answer(delivery_document(row))

    @router.get("/v1/stats", **operation("Count", 200, StatsDocument, tag="deliveries"))
    async def stats(request: Request) -> Response:
        """The books, of one moment: of the tenant, or of all for an operator who names none."""
        principal = door.enter(request, READ).principal
        return answer(stats_document(await deliveries.counts(None if principal.every_tenant else principal.tenant)))
