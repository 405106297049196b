"""Durability, from outside: fsync before 202, restarts, kills, one process per file, a disk that is full."""

from __future__ import annotations

import re
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.acceptance.program import KEY, Program, balanced, needs, running, until
from tests.acceptance.receiver import Answer, Receiver


@pytest.mark.rule(n=1)
def test_the_answer_comes_after_the_fsync(tmp_path: Path):
    """strace shows: between reading each publish and writing its 202, the write-ahead log is flushed to the disk."""
    trace = tmp_path / "trace"
    calls = "fsync,fdatasync,read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg"
    prefix = [needs("strace"), "-f", "-y", "-s", "64", "-e", f"trace={calls}", "-o", str(trace)]
    program = Program(tmp_path / "hookline", prefix=prefix)
    try:
        program.start()
        for n in range(30):
            program.publish("x", n)
        # strace passes the signal on to nobody: end the program itself.
        subprocess.run(["pkill", "-TERM", "-P", str(program.pid)], check=True)
        program.end()
    finally:
        program.close()
    asked = answered = 0
    flushed = False
    started: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            started[pid] = call
            # What is written is on its way from here on; what is read or flushed is done when it is resumed.
            if "HTTP/1.1 202" not in call:
                continue
        elif call.startswith("<..."):
            begun = started.pop(pid, "")
            if "HTTP/1.1 202" in begun:
                continue
            call = begun.removesuffix("<unfinished ...>") + call.partition("resumed>")[2]
        if '"POST /v1/events' in call:
            asked += 1
            flushed = False
        elif call.startswith(("fsync(", "fdatasync(")) and "hookline.db" in call and call.endswith("= 0"):
            flushed = True
        elif '"HTTP/1.1 202' in call:
            answered += 1
            assert flushed, f"answer {answered} was written before the flush"
    assert (asked, answered) == (30, 30)


def test_everything_is_there_after_a_restart(tmp_path: Path, receiver: Receiver):
    """After SIGTERM and a start, endpoints, events, secrets, duplicates, answers and books are as before."""
    url = receiver.url()
    body = b'{"type":"x","data":{"n": 1},"id":"one","source":"/s"}'
    with running(tmp_path) as program:
        endpoint = program.endpoint(url, event_types=["x"], uid="mine")
        paused = program.endpoint(receiver.url(), event_types=["held"], uid="paused")
        program.post("/v1/endpoints/paused/pause")
        program.post("/v1/event-types", {"name": "typed", "schema": {"type": "integer"}}, status=201)
        first = program.raw("/v1/events", body, "application/json", idempotency_key="k")
        held = program.publish("held", 1)
        program.delivered(first.json()["id"])
        before = program.stats()
        secret = program.get("/v1/endpoints/mine/secret")
        assert program.terminate() == 0
        program.start()
        assert program.stats() == before
        assert program.get("/v1/endpoints/mine")["id"] == endpoint["id"]
        assert program.get("/v1/endpoints/mine/secret") == secret
        assert program.get(f"/v1/endpoints/{paused['id']}")["state"] == "paused"
        again = program.raw("/v1/events", body, "application/json", idempotency_key="k")
        assert again.content == first.content
        repeat = program.raw("/v1/events", body, "application/json")
        assert repeat.json()["duplicate"] is True
        program.post("/v1/events", {"type": "typed", "data": "no"}, status=422)
        assert program.delivery(held["id"])["state"] == "held"
        program.post("/v1/endpoints/paused/resume")
        program.delivered(held["id"])
        assert len(receiver.hits(url)) == 1


@pytest.mark.rule(n=16)
def test_a_killed_process_leaves_no_lease_behind(tmp_path: Path, receiver: Receiver):
    """After kill -9 in the middle of attempts the next start sends them again at once, under the same ids."""
    url = receiver.url(lambda _hit, n: Answer(wait_s=3) if 10 <= n < 15 else Answer())
    with running(tmp_path) as program:
        program.endpoint(url, event_types=["x"], timeout_s=60)
        # An endpoint starts with one attempt at a time, and one more after each success.
        for n in range(10):
            program.publish("x", n)
        receiver.came(url, 10)
        program.quiet()
        made = {program.publish("x", n)["id"] for n in range(5)}
        receiver.came(url, 15)
        assert program.stats()["open"]["leased"] == 5
        program.kill()
        began = time.monotonic()
        program.start()
        until(lambda: program.stats()["delivered"] == 15)
        assert time.monotonic() - began < 10
        hits = receiver.hits(url)[10:]
        assert {hit.id for hit in hits} == made
        assert len(hits) == 10
        assert balanced(program.stats())


def test_retries_wait_over_a_restart(tmp_path: Path, receiver: Receiver):
    """What waits for its next try keeps its time and its count of tries over kill -9."""
    url = receiver.url([500, 200])
    with running(tmp_path) as program:
        program.endpoint(url, event_types=["x"], retry={"schedule_s": [4], "jitter": 0})
        made = program.publish("x", 1)
        until(lambda: program.delivery(made["id"])["attempts"] == 1)
        program.kill()
        program.start()
        row = program.delivery(made["id"])
        assert (row["state"], row["attempts"]) == ("pending", 1)
        hits = receiver.came(url, 2)
        assert 3.5 < hits[1].at_s - hits[0].at_s < 7
        assert program.delivered(made["id"])["attempts"] == 2


