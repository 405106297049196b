"""The bench itself, small: it runs the program, proves what it must, and fills a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from bench.machine import Cores
from bench.measure import Bench
from bench.profiling import stacks
from bench.reads import reads
from bench.stored import fill
from bench.template import template

pytestmark = pytest.mark.skipif(
    not any(shutil.which(c) for c in ("cc", "gcc", "clang")) and "CI" not in os.environ, reason="there is no C compiler"
)


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    made = Bench(tmp_path, Cores(None, None))
    yield made
    made.close()


def test_a_run_counts_what_the_program_did(bench: Bench):
    """A run in a closed loop, one at a rate, and one of arrays prove that each event came once, and have figures."""
    with bench.server() as server:
        server.endpoint(bench.sink.url)
        closed = bench.run(server, seconds=0.5, connections=8)
        paced = bench.run(server, seconds=0.5, rate=100)
        arrays = bench.run(server, template("array of", items=10), seconds=0.3, rate=100)
    assert bench.faults.found == []
    for figures in (closed, paced, arrays):
        assert 0 < figures.publish_p50_ms <= figures.publish_p99_ms
        assert 0 < figures.e2e_p50_ms <= figures.e2e_p99_ms
        assert figures.accepted_s > 0


def test_reads_come_from_the_cache(bench: Bench, capsys: pytest.CaptureFixture[str]):
    """Events are read from the store, from the cache and by their tags, and it prints how many queries were saved."""
    reads(bench, 20)
    said = capsys.readouterr().out
    assert "saved by the second 20 reads: 20" in said
    assert all(row in said for row in ("asked of the store", "found in the cache", "confirmed: 304"))
    assert bench.faults.found == []


def test_what_nobody_wants_is_not_to_arrive(bench: Bench):
    """Accepting alone is proven by the books, and by nothing having come to the sink."""
    with bench.server() as server:
        server.endpoint(bench.sink.url, event_types=["others.*"])
        bench.run(server, seconds=0.3, rate=100, delivers=False)
    assert bench.faults.found == []


@pytest.mark.parametrize(("what", "delivered"), [("history", 250), ("keys", 0)])
def test_a_store_is_filled_as_the_program_fills_it(bench: Bench, what: str, delivered: int):
    """Filled rows are in the books, and the program goes on from them."""
    with bench.server() as server:
        fill(bench, server, what, 250, server.endpoint(bench.sink.url))
        stats = server.stats()
        assert (stats["events"], stats["delivered"], server.open()) == (250, delivered, 0)
        bench.run(server, template("json + id"), seconds=0.3, rate=50)
    assert bench.faults.found == []


def test_floors_have_figures(bench: Bench):
    """The bare client and the bare insert say what they did and what it cost."""
    assert bench.bare_client(0.3).delivered_s > 0
    assert bench.bare_insert(0.3, 8).accepted_s > 0


def test_stacks_are_read_with_their_counts():
    """A line is frames, outermost first, and a number; a line without frames is none."""
    (one,) = stacks("thread (1): Main;run (a/b.py:1);f (a/c.py:2) 7\n\n")
    assert (one.frames[-1], one.count) == ("f (a/c.py:2)", 7)
