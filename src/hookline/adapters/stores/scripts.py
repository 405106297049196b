"""Numbered migrations of a store: `migrations/0001_name.sql` beside it, each with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec

from hookline.core.errors import StoreUnavailable


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, and whether this database has it."""

    number: int
    name: str
    applied: bool


class Script(msgspec.Struct, frozen=True):
    """A migration's file."""

    number: int
    name: str
    checksum: str
    sql: str


def scripts(package: str) -> list[Script]:
    """Those of a store's package, in their order."""
    found = []
    for entry in (resources.files(package) / "migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        raw = entry.read_bytes()
        number, _, name = entry.name.removesuffix(".sql").partition("_")
        found.append(Script(int(number), name, hashlib.sha256(raw).hexdigest(), raw.decode()))
    return sorted(found, key=lambda script: script.number)


def compared(known: Sequence[Script], have: Mapping[int, str]) -> list[Migration]:
    """Every migration that this program knows, with whether a database that has these (number → checksum) has it.

    Raises `StoreUnavailable` when it has one that this program does not know, or knows differently.
    """
    for script in known:
        if have.get(script.number, script.checksum) != script.checksum:
            raise StoreUnavailable(f"migration {script.number} of this database is not the one this program has")
    newest = max(have, default=0)
    if newest > known[-1].number:
        raise StoreUnavailable(f"this database has migration {newest}: it was written by a newer Hookline")
    return [Migration(script.number, script.name, script.number in have) for script in known]
