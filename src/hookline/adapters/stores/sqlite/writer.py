"""The one writer: a thread that owns the connection and commits together whatever arrived meanwhile.

Group commit (docs/reliability.md, rules 1, 3 and 4): the jobs that came during the last fsync share the next one. A job
that fails by its own data harms only its own caller: the shared transaction is rolled back and each job runs alone.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from hookline.adapters.stores.sqlite import queries
from hookline.adapters.stores.sqlite.connection import is_io_error, translate
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.errors import Conflict, NotFound, StaleRegistry, StoreUnavailable

T = TypeVar("T")

ITEMS_PER_COMMIT_MAX = 1000
BYTES_PER_COMMIT_MAX = 4 * 1024 * 1024
WAL_BYTES_PER_COMMIT = 100 * 1024
"""What a commit writes beside its payload, about: the pages it touches, 8 KiB each."""
EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits(3): the process cannot go on."""


def end_process(reason: str) -> None:
    """A failed fsync: what is on the disk is not known any more, and only a new start can find out."""
    os.write(2, f"hookline: {reason}; ending, so that the next start reads what the disk really has\n".encode())
    os._exit(EXIT_STATUS)


class _Job:
    __slots__ = ("bytes", "error", "future", "items", "result", "work")

    def __init__(
        self, work: Callable[[Transaction], Any], future: asyncio.Future[Any], items: int, size_bytes: int
    ) -> None:
        self.work = work
        self.future = future
        self.items = items
        self.bytes = size_bytes
        self.result: Any = None
        self.error: Exception | None = None


class _Between:
    """Something to do on the connection while no transaction runs."""

    __slots__ = ("call", "done")

    def __init__(self, call: Callable[[sqlite3.Connection], Any]) -> None:
        self.call = call
        self.done: Future[Any] = Future()

    def run(self, connection: sqlite3.Connection) -> None:
        try:
            self.done.set_result(self.call(connection))
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the caller: this thread must live on
            self.done.set_exception(error)


class Writer:
    """Runs jobs (functions of a `Transaction`) in shared transactions, each durable before its caller goes on."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        now_ms: Callable[[], int],
        *,
        wrote: Callable[[int], None],
        fatal: Callable[[str], None] = end_process,
    ) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._wrote = wrote
        self._fatal = fatal
        self._jobs: queue.SimpleQueue[_Job | _Between | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="hookline-sqlite-writer", daemon=True)
        self._stopping = False
        self._serving = False
        self.failure: str | None = None
        """Why the last commit could not be written; None: it was."""
        self.commits = 0
        """Shared transactions committed so far."""

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    async def stop(self) -> None:
        """Run what is queued, then end the thread."""
        if not self._stopping:
            self._stopping = True
            self._jobs.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def run(self, work: Callable[[Transaction], T], *, items: int = 1, size_bytes: int = 0) -> T:
        """The result of `work` once it is durable. `items` and `size_bytes` say how much of a commit it takes.

        Raises what the job raised (its refusal or `DataError`), or `StoreUnavailable`; then nothing of it is stored.
        """
        if self._stopping:
            raise StoreUnavailable("the store is stopped", code="draining")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, future, items, size_bytes))
        return await future

    def between(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `call`, run on the writer's thread while no transaction does; what comes meanwhile waits.

        Called from another thread, and not after `stop`.
        """
        job = _Between(call)
        self._jobs.put(job)
        result: T = job.done.result()
        return result

    def serve(self, for_s: float) -> None:
        """Within a long call of `between`: do what comes within `for_s` seconds, one piece of work at least if any
        waits. Raises `StoreUnavailable` when the writer is to end: then the call must end too."""
        until_s = time.monotonic() + for_s
        left_s = for_s
        self._serving = True
        try:
            while left_s >= 0:
                if not self._take(self._jobs.get(timeout=left_s)):
                    self._jobs.put(None)  # for `_run`
                    raise StoreUnavailable("the store is stopping", code="draining")
                left_s = until_s - time.monotonic()
        except queue.Empty:
            pass
        finally:
            self._serving = False

    def _run(self) -> None:
        while self._take(self._jobs.get()):
            pass

    def _take(self, job: _Job | _Between | None) -> bool:
        """Do a piece of work with all that can share its commit; False: it was the end."""
        if isinstance(job, _Job):
            job = self._share(job)
        if isinstance(job, _Between):
            job.run(self._connection)
        return job is not None

    def _share(self, job: _Job) -> _Job | _Between | None:
        """Commit a job with those that wait, up to the bounds; returns what came next, if that is no such job."""
        jobs = [job]
        items, size_bytes = job.items, job.bytes
        following: _Job | _Between | None = job
        while items < ITEMS_PER_COMMIT_MAX and size_bytes < BYTES_PER_COMMIT_MAX:
            try:
                following = self._jobs.get_nowait()
            except queue.Empty:
                break
            if not isinstance(following, _Job):
                break
            jobs.append(following)
            items += following.items
            size_bytes += following.bytes
        self._commit(jobs)
        self._tell(jobs)
        self._wrote(WAL_BYTES_PER_COMMIT + size_bytes)
        return following

    def _tell(self, jobs: Sequence[_Job]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, jobs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def _commit(self, jobs: Sequence[_Job]) -> None:
        error = self._together(jobs)
        if error is None:
            return
        if len(jobs) == 1:
            jobs[0].error = error
            return
        for job in jobs:
            job.error = job.result = None
            failed = self._together([job])
            if failed is not None:
                job.error = failed

    def _together(self, jobs: Sequence[_Job]) -> Exception | None:
        """One transaction of `jobs`. Returns why it was rolled back, or None: it is committed."""
        connection = self._connection
        committing = False
        try:
            connection.execute(queries.BEGIN)
            if self._serving:
                connection.execute(queries.SAVEPOINT)
            transaction = Transaction(connection, self._now_ms())
            for job in jobs:
                changes = connection.total_changes
                try:
                    job.result = job.work(transaction)
                except (StaleRegistry, NotFound, Conflict) as refusal:
                    if connection.total_changes != changes:  # it had written: the others must not commit that
                        raise
                    job.error = refusal
            transaction.finish()
            committing = True
            connection.execute(queries.COMMIT)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the caller: this thread must live on
            if committing and is_io_error(error):
                self._fatal(f"the commit failed: {error}")
            return self._rolled_back(error)
        self.failure = None
        self.commits += 1
        return None

    def _rolled_back(self, error: Exception) -> Exception:
        connection = self._connection
        if self._serving and connection.in_transaction:
            # A backup begins again when a transaction is rolled back, but not when one ends with nothing done.
            with suppress(sqlite3.Error):
                connection.execute(queries.ROLLBACK_TO)
                connection.execute(queries.COMMIT)
        if connection.in_transaction:
            try:
                connection.execute(queries.ROLLBACK)
            except sqlite3.Error as second:
                self.failure = str(second)
        meaning = translate(error)
        if isinstance(meaning, StoreUnavailable):
            self.failure = str(meaning)
        if meaning is None:
            return error
        if meaning is not error:
            meaning.__cause__ = error
        return meaning


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # its caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
