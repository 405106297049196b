-- Record: outcomes, fenced, with all that hangs on them; one statement.

CREATE FUNCTION hl_word(p_state integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['pending', 'leased', 'held', 'unconfirmed', 'delivered', 'failed', 'discarded'])[p_state + 1]
$$;

CREATE FUNCTION hl_is_success(p_id bytea) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT success FROM confirmations WHERE delivery_id = p_id), false)
$$;

-- Give a lane, whose row is locked, the head it should have, after anything of it was opened, closed (`p_closed`), or is
-- pending again. `holds`: how many went from pending to held; `promoted_due`: when what was promoted is due, if any was.
CREATE FUNCTION hl_settle(
    p_endpoint bytea, p_lane text, p_closed bytea, OUT holds integer, OUT promoted boolean, OUT promoted_due bigint
) LANGUAGE plpgsql AS $$
DECLARE
    l record;
    f record;
    v_state smallint;
BEGIN
    holds := 0;
    promoted := false;
    SELECT head, blocks INTO l FROM lanes WHERE endpoint_id = p_endpoint AND lane = p_lane;
    SELECT id, seq, state, due_ms INTO f FROM open WHERE endpoint_id = p_endpoint AND lane = p_lane ORDER BY seq LIMIT 1;
    IF l.head IS NOT NULL AND l.head IS DISTINCT FROM p_closed AND (f.id IS NULL OR l.head <> f.id) THEN
        SELECT state INTO v_state FROM open WHERE id = l.head;
        IF v_state IN (1, 3) THEN
            RETURN;  -- it is in flight: when it comes back, the older one goes first
        END IF;
        IF v_state = 0 THEN
            UPDATE open SET state = 2 WHERE id = l.head;
            holds := holds + 1;
        END IF;
    END IF;
    IF f.id IS NULL THEN
        IF l.blocks IS NULL THEN
            DELETE FROM lanes WHERE endpoint_id = p_endpoint AND lane = p_lane;
        ELSE
            UPDATE lanes SET head = NULL WHERE endpoint_id = p_endpoint AND lane = p_lane;
        END IF;
        RETURN;
    END IF;
    IF f.state IN (1, 3) THEN
        UPDATE lanes SET head = f.id WHERE endpoint_id = p_endpoint AND lane = p_lane AND head IS DISTINCT FROM f.id;
        RETURN;
    END IF;
    IF l.blocks IS NOT NULL AND substr(l.blocks, 1, 8) < int8send(f.seq) THEN
        IF f.state = 0 THEN
            UPDATE open SET state = 2 WHERE id = f.id;
            holds := holds + 1;
        END IF;
        UPDATE lanes SET head = NULL WHERE endpoint_id = p_endpoint AND lane = p_lane;
        RETURN;
    END IF;
    UPDATE lanes SET head = f.id WHERE endpoint_id = p_endpoint AND lane = p_lane AND head IS DISTINCT FROM f.id;
    IF f.state <> 2 THEN
        RETURN;
    END IF;
    UPDATE open SET state = 0 WHERE id = f.id;
    promoted := true;
    promoted_due := f.due_ms;
END $$;

