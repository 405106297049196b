"""The examples run, against the real program, as their page says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.servers.valkey import serving as serving_valkey

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextlib.contextmanager
def receiver(name: str, secret: str, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An example that receives, listening."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(EXAMPLES / name), str(port), *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        end_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            assert process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The first line that holds this."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(text)


RECEIVERS = ["receive.py", *(f"receive_{one}.py" for one in ("asgi", "django", "fastapi", "flask", "wsgi"))]


@pytest.mark.parametrize("name", RECEIVERS)
def test_what_is_published_is_received_once(cli, server, name):
    """An event goes from one example to the other; what is not signed gets 401, and a repeat is not taken twice."""
    port, uid = free_port(), name.replace(".", "-")
    event_type = f"example.{uid}"
    cli("endpoints", "create", f"http://127.0.0.1:{port}/hook", "--uid", uid, "-t", event_type)
    secret = cli("endpoints", "secret", uid).out.strip()
    with receiver(name, secret, port) as process:
        command = [sys.executable, str(EXAMPLES / "publish.py"), event_type, '{"order_id": "A-1"}']
        published = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        event_id = re.fullmatch(r"(evt_[0-9a-f]+): 1 deliveries\n", published.stdout)[1]
        assert read_until(process, event_id) == f'{event_id} {event_type} {{"order_id": "A-1"}}\n'
        forged = httpx2.post(f"http://127.0.0.1:{port}/hook", json={}, trust_env=False)
        assert forged.status_code == 401
        assert cli("events", "replay", event_id).code == 0
        second = subprocess.run([*command[:3], '{"order_id": "A-2"}'], check=True, capture_output=True, timeout=30)
        assert read_until(process, event_id[:4]).endswith('{"order_id": "A-2"}\n')
        assert second.returncode == 0


def test_the_inbox_handles_once_and_confirms(cli, server, tmp_path):
    """An order is committed once with what its handler wrote, confirmed, and a faulty one is a dead letter that is
    rejected."""
    port, path = free_port(), str(tmp_path / "inbox.db")
    url = f"http://127.0.0.1:{port}/hook"
    cli("endpoints", "create", url, "--uid", "inbox", "-t", "order.inbox", "--confirm-within-s", "600")
    spec = '{"retry": {"schedule_s": [1], "on": {"answer_rejected": "fail"}}}'
    assert cli("endpoints", "update", "inbox", "--spec", spec).code == 0
    secret = cli("endpoints", "secret", "inbox").out.strip()
    with receiver("inbox.py", secret, port, path) as process:
        good = cli("send", "order.inbox", '{"order_id": "A-1", "total": 1.5}', "--json").json["id"]
        assert read_until(process, good) == f'{good} order.inbox {{"order_id": "A-1", "total": 1.5}}\n'
        assert state_of(cli, good, "delivered")
        bad = cli("send", "order.inbox", '{"total": 1.5}', "--json").json["id"]
        assert state_of(cli, bad, "failed")["reason"] == "answer_rejected"
        assert httpx2.post(url, json={}, trust_env=False).status_code == 401
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, total FROM orders").fetchall() == [("A-1", 1.5)]
    command = [sys.executable, str(EXAMPLES / "inbox.py")]
    listed = subprocess.run([*command, "letters", path], check=True, capture_output=True, text=True, timeout=30)
    key = f"standard_webhooks:{bad}"
    assert listed.stdout == f"{key} order.inbox after 1 tries: GiveUp: an order has an order_id\n"
    subprocess.run([*command, "retry", path, key], check=True, timeout=30)


def state_of(cli, event_id: str, state: str) -> dict[str, object]:
    """The one delivery of an event, once it has this state."""
    end_s = time.monotonic() + 20
    while True:
        [row] = cli("deliveries", "ls", "--event", event_id, "--json").json["data"]
        if row["state"] == state:
            return row
        assert time.monotonic() < end_s, row
        time.sleep(0.05)


def test_publish_says_why_it_was_refused(server):
    """A refusal ends the example with the server's problem document."""
    command = [sys.executable, str(EXAMPLES / "publish.py"), "hookline.not.yours", "{}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "reserved_event_type" in ended.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_shows_the_whole_way(server):
    """The script makes, publishes, and shows the delivery and the books."""
    command = ["sh", str(EXAMPLES / "curl.sh"), f"http://127.0.0.1:{free_port()}/hook"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"endpoint ep_[0-9a-f]{24}\n", ended.stdout)
    assert '"secret":"whsec_' in ended.stdout
    assert '"deliveries":1' in ended.stdout
    assert '"reason":"connect"' in ended.stdout
    assert '"open":' in ended.stdout


def test_a_webhook_goes_through_a_queue_to_an_application(cli, server, tmp_path):
    """A provider's webhook is in the stream with its own bytes, and the application handles it once, verified."""
    valkey = serving_valkey()
    broker = next(valkey)
    consumer = None
    try:
        (tmp_path / "github.secret").write_text("it is secret")
        secret = f"secret=@{tmp_path / 'github.secret'}"
        assert cli("sources", "create", "queued", "--verifier", "github", "--set", secret).code == 0
        stream = ("--config", '{"stream": "github"}', "-t", "push", "--format", "raw", "--uid", "queue")
        assert cli("endpoints", "create", broker.url, *stream).code == 0
        key = cli("endpoints", "secret", "queue").out.strip()
        consumer = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "consume_redis.py"), broker.url, "github"],
            env={**os.environ, "WEBHOOK_SECRET": key},
            stdout=subprocess.PIPE,
            text=True,
        )
        to = os.environ["HOOKLINE_URL"] + "/in/queued"
        assert cli("simulate", "github", "push", "--to", to, "--secret", secret.removeprefix("secret=")).code == 0
        line = read_until(consumer, "evt_")
        assert '"pusher"' in line
        event_id = line.partition(" ")[0]
        assert cli("events", "replay", event_id).code == 0
        assert cli("simulate", "github", "push", "--to", to, "--secret", secret.removeprefix("secret=")).code == 0
        assert event_id not in read_until(consumer, "evt_")
    finally:
        if consumer is not None:
            consumer.kill()
            consumer.communicate()
        next(valkey, None)
