"""`/metrics` of several processes as one page."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from prometheus_client.parser import text_string_to_metric_families

from hookline.adapters.observers import together as module
from hookline.adapters.observers.prometheus import PrometheusObserver
from hookline.adapters.observers.together import Together, together

ONE = '# HELP a_total A.\n# TYPE a_total counter\na_total 1.0\n# HELP b B.\n# TYPE b gauge\nb{x="{ ,}"} 2.0\n'
OTHER = '# HELP b B.\n# TYPE b gauge\nb{x="y"} 3.0\nb{} 4.0\n# HELP c C.\n# TYPE c gauge\nc 5.0 1700000000\n'


def test_each_family_once_and_each_series_with_its_process() -> None:
    """Series of a family stand together under one heading, each with the name of its process."""
    assert together([("one", ONE), ("other", OTHER)]).splitlines() == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        'a_total{process="one"} 1.0',
        "# HELP b B.",
        "# TYPE b gauge",
        'b{process="one",x="{ ,}"} 2.0',
        'b{process="other",x="y"} 3.0',
        'b{process="other"} 4.0',
        "# HELP c C.",
        "# TYPE c gauge",
        'c{process="other"} 5.0 1700000000',
    ]


async def test_the_real_page_is_read_by_prometheus() -> None:
    """Two real pages together are read by the client library, with twice as many series."""
    page = (await PrometheusObserver(version="1").page())[0].decode()
    alone = sum(len(family.samples) for family in text_string_to_metric_families(page))
    both = list(text_string_to_metric_families(together([("one", page), ("other", page)])))
    assert sum(len(family.samples) for family in both) == 2 * alone
    assert len({family.name for family in both}) == len(both)


async def served(answer: bytes) -> tuple[asyncio.Server, int]:
    """Who answers everybody the same."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def own() -> Callable[[str], Awaitable[tuple[bytes, str]]]:
    """A page of this process."""

    async def page(accept: str) -> tuple[bytes, str]:
        return ONE.encode(), accept

    return page


async def test_who_does_not_answer_is_left_out(monkeypatch) -> None:
    """A process that is not there, one that says nonsense and one that stands still are not on the page."""
    monkeypatch.setattr(module, "ANSWER_S_MAX", 0.2)
    good, good_port = await served(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + OTHER.encode())
    bad, bad_port = await served(b"HTTP/1.1 503 Busy\r\n\r\nb 1\n")
    still = socket.create_server(("127.0.0.1", 0))  # takes connections, and says nothing
    gone, gone_port = await served(b"")
    gone.close()
    await gone.wait_closed()
    ports = {"me": 1, "good": good_port, "bad": bad_port, "still": still.getsockname()[1], "gone": gone_port}
    page, content_type = await Together(own(), "me", ports).page("application/openmetrics-text")
    assert content_type.startswith("text/plain")
    assert {line.split('process="')[1].split('"')[0] for line in page.decode().splitlines() if "process=" in line} == {
        "me",
        "good",
    }
    still.close()
    for server in (good, bad):
        server.close()
