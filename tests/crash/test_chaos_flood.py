"""More than can be delivered, a receiver that is down, and no file descriptor left: load is shed, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.program import Program, free_port, running, until
from tests.acceptance.receiver import Answer, Receiver, receiving
from tests.crash.chaos import LONG, Endpoint, count, metric, publishing, settled, warnings

FLOOD_S = 30 if LONG else 3
DOWN_EVENTS = 2000 if LONG else 200
FILES = 64
CONNECTIONS = 200
FAST = {"schedule_s": [0.2] * 100, "jitter": 0}


def resident_mib(program: Program) -> int:
    """How much memory the program has."""
    return int(metric(program, "process_resident_memory_bytes")) >> 20


@pytest.mark.rule(n=4)
@pytest.mark.crash
@pytest.mark.timeout(300 + 5 * FLOOD_S)
def test_rule_4_a_flood_beyond_what_can_be_delivered(tmp_path: Path):
    """Publishers who flood while the receiver takes a handful a second are answered 202, or 503 with Retry-After; what
    was acknowledged waits in the store and comes when the receiver is quick again, each once (rules 4 and 19)."""
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        endpoint = Endpoint(program, receiver, "flood.*", timeout_s=30, concurrency_max=16)
        endpoint.answer = Answer(wait_s=0.5)
        before_mib = resident_mib(program)
        with publishing(program, "flood.test", count=16, pause_s=0, fill_bytes=2000) as publishers:
            time.sleep(FLOOD_S)
            journal = publishers.stop()
        backlog = sum(program.stats()["open"].values())
        until(lambda: program.client.get("/readyz").status_code == 200, 60)
        after_mib = resident_mib(program)
        endpoint.answer = Answer()
        stats = settled(program)
        result = count(journal, [endpoint])
        print(
            f"\nflooded for {FLOOD_S} s: answers {dict(journal.statuses)}, {backlog} waiting at its end, memory "
            f"{before_mib} → {after_mib} MiB; {len(journal.acked)} acknowledged, lost {len(result.lost)}, duplicates "
            f"{len(result.duplicates)}"
        )
        assert backlog > 0
        assert set(journal.statuses) <= {0, 202, 503}
        assert journal.hasty == []
        assert set(journal.meant) == set(journal.acked)
        assert result.nothing_wrong
        assert result.duplicates == []
        assert stats["delivered"] == len(journal.acked)
        assert program.terminate() == 0


@pytest.mark.rule(n=14)
@pytest.mark.crash
@pytest.mark.timeout(300)
def test_rule_14_a_receiver_that_was_down_for_the_run_comes_back(tmp_path: Path):
    """A receiver that refuses every connection while everything is published gets all of it, each once, when it is
    back, after a restart of the program too; the other receiver does not notice (rules 9 and 14)."""
    port = free_port()
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        healthy = Endpoint(program, receiver, "down.*")
        program.endpoint(f"http://127.0.0.1:{port}/down", event_types=["down.*"], retry=FAST)
        with publishing(program, "down.test", count=8, pause_s=0) as publishers:
            until(lambda: len(publishers.journal.acked) >= DOWN_EVENTS, 120)
            journal = publishers.stop()
        assert set(journal.codes) <= {"overloaded"}
        until(lambda: len(healthy.hits) >= len(journal.acked), 60)
        until(lambda: program.stats()["delivered"] == len(journal.acked), 60)
        assert program.terminate() == 0
        program.start()
        with listening(port) as back:
            stats = settled(program)
            came = Counter(hit.id for hit in back.hits(f"http://127.0.0.1:{port}/down"))
        result = count(journal, [healthy])
        print(
            f"\na receiver down for {len(journal.acked)} events: back, it got {len(came)}, lost "
            f"{len(set(journal.acked.values()) - set(came))}, duplicates {sum(came.values()) - len(came)}"
        )
        assert came == Counter(journal.acked.values())
        assert result.nothing_wrong
        assert result.duplicates == []
        assert stats["delivered"] == 2 * len(journal.acked)
        assert stats["failed"] == 0


@contextlib.contextmanager
def listening(port: int) -> Iterator[Receiver]:
    """A receiver at a port of our choice."""
    receiver = Receiver(port=port)
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.mark.crash
@pytest.mark.timeout(240)
def test_no_file_descriptor_is_left(tmp_path: Path):
    """With every file descriptor taken by idle connections nothing that was acknowledged is lost and no delivery uses
    up a try for it; when they are gone publishing and delivering go on by themselves."""
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        spec = {"retry": {"schedule_s": [60]}, "timeout_s": 30}
        kept, closing = (Endpoint(program, receiver, "files.*", **spec) for _ in range(2))
        closing.answer = Answer(headers={"connection": "close"})  # each delivery needs a descriptor of its own
        with publishing(program, "files.test") as publishers, contextlib.ExitStack() as ended:
            journal = publishers.journal
            until(lambda: len(journal.acked) > 20, 60)
            limits = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (FILES, limits[1]))
            with contextlib.ExitStack() as idle:
                for _ in range(CONNECTIONS):
                    with contextlib.suppress(OSError):
                        idle.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=2))
                # Who has a connection is served; who comes now is turned away, and comes again.
                late = ended.enter_context(publishing(program, "files.test", count=2, answer_s_max=2, first=100))
                until(lambda: sum(program.stats()["open"].values()) > 20, 60)
                used_s = cpu_s(program)
                time.sleep(3)
                used_s = cpu_s(program) - used_s
                open_files = len(list(Path(f"/proc/{program.pid}/fd").iterdir()))
                turned_away = late.journal.statuses[0]
                waiting = sum(program.stats()["open"].values())
            recovered_s = time.monotonic()
            until(lambda: late.journal.last_acked_s > recovered_s, 30)
            until(lambda: program.client.get("/readyz").status_code == 200, 30)
            journal = publishers.stop()
            late.stop()
        journal.acked |= late.journal.acked
        journal.meant |= late.journal.meant
        stats = settled(program)
        result = count(journal, (kept, closing))
        rows = program.deliveries()
        print(
            f"\n{open_files} of {FILES} descriptors taken: {waiting} waiting at the end, {turned_away} publishes "
            f"turned away, {used_s:.1f} s of CPU in 3 s; {len(journal.acked)} acknowledged, lost {len(result.lost)}, "
            f"duplicates {len(result.duplicates)}; said {warnings(program, 'attempt_not_started')} times"
        )
        assert open_files >= FILES - 4
        assert warnings(program, "attempt_not_started") > 0
        assert set(journal.codes) <= {"overloaded"}
        assert result.nothing_wrong
        assert result.duplicates == []
        assert {row["attempts"] for row in rows} == {1}
        assert stats["delivered"] == 2 * len(journal.acked)
        assert program.terminate() == 0


def cpu_s(program: Program) -> float:
    """How much CPU it has used."""
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
