"""`POST /v1/confirm/{token}`: what a receiver says of a delivery. The token is his proof; there is no key."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.flow.confirm import BYTES_MAX, Confirm, Confirmation
from hookline.web.door import answer, read_json, read_parameters
from hookline.web.operation import operation


class Confirmed(msgspec.Struct, frozen=True):
    """Whether it counted: false for what is too late, or was said already."""

    applied: bool


def confirm_routes(router: APIRouter, confirm: Confirm) -> None:
    """The route of confirmations. Nothing but POST confirms: who follows a link (a scanner, a preview) does not."""

    @router.post(
        "/v1/confirm/{token}",
        **operation(
            "Confirm",
            200,
            Confirmed,
            path=("token",),
            body=Confirmation,
            refuses=(429, 503),
            tenant=False,
            tag="deliveries",
        ),
    )
    async def confirm_delivery(request: Request) -> Response:
        """By the receiver, at the address that `hookline-confirm-url` gave him; no API key."""
        # Before anything else is looked at: whatever is sent with a token that is none, the answer is the same.
        delivery_id = confirm.delivery(request.path_params["token"])
        read_parameters(request, ())
        return answer(Confirmed(await confirm.confirm(delivery_id, await read_json(request, BYTES_MAX))))
