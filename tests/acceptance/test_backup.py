"""Backup and restore from outside, under load: the copy is whole, and a program started on it loses nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from tests.acceptance.program import KEY, Program, balanced, running, until
from tests.acceptance.receiver import Answer, Hit, Receiver

THREADS = 3
FILL = "x" * 4000


@dataclass
class Publishers:
    """Threads that publish without a pause, and write down when each 202 was read (wall clock, ms since 1970)."""

    program: Program
    type: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(THREADS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _run(self, thread: int) -> None:
        with httpx2.Client(base_url=self.program.url, headers={"authorization": f"Bearer {KEY}"}, timeout=10) as client:
            number = 0
            while not self.stopped.is_set():
                number += 1
                document = {"type": self.type, "id": f"{thread}-{number}", "data": {"n": number, "fill": FILL}}
                try:
                    answer = client.post("/v1/events", json=document)
                except httpx2.TransportError:
                    return  # it was killed
                if answer.status_code == 202:
                    self.acknowledged[answer.json()["id"]] = time.time_ns() // 1_000_000


def run(*words: str, program: Program | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command, with a program's address or with settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    if program is not None:
        environment |= {"HOOKLINE_URL": program.url, "HOOKLINE_KEY": KEY}
    environment |= {f"HOOKLINE_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "hookline", *words, "--json"]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)


def document(ended: subprocess.CompletedProcess[str]) -> Any:
    """What a command that worked printed."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def instant_ms(text: str) -> int:
    """RFC 3339 as ms since 1970."""
    import datetime as dt

    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def start_on(backup: Path, folder: Path, secret: Path) -> Program:
    """A program on a restored copy, with the secret key that belongs to it."""
    folder.mkdir()
    shutil.copy(secret, folder / "hookline.secret")
    answer = document(run("restore", str(backup), db=f"sqlite:///{folder / 'hookline.db'}"))
    assert answer["kept"] is None
    return Program(folder).start()


@pytest.mark.rule(n=21)
@pytest.mark.timeout(180)
def test_a_backup_under_load_is_restored(tmp_path: Path, receiver: Receiver, name: str):
    """With publishers that never pause, a backup, a kill and a restore: everything acknowledged before the moment of
    the copy is there and gets delivered, the books hold, and nothing is stuck."""
    url = receiver.url(slow_at_first)
    copy = tmp_path / "copy.db"
    with running(tmp_path / "old") as old:
        spec = {"event_types": [name], "retry": {"schedule_s": [0.2] * 100, "jitter": 0}, "auth": BEARER}
        endpoint = old.endpoint(url, **spec)["id"]
        with Publishers(old, name) as publishers:
            until(lambda: len(publishers.acknowledged) > 200, every_s=0.05)
            taken = document(run("backup", str(copy), program=old))
            after = len(publishers.acknowledged)
            until(lambda: len(publishers.acknowledged) > after + 20, every_s=0.05)
            old.kill()
        assert list((tmp_path / "old").glob("*backup*")) == []
        secret_before = old.folder / "hookline.secret"
    assert copy.stat().st_size == taken["size_bytes"]
    as_of_ms = instant_ms(taken["as_of"])
    promised = {event for event, read_ms in publishers.acknowledged.items() if read_ms < as_of_ms}
    assert len(promised) > 200
    receiver.say(url, lambda _hit, _before: Answer())
    before = len(receiver.hits(url))
    new = start_on(copy, tmp_path / "new", secret_before)
    try:
        there = {row["id"] for row in new.rows("/v1/events", type=name, limit="250")}
        assert promised <= there
        stats = until(lambda: (s := new.stats())["open"] == dict.fromkeys(s["open"], 0) and s, 60, 0.2)
        assert balanced(stats)
        assert stats["events"] == stats["delivered"] == len(there)
        delivered = {hit.id for hit in receiver.hits(url)}
        assert there <= delivered
        again = receiver.hits(url)[before:]
        assert again
        assert {hit.headers["authorization"] for hit in again} == {"Bearer receivers-own"}
        assert new.get(f"/v1/endpoints/{endpoint}")["url"] == url
        event = new.publish(name, 1)
        assert event["id"] > max(there)  # ids are never used again
        new.delivered(event["id"])
        assert new.terminate() == 0
    finally:
        new.close()


BEARER = {"kind": "bearer", "token": "receivers-own"}


