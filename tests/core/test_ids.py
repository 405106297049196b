"""Ids sort by time, never repeat, never go back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core import ids

_clock_ms = st.integers(0, 2**47)


@pytest.mark.rule(n=17)
@given(st.lists(_clock_ms, min_size=2, max_size=200))
def test_ids_only_go_up(clock: list[int]) -> None:
    """Each id is above all before, even when the clock stands still or goes back."""
    maker = ids.IdMaker(b"\xff\x00\x01\x02")
    made = [maker.make(now_ms) for now_ms in clock]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(len(identifier) == ids.ROOT_BYTES for identifier in made)


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    """More ids in a millisecond than the counter holds go on in the next one."""
    maker = ids.IdMaker(bytes(4))
    made = [maker.make(1000) for _ in range(65_537)]
    assert ids.time_ms(made[65_535]) == 1000
    assert ids.time_ms(made[65_536]) == 1001
    assert made[65_535] < made[65_536] < maker.make(1001) < maker.make(1002)


@given(_clock_ms)
def test_an_id_holds_its_time(now_ms: int) -> None:
    """The first id of a millisecond says that millisecond, and lies at or above the bound for it."""
    made = ids.IdMaker(bytes(4)).make(now_ms)
    assert ids.time_ms(made) == now_ms
    assert ids.floor(now_ms) <= made < ids.floor(now_ms + 1)


def test_a_bound_before_1970_is_the_first() -> None:
    """A time before all ids bounds them all."""
    assert ids.floor(-5) == ids.floor(0) == bytes(6)


def test_two_processes_make_different_ids() -> None:
    """At the same time, processes with different random bits make different ids."""
    assert ids.IdMaker(b"aaaa").make(5) != ids.IdMaker(b"bbbb").make(5)


@given(_clock_ms, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_deliveries_and_attempts_follow_their_event(now_ms: int, ordinal: int, fence: int) -> None:
    """A delivery's id begins with its event's, an attempt's with its delivery's; all hold the same time."""
    event = ids.IdMaker(b"inst").make(now_ms)
    delivery = ids.delivery_id(event, ordinal)
    attempt = ids.attempt_id(delivery, fence)
    assert (len(delivery), len(attempt)) == (ids.DELIVERY_BYTES, ids.ATTEMPT_BYTES)
    assert attempt.startswith(delivery)
    assert delivery.startswith(event)
    assert ids.time_ms(attempt) == ids.time_ms(event)


def test_deliveries_of_an_event_are_in_order() -> None:
    """Deliveries sort by their number, attempts by their fence."""
    event = ids.IdMaker(bytes(4)).make(1)
    deliveries = [ids.delivery_id(event, ordinal) for ordinal in (1, 2, 255, 256, 65_536)]
    assert deliveries == sorted(deliveries)
    attempts = [ids.attempt_id(deliveries[0], fence) for fence in (1, 9, 10, 256)]
    assert attempts == sorted(attempts)


@pytest.mark.parametrize(
    ("prefix", "length"), [(ids.EVENT, 12), (ids.ENDPOINT, 12), (ids.DELIVERY, 16), (ids.ATTEMPT, 20)]
)
def test_the_outside_form_comes_back(prefix: str, length: int) -> None:
    """An id as text is read as itself, and only with its own prefix, length and lower case."""
    identifier = bytes(range(0xAA, 0xAA + length))
    text = ids.text(prefix, identifier)
    assert text.startswith(prefix)
    assert ids.parse(prefix, text) == identifier
    others = {ids.EVENT, ids.ENDPOINT, ids.DELIVERY, ids.ATTEMPT} - {prefix}
    assert all(ids.parse(other, text) is None for other in others)
    assert ids.parse(prefix, prefix + text[len(prefix) :].upper()) is None
    assert ids.parse(prefix, text[:-2]) is None
    assert ids.parse(prefix, text + "00") is None


@given(st.text(max_size=60))
def test_any_text_is_an_id_or_none(text: str) -> None:
    """Whatever comes in a path is read without an error, and only texts that we would write are ids."""
    for candidate in (text, ids.EVENT + text):
        parsed = ids.parse(ids.EVENT, candidate)
        assert parsed is None or ids.text(ids.EVENT, parsed) == candidate


def test_spaces_between_digits_are_no_id() -> None:
    """Python reads hex with spaces in it; an id has none."""
    assert ids.parse(ids.EVENT, "evt_" + "00 " * 8) is None
    assert ids.parse(ids.EVENT, "evt_" + "0" * 22 + "  ") is None
