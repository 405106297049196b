"""Trying an endpoint out, verifying it, and the callback at which its receiver may consent."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.flow.endpoints import Endpoints
from hookline.flow.try_out import Trial, Tried, TryOut
from hookline.flow.verification import CALLBACK_PATH, Verification
from hookline.web.auth import MANAGE
from hookline.web.door import Door, answer, read_parameters
from hookline.web.operation import operation
from hookline.web.views import AttemptDocument, attempt_document, endpoint_document

_ENDPOINT_PATH = "/v1/endpoints/{endpoint}"


class TestedDocument(AttemptDocument, frozen=True, kw_only=True):
    """The attempt of a test, as in `/v1/deliveries/{id}/attempts`. It is stored nowhere."""

    success: bool
    """By the endpoint's own success rules."""


class Consented(msgspec.Struct, frozen=True):
    """The endpoint is active."""

    state: str


def verification_routes(
    router: APIRouter, door: Door, endpoints: Endpoints, try_out: TryOut, verification: Verification
) -> None:
    """The routes."""

    @router.post(
        _ENDPOINT_PATH + "/test",
        **operation(
            "Test",
            200,
            TestedDocument,
            path=("endpoint",),
            body=Trial,
            body_required=False,
            refuses=(409,),
            tag="endpoints",
        ),
    )
    async def test_endpoint(request: Request) -> Response:
        """Sends one event now, whatever the endpoint's state, and answers with the attempt; nothing is stored. An
        unverified endpoint gets no `data` of the caller's: 409."""
        visit = door.enter(request, MANAGE)
        body = await door.body(request)
        return answer(_tested(await try_out.run(visit.tenant, request.path_params["endpoint"], body)))

    @router.post(
        _ENDPOINT_PATH + "/verify",
        **operation("Verify", 200, "Endpoint", path=("endpoint",), refuses=(409,), tag="endpoints"),
    )
    async def verify_endpoint(request: Request) -> Response:
        """Asks its receiver (again) whether it wants to be one, as `verify` says; waits for at most 10 s."""
        visit = door.enter(request, MANAGE)
        return answer(endpoint_document(await endpoints.verify(visit.tenant, request.path_params["endpoint"])))

    async def consent(request: Request) -> Response:
        read_parameters(request, ())
        await verification.consent(request.path_params["token"], request.scope["headers"])
        return answer(Consented("active"))

    asked = operation("Consent", 200, Consented, path=("token",), refuses=(429, 503), tenant=False, tag="endpoints")
    path = CALLBACK_PATH + "{token}"

    @router.post(path, **asked)
    async def consent_by_post(request: Request) -> Response:
        """By the receiver, at the address that `WebHook-Request-Callback` gave him; `WebHook-Allowed-Rate` counts."""
        return await consent(request)

    @router.get(path, **asked)
    async def consent_by_get(request: Request) -> Response:
        """The same from a browser: CloudEvents' web hooks want it so."""
        return await consent(request)


def _tested(tried: Tried) -> TestedDocument:
    members = msgspec.structs.asdict(attempt_document(tried.view))
    return TestedDocument(**members, success=tried.success)
