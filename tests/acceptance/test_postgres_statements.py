"""How many statements a delivery costs, as PostgreSQL itself counts them."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

asyncpg = pytest.importorskip("asyncpg")

from tests.acceptance.cluster import Cluster
from tests.acceptance.receiver import Receiver
from tests.servers.postgres import Postgres, serving

pytestmark = [pytest.mark.xdist_group("postgres_statements")]
EVENTS = 60
REST_S = 5.0
"""What is done now and then is done in that time."""
RECORDED_S = 0.05
"""After so long an outcome is recorded: the next event finds a free slot."""
AFTER = ("hl_claim", "hl_record", "hl_release")
"""What may be done for a delivery once it is accepted."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Debian's, which can count."""
    yield from serving(oldest=True, shared_preload_libraries="pg_stat_statements")


def counted(dsn: str) -> Counter[str]:
    """Calls of each kind of statement since this was asked last: a function of ours, or the first words."""

    async def ask() -> Counter[str]:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        found: Counter[str] = Counter()
        for row in await connection.fetch(
            "SELECT query, calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE d.datname = current_database() AND s.toplevel"
        ):
            name = re.search(r"hl_\w+|pg_notify", row["query"])
            found[name[0] if name else row["query"][:60]] += row["calls"]
        await connection.execute("SELECT pg_stat_statements_reset()")
        await connection.close()
        return found

    return asyncio.run(ask())


@pytest.mark.parametrize("roles", [("all",), ("api", "worker")])
def test_statements_per_delivery(cluster: Cluster, receiver: Receiver, roles: tuple[str, ...]) -> None:
    """One by one, so that nothing shares a commit: a delivery costs at most two statements after its acceptance, one
    where it is handed from acceptance to the sender, and nothing else grows with the number of events."""
    programs = [cluster.start(role) for role in roles]
    url = receiver.url()
    programs[0].endpoint(url)
    programs[0].delivered(programs[0].publish("a.b", 0)["id"])
    time.sleep(1.0)
    counted(cluster.dsn)
    began_s = time.monotonic()
    for n in range(EVENTS):
        programs[0].publish("a.b", n)
        receiver.came(url, n + 2)
        time.sleep(RECORDED_S)
    time.sleep(0.5)
    for_s = time.monotonic() - began_s
    busy = counted(cluster.dsn)
    time.sleep(REST_S)
    idle = counted(cluster.dsn)
    after = sum(busy[name] for name in AFTER)
    print(f"\n{roles}: {after / EVENTS:.2f} after acceptance; {for_s:.1f} s: {dict(busy)}; at rest: {dict(idle)}")
    assert busy["hl_accept"] == EVENTS
    assert after <= (1 if len(roles) == 1 else 2) * EVENTS + 5
    assert busy["pg_notify"] <= EVENTS
    known = {"hl_accept", "pg_notify", *AFTER}
    others = sum(calls for name, calls in busy.items() if name not in known)
    at_rest = sum(calls for name, calls in idle.items() if name not in known)
    assert others <= at_rest * max(1.0, for_s / REST_S) * 1.3 + EVENTS / 2
