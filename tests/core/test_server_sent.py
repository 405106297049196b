"""Server-sent events: what is written is read again, wherever the pieces are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.server_sent import LINE_BYTES_MAX, Message, Reader, block, comment, place, retry

WORDS = st.text("abc_", min_size=1, max_size=5).map(str.encode)
JSON = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).map(str.encode)
PARTS = st.one_of(
    st.tuples(st.just("block"), WORDS, WORDS, JSON),
    st.tuples(st.just("place"), WORDS),
    st.tuples(st.just("comment"), JSON),
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The bytes in pieces."""
    places = sorted({0, len(data), *(n % (len(data) + 1) for n in at)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(st.lists(PARTS, max_size=10), st.lists(st.integers(0, 10_000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_what_is_written_is_read(parts, at, end):
    """Any sequence of blocks, places and comments is read as the same events and positions, however it is cut."""
    written = {"block": block, "place": place, "comment": comment}
    data = b"".join(written[name](*given) for name, *given in parts).replace(b"\n", end)
    reader, wanted, position = Reader(), [], ""
    for name, *given_ in parts:
        if name == "block":
            position = given_[1].decode()
            wanted.append(Message(given_[0].decode(), given_[2], position))
        elif name == "place":
            position = given_[0].decode()
    assert [m for piece in cut(data, at) for m in reader.feed(piece)] == wanted
    # A carriage return at the end may be half a line end: it counts when the next byte is there.
    assert reader.feed(b":") == []
    assert reader.position == position


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"data: a\ndata:b\n\n", [Message("message", b"a\nb", "")]),
        (b"\xef\xbb\xbfdata: a\rdata: b\r\r:", [Message("message", b"a\nb", "")]),
        (b"id: 1\n\ndata: x\n\n", [Message("message", b"x", "1")]),
        (b"id: 1\ndata\n\nid\ndata: y\n\n", [Message("message", b"", "1"), Message("message", b"y", "")]),
        (b"id: a\0b\ndata: x\n\n", [Message("message", b"x", "")]),
        (b"event: e\n\ndata: x\n\n", [Message("message", b"x", "")]),
        (b"data: cut off\n", []),
        (b"unknown: x\n: comment\n\n", []),
    ],
)
def test_the_standards_cases(data, wanted):
    """Lines join, places stay, what is unknown or unfinished is nothing: as the standard's own examples have it."""
    reader = Reader()
    assert [m for n in range(len(data)) for m in reader.feed(data[n : n + 1])] == wanted


def test_retry():
    """A retry of digits is taken, any other is not."""
    reader = Reader()
    assert reader.feed(retry(1000) + b"retry: soon\n\n") == []
    assert reader.retry_ms == 1000


def test_a_place_without_and_with_a_comment():
    """A place is a block of its id alone, with a comment where one is given."""
    assert place(b"x") == b"id: x\n\n"
    assert place(b"x", b"keep-alive") == b": keep-alive\nid: x\n\n"


def test_endless_lines_are_given_up():
    """A line that does not end is refused before it fills the memory."""
    reader = Reader()
    assert reader.feed(b"x" * LINE_BYTES_MAX) == []
    with pytest.raises(ValueError, match="1 MiB"):
        reader.feed(b"x")
