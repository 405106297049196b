"""A spool of files in a folder on a persistent volume: appended to, flushed, removed when drained.

    PATH/0/lock                 held by the process whose spool this is; a second process takes PATH/1, and so on
    PATH/0/<time>-<n>.spool     records (`adapters.spools.segment`)
    PATH/0/set-aside/           records that the store would not take, each a file of its own, and why

A process also takes over what lies in folders that nobody holds. All files are for their owner's eyes only: payloads
are in them as they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from hookline.adapters.spools import segment
from hookline.adapters.spools.segment import HEADER_BYTES, RECORD_HEAD_BYTES, SALT_BYTES, Place
from hookline.core.errors import SpoolUnavailable
from hookline.ports.clock import Clock
from hookline.ports.spool import Spooled, SpoolState

T = TypeVar("T")
SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A file of more is closed, and another one begun: what is drained is given back in steps of this."""
FOLDERS_MAX: Final = 256
ROOM_BYTES_MIN: Final = 64 * 1024
"""With less room it says that it takes nothing."""
SUFFIX: Final = ".spool"
SET_ASIDE: Final = "set-aside"


class _Segment(msgspec.Struct, eq=False):
    """A file; what of it waits, in order."""

    path: Path
    salt: bytes
    waiting: deque[Place]
    size_bytes: int
    descriptor: int | None = None
    """While it is written."""


