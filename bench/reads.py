"""What reading an event costs: asked of the store, found in the cache, and confirmed by its entity tag (`READS=n`).

On SQLite, or with `DB=postgresql`; in memory, or with `CACHE=redis` or `memcached`. The servers are those of the tests,
started by this run on the core of sink and load.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.measure import Bench
from bench.server import Server
from bench.table import print_rows
from bench.template import KEY, TYPE, order

BATCH = 500
SAVED = "hookline_cache_queries_saved_total"
SERVERS = {"redis": "valkey", "memcached": "memcached"}
"""`CACHE` → the module of `tests.servers` that starts it."""
SECRET = base64.b64encode(b"the secret key of the bench, 32b").decode()


def reads(bench: Bench, count: int, database: str = "", cache: str = "") -> None:
    """Publish `count` events and read them, one after the other on one connection."""
    if database not in ("", "postgresql") or cache not in ("", *SERVERS):
        sys.exit("bench: with READS, DB is empty or postgresql, and CACHE empty, redis or memcached")
    with contextlib.ExitStack() as stack:
        more = {"cache": stack.enter_context(_served(SERVERS[cache])).url if cache else ""}
        if database:
            url = stack.enter_context(_served("postgres")).create("reads")
            more |= {"db": url, "secret_key": SECRET, "migrate": "auto"}
        server = stack.enter_context(bench.server(**more))
        names: list[str] = []
        while len(names) < count:
            made = server.ask(
                "POST", "/v1/events", [{"type": TYPE, "data": order("")}] * min(BATCH, count - len(names))
            )
            names += [row["id"] for row in made["data"]]
        time.sleep(1.0)
        with contextlib.closing(_Reader(server)) as reader:
            rows = [reader.row("asked of the store, then kept", names, 200)]
            before = server.metrics()[SAVED]
            rows.append(reader.row("found in the cache", names, 200))
            saved = server.metrics()[SAVED] - before
            rows.append(reader.row("confirmed: 304", names, 304))
        print_rows(["a read", "p50 ms", "p99 ms", "CPU µs/read"], rows)
        print(f"database queries saved by the second {count:,} reads: {saved:,.0f}")
        bench.faults.check(saved >= count / 2, f"of {count} answers that were kept only {saved:.0f} were given again")


def _served(module: str) -> contextlib.AbstractContextManager[Any]:
    """A server as the tests start it; imported by name, because only this bench needs what the tests need."""
    serving = importlib.import_module(f"tests.servers.{module}").serving
    return contextlib.contextmanager(serving)()


class _Reader:
    """One client, who remembers tags."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._tags: dict[str, str] = {}

    def row(self, name: str, names: Sequence[str], status: int) -> list[str]:
        """Read all of them; how long a read took, and the program's CPU."""
        cpu = sum(self._server.cpu_parts())
        took = sorted(self._read(one, status) * 1000 for one in names)
        cpu_us = (sum(self._server.cpu_parts()) - cpu) / len(names) * 1e6
        return [name, f"{statistics.median(took):.2f}", f"{took[len(took) * 99 // 100]:.2f}", f"{cpu_us:.0f}"]

    def _read(self, name: str, status: int) -> float:
        headers = {"authorization": f"Bearer {KEY}"}
        if status == 304:
            headers["if-none-match"] = self._tags[name]
        began_s = time.perf_counter()
        self._connection.request("GET", f"/v1/events/{name}", headers=headers)
        answer = self._connection.getresponse()
        answer.read()
        took_s = time.perf_counter() - began_s
        if answer.status != status:
            raise SystemExit(f"bench: a read was answered {answer.status}")
        self._tags[name] = answer.headers["etag"]
        return took_s

    def close(self) -> None:
        """End its connection."""
        self._connection.close()
