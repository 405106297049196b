-- The first schema. Ids are blobs (hookline.core.ids), times are milliseconds since 1970 by the store's clock,
-- states are the numbers of hookline.core.delivery.State.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('registry_version', 0), ('seq', 0), ('clock_ms', 0);

-- A rowid table: payloads of a kilobyte in a WITHOUT ROWID table take 3.4 times the room. `data` is last, so that
-- reading the other columns never touches its overflow pages.
CREATE TABLE events (
    id           BLOB PRIMARY KEY,          -- 12 bytes
    tenant       TEXT NOT NULL,
    type         TEXT NOT NULL,
    source       TEXT NOT NULL,
    source_id    TEXT,                      -- '' where there is none, NULL where it is the empty text
    subject      TEXT,                      -- the same
    content_type TEXT NOT NULL,
    attributes   BLOB NOT NULL,             -- msgpack array: the rest of the event
    encoding     INTEGER NOT NULL,          -- of data; 0: as it is
    data         BLOB NOT NULL
);

-- Every open delivery, narrow; closing one is DELETE here and INSERT into closed.
CREATE TABLE open (
    id             BLOB PRIMARY KEY,        -- 16 bytes
    event_id       BLOB,                    -- of a replay; else NULL: the first 12 bytes of id
    endpoint_id    BLOB NOT NULL,
    tenant         TEXT NOT NULL,
    state          INTEGER NOT NULL,
    rank           INTEGER NOT NULL DEFAULT 0,  -- 0 live, 1 replay
    due_ms         INTEGER NOT NULL,
    fence          INTEGER NOT NULL DEFAULT 0,
    lease_until_ms INTEGER NOT NULL DEFAULT 0,
    handoff        INTEGER NOT NULL DEFAULT 0,  -- leased by the accept commit: not counted against the cap
    tries          INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    lost           INTEGER NOT NULL DEFAULT 0,
    size_bytes     INTEGER NOT NULL,        -- of the event's payload
    lane           TEXT,
    seq            INTEGER,                 -- the place in the lane
    reason         TEXT
) WITHOUT ROWID;
CREATE INDEX open_by_due ON open (endpoint_id, rank, due_ms) WHERE state = 0;
CREATE INDEX open_by_lease ON open (endpoint_id, handoff, lease_until_ms) WHERE state = 1;
CREATE INDEX open_by_lane ON open (endpoint_id, lane, seq) WHERE lane IS NOT NULL;

-- History: rows are inserted and, when a person reopens or discards one, deleted; never updated.
CREATE TABLE closed (
    id          BLOB PRIMARY KEY,
    event_id    BLOB,
    endpoint_id BLOB NOT NULL,
    tenant      TEXT NOT NULL,
    state       INTEGER NOT NULL,
    finished_ms INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    size_bytes  INTEGER NOT NULL,
    lane        TEXT,
    seq         INTEGER,
    reason      TEXT
) WITHOUT ROWID;
CREATE INDEX closed_failed ON closed (tenant, id) WHERE state = 5;

CREATE TABLE attempts (
    delivery_id BLOB NOT NULL,
    fence       INTEGER NOT NULL,
    packed      BLOB NOT NULL
);
CREATE UNIQUE INDEX attempts_by_delivery ON attempts (delivery_id, fence);

-- Known keys, small and short-lived. kind 0: a publisher's id; 1: an Idempotency-Key.
CREATE TABLE dedupe (
    key        BLOB NOT NULL,               -- 16 bytes
    kind       INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    value      BLOB NOT NULL,
    PRIMARY KEY (key, kind)
) WITHOUT ROWID;

-- A row exists while the lane has anything open or a block.
CREATE TABLE lanes (
    endpoint_id BLOB NOT NULL,
    lane        TEXT NOT NULL,
    head        BLOB,                       -- the one delivery that may be pending, leased or unconfirmed
    blocks      BLOB,                       -- (seq 8 bytes, delivery 16 bytes) of each failed one that blocks, sorted
    PRIMARY KEY (endpoint_id, lane)
) WITHOUT ROWID;

-- Big fan-outs, and beside them how far each is unfolded (so that a step does not write the long row again).
CREATE TABLE fanouts (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id     BLOB NOT NULL,
    tenant       TEXT NOT NULL,
    ordinal      INTEGER NOT NULL,          -- of its first endpoint
    due_ms       INTEGER NOT NULL,
    size_bytes   INTEGER NOT NULL,
    endpoint_ids BLOB NOT NULL              -- 12 bytes each
);
CREATE TABLE fanout_cursors (
    n    INTEGER PRIMARY KEY,
    done INTEGER NOT NULL
);

CREATE TABLE endpoints (
    id            BLOB PRIMARY KEY,         -- 12 bytes
    tenant        TEXT NOT NULL,
    uid           TEXT,
    state         TEXT NOT NULL,
    spec          BLOB NOT NULL,
    sealed        BLOB NOT NULL,
    warnings      BLOB NOT NULL,            -- msgpack array of texts
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    deleted       INTEGER NOT NULL DEFAULT 0    -- 1: a tombstone with open deliveries; 2: nothing of it is open
);
CREATE UNIQUE INDEX endpoints_by_uid ON endpoints (tenant, uid) WHERE deleted = 0 AND uid IS NOT NULL;
CREATE INDEX endpoints_by_version ON endpoints (version);
CREATE INDEX endpoints_holding ON endpoints (tenant) WHERE state <> 'active' AND deleted < 2;
CREATE INDEX endpoints_to_close ON endpoints (id) WHERE deleted = 1;

-- What the flow learned of an endpoint. version 0: nothing yet (only the rate's tat_ms is kept); below 0: forgotten.
CREATE TABLE endpoint_states (
    endpoint_id   BLOB PRIMARY KEY,
    version       INTEGER NOT NULL DEFAULT 0,
    packed        BLOB NOT NULL DEFAULT x'',
    wait_until_ms INTEGER,
    probe_at_ms   INTEGER,
    tat_ms        REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE event_types (
    tenant        TEXT NOT NULL,
    name          TEXT NOT NULL,
    number        INTEGER NOT NULL,         -- 0: the tombstone of a deleted one
    mode          TEXT NOT NULL,
    schema        BLOB,
    example       BLOB,
    description   TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, number)
);
CREATE INDEX event_types_by_version ON event_types (version);

CREATE TABLE replays (
    event_id    BLOB NOT NULL,
    delivery_id BLOB NOT NULL,
    PRIMARY KEY (event_id, delivery_id)
) WITHOUT ROWID;

-- Counters: at most one packed row per commit, folded into the totals and deleted in one transaction.
CREATE TABLE counter_deltas (
    n      INTEGER PRIMARY KEY,
    packed BLOB NOT NULL
);
CREATE TABLE tenant_totals (
    tenant      TEXT PRIMARY KEY,
    events      INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL,
    pending     INTEGER NOT NULL,
    leased      INTEGER NOT NULL,
    held        INTEGER NOT NULL,
    unconfirmed INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    discarded   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE endpoint_totals (
    endpoint_id BLOB PRIMARY KEY,
    tenant      TEXT NOT NULL,
    deliveries  INTEGER NOT NULL,
    pending     INTEGER NOT NULL,
    leased      INTEGER NOT NULL,
    held        INTEGER NOT NULL,
    unconfirmed INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    discarded   INTEGER NOT NULL
) WITHOUT ROWID;
