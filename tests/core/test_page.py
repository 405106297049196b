"""Cursors and times in the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.page import format_time, make_cursor, parse_cursor, parse_time


@given(st.binary(min_size=1, max_size=64))
def test_a_cursor_comes_back(key: bytes) -> None:
    """The key of a cursor is what it was made from, and the text is safe in a URL."""
    text = make_cursor(key)
    assert parse_cursor(text) == key
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.binary(min_size=1, max_size=20), st.data())
def test_a_changed_cursor_is_refused(key: bytes, data: st.DataObject) -> None:
    """A cursor with another letter in it is not ours."""
    text = make_cursor(key)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda letter: letter != text[position]))
    with pytest.raises(Refusal):
        parse_cursor(text[:position] + letter + text[position + 1 :])


def test_a_cursor_has_one_spelling() -> None:
    """Bits that base64 leaves unused are zero in a cursor, and in no other text for the same key."""
    text = make_cursor(bytes(12))
    assert text.endswith("A")
    for letter in "BCDEFGHIJKLMNOP":
        with pytest.raises(Refusal):
            parse_cursor(text[:-1] + letter)


@pytest.mark.parametrize("text", ["", "x", "evt_00", "====", "AAAAAAAA", "a" * 701, "AAAA AAA", "ééééééé", "\x00" * 8])
def test_junk_is_no_cursor(text: str) -> None:
    """Any other text is a wrong parameter, named in the answer."""
    with pytest.raises(Refusal) as refused:
        parse_cursor(text, parameter="before")
    assert refused.value.code == "invalid_parameter"
    assert refused.value.problem()["parameter"] == "before"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T12:34:56.789Z", 1_709_210_096_789),
        ("2024-02-29T12:34:56.7899999Z", 1_709_210_096_789),
        ("2024-02-29T12:34:56.7Z", 1_709_210_096_700),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_times_are_read(text: str, ms: int) -> None:
    """An RFC 3339 time is read with its offset, to the millisecond."""
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0",
        "1700000000",
        "2024-02-29",
        "2024-02-29T12:34:56",
        "2024-02-29 12:34:56Z",
        "2024-02-29T12:34Z",
        "2024-02-29T12:34:56,5Z",
        "2024-02-29T12:34:56.Z",
        "2024-02-29T12:34:56+0100",
        "2024-02-29T12:34:56 01:00",
        "2024-02-29T12:34:56+24:00",
        "2024-02-29T12:34:56+01:60",
        "2023-02-29T12:34:56Z",
        "2024-13-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:61Z",
        "0000-01-01T00:00:00Z",
        "２０２４-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "2024-01-01T00:00:00." + "1" * 19 + "Z",
    ],
)
def test_other_forms_of_time_are_refused(text: str) -> None:
    """What is not RFC 3339 with an offset, or no real day and hour, is a wrong parameter."""
    with pytest.raises(Refusal) as refused:
        parse_time(text, parameter="since")
    assert refused.value.code == "invalid_parameter"
    assert refused.value.problem()["parameter"] == "since"


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_come_back(ms: int) -> None:
    """Every millisecond from year 1 to 9999 is written in one form, and read as itself."""
    text = format_time(ms)
    assert len(text) == 24
    assert parse_time(text) == ms
    assert datetime.fromisoformat(text).tzinfo == UTC
