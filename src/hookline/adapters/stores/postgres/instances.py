"""The processes that share the database: who lives, and whose leases are nobody's (docs/reliability.md, rule 16)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from hookline.ports.clock import Clock

BEAT_S: Final = 2.0
SILENT_S: Final = 20.0
"""Whose beat stands still for so long of the watcher's own time, in which all of his statements succeeded, is dead."""
BEAT: Final = "UPDATE instances SET beat = beat + 1 WHERE id = $1 AND NOT dead RETURNING beat"
BEATS: Final = "SELECT id, beat FROM instances WHERE NOT dead"
BURY: Final = "UPDATE instances SET dead = true WHERE id = ANY ($1) AND NOT dead"
# A dead one's row goes when nothing is leased by it any more.
FORGET: Final = (
    "DELETE FROM instances i WHERE dead AND NOT EXISTS (SELECT 1 FROM open o WHERE o.owner = i.id AND o.state = 1)"
)
PULSE: Final = (
    "SELECT m.value AS registry_version, i.workers, i.first,"
    " coalesce((SELECT e.value FROM meta e WHERE e.name = 'erasures'), 0) AS erasures"
    " FROM meta m, (SELECT count(*) AS workers, min(id) AS first"
    " FROM instances WHERE delivers AND NOT dead) AS i WHERE m.name = 'registry_version'"
)
_OF_NAME: Final = "UPDATE instances SET dead = true WHERE name = $1 AND NOT dead"
_TAKEN: Final = "SELECT EXISTS (SELECT 1 FROM instances WHERE name = $1 AND NOT dead)"
_ENTER: Final = "INSERT INTO instances (name, delivers) VALUES ($1, $2) RETURNING id"


async def enter(connection: asyncpg.Connection[Any], name: str, *, delivers: bool) -> int:
    """Become one; an earlier one of this name is dead by that. Its number, which no other ever has."""
    async with connection.transaction():
        if name:
            await connection.execute(_OF_NAME, name)
        number: int = await connection.fetchval(_ENTER, name, delivers)
        return number


async def enter_again(connection: asyncpg.Connection[Any], name: str, *, delivers: bool) -> tuple[int, bool]:
    """Become another one, having been taken for dead. Its number, and whether the name is somebody else's by now: then
    it is one without a name, for two of a name would end each other for ever."""
    async with connection.transaction():
        taken: bool = bool(name) and await connection.fetchval(_TAKEN, name)
        number: int = await connection.fetchval(_ENTER, "" if taken else name, delivers)
        return number, taken


class Watch:
    """Watches the beats of the others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[int, tuple[int, float]] = {}

    def failed(self) -> None:
        """A statement failed: that nobody was seen to beat says nothing."""
        self._seen.clear()

    def silent(self, beats: Mapping[int, int], own: int) -> list[int]:
        """Those that have been silent for too long."""
        now_s = self._clock.monotonic_s()
        self._seen = {
            number: known if (known := self._seen.get(number)) is not None and known[0] == beat else (beat, now_s)
            for number, beat in beats.items()
            if number != own
        }
        return [number for number, (_, since_s) in self._seen.items() if now_s - since_s > SILENT_S]
