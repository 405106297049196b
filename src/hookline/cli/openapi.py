"""`hookline openapi`: the API's own description."""

from __future__ import annotations

import typer

from hookline.cli.client import Client
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(openapi)


def openapi() -> None:
    """Print the OpenAPI 3.1 document of the server."""
    with Client() as client:
        terminal.document(client.call("GET", "/openapi.json"))
