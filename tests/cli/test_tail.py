"""`hookline tail`: lines, JSON, breaks, and the live table, against a scripted stream and against the program."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hookline.cli import follow
from hookline.cli.entry_line import EntryLine
from hookline.cli.tally import ENDPOINTS_MAX, Rate, Tally, percentiles

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n"
AT = "2026-11-22T23:14:59.108Z"
EVENT = {"id": "evt_1", "type": "order.created", "accepted_at": AT, "subject": "s\x1b[2J", "data_bytes": 7}
ATTEMPT = {
    "id": "att_1", "delivery_id": "dlv_1", "event_id": "evt_1", "endpoint_id": "ep_1", "endpoint_uid": "shop",
    "type": "order.created", "number": 1, "at": AT, "outcome": "delivered", "status": 204, "reason": None,
    "cause": None, "detail": "", "duration_ms": 1.25, "state": "delivered", "next_at": None,
}  # fmt: skip
RETRY = ATTEMPT | {"outcome": "retry", "status": 503, "reason": "server_error", "state": "pending",
                   "next_at": "2026-11-22T23:15:09.000Z", "detail": "busy"}  # fmt: skip
FAILED = RETRY | {"state": "failed", "next_at": None}
DELIVERY = {"delivery_id": "dlv_1", "event_id": "evt_1", "endpoint_id": "ep_1", "endpoint_uid": None,
            "type": "order.created", "at": AT, "before": "failed", "after": "discarded", "reason": None}  # fmt: skip
ENDPOINT = {"endpoint_id": "ep_1", "endpoint_uid": "shop", "at": AT, "before": "active", "after": "paused",
            "reason": None}  # fmt: skip


def block(kind: str, position: str, data: object) -> bytes:
    """An event as the server sends it."""
    return f"event: {kind}\nid: {position}\ndata: {json.dumps(data)}\n\n".encode()


class Streams:
    """A server whose connections answer from a list, one after the other; the last stays open where it says so."""

    def __init__(self, answers: list[bytes], *, hold: bool) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._hold = hold
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for n, answer in enumerate(self.answers):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.asked.append(connection.recv(65536).split(b"\r\n")[0].decode())
            connection.sendall(answer)
            if self._hold and n == len(self.answers) - 1:
                self._held.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)
        for connection in self._held:
            connection.close()


@pytest.fixture
def streams(monkeypatch) -> Iterator[Callable[..., Streams]]:
    """Starts such a server; the command line speaks to it, and waits for nothing."""
    made: list[Streams] = []
    monkeypatch.setattr(follow, "WAIT_S", 0.01)
    monkeypatch.setenv("HOOKLINE_KEY", "the key of the tests")

    def start(*answers: bytes, hold: bool = True) -> Streams:
        made.append(Streams(list(answers), hold=hold))
        monkeypatch.setenv("HOOKLINE_URL", made[-1].url)
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_one_line_for_each_entry(cli, streams):
    """Without a terminal there is one plain line per entry, and nothing in it can steer a terminal."""
    entries = [
        ("event", EVENT),
        ("attempt", ATTEMPT),
        ("attempt", RETRY),
        ("delivery", DELIVERY),
        ("endpoint", ENDPOINT),
    ]
    body = b"".join(block(kind, str(n), data) for n, (kind, data) in enumerate(entries))
    streams(HEAD + b"retry: 10\n\n: keep-alive\n\n" + body)
    ended = cli("tail", "--count", "5")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "23:14:59.108  event     order.created             evt_1  7 bytes  s\\x1b[2J",
        "23:14:59.108  attempt   order.created             dlv_1 -> shop  try 1  204  1.2 ms  delivered",
        (
            "23:14:59.108  attempt   order.created             dlv_1 -> shop  try 1  503 server_error  1.2 ms  pending"
            "  again 23:15:09  busy"
        ),
        "23:14:59.108  delivery  order.created             dlv_1 -> ep_1  failed -> discarded",
        "23:14:59.108  endpoint  ep_1  shop  active -> paused",
    ]


def test_json_and_filters(cli, streams):
    """With --json each entry is one document on one line, and every filter is asked of the server."""
    server = streams(HEAD + block("event", "p1", EVENT) + block("event", "p2", EVENT))
    ended = cli("tail", "--json", "--type", "order.*", "--endpoint", "shop", "--event", "evt_1", "--kind", "event",
                "--kind", "attempt", "--state", "failed", "--since-position", "p0", "--count", "1")  # fmt: skip
    assert ended.code == 0
    assert [json.loads(line) for line in ended.out.splitlines()] == [{"kind": "event", "position": "p1", "data": EVENT}]
    assert "\x1b" not in ended.out
    asked = "type=order.%2A&endpoint=shop&event=evt_1&kind=event%2Cattempt&state=failed&last_event_id=p0"
    assert server.asked == [f"GET /v1/stream?{asked} HTTP/1.1"]


def test_it_comes_back_with_its_position(cli, streams):
    """After a break, in the middle of an entry too, and while the server says 503, it goes on behind the last whole
    one."""
    busy = b'HTTP/1.1 503 Busy\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{"code":"overloaded"}'
    server = streams(
        HEAD + block("event", "p1", EVENT) + block("event", "p2", EVENT)[:-20],
        busy,
        HEAD + b"retry: 5\n\n: keep-alive\nid: p3\n\n",
        HEAD + block("reset", "p4", {"detail": "It goes on from now."}) + block("event", "p5", EVENT),
    )
    ended = cli("tail", "--count", "3", "--json")
    assert [json.loads(line)["position"] for line in ended.out.splitlines()] == ["p1", "p4", "p5"]
    assert [asked.partition("last_event_id=")[2].split()[0] for asked in server.asked[1:]] == ["p1", "p1", "p3"]
    assert "the server ended the stream; again in" in ended.err
    assert "overloaded" in ended.err
    assert ended.err.count("connected again") == 2


def test_a_reset_is_told(cli, streams):
    """Without --json a reset is a sentence on stderr, not an entry."""
    streams(HEAD + block("reset", "p1", {"detail": "It goes on from now."}) + block("event", "p2", EVENT))
    ended = cli("tail", "--count", "2")
    assert (len(ended.out.splitlines()), ended.err) == (1, "It goes on from now.\n")


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (b'HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}', 4, "HOOKLINE_KEY"),
        (b'HTTP/1.1 422 No\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{"detail": "bad"}'[:-1], 1, "422"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 5, "503"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 1, "is this Hookline"),
        (HEAD + b"data: [1]\n\n", 1, "no JSON objects"),
        (HEAD + b"data: x\n\n", 1, "no JSON objects"),
        (HEAD + b"x" * 1_100_000, 1, "longer than 1 MiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_ends_it(cli, streams, answer, code, says):
    """A wrong key, a filter that is none, a server that cannot now or that is none: its code, and one line."""
    streams(answer)
    ended = cli("tail")
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err


def test_no_server_is_told_at_once(cli, monkeypatch):
    """A server that was never there is not waited for."""
    monkeypatch.setenv("HOOKLINE_URL", "http://127.0.0.1:1")
    assert cli("tail").code == 3
    assert cli("tail", "--summary").code == 3
    assert cli("tail", "--summary", "--count", "1").code == 2


def test_a_key_that_is_over_ends_it(cli, streams):
    """When it comes back and its key is not good any more, it ends with that."""
    streams(HEAD + block("event", "p1", EVENT), b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    ended = cli("tail")
    assert (ended.code, len(ended.out.splitlines())) == (4, 1)


def test_colours_are_for_terminals():
    """On a terminal states are coloured, and texts from outside still cannot steer it."""
    line = EntryLine(colours=True).text("attempt", FAILED | {"tenant": "acme", "detail": "x\x1b[2J"})
    assert "\x1b[31mfailed\x1b[0m" in line
    assert "\x1b[2macme:\x1b[0m" in line
    assert "\x1b[2J" not in line
    assert "\x1b" not in EntryLine(colours=False).text("attempt", FAILED)
    assert EntryLine(colours=False).text("new-kind", {"id": "x"}).split() == ["new-kind", "x"]
    assert EntryLine(colours=False).text("style", {"id": "x"}).split() == ["style", "x"]


def test_what_is_counted():
    """Delivered, to be tried again and failed are counted per endpoint, with rates, percentiles and the last error."""
    tally = Tally(100.0)
    for _ in range(30):
        tally.add("event", EVENT, 101.0)
        tally.add("attempt", ATTEMPT, 101.0)
    for data in (RETRY, FAILED, FAILED | {"endpoint_id": "ep_2", "endpoint_uid": None, "reason": None, "status": None,
                                          "outcome": "rejected"}):  # fmt: skip
        tally.add("attempt", data, 102.0)
    tally.add("attempt", ATTEMPT | {"outcome": "unconfirmed", "state": "unconfirmed"}, 102.0)
    tally.add("delivery", DELIVERY | {"after": "delivered"}, 102.0)
    tally.add("delivery", DELIVERY | {"after": "failed"}, 102.0)
    tally.add("endpoint", ENDPOINT, 102.0)
    tally.add("reset", {"detail": ""}, 102.0)
    shop, other = tally.rows["ep_1"], tally.rows["ep_2"]
    assert (shop.name, shop.state, shop.delivered, shop.retried, shop.failed) == ("shop", "paused", 31, 1, 2)
    assert (shop.error, other.error, other.failed) == ("server_error 503", "rejected", 1)
    assert (tally.events, tally.attempts, tally.delivered, tally.failed, tally.resets) == (30, 34, 31, 3, 1)
    assert shop.percentiles_ms() == (1.25, 1.25)
    assert tally.busiest(1)[0].at_s == 102.0
    assert [row.name for row in tally.busiest(5)] == ["ep_2", "shop"]


def test_rates_and_percentiles():
    """A rate is of the last ten seconds, or of as many as there were; percentiles are of what there is."""
    rate = Rate()
    for second in range(20):
        for _ in range(second):
            rate.add(float(second))
    assert rate.per_s(19.5, 0.0) == sum(range(10, 20)) / 10
    assert rate.per_s(40.0, 0.0) == 0
    young = Rate()
    for _ in range(8):
        young.add(1.0)
    assert young.per_s(2.0, 0.0) == 4
    assert percentiles([]) is None
    assert percentiles(list(range(1, 101))) == (50, 96)


def test_a_summary_has_an_end():
    """Beyond so many endpoints the others are one row: memory is bounded."""
    tally = Tally(0.0)
    for n in range(ENDPOINTS_MAX + 50):
        tally.add("attempt", ATTEMPT | {"endpoint_id": f"ep_{n}", "endpoint_uid": f"u{n}"}, 1.0)
    assert len(tally.rows) == ENDPOINTS_MAX + 1
    assert (tally.rows["others"].name, tally.rows["others"].delivered) == ("others", 50)


@contextlib.contextmanager
def tailing(server, *options: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """`hookline tail` in a process of its own."""
    environment = {**server.environment, "HOOKLINE_URL": server.url, "HOOKLINE_KEY": server.key, "TERM": "xterm"}
    command = [sys.executable, "-m", "hookline", "tail", *options]
    process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def settled(cli, kind: str) -> None:
    """Send events until the metrics say that somebody follows."""
    end_s = time.monotonic() + 20
    import httpx2

    while time.monotonic() < end_s:
        page = httpx2.get(f"{os.environ['HOOKLINE_URL']}/metrics", trust_env=False).text
        if "hookline_stream_readers 0.0" not in page:
            assert cli("send", kind, "{}").code == 0
            return
        time.sleep(0.05)
    raise AssertionError("nobody follows")


def test_ctrl_c_is_its_end(cli, server):
    """Against the program: an entry is shown as it happens, and Ctrl-C ends it with 0."""
    with tailing(server, "--type", "tail.*", "--json") as process:
        settled(cli, "tail.seen")
        assert json.loads(process.stdout.readline())["data"]["type"] == "tail.seen"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_summary_without_a_terminal(cli, server):
    """Elsewhere than on a terminal the summary is a line, or a document, every few seconds."""
    with tailing(server, "--summary", "--json") as process:
        settled(cli, "tail.counted")
        document = json.loads(process.stdout.readline())
        assert document["events"] == 1
        assert document["stats"]["events"] >= 1
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_summary_on_a_terminal(cli, server):
    """On a terminal there is a table that is drawn anew, and its last state stays when Ctrl-C ends it."""
    cli("endpoints", "create", "http://127.0.0.1:1/", "-t", "top.*", "--uid", "topmost", "--retry",
        '{"schedule_s": [0]}')  # fmt: skip
    ours, theirs = pty.openpty()
    with tailing(server, "--summary", stdout=theirs) as process:
        os.close(theirs)
        settled(cli, "top.seen")
        screen = _until(ours, b"connect ")
        for word in (b"hookline tail", b"topmost", b"attempts/s", b"p95 ms", b"events/s", b"in all:"):
            assert word in screen
        process.send_signal(signal.SIGINT)
        assert b"topmost" in _until(ours, b"\x1b[?1049l") + _rest(ours)
        assert process.wait(10) == 0
    os.close(ours)


def _until(ours: int, word: bytes) -> bytes:
    """What is written to a terminal until a word is there."""
    screen = b""
    end_s = time.monotonic() + 30
    while word not in screen:
        assert time.monotonic() < end_s, screen
        screen += os.read(ours, 65536)
    return screen


def _rest(ours: int) -> bytes:
    """What is written until nobody writes any more."""
    screen = b""
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            screen += piece
    return screen
