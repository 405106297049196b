"""`/v1/sources` and `/v1/source-presets`: where webhooks come in, what was refused, what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from msgspec import UNSET, Raw, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.page import format_time
from hookline.core.source import SourceSpec
from hookline.flow.quarantine import Quarantine, Released
from hookline.flow.sources import DescribedSource, NotedRejection, PresetView, Sources, known_presets
from hookline.ports.store import QuarantinedRow
from hookline.web.auth import MANAGE, READ
from hookline.web.door import Door, answer, identifier_in_path, no_content
from hookline.web.operation import operation
from hookline.web.views import InboundDocument, event_document, page_document

_PATH: Final = "/v1/sources"
_SOURCE_PATH: Final = "/v1/sources/{source}"
_QUARANTINE_PATH: Final = _SOURCE_PATH + "/quarantine"
_QUARANTINED_PATH: Final = _QUARANTINE_PATH + "/{id}"
_SOURCE: Final = ("source",)
_QUARANTINED: Final = ("source", "id")
_PAGED: Final = ("limit", "cursor")
_TAG: Final = "sources"


class RejectionDocument(msgspec.Struct, frozen=True):
    """A request that was refused: why, and what it looked like, credentials masked."""

    id: str
    at: str
    request_id: str
    status: int
    """What it was answered."""
    reason: str
    detail: str
    """For you; the sender was told less."""
    method: str
    target: str
    """Path and query."""
    client: str
    size_bytes: int
    headers: list[tuple[str, str]]


class QuarantinedDocument(msgspec.Struct, frozen=True):
    """What waits for a person: the event that it would be, and what is wrong with it. One alone has its payload:
    `data` where it is JSON, else `data_base64`."""

    id: str
    at: str
    type: str
    source: str
    source_id: str | None
    subject: str | None
    time: str | None
    content_type: str
    data_bytes: int
    problem: Raw
    inbound: InboundDocument | None
    data: Raw | UnsetType = UNSET
    data_base64: str | UnsetType = UNSET


class ReleasedDocument(msgspec.Struct, frozen=True):
    """The event that came of a released request."""

    id: str
    deliveries: int


class PresetsDocument(msgspec.Struct, frozen=True):
    """The providers that are known."""

    data: Sequence[PresetView]


def source_document(described: DescribedSource) -> dict[str, Any]:
    """A source: the members of its spec (secrets masked), and what we know of it."""
    row = described.row
    document: dict[str, Any] = {"id": ids.text(ids.SOURCE, row.id), "url": described.url}
    document.update(msgspec.structs.asdict(described.spec))
    document["warnings"] = list(described.warnings)
    document["created_at"] = format_time(row.created_at_ms)
    document["updated_at"] = format_time(row.updated_at_ms)
    return document


def rejection_document(noted: NotedRejection) -> RejectionDocument:
    """A rejection as shown."""
    return RejectionDocument(
        id=ids.text(ids.REJECTION, noted.id),
        at=format_time(ids.time_ms(noted.id)),
        **{name: getattr(noted.rejection, name) for name in noted.rejection.__struct_fields__},
    )


def quarantined_document(row: QuarantinedRow, *, payload: bool) -> QuarantinedDocument:
    """A request in quarantine, with its payload or without."""
    shown = event_document(row.event, payload=payload)
    return QuarantinedDocument(
        id=ids.text(ids.QUARANTINED, row.id),
        at=shown.accepted_at,
        type=shown.type,
        source=shown.source or "",
        source_id=shown.source_id,
        subject=shown.subject,
        time=shown.time,
        content_type=shown.content_type,
        data_bytes=row.size_bytes,
        problem=Raw(row.problem),
        inbound=shown.inbound,
        data=shown.data,
        data_base64=shown.data_base64,
    )


def released_document(released: Released) -> ReleasedDocument:
    """What a release made."""
    return ReleasedDocument(released.event.public_id, released.deliveries)


def source_routes(router: APIRouter, door: Door, sources: Sources, quarantine: Quarantine) -> None:
    """The routes of sources; `{source}` is an id, a name or a uid."""
    _collection(router, door, sources)
    _quarantine(router, door, quarantine)


def _collection(router: APIRouter, door: Door, sources: Sources) -> None:
    @router.post(_PATH, **operation("Create", 201, "Source", body=SourceSpec, refuses=(409,), tag=_TAG))
    async def create_source(request: Request) -> Response:
        """What the provider sends to `url` from then on is verified and becomes events."""
        visit = door.enter(request, MANAGE)
        described = await sources.create(visit.tenant, await door.body(request))
        location = f"{_PATH}/{ids.text(ids.SOURCE, described.row.id)}"
        return answer(source_document(described), 201, {"location": location})

    @router.get(_PATH, **operation("List", 200, "SourcePage", query=_PAGED, tag=_TAG))
    async def list_sources(request: Request) -> Response:
        """Newest first."""
        visit = door.enter(request, READ, *_PAGED)
        page = await sources.page(visit.tenant, visit.limit(), visit.cursor())
        return answer(page_document([source_document(described) for described in page.rows], page.next))

    @router.get(_SOURCE_PATH, **operation("Look", 200, "Source", path=_SOURCE, tag=_TAG))
    async def get_source(request: Request) -> Response:
        """All fields, secrets masked."""
        visit = door.enter(request, READ)
        return answer(source_document(await sources.get(visit.tenant, request.path_params["source"])))

    @router.patch(
        _SOURCE_PATH,
        **operation("Change", 200, "Source", path=_SOURCE, body="SourcePatch", refuses=(409,), tag=_TAG),
    )
    async def patch_source(request: Request) -> Response:
        """A JSON Merge Patch (RFC 7396); `verifier` and each schema are replaced as a whole, and `"***"` stands for
        the secrets that are there: `["new", "***"]` adds one."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(source_document(await sources.patch(visit.tenant, request.path_params["source"], body)))

    @router.delete(_SOURCE_PATH, **operation("Delete", 204, None, path=_SOURCE, refuses=(409,), tag=_TAG))
    async def delete_source(request: Request) -> Response:
        """Its address is unknown from then on; its events stay. Not while it has anything in quarantine."""
        visit = door.enter(request, MANAGE)
        await sources.delete(visit.tenant, request.path_params["source"])
        return no_content()

    @router.get(
        _SOURCE_PATH + "/rejections",
        **operation("Rejections", 200, "RejectionPage", path=_SOURCE, query=_PAGED, tag=_TAG),
    )
    async def list_rejections(request: Request) -> Response:
        """The newest requests that it refused, newest first: at most 100 are kept."""
        visit = door.enter(request, READ, *_PAGED)
        page = await sources.rejections(visit.tenant, request.path_params["source"], visit.limit(), visit.cursor())
        return answer(page_document([rejection_document(noted) for noted in page.rows], page.next))

    @router.get("/v1/source-presets", **operation("Presets", 200, PresetsDocument, tag=_TAG))
    async def list_presets(request: Request) -> Response:
        """The providers that `verifier` can name, with the keys of their `config`."""
        door.enter(request, READ)
        return answer(PresetsDocument(known_presets()))


