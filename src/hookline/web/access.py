"""`/v1/tenants` and `/v1/keys`: who may, and how much. Only the operator's key opens them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.api_key import KeySpec
from hookline.core.endpoint import RateSpec
from hookline.core.page import format_time
from hookline.core.tenant import TenantSpec
from hookline.flow.keys import Issued, KeyRotation, Keys
from hookline.flow.tenants import Tenants
from hookline.ports.store import KeyRow, TenantRow
from hookline.web.auth import OPERATOR, Principal
from hookline.web.door import Door, answer, identifier_in_path, no_content
from hookline.web.operation import operation
from hookline.web.views import page_document

_TENANT_PATH = "/v1/tenants/{tenant}"
_KEY_PATH = "/v1/keys/{id}"
_NEVER_CACHED = {"cache-control": "no-store"}
_decode_tenant = msgspec.json.Decoder(TenantSpec).decode
_decode_key = msgspec.json.Decoder(KeySpec).decode


class TenantDocument(msgspec.Struct, frozen=True):
    """A tenant: null in a limit means none of his own."""

    id: str
    name: str
    endpoints_max: int | None
    events_rate: RateSpec | None
    retention_s: float | None
    dead_letter: str | None
    metadata: dict[str, str]
    created_at: str
    updated_at: str


class KeyDocument(msgspec.Struct, frozen=True):
    """What a key may. The key itself is not kept; `hint` is its last four characters."""

    id: str
    tenant: str | None
    scopes: list[str]
    description: str
    event_types: list[str] | None
    expires_at: str | None
    rate: RateSpec | None
    address_rate: RateSpec | None
    hint: str
    created_at: str
    last_used_at: str | None


class IssuedKeyDocument(KeyDocument, frozen=True, kw_only=True):
    """A new key: this answer is the only one that has `key`."""

    key: str


def tenant_document(row: TenantRow) -> TenantDocument:
    """A tenant as shown."""
    spec = _decode_tenant(row.spec)
    return TenantDocument(
        **msgspec.structs.asdict(spec),
        created_at=format_time(row.created_at_ms),
        updated_at=format_time(row.updated_at_ms),
    )


def key_document(row: KeyRow, uses: Mapping[bytes, int]) -> KeyDocument:
    """A key as shown; `uses` says when each was last used."""
    used_ms = uses.get(row.id)
    return KeyDocument(
        **msgspec.structs.asdict(_decode_key(row.spec)),
        id=ids.text(ids.KEY, row.id),
        hint=row.hint,
        created_at=format_time(row.created_at_ms),
        last_used_at=None if used_ms is None else format_time(used_ms),
    )


def issued_document(issued: Issued) -> IssuedKeyDocument:
    """A new key, with itself."""
    shown = key_document(issued.row, {})
    return IssuedKeyDocument(**msgspec.structs.asdict(shown), key=issued.key)


def _acting_for(principal: Principal) -> str | None:
    return None if principal.every_tenant else principal.tenant


def tenant_routes(router: APIRouter, door: Door, tenants: Tenants) -> None:
    """The routes of tenants; Hookline-Tenant means nothing to them."""

    @router.post(
        "/v1/tenants", **operation("Create", 201, TenantDocument, body=TenantSpec, refuses=(409,), tag="tenants")
    )
    async def create_tenant(request: Request) -> Response:
        """Limits of his own. A tenant who was never created can be used, too: without any."""
        door.enter(request, OPERATOR)
        row = await tenants.create(await door.body(request))
        return answer(tenant_document(row), 201, {"location": f"/v1/tenants/{row.id}"})

    @router.get("/v1/tenants", **operation("List", 200, "TenantPage", query=("limit", "cursor"), tag="tenants"))
    async def list_tenants(request: Request) -> Response:
        """Those that were created, by id."""
        visit = door.enter(request, OPERATOR, "limit", "cursor")
        page = await tenants.page(visit.limit(), visit.cursor())
        return answer(page_document([tenant_document(row) for row in page.rows], page.next))

    @router.get(_TENANT_PATH, **operation("Look", 200, TenantDocument, path=("tenant",), tag="tenants"))
    async def get_tenant(request: Request) -> Response:
        """One tenant."""
        door.enter(request, OPERATOR)
        return answer(tenant_document(await tenants.get(request.path_params["tenant"])))

    @router.patch(
        _TENANT_PATH,
        **operation("Change", 200, TenantDocument, path=("tenant",), body="TenantPatch", refuses=(409,), tag="tenants"),
    )
    async def patch_tenant(request: Request) -> Response:
        """A JSON Merge Patch (RFC 7396); limits hold from the next request on."""
        door.enter(request, OPERATOR)
        body = await door.body(request)
        return answer(tenant_document(await tenants.patch(request.path_params["tenant"], body)))

    @router.delete(_TENANT_PATH, **operation("Delete", 204, None, path=("tenant",), refuses=(409,), tag="tenants"))
    async def delete_tenant(request: Request) -> Response:
        """With his endpoints, sources, keys and event types, at once; his history expires. Until he is created again,
        acting for him is 404."""
        door.enter(request, OPERATOR)
        await tenants.delete(request.path_params["tenant"])
        return no_content()


def key_routes(router: APIRouter, door: Door, keys: Keys) -> None:
    """The routes of API keys: of the tenant that Hookline-Tenant names; without it, of all."""

    @router.post("/v1/keys", **operation("Issue", 201, IssuedKeyDocument, body=KeySpec, tag="keys"))
    async def create_key(request: Request) -> Response:
        """The key is in this answer only; what is kept is its SHA-256."""
        visit = door.enter(request, OPERATOR)
        issued = await keys.create(_acting_for(visit.principal), await door.body(request))
        location = f"/v1/keys/{ids.text(ids.KEY, issued.row.id)}"
        return answer(issued_document(issued), 201, {"location": location, **_NEVER_CACHED})

    @router.get("/v1/keys", **operation("List", 200, "KeyPage", query=("limit", "cursor"), tag="keys"))
    async def list_keys(request: Request) -> Response:
        """Newest first, also those past their end, without the revoked ones."""
        visit = door.enter(request, OPERATOR, "limit", "cursor")
        page = await keys.page(_acting_for(visit.principal), visit.limit(), visit.cursor())
        uses = await keys.last_uses()
        return answer(page_document([key_document(row, uses) for row in page.rows], page.next))

    @router.get(_KEY_PATH, **operation("Look", 200, KeyDocument, path=("id",), tag="keys"))
    async def get_key(request: Request) -> Response:
        """One key; `last_used_at` is true to within 10 seconds."""
        visit = door.enter(request, OPERATOR)
        row = await keys.get(_acting_for(visit.principal), identifier_in_path(request, ids.KEY))
        return answer(key_document(row, await keys.last_uses()))

    @router.patch(_KEY_PATH, **operation("Change", 200, KeyDocument, path=("id",), body="KeyPatch", tag="keys"))
    async def patch_key(request: Request) -> Response:
        """A JSON Merge Patch (RFC 7396); it holds from the next request on."""
        visit = door.enter(request, OPERATOR)
        body = await door.body(request)
        row = await keys.patch(_acting_for(visit.principal), identifier_in_path(request, ids.KEY), body)
        return answer(key_document(row, await keys.last_uses()))

    @router.post(
        _KEY_PATH + "/rotate",
        **operation("Replace", 201, IssuedKeyDocument, path=("id",), body=KeyRotation, body_required=False, tag="keys"),
    )
    async def rotate_key(request: Request) -> Response:
        """A new key with the same rights; the old one ends when the overlap does."""
        visit = door.enter(request, OPERATOR)
        body = await door.body(request)
        issued = await keys.rotate(_acting_for(visit.principal), identifier_in_path(request, ids.KEY), body)
        location = f"/v1/keys/{ids.text(ids.KEY, issued.row.id)}"
        return answer(issued_document(issued), 201, {"location": location, **_NEVER_CACHED})

    @router.delete(_KEY_PATH, **operation("Revoke", 204, None, path=("id",), tag="keys"))
    async def delete_key(request: Request) -> Response:
        """From now on it is unknown."""
        visit = door.enter(request, OPERATOR)
        await keys.delete(_acting_for(visit.principal), identifier_in_path(request, ids.KEY))
        return no_content()
