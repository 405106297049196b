"""Every statement of the hot paths and the upkeep, by name. The lists' are put together in `archive`."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

from hookline.adapters.stores.sqlite.many import ManyKeys, ManyRows

BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
SAVEPOINT = "SAVEPOINT begun"
ROLLBACK_TO = "ROLLBACK TO begun"

META = "SELECT value FROM meta WHERE name = ?"
META_SET = "UPDATE meta SET value = ? WHERE name = ?"
META_PUT = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
META_COUNT = "INSERT INTO meta (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
META_RAISE = "UPDATE meta SET value = max(value, ?) WHERE name = ?"
NEWEST_IDS = "SELECT (SELECT max(id) FROM events), (SELECT max(id) FROM open), (SELECT max(id) FROM closed)"

# ---------------------------------------------------------------------------------------------------- accept

EVENT_COLUMNS = "id, tenant, type, source, source_id, subject, content_type, attributes, encoding, data"
EVENTS_ADD = ManyRows(
    "INSERT INTO events (id, tenant, type, source, source_id, subject, content_type, attributes, data, encoding)"
    " VALUES /*rows*/",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
)
OPEN_ADD = ManyRows(
    "INSERT INTO open (id, endpoint_id, tenant, state, due_ms, fence, lease_until_ms, handoff, size_bytes)"
    " VALUES /*rows*/",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
OPEN_ADD_ANY = (
    "INSERT INTO open (id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, lease_until_ms, handoff,"
    " size_bytes, lane, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FANOUT_ADD = (
    "INSERT INTO fanouts (event_id, tenant, ordinal, due_ms, size_bytes, endpoint_ids) VALUES (?, ?, ?, ?, ?, ?)"
)
FANOUT_CURSOR_ADD = "INSERT INTO fanout_cursors (n, done) VALUES (?, 0)"
DEDUPE_FIND = "SELECT value FROM dedupe WHERE key = ? AND kind = ? AND expires_ms > ?"
DEDUPE_ADD = "INSERT OR REPLACE INTO dedupe (key, kind, expires_ms, value) VALUES (?, ?, ?, ?)"

# ----------------------------------------------------------------------------------------------------- claim

CLAIM_STATE = (
    "SELECT e.state, e.deleted, s.wait_until_ms, s.probe_at_ms, coalesce(s.tat_ms, 0),"
    " (SELECT count(*) FROM open o WHERE o.state = 1 AND o.endpoint_id = e.id AND o.handoff = 0)"
    " FROM endpoints e LEFT JOIN endpoint_states s ON s.endpoint_id = e.id WHERE e.id = ?"
)
LEASE_ENDS = "SELECT min(lease_until_ms) FROM open WHERE endpoint_id = ? AND state = 1"
_CLAIM_COLUMNS = "id, event_id, fence, tries, attempts, lost, size_bytes, lane, due_ms, rank"
CLAIM_DUE = (
    f"SELECT {_CLAIM_COLUMNS} FROM open INDEXED BY open_by_due"
    " WHERE state = 0 AND endpoint_id = ? AND rank = ? AND due_ms <= ? ORDER BY due_ms LIMIT ?"
)
CLAIM_OLDEST = (
    f"SELECT {_CLAIM_COLUMNS} FROM open INDEXED BY open_by_due"
    " WHERE state = 0 AND endpoint_id = ? ORDER BY rank, due_ms LIMIT 1"
)
CLAIM_IDS = ManyKeys(
    f"SELECT {_CLAIM_COLUMNS}, endpoint_id FROM open WHERE state = 0 AND due_ms <= ? AND id IN (/*rows*/)"
)
CLAIM_LEASE = ManyKeys(
    "UPDATE open SET state = 1, fence = fence + 1, handoff = 0, lease_until_ms = ? WHERE id IN (/*rows*/)"
)
NEXT_DUE = (
    "SELECT (SELECT due_ms FROM open WHERE state = 0 AND endpoint_id = ?1 AND rank = 0 ORDER BY due_ms LIMIT 1),"
    " (SELECT due_ms FROM open WHERE state = 0 AND endpoint_id = ?1 AND rank = 1 ORDER BY due_ms LIMIT 1)"
)
TAT_SET = (
    "INSERT INTO endpoint_states (endpoint_id, tat_ms) VALUES (?, ?)"
    " ON CONFLICT (endpoint_id) DO UPDATE SET tat_ms = excluded.tat_ms"
)
PROBE_SET = "UPDATE endpoint_states SET probe_at_ms = ? WHERE endpoint_id = ? AND probe_at_ms IS NOT NULL"
EVENTS_BY_ID = ManyKeys(f"SELECT {EVENT_COLUMNS} FROM events WHERE id IN (/*rows*/)")
# One index seek per endpoint, not a walk over all that is pending.
DUE_BY_ENDPOINT = """
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT * FROM (SELECT endpoint_id FROM open WHERE state = 0 ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.endpoint_id FROM open o WHERE o.state = 0 AND o.endpoint_id > pending.endpoint_id
            ORDER BY o.endpoint_id LIMIT 1)
    FROM pending WHERE pending.endpoint_id IS NOT NULL
)
SELECT endpoint_id,
       (SELECT min(o.due_ms) FROM open o WHERE o.state = 0 AND o.endpoint_id = pending.endpoint_id AND o.rank = 0),
       (SELECT min(o.due_ms) FROM open o WHERE o.state = 0 AND o.endpoint_id = pending.endpoint_id AND o.rank = 1)
