"""Every statement of confirmations, retention and replays of many, by name."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

from hookline.adapters.stores.sqlite.queries import OPEN_COLUMNS

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
    f"SELECT {OPEN_COLUMNS} FROM open INDEXED BY open_unconfirmed WHERE state = 3 AND endpoint_id = ? LIMIT ?"
)
