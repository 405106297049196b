-- The first schema. Ids are bytea (hookline.core.ids), times are milliseconds since 1970 by the server's clock, states
-- are the numbers of hookline.core.delivery.State.

CREATE TABLE meta (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO meta (name, value) VALUES
    ('registry_version', 0), ('stream_epoch', (random() * 2147483647)::bigint), ('journal_from', 0),
    ('keep_from', 0);                       -- events made before this instant go soon: a replay keeps its event apart

-- History is cut into ranges of the time-ordered id, so that old ranges are dropped instead of deleted row by row.
CREATE TABLE events (
    id           bytea NOT NULL,            -- 12 bytes
    tenant       text NOT NULL,
    type         text NOT NULL,
    source       text NOT NULL,
    source_id    text,
    subject      text,
    content_type text NOT NULL,
    attributes   bytea NOT NULL,            -- msgpack array: the rest of the event
    encoding     smallint NOT NULL,         -- of data; 0: as it is
    data         bytea NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
ALTER TABLE events ALTER COLUMN data SET STORAGE EXTERNAL;
-- Events of which a replay outlives their range of history. An event is in one of the two.
CREATE TABLE events_kept (LIKE events INCLUDING DEFAULTS INCLUDING STORAGE, PRIMARY KEY (id));
CREATE VIEW every_event AS SELECT * FROM events UNION ALL SELECT * FROM events_kept;

CREATE TABLE closed (
    id          bytea NOT NULL,
    event_id    bytea,
    endpoint_id bytea NOT NULL,
    tenant      text NOT NULL,
    state       smallint NOT NULL,
    finished_ms bigint NOT NULL,
    fence       integer NOT NULL,
    tries       integer NOT NULL,
    attempts    integer NOT NULL,
    size_bytes  integer NOT NULL,
    lane        text,
    seq         bigint,
    reason      text,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX closed_failed ON closed (tenant, id) WHERE state = 5;
-- What must be looked at before a range is dropped: other rows hang on these, or they stay for a day more.
CREATE INDEX closed_tied ON closed (id) WHERE event_id IS NOT NULL OR (state = 5 AND lane IS NOT NULL);
CREATE INDEX closed_expired ON closed (id) WHERE reason = 'expired';

CREATE TABLE attempts (
    delivery_id bytea NOT NULL,
    fence       integer NOT NULL,
    packed      bytea NOT NULL,
    PRIMARY KEY (delivery_id, fence)
) PARTITION BY RANGE (delivery_id);

-- Every open delivery, narrow; closing one is DELETE here and INSERT into closed.
CREATE TABLE open (
    id             bytea PRIMARY KEY,       -- 16 bytes
    event_id       bytea,                   -- of a replay; else NULL: the first 12 bytes of id
    endpoint_id    bytea NOT NULL,
    tenant         text NOT NULL,
    state          smallint NOT NULL,
    rank           smallint NOT NULL DEFAULT 0,     -- 0 live, 1 replay
    due_ms         bigint NOT NULL,
    fence          integer NOT NULL DEFAULT 0,
    lease_until_ms bigint NOT NULL DEFAULT 0,
    owner          bigint,                  -- the instance that leased it
    handoff        boolean NOT NULL DEFAULT false,  -- leased by the accept commit: not counted against the cap
    tries          integer NOT NULL DEFAULT 0,
    attempts       integer NOT NULL DEFAULT 0,
    lost           integer NOT NULL DEFAULT 0,
    size_bytes     integer NOT NULL,        -- of the event's payload
    lane           text,
    seq            bigint,                  -- the place in the lane
    reason         text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
CREATE INDEX open_by_due ON open (endpoint_id, rank, due_ms, id) WHERE state = 0;
CREATE INDEX open_by_lease ON open (endpoint_id, handoff, lease_until_ms) WHERE state = 1;
CREATE INDEX open_by_owner ON open (owner, lease_until_ms) WHERE state = 1;
CREATE INDEX open_by_lane ON open (endpoint_id, lane, seq) WHERE lane IS NOT NULL;
CREATE INDEX open_by_deadline ON open (due_ms, id) WHERE state = 3;
CREATE INDEX open_unconfirmed ON open (endpoint_id, id) WHERE state = 3;

-- What makes a repeat a duplicate; small and short-lived, so that the partitions of history need no such index.
CREATE TABLE dedupe (
    key        bytea PRIMARY KEY,           -- 16 bytes, from tenant, source and the publisher's id
    expires_ms bigint NOT NULL,
    value      bytea NOT NULL               -- the event's id and the number of its deliveries
);
CREATE INDEX dedupe_by_end ON dedupe (expires_ms);
CREATE TABLE idempotency (
    key        bytea PRIMARY KEY,           -- 16 bytes, from tenant and Idempotency-Key
    expires_ms bigint NOT NULL,
    body_hash  bytea NOT NULL,
    note       bytea NOT NULL,
    items      bytea NOT NULL               -- of each: the event's id, the number of its deliveries, whether a duplicate
);
CREATE INDEX idempotency_by_end ON idempotency (expires_ms);

-- A row exists while the lane has anything open or a block.
CREATE TABLE lanes (
    endpoint_id bytea NOT NULL,
    lane        text NOT NULL,
    head        bytea,                      -- the one delivery that may be pending, leased or unconfirmed
    blocks      bytea,                      -- (seq 8 bytes, delivery 16 bytes) of each failed one that blocks, sorted
    PRIMARY KEY (endpoint_id, lane)
);
CREATE SEQUENCE lane_seq CACHE 1;

CREATE TABLE fanouts (
    n            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     bytea NOT NULL,
    tenant       text NOT NULL,
    ordinal      integer NOT NULL,          -- of its first endpoint
    due_ms       bigint NOT NULL,
    size_bytes   integer NOT NULL,
    done         integer NOT NULL DEFAULT 0,
    count        integer NOT NULL
);
-- Beside it, so that a step does not write the long row again.
CREATE TABLE fanout_lists (
    n            bigint PRIMARY KEY,
    endpoint_ids bytea NOT NULL             -- 12 bytes each
);
ALTER TABLE fanout_lists ALTER COLUMN endpoint_ids SET STORAGE EXTERNAL;

CREATE TABLE endpoints (
    id            bytea PRIMARY KEY,        -- 12 bytes
    tenant        text NOT NULL,
    uid           text,
    state         text NOT NULL,
    spec          bytea NOT NULL,
    sealed        bytea NOT NULL,
    warnings      bytea NOT NULL,           -- msgpack array of texts
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    version       bigint NOT NULL,
    deleted       smallint NOT NULL DEFAULT 0   -- 1: a tombstone with open deliveries; 2: nothing of it is open
);
CREATE UNIQUE INDEX endpoints_by_uid ON endpoints (tenant, uid) WHERE deleted = 0 AND uid IS NOT NULL;
CREATE INDEX endpoints_by_version ON endpoints (version);
CREATE INDEX endpoints_holding ON endpoints (tenant) WHERE state <> 'active' AND deleted < 2;
CREATE INDEX endpoints_to_close ON endpoints (id) WHERE deleted = 1;
CREATE INDEX endpoints_gone ON endpoints (id) WHERE deleted = 2;

-- What the flow learned of an endpoint, and the row that a claim locks. version 0: nothing yet; below 0: forgotten.
CREATE TABLE endpoint_states (
    endpoint_id   bytea PRIMARY KEY,
    version       integer NOT NULL DEFAULT 0,
    packed        bytea NOT NULL DEFAULT '',
    wait_until_ms bigint,
    probe_at_ms   bigint,
    tat_ms        double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE event_types (
    tenant        text NOT NULL,
    name          text NOT NULL,
    number        integer NOT NULL,         -- 0: the tombstone of a deleted one
    mode          text NOT NULL,
    schema        bytea,
    example       bytea,
    description   text NOT NULL,
    created_at_ms bigint NOT NULL,
    version       bigint NOT NULL,
    PRIMARY KEY (tenant, name, number)
);
CREATE INDEX event_types_by_version ON event_types (version);

CREATE TABLE tenants (
    id            text PRIMARY KEY,
    spec          bytea NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    version       bigint NOT NULL,
    deleted       boolean NOT NULL DEFAULT false
);
CREATE INDEX tenants_by_version ON tenants (version);

CREATE TABLE keys (
    id            bytea PRIMARY KEY,        -- 12 bytes
    tenant        text,                     -- NULL: the operator's
    digest        bytea NOT NULL,           -- SHA-256 of the key; the key itself is nowhere
    hint          text NOT NULL,
    spec          bytea NOT NULL,
    created_at_ms bigint NOT NULL,
    version       bigint NOT NULL,
    deleted       boolean NOT NULL DEFAULT false,
    last_used_ms  bigint
);
CREATE UNIQUE INDEX keys_by_digest ON keys (digest) WHERE NOT deleted;
CREATE INDEX keys_by_version ON keys (version);

CREATE TABLE replays (
    event_id    bytea NOT NULL,
    delivery_id bytea NOT NULL,
    PRIMARY KEY (event_id, delivery_id)
);

CREATE TABLE replay_jobs (
    id            bytea PRIMARY KEY,        -- 12 bytes
    tenant        text NOT NULL,
    spec          bytea NOT NULL,
    state         text NOT NULL,
    after         bytea,
    until         bytea NOT NULL,
    examined      bigint NOT NULL,
    replayed      bigint NOT NULL,
    skipped       bigint NOT NULL,
    detail        text NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL
);
CREATE INDEX replay_jobs_running ON replay_jobs (id) WHERE state = 'running';

-- What a receiver said before its delivery could be recorded, or before its deadline.
CREATE TABLE confirmations (
    delivery_id bytea PRIMARY KEY,
    success     boolean NOT NULL,
    message     bytea NOT NULL
);

-- Counters: one row per commit, folded into the totals and deleted in one transaction. `before` 7: made now; 8: counted
-- as pending by its tenant since its event was accepted; 9: an event (nothing of `endpoints` and `after` then).
CREATE TABLE deltas (
    n         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenants   text[] NOT NULL,
    endpoints bytea[] NOT NULL,             -- '': counted for the tenant only
    befores   smallint[] NOT NULL,
    afters    smallint[] NOT NULL,
    counts    integer[] NOT NULL
);
CREATE TABLE tenant_totals (
    tenant      text PRIMARY KEY,
    events      bigint NOT NULL,
    deliveries  bigint NOT NULL,
    pending     bigint NOT NULL,
    leased      bigint NOT NULL,
    held        bigint NOT NULL,
    unconfirmed bigint NOT NULL,
    delivered   bigint NOT NULL,
    failed      bigint NOT NULL,
    discarded   bigint NOT NULL
);
CREATE TABLE endpoint_totals (
    endpoint_id bytea PRIMARY KEY,
    tenant      text NOT NULL,
    deliveries  bigint NOT NULL,
    pending     bigint NOT NULL,
    leased      bigint NOT NULL,
    held        bigint NOT NULL,
    unconfirmed bigint NOT NULL,
    delivered   bigint NOT NULL,
    failed      bigint NOT NULL,
    discarded   bigint NOT NULL
);

-- What a stream shows: one row per commit, in the order of transactions. Read only below the oldest one that runs.
CREATE TABLE journal (
    xid      xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
    at_ms    bigint NOT NULL,
    events   bytea NOT NULL DEFAULT '',     -- 12 bytes each
    attempts bytea NOT NULL DEFAULT ''      -- delivery 16 bytes, fence 4 bytes, each
);
CREATE INDEX journal_by_time ON journal (at_ms);
CREATE TABLE changes (
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    n           bigint GENERATED ALWAYS AS IDENTITY,
    at_ms       bigint NOT NULL,
    tenant      text NOT NULL,
    endpoint_id bytea NOT NULL,
    delivery_id bytea,
    before      text NOT NULL,
    after       text NOT NULL,
    reason      text,
    PRIMARY KEY (xid, n)
);

-- The processes that work on this database. A beat is a number: who watches one that does not move for long enough by
-- his own clock takes its leases back (docs/reliability.md, rule 16).
CREATE TABLE instances (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,                    -- '' or one that only one process has at a time
    beat  bigint NOT NULL DEFAULT 0,
    dead  boolean NOT NULL DEFAULT false,
    delivers boolean NOT NULL               -- false: it only accepts and serves
) WITH (fillfactor = 50);

-- Who holds the registry in memory is told of each change, when it is committed.
CREATE FUNCTION hl_registry_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hookline_registry', NEW.value::text);
    RETURN NULL;
END $$;
CREATE TRIGGER registry_changed AFTER UPDATE ON meta FOR EACH ROW WHEN (NEW.name = 'registry_version')
    EXECUTE FUNCTION hl_registry_changed();

-- Where webhooks come in, with what waits for a person and what was refused.
CREATE TABLE sources (
    id            bytea PRIMARY KEY,        -- 12 bytes
    tenant        text NOT NULL,
    name          text NOT NULL,
    uid           text,
    spec          bytea NOT NULL,
    sealed        bytea NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    version       bigint NOT NULL,
    deleted       boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX sources_by_name ON sources (tenant, name) WHERE NOT deleted;
CREATE UNIQUE INDEX sources_by_uid ON sources (tenant, uid) WHERE NOT deleted AND uid IS NOT NULL;
CREATE INDEX sources_by_version ON sources (version);
CREATE TABLE quarantine (
    id        bytea PRIMARY KEY,            -- 12 bytes
    source_id bytea NOT NULL,
    tenant    text NOT NULL,
    event     bytea NOT NULL,               -- msgpack map: the event that it would be, without its payload
    problem   bytea NOT NULL,               -- JSON
    data      bytea NOT NULL
);
CREATE INDEX quarantine_by_source ON quarantine (source_id, id);
CREATE TABLE quarantine_totals (
    source_id bytea PRIMARY KEY,
    tenant    text NOT NULL,
    kept      integer NOT NULL
);
CREATE TABLE rejections (
    source_id bytea NOT NULL,
    id        bytea NOT NULL,               -- 12 bytes
    packed    bytea NOT NULL,
    PRIMARY KEY (source_id, id)
);
