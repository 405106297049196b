"""`/healthz`, `/readyz`, `/metrics`: for those who run this. No key is needed; nothing here tells of tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core.errors import Refusal
from hookline.web.door import answer, read_parameters
from hookline.web.operation import operation
from hookline.web.views import ReadyDocument

Ready = Callable[[str | None], Awaitable[str | None]]
"""Why this process is not ready, or None: store not writable or not durable, migrations missing, draining. Asked for
`in`, inbound webhooks alone, a store that is away is no reason while a spool takes requests."""
Metrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""The metrics page for an Accept header, and its content type."""


def health_routes(router: APIRouter, ready: Ready, metrics: Metrics) -> None:
    """The routes. A backlog never makes a process unready."""

    @router.get("/healthz", **operation("Alive", 200, ReadyDocument, tenant=False, tag="health"))
    async def healthz(request: Request) -> Response:
        """This process answers."""
        read_parameters(request, ())
        return answer(ReadyDocument("ok"))

    @router.get(
        "/readyz", **operation("Ready", 200, ReadyDocument, query=("for",), refuses=(503,), tenant=False, tag="health")
    )
    async def readyz(request: Request) -> Response:
        """This process takes requests: 503 with the reason when the store cannot be written, or it drains. `for=in`:
        inbound webhooks, which a spool may take meanwhile."""
        wanted = read_parameters(request, ("for",)).get("for")
        if wanted not in (None, "in"):
            raise Refusal("invalid_parameter", "for is: in.", extra={"parameter": "for"})
        reason = await ready(wanted)
        if reason is not None:
            raise Refusal("unavailable", reason, retry_after_s=1)
        return answer(ReadyDocument("ready"))

    @router.get("/metrics", include_in_schema=False)
    async def metrics_page(request: Request) -> Response:
        """Prometheus' text format."""
        read_parameters(request, ())
        page, media_type = await metrics(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": media_type})
