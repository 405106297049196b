"""The administrator's endpoint: `HOOKLINE_ADMIN_URL` subscribes it to the operational events of all tenants.

The setting is the truth: without it the endpoint that it made is deleted, with another address it is changed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hookline.core.errors import Conflict, NotFound
from hookline.core.event import TENANT_DEFAULT
from hookline.flow.endpoints import Described, Endpoints
from hookline.flow.report import DEAD_LETTER, DELIVERY_DELIVERED, OPERATIONAL, Report

UID: Final = "hookline-admin"
TOLD: Final = tuple(name for name in OPERATIONAL if name not in (DELIVERY_DELIVERED, DEAD_LETTER))
"""What he is told of: not of every success, which would double the work; a PATCH of the endpoint may change that."""
_MADE_BY: Final = {"made_by": "HOOKLINE_ADMIN_URL"}


async def subscribe_administrator(endpoints: Endpoints, report: Report, url: str) -> None:
    """Make, change or delete the endpoint `hookline-admin` of the tenant `default`, so that it is what `url` says.

    Raises `Refusal` when the address cannot be used, `Conflict` when somebody else has an endpoint of that name.
    """
    found = await _found(endpoints)
    if found is not None and dict(found.spec.metadata) != _MADE_BY:
        if url:
            raise Conflict(f"the endpoint {UID} exists and was not made by HOOKLINE_ADMIN_URL: give it another uid")
        return
    if not url:
        if found is not None:
            await endpoints.delete(TENANT_DEFAULT, UID)
        report.admin = None
        return
    if found is None:
        document = {
            "url": url,
            "uid": UID,
            "event_types": list(TOLD),
            "description": "Told of what happens to deliveries and endpoints of every tenant.",
            "metadata": _MADE_BY,
        }
        found = await endpoints.create(TENANT_DEFAULT, msgspec.json.encode(document))
    elif found.spec.url != url:
        found = await endpoints.patch(TENANT_DEFAULT, UID, msgspec.json.encode({"url": url}))
    report.admin = found.row.id


async def _found(endpoints: Endpoints) -> Described | None:
    try:
        return await endpoints.get(TENANT_DEFAULT, UID)
    except NotFound:
        return None
