"""A rejection: bounded, without secrets, and nothing in it that a terminal or a page could obey."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.rejection import (
    HEADERS_CHARS_MAX,
    HEADERS_MAX,
    TARGET_CHARS_MAX,
    Rejection,
    rejection,
    shown_target,
)


def made(**members: Any) -> Rejection:
    """A rejection of a usual request."""
    usual: dict[str, Any] = {
        "request_id": "req_1", "status": 401, "reason": "wrong_signature", "detail": "no", "method": "POST",
        "target": "/in/a", "client": "192.0.2.1", "size_bytes": 7, "headers": [("user-agent", "x")],
    }  # fmt: skip
    return rejection(**{**usual, **members})


def test_it_is_stored_and_read_again():
    """Packed and unpacked it is the same."""
    one = made(headers=[("x-a", "é"), ("x-a", "b")])
    assert Rejection.unpack(one.pack()) == one
    assert one.headers == [("x-a", "é"), ("x-a", "b")]


@pytest.mark.parametrize("name", ["authorization", "cookie", "x-gitlab-token", "x-api-key", "my-own"])
def test_credentials_are_masked(name: str):
    """Headers that carry a credential, also the source's own, are masked; signatures are shown."""
    one = made(headers=[(name, "s3cret"), ("stripe-signature", "t=1")], secret_headers=frozenset({"my-own"}))
    assert one.headers == [(name, "***"), ("stripe-signature", "t=1")]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/in/a", "/in/a"),
        ("/in/a?hub.mode=subscribe&hub.verify_token=s3cret", "/in/a?hub.mode=subscribe&hub.verify_token=***"),
        ("/in/a?access_token=s3cret&x=", "/in/a?access_token=***&x="),
        ("/in/a?Signature=s3cret&API_KEY=s3cret", "/in/a?Signature=***&API_KEY=***"),
        ("/in/a?", "/in/a?"),
        ("/in/a?" + "&".join(f"a{n}=s3cret" for n in range(99)), "/in/a?…"),
    ],
)
def test_a_target_is_shown_without_secrets(target: str, shown: str):
    """Parameters that sound like a credential are masked; too many are left out."""
    assert shown_target(target) == shown


def test_it_is_bounded():
    """However much is sent, a rejection stays small."""
    one = made(
        detail="d" * 9999, method="M" * 9999, target="/" * 99999, headers=[(f"x-{n}", "v" * 9999) for n in range(999)]
    )
    assert len(one.headers) <= HEADERS_MAX
    assert sum(len(name) + len(value) for name, value in one.headers) <= HEADERS_CHARS_MAX
    assert len(one.target) <= TARGET_CHARS_MAX
    assert len(one.pack()) < 32_768


@given(
    detail=st.text(), method=st.text(), target=st.text(), headers=st.lists(st.tuples(st.text(), st.text()), max_size=9)
)
def test_whatever_is_sent_it_is_printable(detail: str, method: str, target: str, headers: list[tuple[str, str]]):
    """No text of a stranger's raises anything, nor has anything in it that is not printable."""
    one = made(detail=detail, method=method, target=target, headers=headers)
    assert Rejection.unpack(one.pack()) == one
    for text in (one.detail, one.method, one.target, *(part for pair in one.headers for part in pair)):
        assert all(char.isprintable() or char == "\N{REPLACEMENT CHARACTER}" for char in text)
