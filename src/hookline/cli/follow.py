"""Following `/v1/stream`: it comes back by itself with the last position, so that nothing is missed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from hookline.cli.arguments import path
from hookline.cli.client import Client
from hookline.cli.exits import CommandError, ExitCode
from hookline.cli.terminal import printable, terminal
from hookline.core.server_sent import MEDIA_TYPE, Message, Reader

READ_S: Final = 45.0
"""The server is never silent for so long: the connection is dead."""
WAIT_S: Final = 1.0
"""Before the first try to come back, unless the server says otherwise; doubled for each further one."""
WAIT_S_MAX: Final = 15.0


class Follower:
    """Iterates over what happens, without end: the messages of each piece that comes in, maybe none.

    What is wrong with the request, and a server that was never reached, is a `CommandError`; once connected, an outage
    is told to `lost` (why, seconds until the next try) and its end to `found`.
    """

    def __init__(
        self,
        client: Client,
        filters: Mapping[str, str],
        position: str | None,
        *,
        lost: Callable[[str, float], None],
        found: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._filters = filters
        self.position = position or ""
        """Of the last message that was given out, or beyond it where what followed was not wanted."""
        self._lost = lost
        self._found = found
        self._sleep = sleep
        self._connected = False
        self._away = False
        self._first_s = self._wait_s = WAIT_S

    def __iter__(self) -> Iterator[Sequence[Message]]:
        while True:
            try:
                yield from self._read()
                why = "the server ended the stream"
            except CommandError as error:
                if not self._connected or error.code not in (ExitCode.UNREACHABLE, ExitCode.UNAVAILABLE):
                    raise
                why = error.line
            except ValueError as error:
                raise CommandError(f"this is no stream of Hookline's: {error}", ExitCode.REFUSED) from None
            # Not all at once: a server that was restarted has many readers.
            wait_s = self._wait_s * (0.75 + random.random() / 2)  # noqa: S311
            self._wait_s = min(WAIT_S_MAX, 2 * self._wait_s)
            self._away = True
            self._lost(why, wait_s)
            self._sleep(wait_s)

    def _read(self) -> Iterator[Sequence[Message]]:
        parameters = {**self._filters, **({"last_event_id": self.position} if self.position else {})}
        with self._client.stream(path("stream"), read_s=READ_S, params=parameters) as response:
            if not response.headers.get("content-type", "").startswith(MEDIA_TYPE):
                raise CommandError("the server answered with something else: is this Hookline?", ExitCode.REFUSED)
            self._connected = True
            if self._away:
                self._away = False
                self._found()
            reader = Reader()
            for piece in response.iter_bytes():
                messages = reader.feed(piece)
                if reader.retry_ms is not None:
                    self._first_s = min(WAIT_S_MAX, reader.retry_ms / 1000)
                if reader.position:
                    self.position = reader.position
                    self._wait_s = self._first_s
                yield messages


def decoded(message: Message) -> dict[str, object]:
    """The message's document. Raises `CommandError` when it is none."""
    try:
        data = json.loads(message.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise CommandError("this is no stream of Hookline's: its data are no JSON objects", ExitCode.REFUSED)
    return data


def tell_lost(why: str, wait_s: float) -> None:
    """The stream broke off."""
    terminal.note(f"{printable(why)}; again in {wait_s:.1f} s")


def tell_found() -> None:
    """It goes on."""
    terminal.note("connected again")
