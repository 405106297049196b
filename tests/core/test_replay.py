"""Replays of many: what may be asked, and what becomes of each delivery."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core import ids
from hookline.core.delivery import CLOSED, OPEN, State
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.quota import take
from hookline.core.replay import (
    PORTION_S,
    Action,
    ReplayFilter,
    ReplaySpec,
    Turns,
    action,
    bound,
    pack_replay,
    parse_endpoint_replay,
    parse_replay,
    portions,
    progress,
    unpack_replay,
    window_ms,
)

ENDPOINT = bytes(range(12))
SINCE = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"


def parsed(document: object) -> ReplaySpec:
    return parse_replay(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "spec"),
    [
        ({"filter": {"state": "failed"}}, ReplaySpec(ReplayFilter(state="failed"))),
        (
            {"filter": {"since": SINCE, "until": LATER, "reason": "timeout"}, "dry_run": True},
            ReplaySpec(ReplayFilter(since=SINCE, until=LATER, reason="timeout"), dry_run=True),
        ),
        (
            {"of": "events", "filter": {"source": "", "subject": "x"}, "endpoint_id": "new"},
            ReplaySpec(ReplayFilter(source="", subject="x"), "events", "new"),
        ),
        (
            {"filter": {"endpoint": "shop"}, "rate": {"n": 5, "per_s": 2}},
            ReplaySpec(ReplayFilter(endpoint="shop"), rate=RateSpec(5, 2.0)),
        ),
        ({"filter": {"state": "held"}, "endpoint_id": "x"}, ReplaySpec(ReplayFilter(state="held"), endpoint_id="x")),
        ({"filter": {"event": "evt_" + "0" * 24}}, ReplaySpec(ReplayFilter(event="evt_" + "0" * 24))),
    ],
)
def test_what_may_be_asked(document, spec) -> None:
    """A replay with a filter is read, stored, and read again as it was."""
    assert parsed(document) == spec
    assert unpack_replay(pack_replay(spec, 7)).spec == spec
    assert unpack_replay(pack_replay(spec, 7)).start_ms == 7


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "malformed_json", None),
        (b"[]", "invalid_replay", ""),
        (b"{", "malformed_json", None),
        (b'{"filter":{"type":"\xff"}}', "malformed_json", None),
        (b'{"filter":{"type":"a"},"filter":{"type":"b"}}', "malformed_json", None),
        (b'{"filter":{"type":"a","type":"b"}}', "malformed_json", None),
        (b'{"filter":{"type":"a"},"rate":{"n":1,"n":2}}', "malformed_json", None),
        (b"{}", "invalid_replay", "/filter"),
        (b'{"filter":{}}', "invalid_replay", "/filter"),
        (b'{"filter":{"type":null}}', "invalid_replay", "/filter"),
        (b'{"filter":[]}', "invalid_replay", "/filter"),
        (b'{"filter":{"type":1}}', "invalid_replay", "/filter/type"),
        (b'{"filter":{"types":"a"}}', "unknown_field", "/filter/types"),
        (b'{"filter":{"type":"a"},"to":"x"}', "unknown_field", "/to"),
        (b'{"filter":{"type":"a"},"of":"endpoints"}', "invalid_replay", "/of"),
        (b'{"filter":{"type":"a\\u0000"}}', "invalid_replay", "/filter/type"),
        (b'{"filter":{"type":"%s"}}' % (b"a" * 2049), "invalid_replay", "/filter/type"),
        (b'{"filter":{"source":"/x"}}', "unknown_field", "/filter/source"),
        (b'{"filter":{"state":"failed"},"of":"events"}', "unknown_field", "/filter/state"),
        (b'{"filter":{"state":"lost"}}', "invalid_replay", "/filter/state"),
        (b'{"filter":{"state":"pending"}}', "invalid_replay", "/filter/state"),
        (b'{"filter":{"event":"evt_1"}}', "invalid_replay", "/filter/event"),
        (b'{"filter":{"reason":"nothing"}}', "invalid_replay", "/filter/reason"),
        (b'{"filter":{"since":"2h"}}', "invalid_replay", "/filter/since"),
        (b'{"filter":{"until":"2026-13-01T00:00:00Z"}}', "invalid_replay", "/filter/until"),
        (
            b'{"filter":{"since":"2026-01-02T00:00:00Z","until":"2026-01-02T00:00:00Z"}}',
            "invalid_replay",
            "/filter/since",
        ),
        (b'{"filter":{"type":"a"},"rate":{"n":0}}', "invalid_replay", "/rate/n"),
        (b'{"filter":{"type":"a"},"rate":{"n":1,"per_h":2}}', "unknown_field", "/rate/per_h"),
        (b'{"filter":{"type":"a"},"dry_run":"yes"}', "invalid_replay", "/dry_run"),
    ],
)
def test_what_is_refused(body, code, pointer) -> None:
    """What is no replay is refused with a code and a pointer to the fault."""
    with pytest.raises(Refusal) as refused:
        parse_replay(body)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)


def test_the_short_form_asks_for_what_failed() -> None:
    """For one endpoint an empty body means all that failed there; its members are those of the filter."""
    text = "ep_" + ENDPOINT.hex()
    assert parse_endpoint_replay(b"", ENDPOINT) == ReplaySpec(ReplayFilter(state="failed", endpoint=text))
    body = {"since": SINCE, "state": "discarded", "type": "a", "reason": "gone", "rate": {"n": 1}, "dry_run": True}
    wanted = ReplayFilter(state="discarded", endpoint=text, since=SINCE, type="a", reason="gone")
    found = parse_endpoint_replay(json.dumps(body).encode(), ENDPOINT)
    assert found == ReplaySpec(wanted, rate=RateSpec(1), dry_run=True)


@pytest.mark.parametrize(
    ("document", "code", "pointer"),
    [
        ({"state": "held"}, "invalid_replay", "/state"),
        ({"since": "yesterday"}, "invalid_replay", "/since"),
        ({"event": "evt_1"}, "unknown_field", "/event"),
        ({"filter": {}}, "unknown_field", "/filter"),
    ],
)
def test_what_the_short_form_refuses(document, code, pointer) -> None:
    """Its faults are pointed to where they stand."""
    with pytest.raises(Refusal) as refused:
        parse_endpoint_replay(json.dumps(document).encode(), ENDPOINT)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)


ACTIONS = {
    State.PENDING: Action.SKIP,
    State.LEASED: Action.SKIP,
    State.HELD: Action.SKIP,
    State.UNCONFIRMED: Action.SKIP,
    State.DELIVERED: Action.NEW,
    State.FAILED: Action.REOPEN,
    State.DISCARDED: Action.REOPEN,
}


@pytest.mark.parametrize("state", State)
def test_what_becomes_of_each_state(state) -> None:
    """To its own endpoint: closed ones go again, open ones are let be; to another one all go, as new deliveries."""
    assert set(ACTIONS) == OPEN | CLOSED
    assert action(state.word, own=True) is ACTIONS[state]
    assert action(state.word, own=False) is Action.NEW


def test_nothing_made_after_it_began_is_part_of_it() -> None:
    """The bound is the replay's own id, or `until` where that is earlier."""
    replay_id = ids.IdMaker(b"abcd").make(5000)
    assert bound(replay_id, None) == replay_id
    assert bound(replay_id, 6000) == replay_id
    assert bound(replay_id, 4000) == ids.floor(4000)
    assert ids.delivery_id(ids.IdMaker(b"abcd").make(5001), 1) > bound(replay_id, None)


