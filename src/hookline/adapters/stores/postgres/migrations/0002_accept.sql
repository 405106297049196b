-- Accept: one statement for a shared commit. Error HL001: the registry is newer than what this was routed with; HL002: the
-- process was taken for dead, and its leases back: it must become another one first.

-- The server's clock, or the one that a test tells.
CREATE FUNCTION hl_now(p_now bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT coalesce(p_now, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) $$;

-- The registry as this transaction sees it stays the newest until it ends: who changes it waits for the shared lock.
CREATE FUNCTION hl_require_registry(p_version bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4846002);
    IF (SELECT value FROM meta WHERE name = 'registry_version') > p_version THEN
        RAISE EXCEPTION 'the registry is newer' USING ERRCODE = 'HL001';
    END IF;
END $$;

-- Whoever leases must live: what a dead one leases is taken back at once, and would be sent twice.
CREATE FUNCTION hl_require_alive(p_owner bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM instances WHERE id = p_owner AND NOT dead) THEN
        RAISE EXCEPTION 'this process was taken for dead' USING ERRCODE = 'HL002';
    END IF;
END $$;

-- Lock these lanes' rows, in one order for everybody; those that are not there are made.
CREATE FUNCTION hl_lock_lanes(p_endpoints bytea[], p_lanes text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO lanes (endpoint_id, lane)
    SELECT DISTINCT e, l FROM unnest(p_endpoints, p_lanes) AS u (e, l) ORDER BY e, l
    ON CONFLICT (endpoint_id, lane) DO UPDATE SET head = lanes.head
$$;

-- Put a delivery at the end of its lane, whose row is locked: whether it is the head, and its place.
CREATE FUNCTION hl_append(p_endpoint bytea, p_lane text, p_id bytea, OUT is_head boolean, OUT seq bigint)
LANGUAGE plpgsql AS $$
BEGIN
    seq := nextval('lane_seq');
    UPDATE lanes l SET head = p_id WHERE l.endpoint_id = p_endpoint AND l.lane = p_lane AND l.head IS NULL
        AND l.blocks IS NULL
        AND NOT EXISTS (SELECT 1 FROM open o WHERE o.endpoint_id = p_endpoint AND o.lane = p_lane);
    is_head := FOUND;
END $$;

-- Write a commit's books: moves with equal ends are one.
CREATE FUNCTION hl_count(p_tenants text[], p_endpoints bytea[], p_befores smallint[], p_afters smallint[], p_counts integer[])
RETURNS void LANGUAGE sql AS $$
    INSERT INTO deltas (tenants, endpoints, befores, afters, counts)
    SELECT array_agg(t), array_agg(e), array_agg(b), array_agg(a), array_agg(c) FROM (
        SELECT t, e, b, a, sum(c)::integer AS c
        FROM unnest(p_tenants, p_endpoints, p_befores, p_afters, p_counts) AS u (t, e, b, a, c)
        GROUP BY t, e, b, a) AS g
    HAVING count(*) > 0
$$;

-- Insert new events with what goes out of them; `d_lease` NULL: pending. Returns the states of the deliveries.
-- Items that are `i_skip` are left out with all that is theirs. `p_hand_off` false: nothing is leased.
CREATE FUNCTION hl_new_events(
    p_now bigint, p_owner bigint, p_hand_off boolean, i_skip boolean[],
    i_id bytea[], i_tenant text[], i_type text[], i_source text[], i_source_id text[], i_subject text[],
    i_content_type text[], i_attributes bytea[], i_data bytea[], i_wait bigint[], i_fanout bytea[],
    d_item integer[], d_id bytea[], d_endpoint bytea[], d_lane text[], d_lease bigint[]
) RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    states smallint[];
    in_lanes boolean;
    one record;
    place record;
    fan record;
    state smallint;
    number bigint;
BEGIN
    INSERT INTO events (id, tenant, type, source, source_id, subject, content_type, attributes, encoding, data)
    SELECT u.id, u.tenant, u.type, u.source, u.source_id, u.subject, u.content_type, u.attributes, 0, u.data
    FROM unnest(i_id, i_tenant, i_type, i_source, i_source_id, i_subject, i_content_type, i_attributes, i_data, i_skip)
        AS u (id, tenant, type, source, source_id, subject, content_type, attributes, data, skip)
    WHERE NOT u.skip;

    SELECT coalesce(array_agg((CASE WHEN i_skip[u.item] THEN -1 WHEN p_hand_off AND u.lease IS NOT NULL THEN 1 ELSE 0 END)::smallint
                     ORDER BY u.n), '{}'),
           coalesce(bool_or(u.lane IS NOT NULL AND NOT i_skip[u.item]), false)
    INTO states, in_lanes
    FROM unnest(d_item, d_lane, d_lease) WITH ORDINALITY AS u (item, lane, lease, n);

    INSERT INTO open (id, endpoint_id, tenant, state, due_ms, fence, lease_until_ms, owner, handoff, size_bytes)
    SELECT u.id, u.endpoint, i_tenant[u.item], u.state, p_now + i_wait[u.item], u.state,
           CASE WHEN u.state = 1 THEN p_now + u.lease ELSE 0 END, CASE WHEN u.state = 1 THEN p_owner END, u.state = 1,
           octet_length(i_data[u.item])
    FROM unnest(d_item, d_id, d_endpoint, d_lane, d_lease, states) AS u (item, id, endpoint, lane, lease, state)
    WHERE u.lane IS NULL AND u.state >= 0;

    IF in_lanes THEN
        PERFORM hl_lock_lanes(array_agg(u.endpoint), array_agg(u.lane))
        FROM unnest(d_item, d_endpoint, d_lane) AS u (item, endpoint, lane) WHERE u.lane IS NOT NULL AND NOT i_skip[u.item];
        FOR one IN SELECT u.* FROM unnest(d_item, d_id, d_endpoint, d_lane, d_lease) WITH ORDINALITY
                AS u (item, id, endpoint, lane, lease, n) WHERE u.lane IS NOT NULL AND NOT i_skip[u.item] ORDER BY u.n LOOP
            SELECT * INTO place FROM hl_append(one.endpoint, one.lane, one.id);
            state := CASE WHEN NOT place.is_head THEN 2 WHEN p_hand_off AND one.lease IS NOT NULL THEN 1 ELSE 0 END;
            INSERT INTO open (id, endpoint_id, tenant, state, due_ms, fence, lease_until_ms, owner, handoff, size_bytes,
                              lane, seq)
            VALUES (one.id, one.endpoint, i_tenant[one.item], state, p_now + i_wait[one.item],
                    CASE WHEN state = 1 THEN 1 ELSE 0 END, CASE WHEN state = 1 THEN p_now + one.lease ELSE 0 END,
                    CASE WHEN state = 1 THEN p_owner END, state = 1, octet_length(i_data[one.item]), one.lane, place.seq);
            states[one.n] := state;
        END LOOP;
    END IF;

    FOR fan IN SELECT u.* FROM unnest(i_id, i_fanout) WITH ORDINALITY AS u (id, list, n)
            WHERE octet_length(u.list) > 0 AND NOT i_skip[u.n] ORDER BY u.n LOOP
        INSERT INTO fanouts (event_id, tenant, ordinal, due_ms, size_bytes, count)
        VALUES (fan.id, i_tenant[fan.n],
                1 + (SELECT count(*)::integer FROM unnest(d_item) AS u (item) WHERE u.item = fan.n),
                p_now + i_wait[fan.n], octet_length(i_data[fan.n]), octet_length(fan.list) / 12)
        RETURNING n INTO number;
        INSERT INTO fanout_lists (n, endpoint_ids) VALUES (number, fan.list);
    END LOOP;

    PERFORM hl_count(array_agg(m.t), array_agg(m.e), array_agg(m.b), array_agg(m.a), array_agg(m.c)) FROM (
        SELECT u.tenant AS t, ''::bytea AS e, 9::smallint AS b, 0::smallint AS a, 1 AS c
        FROM unnest(i_tenant, i_skip) AS u (tenant, skip) WHERE NOT u.skip
        UNION ALL
        SELECT i_tenant[u.item], u.endpoint, 7::smallint, u.state, 1
        FROM unnest(d_item, d_endpoint, states) AS u (item, endpoint, state) WHERE u.state >= 0
        UNION ALL
        SELECT i_tenant[u.n], ''::bytea, 7::smallint, 0::smallint, octet_length(u.list) / 12
        FROM unnest(i_fanout) WITH ORDINALITY AS u (list, n) WHERE octet_length(u.list) > 0 AND NOT i_skip[u.n]
    ) AS m;
    RETURN states;
END $$;

-- Keep the keys of new events for their time, where nobody else's is kept: the first of two in a call, and in key order.
CREATE FUNCTION hl_keep_keys(
    p_now bigint, i_key bytea[], i_keep bigint[], i_id bytea[], i_count integer[], i_skip boolean[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO dedupe AS k (key, expires_ms, value)
    SELECT DISTINCT ON (u.key) u.key, p_now + u.keep, u.id || int4send(u.count)
    FROM unnest(i_key, i_keep, i_id, i_count, i_skip) WITH ORDINALITY AS u (key, keep, id, count, skip, n)
    WHERE u.key IS NOT NULL AND NOT u.skip ORDER BY u.key, u.n
    ON CONFLICT (key) DO UPDATE SET expires_ms = excluded.expires_ms, value = excluded.value WHERE k.expires_ms <= p_now
$$;

-- An item that goes into quarantine, or comes out of it. `how` 0: it is an event; 1: kept; 2: no room; 3: not there any
-- more. `known`: the dedupe value of its first. A number of deliveries of -1 says that the first is in quarantine.
CREATE FUNCTION hl_quarantine(
    p_now bigint, p_tenant text, p_id bytea, p_data bytea, p_key bytea, p_keep bigint, p_count integer,
    p_source bytea, p_problem bytea, p_event bytea, p_max integer, p_released bytea, OUT how smallint, OUT known bytea
) LANGUAGE plpgsql AS $$
DECLARE
    v_source bytea;
BEGIN
    how := 0;
    IF p_released IS NOT NULL THEN
        DELETE FROM quarantine q WHERE q.id = p_released AND q.tenant = p_tenant RETURNING q.source_id INTO v_source;
        IF NOT FOUND THEN
            how := 3;
            RETURN;
        END IF;
        UPDATE quarantine_totals t SET kept = t.kept - 1 WHERE t.source_id = v_source;
        DELETE FROM quarantine_totals t WHERE t.source_id = v_source AND t.kept <= 0;
    END IF;
    IF p_key IS NOT NULL THEN
        INSERT INTO dedupe AS k (key, expires_ms, value)
        VALUES (p_key, p_now + p_keep, p_id || int4send(CASE WHEN p_source IS NULL THEN p_count ELSE -1 END))
        ON CONFLICT (key) DO UPDATE SET expires_ms = excluded.expires_ms, value = excluded.value
            WHERE k.expires_ms <= p_now OR p_released IS NOT NULL;
        IF NOT FOUND THEN
            SELECT k.value INTO known FROM dedupe k WHERE k.key = p_key;
            RETURN;
        END IF;
    END IF;
    IF p_source IS NOT NULL THEN
        INSERT INTO quarantine_totals AS t (source_id, tenant, kept) VALUES (p_source, p_tenant, 1)
        ON CONFLICT (source_id) DO UPDATE SET kept = t.kept + 1 WHERE t.kept < p_max;
        IF NOT FOUND THEN
            DELETE FROM dedupe k WHERE k.key = p_key;
            how := 2;
            RETURN;
        END IF;
        INSERT INTO quarantine (id, source_id, tenant, event, problem, data)
        VALUES (p_id, p_source, p_tenant, p_event, p_problem, p_data);
        how := 1;
    END IF;
END $$;

-- The shared commit of accept. `r_key` and `i_key` are NULL where there is none. Returned: `r_state` 0 new, 1 known with
-- its stored answer in `r_items` and `r_note` (whose `r_hash_known` says whether it was the same request), 2 the same key
-- as an earlier request of this call; `i_first` the dedupe value of the first event with this key, where it is another.
CREATE FUNCTION hl_accept(
    p_version bigint, p_told bigint, p_owner bigint,
    r_key bytea[], r_hash bytea[], r_note bytea[], r_keep bigint[],
    i_request integer[], i_id bytea[], i_tenant text[], i_type text[], i_source text[], i_source_id text[],
    i_subject text[], i_content_type text[], i_attributes bytea[], i_data bytea[], i_wait bigint[], i_key bytea[],
    i_keep bigint[], i_fanout bytea[], i_count integer[],
    d_item integer[], d_id bytea[], d_endpoint bytea[], d_lane text[], d_lease bigint[],
    s_item integer[], s_source bytea[], s_problem bytea[], s_event bytea[], s_max integer[], s_released bytea[],
    OUT now_ms bigint, OUT r_state smallint[], OUT r_items bytea[], OUT r_notes bytea[], OUT r_hash_known bytea[],
    OUT i_first bytea[], OUT d_state smallint[], OUT s_how smallint[]
) LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    skip boolean[] := array_fill(false, ARRAY[cardinality(i_id)]);
    made bytea[];
    quarantined record;
BEGIN
    now_ms := hl_now(p_told);
    PERFORM hl_require_alive(p_owner);
    PERFORM hl_require_registry(p_version);
    i_first := array_fill(NULL::bytea, ARRAY[cardinality(i_id)]);
    IF cardinality(r_key) > 0 THEN
        WITH added AS (
            INSERT INTO idempotency AS k (key, expires_ms, body_hash, note, items)
            SELECT DISTINCT ON (u.key) u.key, now_ms + u.keep, u.hash, u.note, ''::bytea
            FROM unnest(r_key, r_hash, r_note, r_keep) WITH ORDINALITY AS u (key, hash, note, keep, n)
            WHERE u.key IS NOT NULL ORDER BY u.key, u.n
            ON CONFLICT (key) DO UPDATE SET expires_ms = excluded.expires_ms, body_hash = excluded.body_hash,
                note = excluded.note, items = ''::bytea WHERE k.expires_ms <= now_ms
            RETURNING k.key
        ) SELECT coalesce(array_agg(key), '{}') INTO made FROM added;
        SELECT array_agg((CASE WHEN u.key IS NULL THEN 0 WHEN u.key = ANY (made) THEN
                              CASE WHEN u.n = u.first THEN 0 ELSE 2 END ELSE 1 END)::smallint ORDER BY u.n),
               array_agg(k.items ORDER BY u.n), array_agg(k.note ORDER BY u.n), array_agg(k.body_hash ORDER BY u.n)
        INTO r_state, r_items, r_notes, r_hash_known
        FROM (SELECT v.key, v.n, min(v.n) OVER (PARTITION BY v.key) AS first
              FROM unnest(r_key) WITH ORDINALITY AS v (key, n)) AS u
        LEFT JOIN idempotency k ON k.key = u.key;
        SELECT coalesce(array_agg(r_state[u.request] > 0 ORDER BY u.n), '{}') INTO skip
        FROM unnest(i_request) WITH ORDINALITY AS u (request, n);
    END IF;
    s_how := array_fill(0::smallint, ARRAY[cardinality(s_item)]);
    FOR n IN 1 .. cardinality(s_item) LOOP
        IF NOT skip[s_item[n]] THEN
            SELECT * INTO quarantined FROM hl_quarantine(now_ms, i_tenant[s_item[n]], i_id[s_item[n]], i_data[s_item[n]],
                i_key[s_item[n]], i_keep[s_item[n]], i_count[s_item[n]], s_source[n], s_problem[n], s_event[n], s_max[n],
                s_released[n]);
            s_how[n] := quarantined.how;
            i_first[s_item[n]] := quarantined.known;
            skip[s_item[n]] := quarantined.how > 0 OR quarantined.known IS NOT NULL;
            i_key[s_item[n]] := NULL;
        END IF;
    END LOOP;
    IF EXISTS (SELECT 1 FROM unnest(i_key) AS u (key) WHERE u.key IS NOT NULL) THEN
        PERFORM hl_keep_keys(now_ms, i_key, i_keep, i_id, i_count, skip);
        SELECT array_agg(CASE WHEN u.skip OR substr(k.value, 1, 12) = u.id THEN u.first ELSE k.value END ORDER BY u.n),
               array_agg(u.skip OR coalesce(substr(k.value, 1, 12) <> u.id, false) ORDER BY u.n)
        INTO i_first, skip
        FROM unnest(i_key, i_id, skip, i_first) WITH ORDINALITY AS u (key, id, skip, first, n)
        LEFT JOIN dedupe k ON k.key = u.key;
    END IF;
    d_state := hl_new_events(now_ms, p_owner, true, skip, i_id, i_tenant, i_type, i_source, i_source_id, i_subject,
        i_content_type, i_attributes, i_data, i_wait, i_fanout, d_item, d_id, d_endpoint, d_lane, d_lease);
    INSERT INTO journal (at_ms, events)
    SELECT now_ms, string_agg(u.id, ''::bytea ORDER BY u.n)
    FROM unnest(i_id, skip) WITH ORDINALITY AS u (id, skip, n) WHERE NOT u.skip HAVING count(*) > 0;
    IF cardinality(made) > 0 THEN
        UPDATE idempotency k SET items = s.items FROM (
            SELECT r_key[u.request] AS key, string_agg(
                CASE WHEN i_first[u.n] IS NULL THEN i_id[u.n] || int4send(i_count[u.n]) || '\x00'::bytea
                     ELSE i_first[u.n] || '\x01'::bytea END, ''::bytea ORDER BY u.n) AS items
            FROM unnest(i_request) WITH ORDINALITY AS u (request, n) WHERE r_state[u.request] = 0 GROUP BY u.request
        ) AS s WHERE k.key = s.key;
    END IF;
END $$;
