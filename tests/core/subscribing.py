"""Endpoints as clients write them, for the tests of subscribing."""

from __future__ import annotations

import json
from typing import Any

from hookline.core.endpoint import AuthSpec, Endpoint, EndpointSpec, EndpointState, Secrets, SigningKey
from hookline.core.subscribe import build_endpoint, check_spec, parse_spec

URL = "https://example.com/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FULL: dict[str, Any] = {
    "url": "https://example.com:8443/hook?a=1",
    "kind": "http",
    "uid": "customer-7:main",
    "event_types": ["order.*", "user.created"],
    "filter": {"data.total": {"$gt": 100}},
    "method": "PUT",
    "format": "cloudevents",
    "headers": {"X-Custom": "a b"},
    "auth": {"kind": "bearer", "token": "s3cret-token"},
    "secret": SECRET,
    "retry": {"schedule_s": [1, 2], "on": {"4xx": "fail"}},
    "success_when": {"status": [200]},
    "rate": {"n": 10, "per_s": 2, "burst": 20},
    "timeout_s": 5,
    "concurrency_max": 4,
    "order": {"by": "key", "when_failed": "skip"},
    "response_bytes_max": 0,
    "description": "The shop's\nmain endpoint",
    "metadata": {"team": "payments ☃"},
}


def parse(**members: object) -> EndpointSpec:
    """A spec as a client would create it, fully checked."""
    spec = parse_spec(json.dumps({"url": URL, **members}).encode())
    check_spec(spec)
    return spec


def build(spec: EndpointSpec, auth: AuthSpec | None = None) -> Endpoint:
    """The endpoint of a spec."""
    return build_endpoint(
        id=b"endpoint-id.",
        tenant="acme",
        uid=spec.uid,
        version=7,
        state=EndpointState.ACTIVE,
        spec=spec,
        secrets=Secrets([SigningKey(SECRET)], auth),
    )