-- A failed delivery keeps its place in its lane: nothing behind it runs.
CREATE FUNCTION hl_block(p_endpoint bytea, p_lane text, p_seq bigint, p_id bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_blocks bytea;
BEGIN
    SELECT coalesce(blocks, ''::bytea) || int8send(p_seq) || p_id INTO v_blocks
    FROM lanes WHERE endpoint_id = p_endpoint AND lane = p_lane;
    SELECT string_agg(entry, ''::bytea ORDER BY entry) INTO v_blocks FROM (
        SELECT substr(v_blocks, 1 + 24 * g, 24) AS entry FROM generate_series(0, octet_length(v_blocks) / 24 - 1) AS g) AS s;
    UPDATE lanes SET blocks = v_blocks WHERE endpoint_id = p_endpoint AND lane = p_lane;
END $$;

CREATE FUNCTION hl_unblock(p_endpoint bytea, p_lane text, p_id bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_blocks bytea;
BEGIN
    SELECT blocks INTO v_blocks FROM lanes WHERE endpoint_id = p_endpoint AND lane = p_lane;
    SELECT string_agg(entry, ''::bytea ORDER BY entry) INTO v_blocks FROM (
        SELECT substr(v_blocks, 1 + 24 * g, 24) AS entry FROM generate_series(0, octet_length(v_blocks) / 24 - 1) AS g) AS s
    WHERE substr(entry, 9) <> p_id;
    UPDATE lanes SET blocks = v_blocks WHERE endpoint_id = p_endpoint AND lane = p_lane;
END $$;

-- `x_plain`: delivered, with an attempt, and nothing else that hangs on it. `i_of`: the item (from 1), or minus the health
-- change, that a new event hangs on.
CREATE FUNCTION hl_record(
    p_version bigint, p_told bigint, p_owner bigint,
    x_id bytea[], x_fence integer[], x_after integer[], x_wait bigint[], x_tries integer[], x_lost integer[],
    x_reason text[], x_attempt bytea[], x_waits boolean[], x_plain boolean[],
    h_endpoint bytea[], h_version integer[], h_packed bytea[], h_wait bigint[], h_probe bigint[], h_disable boolean[],
    i_of integer[], i_id bytea[], i_tenant text[], i_type text[], i_source text[], i_source_id text[],
    i_subject text[], i_content_type text[], i_attributes bytea[], i_data bytea[], i_wait bigint[], i_key bytea[],
    i_keep bigint[], i_fanout bytea[], i_count integer[],
    d_item integer[], d_id bytea[], d_endpoint bytea[], d_lane text[], d_lease bigint[],
    OUT now_ms bigint, OUT applied boolean[], OUT h_applied boolean[], OUT due_endpoint bytea[], OUT due_at bigint[],
    OUT d_state smallint[]
) LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    v_events boolean := cardinality(i_id) > 0;
    v_spoken boolean;
    r open%ROWTYPE;
    g record;
    s record;
    n integer;
    v_after integer;
    v_attempted boolean;
    v_due bigint;
    v_done bytea := ''::bytea;
    v_reason text;
    m_t text[] := '{}';
    m_e bytea[] := '{}';
    m_b smallint[] := '{}';
    m_a smallint[] := '{}';
    skip boolean[];
    h record;
    e_due bytea[] := '{}';
    e_at bigint[] := '{}';
BEGIN
    now_ms := hl_now(p_told);
    applied := array_fill(false, ARRAY[cardinality(x_id)]);
    h_applied := array_fill(false, ARRAY[cardinality(h_endpoint)]);
    IF true = ANY (h_disable) THEN
        PERFORM pg_advisory_xact_lock(4846002);  -- the registry is about to change
    END IF;
    IF v_events THEN
        PERFORM hl_require_registry(p_version);
    END IF;
    -- Locks, in one order for everybody: lanes, deliveries.
    PERFORM hl_lock_lanes(array_agg(u.e), array_agg(u.l)) FROM (
        SELECT o.endpoint_id AS e, o.lane AS l FROM open o WHERE o.id = ANY (x_id) AND o.lane IS NOT NULL
        UNION SELECT d.e, d.l FROM unnest(d_endpoint, d_lane) AS d (e, l) WHERE d.l IS NOT NULL) AS u
    HAVING count(*) > 0;
    PERFORM 1 FROM open o WHERE o.id = ANY (x_id) ORDER BY o.id FOR UPDATE;
    v_spoken := EXISTS (SELECT 1 FROM confirmations);

    WITH want AS (
        SELECT * FROM unnest(x_id, x_fence, x_tries, x_attempt, x_plain) WITH ORDINALITY AS u (id, fence, tries, attempt, plain, n)
        WHERE u.plain
    ), gone AS (
        DELETE FROM open o USING want w WHERE o.id = w.id AND o.fence = w.fence AND o.state = 1 AND o.lane IS NULL
        RETURNING o.id, o.event_id, o.endpoint_id, o.tenant, o.fence, o.tries + w.tries AS tries, o.attempts + 1 AS attempts,
                  o.size_bytes, w.attempt, w.n
    ), history AS (
        INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes)
        SELECT id, event_id, endpoint_id, tenant, 4, now_ms, fence, tries, attempts, size_bytes FROM gone
    ), kept AS (
        INSERT INTO attempts (delivery_id, fence, packed) SELECT id, fence, attempt FROM gone
    )
    SELECT array_agg(tenant) AS t, array_agg(endpoint_id) AS e, array_agg(1::smallint) AS b, array_agg(4::smallint) AS a,
           string_agg(id || int4send(fence), ''::bytea ORDER BY n) AS done, array_agg(n) AS ns
    INTO g FROM gone;
    IF g.ns IS NOT NULL THEN
        m_t := g.t; m_e := g.e; m_b := g.b; m_a := g.a; v_done := g.done;
        FOREACH n IN ARRAY g.ns LOOP
            applied[n] := true;
        END LOOP;
    END IF;

    FOR n IN SELECT u.n FROM unnest(applied) WITH ORDINALITY AS u (done, n) WHERE NOT u.done ORDER BY u.n LOOP
        SELECT * INTO r FROM open o WHERE o.id = x_id[n];
        v_after := x_after[n];
        v_attempted := x_attempt[n] IS NOT NULL;
        IF NOT FOUND OR r.fence <> x_fence[n]
           OR (r.state, v_after) NOT IN ((0, 5), (0, 6), (1, 0), (1, 3), (1, 4), (1, 5), (1, 6), (2, 0), (2, 5), (2, 6),
                                         (3, 0), (3, 4), (3, 5), (3, 6))
           OR ((v_attempted OR x_lost[n] > 0) AND r.state <> 1)
           OR (r.state = 3 AND v_after <> 4 AND v_spoken AND hl_is_success(r.id)) THEN
            CONTINUE;
        END IF;
        applied[n] := true;
        r.tries := r.tries + x_tries[n];
        IF v_attempted THEN
            r.attempts := r.attempts + 1;
            r.lost := 0;
            INSERT INTO attempts (delivery_id, fence, packed) VALUES (r.id, r.fence, x_attempt[n]);
            v_done := v_done || r.id || int4send(r.fence);
        END IF;
        r.lost := r.lost + x_lost[n];
        IF r.state = 1 AND v_after IN (0, 5, 6) AND v_spoken AND hl_is_success(r.id) THEN
            -- The receiver said that his work is done: that settles it, whatever became of the attempt.
            UPDATE open o SET state = 3, due_ms = now_ms, tries = r.tries, attempts = r.attempts, lost = r.lost,
                reason = NULL, handoff = false, lease_until_ms = 0, owner = NULL WHERE o.id = r.id;
            m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 1::smallint; m_a := m_a || 3::smallint;
            IF NOT v_attempted THEN
                INSERT INTO changes (at_ms, tenant, endpoint_id, delivery_id, before, after)
                VALUES (now_ms, r.tenant, r.endpoint_id, r.id, 'leased', 'unconfirmed');
            END IF;
            x_after[n] := -1;  -- its events are not made
            CONTINUE;
        END IF;
        IF v_after = 0 THEN
            v_due := now_ms + x_wait[n];
            UPDATE open o SET state = 0, due_ms = v_due, tries = r.tries, attempts = r.attempts, lost = r.lost,
                reason = coalesce(x_reason[n], r.reason), handoff = false, lease_until_ms = 0, owner = NULL
            WHERE o.id = r.id;
            m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || r.state; m_a := m_a || 0::smallint;
            IF v_spoken THEN
                DELETE FROM confirmations c WHERE c.delivery_id = r.id AND NOT c.success;
            END IF;
            IF r.lane IS NULL THEN
                e_due := e_due || r.endpoint_id; e_at := e_at || v_due;
            END IF;
        ELSIF v_after = 3 THEN
            v_due := now_ms;
            IF NOT (v_spoken AND EXISTS (SELECT 1 FROM confirmations c WHERE c.delivery_id = r.id)) THEN
                v_due := v_due + x_wait[n];
            END IF;
            UPDATE open o SET state = 3, due_ms = v_due, tries = r.tries, attempts = r.attempts, lost = r.lost,
                reason = x_reason[n], handoff = false, lease_until_ms = 0, owner = NULL WHERE o.id = r.id;
            m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 1::smallint; m_a := m_a || 3::smallint;
        ELSE
            v_reason := coalesce(x_reason[n], CASE WHEN v_after = 4 THEN NULL ELSE r.reason END);
            INSERT INTO closed (id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes,
                                lane, seq, reason)
            VALUES (r.id, r.event_id, r.endpoint_id, r.tenant, v_after, now_ms, r.fence, r.tries, r.attempts, r.size_bytes,
                    r.lane, r.seq, v_reason);
            DELETE FROM open o WHERE o.id = r.id;
            m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || r.state; m_a := m_a || v_after::smallint;
            IF v_spoken THEN
                DELETE FROM confirmations c WHERE c.delivery_id = r.id;
            END IF;
            IF r.lane IS NOT NULL AND v_after = 5 AND x_waits[n] THEN
                PERFORM hl_block(r.endpoint_id, r.lane, r.seq, r.id);
            END IF;
        END IF;
        IF r.lane IS NOT NULL AND v_after <> 3 THEN
            SELECT * INTO s FROM hl_settle(r.endpoint_id, r.lane, CASE WHEN v_after = 0 THEN NULL ELSE r.id END);
            FOR k IN 1 .. s.holds LOOP
                m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 0::smallint; m_a := m_a || 2::smallint;
            END LOOP;
            IF s.promoted THEN
                m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 2::smallint; m_a := m_a || 0::smallint;
                e_due := e_due || r.endpoint_id; e_at := e_at || s.promoted_due;
            ELSIF v_after = 0 AND EXISTS (SELECT 1 FROM open o WHERE o.id = r.id AND o.state = 0) THEN
                e_due := e_due || r.endpoint_id; e_at := e_at || v_due;
            END IF;
        END IF;
        IF NOT v_attempted THEN
            INSERT INTO changes (at_ms, tenant, endpoint_id, delivery_id, before, after, reason)
            VALUES (now_ms, r.tenant, r.endpoint_id, r.id, hl_word(r.state), hl_word(v_after), x_reason[n]);
        END IF;
    END LOOP;

    FOR h IN SELECT * FROM unnest(h_endpoint, h_version, h_packed, h_wait, h_probe, h_disable) WITH ORDINALITY
            AS u (endpoint, version, packed, wait, probe, disable, n) ORDER BY u.endpoint LOOP
        SELECT e.state, e.tenant, st.version AS stored INTO s FROM endpoint_states st JOIN endpoints e ON e.id = st.endpoint_id
            WHERE st.endpoint_id = h.endpoint AND e.deleted = 0 FOR NO KEY UPDATE OF st;
        IF NOT FOUND OR greatest(s.stored, 0) <> h.version THEN
            CONTINUE;
        END IF;
        h_applied[h.n] := true;
        UPDATE endpoint_states st SET version = abs(s.stored) + 1, packed = h.packed, wait_until_ms = now_ms + h.wait,
            probe_at_ms = now_ms + h.probe WHERE st.endpoint_id = h.endpoint;
        IF h.disable AND s.state NOT IN ('disabled', 'unverified') THEN
            UPDATE meta m SET value = value + 1 WHERE m.name = 'registry_version' RETURNING value INTO v_due;
            UPDATE endpoints e SET state = 'disabled', updated_at_ms = now_ms, version = v_due WHERE e.id = h.endpoint;
            INSERT INTO changes (at_ms, tenant, endpoint_id, before, after)
            VALUES (now_ms, s.tenant, h.endpoint, s.state, 'disabled');
        ELSIF h.disable AND s.state = 'unverified' THEN
            h_disable[h.n] := NULL;  -- it is another endpoint to its receiver by now: the events are not made
        END IF;
    END LOOP;

    -- Last: what they append to lanes must see the heads that were closed above.
    d_state := '{}';
    IF v_events THEN
        SELECT array_agg(CASE WHEN u.o > 0 THEN NOT applied[u.o] OR x_after[u.o] = -1
                              ELSE NOT h_applied[-u.o] OR h_disable[-u.o] IS NULL END ORDER BY u.n)
        INTO skip FROM unnest(i_of) WITH ORDINALITY AS u (o, n);
        IF EXISTS (SELECT 1 FROM unnest(i_key) AS u (key) WHERE u.key IS NOT NULL) THEN
            PERFORM hl_keep_keys(now_ms, i_key, i_keep, i_id, i_count, skip);
            SELECT array_agg(u.skip OR coalesce(substr(k.value, 1, 12) <> u.id, false) ORDER BY u.n) INTO skip
            FROM unnest(i_key, i_id, skip) WITH ORDINALITY AS u (key, id, skip, n) LEFT JOIN dedupe k ON k.key = u.key;
        END IF;
        d_state := hl_new_events(now_ms, p_owner, false, skip, i_id, i_tenant, i_type, i_source, i_source_id, i_subject,
            i_content_type, i_attributes, i_data, i_wait, i_fanout, d_item, d_id, d_endpoint, d_lane, d_lease);
        SELECT e_due || coalesce(array_agg(u.endpoint), '{}'), e_at || coalesce(array_agg(now_ms + i_wait[u.item]), '{}')
        INTO e_due, e_at FROM unnest(d_item, d_endpoint, d_state) AS u (item, endpoint, state) WHERE u.state = 0;
        DELETE FROM lanes l USING unnest(d_endpoint, d_lane) AS d (e, l)
        WHERE l.endpoint_id = d.e AND l.lane = d.l AND l.head IS NULL AND l.blocks IS NULL
          AND NOT EXISTS (SELECT 1 FROM open o WHERE o.endpoint_id = d.e AND o.lane = d.l);
    END IF;

    IF octet_length(v_done) > 0 OR (v_events AND false = ANY (skip)) THEN
        INSERT INTO journal (at_ms, attempts, events) VALUES (now_ms, v_done, coalesce((
            SELECT string_agg(u.id, ''::bytea ORDER BY u.n) FROM unnest(i_id, skip) WITH ORDINALITY AS u (id, skip, n)
            WHERE NOT u.skip), ''::bytea));
    END IF;
    PERFORM hl_count(m_t, m_e, m_b, m_a, array_fill(1, ARRAY[cardinality(m_t)])) WHERE cardinality(m_t) > 0;
    SELECT coalesce(array_agg(u.e), '{}'), coalesce(array_agg(u.at), '{}') INTO due_endpoint, due_at FROM (
        SELECT e, min(at) AS at FROM unnest(e_due, e_at) AS v (e, at) GROUP BY e) AS u;
END $$;

-- Leases given back unstarted: pending again, due as before, no try used.
CREATE FUNCTION hl_release(p_told bigint, x_id bytea[], x_fence integer[], OUT applied boolean[]) LANGUAGE plpgsql
SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := hl_now(p_told);
    v_spoken boolean;
    r open%ROWTYPE;
    s record;
    m_t text[] := '{}';
    m_e bytea[] := '{}';
    m_b smallint[] := '{}';
    m_a smallint[] := '{}';
BEGIN
    applied := array_fill(false, ARRAY[cardinality(x_id)]);
    PERFORM hl_lock_lanes(array_agg(o.endpoint_id), array_agg(o.lane)) FROM open o
        WHERE o.id = ANY (x_id) AND o.lane IS NOT NULL HAVING count(*) > 0;
    PERFORM 1 FROM open o WHERE o.id = ANY (x_id) ORDER BY o.id FOR UPDATE;
    v_spoken := EXISTS (SELECT 1 FROM confirmations);
    FOR n IN 1 .. cardinality(x_id) LOOP
        SELECT * INTO r FROM open o WHERE o.id = x_id[n];
        IF NOT FOUND OR r.fence <> x_fence[n] OR r.state <> 1 THEN
            CONTINUE;
        END IF;
        applied[n] := true;
        m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 1::smallint;
        IF v_spoken AND hl_is_success(r.id) THEN
            UPDATE open o SET state = 3, due_ms = v_now, reason = NULL, handoff = false, lease_until_ms = 0, owner = NULL
            WHERE o.id = r.id;
            m_a := m_a || 3::smallint;
            CONTINUE;
        END IF;
        UPDATE open o SET state = 0, handoff = false, lease_until_ms = 0, owner = NULL WHERE o.id = r.id;
        m_a := m_a || 0::smallint;
        IF v_spoken THEN
            DELETE FROM confirmations c WHERE c.delivery_id = r.id AND NOT c.success;
        END IF;
        IF r.lane IS NOT NULL THEN
            SELECT * INTO s FROM hl_settle(r.endpoint_id, r.lane, NULL);
            FOR k IN 1 .. s.holds LOOP
                m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 0::smallint; m_a := m_a || 2::smallint;
            END LOOP;
            IF s.promoted THEN
                m_t := m_t || r.tenant; m_e := m_e || r.endpoint_id; m_b := m_b || 2::smallint; m_a := m_a || 0::smallint;
            END IF;
        END IF;
    END LOOP;
    PERFORM hl_count(m_t, m_e, m_b, m_a, array_fill(1, ARRAY[cardinality(m_t)])) WHERE cardinality(m_t) > 0;
END $$;
