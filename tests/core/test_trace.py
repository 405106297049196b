"""Which traceparent is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.trace import make_traceparent, parse_traceparent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("text", "passed_on"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-ff"),
        (f"01-{TRACE}-{PARENT}-03", GOOD),
        (f"cc-{TRACE}-{PARENT}-02-what-the-future-brings", f"00-{TRACE}-{PARENT}-00"),
    ],
)
def test_a_valid_header_is_passed_on(text: str, passed_on: str) -> None:
    """Version 00 goes on as it is, a later one as 00 with no flag but sampled."""
    assert parse_traceparent(text) == passed_on


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD[:-1],
        GOOD + "-more",
        GOOD + " ",
        " " + GOOD,
        GOOD + "\n",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE}{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01more",
        f"cc-{TRACE}-{PARENT}-01-" + "x" * 512,
        f"00-{TRACE[:-1]}٣-{PARENT}-01",
    ],
)
def test_an_invalid_header_begins_a_new_trace(text: str) -> None:
    """Wrong lengths, zeros, upper case, version ff and trailing text are not believed."""
    assert parse_traceparent(text) is None


@given(st.binary(min_size=24, max_size=24))
def test_what_we_make_is_valid(random: bytes) -> None:
    """Any 24 bytes, also zeros, make a traceparent that is passed on unchanged and is sampled."""
    made = make_traceparent(random)
    assert parse_traceparent(made) == made
    assert made.endswith("-01")


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    """Whatever arrives is passed on in 55 characters, or not at all."""
    parsed = parse_traceparent(text)
    assert parsed is None or len(parsed) == 55
