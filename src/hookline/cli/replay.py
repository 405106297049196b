"""`hookline replay`: deliver again what a filter finds, as after an outage."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated, Any, Final

import typer

from hookline.cli.arguments import path, read_object, somebody_there
from hookline.cli.client import Client
from hookline.cli.exits import usage
from hookline.cli.replay_progress import follow, how_to
from hookline.cli.terminal import terminal
from hookline.core.page import format_time

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_RATE: Final = re.compile(r"([0-9]{1,7})(?:/([0-9]{1,5}(?:\.[0-9]{1,3})?))?")
_ANY: Final = "any"


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(replay)


Of = Annotated[str, typer.Option(help="deliveries, or events: the latter for a subscriber that is new.")]
State = Annotated[str | None, typer.Option(help="failed (unless said), discarded, delivered; any: all of these.")]
Endpoint = Annotated[str | None, typer.Option(help="Deliveries to this endpoint (id or uid).")]
Event = Annotated[str | None, typer.Option(help="Deliveries of this event.")]
Reason = Annotated[str | None, typer.Option(help="Deliveries with this reason, as timeout.")]
EventType = Annotated[str | None, typer.Option("--type", help="Only of this event type.")]
Source = Annotated[str | None, typer.Option(help="Events of this source.")]
SourceId = Annotated[str | None, typer.Option(help="Events with this id of the publisher.")]
Subject = Annotated[str | None, typer.Option(help="Events about this.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Accepted from then on: RFC 3339, or ago, as 90m, 2h, 3d.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before then, written the same.")]
To = Annotated[str | None, typer.Option(help="Send to this endpoint (id or uid), not to their own.")]
Rate = Annotated[
    str | None, typer.Option(metavar="N/S", help='At most N in S seconds, as 100/1; or {"n", "per_s", "burst"}.')
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]


def replay(
    of: Of = "deliveries",
    state: State = None,
    endpoint: Endpoint = None,
    event: Event = None,
    reason: Reason = None,
    event_type: EventType = None,
    source: Source = None,
    source_id: SourceId = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
    to: To = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
) -> None:
    """Deliver again what a filter finds: counted first, asked for, and followed until it is done."""
    if of == "deliveries" and state is None:
        state = "failed"
    now_ms = time.time_ns() // 1_000_000
    wanted = {
        "state": None if state == _ANY else state,
        "endpoint": endpoint,
        "event": event,
        "reason": reason,
        "type": event_type,
        "source": source,
        "source_id": source_id,
        "subject": subject,
        "since": _time(since, now_ms),
        "until": _time(until, now_ms),
    }
    document: dict[str, Any] = {
        "of": of,
        "filter": {name: value for name, value in wanted.items() if value is not None},
        "endpoint_id": to,
        "rate": _rate(rate),
    }
    if not (yes or dry_run or somebody_there()):
        raise usage("nobody is there to be asked: say --yes, or --dry-run to count only")
    with Client() as client:
        if (dry_run or not yes) and not _agreed(client, document, dry_run=dry_run):
            return
        begun = client.call("POST", path("replays"), document=document)
        if detach:
            terminal.done(begun, f"{begun['id']} has begun. {how_to(begun['id'])}")
        else:
            follow(client, begun)


def _agreed(client: Client, document: dict[str, Any], *, dry_run: bool) -> bool:
    """Whether a person wants it, who was told how much it is."""
    counted = client.call("POST", path("replays"), document={**document, "dry_run": True})
    if dry_run or (counted["complete"] and not counted["would_replay"]):
        terminal.done(counted, _counted(counted))
        return False
    print(f"{_counted(counted)}. Deliver them again? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _counted(counted: dict[str, Any]) -> str:
    least = "" if counted["complete"] else "at least "
    return f"{least}{counted['matched']:,} found, {least}{counted['would_replay']:,} to be delivered again"


def _time(text: str | None, now_ms: int) -> str | None:
    """A time as the API takes it. What is not relative is left to the server to judge."""
    found = None if text is None else _AGO.fullmatch(text)
    if found is None:
        return text
    ago_ms = int(found[1]) * _SECONDS[found[2]] * 1000
    return format_time(max(0, now_ms - ago_ms))


def _rate(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if text.startswith(("{", "@")) or text == "-":
        return read_object(text, "--rate")
    found = _RATE.fullmatch(text)
    if found is None:
        raise usage(f"--rate {text!r} is not written as 100/1: how many, and in how many seconds")
    return {"n": int(found[1]), "per_s": float(found[2] or 1)}
