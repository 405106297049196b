"""The loop of `hookline listen`: the events of one source in order, each forwarded before the next is looked at.

It reads the stream from its position on. What lies before it (`--since`, what came while it was away for so long that
the position is not good any more, `--once`) it reads from the list: first the position of the end is taken, then the
list is read, so that nothing falls between the two; what is in both is known by its id.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.cli.arguments import path
from hookline.cli.client import PAGE_ROWS_MAX, Client
from hookline.cli.exits import CommandError, ExitCode
from hookline.cli.follow import Follower, decoded, tell_found, tell_lost
from hookline.cli.forward import Forwarder, Outcome
from hookline.cli.listen_place import Place, PlaceFile
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


class Enough(Exception):
    """As many as were asked for."""


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
        self._place = Place(self._source_id)
        self._listed: deque[str] = deque(maxlen=LISTED_MAX)
        self._saved_s = time.monotonic()
        self.good = True
        """Whether all were answered with 2xx so far."""

    def run(self, since: str | None, *, once: bool) -> None:
        """Forward. `since` is a time, or `now`; without it, from where it was (or now). With `once`, what is there."""
        self._place = self._begin(since)
        try:
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
        # What was there before is known by its newest, should all after it have to be looked for in the list.
        rows, _ = self._client.pages(path("events"), {"source": self._source}, 1)
        if rows:
            place.done(rows[0]["id"], rows[0]["accepted_at"])
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
                self._take(decoded(message))
                self._place.position = message.position
                self._save()
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
            self._forward(event_id, accepted_at)
            self._place.since = accepted_at  # what is committed later with an earlier time lies behind the position
            self._save()
        self._place.since = None
        self._save()

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

    def _take(self, data: Mapping[str, Any]) -> None:
        """An entry of the stream."""
        if data.get("source") != self._source:
            return
        # The operator's key without --tenant sees all tenants: of these, the one that the rest of this asks for.
        if data.get("tenant", TENANT_DEFAULT) != TENANT_DEFAULT and terminal.tenant is None:
            return
        event_id = str(data["id"])
        if event_id in self._listed or event_id in self._place.recent:
            return
        self._forward(event_id, str(data["accepted_at"]))

    def _forward(self, event_id: str, accepted_at: str) -> None:
        event, body = self._asked(lambda: self._read(event_id))
        if event is None:
            terminal.note(f"{event_id} is not kept any more, or its payload was erased: it is passed over")
        else:
            result = self._deliver(event, body)
            self.good = self.good and result.good
            self._show(result)
        self._place.done(event_id, accepted_at)
        if event is not None and self._left:
            self._left -= 1
            if not self._left:
                self._save()
                raise Enough

    def _read(self, event_id: str) -> tuple[Mapping[str, Any] | None, bytes]:
        try:
            event = self._client.call("GET", path("events", event_id))
            return event, self._client.content(path("events", event_id, "payload"))
        except CommandError as error:
            if error.problem is not None and error.problem.get("status") == 404:
                return None, b""
            raise

    def _deliver(self, event: Mapping[str, Any], body: bytes) -> Forwarded:
        """Until it is answered: for ever while nobody is there, a few times where it was taken and not answered."""
        inbound = event.get("inbound") or {}
        headers = self._headers(event, inbound.get("headers") or [])
        method = str(inbound.get("method") or "POST")
        unanswered = tries = 0
        wait_s = WAIT_S
        told = ""
        while True:
            outcome = self._forwarder.send(method, headers, body)
            tries += 1
            if outcome.status is not None:
                return Forwarded(event, outcome, tries)
            if outcome.reached:
                unanswered += 1
                if unanswered == TRIES_MAX:
                    return Forwarded(event, outcome, tries)
            line = f"{self._forwarder.url}: {outcome.detail}; it is tried again until it answers"
            if line != told:
                told = line
                terminal.note(line)
            self._sleep(wait_s)
            wait_s = min(WAIT_S_MAX, wait_s * 2)

    def _headers(self, event: Mapping[str, Any], original: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        headers = [(str(name), str(value)) for name, value in original]
        if all(name.lower() != "content-type" for name, _ in headers):
            headers.append(("Content-Type", str(event["content_type"])))
        return [*headers, ("Hookline-Event-Id", str(event["id"])), ("Hookline-Source", self._source_name)]

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