FROM pending WHERE endpoint_id IS NOT NULL
"""
ENDPOINTS_OF = ManyKeys("SELECT id, endpoint_id FROM open WHERE state = 0 AND id IN (/*rows*/)")

# ---------------------------------------------------------------------------------------------------- record

# The common case: handed off or claimed, delivered, no lane. All rows of a statement have the same fence, and what
# does not fit is not touched.
_PLAIN = "fence = ? AND state = 1 AND lane IS NULL AND id IN (/*rows*/)"
PLAIN_CLOSE = ManyKeys(
    "INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes)"
    " SELECT id, event_id, endpoint_id, tenant, 4, ?, fence, tries + ?, attempts + 1, size_bytes"
    f" FROM open WHERE {_PLAIN}"
)
PLAIN_FITTING = ManyKeys(f"SELECT id FROM open WHERE {_PLAIN}")
PLAIN_DELETE = ManyKeys(f"DELETE FROM open WHERE {_PLAIN}")
ATTEMPTS_ADD = ManyRows("INSERT INTO attempts (delivery_id, fence, packed) VALUES /*rows*/", "(?, ?, ?)")

OPEN_COLUMNS = (
    "id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, lease_until_ms, tries, attempts, lost,"
    " size_bytes, lane, seq, reason"
)
OPEN_FIND = f"SELECT {OPEN_COLUMNS} FROM open WHERE id = ?"
OPEN_RETRY = (
    "UPDATE open SET state = 0, due_ms = ?, tries = ?, attempts = ?, lost = ?, reason = ?, handoff = 0,"
    " lease_until_ms = 0 WHERE id = ?"
)
OPEN_RELEASE = "UPDATE open SET state = 0, handoff = 0, lease_until_ms = 0 WHERE id = ?"
OPEN_STATE = "UPDATE open SET state = ? WHERE id = ?"
OPEN_DUE = "UPDATE open SET due_ms = ? WHERE id = ?"
OPEN_DELETE = "DELETE FROM open WHERE id = ?"
CLOSE = (
    "INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes,"
    " lane, seq, reason) SELECT id, event_id, endpoint_id, tenant, ?, ?, fence, ?, ?, size_bytes, lane, seq, ?"
    " FROM open WHERE id = ?"
)
CLOSED_ADD = (
    "INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes,"
    " lane, seq, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
CLOSED_FIND = (
    "SELECT id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes, lane, seq,"
    " reason FROM closed WHERE id = ?"
)
CLOSED_DELETE = "DELETE FROM closed WHERE id = ?"

HEALTH_FIND = (
    "SELECT e.state, coalesce(s.version, 0), e.tenant FROM endpoints e"
    " LEFT JOIN endpoint_states s ON s.endpoint_id = e.id WHERE e.id = ? AND e.deleted = 0"
)
HEALTH_SET = (
    "INSERT INTO endpoint_states (endpoint_id, version, packed, wait_until_ms, probe_at_ms) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (endpoint_id) DO UPDATE SET version = excluded.version, packed = excluded.packed,"
    " wait_until_ms = excluded.wait_until_ms, probe_at_ms = excluded.probe_at_ms"
)

# ----------------------------------------------------------------------------------------------------- lanes

LANE_APPEND = "INSERT INTO lanes (endpoint_id, lane, head) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
LANE_FIND = "SELECT head, blocks FROM lanes WHERE endpoint_id = ? AND lane = ?"
LANE_SET = (
    "INSERT INTO lanes (endpoint_id, lane, head, blocks) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (endpoint_id, lane) DO UPDATE SET head = excluded.head, blocks = excluded.blocks"
)
LANE_DELETE = "DELETE FROM lanes WHERE endpoint_id = ? AND lane = ?"
LANE_FIRST = "SELECT id, seq, state, due_ms FROM open WHERE endpoint_id = ? AND lane = ? ORDER BY seq LIMIT 1"
LANE_FIRST_WITH_TENANT = "SELECT tenant, seq FROM open WHERE endpoint_id = ? AND lane = ? ORDER BY seq LIMIT 1"
LANE_STATE = "SELECT state FROM open WHERE id = ?"
LANE_NEXT = (
    "SELECT endpoint_id, lane FROM open INDEXED BY open_by_lane WHERE lane IS NOT NULL"
    " AND (endpoint_id, lane) > (?, ?) ORDER BY endpoint_id, lane LIMIT 1"
)
LANES_DELETE_OF = "DELETE FROM lanes WHERE endpoint_id = ?"

# -------------------------------------------------------------------------------------------------- counters

_STATES = ("pending", "leased", "held", "unconfirmed", "delivered", "failed", "discarded")
_ADD_STATES = ", ".join(f"{name} = {name} + excluded.{name}" for name in _STATES)
_SUM_STATES = ", ".join(f"coalesce(sum({name}), 0)" for name in _STATES)
CHANGE_ADD = """
INSERT INTO changes (at_ms, tenant, endpoint_id, delivery_id, before, after, reason) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
DELTA_ADD = "INSERT INTO counter_deltas (packed) VALUES (?)"
DELTAS = "SELECT packed FROM counter_deltas"
DELTAS_OLDEST = "SELECT n, packed FROM counter_deltas ORDER BY n LIMIT ?"
DELTAS_FORGET = "DELETE FROM counter_deltas WHERE n <= ?"
FOLD_TENANT = (
    f"INSERT INTO tenant_totals (tenant, events, deliveries, {', '.join(_STATES)})"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET events = events + excluded.events,"
    f" deliveries = deliveries + excluded.deliveries, {_ADD_STATES}"
)
FOLD_ENDPOINT = (
    f"INSERT INTO endpoint_totals (endpoint_id, tenant, deliveries, {', '.join(_STATES)})"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (endpoint_id) DO UPDATE SET"
    f" deliveries = deliveries + excluded.deliveries, {_ADD_STATES}"
)
TOTALS_OF_ALL = f"SELECT coalesce(sum(events), 0), coalesce(sum(deliveries), 0), {_SUM_STATES} FROM tenant_totals"
TOTALS_OF_TENANT = f"{TOTALS_OF_ALL} WHERE tenant = ?"
TOTALS_OF_ENDPOINT = f"SELECT tenant, deliveries, {', '.join(_STATES)} FROM endpoint_totals WHERE endpoint_id = ?"
HOLDING_PENDING = (
    "SELECT e.id, coalesce(t.pending, 0) FROM endpoints e LEFT JOIN endpoint_totals t ON t.endpoint_id = e.id"
    " WHERE e.state <> 'active' AND e.deleted < 2"
)
HOLDING_PENDING_OF_TENANT = f"{HOLDING_PENDING} AND e.tenant = ?"
ENDPOINT_STATE_WORD = "SELECT state FROM endpoints WHERE id = ?"
OPEN_TOTALS = "SELECT endpoint_id, pending + leased + held + unconfirmed FROM endpoint_totals"

