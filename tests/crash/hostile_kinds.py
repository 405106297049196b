"""Every way in which a receiver may be hostile, with what must be recorded of an attempt at it.

The verdicts are what the documentation promises (docs/reference/reasons.md), not what the program was seen to do: an
answer counts by its status as soon as that is known and the rest is cut, redirects are not followed, nothing is
unpacked, and everything else is a failure named by the phase in which it happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from hookline.testing import answers
from hookline.testing.answers import Answer, reply

HEAD: Final = b"HTTP/1.1 200 Told\r\n"
CHUNKED: Final = HEAD + b"transfer-encoding: chunked\r\n\r\n"
HALF_SERVER_HELLO: Final = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(32))
METADATA: Final = "http://169.254.169.254/latest/meta-data/"
DRIP_S: Final = 1.0
"""Between two bytes of a drip."""
EARLY: Final = answers.raw(b"HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n", reads_body=False)


_TLS_STALLS: Final = frozenset({"TLS: silent", "TLS: half a ServerHello", "TLS: 1 B/s"})


class At(Enum):
    """When the misbehaviour begins."""

    QUEUE_FULL = "the listener's queue is full: the TCP handshake itself hangs"
    NOT_ACCEPTED = "the kernel accepts and the program never does"
    ACCEPTED = "as soon as the connection is accepted"
    REQUEST = "when the request was read"


@dataclass(frozen=True)
class Kind:
    """A kind of hostile receiver. `reason` is what each attempt at it must say; None: delivered, by its status."""

    name: str
    reason: str | None
    answer: Answer | None = None
    at: At = At.REQUEST
    tls: str = ""
    """`trusted`, or the name of what is wrong with the certificate."""
    large: bool = False
    """It is sent 1 MiB."""

    @property
    def holds(self) -> bool:
        """Only the end of its time ends an attempt at it."""
        return self.reason == "timeout" or self.at is At.QUEUE_FULL or self.name in _TLS_STALLS


def _tcp() -> list[Kind]:
    return [
        Kind("TCP: handshake hangs", "connect", at=At.QUEUE_FULL),
        Kind("TCP: never accepted", "timeout", at=At.NOT_ACCEPTED),
        Kind("TCP: never accepted, 1 MiB", "timeout", at=At.NOT_ACCEPTED, large=True),
        Kind("TCP: accepted, silent", "timeout", answers.hang(), At.ACCEPTED),
        Kind("TCP: zero window, 1 MiB", "timeout", answers.never_read(), At.ACCEPTED, large=True),
        Kind("TCP: closed at once", "connect", answers.close_at_once(), At.ACCEPTED),
        Kind("TCP: reset at once", "connect", answers.reset(), At.ACCEPTED),
    ]


def _tls() -> list[Kind]:
    stalls = {
        "silent": answers.hang(),
        "half a ServerHello": answers.hang(HALF_SERVER_HELLO),
        "1 B/s": answers.drip(HALF_SERVER_HELLO * 10, DRIP_S),
        "closed": answers.once_spoken_to(answers.close_at_once()),
        "reset": answers.once_spoken_to(answers.reset()),
        "fatal alert": answers.raw(b"\x15\x03\x03\x00\x02\x02\x28"),
        "garbage": answers.endless(b"\x16\x03\x03", b"\xff" * 4096),
        "plain HTTP": answers.raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
    }
    return [
        *(Kind(f"TLS: {name}", "tls", answer, At.ACCEPTED, "trusted") for name, answer in stalls.items()),
        Kind("TLS: another's certificate", "tls", reply(), tls="elsewhere"),
        Kind("TLS: expired certificate", "tls", reply(), tls="expired"),
        Kind("TLS: answer hangs", "timeout", answers.hang(), tls="trusted"),
        Kind("TLS: answer at 1 B/s", "timeout", answers.drip(step_s=DRIP_S), tls="trusted"),
        Kind("TLS: breaks in the body", "connect", answers.close_early(), tls="trusted"),
        Kind("TLS: endless body of a 500", "server_error", answers.endless_body(500), tls="trusted"),
    ]


def _slow() -> list[Kind]:
    return [
        Kind("hangs before the status", "timeout", answers.hang()),
        Kind("hangs in the status line", "timeout", answers.hang(b"HTTP/1.1 20")),
        Kind("hangs in the headers", "timeout", answers.hang_in_headers()),
        Kind("hangs after the headers", "timeout", answers.hang(HEAD + b"content-length: 5\r\n\r\n")),
        Kind("hangs in the body", "timeout", answers.hang_in_body()),
        Kind("hangs in a chunk", "timeout", answers.hang(CHUNKED + b"ff\r\nhello")),
        Kind("hangs after a 103", "timeout", answers.informational(1, answers.hang())),
        Kind("1 B/s from the status on", "timeout", answers.drip(step_s=DRIP_S)),
        Kind("1 B/s in the body", "timeout", answers.drip(b"1\r\nx\r\n" * 100, DRIP_S, said=CHUNKED)),
        Kind("hangs, body unread, 1 MiB", "timeout", answers.never_read(), large=True),
    ]


def _endless() -> list[Kind]:
    flood = b"a=b;" * 4096
    return [
        Kind("endless body of a 200", None, answers.endless_body()),
        Kind("endless body of a 500", "server_error", answers.endless_body(500)),
        Kind("endless chunks of a 200", None, answers.endless_body(in_chunks=True)),
        Kind("endless chunks of a 500", "server_error", answers.endless_body(500, in_chunks=True)),
        Kind("chunks of 1 byte, endless", None, answers.endless(CHUNKED, b"1\r\nx\r\n" * 1024)),
        Kind("endless chunk extension", None, answers.endless(CHUNKED + b"5;", flood)),
        Kind("endless trailer", None, answers.endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"x-more: h\r\n" * 1024)),
        Kind("endless headers", "protocol", answers.endless_headers()),
        Kind("endless 1xx", "protocol", answers.endless_informational()),
        Kind("endless 100", "protocol", answers.endless_informational(100)),
        Kind("17 × 103", "protocol", answers.informational(17, reply())),
        Kind("10 × 103, then 200", None, answers.informational(10, reply())),
        Kind("1 TiB promised, endless", None, answers.endless(HEAD + b"content-length: %d\r\n\r\n" % 2**40, flood)),
        Kind("gzip bomb of a 200", None, answers.gzip_bomb()),
        Kind("gzip bomb of a 500", "server_error", answers.gzip_bomb(status=500)),
        Kind("10,000 headers", "protocol", answers.many_headers()),
        Kind("header of 1 MiB", "protocol", answers.huge_headers()),
    ]


def _wrong() -> list[Kind]:
    raw = answers.raw
    return [
        Kind("bad chunk size", "protocol", answers.bad_chunks()),
        Kind("chunks cut off", "connect", answers.chunks_cut_off()),
        Kind("chunk without its end", "protocol", raw(CHUNKED + b"5\r\nhelloXX0\r\n\r\n")),
        Kind("length too large", "connect", answers.close_early()),
        Kind("length too small", None, raw(HEAD + b"content-length: 2\r\n\r\nok and much more")),
        Kind("length negative", "protocol", raw(HEAD + b"content-length: -1\r\n\r\n")),
        Kind("length of 40 digits", "protocol", raw(HEAD + b"content-length: " + b"9" * 40 + b"\r\n\r\n")),
        Kind("two lengths", "protocol", answers.two_lengths()),
        Kind("length and chunks", "protocol", answers.length_and_chunks()),
        Kind("unknown transfer coding", "protocol", raw(HEAD + b"transfer-encoding: gzip\r\n\r\nx")),
        Kind("header without a colon", "protocol", answers.header_without_colon()),
        Kind("NUL in a header", "protocol", raw(HEAD + b"x: a\0b\r\ncontent-length: 0\r\n\r\n")),
        Kind("status 999", "protocol", raw(b"HTTP/1.1 999 x\r\ncontent-length: 0\r\n\r\n")),
        Kind("101 nobody asked for", "protocol", raw(b"HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n\r\n")),
        Kind("HTTP/0.9", "protocol", answers.http_0_9()),
        Kind("HTTP/2", "protocol", raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18))),
        Kind("not HTTP", "protocol", answers.not_http()),
        Kind("redirect to metadata", "redirect", answers.redirect(METADATA)),
        Kind(
            "redirect, endless body", "redirect", answers.endless(b"HTTP/1.1 307 x\r\nlocation: /\r\n\r\n", b"x" * 4096)
        ),
        Kind("closed after the request", "connect", answers.close_at_once()),
        Kind("reset after the request", "connect", answers.reset()),
        Kind("reset in the headers", "connect", answers.reset(HEAD + b"x-half: ")),
        Kind("reset in the body", "connect", answers.reset(HEAD + b"content-length: 100\r\n\r\nhello")),
        Kind("413 before the body, 1 MiB", "client_error", EARLY, large=True),
    ]


KINDS: Final = (*_tcp(), *_tls(), *_slow(), *_endless(), *_wrong())


MANNERS: Final = {
    kind.name: kind
    for kind in (
        # As nearly each attempt at a hostile one, each at this one needs a new connection.
        Kind("polite", None, reply(200, headers=[(b"connection", b"close")])),
        Kind("slow", None, answers.after(1.0, reply())),
        Kind("failing", "server_error", reply(500)),
    )
}
"""Not hostile."""


def kinds(count: int) -> list[Kind]:
    """So many: each kind once, if there is room; of the rest one half only hangs and the other is all kinds in turn."""
    hanging = [kind for kind in KINDS if kind.holds]
    chosen = list(KINDS[:count])
    for number in range(count - len(chosen)):
        of = KINDS if number % 2 else hanging
        chosen.append(of[number // 2 % len(of)])
    return chosen
