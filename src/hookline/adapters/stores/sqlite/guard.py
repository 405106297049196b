"""What must be true of the place: one process, a local file system, room on the disk."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

from hookline.core.errors import StoreUnavailable
from hookline.ports.clock import Clock

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.curlftpfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)
"""File systems on which locks and shared memory are not what SQLite's WAL needs."""

DISK_CHECK_EVERY_S = 0.5
_ESCAPE = re.compile(r"\\([0-7]{3})")


def file_system(directory: str, mountinfo: str) -> str:
    """The type of the file system that `directory` (absolute, no links) is on, by the text of mountinfo (proc(5))."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        # Of equal mount points the last one hides the others.
        if inside and len(point) >= best:
            best, kind = len(point), right.split(" ", 1)[0]
    return kind


def refuse_network(path: str) -> None:
    """Raise `StoreUnavailable` when the database file would lie on a network file system."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux: cannot be known
        return
    kind = file_system(str(Path(path).resolve().parent), mountinfo)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreUnavailable(f"{path} is on a network file system ({kind}): SQLite needs a local disk")


def create_private(path: str) -> None:
    """Create the file, if there is none, for its owner only; SQLite gives the files beside it the same mode.

    Raises `StoreUnavailable`. Never called while this process has the file open: closing any descriptor of a file
    drops all locks that the process has on it (fcntl(2)).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}") from error


class FileLock:
    """One process writes a file: an flock on `<path>-lock`, given up by the kernel when the process ends."""

    def __init__(self, path: str) -> None:
        self._path = f"{path}-lock"
        self._descriptor = -1

    def take(self) -> None:
        """Hold the lock. Raises `StoreUnavailable` when another process has it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"the lock file {self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailable(f"another process has this database open (it holds {self._path})") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two processes hold two locks."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def free_bytes(directory: str) -> int:
    """How many bytes are free for us on the disk of `directory`."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


class DiskGuard:
    """Knows whether there is room left for new events, asking the disk at most every 0.5 s."""

    def __init__(self, path: str, clock: Clock, free_bytes_min: int, free: Callable[[str], int] = free_bytes) -> None:
        self._directory = str(Path(path).resolve().parent)
        self._clock = clock
        self.free_bytes_min = free_bytes_min
        self._free = free
        self._checked_s: float | None = None
        self._reason: str | None = None

    def reason(self) -> str | None:
        """Why nothing new may be accepted now, or None."""
        now_s = self._clock.monotonic_s()
        if self._checked_s is None or now_s - self._checked_s >= DISK_CHECK_EVERY_S:
            self._checked_s = now_s
            self._reason = self._look()
        return self._reason

    def _look(self) -> str | None:
        try:
            free = self._free(self._directory)
        except OSError as error:
            return f"the disk of {self._directory} cannot be asked: {error.strerror}"
        if free < self.free_bytes_min:
            return f"{free >> 20} MiB are free on the disk of {self._directory}, {self.free_bytes_min >> 20} are needed"
        return None
