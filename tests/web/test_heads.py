"""Answers as bytes: what is kept of their heads never makes one wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.flow.answers import JSON, PROBLEM, Answer
from hookline.web.heads import Heads

ANSWERS = st.builds(
    Answer,
    st.sampled_from([202, 202, 400, 503]),
    st.binary(max_size=3) | st.just(b"x" * 256) | st.just(b"x" * 257),
    st.sampled_from([(), (), ((b"retry-after", b"1"),)]),
    st.sampled_from([JSON, JSON, PROBLEM]),
)


@given(st.lists(st.tuples(ANSWERS, st.booleans(), st.sampled_from([None, b"", b"Mon", b"Tue"]))))
def test_a_kept_head_is_the_one_that_would_be_made(rendered):
    """Whatever was rendered before, an answer is what heads that never rendered anything make of it."""
    heads, date = Heads(), b""
    for answer, keep, new_date in rendered:
        if new_date is not None:
            date = new_date
            heads.set_date(date)
        fresh = Heads()
        fresh.set_date(date)
        whole = heads.render(answer, keep)
        assert whole == fresh.render(answer, keep)
        head, _, body = whole.partition(b"\r\n\r\n")
        assert body == answer.body
        assert b"\r\ncontent-length: %d" % len(body) in head
        assert head.startswith(b"HTTP/1.1 %d " % answer.status)
        assert (b"\r\ndate: " in head) == bool(date)
        assert (b"\r\nconnection: close\r\n" in head) == (not keep)
        assert (b"\r\nretry-after: 1" in head) == bool(answer.headers)
