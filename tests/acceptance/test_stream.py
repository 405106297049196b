"""The live stream from outside: whatever breaks in between, readers see everything once, and hold nobody up."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from typing import Any

import httpx2
import pytest
from tests.acceptance.program import KEY, Program, running, until
from tests.acceptance.receiver import Receiver

EVENTS = 2000


class Follower(threading.Thread):
    """Follows by hand: reads lines, remembers ids, and comes back with the last one after every break."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(daemon=True)
        self.program = program
        self.chance = random.Random(seed)
        self.seen: Counter[tuple[str, str]] = Counter()
        self.order: list[str] = []
        self.resets = 0
        self.breaks = 0
        self.position = ""
        self.ready = threading.Event()
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                with contextlib.suppress(httpx2.TransportError):
                    self._once()
                self.breaks += 1
                time.sleep(0.02)
        except BaseException as error:
            self.failure = error

    def _once(self) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        if self.position:
            headers["last-event-id"] = self.position
        left = self.chance.choice((3, 50, 400, 10_000))
        with (
            httpx2.Client(base_url=self.program.url, headers=headers, timeout=30, trust_env=False) as client,
            client.stream("GET", "/v1/stream") as answer,
        ):
            if answer.status_code == 503:  # it drains
                return
            assert answer.status_code == 200
            kind = position = ""
            data: Any = None
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    position = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = json.loads(value)
                elif not line:
                    self.position = position or self.position
                    self.ready.set()
                    if data is not None:
                        self._take(kind, data)
                        left -= 1
                    kind, data = "", None
                    if self.over.is_set() or left <= 0:
                        return

    def _take(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "reset":
            self.resets += 1
        elif kind in ("event", "attempt"):
            self.seen[kind, data["id"]] += 1
            if kind == "event":
                self.order.append(data["id"])


@pytest.mark.rule(n=30)
def test_nothing_is_missed_and_nothing_comes_twice(tmp_path, receiver: Receiver):
    """Of 2,000 events and their attempts, published while readers break off and come back and the program is started
    again and killed, each reader sees every one exactly once."""
    with running(tmp_path) as program:
        program.endpoint(receiver.url(), event_types=["x"])
        followers = [Follower(program, seed) for seed in range(4)]
        for follower in followers:
            follower.start()
        for follower in followers:
            assert follower.ready.wait(20)
        published: list[str] = []
        for n in range(EVENTS // 50):
            accepted = program.post("/v1/events", [{"type": "x", "data": m} for m in range(50)], status=202).json()[
                "data"
            ]
            published += [row["id"] for row in accepted]
            if n == EVENTS // 150:
                assert program.terminate(20) == 0
                program.start()
            elif n == EVENTS // 75:
                program.kill()
                program.start()
        assert program.quiet()["delivered"] == EVENTS
        rows = program.deliveries(limit="250")
        attempts = {attempt["id"] for row in rows if row["attempts"] > 1 for attempt in program.attempts(row["id"])}
        wanted = EVENTS + sum(row["attempts"] for row in rows)
        for follower in followers:
            until(lambda f=follower: f.failure or sum(f.seen.values()) >= wanted, 30)
            assert follower.failure is None
        time.sleep(0.3)
        for follower in followers:
            follower.over.set()
        program.publish("y")  # so that who waits wakes
        for follower in followers:
            follower.join(20)
            assert not follower.is_alive()
            events = {identifier for kind, identifier in follower.seen if kind == "event"}
            assert set(published) <= events
            assert len(events) <= EVENTS + 1
            assert attempts <= {identifier for kind, identifier in follower.seen if kind == "attempt"}
            assert {key: count for key, count in follower.seen.items() if count != 1} == {}
            # One connection published: its commits are in the order of its requests.
            assert [identifier for identifier in follower.order if identifier in set(published)] == published
            assert (follower.resets, follower.breaks > 3) == (0, True)


def test_who_never_reads_holds_nobody_up(tmp_path):
    """A reader that never reads does not slow publishing, is cut off, and the stop does not wait for it."""
    with running(tmp_path) as program, contextlib.ExitStack() as sockets:
        before_s = _publish_s(program)
        idle, stuck = (sockets.enter_context(socket.socket()) for _ in range(2))
        for sock in (idle, stuck):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", program.port))
            query = b"?type=nothing" if sock is idle else b""
            sock.sendall(b"GET /v1/stream%b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n\r\n"
                         % (query, KEY.encode()))  # fmt: skip
        until(lambda: _metric(program, "hookline_stream_readers") == 2)
        after_s = [_publish_s(program)]
        while not _metric(program, "hookline_stream_cut_offs_total") and len(after_s) < 60:
            after_s.append(_publish_s(program))
        assert _metric(program, "hookline_stream_cut_offs_total") == 1
        assert sorted(after_s)[len(after_s) // 2] < 5 * before_s + 0.5
        begun_s = time.monotonic()
        assert program.terminate(20) == 0
        assert time.monotonic() - begun_s < 5
        idle.settimeout(5)
        answer = b""
        while piece := idle.recv(65536):
            answer += piece
        assert answer.endswith(b"0\r\n\r\n")  # a whole answer, though it never ends by itself


def _publish_s(program: Program) -> float:
    """How long 1,000 events take, of a kilobyte each as they are shown."""
    more = {"source": "s" * 700, "subject": "t" * 250}
    begun_s = time.monotonic()
    program.post("/v1/events", [{"type": "z", "data": n, **more} for n in range(1000)], status=202)
    return time.monotonic() - begun_s


def _metric(program: Program, name: str) -> float:
    """The value of a metric without labels."""
    for line in program.client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")
