"""A disk that is full, and one whose fsync fails: made by a small library between the program and the system."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import Program, balanced, needs, until
from tests.acceptance.receiver import Answer, Receiver

FULL = "f"
SYNC_FAILS = "s"
BODY = json.dumps({"type": "x", "data": "y" * 20_000}).encode()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    made = tmp_path_factory.mktemp("disk") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    words = [needs("cc"), "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return made


class Disk:
    """The disk of a program: `fails` until it is `well`."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag

    def fails(self, how: str) -> None:
        """From now on."""
        self._flag.write_text(how)

    def well(self) -> None:
        """Again."""
        self._flag.unlink()


@contextlib.contextmanager
def on_a_disk(folder: Path, library: Path) -> Iterator[tuple[Program, Disk]]:
    """The program on such a disk."""
    flag = folder / "fails"
    more = {"LD_PRELOAD": str(library), "DISK_FAILS": str(flag), "DISK_BELOW": str(folder / "hookline.db")}
    program = Program(folder, more=more)
    try:
        yield program.start(), Disk(flag)
    finally:
        program.close()


@pytest.mark.rule(n=22)
def test_a_full_disk_is_503_and_heals(tmp_path: Path, library: Path, receiver: Receiver):
    """While the disk is full publishing is 503, never 202, and not ready; with space again it works by itself."""
    url = receiver.url()
    with on_a_disk(tmp_path, library) as (program, disk):
        program.endpoint(url, event_types=["x"])
        acked = {program.publish("x", n)["id"] for n in range(10)}
        program.quiet()
        disk.fails(FULL)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            answer = program.raw("/v1/events", BODY, "application/json")
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] in ("disk_full", "overloaded")
            assert int(answer.headers["retry-after"]) > 0
        assert program.client.get("/readyz").status_code == 503
        assert program.client.get("/healthz").status_code == 200
        assert balanced(program.stats())
        disk.well()
        began = time.monotonic()
        acked.add(until(lambda: program.raw("/v1/events", BODY, "application/json").json().get("id"), 10))
        assert time.monotonic() - began < 10
        until(lambda: program.client.get("/readyz").status_code == 200)
        stats = program.quiet()
        assert stats["events"] == stats["delivered"] == len(acked)
        assert {hit.id for hit in receiver.hits(url)} == acked


@pytest.mark.rule(n=22)
@pytest.mark.rule(n=12)
def test_outcomes_wait_for_a_full_disk(tmp_path: Path, library: Path, receiver: Receiver):
    """What was on its way when the disk became full is recorded later and sent once; nothing new is sent meanwhile."""
    url = receiver.url(lambda _hit, n: Answer(wait_s=0.5 if n >= 10 else 0))
    with on_a_disk(tmp_path, library) as (program, disk):
        program.endpoint(url, event_types=["x"])
        for n in range(10):
            program.publish("x", n)
        program.quiet()
        for n in range(40):
            program.publish("x", n)
        receiver.came(url, 12)
        disk.fails(FULL)
        time.sleep(2)
        before = len(receiver.hits(url))
        time.sleep(1.5)
        assert len(receiver.hits(url)) == before
        assert before < 50
        disk.well()
        assert program.quiet(60)["delivered"] == 50
        assert set(Counter(hit.id for hit in receiver.hits(url)).values()) == {1}


def test_no_room_for_the_index_of_the_log_is_503_and_heals(tmp_path: Path, library: Path, receiver: Receiver):
    """When only the index of the write-ahead log finds no room, publishing is 503 as on any full disk, the process goes
    on, and with space again it works by itself."""
    url = receiver.url()
    flag, file = tmp_path / "fails", tmp_path / "hookline.db"
    more = {"LD_PRELOAD": str(library), "DISK_FAILS": str(flag), "DISK_BELOW": f"{file}-shm"}
    program = Program(tmp_path, more=more)
    body = json.dumps({"type": "x", "data": "y" * 240_000}).encode()
    try:
        program.start()
        program.endpoint(url, event_types=["x"])
        # Beside a stranger's snapshot the log cannot begin again: each 32 MiB of it its index must grow.
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as stranger:
            stranger.execute("BEGIN")
            stranger.execute("SELECT count(*) FROM meta").fetchone()
            Disk(flag).fails(FULL)
            answers = [program.raw("/v1/events", body, "application/json")]
            while answers[-1].status_code == 202 and len(answers) < 400:
                answers.append(program.raw("/v1/events", body, "application/json"))
            assert answers[-1].status_code == 503
            assert answers[-1].json()["code"] == "disk_full"
            assert int(answers[-1].headers["retry-after"]) > 0
            Disk(flag).well()
            until(lambda: program.raw("/v1/events", body, "application/json").status_code == 202, 10)
        stats = program.quiet(60)
        assert stats["events"] == stats["delivered"] == len(answers)
        assert set(Counter(hit.id for hit in receiver.hits(url)).values()) == {1}
        assert program.terminate() == 0
    finally:
        program.close()


@pytest.mark.rule(n=1)
def test_a_failed_fsync_ends_the_process(tmp_path: Path, library: Path, receiver: Receiver):
    """When fsync fails nothing is acknowledged and the process ends by itself; the next start goes on."""
    url = receiver.url()
    with on_a_disk(tmp_path, library) as (program, disk):
        program.endpoint(url, event_types=["x"])
        acked = {program.publish("x", n)["id"] for n in range(10)}
        program.quiet()
        disk.fails(SYNC_FAILS)
        with contextlib.suppress(httpx2.TransportError):
            assert program.raw("/v1/events", BODY, "application/json").status_code == 503
        assert program.end(20) not in (0, None)
        assert "Traceback" not in program.log()
        disk.well()
        program.start()
        acked.add(program.publish("x", "after")["id"])
        program.quiet()
        assert {hit.id for hit in receiver.hits(url)} >= acked
        assert balanced(program.stats())
