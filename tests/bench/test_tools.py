"""The bench's tools: what the sink proves and the load generator measures is so."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from bench.load import Load
from bench.machine import Cores, build
from bench.measure import Bench, Figures
from bench.sink import Sink
from bench.template import BATCHES, FILTER, FORMATS, NOW, SEQ, TYPE, template

from hookline.core.body import event_document
from hookline.core.errors import Refusal
from hookline.core.filter import compile_filter
from hookline.core.publish import event_of, parse_publication

pytestmark = pytest.mark.skipif(
    not any(shutil.which(c) for c in ("cc", "gcc", "clang")) and "CI" not in os.environ, reason="there is no C compiler"
)
FREE = Cores(None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def bench(folder) -> Iterator[Bench]:
    made = Bench(folder, FREE)
    yield made
    made.close()


@pytest.fixture
def sink(bench: Bench) -> Sink:
    bench.reset()
    return bench.sink


@pytest.fixture(scope="module")
def load(folder) -> Load:
    return Load(build(folder, "load"), folder, None)


def delivery(number: int, path: str = "/", *, age_s: float = 0.0, signed: bool = True) -> bytes:
    sent_ns = time.monotonic_ns() - int(age_s * 1e9)
    body = b'{"type":"t","data":{"mark":"%016x-%016x"}}' % (number, sent_ns)
    signature = b"webhook-signature: v1,AAAA\r\n" if signed else b""
    head = b"POST %s HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n"
    return head % (path.encode(), signature, len(body)) + body


def post(sink: Sink, *pieces: bytes) -> None:
    """Send the pieces one after the other; returns when as many answers came as requests were in them."""
    wanted = b"".join(pieces).count(b" HTTP/1.1\r\n")
    with socket.create_connection(("127.0.0.1", sink.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        said = b""
        while said.count(b"\r\n\r\nok") < wanted:
            part = connection.recv(65536)
            assert part
            said += part


def test_the_sink_tells_doubles_from_others(sink: Sink):
    """An event that comes twice is counted once as distinct and once as a duplicate."""
    post(sink, delivery(1), delivery(2), delivery(1))
    book = sink.counts().once
    assert (book.distinct, book.duplicates, book.strange) == (2, 1, 0)


def test_the_sink_tells_deliveries_of_one_event_apart(sink: Sink):
    """Of an event with many endpoints each delivery is known by its endpoint."""
    post(sink, delivery(3, "/wide/10/4"), delivery(3, "/wide/10/5"), delivery(3, "/wide/10/4"), delivery(3))
    counts = sink.counts()
    assert (counts.wide.distinct, counts.wide.duplicates, counts.once.distinct) == (2, 1, 1)


def test_the_sink_reads_pieces_and_pipelines(sink: Sink):
    """Requests in one piece, and one in many pieces, are all counted."""
    one = delivery(7)
    post(sink, delivery(5) + delivery(6), *(one[at : at + 1] for at in range(len(one))))
    assert sink.counts().once.distinct == 3


def test_the_sink_notices_what_is_not_ours(sink: Sink):
    """A delivery without a mark, without a signature, or with a number beyond all is counted as such."""
    post(sink, delivery(1, signed=False), delivery(2**40), delivery(1).replace(b"mark", b"bark"))
    counts = sink.counts()
    assert (counts.not_signed, counts.once.strange, counts.unmarked) == (1, 1, 1)


def test_the_sink_measures_from_the_publish(sink: Sink):
    """The latency of an event counts from the instant that it carries, in buckets less than 2 % wide."""
    post(sink, *(delivery(n, age_s=10) for n in range(100)))
    book = sink.counts().once
    assert book.timed == 100
    assert 10e6 * 0.99 <= book.p50_us <= book.p99_us <= book.max_us


def test_a_window_forgets_latencies_and_no_event(sink: Sink):
    """After a new window the latencies are of it alone, and what came before is still known."""
    post(sink, delivery(1, age_s=5))
    sink.window()
    post(sink, delivery(1), delivery(2))
    book = sink.counts().once
    assert (book.distinct, book.duplicates, book.timed) == (2, 1, 1)


def test_a_closed_loop_sends_each_number_once(bench: Bench, sink: Sink):
    """Whatever the load generator says it published is at the sink, each once."""
    published = bench.load.run(sink.port, template(), seconds=30, connections=8, count=500)
    assert (published.requests, published.events, published.ok, published.other) == (500, 500, 500, 0)
    book = sink.counts().once
    assert (book.distinct, book.duplicates) == (500, 0)


def test_a_rate_is_kept(bench: Bench, sink: Sink):
    """At a rate exactly as many requests are sent as are due in the time."""
    published = bench.load.run(sink.port, template(), seconds=0.5, rate=400, connections=8)
    assert published.requests == 200
    assert sink.counts().once.distinct == 200


class _Publisher(http.server.BaseHTTPRequestHandler):
    """Answers as its server says, the first request late."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        if len(server.bodies) == 1:
            time.sleep(server.late_s)
        if not server.status:
            self.close_connection = True
            return
        self.send_response(server.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, status: int, late_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Publisher)
        self.status, self.late_s = status, late_s
        self.bodies: list[bytes] = []


