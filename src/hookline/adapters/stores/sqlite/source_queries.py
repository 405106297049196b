"""Every statement of sources, of quarantine and of rejections, by name."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

from hookline.adapters.stores.sqlite.many import ManyKeys

SOURCE_COLUMNS = "id, tenant, name, uid, spec, sealed, created_at_ms, updated_at_ms, version, deleted"
SOURCE_FIND = f"SELECT {SOURCE_COLUMNS} FROM sources WHERE id = ?"
SOURCE_ADD = f"INSERT INTO sources ({SOURCE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
SOURCE_REPLACE = (
    "UPDATE sources SET name = ?, uid = ?, spec = ?, sealed = ?, updated_at_ms = ?, version = ? WHERE id = ?"
)
SOURCE_NAMESAKES = (
    "SELECT name, uid FROM sources WHERE tenant = ?1 AND deleted = 0 AND id <> ?2"
    " AND (name IN (?3, ?4) OR uid IN (?3, ?4))"
)
SOURCES_SINCE = f"SELECT {SOURCE_COLUMNS} FROM sources WHERE version > ? ORDER BY version"
SOURCES_LIVE = f"SELECT {SOURCE_COLUMNS} FROM sources WHERE deleted = 0 ORDER BY version"
SOURCE_DELETE = "UPDATE sources SET deleted = 1, sealed = x'', updated_at_ms = ?, version = ? WHERE id = ?"
SOURCES_DELETE_OF = (
    "UPDATE sources SET deleted = 1, sealed = x'', updated_at_ms = ?, version = ? WHERE tenant = ? AND deleted = 0"
)
SOURCES_WALK = "SELECT id, deleted, updated_at_ms FROM sources WHERE id > ? ORDER BY id LIMIT ?"
# Not while it has anything in quarantine: its totals say whose that is.
SOURCES_PURGE = ManyKeys(
    "DELETE FROM sources WHERE deleted = 1 AND id IN (/*rows*/)"
    " AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.source_id = sources.id)"
)

# ------------------------------------------------------------------------------------------------ quarantine

# No row is changed where there is no room.
QUARANTINE_COUNT_UP = (
    "INSERT INTO quarantine_totals (source_id, tenant, kept) VALUES (?, ?, 1)"
    " ON CONFLICT (source_id) DO UPDATE SET kept = kept + 1 WHERE kept < ?"
)
QUARANTINE_COUNT_DOWN = "UPDATE quarantine_totals SET kept = kept - ? WHERE source_id = ?"
QUARANTINE_COUNT_END = "DELETE FROM quarantine_totals WHERE source_id = ? AND kept <= 0"
QUARANTINE_KEPT = "SELECT kept FROM quarantine_totals WHERE source_id = ?"
QUARANTINE_OF_ALL = "SELECT coalesce(sum(kept), 0) FROM quarantine_totals"
QUARANTINE_OF_TENANT = f"{QUARANTINE_OF_ALL} WHERE tenant = ?"
QUARANTINE_ADD = "INSERT INTO quarantine (id, source_id, tenant, event, problem, data) VALUES (?, ?, ?, ?, ?, ?)"
QUARANTINE_TAKE = "DELETE FROM quarantine WHERE id = ? AND tenant = ? RETURNING source_id"
QUARANTINE_DROP = "DELETE FROM quarantine WHERE id = ? AND source_id = ?"
_QUARANTINE = "source_id, event, problem, length(data)"
QUARANTINE_FIND = f"SELECT {_QUARANTINE}, data FROM quarantine WHERE source_id = ? AND id = ?"
QUARANTINE_PAGE = (
    f"SELECT {_QUARANTINE}, x'' FROM quarantine INDEXED BY quarantine_by_source WHERE source_id = ? AND id < ?"
    " ORDER BY id DESC LIMIT ?"
)
QUARANTINE_WALK = (
    "SELECT q.id, q.tenant, coalesce(s.deleted, 1) FROM quarantine q LEFT JOIN sources s ON s.id = q.source_id"
    " WHERE q.id > ? ORDER BY q.id LIMIT ?"
)
QUARANTINE_PURGE = ManyKeys("DELETE FROM quarantine WHERE id IN (/*rows*/) RETURNING source_id")

# ------------------------------------------------------------------------------------------------ rejections

REJECTION_ADD = (
    "INSERT INTO rejections (source_id, id, packed) SELECT ?1, ?2, ?3"
    " WHERE EXISTS (SELECT 1 FROM sources WHERE id = ?1 AND deleted = 0) ON CONFLICT DO NOTHING"
)
REJECTIONS_PRUNE = (
    "DELETE FROM rejections WHERE source_id = ?1 AND id <="
    " (SELECT id FROM rejections WHERE source_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
)
REJECTIONS_PAGE = (
    "SELECT id, source_id, packed FROM rejections INDEXED BY rejections_by_source WHERE source_id = ? AND id < ?"
    " ORDER BY id DESC LIMIT ?"
)
REJECTIONS_DELETE = "DELETE FROM rejections WHERE source_id = ?"
REJECTIONS_DELETE_OF = (
    "DELETE FROM rejections WHERE source_id IN (SELECT id FROM sources WHERE tenant = ? AND deleted = 0)"
)
