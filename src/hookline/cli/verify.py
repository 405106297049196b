"""`hookline verify`: what a receiver checks."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import pairs, read_bytes
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(verify)


def verify(
    body: Annotated[
        str | None, typer.Argument(help="The body: as text, @FILE, or - for stdin. Its bytes count.")
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="whsec_…, whpk_… or whsk_…, or @FILE; several are tried.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header of the request.")
    ] = None,
    tolerance_s: Annotated[
        float | None, typer.Option(min=0, help="How far its time may be from now. Default 300.", show_default=False)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge as this provider's requests, or by @FILE with a scheme.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --preset: JSON of the source's config.")
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="With --preset: JSON with method, url, headers, body_base64; or lines of it."
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="SECONDS", help="Judge as if it were this Unix time.")] = None,
) -> int:
    """Check a request: its Standard Webhooks signature, or with --preset as a source would. Exit code 1, and the
    reason, when it is not valid."""
    if preset is not None:
        from hookline.cli.verify_stored import Question, answer

        if request is None or body is not None or secret or header or tolerance_s is not None:
            raise usage("verify --preset takes --request, --config and --at, and nothing else")
        return answer(Question(preset, config or "", request, at, terminal.json))
    if body is None or not secret or config is not None or request is not None:
        raise usage("verify takes BODY and --secret, or --preset and --request")
    _verify_standard(body, secret, header, 300.0 if tolerance_s is None else tolerance_s, at)
    return ExitCode.OK


def _verify_standard(
    body: str, secret: list[str], header: list[str] | None, tolerance_s: float, at: str | None
) -> None:
    import time

    from hookline.core.verification import VerificationError
    from hookline.core.verification import verify as check

    if at is not None and not (at.isascii() and at.isdigit()):
        raise usage(f"--at {at!r} is not a Unix time in seconds")
    try:
        check(
            read_bytes(body),
            pairs(header, ":", "the header"),
            [read_bytes(text).decode("utf-8", "replace").strip() for text in secret],
            now_s=time.time() if at is None else int(at),
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
