"""A copy of the file while it works (docs/reliability.md, rule 21).

The copy is stepped on the writer's own connection, 500 pages between two commits: what is written meanwhile goes into
the copy too, so that it never begins again, and is complete the moment the last step ends. The sqlite3 module knows no
single steps: it calls back between them, and there the writer serves its callers.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hookline.adapters.stores.sqlite import queries
from hookline.adapters.stores.sqlite.connection import error_code
from hookline.adapters.stores.sqlite.guard import free_bytes
from hookline.adapters.stores.sqlite.writer import Writer
from hookline.core.errors import Refusal, StoreUnavailable
from hookline.ports.store import BackupResult

PAGES_PER_STEP = 100
SERVE_S_MIN = 0.002
"""Between two steps the writer serves its callers for as long as the step took, and at least so long."""
COPY_CACHE_KIB = 1024
"""The last step writes all of it: no more than the other steps write."""
FLUSH_EVERY_BYTES = 32 * 1024 * 1024
"""How much of the copy the system may keep to itself: a commit's fsync can be made to wait for all of it."""
LOCKED_STEPS_MAX = 1000
"""So many steps in a row, a millisecond each, may find the copy locked by somebody else."""
RESTARTS_MAX = 20
"""It begins again when SQLite cannot tell what a rollback, or somebody else, has changed; so often at most."""
AS_OF = "backup_as_of_ms"
"""In the copy's `meta`: what was committed before this instant is in it."""
PARTIAL = ".partial"
_ENDINGS = ("", "-wal", "-shm", "-journal")


class Copy:
    """One backup. `run` blocks, and is for a thread of its own; `abort` ends it from any thread."""

    def __init__(
        self, source: str, target: str, writer: Writer, now_ms: Callable[[], int], disk_free_min_bytes: int
    ) -> None:
        self._source = source
        self._target = target
        self._writer = writer
        self._now_ms = now_ms
        self._disk_free_min_bytes = disk_free_min_bytes
        self._aborted = False
        self._as_of_ms = 0
        self._stepped_s = 0.0
        self._locked_steps = 0
        self._copied_pages = 0
        self.restarts = 0
        """How often it began again."""
        self.steps = 0
        """How many were made."""

    def abort(self) -> None:
        """End at the next step; nothing is left of the file."""
        self._aborted = True

    def run(self) -> BackupResult:
        """`Backup.backup`. Raises `Refusal` (`disk_full`; `invalid_parameter` where no new file can be made), or
        `StoreUnavailable`."""
        check_new(self._target)
        check_room(self._source, self._target, self._disk_free_min_bytes)
        with new_file(self._target) as partial:
            try:
                self._copy(partial)
            except sqlite3.Error as error:
                raise meaning(error, self._target) from error
            if self._aborted:
                raise _given_up()
            size_bytes = Path(partial).stat().st_size
        return BackupResult(size_bytes, self._as_of_ms)

    def _copy(self, partial: str) -> None:
        with closing(open_copy(partial)) as copy:
            with _flushed(partial):
                self._writer.between(lambda source: self._step_through(source, copy))
            make_plain(copy)
            copy.execute(queries.META_PUT, (AS_OF, self._as_of_ms))

    def _step_through(self, source: sqlite3.Connection, copy: sqlite3.Connection) -> None:
        """On the writer's thread, while no transaction runs."""
        self._stepped_s = time.monotonic()
        source.backup(copy, pages=PAGES_PER_STEP, progress=self._stepped, sleep=0.001)

    def _stepped(self, status: int, remaining: int, total: int) -> None:
        step_s = time.monotonic() - self._stepped_s
        self.steps += 1
        if status == sqlite3.SQLITE_DONE:
            self._as_of_ms = self._now_ms()
            return
        self._locked_steps = 0 if status == sqlite3.SQLITE_OK else self._locked_steps + 1
        if self._locked_steps > LOCKED_STEPS_MAX:
            raise StoreUnavailable(f"{self._target} is locked by somebody else")
        self.restarts += total - remaining < self._copied_pages
        self._copied_pages = total - remaining
        if self.restarts > RESTARTS_MAX:
            raise StoreUnavailable("the backup had to begin again too often: is somebody else writing the file?")
        if self._aborted:
            raise _given_up()
        self._writer.serve(max(SERVE_S_MIN, step_s))
        self._stepped_s = time.monotonic()


