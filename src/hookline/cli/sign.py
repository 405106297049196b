"""`hookline sign`: what a sender puts on a request."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import read_bytes
from hookline.cli.exits import usage
from hookline.cli.terminal import terminal

Body = Annotated[str, typer.Argument(help="The body: as text, @FILE, or - for stdin. Its bytes count.")]
SecretHelp = "whsec_… or whsk_…; @FILE keeps it out of the process list."


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(sign)


def sign(
    body: Body,
    secret: Annotated[str, typer.Option(help=SecretHelp)],
    webhook_id: Annotated[str, typer.Option("--id", help="The webhook-id.")] = "msg_example",
    timestamp: Annotated[int | None, typer.Option(help="Unix seconds; default: now.")] = None,
) -> None:
    """Print the three Standard Webhooks headers for a body."""
    import time

    from hookline.core.endpoint import SigningKey
    from hookline.core.signature import Signer

    timestamp_s = int(time.time()) if timestamp is None else timestamp
    try:
        signer = Signer([SigningKey(read_bytes(secret).decode().strip())])
    except ValueError as error:
        raise usage(str(error)) from None
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signer.header(webhook_id, timestamp_s, read_bytes(body), timestamp_s * 1000),
    }
    if terminal.json:
        terminal.document(headers)
    else:
        for name, value in headers.items():
            terminal.say(f"{name}: {value}")
