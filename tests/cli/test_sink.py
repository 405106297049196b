"""The receiver behind `hookline sink`: what it answers, what it prints, what it refuses."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest

from hookline.cli import sink as sink_module
from hookline.cli.receiver import HANG, Answer, Received, Receiver, bound_socket
from hookline.cli.sink import Behaviour
from hookline.core.endpoint import SigningKey
from hookline.core.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def signed(body: bytes, webhook_id: str = "evt_1") -> dict[str, str]:
    """The headers of a delivery of now."""
    now_s = int(time.time())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": Signer([SigningKey(SECRET)]).header(webhook_id, now_s, body, now_s * 1000),
    }


@pytest.mark.parametrize(
    ("behaviour", "statuses"),
    [
        (Behaviour(), [204, 204]),
        (Behaviour(status=200), [200, 200]),
        (Behaviour(status=503), [503, 503]),
        (Behaviour(fail=2), [500, 500, 204, 204]),
        (Behaviour(fail=1, status=429), [429, 204]),
        (Behaviour(hang=True), [0, 0]),
    ],
)
def test_the_nth_request_of_an_id_gets_its_answer(behaviour, statuses):
    """Failures are counted per webhook-id."""
    assert [behaviour.answer("a").status for _ in statuses] == statuses
    assert behaviour.answer("b").status == statuses[0]


def test_retry_after_goes_with_failures_only():
    """A success carries no Retry-After."""
    behaviour = Behaviour(fail=1, retry_after_s=7)
    assert behaviour.answer("a").headers == {"retry-after": "7"}
    assert behaviour.answer("a").headers == {}


def test_ids_are_forgotten_in_the_end(monkeypatch):
    """However many ids come, so many are remembered."""
    monkeypatch.setattr(sink_module, "IDS_MAX", 10)
    behaviour = Behaviour(fail=1)
    for number in range(100):
        behaviour.answer(str(number))
    assert len(behaviour._seen) == 10
    assert behaviour.answer("99").status == 204


async def test_the_receiver_gives_the_request_as_it_came():
    """Method, path, headers and body reach the handler; its answer goes back."""
    got: list[Received] = []

    async def handle(request: Received) -> Answer:
        got.append(request)
        return Answer(201, {"x-a": "b"}, b"done")

    receiver = Receiver(handle, bound_socket("127.0.0.1", 0))
    await receiver.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        response = await client.put(receiver.url + "/a/b", content=b"\x00\xff", headers={"X-Y": "z"})
        streamed = await client.post(receiver.url + "/c", content=_pieces())
    await receiver.stop()
    assert (response.status_code, response.headers["x-a"], response.content) == (201, "b", b"done")
    assert (got[0].method, got[0].path, got[0].headers["x-y"], got[0].body) == ("PUT", "/a/b", "z", b"\x00\xff")
    assert streamed.status_code == 201
    assert got[1].body == b"onetwo"


async def _pieces():
    yield b"one"
    yield b"two"


async def test_a_body_over_the_limit_gets_413(monkeypatch):
    """No more than 16 MiB are taken into memory."""
    monkeypatch.setattr("hookline.cli.receiver.BODY_BYTES_MAX", 1000)

    async def handle(_: Received) -> Answer:
        return Answer()

    receiver = Receiver(handle, bound_socket("127.0.0.1", 0))
    await receiver.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.post(receiver.url, content=b"x" * 1000)).status_code == 204
        assert (await client.post(receiver.url, content=b"x" * 1001)).status_code == 413
    await receiver.stop()


async def test_a_hanging_answer_does_not_keep_the_receiver_from_stopping(monkeypatch):
    """Who hangs never answers, and is ended with the receiver."""
    monkeypatch.setattr("hookline.cli.receiver.STOP_S", 0.05)
    arrived = asyncio.Event()

    async def handle(_: Received) -> Answer:
        arrived.set()
        return HANG

    receiver = Receiver(handle, bound_socket("127.0.0.1", 0))
    await receiver.start()
    async with httpx2.AsyncClient(trust_env=False) as client:
        asking = asyncio.ensure_future(client.get(receiver.url))
        await arrived.wait()
        await receiver.stop()
        with pytest.raises(httpx2.TransportError):
            await asking


async def test_a_receiver_that_never_listened_refuses():
    """A bound port that nobody listens on refuses connections, and can listen later."""

    async def handle(_: Received) -> Answer:
        return Answer()

    receiver = Receiver(handle, bound_socket("127.0.0.1", 0))
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(receiver.url)
        await receiver.start()
        assert (await client.get(receiver.url)).status_code == 204
    await receiver.stop()


@contextmanager
def running_sink(*options: str):
    """`hookline sink` in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hookline", "sink", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        yield process, line.split(";")[0].split()[-1] if "listening" in line else line.split()[0]
    finally:
        process.kill()
        process.communicate()


def test_sink_verifies_prints_and_ends():
    """A good request is answered 204 and a forged one 401; each is a line; SIGTERM ends with 0."""
    body = b'{"a": 1}'
    with running_sink("--secret", SECRET, "--json") as (process, url):
        good = httpx2.post(url + "/hook", content=body, headers=signed(body), trust_env=False)
        bad = httpx2.post(url + "/hook", content=body + b" ", headers=signed(body), trust_env=False)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
    assert (good.status_code, bad.status_code, process.returncode) == (204, 401, 0)
    first, second = map(json.loads, out.splitlines())
    assert (first["signature"], first["webhook_id"], first["body"], first["answered"]) == (
        "valid",
        "evt_1",
        '{"a": 1}',
        204,
    )
    assert (second["signature"], second["answered"]) == ("no_matching_signature", 401)


def test_sink_prints_lines_that_cannot_be_forged():
    """What a sender writes into path and body stays on its own line, escaped."""
    with running_sink("--body", "--fail", "1", "--status", "503", "--delay-ms", "1") as (process, url):
        headers = {"webhook-id": "evt_7", "hookline-attempt": "1"}
        first = httpx2.post(url + "/%1b[31m%0aforged", content=b"\x1b[2J\nforged\xff", headers=headers, trust_env=False)
        second = httpx2.post(url, content=b"", headers=headers, trust_env=False)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert (first.status_code, second.status_code, process.returncode) == (503, 204, 0)
    lines = out.splitlines()
    assert len(lines) == 3
    assert "POST  /\\x1b[31m\\nforged  evt_7  attempt 1" in lines[0]
    assert lines[0].endswith("signature not checked  -> 503")
    assert lines[1] == "    \\x1b[2J\\nforged\\\\xff".replace("\\\\", "\\")


def test_a_dead_sink_refuses():
    """--dead holds the port so that connections are refused."""
    with running_sink("--dead") as (_, url), pytest.raises(httpx2.ConnectError):
        httpx2.get(url, trust_env=False)


def test_a_port_that_is_taken_is_one_line(cli):
    """When it cannot listen it says so and ends with 1."""
    sock = bound_socket("127.0.0.1", 0)
    sock.listen()
    ended = cli("sink", "--port", str(sock.getsockname()[1]))
    sock.close()
    assert ended.code == 1
    assert "cannot listen" in ended.err
