"""What the OpenAPI document says of a route: parameters, bodies, and every status it can answer with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

PROBLEM_TYPE: Final = "application/problem+json"

_REFUSALS: Final[Mapping[int, str]] = {
    400: "Not HTTP as RFC 9112 has it, or not JSON",
    401: "No valid API key",
    403: "The key may not do this",
    404: "There is no such thing (or it is another tenant's)",
    408: "The request came too slowly",
    409: "Taken already, or not in a state that allows this",
    413: "Larger than the limit",
    414: "The target is too long",
    415: "Not JSON, or encoded",
    422: "Understood, but wrong: see code and pointer",
    429: "Too many requests",
    431: "Too many header fields, or too large",
    500: "Our fault; it was logged",
    503: "Not now; see Retry-After",
}
_ALWAYS: Final = (400, 401, 403, 404, 408, 413, 414, 422, 429, 431, 500, 503)
_OPEN: Final = (400, 408, 413, 414, 422, 431, 500)

QUERY: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "limit": ("How many at most", {"type": "integer", "minimum": 1, "maximum": 250, "default": 50}),
    "cursor": ("`next` of the page before", {"type": "string"}),
    "since": ("At or after this time (RFC 3339)", {"type": "string", "format": "date-time"}),
    "until": ("Before this time (RFC 3339)", {"type": "string", "format": "date-time"}),
    "type": ("Event type", {"type": "string"}),
    "source": ("CloudEvents source", {"type": "string"}),
    "source_id": ("The publisher's own id", {"type": "string"}),
    "subject": ("CloudEvents subject", {"type": "string"}),
    "state": ("State of the delivery", {"type": "string"}),
    "endpoint": ("An endpoint's id or uid", {"type": "string"}),
    "event": ("An event's id", {"type": "string"}),
    "reason": ("Reason code", {"type": "string"}),
    "kind": ("`event`, `attempt`, `delivery`, `endpoint`, or several, with commas", {"type": "string"}),
    "last_event_id": ("As `Last-Event-ID`, which counts before it", {"type": "string"}),
    "for": ("`in`: whether inbound requests can be taken", {"type": "string", "enum": ["in"]}),
}
PATH: Final[Mapping[str, str]] = {
    "id": "An id",
    "endpoint": "An endpoint's id or its own uid",
    "name": "The name of an event type",
    "tenant": "A tenant's id",
    "token": "What the receiver was told, unguessable",
    "source": "A source's id, name or own uid",
}

_ENTITY_TAG: Final = {"description": "The answer's entity tag, a strong one", "schema": {"type": "string"}}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Entity tags of answers that you have: 304 where one of them still holds",
    "schema": {"type": "string"},
}


def schema_of(kind: type | str) -> Mapping[str, Any]:
    """A reference to a component by its type, or by the name that `web.document` gives it."""
    return {"$ref": f"#/components/schemas/{kind if isinstance(kind, str) else kind.__name__}"}


def operation(
    summary: str,
    status: int,
    says: type | str | None,
    *,
    path: Sequence[str] = (),
    query: Sequence[str] = (),
    body: type | str | None = None,
    body_required: bool = True,
    refuses: Sequence[int] = (),
    tenant: bool = True,
    tagged: bool = False,
    tag: str,
) -> dict[str, Any]:
    """Arguments for a FastAPI route. `says` and `body` name components; `refuses` adds to what every route can
    answer; `tenant` is False for routes that need no key; `tagged`: the answer has an entity tag."""
    content = {} if says is None else {"content": {"application/json": {"schema": schema_of(says)}}}
    statuses = {*(_ALWAYS if tenant else _OPEN), *refuses, *((415,) if body else ()), *((404,) if path else ())}
    problem = {"content": {PROBLEM_TYPE: {"schema": schema_of("Problem")}}}
    responses: dict[int, Any] = {status: {"description": "Done", **content}}
    if tagged:
        responses[status]["headers"] = {"ETag": _ENTITY_TAG}
        responses[304] = {"description": "What If-None-Match names still holds", "headers": {"ETag": _ENTITY_TAG}}
    responses.update({s: {"description": _REFUSALS[s], **problem} for s in sorted(statuses)})
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": PATH[name], "schema": {"type": "string"}}
        for name in path
    ]
    parameters.extend(
        {"name": name, "in": "query", "description": QUERY[name][0], "schema": dict(QUERY[name][1])} for name in query
    )
    extra: dict[str, Any] = {"parameters": parameters}
    if tagged:
        parameters.append(_IF_NONE_MATCH)
    if tenant:
        parameters.append({"$ref": "#/components/parameters/HooklineTenant"})
    else:
        extra["security"] = []
    if body is not None:
        extra["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": schema_of(body)}},
        }
    return {
        "summary": summary,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra,
        "response_class": Response,
        "tags": [tag],
    }
