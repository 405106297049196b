"""`hookline tail --summary`: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hookline.cli.arguments import path
from hookline.cli.client import Client
from hookline.cli.exits import CommandError
from hookline.cli.follow import Follower, decoded, tell_found, tell_lost
from hookline.cli.tally import Row, Tally, percentiles
from hookline.cli.terminal import STATE_STYLES, json_text, out, printable, terminal

REFRESH_S: Final = 0.5
LINE_S: Final = 5.0
ASK_S: Final = 2.0
_HEAD_LINES: Final = 8
_ROWS_AT_END: Final = 50


class _Watch:
    """Follows in a thread of its own, so that the table goes on when nothing comes."""

    def __init__(self, client: Client, filters: Mapping[str, str], position: str | None, *, quiet: bool) -> None:
        self.tally = Tally(time.monotonic())
        self.lock = threading.Lock()
        self.status = "connecting"
        self.error: Exception | None = None
        self._quiet = quiet
        self._follower = Follower(client, filters, position, lost=self._lost, found=self._found)
        self.thread = threading.Thread(target=self._run, name="hookline-tail", daemon=True)

    def _run(self) -> None:
        try:
            for messages in self._follower:
                documents = [(message.event, decoded(message)) for message in messages]
                now_s = time.monotonic()
                with self.lock:
                    self.status = "connected"
                    for kind, data in documents:
                        self.tally.add(kind, data, now_s)
        except Exception as error:  # noqa: BLE001 (it is raised again where the command waits)
            self.error = error

    def _lost(self, why: str, wait_s: float) -> None:
        self.status = f"{why}; again in {wait_s:.1f} s"
        if not self._quiet:
            tell_lost(why, wait_s)

    def _found(self) -> None:
        self.status = "connected"
        if not self._quiet:
            tell_found()


class _Books:
    """What the server itself says, asked every two seconds: its totals, and the states of endpoints."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked_s = -ASK_S
        self.stats: Mapping[str, Any] = {}
        self.states: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def ask(self) -> None:
        """Ask, if it is time. What cannot be had now stays as it was."""
        if time.monotonic() - self._asked_s < ASK_S:
            return
        self._asked_s = time.monotonic()
        with contextlib.suppress(CommandError):
            self.stats = self._client.call("GET", path("stats"))
            for row in self._client.pages(path("endpoints"), {}, 1000)[0]:
                self.states[row["id"]] = row["state"]
                if row["uid"] is not None:
                    self.names[row["id"]] = row["uid"]


def show_summary(client: Client, filters: Mapping[str, str], position: str | None) -> None:
    """Show until Ctrl-C. Raises `CommandError`."""
    on_terminal = sys.stdout.isatty() and not terminal.json
    watch = _Watch(client, filters, position, quiet=on_terminal)
    with Client() as asking:
        books = _Books(asking)
        watch.thread.start()
        if on_terminal:
            _table(watch, books)
        else:
            _lines(watch, books)


def _wait(watch: _Watch, wait_s: float) -> None:
    watch.thread.join(wait_s)
    if watch.error is not None:
        raise watch.error


def _table(watch: _Watch, books: _Books) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                books.ask()
                live.update(_picture(watch, books, max(1, console.height - _HEAD_LINES)), refresh=True)
                _wait(watch, REFRESH_S)
    finally:
        # What was last on the screen stays readable when the screen is gone.
        if watch.error is None:
            console.print(_picture(watch, books, _ROWS_AT_END))


def _lines(watch: _Watch, books: _Books) -> None:
    while True:
        _wait(watch, LINE_S)
        books.ask()
        with watch.lock:
            document = _document(watch.tally, books)
        out(json_text(document) if terminal.json else _line(document))


def _picture(watch: _Watch, books: _Books, rows_max: int) -> Group:
    now_s = time.monotonic()
    with watch.lock:
        tally = watch.tally
        rows = tally.busiest(rows_max)
        head = _head(watch, books, now_s)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        table.add_column("endpoint", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for name in ("delivered", "retried", "failed", "attempts/s", "p50 ms", "p95 ms"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("last error", overflow="ellipsis", no_wrap=True)
        ids = {id(row): identifier for identifier, row in tally.rows.items()}
        for row in rows:
            table.add_row(*_cells(row, ids[id(row)], books, now_s, tally.begun_s))
        more = len(tally.rows) - len(rows)
    return Group(head, table, Text(f"and {more} more endpoints" if more > 0 else "", "dim"))


def _head(watch: _Watch, books: _Books, now_s: float) -> Text:
    tally, stats = watch.tally, books.stats
    head = Text()
    minutes, seconds = divmod(int(now_s - tally.begun_s), 60)
    head.append("hookline tail", "bold").append(f"  {minutes}:{seconds:02}  ")
    head.append(printable(watch.status), "green" if watch.status == "connected" else "yellow").append("\n\n")
    head.append(f"{tally.events_rate.per_s(now_s, tally.begun_s):.0f} events/s", "bold").append("   ")
    head.append(f"{tally.attempts_rate.per_s(now_s, tally.begun_s):.0f} attempts/s", "bold")
    head.append(f"   since it began: {tally.events} events, {tally.attempts} attempts\n")
    if stats:
        head.append(f"in all: {stats['events']} events, {stats['delivered']} delivered, ")
        head.append(f"{stats['failed']} failed", "red" if stats["failed"] else "")
        head.append(f", {stats['discarded']} discarded, open: ")
        head.append(", ".join(f"{count} {state}" for state, count in stats["open"].items()))
    return head.append("\n")


def _cells(row: Row, identifier: str, books: _Books, now_s: float, begun_s: float) -> list[Text]:
    state = books.states.get(identifier) or row.state
    p50_p95 = row.percentiles_ms()
    p50, p95 = ("", "") if p50_p95 is None else (f"{p50_p95[0]:.1f}", f"{p50_p95[1]:.1f}")
    return [
        Text(printable(books.names.get(identifier) or row.name), "cyan"),
        Text(printable(state), STATE_STYLES.get(state, "")),
        Text(str(row.delivered), "green" if row.delivered else "dim"),
        Text(str(row.retried), "yellow" if row.retried else "dim"),
        Text(str(row.failed), "red" if row.failed else "dim"),
        Text(f"{row.attempts.per_s(now_s, begun_s):.1f}"),
        Text(p50),
        Text(p95),
        Text(printable(row.error), "red"),
    ]


def _document(tally: Tally, books: _Books) -> dict[str, Any]:
    now_s = time.monotonic()
    p50_ms, p95_ms = percentiles(tally.durations_ms) or (None, None)
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "events": tally.events,
        "events_per_s": round(tally.events_rate.per_s(now_s, tally.begun_s), 1),
        "attempts": tally.attempts,
        "attempts_per_s": round(tally.attempts_rate.per_s(now_s, tally.begun_s), 1),
        "delivered": tally.delivered,
        "failed": tally.failed,
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "stats": books.stats or None,
    }


def _line(document: Mapping[str, Any]) -> str:
    stats = document["stats"]
    words = [
        document["at"][11:19],
        f"events {document['events']} ({document['events_per_s']:.0f}/s)",
        f"attempts {document['attempts']} ({document['attempts_per_s']:.0f}/s)",
        f"delivered {document['delivered']}",
        f"failed {document['failed']}",
        "" if document["p50_ms"] is None else f"p50 {document['p50_ms']:.1f} ms  p95 {document['p95_ms']:.1f} ms",
        "" if stats is None else f"open {sum(stats['open'].values())}",
    ]
    return "  ".join(word for word in words if word)
