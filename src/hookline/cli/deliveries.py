"""`hookline deliveries`: what became of events on their way to endpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import Limit, Since, Until, path
from hookline.cli.client import Client
from hookline.cli.terminal import terminal

app = typer.Typer(
    name="deliveries", help="Look at deliveries and their attempts; retry, discard.", no_args_is_help=True
)
DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="dlv_…")]


@app.command()
def ls(
    state: Annotated[
        str | None, typer.Option(help="pending, leased, held, unconfirmed, delivered, failed or discarded.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint (id or uid).")] = None,
    event: Annotated[str | None, typer.Option(help="Only of this event.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this event type.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason, as timeout.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
) -> None:
    """List deliveries, newest first."""
    filters = {
        "state": state,
        "endpoint": endpoint,
        "event": event,
        "type": event_type,
        "reason": reason,
        "since": since,
        "until": until,
    }
    columns = ("id", "type", "endpoint_id", "state", "attempts", "next_at", "reason", "finished_at")
    with Client() as client:
        client.show_list(path("deliveries"), filters, limit, columns, "No deliveries.")


@app.command()
def get(delivery_id: DeliveryId) -> None:
    """Show one delivery."""
    with Client() as client:
        terminal.record(client.call("GET", path("deliveries", delivery_id)))


@app.command()
def attempts(delivery_id: DeliveryId) -> None:
    """List a delivery's attempts; with --json also requests and responses, headers and bodies."""
    columns = ("number", "at", "status", "reason", "cause", "duration_ms", "method", "url")
    with Client() as client:
        answer = client.call("GET", path("deliveries", delivery_id, "attempts"))
    if terminal.json:
        terminal.document(answer)
    else:
        terminal.table(columns, answer["data"], "No attempts.")


@app.command()
def retry(delivery_id: DeliveryId) -> None:
    """Open a failed or discarded delivery again; a pending one is due now."""
    with Client() as client:
        answer = client.call("POST", path("deliveries", delivery_id, "retry"))
    terminal.done(answer, f"{delivery_id} is due again")


@app.command()
def discard(delivery_id: DeliveryId) -> None:
    """Decide that an open or failed delivery shall not be delivered."""
    with Client() as client:
        answer = client.call("POST", path("deliveries", delivery_id, "discard"))
    terminal.done(answer, f"{delivery_id} is discarded")
