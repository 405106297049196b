"""One endpoint or tenant does not slow the others, from outside: hanging endpoints, a noisy tenant, floods."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
import zlib
from pathlib import Path

import pytest
import trustme
from tests.acceptance.program import Program, running, until
from tests.acceptance.receiver import Answer, Receiver, receiving

HANGING_PORTS = 25
HANGING_PER_PORT = 10
BACKLOG = 20_000


def latencies_s(program: Program, receiver: Receiver, url: str, count: int, tenant: str) -> list[float]:
    """Publish events to one endpoint, one after the other; seconds from each publish to its arrival, sorted."""
    took = []
    for n in range(count):
        before = len(receiver.hits(url))
        began = time.monotonic()
        program.post("/v1/events", {"type": "quick", "data": n}, status=202, hookline_tenant=tenant)
        took.append(receiver.came(url, before + 1)[before].at_s - began)
    return sorted(took)


def resident_mib(program: Program) -> float:
    """Memory that the program holds."""
    return int(Path(f"/proc/{program.pid}/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.slow
def test_hanging_endpoints_do_not_slow_a_healthy_one(tmp_path: Path, receiver: Receiver):
    """With 250 endpoints that accept and never answer, a healthy one gets its events as before, in flat memory."""
    healthy = receiver.url()
    with running(tmp_path) as program, contextlib.ExitStack() as stack:
        program.endpoint(healthy, event_types=["quick"])
        latencies_s(program, receiver, healthy, 20, "default")
        before = latencies_s(program, receiver, healthy, 60, "default")
        ports = []
        for _ in range(HANGING_PORTS):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            ports.append(listener.getsockname()[1])
        for n in range(HANGING_PORTS * HANGING_PER_PORT):
            program.endpoint(f"http://127.0.0.1:{ports[n % HANGING_PORTS]}/{n}", event_types=["slow"], timeout_s=2)
        held_mib = resident_mib(program)
        program.post("/v1/events", [{"type": "slow", "data": n} for n in range(40)], status=202)
        until(lambda: program.stats()["open"]["leased"] >= HANGING_PORTS * HANGING_PER_PORT)
        during = latencies_s(program, receiver, healthy, 60, "default")
        assert during[30] < 3 * before[30] + 0.05
        assert during[-2] < 3 * before[-2] + 0.2
        assert resident_mib(program) < held_mib + 60


@pytest.mark.slow
def test_a_noisy_tenant_does_not_delay_another(tmp_path: Path, receiver: Receiver):
    """While one tenant has 20,000 deliveries waiting for a slow endpoint, another's arrive as before."""
    slow = receiver.url(lambda _hit, _n: Answer(wait_s=0.05))
    quick = receiver.url()
    with running(tmp_path) as program:
        noisy, quiet = {"hookline_tenant": "noisy"}, {"hookline_tenant": "quiet"}
        spec = {"url": slow, "event_types": ["x"], "uid": "big"}
        program.post("/v1/endpoints", spec, status=201, **noisy)
        program.post("/v1/endpoints", {"url": quick, "event_types": ["quick"]}, status=201, **quiet)
        latencies_s(program, receiver, quick, 20, "quiet")
        before = latencies_s(program, receiver, quick, 60, "quiet")
        program.post("/v1/endpoints/big/pause", **noisy)
        for _ in range(BACKLOG // 1000):
            program.post("/v1/events", [{"type": "x", "data": n} for n in range(1000)], status=202, **noisy)
        program.post("/v1/endpoints/big/resume", **noisy)
        receiver.came(slow, 50)
        during = latencies_s(program, receiver, quick, 60, "quiet")
        assert program.stats()["open"]["pending"] > BACKLOG // 2
        assert during[30] < 3 * before[30] + 0.05
        assert during[-2] < 3 * before[-2] + 0.2


@pytest.mark.slow
def test_floods_end_in_time_and_memory(tmp_path: Path, receiver: Receiver):
    """Endless, dripping and compressed answers each end within the deadline, and memory stays flat."""
    bomb = zlib.compress(b"\0" * 100_000_000)
    answers = {
        "endless": b"HTTP/1.1 500 x\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 50_000_000,
        "chunks": b"HTTP/1.1 500 x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000_000,
        "bomb": b"HTTP/1.1 500 x\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb,
    }
    with running(tmp_path) as program:
        program.publish("warm", 1)
        held_mib = resident_mib(program)
        made = {}
        for kind, raw in answers.items():
            url = receiver.url(lambda _hit, _n, raw=raw: Answer(raw=raw))
            program.endpoint(url, event_types=[kind], timeout_s=2, retry={"first_s": 1, "attempts": 1})
            made[kind] = program.publish(kind, 1)["id"]
        for kind, event_id in made.items():
            row = program.delivered(event_id, "failed", 5)
            (attempt,) = program.attempts(row["id"])
            assert attempt["duration_ms"] < 3000, kind
            assert len(json.dumps(attempt)) < 300_000
        assert resident_mib(program) < held_mib + 30


@pytest.mark.parametrize("case", ["trusted", "unknown", "wrong name"])
def test_tls_is_verified(tmp_path: Path, case: str):
    """Over HTTPS a trusted certificate of the right name delivers; any other is reason `tls`, and no body is sent."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1" if case != "wrong name" else "elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    settings = {}
    if case != "unknown":
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        settings["ca_file"] = str(tmp_path / "ca.pem")
    with receiving() as receiver, running(tmp_path / "hookline", **settings) as program:
        receiver.secure(context)
        url = receiver.url().replace("http://", "https://")
        program.endpoint(url, event_types=["x"], retry={"first_s": 1, "attempts": 1})
        made = program.publish("x", 1)
        row = program.delivered(made["id"], "delivered" if case == "trusted" else "failed")
        assert row["reason"] == (None if case == "trusted" else "tls")
        assert len(receiver.hits(url)) == (1 if case == "trusted" else 0)
        assert program.terminate() == 0
