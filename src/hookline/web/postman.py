"""A Postman collection (format 2.1) made from the OpenAPI document, so that it never says anything else.

Every operation is a request in the folder of its tag, with an example of its body made from the schema. One folder is
for the other side: a webhook to one's own receiver, signed by a script as Standard Webhooks has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_DEPTH_MAX: Final = 6
_METHODS: Final = ("get", "post", "put", "patch", "delete")

SIGNING_SCRIPT: Final = """\
// Signs the body as Standard Webhooks does: HMAC-SHA256 over "id.timestamp.body" with the bytes behind whsec_.
const secret = pm.variables.get("webhook_secret");
if (!secret || !secret.startsWith("whsec_")) {
    throw new Error("Set the variable webhook_secret: GET /v1/endpoints/{endpoint}/secret shows it.");
}
const id = "evt_" + CryptoJS.lib.WordArray.random(12).toString();
const timestamp = Math.floor(Date.now() / 1000).toString();
const body = pm.variables.replaceIn(pm.request.body.raw);
pm.request.body.update(body);
const key = CryptoJS.enc.Base64.parse(secret.slice("whsec_".length));
const signature = CryptoJS.HmacSHA256(`${id}.${timestamp}.${body}`, key).toString(CryptoJS.enc.Base64);
pm.request.headers.upsert({ key: "webhook-id", value: id });
pm.request.headers.upsert({ key: "webhook-timestamp", value: timestamp });
pm.request.headers.upsert({ key: "webhook-signature", value: `v1,${signature}` });
"""
_WORDS: Final = {"url": "https://example.com/webhooks", "type": "order.created", "data": {"order_id": "o-1"}}
"""Values of members that say more than their schema's."""
_EVENT: Final = {
    "type": "order.created",
    "timestamp": "2026-01-01T12:00:00.000Z",
    "data": {"order_id": "o-1", "amount": 1200},
}


def postman(document: Mapping[str, Any]) -> dict[str, Any]:
    """The collection of everything that `document`, an OpenAPI 3.1 document, describes."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                folder = (operation.get("tags") or ["other"])[0]
                folders.setdefault(folder, []).append(_request(document, path, method, operation))
    items: list[dict[str, Any]] = [{"name": name, "item": requests} for name, requests in folders.items()]
    items.append({"name": "your receiver", "item": [_signed()]})
    return {
        "info": {
            "name": f"Hookline {document['info']['version']}",
            "description": document["info"].get("description", ""),
            "schema": SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{key}}", "type": "string"}]},
        "variable": [
            {"key": "url", "value": "http://127.0.0.1:8400"},
            {"key": "key", "value": ""},
            {"key": "receiver_url", "value": "http://127.0.0.1:3000/webhooks"},
            {"key": "webhook_secret", "value": ""},
        ],
        "item": items,
    }


def _request(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", [])]
    segments = [f":{part[1:-1]}" if part.startswith("{") else part for part in path.strip("/").split("/") if part]
    query = [_query(parameter) for parameter in parameters if parameter["in"] == "query"]
    variables = [
        {"key": parameter["name"], "value": "", "description": parameter.get("description", "")}
        for parameter in parameters
        if parameter["in"] == "path"
    ]
    request: dict[str, Any] = {
        "method": method.upper(),
        "header": [
            {"key": parameter["name"], "value": "", "disabled": True, "description": parameter.get("description", "")}
            for parameter in parameters
            if parameter["in"] == "header"
        ],
        "url": {
            "raw": "{{url}}/" + "/".join(segments),
            "host": ["{{url}}"],
            "path": segments,
            "query": query,
            "variable": variables,
        },
        "description": operation.get("description", ""),
    }
    if operation.get("security") == []:
        request["auth"] = {"type": "noauth"}
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        media = content["application/json"]
        example = media["example"] if "example" in media else _example(document, media.get("schema", {}), 0)
        request["header"].append({"key": "Content-Type", "value": "application/json"})
        request["body"] = {
            "mode": "raw",
            "raw": json.dumps(example, indent=2),
            "options": {"raw": {"language": "json"}},
        }
    return {"name": f"{operation.get('summary', '')}: {method.upper()} {path}", "request": request}


def _query(parameter: Mapping[str, Any]) -> dict[str, Any]:
    default = parameter.get("schema", {}).get("default", "")
    return {
        "key": parameter["name"],
        "value": str(default),
        "disabled": True,
        "description": parameter.get("description", ""),
    }


def _resolved(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        value = found
    return value


def _example(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Any:
    """Something that the schema allows: of an object its required members, or where none is required, none."""
    schema = _resolved(document, schema)
    for name in ("example", "const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("oneOf", "anyOf", "allOf"):
        if schema.get(name):
            return _example(document, schema[name][0], depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if depth > _DEPTH_MAX:
            return {}
        return {
            name: _WORDS[name] if name in _WORDS else _example(document, properties.get(name, {}), depth + 1)
            for name in schema.get("required", [])
        }
    if kind == "array":
        return [_example(document, schema.get("items", {}), depth + 1)] if schema.get("minItems") else []
    return _plain(kind, schema)


def _plain(kind: str | None, schema: Mapping[str, Any]) -> Any:
    match kind:
        case "string":
            return _text(schema)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return {"hello": "world"}


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "2026-01-01T12:00:00.000Z"
    if schema.get("format") in ("uri", "uri-reference"):
        return "https://example.com/webhooks"
    return "text"


def _signed() -> dict[str, Any]:
    return {
        "name": "Send a signed webhook to your receiver",
        "event": [
            {
                "listen": "prerequest",
                "script": {"type": "text/javascript", "exec": SIGNING_SCRIPT.splitlines()},
            }
        ],
        "request": {
            "method": "POST",
            "auth": {"type": "noauth"},
            "header": [{"key": "Content-Type", "value": "application/json"}],
            "url": {"raw": "{{receiver_url}}", "host": ["{{receiver_url}}"]},
            "body": {
                "mode": "raw",
                "raw": json.dumps(_EVENT, separators=(",", ":")),
                "options": {"raw": {"language": "json"}},
            },
            "description": "What Hookline sends, with a signature that your code can verify. Put the endpoint's secret "
            "into the variable `webhook_secret` and your address into `receiver_url`.",
        },
    }