# -------------------------------------------------------------------------------------------------- registry

ENDPOINT_COLUMNS = (
    "id, tenant, uid, state, spec, sealed, created_at_ms, updated_at_ms, version, min(deleted, 1), warnings"
)
ENDPOINT_FIND = f"SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE id = ?"
ENDPOINT_BY_UID = "SELECT id FROM endpoints WHERE tenant = ? AND uid = ? AND deleted = 0"
ENDPOINTS_SINCE = f"SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE version > ? ORDER BY version"
ENDPOINTS_LIVE = f"SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE deleted = 0 ORDER BY version"
ENDPOINT_ADD = (
    "INSERT INTO endpoints (id, tenant, uid, state, spec, sealed, created_at_ms, updated_at_ms, version, warnings)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ENDPOINT_REPLACE = (
    "UPDATE endpoints SET uid = ?, state = ?, spec = ?, sealed = ?, warnings = ?, updated_at_ms = ?, version = ?"
    " WHERE id = ?"
)
ENDPOINT_STATE_SET = "UPDATE endpoints SET state = ?, updated_at_ms = ?, version = ? WHERE id = ?"
ENDPOINT_DELETE = "UPDATE endpoints SET deleted = 1, updated_at_ms = ?, version = ? WHERE id = ?"
ENDPOINT_CLOSED = "UPDATE endpoints SET deleted = 2 WHERE id = ?"
ENDPOINTS_TO_CLOSE = "SELECT id, tenant FROM endpoints WHERE deleted = 1 ORDER BY id"
ENDPOINTS_LIVING = ManyKeys("SELECT id FROM endpoints WHERE deleted = 0 AND id IN (/*rows*/)")
# Negative: there is no health, but its versions go on, so that nobody who judged by the old one is heard.
HEALTH_FORGET = (
    "UPDATE endpoint_states SET version = -abs(version), packed = x'', wait_until_ms = NULL, probe_at_ms = NULL"
    " WHERE endpoint_id = ?"
)
HEALTHS = (
    "SELECT s.endpoint_id, s.version, s.packed, s.wait_until_ms, s.probe_at_ms FROM endpoint_states s"
    " JOIN endpoints e ON e.id = s.endpoint_id WHERE e.deleted = 0 AND s.version > 0"
)

