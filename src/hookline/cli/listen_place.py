"""Where `hookline listen` is in a source's events, in a file of this machine: written after each event, so that what
was stopped or killed goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hookline.cli.exits import CommandError, ExitCode, usage

RECENT_MAX: Final = 500
"""So many ids of events that were forwarded last are remembered: where a list and the stream overlap, none of them
comes twice."""


@dataclass(slots=True)
class Place:
    """What is remembered."""

    source_id: str
    position: str = ""
    """Of the stream: reading goes on behind it."""
    since: str | None = None
    """All of the source from this time on, up to `position`, is still to be forwarded from the list; empty: all."""
    at: str = ""
    """When the last event that was forwarded (or was there when it began) had been accepted."""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))

    def done(self, event_id: str, accepted_at: str) -> None:
        """This event was forwarded."""
        self.recent.append(event_id)
        self.at = max(self.at, accepted_at)


class PlaceFile:
    """The file. One process at a time has it, from `held` on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others out. Raises `CommandError` where another one forwards the same, or the folder cannot be used."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise usage(f"{self.path} cannot be used ({error.strerror}); name another file with --state") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CommandError(
                    f"another hookline listen has {self.path}: end it, or name another file with --state",
                    ExitCode.REFUSED,
                ) from None
            yield
        finally:
            os.close(lock)

    def read(self, source_id: str) -> Place | None:
        """What it says of this source; None where there is no file. Raises `CommandError` for one that says nothing
        of it: to begin anew without being asked would be to miss something."""
        try:
            found = json.loads(self.path.read_bytes())
            place = Place(
                found["source_id"],
                found["position"],
                found["since"],
                found["at"],
                deque(found["recent"], maxlen=RECENT_MAX),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise usage(f"{self.path} cannot be read as a place; --since begins anew") from None
        if place.source_id != source_id:
            raise usage(f"{self.path} is of another source ({place.source_id}); --since begins anew")
        return place

    def write(self, place: Place) -> None:
        """Whole or not at all."""
        document = {
            "source_id": place.source_id,
            "position": place.position,
            "since": place.since,
            "at": place.at,
            "recent": list(place.recent),
        }
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError as error:
            raise CommandError(f"{self.path} cannot be written: {error.strerror}", ExitCode.REFUSED) from None


def usual_file(server: str, source_id: str) -> PlaceFile:
    """One per server and source, where this user's programs keep their state."""
    folder = os.environ.get("XDG_STATE_HOME", "").strip() or str(Path.home() / ".local" / "state")
    name = hashlib.sha256(f"{server}\n{source_id}".encode()).hexdigest()[:16]
    return PlaceFile(Path(folder) / "hookline" / f"listen-{name}.json")
