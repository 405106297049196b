"""Copies of the file, on SQLite: `ports.store.Backup`."""

from __future__ import annotations

import asyncio

from hookline.adapters.stores.sqlite import restore
from hookline.adapters.stores.sqlite.backup import Copy
from hookline.adapters.stores.sqlite.foundation import SqliteBase
from hookline.core.errors import Conflict, StoreUnavailable
from hookline.ports.store import BackupResult


class BackupPart(SqliteBase):
    """Copies of the file, on SQLite: `ports.store.Backup`."""

    _copy: Copy | None = None
    _copying: asyncio.Future[BackupResult] | None = None

    async def backup(self, path: str) -> BackupResult:
        """`Backup.backup`. Cancelled, it ends at the next step, and returns when nothing of the file is left."""
        if self._writer is None or self._connection is None:
            raise StoreUnavailable("the store is not started")
        if self._copy is not None:
            raise Conflict("another backup is running", code="wrong_state")
        copy = self._copy = Copy(self.path, path, self._writer, self.now_ms, self._disk.free_bytes_min)
        copying = self._copying = asyncio.ensure_future(asyncio.to_thread(copy.run))
        copying.add_done_callback(self._copied)
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            await self._give_up()
            raise

    def _copied(self, copying: asyncio.Future[BackupResult]) -> None:
        self._copy = self._copying = None
        if not copying.cancelled():
            copying.exception()  # it belongs to whoever waits for the backup, if he still does

    async def _give_up(self) -> None:
        """End the backup that runs, if any, and wait until nothing is left of it."""
        while self._copy is not None and self._copying is not None:
            self._copy.abort()
            await asyncio.wait([self._copying])

    async def stop(self) -> None:
        """`Store.stop`: a running backup is given up."""
        await self._give_up()
        await super().stop()

    restore = staticmethod(restore.restore)
