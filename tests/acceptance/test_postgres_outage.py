"""PostgreSQL is gone for a while under load: restarted, stopped, killed, or standing still with its connections open.

`make outage` (`OUTAGE_S=60`) is the long form, and prints what was measured.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.acceptance.cluster import Cluster, chatter
from tests.acceptance.program import Program, balanced, until
from tests.acceptance.publishing import Publishing
from tests.acceptance.receiver import Receiver
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.xdist_group("postgres_outage")]
OUTAGE_S = float(os.environ.get("OUTAGE_S", "3"))
BACK_S = 20.0
"""Within so long of the database's return all goes on by itself."""
LEASED_S_MAX = 60.0
"""What was in flight may wait for its lease to end."""
IN_FLIGHT_MAX = 64
"""Attempts to one host that one process has at a time: what may be sent twice."""


class Outage:
    """One, with what was seen of it from outside."""

    def __init__(self, what: str, server: Postgres, api: Program, publishing: Publishing) -> None:
        self.what = what
        self.refused = -len(publishing.refused)
        self.gone_s = time.monotonic()
        GO[what](server)
        time.sleep(OUTAGE_S)
        assert api.client.get("/healthz").status_code == 200
        self.back_s = time.monotonic()
        if what == "stalled":
            server.resume()
        else:
            assert api.client.get("/readyz").status_code == 503
            server.start()
        self.up_s = time.monotonic()
        self.refused += len(publishing.refused)
        came = len(publishing.accepted)
        until(lambda: len(publishing.accepted) > came + 50, wait_s=BACK_S)
        self.accepting_s = time.monotonic() - self.up_s
        until(lambda: api.client.get("/readyz").status_code == 200, wait_s=BACK_S)

    def told(self, at_s: list[float]) -> str:
        """It in a line; `at_s`: when something was sent."""
        last_s = max((at for at in at_s if at < self.back_s), default=self.gone_s) - self.gone_s
        return (
            f"{self.what} for {self.up_s - self.gone_s:.1f} s: {self.refused} refused; accepting again after"
            f" {self.accepting_s:.1f} s; sending went on for {max(0.0, last_s):.1f} s, and again after"
            f" {self.first_s(at_s):.1f} s"
        )

    def first_s(self, at_s: list[float]) -> float:
        """From the database's return until something is sent again."""
        return min(at for at in at_s if at > self.back_s) - self.up_s


GO: dict[str, Callable[[Postgres], None]] = {
    "restarted": lambda server: server.stop("fast"),
    "stopped": lambda server: server.stop("immediate"),
    "killed": lambda server: server.kill(),
    "stalled": lambda server: server.stall(),
}


@pytest.mark.rule(n=12)
def test_outages(cluster: Cluster, server: Postgres, receiver: Receiver) -> None:
    """Publishers get 503 with Retry-After and nothing else; all goes on by itself soon after the database is back;
    nothing accepted is lost, nothing is sent twice but what was in flight; and the log is quiet."""
    api, worker = cluster.start("api"), cluster.start("worker")
    url = receiver.url()
    api.endpoint(url)
    outages = []
    with Publishing(api) as publishing:
        for what in GO:
            came = len(publishing.accepted)
            until(lambda came=came: len(publishing.accepted) > came + 100, wait_s=30.0)
            outages.append(Outage(what, server, api, publishing))
        until(lambda: max(hit.at_s for hit in receiver.hits(url)) > outages[-1].up_s, wait_s=BACK_S)
    assert not publishing.other
    assert all(publishing.refused)  # Retry-After
    assert all(outage.refused for outage in outages[:-1])
    accepted = set(publishing.accepted)
    # What was in flight when it went may wait for its lease to end: it is given back, or sent again after that.
    until(lambda: accepted <= {hit.id for hit in receiver.hits(url)}, wait_s=LEASED_S_MAX, every_s=0.3)
    assert balanced(api.quiet(wait_s=LEASED_S_MAX))
    hits = receiver.hits(url)
    at_s = [hit.at_s for hit in hits]
    count = Counter(hit.id for hit in hits)
    twice = sum(many - 1 for many in count.values())
    stored = len(count) - len(accepted)
    print("", *(outage.told(at_s) for outage in outages), sep="\n")
    print(f"{len(accepted)} accepted, 0 lost, {twice} sent twice, {stored} stored although refused")
    assert twice <= IN_FLIGHT_MAX * len(outages)
    assert max(count.values()) <= 2
    assert all(outage.first_s(at_s) < BACK_S for outage in outages)
    for program in (api, worker):
        assert not chatter(program)
    assert (worker.terminate(), api.terminate()) == (0, 0)
