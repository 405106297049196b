-- Tenants and keys, confirmations, replays of many, and the changes that a stream shows beside events and attempts.

CREATE TABLE tenants (
    id            TEXT PRIMARY KEY,
    spec          BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    deleted       INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX tenants_by_version ON tenants (version);

CREATE TABLE keys (
    id            BLOB PRIMARY KEY,         -- 12 bytes
    tenant        TEXT,                     -- NULL: the operator's
    digest        BLOB NOT NULL,            -- SHA-256 of the key; the key itself is nowhere
    hint          TEXT NOT NULL,
    spec          BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    deleted       INTEGER NOT NULL DEFAULT 0,
    last_used_ms  INTEGER
);
CREATE UNIQUE INDEX keys_by_digest ON keys (digest) WHERE deleted = 0;
CREATE INDEX keys_by_version ON keys (version);

-- What a receiver said before its delivery could be recorded, or before its deadline.
CREATE TABLE confirmations (
    delivery_id BLOB PRIMARY KEY,
    success     INTEGER NOT NULL,
    message     BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX open_by_deadline ON open (due_ms) WHERE state = 3;
CREATE INDEX open_unconfirmed ON open (endpoint_id) WHERE state = 3;

CREATE TABLE replay_jobs (
    id            BLOB PRIMARY KEY,         -- 12 bytes
    tenant        TEXT NOT NULL,
    spec          BLOB NOT NULL,
    state         TEXT NOT NULL,
    after         BLOB,
    until         BLOB NOT NULL,
    examined      INTEGER NOT NULL,
    replayed      INTEGER NOT NULL,
    skipped       INTEGER NOT NULL,
    detail        TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
CREATE INDEX replay_jobs_running ON replay_jobs (id) WHERE state = 'running';

-- A position in the stream is good in one history only: a restore begins another one.
INSERT INTO meta (name, value) VALUES ('stream_epoch', random() & 0xffffffff);

-- Never the same number twice: a reader's position must not come back.
CREATE TABLE changes (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    tenant      TEXT NOT NULL,
    endpoint_id BLOB NOT NULL,
    delivery_id BLOB,
    before      TEXT NOT NULL,
    after       TEXT NOT NULL,
    reason      TEXT
);

-- Tombstones that nothing is left of.
CREATE INDEX endpoints_gone ON endpoints (id) WHERE deleted = 2;
