"""The examples run, against the real program, as their page says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextlib.contextmanager
def receiver(name: str, secret: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """An example that receives, listening."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(EXAMPLES / name), str(port)]
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


@pytest.mark.parametrize("name", ["receive.py", "receive_fastapi.py"])
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
