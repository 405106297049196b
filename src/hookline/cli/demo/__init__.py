"""`hookline demo` (`make run`): the real program with providers, a stream of events and receivers, and its books."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.exits import usage

SECONDS_MIN = 3


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(demo)


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(envvar="DEMO_SECONDS", help="End by itself after so long (3 at least); else Ctrl-C ends it."),
    ] = None,
) -> int:
    """Show everything at work, in a temporary folder. Ends with 0 when nothing was lost and the counts add up."""
    if seconds is not None and not SECONDS_MIN <= seconds <= 86_400:
        raise usage(f"DEMO_SECONDS is from {SECONDS_MIN} to 86400, not {seconds:g}")
    from hookline.cli.demo.run import run

    return run(seconds)
