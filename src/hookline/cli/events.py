"""`hookline events`: what was published."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import Limit, Since, Until, path, somebody_there
from hookline.cli.client import Client
from hookline.cli.exits import usage
from hookline.cli.terminal import terminal

app = typer.Typer(name="events", help="Look at events, and replay them.", no_args_is_help=True)
EventId = Annotated[str, typer.Argument(metavar="ID", help="evt_…")]


@app.command()
def ls(
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    source_id: Annotated[str | None, typer.Option(help="Only with this id of the publisher.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
) -> None:
    """List events, newest first."""
    filters = {
        "type": event_type,
        "source": source,
        "source_id": source_id,
        "subject": subject,
        "since": since,
        "until": until,
    }
    with Client() as client:
        client.show_list(
            path("events"),
            filters,
            limit,
            ("id", "type", "source", "source_id", "subject", "accepted_at"),
            "No events.",
        )


@app.command()
def get(event_id: EventId) -> None:
    """Show one event."""
    with Client() as client:
        terminal.record(client.call("GET", path("events", event_id)))


@app.command()
def erase(
    event_id: EventId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase an event's payload for ever; what is open of it is discarded."""
    if not yes:
        if not somebody_there():
            raise usage("nobody is there to be asked: say --yes")
        typer.confirm(f"Erase the payload of {event_id} for ever?", abort=True, err=True)
    with Client() as client:
        terminal.record(client.call("DELETE", path("events", event_id, "payload")))


@app.command()
def replay(
    event_id: EventId,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint (id or uid).")] = None,
) -> None:
    """Deliver an event again: new deliveries with the same webhook-id."""
    document = {} if endpoint is None else {"endpoint_id": endpoint}
    with Client() as client:
        terminal.record(client.call("POST", path("events", event_id, "replay"), document=document))
