"""Checkpoints on a connection and in a thread of their own: pages go from the WAL to the file beside the writer.

In line they cost 230 to 450 ms of the 99th percentile. PASSIVE never waits for anybody; RESTART, only above 64 MiB,
lets the WAL begin again and stands the writer for 10 ms at most (docs/reliability.md, rule 20).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from hookline.adapters.stores.sqlite.connection import is_io_error
from hookline.adapters.stores.sqlite.migrate import PAGE_BYTES
from hookline.adapters.stores.sqlite.readers import READ_S_MAX, Gate

STEP_BYTES = 4 * 1024 * 1024
EVERY_S = 1.0
RESTART_BYTES = 64 * 1024 * 1024
WAL_BYTES_MAX = 1024**3
"""Above it nothing new is accepted."""
RESTART_BUSY_MS = 10
_FRAME_BYTES = PAGE_BYTES + 24


class Checkpointer:
    """Keeps the WAL short: a PASSIVE checkpoint after each 4 MiB or second in which something was written."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        gate: Gate,
        fatal: Callable[[str], None],
        *,
        restart_bytes: int = RESTART_BYTES,
    ) -> None:
        self._connection = connection
        self._gate = gate
        self._fatal = fatal
        self._restart_bytes = restart_bytes
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="hookline-sqlite-checkpoint", daemon=True)
        self._written = 0
        self._log_bytes = 0
        self.restarts = 0
        """How often the WAL was made to begin again."""

    @property
    def wal_bytes(self) -> int:
        """How long the WAL is, about: as the last checkpoint saw it, and what was written since."""
        return self._log_bytes + self._written

    def wrote(self, size_bytes: int) -> None:
        """The writer committed about so much. Never waits."""
        self._written += size_bytes
        if self._written >= STEP_BYTES:
            self._wake.set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread (waits for a running checkpoint), then move everything and leave an empty WAL."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._checkpoint("TRUNCATE")
        self._connection.close()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(EVERY_S)
            self._wake.clear()
            if self._written and not self._stopping:
                self.step()

    def step(self) -> None:
        """One PASSIVE checkpoint, and a RESTART after it when the WAL is long."""
        # What is written from here on counts for the next one, even if this one happens to see it.
        self._written = 0
        self._checkpoint("PASSIVE")
        if self._log_bytes > self._restart_bytes:
            with self._gate.emptied(READ_S_MAX):
                self._checkpoint("PASSIVE")
                if self._checkpoint("RESTART"):
                    self._log_bytes = 0
                    self.restarts += 1

    def _checkpoint(self, mode: str) -> bool:
        """Whether it did all it was to do."""
        try:
            busy, log_frames, _ = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            if is_io_error(error):
                self._fatal(f"the checkpoint failed: {error}")
            return False  # locked for the moment, or the disk is full: the WAL holds everything, the next one tries
        self._log_bytes = max(0, log_frames) * _FRAME_BYTES
        return not busy
