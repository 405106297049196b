-- Sources: where webhooks come in, with what waits for a person and what was refused.

CREATE TABLE sources (
    id            BLOB PRIMARY KEY,         -- 12 bytes
    tenant        TEXT NOT NULL,
    name          TEXT NOT NULL,
    uid           TEXT,
    spec          BLOB NOT NULL,
    sealed        BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    deleted       INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX sources_by_name ON sources (tenant, name) WHERE deleted = 0;
CREATE UNIQUE INDEX sources_by_uid ON sources (tenant, uid) WHERE deleted = 0 AND uid IS NOT NULL;
CREATE INDEX sources_by_version ON sources (version);

-- What a source's schema does not allow and a person is to judge. `data` is last, as in events.
CREATE TABLE quarantine (
    id        BLOB PRIMARY KEY,             -- 12 bytes
    source_id BLOB NOT NULL,
    tenant    TEXT NOT NULL,
    event     BLOB NOT NULL,                -- msgpack map: the event that it would be, without its payload
    problem   BLOB NOT NULL,                -- JSON
    data      BLOB NOT NULL
);
CREATE INDEX quarantine_by_source ON quarantine (source_id, id);

-- How many each source has there: the bound is asked and the books are read without counting.
CREATE TABLE quarantine_totals (
    source_id BLOB PRIMARY KEY,
    tenant    TEXT NOT NULL,
    kept      INTEGER NOT NULL
) WITHOUT ROWID;

-- The newest refused requests of each source.
CREATE TABLE rejections (
    source_id BLOB NOT NULL,
    id        BLOB NOT NULL,                -- 12 bytes
    packed    BLOB NOT NULL
);
CREATE UNIQUE INDEX rejections_by_source ON rejections (source_id, id);
