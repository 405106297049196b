"""`hookline verify`: what a receiver checks."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import pairs, read_bytes
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.sign import Body
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(verify)


def verify(
    body: Body,
    secret: Annotated[list[str], typer.Option(help="whsec_…, whpk_… or whsk_…, or @FILE; several are tried.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header of the request.")
    ] = None,
    tolerance_s: Annotated[float, typer.Option(min=0, help="How far its time may be from now.")] = 300.0,
    at: Annotated[int | None, typer.Option(metavar="SECONDS", help="Judge as if it were this Unix time.")] = None,
) -> None:
    """Check a request's Standard Webhooks signature. Exit code 1, and the reason, when it is not valid."""
    import time

    from hookline.core.verification import VerificationError
    from hookline.core.verification import verify as check

    try:
        check(
            read_bytes(body),
            pairs(header, ":", "the header"),
            [read_bytes(text).decode("utf-8", "replace").strip() for text in secret],
            now_s=time.time() if at is None else at,
            tolerance_s=tolerance_s,
        )
    except VerificationError as error:
        if error.reason in ("invalid_secret", "unsupported_key"):
            raise usage(str(error)) from None
        raise CommandError(f"not valid: {error} ({error.reason})", ExitCode.REFUSED) from None
    if terminal.json:
        terminal.document({"valid": True})
    else:
        terminal.say("valid")
