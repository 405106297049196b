"""The loop of `hookline listen`: the events of one source in order, each forwarded before the next is looked at.

It reads the stream from its position on. What lies before it (`--since`, what came while it was away for so long that
the position is not good any more, `--once`) it reads from the list: first the position of the end is taken, then the
list is read, so that nothing falls between the two; what is in both is known by its id.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import FrameType
from typing import Any, Final

from hookline.cli.arguments import path
from hookline.cli.client import PAGE_ROWS_MAX, Client
from hookline.cli.exits import CommandError, ExitCode
from hookline.cli.follow import Follower, decoded, tell_found, tell_lost
from hookline.cli.forward import Forwarder, Outcome
from hookline.cli.listen_place import RECENT_MAX, Place, PlaceFile
from hookline.cli.terminal import terminal
from hookline.core.event import TENANT_DEFAULT

TRIES_MAX: Final = 5
"""Of an event that was taken and not answered: it may be what the program falls over."""
WAIT_S: Final = 0.5
WAIT_S_MAX: Final = 15.0
MARGIN_S: Final = 10.0
"""Of two events that are accepted at once, the one with the earlier time may be committed later."""
LISTED_MAX: Final = 10_000
"""So many ids of the end of the list are remembered, which the stream may bring again."""
IDLE_SAVE_S: Final = 60.0
_RESET: Final = "reset"


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An event, what became of it, and after how many tries."""

    event: Mapping[str, Any]
    outcome: Outcome
    tries: int

    @property
    def good(self) -> bool:
        """Whether it was answered with 2xx."""
        return self.outcome.status is not None and 200 <= self.outcome.status < 300


