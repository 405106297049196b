"""What the demo shows while it runs: a live table on a terminal, a line a second elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hookline.cli.demo.api import Api
from hookline.cli.demo.ledger import Ledger
from hookline.cli.demo.scene import SENDERS, SUBSCRIBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

BAR_WIDTH: Final = 40
WIDE: Final = 112
"""Columns of a terminal from which on everything is shown."""
_NOTHING: Final[Mapping[str, Any]] = {"delivered": 0, "failed": 0, "discarded": 0, "open": {}}


class Board:
    """Refreshed by `update`; `begin_s` is when the stream begins, `planned_s` how long it and what follows lasts."""

    def __init__(self, api: Api, ledger: Ledger, console: Console, planned_s: float) -> None:
        self._api = api
        self._ledger = ledger
        self._console = console
        self._planned_s = planned_s
        self._begin_s = time.perf_counter()
        self._rate: list[tuple[float, int]] = []
        self._stats: dict[str, Mapping[str, Any]] = {}
        self._live = Live(console=console, refresh_per_second=4, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, at)

    async def update(self, phase: str) -> None:
        """Ask the program how each endpoint stands, and show it."""
        for subscriber in SUBSCRIBERS:
            self._stats[subscriber.uid] = await self._api.call("GET", f"/v1/endpoints/{subscriber.uid}/stats")
        now_s = time.perf_counter()
        self._rate = [*self._rate[-20:], (now_s, len(self._ledger.acknowledged))]
        if self._live is not None:
            self._live.update(Group(self._head(phase, now_s), self._inbound(), self._outbound()), refresh=True)
        else:
            print(self._line(phase, now_s), flush=True)

    def _per_s(self) -> float:
        (first_s, first), (last_s, last) = self._rate[0], self._rate[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def _sum(self, name: str) -> int:
        return sum(self._of(uid, name) for uid in self._stats)

    def _of(self, uid: str, name: str) -> int:
        stats = self._stats.get(uid, _NOTHING)
        return int(sum(stats["open"].values()) if name == "open" else stats[name])

    def _head(self, phase: str, now_s: float) -> Text:
        done = min(1.0, (now_s - self._begin_s) / self._planned_s)
        filled = round(BAR_WIDTH * done)
        head = Text("\n ")
        head.append("━" * filled, "green").append("─" * (BAR_WIDTH - filled), "dim")
        head.append(f"  {now_s - self._begin_s:4.1f} s  {phase}\n\n ")
        head.append(f"{len(self._ledger.acknowledged)} events published", "bold").append(f"  {self._per_s():.0f}/s")
        head.append(f"   {self._ledger.duplicates} repeated")
        head.append(f"   {self._ledger.refused.total()} refused by a schema\n")
        return head

    @property
    def _wide(self) -> bool:
        return self._console.width >= WIDE

    def _columns(self, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
        table = Table(box=None, padding=(0, 2 if self._wide else 1), header_style="bold")
        for name in names:
            table.add_column(name, no_wrap=True)
        for name in numbers:
            table.add_column(name, no_wrap=True, justify="right")
        return table

    def _inbound(self) -> Group:
        """What comes in, and below it what was refused."""
        more = ("sends",) if self._wide else ()
        table = self._columns(("webhooks in", *more), ("verified", "repeated", "refused"))
        table.add_column("delivered on", no_wrap=True)
        notes = Text()
        for sender in SENDERS:
            sent = [webhook for webhook in self._ledger.webhooks if webhook.source == sender.provider]
            refused = [webhook for webhook in sent if webhook.status >= 400]
            arrived = sum(webhook.event_id in self._ledger.arrived for webhook in sent)
            table.add_row(
                Text(f"/in/{sender.provider}", "cyan"),
                *((sender.event_type,) if self._wide else ()),
                Text(str(sum(bool(webhook.event_ids) for webhook in sent)), "green"),
                str(sum(max(0, len(webhook.event_ids) - 1) for webhook in sent)),
                Text(str(len(refused)), "bold red" if refused else "dim"),
                f"{arrived} to {sender.subscriber}",
            )
            for webhook in refused:
                who = "a forged request" if webhook.forged else "a request"
                text = f"refused: {who} to /in/{webhook.source}, answered {webhook.status}, nothing stored"
                notes.append(f"{' ' * (2 if self._wide else 1)}{text}\n", "red")
        return Group(table, notes)

    def _outbound(self) -> Table:
        more = ("wants", "receiver") if self._wide else ("receiver",)
        table = self._columns(
            ("webhooks out", *more), ("delivered", "open", "failed", "turned away", "p50 ms", "p99 ms")
        )
        for subscriber in SUBSCRIBERS:
            uid = subscriber.uid
            p50, p99 = self._ledger.percentiles_ms(uid) or (None, None)
            wants = ", ".join(subscriber.event_types) + (" (filter)" if "filter" in subscriber.more else "")
            table.add_row(
                Text(uid, "cyan"),
                *((wants, subscriber.receiver) if self._wide else (subscriber.receiver,)),
                Text(str(self._of(uid, "delivered")), "green"),
                Text(str(self._of(uid, "open")), "yellow" if self._of(uid, "open") else "dim"),
                Text(str(self._of(uid, "failed")), "red" if self._of(uid, "failed") else "dim"),
                str(self._ledger.turned_away[uid]),
                "" if p50 is None else f"{p50:.1f}",
                "" if p99 is None else f"{p99:.1f}",
            )
        return table

    def _refused(self) -> int:
        return sum(webhook.status >= 400 for webhook in self._ledger.webhooks)

    def _line(self, phase: str, now_s: float) -> str:
        p50, p99 = self._ledger.percentiles_ms() or (0.0, 0.0)
        return (
            f"{now_s - self._begin_s:5.1f} s  {phase:<18}"
            f"  events {len(self._ledger.acknowledged)} ({self._per_s():.0f}/s)"
            f"  in {len(self._ledger.events_in)} ({self._refused()} refused)"
            f"  delivered {self._sum('delivered')}  open {self._sum('open')}  failed {self._sum('failed')}"
            f"  turned away {self._ledger.turned_away.total()}  p50 {p50:.1f} ms  p99 {p99:.1f} ms"
        )


def demo_console() -> Console:
    """For the demo's output: with colours on a terminal only, never wrapped where there is none."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace", line_buffering=True)  # type: ignore[union-attr]
    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, emoji=False, width=None if terminal else 100_000)