EVENT_TYPE_COLUMNS = "tenant, name, number, mode, schema, example, description, created_at_ms, version, number = 0"
EVENT_TYPE_VERSIONS = (
    f"SELECT {EVENT_TYPE_COLUMNS} FROM event_types WHERE tenant = ? AND name = ? AND number > 0 ORDER BY number DESC"
)
# Of each name its highest version; a tombstone is alone.
_CURRENT = "number = (SELECT max(o.number) FROM event_types o WHERE o.tenant = t.tenant AND o.name = t.name)"
EVENT_TYPES_SINCE = f"SELECT {EVENT_TYPE_COLUMNS} FROM event_types t WHERE version > ? AND {_CURRENT} ORDER BY version"
EVENT_TYPES_LIVE = f"SELECT {EVENT_TYPE_COLUMNS} FROM event_types t WHERE number > 0 AND {_CURRENT} ORDER BY version"
EVENT_TYPE_ADD = (
    "INSERT INTO event_types (tenant, name, number, mode, schema, example, description, created_at_ms, version)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
EVENT_TYPE_CHANGE = (
    "UPDATE event_types SET mode = ?, example = ?, description = ?, version = ?"
    " WHERE tenant = ? AND name = ? AND number = ?"
)
EVENT_TYPE_DELETE = "DELETE FROM event_types WHERE tenant = ? AND name = ?"

# ---------------------------------------------------------------------------------------------------- access

TENANT_COLUMNS = "id, spec, created_at_ms, updated_at_ms, version, deleted"
TENANT_FIND = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE id = ?"
TENANTS_SINCE = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE version > ? ORDER BY version"
TENANT_PUT = (
    "INSERT INTO tenants (id, spec, created_at_ms, updated_at_ms, version) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, created_at_ms = excluded.created_at_ms,"
    " updated_at_ms = excluded.updated_at_ms, version = excluded.version, deleted = 0"
)
TENANT_DELETE = "UPDATE tenants SET deleted = 1, updated_at_ms = ?, version = ? WHERE id = ?"
TENANT_DELETED = "SELECT deleted FROM tenants WHERE id = ?"
ENDPOINTS_OF_TENANT = "SELECT id, state FROM endpoints WHERE tenant = ? AND deleted = 0"
ENDPOINTS_DELETE_OF = (
    "UPDATE endpoints SET deleted = 1, updated_at_ms = ?, version = ? WHERE tenant = ? AND deleted = 0"
)
EVENT_TYPE_NAMES_OF = f"SELECT name, mode FROM event_types t WHERE tenant = ? AND number > 0 AND {_CURRENT}"

KEY_COLUMNS = "id, tenant, digest, hint, spec, created_at_ms, version, deleted"
KEY_FIND = f"SELECT {KEY_COLUMNS} FROM keys WHERE id = ?"
KEY_BY_DIGEST = "SELECT id FROM keys WHERE digest = ? AND deleted = 0"
KEYS_SINCE = f"SELECT {KEY_COLUMNS} FROM keys WHERE version > ? ORDER BY version"
KEYS_LIVE = f"SELECT {KEY_COLUMNS} FROM keys WHERE deleted = 0 ORDER BY version"
KEY_ADD = "INSERT INTO keys (id, tenant, digest, hint, spec, created_at_ms, version) VALUES (?, ?, ?, ?, ?, ?, ?)"
KEY_REPLACE = "UPDATE keys SET hint = ?, spec = ?, version = ? WHERE id = ?"
# From then on `created_at_ms` is when it was revoked.
KEY_DELETE = "UPDATE keys SET deleted = 1, created_at_ms = ?, version = ? WHERE id = ?"
KEYS_DELETE_OF = "UPDATE keys SET deleted = 1, created_at_ms = ?, version = ? WHERE tenant = ? AND deleted = 0"
KEY_USES = "SELECT id, last_used_ms FROM keys WHERE deleted = 0 AND last_used_ms IS NOT NULL"
KEY_USED = "UPDATE keys SET last_used_ms = max(coalesce(last_used_ms, 0), ?) WHERE id = ? AND deleted = 0"

# ---------------------------------------------------------------------------------------------------- stream

STREAM_ENDS = (
    "SELECT (SELECT value FROM meta WHERE name = 'stream_epoch'), coalesce((SELECT max(rowid) FROM events), 0),"
    " coalesce((SELECT max(rowid) FROM attempts), 0),"
    " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)"
)
STREAM_BEGINS = (
    "SELECT (SELECT min(rowid) FROM events), (SELECT min(rowid) FROM attempts), (SELECT min(n) FROM changes)"
)
_HEAD_COLUMNS = ", ".join("x''" if column == "data" else column for column in EVENT_COLUMNS.split(", "))
STREAM_EVENTS = f"SELECT rowid, length(data), {_HEAD_COLUMNS} FROM events WHERE rowid > ? ORDER BY rowid LIMIT ?"
STREAM_ATTEMPTS = "SELECT rowid, delivery_id, fence, packed FROM attempts WHERE rowid > ? ORDER BY rowid LIMIT ?"
STREAM_CHANGES = (
    "SELECT n, at_ms, tenant, endpoint_id, delivery_id, before, after, reason FROM changes WHERE n > ?"
    " ORDER BY n LIMIT ?"
)
EVENT_NUMBER = "SELECT rowid FROM events WHERE id = ?"

# ---------------------------------------------------------------------------------------------------- upkeep

LEASED_AT_START = "SELECT id, fence FROM open WHERE state = 1"
LEASED_SOME = f"{LEASED_AT_START} LIMIT ?"
LEASED_AMONG = ManyKeys(
    "SELECT id, fence, endpoint_id, tenant, event_id, state, lost FROM open WHERE state = 1 AND id IN (/*rows*/)"
)
_REF_COLUMNS = "id, fence, endpoint_id, tenant, event_id, state, lost"
# The whole index of leases is read: a process has some thousands at most.
LEASES_EXPIRED = (
    f"SELECT {_REF_COLUMNS} FROM open INDEXED BY open_by_lease WHERE state = 1 AND lease_until_ms < ? LIMIT ?"
)
OLDEST_PENDING = (
    f"SELECT {_REF_COLUMNS} FROM open INDEXED BY open_by_due WHERE state = 0 AND endpoint_id = ?"
    " ORDER BY rank, due_ms LIMIT ?"
)
NO_SUCCESS = "NOT EXISTS (SELECT 1 FROM confirmations c WHERE c.delivery_id = open.id AND c.success = 1)"
OLDEST_UNCONFIRMED = (
    f"SELECT {_REF_COLUMNS} FROM open INDEXED BY open_unconfirmed WHERE state = 3 AND endpoint_id = ?"
    f" AND {NO_SUCCESS} ORDER BY id LIMIT ?"
)
OLDEST_HELD = (
    f"SELECT {_REF_COLUMNS} FROM open INDEXED BY open_by_lane WHERE lane IS NOT NULL AND endpoint_id = ? AND state = 2"
    " ORDER BY lane, seq LIMIT ?"
)
PENDING_OF = (
    f"SELECT {OPEN_COLUMNS} FROM open INDEXED BY open_by_due WHERE state = 0 AND endpoint_id = ?"
    " ORDER BY rank, due_ms LIMIT ?"
)
HELD_OF = (
    f"SELECT {OPEN_COLUMNS} FROM open INDEXED BY open_by_lane WHERE lane IS NOT NULL AND endpoint_id = ? AND state = 2"
    " LIMIT ?"
)
FANOUT_OLDEST = (
    "SELECT f.n, f.event_id, f.tenant, f.ordinal, f.due_ms, f.size_bytes, length(f.endpoint_ids), c.done,"
    " (SELECT encoding FROM events WHERE id = f.event_id) FROM fanouts f JOIN fanout_cursors c ON c.n = f.n"
    " ORDER BY f.n LIMIT 1"
)
FANOUT_DONE = "UPDATE fanout_cursors SET done = ? WHERE n = ?"
FANOUT_DELETE = "DELETE FROM fanouts WHERE n = ?"
FANOUT_CURSOR_DELETE = "DELETE FROM fanout_cursors WHERE n = ?"
FANOUT_ANY = "SELECT EXISTS (SELECT 1 FROM fanouts)"
DEDUPE_WALK = "SELECT key, kind, expires_ms FROM dedupe WHERE (key, kind) > (?, ?) ORDER BY key, kind LIMIT ?"
DEDUPE_FORGET = "DELETE FROM dedupe WHERE key = ? AND kind = ?"
EVENT_EXISTS = "SELECT tenant, length(data), encoding FROM events WHERE id = ?"
REPLAY_ADD = "INSERT INTO replays (event_id, delivery_id) VALUES (?, ?)"
OPEN_REOPEN = (
    "INSERT INTO open (id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, attempts, size_bytes, lane,"
    " seq, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ENDPOINT_DELETED = "SELECT deleted FROM endpoints WHERE id = ?"
RUNNABLE = """
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT * FROM (SELECT endpoint_id FROM open WHERE state = 0 ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.endpoint_id FROM open o WHERE o.state = 0 AND o.endpoint_id > pending.endpoint_id
            ORDER BY o.endpoint_id LIMIT 1)
    FROM pending WHERE pending.endpoint_id IS NOT NULL
), oldest (due_ms) AS (
    SELECT min(coalesce((SELECT min(o.due_ms) FROM open o
                         WHERE o.state = 0 AND o.endpoint_id = e.id AND o.rank = 0), ?1 + 1),
               coalesce((SELECT min(o.due_ms) FROM open o
                         WHERE o.state = 0 AND o.endpoint_id = e.id AND o.rank = 1), ?1 + 1))
    FROM pending JOIN endpoints e ON e.id = pending.endpoint_id
    LEFT JOIN endpoint_states s ON s.endpoint_id = e.id
    WHERE e.state = 'active' AND e.deleted = 0
      AND coalesce(s.wait_until_ms, 0) <= ?1 AND coalesce(s.probe_at_ms, 0) <= ?1
)
SELECT count(*), min(due_ms) FROM oldest WHERE due_ms <= ?1
"""
