"""`/metrics` of several processes of one machine as one page: whichever is asked tells of all.

Every series gets the label `process`. Nothing is added up: a counter that was the sum of its processes' would fall when
one of them ends, which a monitoring system takes for a restart of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

ANSWER_S_MAX: Final = 2.5
"""A process that stands still costs a scrape so long, and is not on the page."""
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/plain\r\nconnection: close\r\n\r\n"


class Together:
    """The page of this process, `name`, and of the others, which listen on these ports of the loopback."""

    def __init__(self, own: Callable[[str], Awaitable[tuple[bytes, str]]], name: str, ports: Mapping[str, int]) -> None:
        self._own = own
        self._name = name
        self._ports = ports

    async def page(self, accept: str = "") -> tuple[bytes, str]:  # noqa: ARG002 (one format, which all can read)
        """The page and its content type."""
        names = sorted(self._ports)
        found = await asyncio.gather(*(self._of(name) for name in names))
        pages = [(name, page) for name, page in zip(names, found, strict=True) if page is not None]
        return together(pages).encode(), CONTENT_TYPE

    async def _of(self, name: str) -> str | None:
        if name == self._name:
            return (await self._own("text/plain"))[0].decode()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await _fetched(self._ports[name])
        except (OSError, TimeoutError, ValueError):
            return None


async def _fetched(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_REQUEST)
        answer = bytearray()
        while piece := await reader.read(65536):
            answer += piece
            if len(answer) > PAGE_BYTES_MAX:
                raise ValueError("a page beyond all measure")
    finally:
        writer.close()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise ValueError("no page")
    return body.decode()


def together(pages: Iterable[tuple[str, str]]) -> str:
    """Pages in Prometheus' text format, by their processes' names, as one: each family once."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for process, page in pages:
        heads: list[str] = []
        rows: list[str] = []
        for line in page.splitlines():
            if line.startswith("# HELP "):
                heads, rows = families.setdefault(line.split(" ", 3)[2], ([], []))
            if line.startswith("#"):
                if line not in heads:
                    heads.append(line)
            elif line:
                rows.append(_labelled(line, process))
    return "".join(f"{line}\n" for heads, rows in families.values() for line in (*heads, *rows))


def _labelled(row: str, process: str) -> str:
    end = min(place for place in (row.find("{"), row.find(" ")) if place >= 0)
    label = f'process="{process}"'
    if row[end] == " ":
        return f"{row[:end]}{{{label}}}{row[end:]}"
    comma = "" if row[end + 1] == "}" else ","
    return f"{row[:end]}{{{label}{comma}{row[end + 1 :]}"
