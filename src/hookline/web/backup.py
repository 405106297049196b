"""`GET /v1/backup`: a copy of the whole store, made beside it and sent as it is read from the disk.

The copy is complete before the answer begins, so a failure is an answer and not half a file. Its name is taken away
before the first byte is sent: whatever ends the sending, nothing of it is left. One at a time, its sending included,
so that at most one copy takes room on the disk.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hookline.core.errors import Conflict, Refusal
from hookline.core.page import format_time
from hookline.ports.observer import Observer
from hookline.ports.store import Backup, BackupResult
from hookline.web.auth import OPERATOR
from hookline.web.door import Door
from hookline.web.gate import HEAD_ASKED
from hookline.web.operation import operation

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PATH: Final = "/v1/backup"
MEDIA_TYPE: Final = "application/vnd.sqlite3"
AS_OF: Final = "hookline-as-of"
PIECE_BYTES: Final = 64 * 1024
_LEFT_BY_A_KILL: Final = ("", ".partial", ".partial-wal", ".partial-shm", ".partial-journal")


class Backups:
    """Makes the copies: at `path`, which is on the store's own disk and nobody else's. `store` None: it makes none, and
    `why_not` says what to do instead."""

    def __init__(self, store: Backup | None, path: str, observer: Observer, *, why_not: str = "") -> None:
        self._store = store
        self._why_not = why_not
        self._path = path
        self._observer = observer
        self._busy = False

    def clean(self) -> None:
        """Remove what a killed process has left. Called while this process has the store to itself."""
        if self._store is None:
            return
        for ending in _LEFT_BY_A_KILL:
            Path(self._path + ending).unlink(missing_ok=True)

    async def make(self, receive: Receive) -> Copy:
        """A copy, open and without a name; given up when the client goes away.

        Raises `Conflict` while another one is made or sent, `Refusal` `disk_full`, `not_supported`, `StoreUnavailable`.
        """
        if self._store is None:
            raise Refusal("not_supported", f"{self._why_not}.")
        if self._busy:
            raise Conflict("Another backup is being made or sent.", code="wrong_state")
        self._busy = True
        try:
            descriptor, result = await self._make(receive)
        except BaseException:
            self._busy = False
            raise
        self._observer.fact("backup_made", size_bytes=result.size_bytes, as_of=format_time(result.as_of_ms))
        return Copy(self, descriptor, result)

    async def _make(self, receive: Receive) -> tuple[int, BackupResult]:
        await asyncio.to_thread(self.clean)
        try:
            assert self._store is not None
            result = await _unless_gone(self._store.backup(self._path), receive)
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), result
        finally:
            self.clean()

    async def sent(self, descriptor: int) -> None:
        """The copy is not needed any more: its room on the disk is free again."""
        try:
            await asyncio.to_thread(os.close, descriptor)  # freeing gigabytes takes a while
        finally:
            self._busy = False


class Copy(Response):
    """The answer."""

    media_type = MEDIA_TYPE

    def __init__(self, backups: Backups, descriptor: int, result: BackupResult) -> None:
        as_of = format_time(result.as_of_ms)
        name = f"hookline-{as_of[:19].replace(':', '')}Z.db"
        headers = {
            "content-length": str(result.size_bytes),
            "content-disposition": f'attachment; filename="{name}"',
            AS_OF: as_of,
        }
        super().__init__(headers=headers)
        self._descriptor = descriptor
        self._backups = backups
        self._left = result.size_bytes

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, piece by piece, as fast as the client reads."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._left > 0 and not gone.done():
                piece = await asyncio.to_thread(os.read, self._descriptor, min(PIECE_BYTES, self._left))
                self._left = self._left - len(piece) if piece else 0
                if self._left == 0:  # before its last byte: whoever has read it can ask for the next
                    await self._end()
                await send({"type": "http.response.body", "body": piece, "more_body": self._left > 0})
        finally:
            await self._end()
            await _cancelled(gone)

    async def _end(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            await self._backups.sent(descriptor)


def backup_routes(router: APIRouter, door: Door, backups: Backups) -> None:
    """The route."""

    @router.get(PATH, **_operation())
    async def backup(request: Request) -> Response:
        """A copy of the whole database, made while everything goes on. `hookline.secret` is not in it."""
        door.enter(request, OPERATOR)
        if request.scope.get(HEAD_ASKED):
            return Response(media_type=MEDIA_TYPE)  # no copy for nobody
        return await backups.make(request.receive)


def _operation() -> dict[str, Any]:
    arguments = operation("Back up", 200, None, refuses=(409, 422), tag="backup")
    arguments["responses"][200] |= {
        "content": {MEDIA_TYPE: {"schema": {"description": "A SQLite database"}}},
        "headers": {
            "Hookline-As-Of": {
                "description": "What was committed before this time is in it (RFC 3339)",
                "schema": {"type": "string", "format": "date-time"},
            }
        },
    }
    return arguments


async def _unless_gone(work: Coroutine[Any, Any, BackupResult], receive: Receive) -> BackupResult:
    """The result of the work, which is cancelled when the client goes away. Raises `ClientDisconnect` then."""
    making = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ClientDisconnect
        return making.result()
    finally:
        await _cancelled(gone)
        await _cancelled(making)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """End a task whose result nobody wants any more, and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
