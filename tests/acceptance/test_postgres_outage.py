"""PostgreSQL is gone for a while under load: stopped, killed, or standing still with its connections open.

`make outage` (`OUTAGE_S=60`) is the long form, and prints what was measured.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster, chatter, clustering
from tests.acceptance.program import balanced, until
from tests.acceptance.publishing import Publishing
from tests.acceptance.receiver import Receiver
from tests.servers.postgres import Postgres, serving

pytestmark = [pytest.mark.xdist_group("postgres_outage")]
OUTAGE_S = float(os.environ.get("OUTAGE_S", "4"))
BACK_S = 20.0
"""Within so long of the database's return all goes on by itself."""
LEASED_S_MAX = 60.0
"""What was in flight may wait for its lease to end."""
IN_FLIGHT_MAX = 64
"""Attempts to one host that one process has at a time: what may be sent twice."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that flushes what it commits, as the program demands."""
    yield from serving()


@pytest.fixture
def cluster(server: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """On a database of its own."""
    with clustering(server, request.node.name, tmp_path) as cluster:
        yield cluster


class Silence:
    """When the receiver heard nothing."""

    def __init__(self, at_s: list[float], gone_s: float, back_s: float) -> None:
        after = [at for at in at_s if at > back_s]
        self.first_s = (min(after) if after else float("inf")) - back_s
        """From the database's return until something is sent again."""
        before = [at for at in at_s if at < back_s]
        self.still_s = (max(before) if before else gone_s) - gone_s
        """How long something was sent after it went."""


def stopped(server: Postgres) -> None:
    """As a crash of the machine's power would leave it."""
    server.stop("immediate")


def killed(server: Postgres) -> None:
    """Its first process is killed, the others find out."""
    server.kill()


def stalled(server: Postgres) -> None:
    """All its processes stand still."""
    server.stall()


@pytest.mark.rule(n=12)
@pytest.mark.parametrize("go", [stopped, killed, stalled])
def test_an_outage(cluster: Cluster, server: Postgres, receiver: Receiver, go: Callable[[Postgres], None]) -> None:
    """Publishers get 503 with Retry-After and nothing else, nobody is told that an event was accepted which was not;
    all goes on by itself soon after the database is back; nothing accepted is lost, nothing is sent twice but what was
    in flight; and the log is quiet."""
    api, worker = cluster.start("api"), cluster.start("worker")
    url = receiver.url()
    api.endpoint(url)
    with Publishing(api) as publishing:
        until(lambda: len(publishing.accepted) > 100, wait_s=30.0)
        gone_s = time.monotonic()
        go(server)
        time.sleep(OUTAGE_S)
        assert api.client.get("/healthz").status_code == 200
        refused = len(publishing.refused)
        back_s = time.monotonic()
        if go is stalled:
            server.resume()
        else:
            server.start()
        up_s = time.monotonic()
        came = len(publishing.accepted)
        until(lambda: len(publishing.accepted) > came + 50, wait_s=BACK_S)
        accepting_s = time.monotonic() - up_s
        until(lambda: max(hit.at_s for hit in receiver.hits(url)) > up_s, wait_s=BACK_S)
    assert not publishing.other
    assert all(publishing.refused)  # Retry-After
    assert refused or go is stalled
    accepted = set(publishing.accepted)
    until(lambda: accepted <= {hit.id for hit in receiver.hits(url)}, wait_s=LEASED_S_MAX, every_s=0.3)
    assert balanced(api.quiet(wait_s=LEASED_S_MAX))
    hits = receiver.hits(url)
    count = Counter(hit.id for hit in hits)
    twice = sum(many - 1 for many in count.values())
    assert twice <= IN_FLIGHT_MAX
    assert max(count.values()) <= 2
    silence = Silence([hit.at_s for hit in hits], gone_s, back_s)
    print(
        f"\n{go.__name__} for {up_s - gone_s:.1f} s: {len(publishing.refused)} refused, {len(accepted)} accepted,"
        f" {len(count) - len(accepted)} stored although refused, {twice} sent twice; accepting again after"
        f" {accepting_s:.1f} s, sending went on for {silence.still_s:.1f} s, and again after {silence.first_s:.1f} s"
    )
    assert silence.first_s < BACK_S
    for program in (api, worker):
        assert not chatter(program)
    assert (worker.terminate(), api.terminate()) == (0, 0)
