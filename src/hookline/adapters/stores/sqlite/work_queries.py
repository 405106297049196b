"""Every statement of confirmations, retention and replays of many, by name."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

from hookline.adapters.stores.sqlite.many import ManyKeys
from hookline.adapters.stores.sqlite.queries import NO_SUCCESS, OPEN_COLUMNS

# --------------------------------------------------------------------------------------------- confirmations

CONFIRMATION_ANY = "SELECT EXISTS (SELECT 1 FROM confirmations)"
CONFIRMATION_ADD = (
    "INSERT INTO confirmations (delivery_id, success, message) VALUES (?, ?, ?) ON CONFLICT (delivery_id) DO NOTHING"
)
CONFIRMATION_FIND = "SELECT success FROM confirmations WHERE delivery_id = ?"
CONFIRMATION_FORGET = "DELETE FROM confirmations WHERE delivery_id = ?"
CONFIRMATION_FORGET_ERROR = "DELETE FROM confirmations WHERE delivery_id = ? AND success = 0"
OPEN_UNCONFIRMED = (
    "UPDATE open SET state = 3, due_ms = ?, tries = ?, attempts = ?, lost = ?, reason = ?, handoff = 0,"
    " lease_until_ms = 0 WHERE id = ?"
)
_OPEN = ", ".join(f"o.{column}" for column in OPEN_COLUMNS.split(", "))
UNCONFIRMED_DUE = (
    f"SELECT {_OPEN}, c.success, c.message FROM open o INDEXED BY open_by_deadline"
    " LEFT JOIN confirmations c ON c.delivery_id = o.id"
    " WHERE o.state = 3 AND o.due_ms <= ? ORDER BY o.due_ms, o.id LIMIT ?"
)
UNCONFIRMED_OF = (
    f"SELECT {OPEN_COLUMNS} FROM open INDEXED BY open_unconfirmed WHERE state = 3 AND endpoint_id = ?"
    f" AND {NO_SUCCESS} LIMIT ?"
)

# ------------------------------------------------------------------------------------------------- retention

OPEN_WALK = (
    "SELECT id, fence, endpoint_id, tenant, event_id, state, lost FROM open WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
)
CLOSED_WALK = "SELECT id, tenant, finished_ms, attempts, reason FROM closed WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
# One that was reopened meanwhile is no more there, and one that expired anew is kept anew.
CLOSED_PURGE = ManyKeys(
    "DELETE FROM closed WHERE (reason IS NOT 'expired' OR finished_ms <= ?) AND id IN (/*rows*/)"
    " RETURNING id, event_id, endpoint_id, tenant, state, lane"
)
ATTEMPT_NEWEST = "SELECT delivery_id FROM attempts ORDER BY rowid DESC LIMIT 1"
ATTEMPTS_PURGE = ManyKeys("DELETE FROM attempts WHERE delivery_id IN (/*rows*/)")
REPLAY_FORGET = "DELETE FROM replays WHERE event_id = ? AND delivery_id = ?"
EVENTS_WALK = "SELECT id, tenant FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
FANOUT_EVENTS = "SELECT event_id FROM fanouts WHERE event_id < ?"
EVENT_NEWEST = "SELECT id FROM events ORDER BY rowid DESC LIMIT 1"
# The deliveries of an event are a range of ids: its own and 4 bytes. (|| makes a text, which is above every blob.)
_OF_EVENT = "d.id > events.id AND d.id <= CAST(events.id || x'ffffffff' AS BLOB)"
EVENTS_PURGE = ManyKeys(
    "DELETE FROM events WHERE id IN (/*rows*/)"
    f" AND NOT EXISTS (SELECT 1 FROM open d WHERE {_OF_EVENT})"
    f" AND NOT EXISTS (SELECT 1 FROM closed d WHERE {_OF_EVENT})"
    " AND NOT EXISTS (SELECT 1 FROM replays r WHERE r.event_id = events.id)"
)
REPLAY_JOBS_WALK = (
    "SELECT id, tenant FROM replay_jobs WHERE id > ? AND id < ? AND state <> 'running' ORDER BY id LIMIT ?"
)
REPLAY_JOBS_PURGE = ManyKeys("DELETE FROM replay_jobs WHERE state <> 'running' AND id IN (/*rows*/)")
TOMBSTONES_WALK = (
    "SELECT id, tenant, updated_at_ms FROM endpoints INDEXED BY endpoints_gone WHERE deleted = 2 AND id > ?"
    " ORDER BY id LIMIT ?"
)
TOMBSTONES_PURGE = ManyKeys("DELETE FROM endpoints WHERE deleted = 2 AND id IN (/*rows*/)")
ENDPOINT_STATES_PURGE = ManyKeys("DELETE FROM endpoint_states WHERE endpoint_id IN (/*rows*/)")
ENDPOINT_TOTALS_PURGE = ManyKeys("DELETE FROM endpoint_totals WHERE endpoint_id IN (/*rows*/)")
EVENT_TYPES_WALK = "SELECT rowid, number = 0, created_at_ms FROM event_types WHERE rowid > ? ORDER BY rowid LIMIT ?"
EVENT_TYPE_TOMBSTONES_PURGE = ManyKeys("DELETE FROM event_types WHERE number = 0 AND rowid IN (/*rows*/)")
KEYS_WALK = "SELECT id, deleted, created_at_ms FROM keys WHERE id > ? ORDER BY id LIMIT ?"
KEYS_PURGE = ManyKeys("DELETE FROM keys WHERE deleted = 1 AND id IN (/*rows*/)")
CONFIRMATIONS_WALK = (
    "SELECT c.delivery_id, EXISTS (SELECT 1 FROM open o WHERE o.id = c.delivery_id) FROM confirmations c"
    " WHERE c.delivery_id > ? ORDER BY c.delivery_id LIMIT ?"
)
CONFIRMATIONS_PURGE = ManyKeys(
    "DELETE FROM confirmations WHERE NOT EXISTS (SELECT 1 FROM open o WHERE o.id = confirmations.delivery_id)"
    " AND delivery_id IN (/*rows*/)"
)
# In the order of their numbers they are in the order of their times.
CHANGES_WALK = "SELECT n, at_ms FROM changes WHERE n > ? ORDER BY n LIMIT ?"
CHANGES_PURGE = "DELETE FROM changes WHERE n <= ?"

# ----------------------------------------------------------------------------------------------------- erase

OPEN_OF_EVENT = f"SELECT {OPEN_COLUMNS} FROM open WHERE id > ? AND id <= ?"
# Those in no lane, which may be ten thousand, in two statements.
CLOSE_OF_EVENT = (
    "INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes,"
    " lane, seq, reason) SELECT id, event_id, endpoint_id, tenant, ?, ?, fence, tries, attempts, size_bytes, lane,"
    " seq, reason FROM open WHERE id > ? AND id <= ? AND lane IS NULL"
)
OPEN_DELETE_OF_EVENT = "DELETE FROM open WHERE id > ? AND id <= ? AND lane IS NULL"
SUCCESSES_OF_EVENT = "SELECT delivery_id FROM confirmations WHERE delivery_id > ? AND delivery_id <= ? AND success = 1"
CONFIRMATIONS_OF_EVENT = "DELETE FROM confirmations WHERE delivery_id > ? AND delivery_id <= ?"
OPEN_OF_REPLAYS = f"SELECT {_OPEN} FROM replays r JOIN open o ON o.id = r.delivery_id WHERE r.event_id = ?"
EVENT_ERASE = "UPDATE events SET data = x'', encoding = ? WHERE id = ?"
FANOUTS_OF_EVENT = (
    "SELECT length(f.endpoint_ids), c.done FROM fanouts f JOIN fanout_cursors c ON c.n = f.n WHERE f.event_id = ?"
)
REPLAYS_OF = "SELECT delivery_id FROM replays WHERE event_id = ?"
ATTEMPTS_OF = (
    "SELECT rowid, delivery_id, fence, packed FROM attempts WHERE (delivery_id, fence) > (?, ?) AND delivery_id <= ?"
    " ORDER BY delivery_id, fence LIMIT ?"
)
ATTEMPT_REPLACE = "UPDATE attempts SET packed = ? WHERE rowid = ?"

# --------------------------------------------------------------------------------------------------- replays

_JOB = "id, tenant, spec, state, after, until, examined, replayed, skipped, detail, created_at_ms, updated_at_ms"
JOB_ADD = f"INSERT INTO replay_jobs ({_JOB}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
JOB_FIND = f"SELECT {_JOB} FROM replay_jobs WHERE id = ?"
JOB_END = "UPDATE replay_jobs SET state = ?, detail = ?, updated_at_ms = ? WHERE id = ?"
JOB_STEP = (
    "UPDATE replay_jobs SET after = ?, examined = examined + ?, replayed = replayed + ?, skipped = skipped + ?,"
    " updated_at_ms = ? WHERE id = ?"
)
JOBS = f"SELECT {_JOB} FROM replay_jobs WHERE id < ? ORDER BY id DESC LIMIT ?"
JOBS_OF_TENANT = f"SELECT {_JOB} FROM replay_jobs WHERE id < ? AND tenant = ? ORDER BY id DESC LIMIT ?"
JOBS_RUNNING = (
    f"SELECT {_JOB} FROM replay_jobs INDEXED BY replay_jobs_running WHERE state = 'running' ORDER BY id LIMIT ?"
)
EVENTS_TO_REPLAY = ManyKeys("SELECT id, tenant, length(data) FROM events WHERE encoding = 0 AND id IN (/*rows*/)")
