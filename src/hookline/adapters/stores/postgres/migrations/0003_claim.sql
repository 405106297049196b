-- Claim: what is due of some endpoints, within slots, caps, rates, waits and probes; and giving back unstarted.
-- These functions set their limit for locks themselves: through a pooler there is no session that could have it.

-- In how many ms the next pending delivery of an endpoint may be claimed, not before `p_from`; NULL: nothing pending.
CREATE FUNCTION hl_next_due(p_endpoint bytea, p_now bigint, p_from bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT greatest(least(
        (SELECT due_ms FROM open WHERE state = 0 AND endpoint_id = p_endpoint AND rank = 0 ORDER BY due_ms LIMIT 1),
        (SELECT due_ms FROM open WHERE state = 0 AND endpoint_id = p_endpoint AND rank = 1 ORDER BY due_ms LIMIT 1)
    ), p_from, p_now) - p_now
    WHERE EXISTS (SELECT 1 FROM open WHERE state = 0 AND endpoint_id = p_endpoint)
$$;

-- Rows of kind 0 say when to come back to an endpoint, those of kind 2 that somebody else claims of it just now; those of
-- kind 1 are what was claimed, with its event, in order.
CREATE FUNCTION hl_claim(
    p_told bigint, p_owner bigint, p_bytes_max bigint,
    e_id bytea[], e_slots integer[], e_lease bigint[], e_cap integer[], e_rate integer[], e_per_ms double precision[],
    e_burst integer[], e_probe boolean[], p_named bytea[]
) RETURNS TABLE (
    kind integer, endpoint_id bytea, wait_ms bigint, id bytea, fence integer, tries integer, attempts integer, lost integer,
    lane text, rank smallint, early_ms bigint, entry integer, event_id bytea, tenant text, type text, source text,
    source_id text, subject text, content_type text, attributes bytea, encoding smallint, data bytea
) LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := hl_now(p_told);
    v_left bigint := p_bytes_max;
    v_taken boolean := false;
    st record;
    one record;
    v_from bigint;
    v_failing boolean;
    v_free integer;
    v_ids bytea[];
    v_sizes bigint;
    v_want integer;
    v_interval double precision;
    v_ahead double precision;
    v_there double precision;
    v_wait bigint;
    v_until bigint;
    c_id bytea[] := '{}';
    c_entry integer[] := '{}';
BEGIN
    PERFORM hl_require_alive(p_owner);
    FOR i IN 1 .. cardinality(e_id) LOOP
        PERFORM 1 FROM endpoints e WHERE e.id = e_id[i] AND e.state = 'active' AND e.deleted = 0;
        IF NOT FOUND THEN
            RETURN QUERY SELECT 0, e_id[i], NULL::bigint, NULL::bytea, 0, 0, 0, 0, NULL::text, 0::smallint, 0::bigint, i,
                NULL::bytea, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::bytea,
                0::smallint, NULL::bytea;
            CONTINUE;
        END IF;
        -- The lock first, the leases counted by the next statement: its snapshot is not older than the lock (rule 10).
        SELECT s.wait_until_ms, s.probe_at_ms, s.tat_ms INTO st FROM endpoint_states s WHERE s.endpoint_id = e_id[i]
            FOR NO KEY UPDATE SKIP LOCKED;
        v_from := v_now;
        v_ids := '{}';
        IF NOT FOUND THEN  -- somebody else claims of it
            RETURN QUERY SELECT 2, e_id[i], NULL::bigint, NULL::bytea, 0, 0, 0, 0, NULL::text, 0::smallint, 0::bigint, i,
                NULL::bytea, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::bytea,
                0::smallint, NULL::bytea;
            CONTINUE;
        ELSE
            v_from := greatest(v_now, coalesce(st.wait_until_ms, 0), coalesce(st.probe_at_ms, 0));
            v_failing := st.probe_at_ms IS NOT NULL;
            IF v_from = v_now AND (NOT v_failing OR e_probe[i]) THEN
                v_free := least(e_slots[i], e_cap[i] - (SELECT count(*)::integer FROM open o
                    WHERE o.state = 1 AND o.endpoint_id = e_id[i] AND NOT o.handoff));
                IF v_failing THEN
                    SELECT min(o.lease_until_ms) INTO v_until FROM open o WHERE o.state = 1 AND o.endpoint_id = e_id[i];
                    v_free := CASE WHEN v_until IS NULL THEN least(v_free, 1) ELSE 0 END;
                    v_from := coalesce(v_until, v_now);
                END IF;
                IF v_free > 0 AND (v_left > 0 OR NOT v_taken) THEN
                    v_sizes := 0;
                    FOR one IN SELECT f.id, f.size_bytes FROM hl_find(e_id[i], v_now, v_free, v_failing, p_named) AS f LOOP
                        EXIT WHEN one.size_bytes > v_left - v_sizes AND (v_taken OR cardinality(v_ids) > 0);
                        v_sizes := v_sizes + one.size_bytes;
                        v_ids := v_ids || one.id;
                    END LOOP;
                    v_want := cardinality(v_ids);
                    v_wait := 0;
                    IF e_rate[i] IS NOT NULL AND v_want > 0 THEN
                        v_interval := e_per_ms[i] / e_rate[i];
                        v_ahead := least(greatest(st.tat_ms - v_now, 0), e_burst[i] * v_interval);
                        v_there := e_burst[i] - v_ahead / v_interval;
                        v_want := least(v_want, floor(v_there + 1e-6)::integer);
                        v_ahead := v_ahead + v_want * v_interval;
                        IF v_there - v_want + 1e-6 < 1 THEN
                            v_wait := ceil(greatest(0, v_ahead - (e_burst[i] - 1) * v_interval));
                        END IF;
                        UPDATE endpoint_states s SET tat_ms = v_now + v_ahead WHERE s.endpoint_id = e_id[i];
                        v_ids := v_ids[1:v_want];
                    END IF;
                    v_from := v_now + v_wait;
                    IF v_want > 0 THEN
                        v_taken := true;
                        v_until := v_now + e_lease[i];
                        UPDATE open o SET state = 1, fence = o.fence + 1, handoff = false, lease_until_ms = v_until,
                            owner = p_owner WHERE o.id = ANY (v_ids);
                        SELECT v_left - sum(o.size_bytes) INTO v_left FROM open o WHERE o.id = ANY (v_ids);
                        c_id := c_id || v_ids;
                        c_entry := c_entry || array_fill(i, ARRAY[v_want]);
                        IF v_failing THEN
                            UPDATE endpoint_states s SET probe_at_ms = v_until
                            WHERE s.endpoint_id = e_id[i] AND s.probe_at_ms IS NOT NULL;
                            v_from := v_until;
                        END IF;
                    END IF;
                END IF;
            END IF;
        END IF;
        RETURN QUERY SELECT 0, e_id[i], hl_next_due(e_id[i], v_now, v_from), NULL::bytea, 0, 0, 0, 0, NULL::text,
            0::smallint, 0::bigint, i, NULL::bytea, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
            NULL::bytea, 0::smallint, NULL::bytea;
    END LOOP;
    IF cardinality(c_id) > 0 THEN
        PERFORM hl_count(array_agg(o.tenant), array_agg(o.endpoint_id), array_agg(0::smallint), array_agg(1::smallint),
                         array_agg(1))
        FROM open o WHERE o.id = ANY (c_id);
        RETURN QUERY SELECT 1, o.endpoint_id, 0::bigint, o.id, o.fence, o.tries, o.attempts, o.lost, o.lane, o.rank,
            greatest(0, o.due_ms - v_now), c.entry, v.id, v.tenant, v.type, v.source, v.source_id, v.subject,
            v.content_type, v.attributes, v.encoding, v.data
        FROM unnest(c_id, c_entry) WITH ORDINALITY AS c (id, entry, n) JOIN open o ON o.id = c.id
        JOIN events v ON v.id = coalesce(o.event_id, substr(o.id, 1, 12)) ORDER BY c.n;
        GET DIAGNOSTICS v_want = ROW_COUNT;
        IF v_want < cardinality(c_id) THEN  -- an old event, replayed
            RETURN QUERY SELECT 1, o.endpoint_id, 0::bigint, o.id, o.fence, o.tries, o.attempts, o.lost, o.lane, o.rank,
                greatest(0, o.due_ms - v_now), c.entry, v.id, v.tenant, v.type, v.source, v.source_id, v.subject,
                v.content_type, v.attributes, v.encoding, v.data
            FROM unnest(c_id, c_entry) WITH ORDINALITY AS c (id, entry, n) JOIN open o ON o.id = c.id
            JOIN events_kept v ON v.id = coalesce(o.event_id, substr(o.id, 1, 12)) ORDER BY c.n;
        END IF;
    END IF;
END $$;

-- What of an endpoint may be claimed next, locked: the oldest whatever its time for a probe; of `p_named` where given.
CREATE FUNCTION hl_find(p_endpoint bytea, p_now bigint, p_free integer, p_probe boolean, p_named bytea[])
RETURNS TABLE (id bytea, size_bytes integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    found_count integer;
BEGIN
    IF p_named IS NOT NULL THEN
        RETURN QUERY SELECT o.id, o.size_bytes FROM open o WHERE o.id = ANY (p_named) AND o.endpoint_id = p_endpoint
            AND o.state = 0 AND o.due_ms <= p_now ORDER BY array_position(p_named, o.id) LIMIT p_free
            FOR UPDATE SKIP LOCKED;
    ELSIF p_probe THEN
        RETURN QUERY SELECT o.id, o.size_bytes FROM open o WHERE o.state = 0 AND o.endpoint_id = p_endpoint
            ORDER BY o.rank, o.due_ms, o.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    ELSE
        RETURN QUERY SELECT o.id, o.size_bytes FROM open o WHERE o.state = 0 AND o.endpoint_id = p_endpoint AND o.rank = 0
            AND o.due_ms <= p_now ORDER BY o.due_ms, o.id LIMIT p_free FOR UPDATE SKIP LOCKED;
        GET DIAGNOSTICS found_count = ROW_COUNT;
        IF found_count < p_free THEN
            RETURN QUERY SELECT o.id, o.size_bytes FROM open o WHERE o.state = 0 AND o.endpoint_id = p_endpoint
                AND o.rank = 1 AND o.due_ms <= p_now ORDER BY o.due_ms, o.id LIMIT p_free - found_count
                FOR UPDATE SKIP LOCKED;
        END IF;
    END IF;
END $$;
