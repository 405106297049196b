"""`hookline event-types`: the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hookline.cli.arguments import Limit, path, read_json
from hookline.cli.client import Client
from hookline.cli.exits import CommandError
from hookline.cli.terminal import terminal

app = typer.Typer(name="event-types", help="The catalogue of event types and their schemas.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The event type, as order.created.")]


@app.command()
def ls(limit: Limit = 0) -> None:
    """List the catalogue."""
    with Client() as client:
        client.show_list(
            path("event-types"), {}, limit, ("name", "version", "mode", "description"), "The catalogue is empty."
        )


@app.command()
def get(name: Name) -> None:
    """Show one event type."""
    with Client() as client:
        terminal.record(client.call("GET", path("event-types", name)))


@app.command()
def put(
    name: Name,
    schema: Annotated[str | None, typer.Option(help="JSON Schema (2020-12): JSON text, @FILE, or - for stdin.")] = None,
    mode: Annotated[str | None, typer.Option(help="enforce, warn or off.")] = None,
    example: Annotated[str | None, typer.Option(help="An example payload: JSON text or @FILE.")] = None,
    description: Annotated[str | None, typer.Option(help="What it means.")] = None,
) -> None:
    """Create an event type, or change what is given; a changed schema is a new version."""
    members: dict[str, Any] = {}
    if schema is not None:
        members["schema"] = read_json(schema, "the schema")[1]
    if example is not None:
        members["example"] = read_json(example, "the example")[1]
    if mode is not None:
        members["mode"] = mode
    if description is not None:
        members["description"] = description
    with Client() as client:
        try:
            answer, done = client.call("POST", path("event-types"), document={"name": name, **members}), "created"
        except CommandError as error:
            if error.problem is None or error.problem.get("code") != "name_taken":
                raise
            answer, done = client.call("PATCH", path("event-types", name), document=members), "changed"
    terminal.done(answer, f"{name} {done}")


@app.command()
def delete(name: Name) -> None:
    """Remove an event type with all its versions; its events stay."""
    with Client() as client:
        terminal.done(client.call("DELETE", path("event-types", name)), f"{name} is deleted")