def _given_up() -> StoreUnavailable:
    return StoreUnavailable("the backup was given up", code="draining")


# ------------------------------------------------------------------------------------ files that are not used yet


def check_new(path: str) -> None:
    """Raise `Refusal` when there is something of this name."""
    if os.path.lexists(path):
        raise Refusal("invalid_parameter", f"{path} is there already.")


def check_room(source: str, target: str, disk_free_min_bytes: int) -> None:
    """Raise `Refusal` when the disk of `target` has no room for a copy of `source`; on the source's own disk it must
    also leave `disk_free_min_bytes`."""
    folder = Path(target).absolute().parent
    try:
        needed = sum(name.stat().st_size for name in (Path(source), Path(f"{source}-wal")) if name.exists())
        if folder.stat().st_dev == Path(source).stat().st_dev:
            needed += disk_free_min_bytes
        free = free_bytes(str(folder))
    except OSError as error:
        raise Refusal("invalid_parameter", f"{folder} is no place for a file: {error.strerror}.") from error
    if free < needed:
        detail = f"{free >> 20} MiB are free on the disk of {folder}; a copy needs {(needed >> 20) + 1}."
        raise Refusal("disk_full", detail, retry_after_s=60)


def open_copy(path: str) -> sqlite3.Connection:
    """A connection to a file that counts for nothing until it is whole: it is not journaled, and nothing is synced."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA cache_size = -{COPY_CACHE_KIB}")
    return connection


def make_plain(copy: sqlite3.Connection) -> None:
    """A copy has the source's header, which says WAL. Without it is one file, readable where nothing may be written."""
    copy.execute("PRAGMA journal_mode = DELETE").fetchone()


@contextmanager
def new_file(final: str) -> Iterator[str]:
    """The name of an empty file of mode 0600 to be written within the block; after it, what was written is on the disk
    under the name `final`, or nothing of it is left."""
    partial = final + PARTIAL
    try:
        _remove(partial)  # of a process that was killed
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Refusal("invalid_parameter", f"{partial} cannot be made: {error.strerror}.") from error
    try:
        yield partial
        _sync(partial)
        Path(partial).rename(final)
        sync_folder(final)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(final) from error
        raise StoreUnavailable(f"{final} cannot be written: {error.strerror}") from error
    finally:
        _remove(partial)


def sync_folder(path: str) -> None:
    """Make the names in the folder of `path` durable."""
    _sync(str(Path(path).absolute().parent))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    for ending in _ENDINGS:
        Path(path + ending).unlink(missing_ok=True)


def meaning(error: sqlite3.Error, target: str) -> Refusal | StoreUnavailable:
    """What an error of SQLite while `target` is written means to the caller."""
    if error_code(error) & 0xFF == sqlite3.SQLITE_FULL:
        return _full(target)
    return StoreUnavailable(f"{target} cannot be written: {error}")


def _full(target: str) -> Refusal:
    return Refusal("disk_full", f"The disk of {target} is full.", retry_after_s=60)


@contextmanager
def _flushed(path: str) -> Iterator[None]:
    """Within the block the system writes the file down as it grows, and not all of it at some commit's cost."""
    done = threading.Event()
    failures: list[OSError] = []
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def flush() -> None:
        flushed = 0
        try:
            while not done.wait(0.05):
                size_bytes = os.fstat(descriptor).st_size
                if size_bytes - flushed >= FLUSH_EVERY_BYTES:
                    os.fdatasync(descriptor)
                    flushed = size_bytes
        except OSError as error:  # the system tells it once: the fsync at the end may know nothing of it
            failures.append(error)

    thread = threading.Thread(target=flush, name="hookline-sqlite-backup", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        os.close(descriptor)
    if failures:
        raise failures[0]
