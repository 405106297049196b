"""Answers, read strictly and within limits: a table, and every table row in every cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.adapters.senders.answer import FIELDS_MAX, HEAD_BYTES_MAX, INTERIM_MAX, AnswerReader

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def read(data: bytes, *, body_max: int = 16_384, whole: bool = False, step: int | None = None) -> AnswerReader:
    """The reader after `data`, given in pieces of `step` bytes until it wants no more."""
    reader = AnswerReader()
    reader.begin(body_max, whole=whole)
    size = step or max(1, len(data))
    for start in range(0, len(data), size):
        if reader.feed(data[start : start + size]):
            break
    return reader


COMPLETE = {
    "a length": (OK, 200, b"ok", True),
    "chunks": (CHUNKED + b"2\r\nok\r\n3;name=value\r\n, x\r\n0\r\n\r\n", 200, b"ok, x", True),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n", 200, b"ok", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "no reason": (b"HTTP/1.1 202\r\ncontent-length: 0\r\n\r\n", 202, b"", True),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "HTTP/1.0 kept": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "interim answers": (EARLY * INTERIM_MAX + OK, 200, b"ok", True),
    "coded in the spelling of others": (
        b"HTTP/1.1 200 OK\r\nTRANSFER-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
        True,
    ),
    "not text": (b"HTTP/1.1 500 \xff\xfe\r\nx: \xff\r\ncontent-length: 2\r\n\r\n\x00\xff", 500, b"\x00\xff", True),
}


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
@pytest.mark.parametrize(("data", "status", "body", "reusable"), COMPLETE.values(), ids=COMPLETE)
def test_a_correct_answer(data: bytes, status: int, body: bytes, reusable: bool, step: int | None) -> None:
    """A correct answer is complete, in whatever pieces it comes."""
    reader = read(data, step=step)
    assert (reader.fault, reader.complete, reader.cut) == (None, True, False)
    assert (reader.status, reader.body, reader.reusable) == (status, body, reusable)


FAULTY = {
    "HTTP/0.9": b"<html>hello</html>\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "version 0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
    "version 2": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "an upgrade without its headers": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "too many interim answers": EARLY * (INTERIM_MAX + 1) + OK,
    "a length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + HELLO,
    "chunks and a length": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + HELLO,
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "the same length twice": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "a length with a sign": b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
    "a length beyond all": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
    "gzip as transfer coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "gzip until the end": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
    "something like chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "a chunk size in C": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk size beyond all": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "bare line feeds in chunks": CHUNKED + b"2\nok\n0\n\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nno colon here\r\ncontent-length: 0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
    "an empty name": b"HTTP/1.1 200 OK\r\n: a\r\ncontent-length: 0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
    "a CR in a header": b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
    "a huge header": b"HTTP/1.1 200 OK\r\nx: " + b"h" * HEAD_BYTES_MAX + b"\r\ncontent-length: 0\r\n\r\n",
    "a huge header that does not end": b"HTTP/1.1 200 OK\r\nx: " + b"h" * (HEAD_BYTES_MAX + 1),
    "a huge reason": b"HTTP/1.1 200 " + b"h" * (HEAD_BYTES_MAX + 1),
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (FIELDS_MAX + 1) + b"\r\n",
}


@pytest.mark.parametrize("step", [None, 1, 5])
@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY)
def test_a_faulty_answer(data: bytes, step: int | None) -> None:
    """What is no correct answer, or passes a limit of the head, is a fault in one line, in whatever pieces it comes."""
    reader = read(data, step=step)
    assert reader.fault is not None
    assert "\n" not in reader.fault
    assert not (reader.complete and reader.reusable)


@pytest.mark.parametrize("step", [None, 1])
def test_the_largest_head(step: int | None) -> None:
    """A hundred headers are read, and a head of nearly 64 KiB."""
    many = read(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (FIELDS_MAX - 1) + b"content-length: 0\r\n\r\n", step=step)
    assert (many.complete, len(many.headers)) == (True, FIELDS_MAX)
    large = read(b"HTTP/1.1 200 OK\r\nx: " + b"h" * 65_000 + b"\r\ncontent-length: 0\r\n\r\n", step=step)
    assert (large.complete, large.fault) == (True, None)


def test_a_large_body_beside_a_small_head() -> None:
    """What counts against the head's limit is the head alone, also when the body comes with it."""
    reader = read(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000, body_max=200_000)
    assert (reader.complete, reader.fault) == (True, None)


