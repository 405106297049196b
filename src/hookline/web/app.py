"""The application: everything but the hot path, put together."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hookline.core.errors import HooklineError, Refusal
from hookline.flow.confirm import Confirm
from hookline.flow.deliveries import Deliveries
from hookline.flow.endpoints import Endpoints
from hookline.flow.event_types import EventTypes
from hookline.flow.keys import Keys
from hookline.flow.quarantine import Quarantine
from hookline.flow.reads import Reads
from hookline.flow.replays import Replays
from hookline.flow.sources import Sources
from hookline.flow.stream import Live
from hookline.flow.tenants import Tenants
from hookline.flow.try_out import TryOut
from hookline.flow.verification import Verification
from hookline.ports.observer import Observer
from hookline.version import __version__
from hookline.web.access import key_routes, tenant_routes
from hookline.web.auth import Authority
from hookline.web.backup import Backups, backup_routes
from hookline.web.client_address import Proxies
from hookline.web.confirm import confirm_routes
from hookline.web.door import Door
from hookline.web.errors import internal, not_found, problem_response, refusal_of
from hookline.web.gate import Gate, MethodsOf, allow, methods_by_path
from hookline.web.health import Metrics, Ready, health_routes
from hookline.web.history import delivery_routes, event_routes, publish_route
from hookline.web.inbound import Receiver, inbound_route
from hookline.web.limits import Limits
from hookline.web.manage import endpoint_routes, event_type_routes
from hookline.web.pages import page_routes
from hookline.web.publish import Publisher
from hookline.web.replays import replay_routes
from hookline.web.sources import source_routes
from hookline.web.stream import stream_routes
from hookline.web.verification import verification_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def build_app(
    *,
    authority: Authority,
    publisher: Publisher,
    endpoints: Endpoints,
    event_types: EventTypes,
    sources: Sources,
    quarantine: Quarantine,
    tenants: Tenants,
    keys: Keys,
    deliveries: Deliveries,
    replays: Replays,
    confirm: Confirm,
    try_out: TryOut,
    verification: Verification,
    ready: Ready,
    metrics: Metrics,
    observer: Observer,
    live: Live,
    backups: Backups,
    limits: Limits | None = None,
    receiver: Receiver | None = None,
    proxies: Proxies | None = None,
    public_url: str = "",
    reads: Reads | None = None,
) -> ASGIApp:
    """The ASGI application. It runs on any server; on `web.server.Front` publishing goes past it."""
    bounds = limits if limits is not None else Limits()
    reads = reads or Reads(None)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    door = Door(authority, bounds.manage_bytes_max)
    publish_route(app.router, authority, publisher, bounds.publish_bytes_max)
    event_routes(app.router, door, deliveries, reads)
    delivery_routes(app.router, door, deliveries, reads)
    replay_routes(app.router, door, replays)
    endpoint_routes(app.router, door, endpoints)
    event_type_routes(app.router, door, event_types, reads)
    source_routes(app.router, door, sources, quarantine)
    tenant_routes(app.router, door, tenants)
    key_routes(app.router, door, keys)
    confirm_routes(app.router, confirm)
    verification_routes(app.router, door, endpoints, try_out, verification)
    stream_routes(app.router, door, live)
    backup_routes(app.router, door, backups)
    if receiver is not None:
        inbound_route(app.router, receiver, proxies if proxies is not None else Proxies(), public_url)
    health_routes(app.router, ready, metrics)
    page_routes(app, __version__)
    methods_of = methods_by_path(app.routes)
    _handle_errors(app, methods_of, observer)
    return Gate(app, methods_of)


def build_worker_app(*, ready: Ready, metrics: Metrics, observer: Observer) -> ASGIApp:
    """The application of a process that only delivers: its health, and its metrics."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    health_routes(app.router, ready, metrics)
    methods_of = methods_by_path(app.routes)
    _handle_errors(app, methods_of, observer)
    return Gate(app, methods_of)


def _handle_errors(app: FastAPI, methods_of: MethodsOf, observer: Observer) -> None:
    @app.exception_handler(HooklineError)
    async def refused(_request: Request, error: HooklineError) -> Response:
        refusal = refusal_of(error)
        if refusal.status >= 500:
            observer.warn("request_failed", code=refusal.code, error=str(error))
        return problem_response(refusal)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return problem_response(not_found())
        if error.status_code == 405:
            detail = "This path does not have this method; Allow names those it has."
            headers = {"allow": allow(methods_of(request.scope["path"]))}
            return problem_response(Refusal("method_not_allowed", detail), headers)
        return problem_response(Refusal("malformed_request", "This request cannot be understood."))

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # to nobody

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # Where and what kind, never the text: it may hold a payload.
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        at = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
        observer.warn("request_crashed", method=request.method, error=type(error).__name__, at=at)
        return problem_response(internal())
