"""Confirmation: its tokens, and what becomes of a delivery that is to be confirmed."""

from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_verdict import endpoint

from hookline.core.attempt import Kind, Outcome
from hookline.core.confirm import PURPOSE, TOKEN_CHARS, Tokens
from hookline.core.delivery import State, allowed
from hookline.core.endpoint import ConfirmSpec
from hookline.core.secret import Keyring
from hookline.core.verdict import judge, judge_confirmation

OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = Tokens([NEW], PURPOSE)
DELIVERY = bytes(range(16))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# ------------------------------------------------------------------------------------------------------ tokens


@given(st.binary(min_size=16, max_size=16))
def test_a_token_is_read_by_who_made_it(identifier: bytes) -> None:
    """A token gives back the 16 bytes it was made for, is always the same, and fits into a path."""
    token = TOKENS.make(identifier)
    assert TOKENS.read(token) == identifier
    assert TOKENS.make(identifier) == token
    assert len(token) == TOKEN_CHARS
    assert set(token) <= set(ALPHABET)


@given(st.integers(0, TOKEN_CHARS - 1), st.sampled_from(ALPHABET))
def test_any_other_spelling_is_none_of_ours(position: int, char: str) -> None:
    """Whichever character of a token is another one, also one that encodes the same bytes, it is not read."""
    token = TOKENS.make(DELIVERY)
    changed = token[:position] + char + token[position + 1 :]
    assert TOKENS.read(changed) == (DELIVERY if changed == token else None)


@given(st.binary(min_size=32, max_size=32))
def test_what_was_not_made_here_is_not_read(raw: bytes) -> None:
    """32 bytes of chance in the right form are no token."""
    assert TOKENS.read(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    """Whatever comes in, in whatever alphabet, is no token and no error."""
    assert TOKENS.read(text) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token[1:],
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token[:-1] + "=",
        lambda token: " " + token[1:],
        lambda token: token[:-1] + "\n",
        lambda token: token[:20] + "é" + token[21:],
        lambda token: token[:20] + "+" + token[21:],
        lambda token: token.swapcase(),
        lambda token: "",
        lambda token: token * 100,
    ],
)
def test_a_spoiled_token_is_not_read(spoil) -> None:
    """Cut, padded, lengthened, in another alphabet or another case, it is none of ours."""
    assert TOKENS.read(spoil(TOKENS.make(DELIVERY))) is None


def test_tokens_of_another_purpose_or_key_are_not_read() -> None:
    """What the same key made for something else, or another key for the same, is none of ours."""
    assert TOKENS.read(Tokens([NEW], b"hookline verify 1").make(DELIVERY)) is None
    assert TOKENS.read(Tokens([OLD], PURPOSE).make(DELIVERY)) is None


def test_tokens_outlive_a_rotation_of_keys() -> None:
    """The first key makes, all keys of the ring read; a key that is gone reads nothing any more."""
    before = Keyring([OLD]).tokens(PURPOSE).make(DELIVERY)
    both = Keyring([NEW, OLD]).tokens(PURPOSE)
    assert both.read(before) == DELIVERY
    assert both.make(DELIVERY) == Keyring([NEW]).tokens(PURPOSE).make(DELIVERY)
    assert Keyring([NEW]).tokens(PURPOSE).read(before) is None


# ---------------------------------------------------------------------------------------------------- verdicts

ASKS = ConfirmSpec(within_s=60)
ONCE = {"retry": {"schedule_s": [3], "jitter": 0}}


@pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.UNCONFIRMED])
@pytest.mark.parametrize("early", [False, True])
def test_a_success_waits_for_its_confirmation(kind: Kind, early: bool) -> None:
    """A success at an endpoint that asks for confirmation is unconfirmed until the deadline, and healthy."""
    verdict = judge(Outcome(kind, status=200), endpoint(confirm=ASKS), tries=0, dice=0.5, early=early)
    assert (verdict.after, verdict.wait_s, verdict.tries, verdict.success) == (State.UNCONFIRMED, 60, 1, True)
    assert (verdict.reason, verdict.cause, verdict.keep_due) == (None, None, False)


@pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.UNCONFIRMED])
def test_a_success_is_one_where_nobody_asks(kind: Kind) -> None:
    """Without confirm a success is delivered, whatever its sender calls it."""
    verdict = judge(Outcome(kind, status=200), endpoint(), tries=0, dice=0.5)
    assert (verdict.after, verdict.tries, verdict.success) == (State.DELIVERED, 1, True)


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (Outcome(Kind.RETRY, "server_error", status=500), State.PENDING),
        (Outcome(Kind.REJECTED, "rejected"), State.FAILED),
        (Outcome(Kind.GONE, "gone", status=410), State.FAILED),
    ],
)
def test_failures_do_not_wait_for_a_confirmation(outcome: Outcome, after: State) -> None:
    """What failed is judged as without confirm."""
    verdict = judge(outcome, endpoint(confirm=ASKS), tries=0, dice=0.5)
    assert verdict == judge(outcome, endpoint(), tries=0, dice=0.5)
    assert verdict.after is after


@pytest.mark.parametrize(
    ("success", "tries", "on", "after", "wait_s", "reason"),
    [
        (True, 1, {}, State.DELIVERED, 0, None),
        (True, 99, {"timeout": "fail"}, State.DELIVERED, 0, None),
        (False, 1, {}, State.PENDING, 10, "answer_rejected"),
        (False, 2, {}, State.PENDING, 100, "answer_rejected"),
        (False, 3, {}, State.FAILED, 0, "answer_rejected"),
        (False, 1, {"answer_rejected": "fail"}, State.FAILED, 0, "answer_rejected"),
        (False, 1, {"answer_rejected": "disable"}, State.FAILED, 0, "answer_rejected"),
        (False, 1, {"answer_rejected": "escalate"}, State.PENDING, 10, "answer_rejected"),
        (False, 1, {"answer_rejected": ONCE}, State.PENDING, 3, "answer_rejected"),
        (False, 2, {"answer_rejected": ONCE}, State.FAILED, 0, "answer_rejected"),
        (False, 1, {"timeout": "fail", "2xx": "fail"}, State.PENDING, 10, "answer_rejected"),
        (None, 1, {}, State.PENDING, 0, "timeout"),
        (None, 2, {}, State.PENDING, 0, "timeout"),
        (None, 3, {}, State.FAILED, 0, "timeout"),
        (None, 1, {"timeout": "fail"}, State.FAILED, 0, "timeout"),
        (None, 1, {"timeout": "escalate"}, State.PENDING, 0, "timeout"),
        (None, 2, {"timeout": ONCE}, State.FAILED, 0, "timeout"),
    ],
)  # fmt: skip
def test_what_the_receiver_says_settles_it(
    success: bool | None, tries: int, on: dict[str, object], after: State, wait_s: float, reason: str | None
) -> None:
    """Success delivers; an error is a failed try; silence is one whose wait is over; rules by reason decide."""
    target = endpoint({"schedule_s": [10, 100], "jitter": 0, "on": on}, confirm=ASKS)
    verdict = judge_confirmation(success, target, tries=tries, dice=0.5)
    assert (verdict.after, verdict.wait_s, verdict.reason) == (after, wait_s, reason)
    assert (verdict.tries, verdict.success, verdict.endpoint_wait_s) == (0, None, None)
    assert verdict.disable is ("disable" in on.values())
    assert verdict.escalate is ("escalate" in on.values())
    assert (verdict.cause is None) == (reason is None)


@given(st.sampled_from([True, False, None]), st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_every_confirmation_is_a_transition_of_the_table(success: bool | None, tries: int, dice: float) -> None:
    """Whatever is said, after however many tries, the state table has it, and the wait is finite."""
    verdict = judge_confirmation(success, endpoint(), tries=tries, dice=dice)
    assert allowed(State.UNCONFIRMED, verdict.after)
    assert 0 <= verdict.wait_s < math.inf
