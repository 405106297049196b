"""`/v1/endpoints` and `/v1/event-types`: the configuration."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.endpoint import EndpointSpec
from hookline.flow.endpoints import Endpoints, Rotation, SecretView
from hookline.flow.event_types import EventTypePatch, EventTypes, EventTypeSpec
from hookline.flow.reads import Reads
from hookline.web.auth import MANAGE, READ
from hookline.web.conditional import conditional, encoded
from hookline.web.door import Door, answer, no_content
from hookline.web.operation import operation
from hookline.web.views import (
    EndpointStatsDocument,
    EventTypeDocument,
    EventTypeHistoryDocument,
    endpoint_document,
    endpoint_stats_document,
    event_type_document,
    event_type_history,
    page_document,
)

_ENDPOINT = "Endpoint"
_ENDPOINT_PATH = "/v1/endpoints/{endpoint}"
_TYPE_PATH = "/v1/event-types/{name:path}"
_ONE = ("endpoint",)


def endpoint_routes(router: APIRouter, door: Door, endpoints: Endpoints) -> None:
    """The routes of endpoints; `{endpoint}` is an id or a uid."""
    _endpoint_collection(router, door, endpoints)
    _endpoint_states(router, door, endpoints)
    _endpoint_secrets(router, door, endpoints)


def _endpoint_collection(router: APIRouter, door: Door, endpoints: Endpoints) -> None:
    @router.post(
        "/v1/endpoints",
        **operation("Subscribe", 201, _ENDPOINT, body=EndpointSpec, refuses=(409,), tag="endpoints"),
    )
    async def create_endpoint(request: Request) -> Response:
        """Every event accepted after the answer that matches is delivered to it."""
        visit = door.enter(request, MANAGE)
        described = await endpoints.create(visit.tenant, await door.body(request))
        location = f"/v1/endpoints/{ids.text(ids.ENDPOINT, described.row.id)}"
        return answer(endpoint_document(described), 201, {"location": location})

    @router.get("/v1/endpoints", **operation("List", 200, "EndpointPage", query=("limit", "cursor"), tag="endpoints"))
    async def list_endpoints(request: Request) -> Response:
        """Newest first."""
        visit = door.enter(request, READ, "limit", "cursor")
        page = await endpoints.page(visit.tenant, visit.limit(), visit.cursor())
        return answer(page_document([endpoint_document(described) for described in page.rows], page.next))

    @router.get(_ENDPOINT_PATH, **operation("Look", 200, _ENDPOINT, path=_ONE, tag="endpoints"))
    async def get_endpoint(request: Request) -> Response:
        """All fields, without secrets."""
        visit = door.enter(request, READ)
        return answer(endpoint_document(await endpoints.get(visit.tenant, request.path_params["endpoint"])))

    @router.patch(
        _ENDPOINT_PATH,
        **operation("Change", 200, _ENDPOINT, path=_ONE, body="EndpointPatch", refuses=(409,), tag="endpoints"),
    )
    async def patch_endpoint(request: Request) -> Response:
        """A JSON Merge Patch (RFC 7396); `auth` is replaced as a whole."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(endpoint_document(await endpoints.patch(visit.tenant, request.path_params["endpoint"], body)))

    @router.delete(_ENDPOINT_PATH, **operation("Unsubscribe", 204, None, path=_ONE, tag="endpoints"))
    async def delete_endpoint(request: Request) -> Response:
        """Its open deliveries are discarded, reason `endpoint_deleted`."""
        visit = door.enter(request, MANAGE)
        await endpoints.delete(visit.tenant, request.path_params["endpoint"])
        return no_content()


