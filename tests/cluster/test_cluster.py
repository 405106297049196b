"""Two API nodes, two workers, PostgreSQL and a queue behind nginx, under load: whatever dies, counted outside.

`make cluster-crash` runs it long, `QUEUE=redis|nats|rabbitmq|kafka` with a broker; `make test` runs it short.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.acceptance.program import until
from tests.cluster.fleet import Fleet, fleet, freeze, thaw
from tests.cluster.load import Load, Slim, table
from tests.cluster.troubles import FROZEN_S, KILLS, OF_BROKERS, STANDING_STILL, Trouble, back
from tests.servers.nginx import AWAY_S

TROUBLES = int(os.environ.get("TROUBLES", "0"))
LONG = TROUBLES > 0
QUEUE = os.environ.get("QUEUE", "")
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
MANY, SOME = (26, 6) if LONG else (2, 2)
"""Publishers: in the long form so many that they publish at least 500 events a second together, where a machine can."""
STALLED_S_MAX = 5.0
"""A node that stands still gets no traffic after so long."""
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All of it; in the end every node ends well."""
    with fleet(tmp_path_factory.mktemp("cluster"), QUEUE) as made:
        yield made
        assert [node.terminate() for node in made.nodes] == [0] * 4


@contextlib.contextmanager
def loaded(nodes: Fleet, name: str) -> Iterator[Load]:
    """A load of its own, that has begun."""
    receiver = Slim()
    load = Load(nodes, receiver, name, many=MANY, some=SOME, seed=SEED)
    try:
        load.start()
        until(lambda: load.acknowledged > 50, wait_s=30.0)
        yield load
    finally:
        load.give_up()
        receiver.close()


def of_long(dice: random.Random) -> list[Trouble]:
    """What happens in the long form: each kind once, the rest at random."""
    kinds = [*KILLS, *(OF_BROKERS if QUEUE else ()), *STANDING_STILL]
    more = dice.choices(kinds, [kind.often for kind in kinds], k=max(0, TROUBLES - len(kinds)))
    found = [*kinds, *more]
    dice.shuffle(found)
    return found


@pytest.mark.rule(n=12)
@pytest.mark.timeout(120 + 90 * TROUBLES)
def test_whatever_dies_nothing_is_lost(nodes: Fleet) -> None:
    """API nodes, workers, the broker and PostgreSQL are killed and stopped under load: every acknowledged event arrives
    whole, in order where asked, and no more often than what was in flight allows."""
    dice = random.Random(SEED)
    done: Counter[str] = Counter()
    in_flight: Counter[str] = Counter()
    took_s: Counter[str] = Counter()
    with loaded(nodes, "crash") as load:
        for trouble in of_long(dice) if LONG else [KILLS[0], KILLS[1], KILLS[3], *OF_BROKERS[: bool(QUEUE)]]:
            began_s = time.monotonic()
            in_flight[trouble.name] += trouble.do(nodes, dice)
            took_s[trouble.name] += time.monotonic() - began_s
            done[trouble.name] += 1
            time.sleep(dice.uniform(0.3, 1.5))
        outcome = load.finish()
    rows = [
        (name, f"{times} ×, {in_flight[name]} in flight, {took_s[name]:.0f} s until it was back")
        for name, times in done.items()
    ]
    table(f"seed {SEED}, queue {QUEUE or 'NOTIFY'}", [*rows, *outcome.rows()])
    outcome.hold()
    assert outcome.duplicates.total() <= in_flight.total()


@pytest.mark.skipif(not LONG, reason="standing still takes half a minute: make cluster-crash")
@pytest.mark.rule(n=16)
@pytest.mark.timeout(300)
def test_who_stands_still_stops_nobody(nodes: Fleet) -> None:
    """A worker that is stopped beyond its leases loses these and nobody else's, so that what comes twice was in flight
    with it; an API node that is stopped gets nothing from nginx within 5 s, and every publish is answered 202."""
    worker, api = nodes.workers[0], nodes.apis[0]
    others = {name: row for name, row in nodes.instances().items() if name != nodes.name(worker)}
    with loaded(nodes, "still") as load:
        frozen_s = time.monotonic()
        held = until(lambda: _frozen_with_work(nodes), wait_s=30.0)
        freeze(api)
        stopped_at_s = time.time()
        time.sleep(AWAY_S)  # later one request would try it again
        thaw(api)
        until(lambda: _taken_back(nodes), wait_s=FROZEN_S)
        thaw(worker)
        time.sleep(1.0)
        outcome = load.finish()
    begun = [row for row in nodes.nginx.passed() if stopped_at_s <= row.ended_s - row.took_s <= stopped_at_s + AWAY_S]
    late = [row for row in begun if api.port in row.nodes and row.ended_s - row.took_s > stopped_at_s + STALLED_S_MAX]
    rows = [
        ("in flight with the worker", str(len(held))),
        ("publishes while the API node stood still", f"{len(begun)}, the longest {max(r.took_s for r in begun):.1f} s"),
        (f"of these to it after {STALLED_S_MAX:g} s", str(len(late))),
        ("until the leases were taken back", f"{time.monotonic() - frozen_s:.0f} s"),
    ]
    table("a worker and an API node stand still", [*rows, *outcome.rows()])
    outcome.hold()
    assert set(outcome.statuses) == {202}
    assert outcome.duplicates <= Counter(held)
    assert late == []
    assert {name: row for name, row in nodes.instances().items() if name in others} == others
    back(nodes.nodes)


def _frozen_with_work(nodes: Fleet) -> set[tuple[str, str]]:
    """Stop the worker while it has attempts in flight; what these are."""
    freeze(nodes.workers[0])
    held = nodes.leased(nodes.workers[0])
    if not held:
        thaw(nodes.workers[0])
    return held


def _taken_back(nodes: Fleet) -> bool:
    return not nodes.leased(nodes.workers[0])


@pytest.mark.rule(n=18)
@pytest.mark.timeout(300)
def test_a_rolling_restart_is_not_noticed(nodes: Fleet) -> None:
    """Every node (in the short form half of them) is stopped in order and started again under load: each ends with 0,
    no publish fails, nothing is lost, nothing comes twice."""
    with loaded(nodes, "roll") as load:
        for pair in list(zip(nodes.apis, nodes.workers, strict=True))[: 2 if LONG else 1]:
            for node in pair:
                os.kill(node.pid, signal.SIGTERM)
            assert [node.end() for node in pair] == [0, 0]
            for node in pair:
                node.launch()
            back(list(pair))
            time.sleep(AWAY_S + 1.0 if LONG else 1.0)  # before the next: nginx has found out that it is back
        outcome = load.finish()
    table("every node restarted in order", outcome.rows())
    outcome.hold()
    assert set(outcome.statuses) == {202}
    assert outcome.duplicates == Counter()
