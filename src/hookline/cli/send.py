"""`hookline send`: publish an event."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from hookline.cli.arguments import path, read_bytes, read_json
from hookline.cli.client import Client
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(send)


def send(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type, as order.created.")],
    data: Annotated[str, typer.Argument(help="The payload: JSON text, @FILE, or - for stdin.")] = "{}",
    event_id: Annotated[
        str | None, typer.Option("--id", help="Your own id; a repeat of it makes no second event.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where it happened.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it happened to.")] = None,
    time: Annotated[str | None, typer.Option(help="When it happened (RFC 3339).")] = None,
    ordering_key: Annotated[str | None, typer.Option(help="Events with the same key keep their order.")] = None,
    deliver_at: Annotated[str | None, typer.Option(metavar="TIME", help="Deliver not before this time.")] = None,
    correlation_id: Annotated[str | None, typer.Option(help="What it belongs to.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A repeat with the same key gets the same answer.")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="The payload is not JSON but this: sent as a CloudEvent in binary mode.")
    ] = None,
) -> None:
    """Publish one event. When the command ends with 0 it is stored, and its deliveries are."""
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    members = {
        "id": event_id,
        "source": source,
        "subject": subject,
        "time": time,
        "ordering_key": ordering_key,
        "deliver_at": deliver_at,
        "correlation_id": correlation_id,
    }
    given = {name: value for name, value in members.items() if value is not None}
    if content_type is None:
        payload, _ = read_json(data, "the payload")
        # Spliced in as it is: the payload's bytes are the publisher's, and stay so until the receiver.
        head = json.dumps({"type": event_type, **given})
        content = head[:-1].encode() + b', "data": ' + payload + b"}"
        headers["content-type"] = "application/json"
    else:
        content = read_bytes(data)
        headers |= _binary_mode(event_type, content_type, given)
    with Client() as client:
        answer = client.call("POST", path("events"), content=content, headers=headers)
    if terminal.json:
        terminal.document(answer)
    elif answer.get("duplicate"):
        terminal.say(f"{answer['id']} is known already: nothing new was made")
    else:
        count = answer.get("deliveries", 0)
        terminal.say(f"{answer['id']} accepted, {count} {'delivery' if count == 1 else 'deliveries'}")


def _binary_mode(event_type: str, content_type: str, members: dict[str, str]) -> dict[str, str]:
    """The headers of a CloudEvent in binary mode; values percent-encoded as its HTTP binding says."""
    import uuid

    attributes = {
        "specversion": "1.0",
        "type": event_type,
        "id": members.pop("id", None) or str(uuid.uuid4()),
        "source": members.pop("source", None) or "hookline-cli",
        **{_attribute(name): value for name, value in members.items()},
    }
    encoded = {f"ce-{name}": quote(value, safe="!#$&'()*+,-./:;<=>?@[]^_`{|}~") for name, value in attributes.items()}
    return {"content-type": content_type, **encoded}


def _attribute(name: str) -> str:
    return name.replace("_", "")
