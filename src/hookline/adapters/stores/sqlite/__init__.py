"""The embedded store: one file, one writer thread, shared commits."""

from __future__ import annotations

from hookline.adapters.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
