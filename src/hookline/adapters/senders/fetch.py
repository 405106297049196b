"""Fetching what proves a sender (a certificate, a set of keys, a token, an answer to a question back), and confirming
where one is asked to.

It goes the way of every delivery: through the same dialer and its guard, one deadline for all of it, redirects not
followed, nothing decompressed, the system's authorities. The URL was judged by whoever asks; here it is the address
that is judged, where the socket is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from hookline.adapters.senders.dial import Dialer, DialError, NoRoom, Phases
from hookline.adapters.senders.pool import Pool
from hookline.core.address import Target, parse_url
from hookline.core.errors import Refusal
from hookline.core.ourselves import Ourselves
from hookline.core.verifiers.verdict import Fetch, Fetched

ANSWER_BYTES_MAX: Final = 256 * 1024
NOTHING: Final = Fetched(0, b"")
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "user-agent"})


class Fetcher:
    """Fetches one thing at a time and keeps nothing: see `adapters.keys`."""

    def __init__(
        self,
        dialer: Dialer,
        pool: Pool,
        monotonic_s: Callable[[], float],
        version: str,
        *,
        https_only: bool,
        ourselves: Ourselves,
    ) -> None:
        self._dialer = dialer
        self._pool = pool
        self._monotonic_s = monotonic_s
        self._agent = f"Hookline/{version}"
        self._https_only = https_only
        self._ourselves = ourselves

    async def __call__(self, fetch: Fetch, deadline_s: float, group: str) -> Fetched:
        """What came of it by `deadline_s` (monotonic clock); status 0 where nothing came, or more than 256 KiB.

        `group` shares the bound on names that are looked up at a time (a tenant). Never raises for what the other side
        does.
        """
        try:
            target = parse_url(fetch.url, https_only=self._https_only)
            wire = self._wire(fetch, target)
        except (Refusal, ValueError):
            return NOTHING
        if self._ourselves.names(target):
            return NOTHING
        try:
            connection = await self._dialer.dial(target, Phases(), group=group, deadline_s=deadline_s)
        except (DialError, NoRoom):
            return NOTHING
        try:
            await connection.send(wire, deadline_s, ANSWER_BYTES_MAX, whole=True)
        except BaseException:
            connection.abort()
            raise
        reader = connection.reader
        found = NOTHING
        if reader.status is not None and reader.fault is None:
            if reader.complete:
                found = Fetched(reader.status, reader.body)
            elif reader.cut and 300 <= reader.status < 400:
                found = Fetched(reader.status, b"")
        self._pool.give(connection, connection.ended_s)
        return found

    def _wire(self, fetch: Fetch, target: Target) -> bytes:
        """The request. Raises `ValueError` for what is no header or method."""
        if not fetch.method.isalpha() or not fetch.method.isascii():
            raise ValueError("no method")
        lines = [
            f"{fetch.method} {target.path} HTTP/1.1",
            f"host: {target.authority}",
            f"user-agent: {self._agent}",
            "accept-encoding: identity",
        ]
        for name, value in fetch.headers:
            if _FIELD.fullmatch(name) is None or _VALUE.fullmatch(value) is None or name.lower() in _OURS:
                raise ValueError("no header")
            lines.append(f"{name.lower()}: {value}")
        if fetch.body or fetch.method not in ("GET", "HEAD"):
            lines.append(f"content-length: {len(fetch.body)}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + fetch.body
