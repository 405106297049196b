"""The state table: complete, owned, and without dead ends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from hookline.core.delivery import (
    CLOSED,
    LOST_BACKOFF_FROM,
    LOST_MAX,
    OPEN,
    OWNER,
    TRANSITIONS,
    State,
    allowed,
    lost_wait_s,
)


def reachable(start: State | None, edges: Iterable[tuple[State | None, State]] = TRANSITIONS) -> set[State]:
    """Every state that can follow."""
    known, seen, todo = list(edges), set[State](), [start]
    while todo:
        here = todo.pop()
        for before, after in known:
            if before is here and after not in seen:
                seen.add(after)
                todo.append(after)
    return seen


def test_every_state_is_open_or_closed() -> None:
    """A state is either open or closed, never both, never neither."""
    assert set(State) == OPEN | CLOSED
    assert not OPEN & CLOSED


def test_every_open_state_has_an_owner() -> None:
    """Each open state, and no other, names who drains it."""
    assert set(OWNER) == OPEN
    assert all(OWNER.values())


def test_every_state_can_come_about() -> None:
    """Each state is reached from the beginning."""
    assert reachable(None) == set(State)


@pytest.mark.parametrize("state", sorted(OPEN))
def test_each_open_state_reaches_each_end(state: State) -> None:
    """From every open state a delivery can still be delivered, fail, and be discarded."""
    assert reachable(state) >= CLOSED


@pytest.mark.parametrize("state", sorted(OPEN - {State.LEASED}))
def test_an_open_delivery_can_be_discarded_at_once(state: State) -> None:
    """A person can discard whatever is not being sent at this moment."""
    assert allowed(state, State.DISCARDED)


def test_only_a_try_delivers() -> None:
    """Delivered is reached from leased, or by the receiver's confirmation, and from nowhere else."""
    assert {before for before, after in TRANSITIONS if after is State.DELIVERED} == {State.LEASED, State.UNCONFIRMED}


def test_delivered_is_for_ever() -> None:
    """Nothing follows delivered; the dead letter and the discarded can be opened again, but not into a try."""
    assert reachable(State.DELIVERED) == set()
    for closed in (State.FAILED, State.DISCARDED):
        assert {after for before, after in TRANSITIONS if before is closed} & OPEN == {State.PENDING, State.HELD}


def test_a_held_delivery_is_never_sent_directly() -> None:
    """What waits for its lane becomes pending first: the claim decides what is sent."""
    assert {before for before, after in TRANSITIONS if after is State.LEASED} == {None, State.PENDING}


def test_what_is_not_in_the_table_is_not_allowed() -> None:
    """allowed answers by the table, and every entry says why."""
    pairs = [(before, after) for before in (None, *State) for after in State]
    assert {pair for pair in pairs if allowed(*pair)} == set(TRANSITIONS)
    assert all(TRANSITIONS.values())


def test_the_words_of_the_api() -> None:
    """The numbers and words are stored and published: they do not change."""
    assert {state.value: state.word for state in State} == {
        0: "pending",
        1: "leased",
        2: "held",
        3: "unconfirmed",
        4: "delivered",
        5: "failed",
        6: "discarded",
    }


@pytest.mark.rule(n=16)
def test_take_backs_wait_longer_and_end() -> None:
    """The first take-backs wait for nothing, from the fifth each doubles the wait, the twentieth is poison."""
    waits = [lost_wait_s(lost) for lost in range(LOST_MAX + 2)]
    assert waits[:LOST_BACKOFF_FROM] == [0.0] * 5
    assert waits[LOST_BACKOFF_FROM:LOST_MAX] == [2.0**lost for lost in range(5, 20)]
    assert waits[LOST_MAX:] == [None, None]
