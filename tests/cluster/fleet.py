"""Two API nodes and two workers on one PostgreSQL behind nginx, with a queue where one is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from tests.acceptance.cluster import Cluster, clustering
from tests.acceptance.program import KEY, Program
from tests.servers.nginx import Nginx
from tests.servers.postgres import Postgres, serving

QUEUES = {
    "redis": ("valkey", "serving"),
    "nats": ("nats", "serving"),
    "rabbitmq": ("rabbitmq", "serving"),
    "kafka": ("kafka", "serving"),
}
"""`QUEUE` → module of `tests.servers`, and what starts it there."""
DRAIN_S = 1
LEASED = "SELECT id, event_id, endpoint_id FROM open WHERE state = 1 AND ($1 OR owner = ANY ($2))"
Pair = tuple[str, str]
"""(event id, endpoint id)"""


class Entrance(Program):
    """What nginx serves, asked as a program is. It is never started."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.client.close()
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        headers = {"authorization": f"Bearer {KEY}"}
        self.client = httpx2.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


class Fleet:
    """All of it, running."""

    def __init__(self, cluster: Cluster, postgres: Postgres, queue: Any, folder: Path) -> None:
        self.postgres = postgres
        self.queue = queue
        self.dsn = cluster.dsn
        more = {"drain_s": str(DRAIN_S), "log_level": "info"}
        if queue is not None:
            more["queue"] = address(queue)
        self.apis = [cluster.program("api", instance=f"api{n}", **more) for n in (1, 2)]
        self.workers = [cluster.program("worker", instance=f"worker{n}", **more) for n in (1, 2)]
        for node in self.nodes:
            node.start()
        self.nginx = Nginx(folder / "nginx", [api.port for api in self.apis]).start()
        self.entrance = Entrance(folder / "entrance", self.nginx.port)

    @property
    def nodes(self) -> list[Program]:
        """API nodes, then workers."""
        return [*self.apis, *self.workers]

    def name(self, node: Program) -> str:
        """As it stands in the table."""
        return f"api{self.apis.index(node) + 1}" if node in self.apis else f"worker{self.workers.index(node) + 1}"

    def close(self) -> None:
        """End nginx; the nodes are the cluster's to end."""
        self.nginx.stop()
        self.entrance.client.close()

    # --------------------------------------------------------------------------------------------- in the database

    def rows(self, statement: str, *values: object) -> list[Any]:
        """What a statement finds."""

        async def run() -> list[Any]:
            import asyncpg

            connection = await asyncpg.connect(self.dsn, timeout=10)
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(run())

    def instances(self) -> dict[str, tuple[int, bool]]:
        """Name → number, and whether it was declared dead."""
        found = self.rows("SELECT id, name, dead FROM instances ORDER BY id")
        return {row["name"]: (row["id"], row["dead"]) for row in found}

    def leased(self, *nodes: Program) -> set[Pair]:
        """What is leased by these nodes, or by anybody."""
        names = {self.name(node) for node in nodes}
        owners = [number for name, (number, _) in self.instances().items() if name in names]
        rows = self.rows(LEASED, not names, owners)
        return {("evt_" + (row[1] or row[0][:12]).hex(), "ep_" + row[2].hex()) for row in rows}


def address(queue: Any) -> str:
    """What HOOKLINE_QUEUE is set to."""
    return queue.url() if callable(queue.url) else str(queue.url)


def freeze(node: Program) -> None:
    """SIGSTOP: its connections stay, and it does nothing."""
    os.kill(node.pid, signal.SIGSTOP)


def thaw(node: Program) -> None:
    """SIGCONT."""
    os.kill(node.pid, signal.SIGCONT)


@contextlib.contextmanager
def fleet(folder: Path, queue: str = "") -> Iterator[Fleet]:
    """Everything started, for as long as it is wanted; `queue`: one of `QUEUES`, or the store's own."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(contextlib.contextmanager(serving)())
        broker = None
        if queue:
            module, function = QUEUES[queue]
            start = getattr(importlib.import_module(f"tests.servers.{module}"), function)
            broker = stack.enter_context(contextlib.contextmanager(start)())
        cluster = stack.enter_context(clustering(postgres, "cluster", folder))
        made = Fleet(cluster, postgres, broker, folder)
        stack.callback(made.close)
        yield made
