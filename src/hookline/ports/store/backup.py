"""A copy of the store while it works."""

from __future__ import annotations

from typing import Protocol

import msgspec


class BackupResult(msgspec.Struct, frozen=True):
    """A finished backup."""

    size_bytes: int
    as_of_ms: int
    """What was committed before this instant (store's clock) is in it."""


class Backup(Protocol):
    """Copies a store that lives in a file."""

    async def backup(self, path: str) -> BackupResult:
        """Write a copy to `path`, a new file of mode 0600, in steps between commits, fsynced at the end
        (docs/reliability.md, rule 21). Raises `Conflict` code `wrong_state` while another one runs, `Refusal` code
        `disk_full`; after any error the file is gone."""
        ...