EXTRA = {
    "a second answer": OK + OK,
    "the beginning of one": OK + b"HTTP/1.1 2",
    "one byte": OK + b"H",
    "garbage": OK + b"garbage",
    "a body after no content": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
    "garbage after close": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nokgarbage",
}


@pytest.mark.parametrize("data", EXTRA.values(), ids=EXTRA)
def test_more_bytes_than_the_answer(data: bytes) -> None:
    """Bytes after a complete answer leave its status true, and the connection is not used again."""
    reader = read(data)
    assert (reader.fault, reader.complete, reader.reusable) == (None, True, False)
    assert reader.status in {200, 204}


@pytest.mark.parametrize("step", [None, 1])
def test_headers_are_kept_as_bytes_in_lower_case(step: int | None) -> None:
    """Header names become lower case, values stay bytes, order and repetition are kept, trailers are not."""
    data = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Empty:\r\nset-cookie: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader = read(data + b"0\r\nx-trailer: 1\r\n\r\n", step=step)
    assert reader.headers == [
        (b"set-cookie", b"a"),
        (b"x-empty", b""),
        (b"set-cookie", b"\xe9"),
        (b"transfer-encoding", b"chunked"),
    ]


def test_interim_headers_are_not_the_answers() -> None:
    """The headers of interim answers are not those of the answer."""
    assert read(EARLY + OK).headers == [(b"content-length", b"2")]


@pytest.mark.rule(n=4)
@pytest.mark.parametrize(
    ("status", "whole", "kept"), [(200, False, 1024), (500, False, 16_384), (200, True, 30_000), (404, True, 30_000)]
)
@pytest.mark.parametrize("step", [None, 999])
def test_how_much_of_a_body_is_kept(status: int, whole: bool, kept: int, step: int | None) -> None:
    """1 KiB of a success is kept and 16 KiB of anything else, or all where it is asked for; all of it is read."""
    data = b"HTTP/1.1 %d Told\r\ncontent-length: 30000\r\n\r\n" % status + bytes(range(250)) * 120
    reader = read(data, body_max=40_000, whole=whole, step=step)
    assert (reader.complete, reader.cut, reader.reusable) == (True, False, True)
    assert reader.body == (bytes(range(250)) * 120)[:kept]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("step", [None, 1])
def test_a_body_beyond_the_endpoints_limit(whole: bool, step: int | None) -> None:
    """A body larger than the endpoint's limit is cut there, and the status counts."""
    reader = read(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 999, body_max=100, whole=whole, step=step)
    assert (reader.cut, reader.complete, reader.fault) == (True, False, None)
    assert (reader.status, reader.body) == (200, b"x" * 100)


