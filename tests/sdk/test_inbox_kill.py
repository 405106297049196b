"""The inbox under SIGKILL: processes that receive and handle are killed again and again, and counted from outside."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import free_port, until
from tests.sdk.test_inbox import SECRET, event, signed

from hookline.sdk.inbox import Inbox

EVENTS = 400
KILLS = 16
PROGRAM = """
import os, random, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from hookline.sdk import Receiver
from hookline.sdk.inbox import Inbox
from hookline.sdk.inbox_worker import Worker

path, port, log = sys.argv[1], int(sys.argv[2]), os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND)
inbox = Inbox(path, Receiver(sys.argv[4]), retry_s=(0.1,) * 60)

@inbox.on("order.*", transaction=True)
def ordered(event, connection):
    # No unique key: what is written twice is there twice.
    connection.execute("INSERT INTO orders VALUES (?)", (event.id,))
    if random.random() < 0.1:
        raise ValueError("in vain")

@inbox.on("*")
def noted(event):
    os.write(log, f"{event.id}\\n".encode())

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = inbox.respond("POST", self.path, self.headers, body)
        self.send_response(answer.status)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass

with Worker(inbox, lease_s=1, poll_s=0.05):
    if not port:
        import signal
        signal.pause()
    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Process:
    """A process that is started again whenever it was killed."""

    def __init__(self, folder: Path, port: int) -> None:
        self._command = [
            sys.executable,
            "-c",
            PROGRAM,
            str(folder / "inbox.db"),
            str(port),
            str(folder / "log"),
            SECRET,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(self._command)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def assert_alive(self) -> None:
        """It has not ended by itself."""
        assert self._process is not None
        assert self._process.poll() is None


def sent(client: httpx2.Client, url: str, n: int) -> bool:
    """Send an event; whether it was answered 200."""
    body = b'{"type":"order.created","timestamp":"2026-01-01T00:00:00Z","data":%d}' % n
    with contextlib.suppress(httpx2.TransportError):
        return client.post(url, content=body, headers=signed(body, f"evt_{n}")).status_code == 200
    return False


@pytest.mark.crash
def test_nothing_is_lost_and_what_commits_with_the_inbox_happens_once(tmp_path):
    """Of 400 events, whose receiver and worker are killed 16 times meanwhile, each that was answered 200 was handled,
    and what its handler wrote with the inbox's connection is there exactly once."""
    with contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE orders (id TEXT)")
    (tmp_path / "log").touch()
    chance = random.Random(1)
    port = free_port()
    processes = [Process(tmp_path, port), Process(tmp_path, 0)]
    for process in processes:
        process.start()
    kill_at = sorted(chance.sample(range(EVENTS), KILLS))
    pending = set(range(EVENTS))
    repeats = 0
    try:
        with httpx2.Client(timeout=10, trust_env=False) as client:
            until(lambda: sent(client, f"http://127.0.0.1:{port}/", 0))
            for n in range(EVENTS):
                if kill_at and n == kill_at[0]:
                    kill_at.pop(0)
                    process = chance.choice(processes)
                    time.sleep(chance.random() / 20)
                    process.kill()
                    process.start()
                until(lambda n=n: sent(client, f"http://127.0.0.1:{port}/", n), 30)
                if chance.random() < 0.1:
                    repeats += sent(client, f"http://127.0.0.1:{port}/", chance.randrange(n + 1))
                pending.discard(n)
        assert not pending
        assert repeats > 5
        with contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as connection:
            count = "SELECT COUNT(*) FROM hookline_inbox WHERE state = 'done'"
            until(lambda: connection.execute(count).fetchone()[0] == EVENTS, 60)
            for process in processes:
                process.assert_alive()
            assert connection.execute("SELECT COUNT(*) FROM hookline_inbox").fetchone()[0] == EVENTS
            orders = Counter(row[0] for row in connection.execute("SELECT id FROM orders"))
        assert orders == Counter(f"evt_{n}" for n in range(EVENTS))
        noted = Counter((tmp_path / "log").read_text().split())
        assert set(noted) == set(orders)
        # One handler at once of each thread may have been cut between its end and its mark.
        assert sum(noted.values()) - EVENTS <= KILLS * 4
    finally:
        for process in processes:
            process.kill()


MIDDLE = """
import sys, time
from hookline.sdk.inbox import Inbox
from hookline.sdk.inbox_worker import Worker
inbox = Inbox(sys.argv[1])

@inbox.on(transaction=sys.argv[2] == "inside")
def handled(event, connection=None):
    if connection is not None:
        connection.execute("INSERT INTO orders VALUES (?)", (event.id,))
    print("in the middle", flush=True)
    if sys.argv[3] == "hang":
        time.sleep(60)

Worker(inbox, lease_s=1, poll_s=0.05).run()
"""


@pytest.mark.parametrize("kind", ["inside", "outside"])
def test_killed_in_the_middle_of_a_handler(tmp_path, kind):
    """What a handler wrote before its process was killed is undone; another worker has the event after its lease."""
    path = tmp_path / "inbox.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id TEXT)")
    with contextlib.closing(Inbox(path)) as inbox:
        inbox.put(event())
        for way in ("hang", "end"):
            command = [sys.executable, "-c", MIDDLE, str(path), kind, way]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout.readline() == "in the middle\n"
                if way == "end":
                    until(lambda: inbox.counts()["done"] == 1)
                process.kill()
                process.stdout.read()
            with contextlib.closing(sqlite3.connect(path)) as connection:
                orders = connection.execute("SELECT id FROM orders").fetchall()
            assert orders == ([("evt_1",)] if (way, kind) == ("end", "inside") else [])
        assert inbox.letters("done")[0].tries == 2