def _quarantine(router: APIRouter, door: Door, quarantine: Quarantine) -> None:
    @router.get(
        _QUARANTINE_PATH,
        **operation("Quarantine", 200, "QuarantinedPage", path=_SOURCE, query=_PAGED, tag=_TAG),
    )
    async def list_quarantined(request: Request) -> Response:
        """What its schema does not allow and waits for a person, newest first, without payloads."""
        visit = door.enter(request, READ, *_PAGED)
        page = await quarantine.page(visit.tenant, request.path_params["source"], visit.limit(), visit.cursor())
        return answer(page_document([quarantined_document(row, payload=False) for row in page.rows], page.next))

    @router.get(
        _QUARANTINED_PATH,
        **operation("Look at a request in quarantine", 200, QuarantinedDocument, path=_QUARANTINED, tag=_TAG),
    )
    async def get_quarantined(request: Request) -> Response:
        """With its payload, byte for byte."""
        visit = door.enter(request, READ)
        quarantined_id = identifier_in_path(request, ids.QUARANTINED)
        row = await quarantine.get(visit.tenant, request.path_params["source"], quarantined_id)
        return answer(quarantined_document(row, payload=True))

    @router.post(
        _QUARANTINED_PATH + "/release",
        **operation("Release", 202, ReleasedDocument, path=_QUARANTINED, refuses=(400,), tag=_TAG),
    )
    async def release_quarantined(request: Request) -> Response:
        """It becomes an event, as it is, and is routed as things are now."""
        visit = door.enter(request, MANAGE)
        quarantined_id = identifier_in_path(request, ids.QUARANTINED)
        released = await quarantine.release(visit.tenant, request.path_params["source"], quarantined_id)
        return answer(released_document(released), 202)

    @router.delete(_QUARANTINED_PATH, **operation("Drop", 204, None, path=_QUARANTINED, tag=_TAG))
    async def drop_quarantined(request: Request) -> Response:
        """For ever, payload and all. A repeat of the request stays a duplicate."""
        visit = door.enter(request, MANAGE)
        quarantined_id = identifier_in_path(request, ids.QUARANTINED)
        await quarantine.drop(visit.tenant, request.path_params["source"], quarantined_id)
        return no_content()
