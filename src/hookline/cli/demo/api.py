"""The demo's way to the program: its HTTP API, as anyone would use it."""

from __future__ import annotations

from typing import Any, Final

import httpx2

PAGE_ROWS: Final = 250


class Unexpected(Exception):
    """The program answered something else than it promises; the message is for a person."""


class Api:
    """One connection pool to the program, with the operator's key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}", "hookline-tenant": "default"},
            timeout=15.0,
            trust_env=False,
            limits=httpx2.Limits(max_connections=32, max_keepalive_connections=32),
        )

    async def publish(self, document: object) -> httpx2.Response:
        """The answer to a publish, whatever it is. Raises `httpx2.TransportError`."""
        return await self._http.post("/v1/events", json=document)

    async def call(self, method: str, path: str, document: object = None, params: dict[str, Any] | None = None) -> Any:
        """An answer that must be a success. Raises `Unexpected`."""
        try:
            response = await self._http.request(method, path, json=document, params=params)
        except httpx2.TransportError as error:
            raise Unexpected(f"{method} {path}: no answer ({type(error).__name__}: {error})") from error
        if not response.is_success:
            raise Unexpected(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response.json() if response.content else None

    async def rows(self, path: str, **params: str) -> list[dict[str, Any]]:
        """All rows of a list."""
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.call("GET", path, params={**params, **cursor, "limit": PAGE_ROWS})
            rows += page["data"]
            if page["next"] is None:
                return rows
            cursor = {"cursor": page["next"]}

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()