class FileSpool:
    """`ports.spool.Spool` below `path`, with at most `bytes_max` of files. `warn` is told what a person should see."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        bytes_max: int,
        warn: Callable[[str, str], None] = lambda _name, _detail: None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._bytes_max = bytes_max
        self._warn = warn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hookline-spool")
        self._locks: list[int] = []
        self._folder = path
        self._segments: deque[_Segment] = deque()
        self._writing: _Segment | None = None
        self._made = 0
        self._size_bytes = 0
        self._set_aside = 0
        self._open = False
        self._failed = False
        self._state = SpoolState()

    # -------------------------------------------------------------------------------------------- the port

    async def start(self) -> None:
        """See `Spool`."""
        await self._in_thread(self._start)

    async def append(self, at_ms: int, payloads: Sequence[bytes]) -> int:
        """See `Spool`."""
        return await self._in_thread(lambda: self._append(at_ms, payloads))

    async def oldest(self, records_max: int, bytes_max: int) -> Sequence[Spooled]:
        """See `Spool`."""
        return await self._in_thread(lambda: self._oldest(records_max, bytes_max))

    async def remove(self, records: Sequence[Spooled]) -> None:
        """See `Spool`."""
        await self._in_thread(lambda: self._remove(records))

    async def set_aside(self, record: Spooled, why: str) -> None:
        """See `Spool`."""
        await self._in_thread(lambda: self._put_aside(record, why))

    @property
    def state(self) -> SpoolState:
        """See `Spool`."""
        return self._state

    @property
    def takes(self) -> bool:
        """See `Spool`."""
        return self._open and not self._failed and self._size_bytes + ROOM_BYTES_MIN <= self._bytes_max

    async def close(self) -> None:
        """See `Spool`."""
        if self._open:
            self._open = False
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def run() -> T:
            try:
                return work()
            except OSError as error:
                raise SpoolUnavailable(f"the spool in {self._path} fails: {error.strerror or error}") from error
            finally:
                self._state = self._counted()

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _counted(self) -> SpoolState:
        first = next((one.waiting[0].at_ms for one in self._segments if one.waiting), None)
        return SpoolState(sum(len(one.waiting) for one in self._segments), self._size_bytes, first, self._set_aside)

    # ---------------------------------------------------------------------------------------- beginning and end

    def _start(self) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        own: Path | None = None
        for number in range(FOLDERS_MAX):
            folder = self._path / str(number)
            if own is not None and not any(folder.glob(f"*{SUFFIX}")):
                continue
            if self._lock(folder):
                own = own or folder
                self._read(folder)
        if own is None:
            raise SpoolUnavailable(f"{self._path} has no folder that another process does not hold")
        self._folder = own
        self._segments = deque(sorted(self._segments, key=lambda one: one.path.name))
        self._open = True

    def _lock(self, folder: Path) -> bool:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._locks.append(descriptor)
        return True

    def _read(self, folder: Path) -> None:
        """Find what waits in a folder."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            data = path.read_bytes()
            found = list(segment.places(data))
            damaged = sum(one for one in found if isinstance(one, int))
            if damaged:
                # After a crash this is what was being written and was never answered.
                self._warn("spool_torn", f"{path}: {damaged} bytes are no record")
            waiting = deque(one for one in found if isinstance(one, Place))
            if not waiting:
                path.unlink()
                continue
            self._segments.append(_Segment(path, segment.salt_of(data) or b"", waiting, len(data)))
            self._size_bytes += len(data)
        aside = list((folder / SET_ASIDE).glob(f"*{SUFFIX}"))
        self._set_aside += len(aside)
        self._size_bytes += sum(path.stat().st_size for path in aside)

    def _close(self) -> None:
        self._close_writing()
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()

    # ------------------------------------------------------------------------------------------------- writing

    def _append(self, at_ms: int, payloads: Sequence[bytes]) -> int:
        if not self._open:
            raise SpoolUnavailable("the spool is closed")
        try:
            return self._written(at_ms, payloads)
        except OSError:
            # What was being written may be there or not, and after a failed flush nobody knows: another file is begun.
            self._failed = True
            self._give_up_writing()
            raise

    def _written(self, at_ms: int, payloads: Sequence[bytes]) -> int:
        one = self._writing
        if one is None or one.size_bytes >= SEGMENT_BYTES:
            self._close_writing()
            if self._size_bytes + HEADER_BYTES > self._bytes_max:
                return 0
            one = self._begin(at_ms)
        assert one.descriptor is not None
        blob, places, offset = bytearray(), list[Place](), one.size_bytes
        for payload in payloads:
            place = Place(offset, at_ms, len(payload))
            if self._size_bytes + place.end - one.size_bytes > self._bytes_max:
                break
            try:
                blob += segment.encode(one.salt, offset, at_ms, payload)
            except ValueError:
                break
            places.append(place)
            offset = place.end
        if places:
            _write(one.descriptor, blob)
            os.fsync(one.descriptor)
            self._size_bytes += offset - one.size_bytes
            one.size_bytes = offset
            one.waiting.extend(places)
        self._failed = False
        return len(places)

    def _begin(self, at_ms: int) -> _Segment:
        path = self._free(self._folder, at_ms)
        one = _Segment(path, self._clock.random_bytes(SALT_BYTES), deque(), 0)
        one.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._writing = one
        _write(one.descriptor, segment.header(one.salt))
        os.fsync(one.descriptor)
        _flush_folder(self._folder)
        one.size_bytes = HEADER_BYTES
        self._size_bytes += HEADER_BYTES
        self._segments.append(one)
        return one

    def _close_writing(self) -> None:
        one, self._writing = self._writing, None
        if one is not None and one.descriptor is not None:
            os.close(one.descriptor)
            one.descriptor = None
            if not one.waiting:
                self._unlink(one)

    def _give_up_writing(self) -> None:
        one, self._writing = self._writing, None
        if one is None or one.descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(one.descriptor, one.size_bytes)
        with contextlib.suppress(OSError):
            os.close(one.descriptor)
        one.descriptor = None
        if not one.waiting:
            self._unlink(one)

    # ------------------------------------------------------------------------------------------------- draining

    def _oldest(self, records_max: int, bytes_max: int) -> list[Spooled]:
        found: list[Spooled] = []
        size_bytes = 0
        for one in tuple(self._segments):
            for place in tuple(one.waiting):
                if len(found) == records_max or (found and size_bytes + place.payload_bytes > bytes_max):
                    return found
                payload = self._payload(one, place)
                if payload is None:
                    # It was whole when it was written, or read at the start: the disk has lost it.
                    one.waiting.remove(place)
                    self._warn("spool_damaged", f"{one.path}: the record at {place.offset} cannot be read any more")
                    continue
                found.append(Spooled(place.at_ms, payload, (one, place)))
                size_bytes += place.payload_bytes
        return found

    def _payload(self, one: _Segment, place: Place) -> bytes | None:
        with one.path.open("rb") as file:
            file.seek(place.offset)
            data = file.read(RECORD_HEAD_BYTES + place.payload_bytes)
        whole = segment.payload_at(one.salt, data, place.offset, place.offset)
        return None if whole is None else whole[1]

    def _remove(self, records: Sequence[Spooled]) -> None:
        touched: dict[int, _Segment] = {}
        for record in records:
            assert isinstance(record.token, tuple)
            one, place = record.token
            with contextlib.suppress(ValueError):
                one.waiting.remove(place)
            touched[id(one)] = one
        for one in touched.values():
            if one.waiting:
                continue
            if one is self._writing:
                self._close_writing()
            else:
                self._unlink(one)

    def _free(self, folder: Path, at_ms: int) -> Path:
        """The path of a file that is not there."""
        while True:
            self._made += 1
            path = folder / f"{at_ms:013d}-{self._made:06d}{SUFFIX}"
            if not path.exists():
                return path

    def _unlink(self, one: _Segment) -> None:
        with contextlib.suppress(ValueError):
            self._segments.remove(one)
            self._size_bytes -= one.size_bytes
        try:
            one.path.unlink(missing_ok=True)
        except OSError as error:  # then it is drained again at the next start, and known to be there
            self._warn("spool_not_removed", f"{one.path}: {error.strerror}")

    def _put_aside(self, record: Spooled, why: str) -> None:
        folder = self._folder / SET_ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        path = self._free(folder, record.at_ms)
        salt = self._clock.random_bytes(SALT_BYTES)
        blob = segment.header(salt) + segment.encode(salt, HEADER_BYTES, record.at_ms, record.payload)
        for file, data in ((path.with_suffix(".txt"), why.encode("utf-8", "replace") + b"\n"), (path, blob)):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _flush_folder(folder)
        self._set_aside += 1
        self._size_bytes += len(blob)
        assert isinstance(record.token, tuple)
        one, place = record.token
        descriptor = os.open(one.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, segment.OVER, place.offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._remove([record])


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _flush_folder(folder: Path) -> None:
    """What was made in it must be found after a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
