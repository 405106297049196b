"""`hookline listen`: what comes in at a source, forwarded to a program on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli.arguments import pairs, path
from hookline.cli.client import Client, server_url, trusted
from hookline.cli.exits import ExitCode, usage
from hookline.cli.terminal import json_text, out, printable, terminal

if TYPE_CHECKING:
    import ssl

    from hookline.cli.listening import Forwarded


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(listen)


def listen(
    source: Annotated[str, typer.Option(metavar="NAME", help="The source: its name or id.")],
    forward: Annotated[str, typer.Option(metavar="URL", help="Where to, as http://localhost:3000/path.")],
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="'NAME: VALUE'", help="Send this header too, instead of one of its name."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="From this time on (RFC 3339), or `now`, wherever it was before."),
    ] = None,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after so many; 0: never.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="Forward what is there now, then end.")] = False,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Wait so long for an answer of the program.")] = 60.0,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember the place here (default: ~/.local/state/hookline/…).")
    ] = None,
) -> int:
    """Forward what comes in at a source to a local program, as it came, until Ctrl-C; it goes on where it stopped."""
    from hookline.cli.forward import Forwarder
    from hookline.cli.listen_place import PlaceFile, usual_file
    from hookline.cli.listening import Listener

    if since is not None and since != "now":
        since = _time(since)
    forwarder = Forwarder(forward, timeout_s, _context(forward), pairs(header, ":", "the header"))
    with Client() as client:
        found = client.call("GET", path("sources", source))
        file = usual_file(server_url(), found["id"]) if state is None else PlaceFile(state)
        with file.held():
            listener = Listener(client, found, forwarder, file, show, count=count)
            if not terminal.json:
                terminal.note(f"/in/{found['name']} -> {forward}; Ctrl-C ends it")
            try:
                listener.run(since, once=once)
            except KeyboardInterrupt:
                return ExitCode.OK
    ends_by_itself = once or count > 0
    return ExitCode.REFUSED if ends_by_itself and not listener.good else ExitCode.OK


def show(forwarded: Forwarded) -> None:
    """A line for an event and what became of it; with --json a document."""
    event, outcome = forwarded.event, forwarded.outcome
    if terminal.json:
        out(
            json_text(
                {
                    "event_id": event["id"],
                    "type": event["type"],
                    "source_id": event["source_id"],
                    "accepted_at": event["accepted_at"],
                    "data_bytes": event["data_bytes"],
                    "status": outcome.status,
                    "detail": outcome.detail or None,
                    "duration_ms": outcome.duration_ms,
                    "tries": forwarded.tries,
                }
            )
        )
        return
    words = [
        str(event["accepted_at"])[11:23],
        str(event["id"]),
        printable(str(event["type"])),
        f"{event['data_bytes']} bytes",
        f"-> {outcome.status or outcome.detail}",
        f"{outcome.duration_ms:.1f} ms",
        "" if forwarded.tries == 1 else f"try {forwarded.tries}",
    ]
    out("  ".join(word for word in words if word))


def _time(text: str) -> str:
    """The time as the server writes it. Raises `CommandError`."""
    from hookline.core.errors import Refusal
    from hookline.core.page import format_time, parse_time

    try:
        return format_time(parse_time(text, parameter="since"))
    except Refusal as refusal:
        raise usage(f"--since {text}: {refusal.detail}") from None


def _context(url: str) -> ssl.SSLContext | None:
    return trusted() if url.startswith("https://") else None
