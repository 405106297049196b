"""Percent-encoding, both ways."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.percent import UNRESERVED, VISIBLE, decode, encode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_encoding_is_that_of_the_standard_library(text):
    """What is encoded is what the standard library encodes, and comes back."""
    visible = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
    assert encode(text, UNRESERVED) == quote(text, safe="")
    assert encode(text, VISIBLE) == quote(text, safe=visible)
    assert decode(encode(text, VISIBLE)) == text


@given(st.text(st.sampled_from("%0a8eEcC9AxZ é"), max_size=9))
def test_decoding_is_strict(text):
    """A text is decoded as the standard library does, or refused where that would guess."""
    expected = None
    if all(_is_hex(text[at + 1 : at + 3]) for at in _percents(text)):
        try:
            expected = unquote_to_bytes(text).decode()
        except UnicodeDecodeError:
            pass
    if expected is not None:
        assert decode(text) == expected
    else:
        with pytest.raises(ValueError):
            decode(text)


def _percents(text):
    return [at for at, character in enumerate(text) if character == "%"]


def _is_hex(digits):
    return len(digits) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