def _endpoint_states(router: APIRouter, door: Door, endpoints: Endpoints) -> None:
    @router.post(
        _ENDPOINT_PATH + "/pause", **operation("Pause", 200, _ENDPOINT, path=_ONE, refuses=(409,), tag="endpoints")
    )
    async def pause_endpoint(request: Request) -> Response:
        """Deliveries are held until it is resumed."""
        visit = door.enter(request, MANAGE)
        return answer(endpoint_document(await endpoints.pause(visit.tenant, request.path_params["endpoint"])))

    @router.post(
        _ENDPOINT_PATH + "/resume", **operation("Resume", 200, _ENDPOINT, path=_ONE, refuses=(409,), tag="endpoints")
    )
    async def resume_endpoint(request: Request) -> Response:
        """A paused, failing or disabled endpoint runs again, slowly at first."""
        visit = door.enter(request, MANAGE)
        return answer(endpoint_document(await endpoints.resume(visit.tenant, request.path_params["endpoint"])))

    @router.get(_ENDPOINT_PATH + "/stats", **operation("Count", 200, EndpointStatsDocument, path=_ONE, tag="endpoints"))
    async def endpoint_stats(request: Request) -> Response:
        """The books of this endpoint, of one moment."""
        visit = door.enter(request, READ)
        counts = await endpoints.stats(visit.tenant, request.path_params["endpoint"])
        return answer(endpoint_stats_document(counts))


def _endpoint_secrets(router: APIRouter, door: Door, endpoints: Endpoints) -> None:
    @router.get(_ENDPOINT_PATH + "/secret", **operation("Secret", 200, SecretView, path=_ONE, tag="endpoints"))
    async def get_secret(request: Request) -> Response:
        """What the receiver verifies signatures with (Standard Webhooks)."""
        visit = door.enter(request, MANAGE)
        return answer(await endpoints.secret(visit.tenant, request.path_params["endpoint"]))

    @router.post(
        _ENDPOINT_PATH + "/secret/rotate",
        **operation(
            "Rotate the secret",
            200,
            SecretView,
            path=_ONE,
            body=Rotation,
            body_required=False,
            refuses=(409,),
            tag="endpoints",
        ),
    )
    async def rotate_secret(request: Request) -> Response:
        """Signed with the new and the old one until the overlap ends."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(await endpoints.rotate(visit.tenant, request.path_params["endpoint"], body))


def event_type_routes(router: APIRouter, door: Door, event_types: EventTypes, reads: Reads) -> None:
    """The routes of event types."""

    @router.post(
        "/v1/event-types",
        **operation("Add", 201, EventTypeDocument, body=EventTypeSpec, refuses=(409,), tag="event types"),
    )
    async def create_event_type(request: Request) -> Response:
        """Publishes accepted after the answer are held to its schema."""
        visit = door.enter(request, MANAGE)
        row = await event_types.create(visit.tenant, await door.body(request))
        return answer(event_type_document(row), 201, {"location": f"/v1/event-types/{row.name}"})

    @router.get(
        "/v1/event-types", **operation("List", 200, "EventTypePage", query=("limit", "cursor"), tag="event types")
    )
    async def list_event_types(request: Request) -> Response:
        """Current versions, by name."""
        visit = door.enter(request, READ, "limit", "cursor")
        page = await event_types.page(visit.tenant, visit.limit(), visit.cursor())
        return conditional(request, encoded(page_document([event_type_document(row) for row in page.rows], page.next)))

    @router.get(
        _TYPE_PATH,
        **operation("Look", 200, EventTypeHistoryDocument, path=("name",), tagged=True, tag="event types"),
    )
    async def get_event_type(request: Request) -> Response:
        """With all its versions."""
        visit = door.enter(request, READ)
        name = request.path_params["name"]

        async def make() -> tuple[bytes, bool]:
            return encoded(event_type_history(await event_types.get(visit.tenant, name))), True

        return conditional(request, await reads.event_type(visit.tenant, name, make))

    @router.patch(
        _TYPE_PATH,
        **operation("Change", 200, EventTypeDocument, path=("name",), body=EventTypePatch, tag="event types"),
    )
    async def patch_event_type(request: Request) -> Response:
        """What is not named stays; a changed schema is a new version."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(event_type_document(await event_types.patch(visit.tenant, request.path_params["name"], body)))

    @router.delete(_TYPE_PATH, **operation("Remove", 204, None, path=("name",), tag="event types"))
    async def delete_event_type(request: Request) -> Response:
        """With all its versions."""
        visit = door.enter(request, MANAGE)
        await event_types.delete(visit.tenant, request.path_params["name"])
        return no_content()
