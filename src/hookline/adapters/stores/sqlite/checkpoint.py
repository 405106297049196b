"""Checkpoints in a thread of their own: pages go from the WAL to the file beside the writer.

In line they cost 230 to 450 ms of the 99th percentile. PASSIVE never waits for anybody. RESTART, only above 64 MiB,
lets the WAL begin again; the writer's own thread does it, between two commits, and waits 10 ms for readers at most
(docs/reliability.md, rule 20).

SQLite before 3.51.3 (3.50.7, 3.44.6) can lose committed pages when a commit begins the WAL again while a checkpoint
is starting (https://sqlite.org/wal.html#walresetbug). Here it cannot: every PASSIVE runs inside a read transaction of
a third connection. If that one reads from the WAL, no commit can begin the WAL again; if it reads from the file alone,
because all of the WAL is there already, the checkpoint cannot take the lock it needs and does nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing

from hookline.adapters.stores.sqlite.connection import hurried, is_io_error
from hookline.adapters.stores.sqlite.migrate import PAGE_BYTES
from hookline.adapters.stores.sqlite.readers import READ_S_MAX, Gate

STEP_BYTES = 4 * 1024 * 1024
EVERY_S = 1.0
RESTART_BYTES = 64 * 1024 * 1024
WAL_BYTES_MAX = 1024**3
"""Above it nothing new is accepted."""
RESTART_BUSY_MS = 10
SAID_AGAIN_S = 30.0
"""While the WAL cannot begin again, that is said so often."""
_FRAME_BYTES = PAGE_BYTES + 24
_BEGIN_READ = ("BEGIN", "SELECT 1 FROM sqlite_master LIMIT 1")

Between = Callable[[Callable[[sqlite3.Connection], bool]], bool]
"""Runs something on the writer's connection while no transaction does."""


class Checkpointer:
    """Keeps the WAL short: a PASSIVE checkpoint after each 4 MiB or second in which something was written.

    `stays_long` is called on this thread with the WAL's bytes when it is long and cannot begin again because somebody
    reads from it; at most every 30 s.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        guard: sqlite3.Connection,
        gate: Gate,
        between: Between,
        fatal: Callable[[str], None],
        *,
        restart_bytes: int = RESTART_BYTES,
        stays_long: Callable[[int], None] = lambda _wal_bytes: None,
    ) -> None:
        self._connection = connection
        self._guard = guard
        self._gate = gate
        self._between = between
        self._fatal = fatal
        self._restart_bytes = restart_bytes
        self._stays_long = stays_long
        self._say_at_s = 0.0
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
        """End the thread; waits for a running checkpoint. The writer must still run."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Move everything, leave an empty WAL, and close. Nobody else may use the file any more."""
        with closing(self._connection), closing(self._guard):
            self._checkpoint(self._connection, "TRUNCATE")

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
        self._passive()
        if self._log_bytes > self._restart_bytes:
            with self._gate.emptied(READ_S_MAX):
                self._passive()  # so that little is left to do while the writer waits
                if self._between(self._restart):
                    self._log_bytes = 0
                    self.restarts += 1
                    return
            # Our own readers were waited for: it is a stranger's snapshot, or one that takes its whole quarter second.
            now_s = time.monotonic()
            if now_s >= self._say_at_s:
                self._say_at_s = now_s + SAID_AGAIN_S
                self._stays_long(self.wal_bytes)

    def _restart(self, connection: sqlite3.Connection) -> bool:
        with hurried(connection, RESTART_BUSY_MS):
            return self._checkpoint(connection, "RESTART")

    def _passive(self) -> None:
        try:
            for sql in _BEGIN_READ:
                self._guard.execute(sql).fetchone()
            self._checkpoint(self._connection, "PASSIVE")
        except sqlite3.Error as error:
            # Not even reading is possible: the WAL holds everything, the next step tries again.
            if is_io_error(error):
                self._fatal(f"the checkpoint failed: {error}")
        finally:
            if self._guard.in_transaction:
                self._guard.execute("ROLLBACK")

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> bool:
        """Whether it did all it was to do."""
        try:
            busy, log_frames, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            if is_io_error(error):
                self._fatal(f"the checkpoint failed: {error}")
            return False  # locked for the moment, or the disk is full: the WAL holds everything, the next one tries
        self._log_bytes = max(0, log_frames) * _FRAME_BYTES
        return not busy