class Ending:
    """SIGINT and SIGTERM, which end the command, but not between an event's request and the note that it was made: it
    would be made again. A second signal ends it even there."""

    def __init__(self) -> None:
        self._holding = False
        self._asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """From now on a signal is a `KeyboardInterrupt`, at the latest after what `held` encloses."""
        before = {number: signal.signal(number, self._told) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal waits for the end of this."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._asked:
            raise KeyboardInterrupt

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        if not self._holding or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        terminal.note("This event's answer is waited for; once more ends it at once.")


class Enough(Exception):
    """As many as were asked for."""


class _Trying:
    """An event that is being forwarded: for ever while nobody is there, a few times where it was taken and not
    answered."""

    def __init__(self, forwarder: Forwarder, event: Mapping[str, Any], body: bytes, source_name: str) -> None:
        inbound = event.get("inbound") or {}
        headers = [(str(name), str(value)) for name, value in inbound.get("headers") or ()]
        if all(name.lower() != "content-type" for name, _ in headers):
            headers.append(("Content-Type", str(event["content_type"])))
        self._headers = [*headers, ("Hookline-Event-Id", str(event["id"])), ("Hookline-Source", source_name)]
        self._method = str(inbound.get("method") or "POST")
        self._forwarder, self._event, self._body = forwarder, event, body
        self._tries = self._unanswered = 0
        self._told = ""
        self.wait_s = WAIT_S / 2
        """Before the next try."""

    def once(self) -> Forwarded | None:
        """One try; None: it is to be tried again."""
        outcome = self._forwarder.send(self._method, self._headers, self._body)
        self._tries += 1
        self._unanswered += outcome.reached
        if outcome.status is not None or self._unanswered == TRIES_MAX:
            return Forwarded(self._event, outcome, self._tries)
        line = f"{self._forwarder.url}: {outcome.detail}; it is tried again until it answers"
        if line != self._told:
            self._told = line
            terminal.note(line)
        self.wait_s = min(WAIT_S_MAX, 2 * self.wait_s)
        return None


class Listener:
    """Forwards the events of one source until it is ended, or has forwarded `count` (0: no end)."""

    def __init__(
        self,
        client: Client,
        source: Mapping[str, Any],
        forwarder: Forwarder,
        file: PlaceFile,
        show: Callable[[Forwarded], None],
        *,
        count: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._source = f"/in/{source['name']}"
        self._source_name = str(source["name"])
        self._source_id = str(source["id"])
        self._forwarder = forwarder
        self._file = file
        self._show = show
        self._left = count
        self._sleep = sleep
        self._ending = Ending()
        self._place = Place(self._source_id)
        self._listed: deque[str] = deque(maxlen=LISTED_MAX)
        self._saved_s = time.monotonic()
        self.good = True
        """Whether all were answered with 2xx so far."""

    def run(self, since: str | None, *, once: bool) -> None:
        """Forward. `since` is a time, or `now`; without it, from where it was (or now). With `once`, what is there."""
        self._place = self._begin(since)
        try:
            with self._ending.watched():
                if once:
                    self._once()
                else:
                    self._follow(self._follower(self._place.position))
        except Enough:
            pass

    def _follower(self, position: str) -> Follower:
        filters = {"kind": "event", "source": self._source}
        return Follower(self._client, filters, position, lost=tell_lost, found=tell_found, sleep=self._sleep)

    def _begin(self, since: str | None) -> Place:
        place = None if since is not None else self._file.read(self._source_id)
        if place is not None:
            return place
        place = Place(self._source_id)
        if since is not None and since != "now":
            place.since = place.at = since
            return place
        # What was there before is known by its newest, should all after them have to be looked for in the list.
        newest, _ = self._client.pages(path("events"), {"source": self._source}, 1)
        if newest:
            near = {"source": self._source, "since": self._earlier(newest[0]["accepted_at"])}
            rows, _ = self._client.pages(path("events"), near, RECENT_MAX)
            for row in reversed(rows):
                place.done(row["id"], row["accepted_at"])
        return place

    def _once(self) -> None:
        """What is there now, from the list."""
        follower = self._follower("")
        for _ in follower:
            if follower.position:
                break
        if self._place.position and self._place.since is None:
            self._place.since = self._earlier(self._place.at)
        self._place.position = follower.position
        if self._place.since is not None:
            self._from_list()
        self._save()

    def _follow(self, follower: Follower) -> None:
        for messages in follower:
            if not self._place.position:
                self._place.position = follower.position
                if not self._place.position:
                    continue
                self._save()
            if self._place.since is not None:
                self._from_list()
            for message in messages:
                if message.event == _RESET:
                    terminal.note("The place it was at is not known any more: what came since is looked for.")
                    self._place.since = self._earlier(self._place.at)
                    self._place.position = message.position
                    self._save()
                    self._from_list()
                    continue
                self._take(decoded(message), message.position)
                self._move_stream(message.position)
            if follower.position != self._place.position and time.monotonic() - self._saved_s >= IDLE_SAVE_S:
                self._place.position = follower.position
                self._save()

    def _from_list(self) -> None:
        """All from `since` on, oldest first. Ids alone are kept of what is still to come."""
        since = self._place.since
        rows = self._asked(lambda: self._list(since))
        rows.reverse()
        known = set(self._place.recent)
        rows = [row for row in rows if row[0] not in known]
        self._listed.extend(event_id for event_id, _ in rows)
        for event_id, accepted_at in rows:
            self._forward(event_id, accepted_at, lambda at=accepted_at: self._move_list(at))  # type: ignore[misc]
        self._place.since = None
        self._save()

    def _move_list(self, at: str) -> None:
        """What is committed later with an earlier time lies behind the position, so this need not look back."""
        self._place.since = at

    def _move_stream(self, position: str) -> None:
        self._place.position = position

    def _list(self, since: str | None) -> list[tuple[str, str]]:
        """Ids and times of what the source has since then, newest first."""
        rows: list[tuple[str, str]] = []
        cursor: str | None = None
        while True:
            given = {"source": self._source, "since": since or None, "limit": PAGE_ROWS_MAX, "cursor": cursor}
            page = self._client.call("GET", path("events"), params=given)
            rows += [(row["id"], row["accepted_at"]) for row in page["data"]]
            cursor = page["next"]
            if cursor is None:
                return rows

    def _take(self, data: Mapping[str, Any], position: str) -> None:
        """An entry of the stream."""
        if data.get("source") != self._source:
            return
        # The operator's key without --tenant sees all tenants: of these, the one that the rest of this asks for.
        if data.get("tenant", TENANT_DEFAULT) != TENANT_DEFAULT and terminal.tenant is None:
            return
        event_id = str(data["id"])
        if event_id in self._listed or event_id in self._place.recent:
            return
        self._forward(event_id, str(data["accepted_at"]), lambda: self._move_stream(position))

    def _forward(self, event_id: str, accepted_at: str, move: Callable[[], None]) -> None:
        """One event, until it is answered; `move` brings the place behind it, and is written down with it."""
        event, body = self._asked(lambda: self._read(event_id))
        if event is None:
            terminal.note(f"{event_id} is not kept any more, or its payload was erased: it is passed over")
            self._passed(event_id, accepted_at, move)
            return
        trying = _Trying(self._forwarder, event, body, self._source_name)
        while True:
            with self._ending.held():
                result = trying.once()
                if result is not None:
                    self.good = self.good and result.good
                    self._passed(event_id, accepted_at, move)
                    self._show(result)
            if result is not None:
                break
            self._sleep(trying.wait_s)
        if self._left:
            self._left -= 1
            if not self._left:
                raise Enough

    def _passed(self, event_id: str, accepted_at: str, move: Callable[[], None]) -> None:
        self._place.done(event_id, accepted_at)
        move()
        self._save()

    def _read(self, event_id: str) -> tuple[Mapping[str, Any] | None, bytes]:
        try:
            event = self._client.call("GET", path("events", event_id))
            return event, self._client.content(path("events", event_id, "payload"))
        except CommandError as error:
            if error.problem is not None and error.problem.get("status") == 404:
                return None, b""
            raise

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What the server says; an outage is waited out."""
        wait_s = WAIT_S
        while True:
            try:
                return ask()
            except CommandError as error:
                if error.code not in (ExitCode.UNREACHABLE, ExitCode.UNAVAILABLE):
                    raise
                tell_lost(error.line, wait_s)
            self._sleep(wait_s)
            wait_s = min(WAIT_S_MAX, wait_s * 2)

    def _save(self) -> None:
        self._saved_s = time.monotonic()
        self._file.write(self._place)

    @staticmethod
    def _earlier(at: str) -> str:
        """A little before a time of the server's; empty stays empty: all."""
        if not at:
            return at
        moment = datetime.fromisoformat(at) - timedelta(seconds=MARGIN_S)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
