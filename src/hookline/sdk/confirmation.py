"""Saying that a delivery's work is done, or that it failed, at the address that the delivery brought along."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal

from hookline.sdk.errors import ConfirmationError
from hookline.sdk.exchange import ExchangeError, exchange

MESSAGE_CHARS_MAX: Final = 1024


def confirm(url: str | None, status: Literal["success", "error"], message: str | None, origins: Sequence[str]) -> bool:
    """Say it; whether it counted. Raises `ConfirmationError`.

    The address stands in a header, which no signature covers: so it is called only over https, or, where `origins`
    are given (`https://hooks.example.com`, `http://127.0.0.1:8400`), only there; no redirect is followed.
    """
    if url is None:
        raise ConfirmationError("not_asked", "This delivery asks for no confirmation.")
    said: dict[str, str] = {"status": status}
    if message:
        said["message"] = message[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode()
    headers = (("content-type", "application/json"), ("user-agent", "hookline-sdk"))
    try:
        answer = exchange(url, method="POST", headers=headers, body=json.dumps(said).encode(), origins=origins)
    except ExchangeError as error:
        raise ConfirmationError("address_refused" if error.is_refusal else "unreachable", str(error)) from None
    if answer.status != 200:
        raise ConfirmationError("refused", f"The confirmation was answered {answer.status}.")
    try:
        return bool(json.loads(answer.body)["applied"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ConfirmationError("refused", "What answered the confirmation is not Hookline.") from None


async def confirm_async(
    url: str | None, status: Literal["success", "error"], message: str | None, origins: Sequence[str]
) -> bool:
    """The same, in a thread. Raises `ConfirmationError`."""
    import asyncio

    return await asyncio.to_thread(confirm, url, status, message, origins)
