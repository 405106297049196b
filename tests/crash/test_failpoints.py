"""Each failpoint, several times, under load. `make crash KILLS=200` does each twenty times.

Whatever a run is about, `Run.finish` judges all that must hold after any kill: nothing lost, invented, changed, out of
order or stuck, no event with some of its deliveries, and twice only what was in flight (rule 12).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.program import until
from tests.acceptance.receiver import OK, Answer, Hit
from tests.crash.leftovers import look
from tests.crash.mixed import Journal, MixedPublishers, make
from tests.crash.receivers import QUICK, journaling
from tests.crash.run import Armed, Killed, Run, under_load

RUNS = max(2, int(os.environ.get("KILLS", "0")) // 10)
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
HITS_MAX = 25
AGAIN_S = 60.0
K = 300
"""Endpoints of a big fan-out: more than are made in the accept transaction."""

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240 + 30 * RUNS)]


def kills(run: Run, point: str) -> Iterator[Killed]:
    """Kill it at the point, at one of its first hits. Each kill is followed by a start, and by another kill, at any
    moment, before the next."""
    dice = random.Random(f"{SEED}/{point}")
    print(f"\nseed {SEED}: {point}, {RUNS} times")
    for _ in range(RUNS):
        time.sleep(dice.uniform(0, 0.4))
        run.kill()
        yield run.kill_at(f"{point}:kill@{dice.randint(1, HITS_MAX)}")


@pytest.mark.rule(n=1)
def test_before_commit_nothing_was_promised(tmp_path: Path):
    """An accept that dies before its commit has answered nobody and left nothing; sent again, it is one event."""
    with under_load(tmp_path, SEED) as run:
        gone: set[str] = set()
        for killed in kills(run, "before_commit"):
            assert killed.ids
            assert killed.events & killed.left.events == set()
            assert killed.events & killed.acked == set()
            gone |= killed.events
        run.finish()
        assert gone & set().union(*run.journal.answers.values()) == set()


@pytest.mark.rule(n=1)
@pytest.mark.rule(n=7)
def test_after_commit_the_same_key_is_the_same_event(tmp_path: Path):
    """An accept that dies after its commit and before its 202 is there; sent again, it gets the id of that event."""
    with under_load(tmp_path, SEED) as run:
        committed: set[str] = set()
        for killed in kills(run, "after_commit"):
            assert killed.ids
            assert killed.events <= killed.left.events
            assert killed.events & killed.acked == set()
            committed |= killed.events
        run.finish()
        assert committed <= set(run.journal.acked.values())


@pytest.mark.rule(n=16)
def test_after_claim_it_is_delivered_after_the_restart(tmp_path: Path):
    """What was claimed when the process died was not sent, and is sent by the next one."""
    with under_load(tmp_path, SEED) as run:
        for killed in kills(run, "after_claim"):
            assert killed.ids
            assert killed.pairs <= killed.left.leased
            _requested_again(run, killed)
        run.finish()


@pytest.mark.rule(n=12)
def test_after_send_the_receiver_has_it_and_gets_it_again(tmp_path: Path):
    """What was written when the process died has reached its receiver, and comes again with the same webhook-id."""
    with under_load(tmp_path, SEED) as run:
        sent: set[tuple[str, str]] = set()
        for killed in kills(run, "after_send"):
            assert killed.ids
            assert killed.pairs <= killed.left.leased
            sent |= run.ordinary(killed.pairs)
        run.finish()
        requests = run.requests()
        assert {pair: requests[pair] for pair in sent if requests[pair] < 2} == {}


@pytest.mark.rule(n=12)
def test_after_response_it_is_sent_again_once(tmp_path: Path):
    """What was answered but not recorded when the process died is sent once more, with the same webhook-id."""
    with under_load(tmp_path, SEED) as run:
        answered: list[tuple[tuple[str, str], Killed]] = []
        for killed in kills(run, "after_response"):
            assert killed.ids
            assert killed.pairs <= killed.left.leased
            assert all(killed.requests[pair] > 0 for pair in killed.pairs)
            _requested_again(run, killed)
            answered += [(pair, killed) for pair in run.ordinary(killed.pairs)]
        run.finish()
        successes = run.requests(200)
        for pair, killed in answered:
            if run.at_kills[pair] == 1:  # at no other kill was it in flight
                assert successes[pair] == killed.successes[pair] + 1


@pytest.mark.rule(n=12)
def test_after_record_nothing_is_repeated(tmp_path: Path):
    """What was recorded as ended when the process died is never sent again."""
    with under_load(tmp_path, SEED) as run:
        ended: list[tuple[tuple[str, str], Killed]] = []
        for killed in kills(run, "after_record"):
            assert killed.ids
            closed = {killed.left.pairs[identifier] for identifier in killed.left.closed}
            assert closed & killed.left.leased == set()
            ended += [(pair, killed) for pair in closed]
        run.finish()
        requests = run.requests()
        assert ended
        for pair, killed in ended:
            assert requests[pair] == killed.requests[pair]


def _requested_again(run: Run, killed: Killed) -> None:
    """Wait until each delivery that was at the failpoint has come again."""
    pairs = run.ordinary(killed.pairs)

    def missing() -> list[tuple[str, str]]:
        requests = run.requests()
        return [pair for pair in pairs if requests[pair] <= killed.requests[pair]]

    until(lambda: not missing(), AGAIN_S, 0.05)


@pytest.mark.rule(n=5)
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_big_fan_out_is_whole_or_not_there(point: str, tmp_path: Path):
    """Of an event to 300 endpoints the file has, whenever the process dies, all deliveries or none."""
    with journaling() as receiver:
        arrived: Counter[str] = Counter()

        def script(hit: Hit, _before: int) -> Answer:
            arrived[hit.target] += 1
            return OK

        url = receiver.url(script)
        program = Armed(tmp_path / "hookline")
        publisher: threading.Thread | None = None
        try:
            program.start()
            for number in range(K):
                program.endpoint(f"{url}?n={number}", retry=QUICK, event_types=["crash.plain"])
            program.kill()
            program.failpoint = f"{point}:kill"
            program.launch()
            journal = Journal()
            publishers = MixedPublishers(program, journal, SEED, lambda: False)
            wanted = make(journal, "plain", 0, 0, random.Random(SEED))
            publisher = threading.Thread(target=publishers.until_acknowledged, args=(wanted,), daemon=True)
            publisher.start()
            assert program.end() == -signal.SIGKILL, program.log()
            left = look(program, tmp_path / "copy", Counter({"crash.plain": K}))
            assert (len(left.events), left.wrong) == (0 if point == "before_commit" else 1, [])
            assert journal.acked == {}
            program.failpoint = ""
            program.start()
            publisher.join(60)
            stats = until(lambda: (s := program.stats())["delivered"] == K and s, 60.0, 0.1)
            assert (stats["events"], stats["deliveries"]) == (1, K)
            assert len(arrived) == K
            if left.events:
                assert left.events == set(journal.acked.values())
            assert sum(arrived.values()) - K <= len(left.leased)
        finally:
            program.close()
            if publisher is not None:
                publisher.join(60)
