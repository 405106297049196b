"""`make run`: the whole demo on the real program; it tells the truth and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SUMS = 13
FORGED = "\n  /in/stripe  payment_intent.succeeded  forged, with another secret -> 401\n    noted as wrong_signature"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@contextlib.contextmanager
def running(tmp_path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`hookline demo` with its temporary folder below `tmp_path`, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hookline", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def servers(tmp_path: Path) -> list[int]:
    """Processes that work in a folder of this demo."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(entry.joinpath("cwd").readlink()).startswith(str(tmp_path)):
                found.append(int(entry.name))
    return found


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read lines until one has this text; what was read."""
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(read)


def wait_until_gone(tmp_path: Path) -> None:
    """Return when no process of the demo is left, within ten seconds."""
    end_s = time.monotonic() + 10
    while servers(tmp_path):
        assert time.monotonic() < end_s, servers(tmp_path)
        time.sleep(0.05)


@pytest.mark.parametrize("seconds", ["3", "8"])
def test_a_timed_demo_ends_by_itself_and_adds_up(tmp_path, seconds):
    """It shows what it could in its time, every sum holds, the exit code is 0 and nothing is left."""
    with running(tmp_path, DEMO_SECONDS=seconds) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.count("\n  ok  ") == SUMS
    assert "\n  NO  " not in out
    assert "1 schema_violation; repeats recognised: 1" in out
    assert (seconds == "3") or re.search(r"dead-letters got the event of dlv_\w+, with the history of 3 attempts", out)
    assert FORGED in out
    for source, subscriber in (("stripe", "receipts"), ("github", "deploy")):
        assert re.search(rf"/in/{source}  [a-z_.]+  verified -> evt_[0-9a-f]+ -> {subscriber}", out)
    assert re.search(r" [1-9]\d* of these are delivered on with the provider's bytes \(", out)
    assert "  ok  1 was forged: 1 answered 401, 1 noted at the source with the reason, no event of it\n" in out
    assert re.search(r"Confirmed by their receiver: [1-9]", out)
    assert (seconds == "3") or re.search(r"replayed: dlv_[0-9a-f]+ is delivered", out)
    assert servers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_sums(tmp_path, number):
    """Ctrl-C and SIGTERM end the stream, the sums are still done, also of what came in, and no process is left."""
    with running(tmp_path) as process:
        wait_for(process, "publishing")
        assert len(servers(tmp_path)) == 1
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.count("\n  ok  ") == SUMS
    assert FORGED in out
    assert servers(tmp_path) == []


def test_a_demo_that_is_killed_takes_its_program_along(tmp_path):
    """Even SIGKILL leaves no server behind."""
    with running(tmp_path) as process:
        wait_for(process, "publishing")
        assert len(servers(tmp_path)) == 1
    wait_until_gone(tmp_path)


def test_a_program_that_dies_is_told_and_fails_the_demo(tmp_path):
    """When the server is gone, the demo says so with its last words and does not end with 0."""
    with running(tmp_path) as process:
        wait_for(process, "publishing")
        (server,) = servers(tmp_path)
        os.kill(server, signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "hookline serve ended with -9; its last words:" in out
    assert "Traceback" not in out