@contextmanager
def serving(status: int = 202, late_s: float = 0.0) -> Iterator[_Server]:
    with _Server(status, late_s) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_publish_that_waits_for_a_connection_counts_from_when_it_was_due(load: Load):
    """A stall of the server is in the latency of every request that was due in it, not only in that of one."""
    with serving(late_s=0.6) as server:
        published = load.run(server.server_port, template(), seconds=0.5, rate=40, connections=1)
    assert published.requests == 20
    assert published.max_us >= 600_000
    assert published.p50_us >= 300_000
    assert published.late_max_us >= 500_000


def test_refusals_are_counted_and_shown(load: Load):
    """An answer that is none of 2xx is counted apart, and the first is shown."""
    with serving(status=503) as server:
        published = load.run(server.server_port, template(), seconds=30, connections=2, count=10)
    assert (published.ok, published.other) == (0, 10)
    assert "503" in published.first_other


def test_a_publish_without_an_answer_is_counted_and_the_load_goes_on(load: Load):
    """A connection that ends instead of answering counts as unanswered, and the next request has a new one."""
    with serving(status=0) as server:
        published = load.run(server.server_port, template(), seconds=30, connections=2, count=10)
        assert len(server.bodies) == 10
    assert (published.requests, published.ok, published.unanswered) == (10, 0, 10)


def test_ids_do_not_repeat_and_an_array_is_numbered_through(load: Load):
    """Each event of each request has an id and a number of its own."""
    with serving() as server:
        load.run(server.server_port, template("cloudevents batch of", items=3), seconds=30, connections=1, count=4)
        events = [event for body in server.bodies for event in json.loads(body)]
    assert len({event["id"] for event in events}) == 12
    numbers = [int(event["data"]["mark"][:16], 16) for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + 12))


@pytest.mark.parametrize("form", [*FORMATS, *BATCHES])
def test_every_form_passes_the_door_and_the_filter(form: str):
    """What the bench publishes is accepted in each form, and wanted by the bench's endpoint."""
    made = template(form, items=3 if form in BATCHES else 1)
    head, _, body = made.request.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(headers["content-length"]) == len(body)
    content_type = headers.pop("content-type")
    passed = {name: value for name, value in headers.items() if name.startswith("ce-")}
    drafts = parse_publication(content_type, passed, body, 0).drafts
    assert len(drafts) == made.events
    for draft in drafts:
        assert not isinstance(draft, Refusal)
        event = event_of(draft, b"\0" * 12, "default")
        assert event.type == TYPE
        assert compile_filter(FILTER).matches(event_document(event))
        assert f'"mark":"{SEQ}-{NOW}"'.encode() in event.data


def test_the_plain_event_is_one_kilobyte():
    """The body of the plain publish is 1,024 bytes."""
    assert len(template().request.partition(b"\r\n\r\n")[2]) == 1024


def test_a_loss_a_double_and_a_refusal_are_faults(folder, bench: Bench, sink: Sink):
    """A run in which anything was lost, doubled or refused fails, and one in which nothing was does not."""
    before = sink.counts()
    published = bench.load.run(sink.port, template(), seconds=30, connections=1, count=5)
    after = msgspec.structs.replace(sink.counts(), not_signed=before.not_signed)
    once = after.once
    replace = msgspec.structs.replace

    def faults(published, after) -> int:
        judge = object.__new__(Bench)
        judge.faults = type(bench.faults)()
        judge._prove(published, template(), before, after, delivers=True)
        return len(judge.faults.found)

    assert faults(published, after) == 0
    assert faults(published, replace(after, once=replace(once, distinct=once.distinct - 1))) == 1
    assert faults(published, replace(after, once=replace(once, duplicates=1))) == 1
    assert faults(replace(published, other=1), after) == 1
    assert faults(replace(published, unanswered=1), after) == 1
    assert faults(published, replace(after, not_signed=after.not_signed + 1)) == 1


def test_a_rate_is_held_when_little_waits_and_nothing_was_sent_late():
    """A backlog of more than a second of deliveries, or publishes sent more than a second late, is not held."""
    assert Figures(delivered_s=1000, backlog=1000, late_ms=1000).held(1.0)
    assert not Figures(delivered_s=1000, backlog=1001).held(1.0)
    assert not Figures(delivered_s=1000, late_ms=1001).held(1.0)
