"""`hookline openapi`: the API's own description."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.client import Client
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(openapi)


def openapi(
    postman: Annotated[bool, typer.Option("--postman", help="Print it as a Postman collection (format 2.1).")] = False,
) -> None:
    """Print the OpenAPI 3.1 document of the server."""
    from hookline.web.postman import postman as collection

    with Client() as client:
        document = client.call("GET", "/openapi.json")
    terminal.document(collection(document) if postman else document)