def test_times_of_the_window() -> None:
    """Times are instants in ms; what is not named is open."""
    assert window_ms(ReplayFilter(since="1970-01-01T00:00:01Z")) == (1000, None)
    assert window_ms(ReplayFilter(until="1970-01-01T00:00:01.5+00:00")) == (None, 1500)


@pytest.mark.parametrize(
    ("state", "start_ms", "after_ms", "until_ms", "expected"),
    [
        ("running", 1000, None, 2000, 0.0),
        ("running", 1000, 1000, 2000, 0.0),
        ("running", 1000, 1500, 2000, 0.5),
        ("running", 1000, 2000, 2000, 1.0),
        ("running", 1000, 500, 2000, 0.0),
        ("running", 1000, 3000, 2000, 1.0),
        ("running", 2000, 2000, 2000, 0.0),
        ("canceled", 1000, 1250, 2000, 0.25),
        ("failed", 1000, None, 2000, 0.0),
        ("done", 1000, 1000, 2000, 1.0),
        ("done", 5000, None, 2000, 1.0),
    ],
)
def test_progress(state, start_ms, after_ms, until_ms, expected) -> None:
    """Progress is the walked part of the range of time; what is done is 1."""
    after = None if after_ms is None else ids.floor(after_ms) + b"\x01" * 10
    assert progress(state, start_ms, after, ids.floor(until_ms)) == expected


@given(st.integers(1, 1_000_000), st.floats(0.01, 86_400), st.none() | st.integers(1, 1_000_000))
def test_portions_never_exceed_the_rate(n, per_s, burst) -> None:
    """The burst grows to a portion at most, and the bucket stays a bucket that can be taken from."""
    rate = RateSpec(n, per_s, burst)
    made = portions(rate)
    assert (made.n, made.per_s) == (n, per_s)
    asked = n if burst is None else burst
    assert asked <= made.burst <= max(asked, n / per_s * PORTION_S + 1)
    assert take(0.0, 1e12, made, 500)[0] == min(500, made.burst)


def test_tenants_take_turns_and_so_do_their_replays() -> None:
    """A tenant with many replays gets no more turns than one with a single one."""
    turns = Turns()
    ready = {bytes([n]): "many" for n in range(1, 4)} | {b"\x09": "one"}
    order = [turns.take(ready) for _ in range(8)]
    assert order == [b"\x01", b"\x09", b"\x02", b"\x09", b"\x03", b"\x09", b"\x01", b"\x09"]


def test_ended_replays_are_forgotten() -> None:
    """What does not run any more is not kept, and who stays keeps his place."""
    turns = Turns()
    turns.take({b"1": "a"})
    turns.take({b"2": "b"})
    turns.keep({b"2": "b"})
    assert turns.take({b"1": "a", b"2": "b"}) == b"1"
    turns.keep({})
    assert turns.take({b"1": "a", b"2": "b"}) == b"1"
