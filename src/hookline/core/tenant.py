"""A tenant: a customer of the operator, with limits of his own. Nobody need be created: a name that is used is one.

`TenantSpec` is what the API takes and gives. A tenant without a row has no limits and the settings' retention.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hookline.core.configuration import check_metadata
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal

TENANT_PATTERN: Final = r"^(?!\.\.?$)[A-Za-z0-9_.-]{1,64}$"
"""Not `.` and `..`: in a path they mean something else, and never arrive."""
TENANT_RULE: Final = "1 to 64 of A-Z, a-z, 0-9, _ . - and not . or .. alone"
TenantName = Annotated[str, Meta(extra_json_schema={"pattern": TENANT_PATTERN})]
"""A tenant's name in a document; whether it is one is judged by `is_tenant`, in words."""
_TENANT: Final = re.compile(TENANT_PATTERN)
RETENTION_S_MIN: Final = 1.0
RETENTION_S_MAX: Final = 100 * 365 * 86_400.0


def is_tenant(name: str) -> bool:
    """Whether this can be a tenant's name: `TENANT_RULE`."""
    return _TENANT.fullmatch(name) is not None


class TenantSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/tenants` takes. None in a limit: none of his own."""

    id: TenantName
    name: Annotated[str, Meta(max_length=255)] = ""
    endpoints_max: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Endpoints that may exist at once; beyond it 409 `limit_reached`."""
    events_rate: RateSpec | None = None
    """Events that may be published; beyond it 429 with Retry-After."""
    retention_s: Annotated[float, Meta(ge=RETENTION_S_MIN, le=RETENTION_S_MAX)] | None = None
    """How long events and closed deliveries are kept; None: HOOKLINE_RETENTION_D."""
    dead_letter: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """The endpoint (id or uid) that gets what failed at endpoints that name none themselves."""
    metadata: Annotated[dict[str, str], Meta(max_length=50)] = {}


def check_spec(spec: TenantSpec) -> None:
    """All checks that need nothing but the spec; raises `Refusal` (`invalid_tenant`) with a pointer."""
    if not is_tenant(spec.id):
        raise Refusal("invalid_tenant", f"A tenant is {TENANT_RULE}.", pointer="/id")
    check_metadata(spec.metadata, "invalid_tenant")
