"""`/v1/replays`: again, and many at once."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.endpoint import RateSpec
from hookline.core.page import format_time
from hookline.core.replay import EndpointReplaySpec, ReplayFilter, ReplaySpec
from hookline.flow.replays import DryRun, Replays, ReplayView
from hookline.web.auth import MANAGE, READ
from hookline.web.door import Door, answer, identifier_in_path
from hookline.web.operation import operation, schema_of
from hookline.web.views import page_document

_PATH: Final = "/v1/replays"
_ONE_PATH: Final = "/v1/replays/{id}"
_ONE: Final = ("id",)
_PAGED: Final = ("limit", "cursor")


class ReplayDocument(msgspec.Struct, frozen=True):
    """A replay of many. `examined` is `replayed` and `skipped` together; a skipped one is on its way still, or its
    payload or its endpoint is gone."""

    id: str
    state: str
    """`running`, `done`, `canceled` or `failed`."""
    of: str
    filter: ReplayFilter
    endpoint_id: str | None
    rate: RateSpec | None
    examined: int
    replayed: int
    skipped: int
    progress: float
    """0 to 1: how much of the range of time was walked."""
    waits_for: str | None
    """Why it does not go on just now."""
    detail: str | None
    """Why it failed."""
    created_at: str
    updated_at: str


def replay_document(view: ReplayView) -> ReplayDocument:
    """A replay as shown."""
    row, spec = view.row, view.spec
    return ReplayDocument(
        id=ids.text(ids.REPLAY, row.id),
        state=row.state,
        of=spec.of,
        filter=spec.filter,
        endpoint_id=spec.endpoint_id,
        rate=spec.rate,
        examined=row.examined,
        replayed=row.replayed,
        skipped=row.skipped,
        progress=view.progress,
        waits_for=view.waits_for,
        detail=row.detail or None,
        created_at=format_time(row.created_at_ms),
        updated_at=format_time(row.updated_at_ms),
    )


def _begun(made: ReplayView | DryRun) -> Response:
    if isinstance(made, DryRun):
        return answer(made)
    document = replay_document(made)
    return answer(document, 202, {"location": f"{_PATH}/{document.id}"})


def _or_counted(described: dict[str, Any]) -> dict[str, Any]:
    """The same operation, which answers 200 to a dry run."""
    content = {"application/json": {"schema": schema_of(DryRun)}}
    return {**described, "responses": {200: {"description": "Counted", "content": content}, **described["responses"]}}


def replay_routes(router: APIRouter, door: Door, replays: Replays) -> None:
    """The routes of replays of many."""

    @router.post(
        _PATH,
        **_or_counted(
            operation("Replay many", 202, ReplayDocument, body=ReplaySpec, refuses=(404, 409), tag="replays"),
        ),
    )
    async def create_replay(request: Request) -> Response:
        """What the filter finds goes again, in small steps behind live traffic; `dry_run` only counts (200)."""
        visit = door.enter(request, MANAGE)
        return _begun(await replays.create(visit.tenant, await door.body(request)))

    @router.get(_PATH, **operation("List", 200, "ReplayPage", query=_PAGED, tag="replays"))
    async def list_replays(request: Request) -> Response:
        """Newest first."""
        visit = door.enter(request, READ, *_PAGED)
        page = await replays.page(visit.tenant, visit.limit(), visit.cursor())
        return answer(page_document([replay_document(view) for view in page.rows], page.next))

    @router.get(_ONE_PATH, **operation("Look", 200, ReplayDocument, path=_ONE, tag="replays"))
    async def get_replay(request: Request) -> Response:
        """How far it is."""
        visit = door.enter(request, READ)
        return answer(replay_document(await replays.get(visit.tenant, identifier_in_path(request, ids.REPLAY))))

    @router.post(
        _ONE_PATH + "/cancel", **operation("Cancel", 200, ReplayDocument, path=_ONE, refuses=(409,), tag="replays")
    )
    async def cancel_replay(request: Request) -> Response:
        """It stops before its next step; what it made stays."""
        visit = door.enter(request, MANAGE)
        return answer(replay_document(await replays.cancel(visit.tenant, identifier_in_path(request, ids.REPLAY))))

    @router.post(
        "/v1/endpoints/{endpoint}/replay",
        **_or_counted(
            operation(
                "Replay",
                202,
                ReplayDocument,
                path=("endpoint",),
                body=EndpointReplaySpec,
                body_required=False,
                refuses=(409,),
                tag="endpoints",
            )
        ),
    )
    async def replay_endpoint(request: Request) -> Response:
        """What failed there goes again: the short form of `/v1/replays` for one endpoint."""
        visit = door.enter(request, MANAGE)
        reference = request.path_params["endpoint"]
        return _begun(await replays.create_for_endpoint(visit.tenant, reference, await door.body(request)))
