"""The real program behind PgBouncer in transaction mode, with and without an address of PostgreSQL itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.cluster import Cluster, command, line_of
from tests.acceptance.program import balanced
from tests.acceptance.receiver import Receiver
from tests.servers.pgbouncer import PgBouncer, before
from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.rule(n=24), pytest.mark.xdist_group("postgres_outage")]


@pytest.fixture(scope="module")
def bouncer(server: Postgres) -> Iterator[PgBouncer]:
    """In front of it."""
    yield from before(server)


def test_behind_pgbouncer(server: Postgres, bouncer: PgBouncer, tmp_path: Path, receiver: Receiver) -> None:
    """Without HOOKLINE_DB_DIRECT migrations are refused with the reason, and processes look every 500 ms; with it they
    migrate, and wake each other at once; nothing else differs."""
    direct = server.create("behind")
    with ExitStack() as stack:
        cluster = Cluster(bouncer.of("behind"), tmp_path, stack)
        assert "HOOKLINE_DB_DIRECT" in line_of(command(cluster.program(), "migrate", "up"))
        assert "HOOKLINE_DB_DIRECT" in line_of(command(cluster.program(migrate="auto"), "serve"))
        assert command(cluster.program(), "migrate", "status").returncode == 1
        assert command(cluster.program(db_direct=direct), "migrate", "up").returncode == 0
        assert command(cluster.program(), "migrate", "status").returncode == 0
        for settings, within_s in (({"db_direct": direct}, 2.0), ({}, 4.0)):
            api, worker = cluster.start("api", **settings), cluster.start("worker", **settings)
            url = receiver.url()
            endpoint = api.endpoint(url)
            time.sleep(1.0)  # the worker knows it
            for n in range(3):
                began_s = time.monotonic()
                api.publish("a.b", n)
                receiver.came(url, n + 1)
                assert time.monotonic() - began_s < within_s
            assert balanced(api.quiet())
            assert ("queue_polls" in worker.log()) == (not settings)
            assert api.client.delete(f"/v1/endpoints/{endpoint['id']}").status_code == 204
            assert (worker.terminate(), api.terminate()) == (0, 0)
