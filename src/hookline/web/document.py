"""The OpenAPI 3.1 document: schemas of what the API takes and gives, and the operational events as webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hookline.core.api_key import KeySpec
from hookline.core.broker import KINDS
from hookline.core.endpoint import EndpointSpec
from hookline.core.event import TENANT_DEFAULT
from hookline.core.replay import EndpointReplaySpec, ReplaySpec
from hookline.core.source import SourceSpec
from hookline.core.tenant import TENANT_PATTERN, TenantSpec
from hookline.flow.confirm import Confirmation
from hookline.flow.dead_letter import DeadLetter
from hookline.flow.deliveries import Replay, Replayed
from hookline.flow.endpoints import Rotation, SecretView
from hookline.flow.event_types import EventTypePatch, EventTypeSpec
from hookline.flow.keys import KeyRotation
from hookline.flow.replays import DryRun
from hookline.flow.report import DEAD_LETTER, OPERATIONAL
from hookline.flow.try_out import Trial
from hookline.web.access import IssuedKeyDocument, KeyDocument, TenantDocument
from hookline.web.confirm import Confirmed
from hookline.web.operation import schema_of
from hookline.web.replays import ReplayDocument
from hookline.web.sources import PresetsDocument, QuarantinedDocument, RejectionDocument, ReleasedDocument
from hookline.web.stream import DeliveryChange, EndpointChange, StreamedAttempt
from hookline.web.verification import Consented, TestedDocument
from hookline.web.views import (
    AttemptDocument,
    DeliveryDocument,
    EndpointStatsDocument,
    EventDocument,
    EventTypeDocument,
    EventTypeHistoryDocument,
    ReadyDocument,
    StatsDocument,
)

_TYPES: Final = (
    AttemptDocument,
    Confirmation,
    Confirmed,
    DeadLetter,
    DeliveryChange,
    DeliveryDocument,
    DryRun,
    EndpointChange,
    EndpointReplaySpec,
    EndpointSpec,
    EndpointStatsDocument,
    EventDocument,
    EventTypeDocument,
    EventTypeHistoryDocument,
    EventTypePatch,
    EventTypeSpec,
    IssuedKeyDocument,
    KeyDocument,
    KeyRotation,
    KeySpec,
    PresetsDocument,
    QuarantinedDocument,
    ReadyDocument,
    RejectionDocument,
    ReleasedDocument,
    Replay,
    ReplayDocument,
    ReplaySpec,
    Replayed,
    Rotation,
    SecretView,
    SourceSpec,
    StatsDocument,
    TenantDocument,
    TenantSpec,
    StreamedAttempt,
    Consented,
    TestedDocument,
    Trial,
    *(kind.config for kind in KINDS.values()),
)
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_ID_OF_EVENT: Final = {"type": "string", "pattern": "^evt_[0-9a-f]{24}$"}

_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457. `code` is stable: programs rely on it.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "code": _TEXT,
        "detail": {"type": "string", "description": "One sentence for a person"},
        "pointer": {"type": "string", "description": "JSON pointer to the fault in what was sent"},
    },
}
_NEW_EVENT: Final = {
    "type": "object",
    "required": ["type", "data"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,254}$"},
        "data": {"description": "Any JSON; kept and sent byte for byte"},
        "id": {"type": "string", "description": "Your own id: a repeat of it is answered as a duplicate"},
        "source": _TEXT,
        "subject": _TEXT,
        "time": _TIME,
        "ordering_key": _TEXT,
        "deliver_at": {**_TIME, "description": "At most 30 days ahead"},
        "correlation_id": _TEXT,
    },
}
_ACCEPTED: Final = {
    "type": "object",
    "required": ["id", "deliveries", "duplicate"],
    "properties": {"id": _ID_OF_EVENT, "deliveries": {"type": "integer"}, "duplicate": {"type": "boolean"}},
}
_ACCEPTED_BATCH: Final = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"enum": ["accepted", "duplicate", "invalid"]},
                    "id": _ID_OF_EVENT,
                    "deliveries": {"type": "integer"},
                    "duplicate": {"type": "boolean"},
                    "problem": schema_of("Problem"),
                },
            },
        }
    },
}
_CLOUDEVENT: Final = {
    "type": "object",
    "description": "CloudEvents 1.0, structured mode",
    "required": ["specversion", "id", "source", "type"],
    "properties": {"specversion": {"const": "1.0"}, "id": _TEXT, "source": _TEXT, "type": _TEXT},
}


def openapi(app: FastAPI, version: str) -> dict[str, Any]:
    """The document of all routes of `app`."""
    document = get_openapi(
        title="Hookline",
        version=version,
        summary="Webhooks for event-driven systems",
        description="Publish events, subscribe endpoints, and see what became of every delivery.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    document["security"] = [{"key": []}]
    document["webhooks"] = {name: _webhook(name, means) for name, means in OPERATIONAL.items()}
    publish = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    publish["application/cloudevents+json"] = {"schema": _CLOUDEVENT}
    publish["application/cloudevents-batch+json"] = {"schema": {"type": "array", "items": _CLOUDEVENT}}
    publish["*/*"] = {"schema": {"description": "CloudEvents binary mode: attributes in ce-* headers"}}
    document["components"] = {
        "schemas": _schemas(),
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}},
        "parameters": {
            "HooklineTenant": {
                "name": "Hookline-Tenant",
                "in": "header",
                "description": "For which tenant; the operator's key only",
                "schema": {"type": "string", "pattern": TENANT_PATTERN, "default": TENANT_DEFAULT},
            }
        },
    }
    return document


def _patch(properties: Mapping[str, Any], fixed: str = "") -> dict[str, Any]:
    return {
        "type": "object",
        "description": "JSON Merge Patch (RFC 7396): what is not named stays, null takes a member away.",
        "properties": {
            name: {"anyOf": [schema, {"type": "null"}]} for name, schema in properties.items() if name != fixed
        },
        "additionalProperties": False,
    }


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    schemas: dict[str, Any] = dict(components)
    spec = schemas["EndpointSpec"]
    spec["properties"]["config"] = {
        "description": "What the endpoint's kind needs besides the url; nothing for http.",
        "anyOf": [{"type": "object", "maxProperties": 0}, *(schema_of(kind.config) for kind in KINDS.values())],
        "default": {},
    }
    known = {name: schema for name, schema in spec["properties"].items() if name != "secret"}
    schemas["Endpoint"] = {
        "type": "object",
        "description": "An endpoint, its credentials masked.",
        "properties": {
            "id": {"type": "string", "pattern": "^ep_[0-9a-f]{24}$"},
            "state": {"enum": ["active", "paused", "failing", "disabled", "unverified"]},
            **known,
            "warnings": {"type": "array", "items": _TEXT},
            "created_at": _TIME,
            "updated_at": _TIME,
        },
        "required": ["id", "state", *known, "warnings", "created_at", "updated_at"],
    }
    schemas["EndpointPatch"] = _patch(known)
    schemas["Source"] = _source(schemas["SourceSpec"]["properties"])
    schemas["SourcePatch"] = _patch(schemas["SourceSpec"]["properties"])
    schemas["TenantPatch"] = _patch(schemas["TenantSpec"]["properties"], "id")
    schemas["KeyPatch"] = _patch(schemas["KeySpec"]["properties"], "tenant")
    pages: dict[str, type | str] = {
        "EndpointPage": "Endpoint",
        "EventTypePage": EventTypeDocument,
        "TenantPage": TenantDocument,
        "KeyPage": KeyDocument,
        "EventPage": EventDocument,
        "DeliveryPage": DeliveryDocument,
        "ReplayPage": ReplayDocument,
        "AttemptPage": AttemptDocument,
        "SourcePage": "Source",
        "RejectionPage": RejectionDocument,
        "QuarantinedPage": QuarantinedDocument,
    }
    schemas.update({name: _page(schema_of(of)) for name, of in pages.items()})
    schemas["Problem"] = _PROBLEM
    schemas["Publication"] = {"oneOf": [_NEW_EVENT, {"type": "array", "items": _NEW_EVENT, "maxItems": 1000}]}
    schemas["Published"] = {"oneOf": [_ACCEPTED, _ACCEPTED_BATCH]}
    return schemas


def _source(known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A source, its secrets masked.",
        "properties": {
            "id": {"type": "string", "pattern": "^src_[0-9a-f]{24}$"},
            "url": {"type": "string", "description": "Where the provider is to send to"},
            **known,
            "warnings": {"type": "array", "items": _TEXT},
            "created_at": _TIME,
            "updated_at": _TIME,
        },
        "required": ["id", "url", *known, "warnings", "created_at", "updated_at"],
    }


def _page(of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["data", "next"],
        "properties": {
            "data": {"type": "array", "items": of},
            "next": {"type": ["string", "null"], "description": "`cursor` of the next page; null: the last"},
        },
    }


def _webhook(name: str, means: str) -> dict[str, Any]:
    data: dict[str, Any] = {"endpoint_id": _TEXT, "endpoint_uid": {"type": ["string", "null"]}}
    if name.startswith("hookline.delivery."):
        data.update(
            delivery_id=_TEXT,
            event_id=_ID_OF_EVENT,
            event_type=_TEXT,
            attempts={"type": "integer"},
            reason={"type": ["string", "null"]},
            status={"type": ["integer", "null"]},
        )
    else:
        data["url"] = _TEXT
    says: Mapping[str, Any] = {"type": "object", "required": list(data), "properties": data}
    to = f"For endpoints that subscribe to `{name}`"
    if name == DEAD_LETTER:
        says, to = schema_of(DeadLetter), "For the endpoint that `dead_letter` names"
    body = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": name},
            "timestamp": _TIME,
            "data": says,
        },
    }
    return {
        "post": {
            "operationId": name.replace(".", "_"),
            "summary": means,
            "description": f"{to}; signed as Standard Webhooks has it.",
            "tags": ["operational events"],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"2XX": {"description": "Taken"}},
        }
    }
