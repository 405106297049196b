"""`hookline tail`: what happens, as it happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hookline.cli.client import Client
from hookline.cli.exits import ExitCode, usage
from hookline.cli.terminal import json_text, out, terminal

if TYPE_CHECKING:
    from hookline.cli.entry_line import EntryLine
    from hookline.core.server_sent import Message

RESET: Final = "reset"


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(tail)


def tail(
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="PATTERN", help="Only of these event types, as order.*")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only of this endpoint (id or uid).")] = None,
    event: Annotated[str | None, typer.Option(help="Only of this event.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only event, attempt, delivery or endpoint; may be repeated.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only what is in this state now, as failed.")] = None,
    since_position: Annotated[
        str | None, typer.Option(metavar="POSITION", help="Go on behind this one, as --json shows them.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after so many; 0: never.")] = 0,
    summary: Annotated[bool, typer.Option("--summary", help="A live table of the endpoints instead.")] = False,
) -> int:
    """Follow events, attempts and changes of state until Ctrl-C; an outage is waited out, and nothing is missed."""
    given = {
        "type": event_type,
        "endpoint": endpoint,
        "event": event,
        "kind": None if not kind else ",".join(kind),
        "state": state,
    }
    filters = {name: value for name, value in given.items() if value is not None}
    if summary and count:
        raise usage("--summary shows all there is: it goes without --count")
    try:
        with Client() as client:
            if summary:
                from hookline.cli.tail_summary import show_summary

                show_summary(client, filters, since_position)
            else:
                _print(client, filters, since_position, count)
    except KeyboardInterrupt:
        pass
    return ExitCode.OK


def _print(client: Client, filters: dict[str, str], position: str | None, count: int) -> None:
    from hookline.cli.entry_line import EntryLine
    from hookline.cli.follow import Follower, decoded, tell_found, tell_lost

    follower = Follower(client, filters, position, lost=tell_lost, found=tell_found)
    lines = EntryLine(colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    left = count
    for messages in follower:
        if count:
            messages = messages[:left]  # noqa: PLW2901
            left -= len(messages)
        shown = [line for line in (_line(lines, message, decoded(message)) for message in messages) if line]
        if shown:
            out("\n".join(shown))
        if count and not left:
            return


def _line(lines: EntryLine, message: Message, data: Mapping[str, object]) -> str:
    if terminal.json:
        return json_text({"kind": message.event, "position": message.position, "data": data})
    if message.event == RESET:
        terminal.note(str(data.get("detail", "The stream begins anew.")))
        return ""
    return lines.text(message.event, data)
