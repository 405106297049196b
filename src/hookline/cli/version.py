"""`hookline version`."""

from __future__ import annotations

import sys

import typer

from hookline.cli.terminal import terminal
from hookline.version import __version__


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(version)


def version() -> None:
    """Print the version."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    if terminal.json:
        terminal.document({"version": __version__, "python": python})
    else:
        terminal.say(f"hookline {__version__} (Python {python})")