def test_a_limit_of_nothing() -> None:
    """With a limit of 0 an empty body is complete, and any other is cut."""
    assert read(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", body_max=0).complete
    reader = read(OK, body_max=0)
    assert (reader.cut, reader.body, reader.status) == (True, b"", 200)


def test_framing_without_end() -> None:
    """Chunk extensions or trailers that never end are cut as a body is, and little is held of them."""
    for endless in (b"1;" + b"x" * 500_000, b"0\r\n" + b"x-more: trailer\r\n" * 30_000):
        reader = read(CHUNKED + endless, step=4096)
        assert (reader.cut, reader.complete, reader.fault, reader.status) == (True, False, None, 200)


def test_a_body_in_a_million_pieces() -> None:
    """Chunks of one byte are read up to a number, then the body is cut; it takes no longer the more of them come."""
    few = read(CHUNKED + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n")
    assert (few.complete, few.cut, few.body) == (True, False, b"x" * 900)
    for step in (None, 65_536):
        many = read(CHUNKED + b"1\r\nx\r\n" * 1_000_000, body_max=1024 * 1024, step=step)
        assert (many.complete, many.cut, many.fault) == (False, True, None)
        assert many._body_left > 1024 * 1024 - 10_000
    trailers = read(CHUNKED + b"0\r\n" + b"a: b\r\n" * 1_000_000)
    assert (trailers.complete, trailers.cut, trailers.status) == (False, True, 200)


def test_thousands_of_answers_at_once() -> None:
    """Of what comes after the answer, or after too many headers, nothing is looked at."""
    calls = []

    class Counting(AnswerReader):
        def on_headers_complete(self) -> None:
            calls.append(1)
            super().on_headers_complete()

        def on_header(self, name: bytes, value: bytes) -> None:
            calls.append(1)
            super().on_header(name, value)

    for data, most in (
        (OK * 10_000, 2),
        (EARLY * 10_000, 2 * INTERIM_MAX + 2),
        (EARLY[:-2] + b"a: b\r\n" * 10_000, 101),
    ):
        calls.clear()
        reader = Counting()
        reader.begin(100, whole=False)
        assert reader.feed(data)
        assert len(calls) <= most


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
def test_a_redirect_is_read_no_further_than_its_headers(status: int) -> None:
    """Of a redirect the head counts; its body is not waited for."""
    reader = read(b"HTTP/1.1 %d Found\r\nlocation: http://x/\r\ncontent-length: 9999\r\n\r\nabc" % status)
    assert (reader.status, reader.cut, reader.complete, reader.body) == (status, True, False, b"")


def test_a_body_until_the_end_of_the_connection() -> None:
    """An answer with no length of its own ends with the connection, which is not used again."""
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not reader.complete
    reader.end(broken=False)
    assert (reader.complete, reader.body, reader.reusable) == (True, b"hello", False)


CUT_SHORT = {
    "nothing": b"",
    "in the status": b"HTTP/1.1 2",
    "in the headers": b"HTTP/1.1 200 OK\r\ncontent-le",
    "in the body": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "in a chunk": CHUNKED + b"5\r\nhel",
    "before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "after an interim answer": EARLY,
}


@pytest.mark.parametrize("data", CUT_SHORT.values(), ids=CUT_SHORT)
def test_an_answer_cut_short(data: bytes) -> None:
    """An answer that ends before its own end is never complete."""
    reader = read(data)
    reader.end(broken=False)
    assert (reader.complete, reader.cut) == (False, False)


def test_a_broken_connection_completes_nothing() -> None:
    """An answer with no length of its own is not complete when its connection broke."""
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nhello")
    reader.end(broken=True)
    assert (reader.complete, reader.status, reader.body) == (False, 200, b"hello")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5, max=100", 5.0),
        (b"max=100, Timeout=7", 7.0),
        (b"timeout=0", 0.0),
        (b"max=3", None),
        (b"timeout=soon", None),
        (b"timeout=99999999999", None),
    ],
)
def test_how_long_a_receiver_keeps_a_connection(value: bytes, seconds: float | None) -> None:
    """The receiver's own limit for idle connections is read where it tells one."""
    reader = read(b"HTTP/1.1 200 OK\r\nKeep-Alive: %b\r\ncontent-length: 0\r\n\r\n" % value)
    assert reader.keep_alive_s == seconds


@given(st.lists(st.sampled_from(sorted(COMPLETE.values(), key=repr)), min_size=1, max_size=4), st.integers(1, 60))
def test_answers_one_after_the_other(rows: list[tuple[bytes, int, bytes, bool]], step: int) -> None:
    """Nothing of an answer remains for the next one on the same connection."""
    reader = AnswerReader()
    for data, status, body, reusable in rows:
        reader.begin(16_384, whole=False)
        ends = [reader.feed(data[start : start + step]) for start in range(0, len(data), step)]
        assert ends == [False] * (len(ends) - 1) + [True]
        assert (reader.status, reader.body, reader.complete, reader.fault) == (status, body, True, None)
        if not reusable:
            break


def _seen(reader: AnswerReader) -> tuple[object, ...]:
    """All that a reader says of an answer."""
    judged = (reader.fault, reader.complete, reader.cut, reader.reusable)
    return (reader.status, reader.headers, reader.body, reader.keep_alive_s, *judged, reader.pack())