@pytest.mark.rule(n=18)
def test_sigterm_finishes_what_is_on_its_way(tmp_path: Path, receiver: Receiver):
    """SIGTERM lets attempts in flight end and records them; the process exits 0 and the next sends nothing twice."""
    slow = receiver.url(lambda _hit, _n: Answer(wait_s=1))
    with running(tmp_path) as program:
        program.endpoint(slow, event_types=["x"])
        for n in range(5):
            program.publish("x", n)
        receiver.came(slow, 5)
        assert program.terminate() == 0
        program.start()
        assert program.stats()["delivered"] == 5
        time.sleep(0.5)
        assert len(receiver.hits(slow)) == 5


@pytest.mark.rule(n=1)
def test_a_second_process_refuses_the_file(tmp_path: Path):
    """A second server on the same database ends by itself, with a line that says why; the first is not disturbed."""
    with running(tmp_path) as program:
        second = subprocess.run(
            [sys.executable, "-m", "hookline", "serve", "--port", "0"],
            cwd=tmp_path,
            env={name: value for name, value in program.environment().items() if name != "HOOKLINE_PORT"},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert second.returncode not in (0, None)
        assert b"hookline" in second.stderr
        assert b"Traceback" not in second.stderr
        program.publish("x", 1)


@pytest.mark.rule(n=22)
def test_too_little_disk_is_503_and_not_ready(tmp_path: Path):
    """Below the limit of free space publishing is 503 with Retry-After, and nothing is accepted; reading goes on."""
    with running(tmp_path) as program:
        program.publish("x", 1)
        assert program.terminate() == 0
    program = Program(tmp_path, disk_free_min_mib=str(1024 * 1024))
    try:
        program.launch()
        until(lambda: _status(program, "/healthz") == 200)
        answer = program.post("/v1/events", {"type": "x", "data": 1}, status=503)
        assert answer.json()["code"] == "disk_full"
        assert int(answer.headers["retry-after"]) > 0
        assert program.stats()["events"] == 1
        assert _status(program, "/readyz") == 503
    finally:
        program.close()


def _status(program: Program, path: str) -> int:
    import httpx2

    try:
        return program.client.get(path).status_code
    except httpx2.TransportError:
        return 0


def test_a_write_that_fails_is_503_and_heals(tmp_path: Path, receiver: Receiver):
    """While another holds the database's write lock publishing is 503, never 202; afterwards it works by itself."""
    url = receiver.url()
    with running(tmp_path) as program:
        program.endpoint(url, event_types=["x"])
        program.publish("x", 1)
        intruder = sqlite3.connect(tmp_path / "hookline.db", isolation_level=None)
        try:
            intruder.execute("BEGIN IMMEDIATE")
            answer = program.post("/v1/events", {"type": "x", "data": 2})
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
        finally:
            intruder.execute("ROLLBACK")
            intruder.close()
        until(lambda: program.post("/v1/events", {"type": "x", "data": 3}).status_code == 202)
        program.quiet()
        stats = program.stats()
        assert balanced(stats)
        assert stats["events"] == 2
        assert stats["delivered"] == 2


def test_keys_are_made_once_and_kept_secret(tmp_path: Path):
    """Without a key one is written with mode 0600 and shown once on stderr; the key for secrets is never shown."""
    program = Program(tmp_path, key="")
    try:
        program.launch()
        until(lambda: _status(program, "/readyz") == 200)
        for name in ("hookline.key", "hookline.secret"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        key = (tmp_path / "hookline.key").read_text().strip()
        assert program.log_path.read_text().count(key) == 1
        assert (tmp_path / "hookline.secret").read_text().strip() not in program.log_path.read_text()
        assert program.client.get("/v1/stats").status_code == 401
        program.client.headers["authorization"] = f"Bearer {key}"
        assert program.client.get("/v1/stats").status_code == 200
        assert program.terminate() == 0
        program.start()
        assert program.log_path.read_text().count(key) == 1
        assert program.client.get("/v1/stats").status_code == 200
    finally:
        program.close()


def test_a_lost_secret_key_refuses_to_start(tmp_path: Path, receiver: Receiver):
    """With the database there and the key of its secrets gone, the program refuses to start and says which file."""
    with running(tmp_path) as program:
        program.endpoint(receiver.url(), event_types=["x"])
        assert program.terminate() == 0
        (tmp_path / "hookline.secret").unlink()
        program.launch()
        assert program.end() != 0
        assert "hookline.secret" in program.log()
        assert "Traceback" not in program.log()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("PORTT", "1"), ("DB", "mysql://x"), ("ALLOW_NETWORKS", "10.0.0.1/8"), ("KEY", "short")],
)
def test_a_wrong_setting_refuses_to_start(tmp_path: Path, name: str, value: str):
    """A setting that is unknown or not allowed ends the program with one line that names it."""
    program = Program(tmp_path, **{name: value})
    try:
        program.launch()
        assert program.end() == 2
        assert f"HOOKLINE_{name}" in program.log()
        assert len(program.log().strip().splitlines()) == 1
    finally:
        program.close()


def test_logs_are_json_lines_without_secrets(tmp_path: Path, receiver: Receiver):
    """Every line of the log is one JSON object; keys, secrets and payloads are in none."""
    import json

    url = receiver.url([500])
    with running(tmp_path, log_level="debug") as program:
        endpoint = program.endpoint(url, event_types=["x"], retry={"first_s": 1, "attempts": 1})
        secret = program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
        made = program.publish("x", "payload-canary", subject="a\r\n\x1b[2J".replace("\r\n\x1b", "_"))
        program.delivered(made["id"], "failed")
        program.client.get("/v1/%1b%5b31m%0d%0a", headers={"user-agent": "a\tb" + "u" * 20_000})
        assert program.terminate() == 0
        text = program.log_path.read_text()
    lines = text.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)
        assert len(line) < 9000
    for canary in (KEY, secret, "payload-canary"):
        assert canary not in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
