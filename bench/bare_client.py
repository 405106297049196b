"""The bare client: what POSTing costs in Python with nothing around it. The bench's figures are ratios to this.

    bare_client.py PORT SECONDS BODY_FILE [CONNECTIONS]

An asyncio Protocol, httptools and uvloop; each connection sends the next request when it has read the answer to the
last. It prints one line of JSON: requests, seconds, CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import cast

import httptools
import uvloop


class Counter:
    """What all connections count together, and when they stop."""

    def __init__(self) -> None:
        self.requests = 0
        self.stopped = False


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, counter: Counter) -> None:
        self._request = request
        self._counter = counter
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The answer is whole: the next, please."""
        assert self._transport is not None
        if self._parser.get_status_code() == 200:
            self._counter.requests += 1
        if self._counter.stopped:
            self._transport.close()
        else:
            self._transport.write(self._request)


async def run(port: int, seconds: float, body: bytes, connections: int) -> Counter:
    """POST `body` as often as possible for so long."""
    head = (
        "POST /bare HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bare\r\ncontent-type: application/json\r\n"
        f"webhook-id: evt_0\r\nwebhook-timestamp: 0\r\nwebhook-signature: v1,x\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    counter = Counter()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(head.encode() + body, counter), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    counter.stopped = True
    return counter


def main() -> None:
    """The command."""
    port, seconds, body_file, *more = sys.argv[1:]
    body = Path(body_file).read_bytes()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    counter = uvloop.run(run(int(port), float(seconds), body, int(more[0]) if more else 64))
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "requests": counter.requests,
        "seconds": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
