"""A database made of a backup (docs/reliability.md, rule 21). No event loop: it is what a command does, and waits."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from hookline.adapters.stores.sqlite import migrate, queries
from hookline.adapters.stores.sqlite.backup import (
    AS_OF,
    check_new,
    check_room,
    make_plain,
    meaning,
    new_file,
    open_copy,
    sync_folder,
)
from hookline.adapters.stores.sqlite.connection import open_reader
from hookline.adapters.stores.sqlite.guard import FileLock, refuse_network
from hookline.adapters.stores.sqlite.record import release
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.errors import Refusal, StoreUnavailable

RESTORED = "restored_ms"
"""In `meta`: when this file was made of a backup."""
REPLACED = ".replaced"
_ENDINGS = ("", "-wal", "-shm", "-journal")
FAULTS_TOLD_MAX = 3
LEASES_PER_STEP = 1000


class Restored(NamedTuple):
    """What a restore made."""

    as_of_ms: int
    """What was committed later is missing."""
    kept: str | None
    """The path under which the database that was there is kept; None: there was none."""


def restore(source: str, target: str, *, replace: bool = False) -> Restored:
    """Make the database `target` of the backup `source`. What was committed after its `as_of_ms` is missing, and what
    was delivered later may be delivered again.

    Leases are void: what was being delivered is pending. Ids and the clock go on above everything that the backup, and
    a database that is replaced, know of; positions in the stream begin anew. With `replace` a database that is there
    is kept, its name ending in `.replaced`, or `.replaced-2` and so on: nothing that was kept before is touched.

    Raises `Refusal` (`invalid_parameter`: there is a database and it is not to be replaced, or there is no backup;
    `disk_full`), or `StoreUnavailable` (a process has the target open; the source is damaged, no database of Hookline,
    or a newer one's; the target cannot be written). After any of them the target is as it was.
    """
    if not Path(source).is_file():
        raise Refusal("invalid_parameter", f"{source} is no file.")
    if Path(target).exists() and Path(target).samefile(source):
        raise Refusal("invalid_parameter", f"{source} and {target} are the same file.")
    refuse_network(target)
    if not replace:
        check_new(target)
    check_room(source, target, 0)
    lock = FileLock(target)
    lock.take()
    try:
        return _restore(source, str(Path(target).resolve()))  # of a link, what it names
    finally:
        lock.release()


def _restore(source: str, target: str) -> Restored:
    fresh = target + ".restored"
    try:
        with new_file(fresh) as partial, closing(open_copy(partial)) as copy:
            _read_into(copy, source)
            make_plain(copy)
            as_of_ms = _begin_anew(copy, _latest_known_ms(target))
    except sqlite3.Error as error:
        raise meaning(error, target) from error
    try:
        kept = _put_aside(target)
        Path(fresh).rename(target)
        sync_folder(target)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be replaced: {error.strerror}; {fresh} is what it would be") from error
    return Restored(as_of_ms, kept)


def _latest_known_ms(path: str) -> int:
    """The latest instant that a database knows of; 0 where there is none, or none that can be read."""
    if not Path(path).exists():
        return 0
    beside = [Path(path + ending) for ending in ("-wal", "-shm")]
    made = [name for name in beside if not name.exists()]
    try:
        with closing(open_reader(path)) as connection:
            return _latest_ms(connection)
    except (sqlite3.Error, TypeError):  # being damaged is why it is replaced
        return 0
    finally:
        for name in made:  # by reading
            name.unlink(missing_ok=True)


def _latest_ms(connection: sqlite3.Connection) -> int:
    stored_ms: int = connection.execute(queries.META, ("clock_ms",)).fetchone()[0]
    newest = connection.execute(queries.NEWEST_IDS).fetchone()
    return max(stored_ms, *(ids.time_ms(identifier) + 1 for identifier in newest if identifier is not None), 0)


def _read_into(copy: sqlite3.Connection, source: str) -> None:
    """Copy the backup, and check the copy whole. Raises `StoreUnavailable`."""
    try:
        with closing(open_reader(source)) as backup:
            if not any(migration.applied for migration in migrate.status(backup)):
                raise StoreUnavailable(f"{source} is no database of Hookline")
            backup.backup(copy)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{source} cannot be read: {error}") from error
    try:
        faults = [row[0] for row in copy.execute(f"PRAGMA quick_check({FAULTS_TOLD_MAX})")]
    except sqlite3.Error as error:
        faults = [str(error)]
    if faults != ["ok"]:
        raise StoreUnavailable(f"{source} is damaged: {'; '.join(faults)}")


def _begin_anew(copy: sqlite3.Connection, known_ms: int) -> int:
    """Void what belonged to the processes of before; the `as_of_ms` of the backup."""
    latest_ms = _latest_ms(copy)
    found = copy.execute(queries.META, (AS_OF,)).fetchone()
    # A file that was copied by other means does not say; it knows of nothing later than this.
    as_of_ms: int = latest_ms if found is None else found[0]
    now_ms = max(latest_ms, known_ms, time.time_ns() // 1_000_000)
    while _release_some(copy, now_ms):
        pass
    copy.execute(queries.BEGIN)
    copy.execute(queries.META_RAISE, (now_ms, "clock_ms"))
    copy.execute(queries.META_PUT, (AS_OF, as_of_ms))
    copy.execute(queries.META_PUT, (RESTORED, now_ms))
    # In a file of before the streams there is none: its migration makes one.
    copy.execute(queries.META_SET, (int.from_bytes(os.urandom(4), "big"), "stream_epoch"))
    copy.execute(queries.COMMIT)
    return as_of_ms


def _release_some(copy: sqlite3.Connection, now_ms: int) -> bool:
    """Make some of what is leased pending, with the books; whether there was any."""
    leases = copy.execute(queries.LEASED_SOME, (LEASES_PER_STEP,)).fetchall()
    if leases:
        copy.execute(queries.BEGIN)
        transaction = Transaction(copy, now_ms)
        release(transaction, leases)
        transaction.finish()
        copy.execute(queries.COMMIT)
    return bool(leases)


def _put_aside(path: str) -> str | None:
    """Keep what is there, with its log, under a name that nothing has: beside the new file its log would be taken for
    its own. That name, if there was a database."""
    aside = next(name for name in _names_aside(path) if not any(os.path.lexists(name + end) for end in _ENDINGS))
    for ending in ("-shm", "-journal"):
        Path(path + ending).unlink(missing_ok=True)
    existed = Path(path).exists()
    for ending in ("-wal", ""):
        with suppress(FileNotFoundError):
            Path(path + ending).rename(aside + ending)
    return aside if existed else None


def _names_aside(path: str) -> Iterator[str]:
    yield path + REPLACED
    yield from (f"{path}{REPLACED}-{number}" for number in count(2))