def slow_at_first(_hit: Hit, before: int) -> Answer:
    """Takes every second one only, and slowly: so that the copy finds all kinds of open deliveries."""
    return Answer(200 if before % 2 else 503, wait_s=0.02)


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Program]:
    """A program that has little to do."""
    with running(tmp_path / "quiet") as made:
        yield made


def test_publishing_goes_on_meanwhile(quiet: Program, tmp_path: Path, name: str):
    """While the copy is made and sent, publishes are answered as promptly as ever."""
    body = json.dumps([{"type": name, "data": "y" * 900_000}] * 16).encode()
    for _ in range(6):
        assert quiet.raw("/v1/events", body, "application/json").status_code == 202
    worst_s, count = 0.0, 0
    done = threading.Event()

    def back_up() -> None:
        taken.append(run("backup", str(tmp_path / "copy.db"), program=quiet))
        done.set()

    taken: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=back_up)
    thread.start()
    while not done.is_set():
        begun_s = time.monotonic()
        quiet.publish(name, 1)
        worst_s, count = max(worst_s, time.monotonic() - begun_s), count + 1
    thread.join()
    assert document(taken[0])["size_bytes"] > 80_000_000
    assert count > 20
    assert worst_s < 2


def test_a_kill_in_the_middle_leaves_nothing_for_long(quiet: Program, tmp_path: Path, name: str):
    """What a copy left that was cut off by a kill is removed at the next start."""
    leftovers = [quiet.folder / f"hookline.db-backup{end}" for end in ("", ".partial")]
    quiet.publish(name)
    quiet.kill()
    for path in leftovers:
        path.write_bytes(b"half a copy")
    quiet.start()
    assert [path for path in leftovers if path.exists()] == []
    assert document(run("backup", str(tmp_path / "copy.db"), program=quiet))["size_bytes"] > 0


def test_what_a_restore_refuses(quiet: Program, tmp_path: Path, name: str):
    """A restore onto a running server's database, over one that is there, or of what is no backup changes nothing."""
    quiet.publish(name)
    copy = tmp_path / "copy.db"
    document(run("backup", str(copy), program=quiet))
    running_db = f"sqlite:///{quiet.folder / 'hookline.db'}"
    assert run("restore", str(copy), db=running_db).returncode == 2
    used = run("restore", str(copy), "--force", db=running_db)
    assert (used.returncode, "another process" in used.stderr) == (1, True)
    for wrong in (b"", b"hello", copy.read_bytes()[:50_000]):
        (tmp_path / "wrong.db").write_bytes(wrong)
        ended = run("restore", str(tmp_path / "wrong.db"), db=f"sqlite:///{tmp_path / 'fresh.db'}")
        assert ended.returncode == 1, ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert not (tmp_path / "fresh.db").exists()
    assert run("restore", str(tmp_path / "missing.db"), db=f"sqlite:///{tmp_path / 'fresh.db'}").returncode == 2
    assert quiet.publish(name)["id"]


def test_a_restore_over_a_database_keeps_it(quiet: Program, tmp_path: Path, name: str):
    """With --force the database that was there is kept under another name, and its ids are not used again."""
    first = quiet.publish(name)
    copy = tmp_path / "copy.db"
    document(run("backup", str(copy), program=quiet))
    later = quiet.publish(name)
    assert quiet.terminate() == 0
    db = quiet.folder / "hookline.db"
    answer = document(run("restore", str(copy), "--force", db=f"sqlite:///{db}"))
    assert answer["kept"] == f"{db}.replaced"
    assert Path(answer["kept"]).stat().st_size > 0
    quiet.start()
    assert quiet.get(f"/v1/events/{first['id']}")["id"] == first["id"]
    quiet.get(f"/v1/events/{later['id']}", status=404)
    assert quiet.publish(name)["id"] > later["id"]


def test_without_the_secret_key_it_does_not_start(quiet: Program, tmp_path: Path, name: str):
    """A restored database without the key that opens its secrets is said so at once, by the command and by the
    server."""
    quiet.publish(name)
    copy = tmp_path / "copy.db"
    document(run("backup", str(copy), program=quiet))
    folder = tmp_path / "new"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    environment["HOOKLINE_DB"] = f"sqlite:///{folder / 'hookline.db'}"
    command = [sys.executable, "-m", "hookline", "restore", str(copy)]
    ended = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=60)
    assert "hookline.secret is not there" in ended.stderr
    assert "missing" in ended.stderr
    assert "again" in ended.stderr
    program = Program(folder)
    try:
        program.launch()
        assert program.end(30) == 2
        assert "hookline.secret" in program.log()
    finally:
        program.close()