_KEPT = (
    b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=7\r\ncontent-length: 11\r\n\r\nhello\r\n\r\nyo",
    b"HTTP/1.1 500 No\r\ncontent-length: 1025\r\n\r\n" + b"x" * 1025,
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\r\n",
    b"HTTP/1.1 200 OK\n\ncontent-length: 3\r\n\r\nabc",
    CHUNKED + b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
)
_ANSWERS = [OK, COMPLETE["no content"][0], *_KEPT, *(row[0] for row in COMPLETE.values()), *FAULTY.values()]
_USUAL = st.integers(0, 3)
"""Of `_ANSWERS`, by number: those that can be remembered are the first."""
_ROUND = st.tuples(
    st.integers(0, 5),
    st.sampled_from([None] * 6 + [1, 7, 40]),
    st.sampled_from([16_384] * 6 + [0, 1, 2, 3, 11]),
    st.booleans(),
    st.sampled_from([b""] * 6 + [b"\r\n", OK, OK]),
)


@settings(deadline=None, max_examples=300)
@given(_USUAL, _USUAL, st.integers(0, len(_ANSWERS) - 1), st.lists(_ROUND, max_size=8))
def test_what_is_remembered_is_what_would_be_read(
    first: int, second: int, third: int, rounds: list[tuple[int, int | None, int, bool, bytes]]
) -> None:
    """A reader that remembers says the same as one that does not, at each piece of each answer on a connection,
    whatever the pieces and limits are and whatever follows."""
    both = (AnswerReader(), AnswerReader(remembered_bytes_max=0))
    for which, step, body_max, whole, behind in rounds:
        data = _ANSWERS[(first, first, first, second, second, third)[which]]
        for reader in both:
            reader.begin(body_max, whole=whole)
        assert _seen(both[0]) == _seen(both[1])
        size = max(step, len(data) // 60) if step else len(data)  # some are long
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        for piece in pieces:
            ends = [reader.feed(piece) for reader in both]
            assert ends[0] == ends[1]
            assert _seen(both[0]) == _seen(both[1])
            if ends[0]:
                break
        if behind:
            assert both[0].feed(behind) == both[1].feed(behind)
            assert _seen(both[0]) == _seen(both[1])
        if not both[0].complete or not both[0].reusable:
            break
    for reader in both:
        reader.end(broken=False)
    assert _seen(both[0]) == _seen(both[1])


def test_the_same_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes as the first piece of the next answer are recognized; other bytes, or a smaller limit, are not."""
    reader = AnswerReader()
    parsed: list[bytes] = []
    original = AnswerReader._parse

    def parse(self: AnswerReader, data: bytes) -> bool:
        parsed.append(data)
        return original(self, data)

    monkeypatch.setattr(AnswerReader, "_parse", parse)
    other = OK.replace(b"ok", b"ko")
    for data, body_max in ((OK, 9), (OK, 9), (OK, 2), (other, 9), (other, 2), (OK, 9), (OK, 1)):
        reader.begin(body_max, whole=False)
        assert reader.feed(data)
        assert (reader.status, reader.complete) == (200, body_max > 1)
    assert parsed == [OK, other, OK, OK]


def test_answers_that_never_repeat_are_seldom_remembered() -> None:
    """Where each answer is another one, few are remembered; as soon as one is repeated it is recognized again."""
    reader = AnswerReader()
    known = []
    for number in range(1, 101):
        reader.begin(9, whole=False)
        assert reader.feed(OK.replace(b"ok", b"%02d" % (number % 100)))
        known.append(reader._known.data)
    assert len(set(known)) == 8 + 6
    for _ in range(20):
        reader.begin(9, whole=False)
        assert reader.feed(OK)
    assert reader._known.data == OK


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_are_an_exception(data: bytes, step: int) -> None:
    """Whatever a receiver sends, the reader raises nothing and holds no more than it may."""
    reader = read(b"HTTP/1.1 200 OK\r\n" + data, body_max=64, step=step)
    reader.end(broken=False)
    assert len(reader.body) <= 64
