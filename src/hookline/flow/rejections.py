"""Rejections: what each source refused of late is noted in memory and written in the background.

Refusing costs no commit: under a flood of forged requests the newest few of each source are written once a second, and
the rest is only counted.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from hookline.core.errors import StoreUnavailable
from hookline.core.ids import IdMaker
from hookline.core.rejection import Rejection
from hookline.ports.observer import Observer
from hookline.ports.store import REJECTIONS_KEPT, RejectionRow, Store

FLUSH_S: Final = 1.0
NOTED_MAX: Final = 2_000
"""So many wait to be written, of all sources together: some megabytes."""
FLUSHED_MAX: Final = 200
"""So many go into one commit."""


class Rejections:
    """Told by `flow.receive` of every request that is refused."""

    def __init__(self, store: Store, id_maker: IdMaker, observer: Observer) -> None:
        self._store = store
        self._ids = id_maker
        self._observer = observer
        self._noted: dict[bytes, deque[RejectionRow]] = {}
        """By source, each the newest that are not written yet."""
        self._count = 0
        self._passed_over = 0

    def note(self, source_id: bytes, rejection: Rejection) -> None:
        """Remember a refused request of this source. Never waits and never raises."""
        row = RejectionRow(self._ids.make(self._store.now_ms()), source_id, rejection.pack())
        noted = self._noted.get(source_id)
        if noted is None:
            noted = self._noted[source_id] = deque()
        if len(noted) >= REJECTIONS_KEPT:
            noted.popleft()  # it would be pruned at once
            self._count -= 1
        elif self._count >= NOTED_MAX:
            self._passed_over += 1
            if not noted:
                del self._noted[source_id]
                return
            noted.popleft()
            self._count -= 1
        noted.append(row)
        self._count += 1

    async def flush(self) -> bool:
        """Write down what was noted; a step of `flow.upkeep`; whether there is more. Raises `StoreUnavailable`: then
        it is still noted."""
        rows: list[RejectionRow] = []
        for source_id in list(self._noted):
            noted = self._noted[source_id]
            while noted and len(rows) < FLUSHED_MAX:
                rows.append(noted.popleft())
            if not noted:
                del self._noted[source_id]
        if not rows:
            return False
        self._count -= len(rows)
        try:
            await self._store.add_rejections(rows)
        except BaseException:
            self._back(rows)
            raise
        if self._passed_over and not self._noted:
            self._observer.warn("rejections_passed_over", rejections=self._passed_over)
            self._passed_over = 0
        return bool(self._noted)

    def _back(self, rows: list[RejectionRow]) -> None:
        for row in reversed(rows):
            noted = self._noted.setdefault(row.source_id, deque())
            if len(noted) < REJECTIONS_KEPT and self._count < NOTED_MAX:
                noted.appendleft(row)
                self._count += 1
            elif not noted:
                del self._noted[row.source_id]

    async def close(self) -> None:
        """Write down what is noted, if the store takes it: the process ends."""
        try:
            while await self.flush():
                pass
        except StoreUnavailable as error:
            self._observer.warn("rejections_left", rejections=self._count, error=str(error))
