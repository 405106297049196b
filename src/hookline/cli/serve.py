"""`hookline serve`: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.config import load
from hookline.cli.exits import usage


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(serve)
    app.command()(worker)


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen (HOOKLINE_HOST).")] = None,
    port: Annotated[str | None, typer.Option(metavar="N", help="The port (HOOKLINE_PORT).")] = None,
    db: Annotated[str | None, typer.Option(metavar="URL", help="The store (HOOKLINE_DB).")] = None,
    role: Annotated[
        str | None, typer.Option(metavar="ROLE", help="all, api or worker; PostgreSQL only but all (HOOKLINE_ROLE).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings (HOOKLINE_CONFIG).")] = None,
) -> int:
    """Run the server until SIGTERM or Ctrl-C. `hookline config show` lists all settings."""
    return _serve(host, port, db, role, config)


def worker(
    host: Annotated[str | None, typer.Option(help="Where to listen (HOOKLINE_HOST).")] = None,
    port: Annotated[str | None, typer.Option(metavar="N", help="The port (HOOKLINE_PORT).")] = None,
    db: Annotated[str | None, typer.Option(metavar="URL", help="The store (HOOKLINE_DB).")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings (HOOKLINE_CONFIG).")] = None,
) -> int:
    """Run a process that delivers, on PostgreSQL: `hookline serve --role worker`. It serves its health and metrics."""
    return _serve(host, port, db, "worker", config)


def _serve(host: str | None, port: str | None, db: str | None, role: str | None, config: Path | None) -> int:
    file = None if config is None else str(config)
    given = {"host": host, "port": port, "db": db, "role": role, "config": file}
    settings = load({name: text for name, text in given.items() if text is not None})
    from hookline.compose import serve as run_server
    from hookline.settings import SettingsError

    try:
        return run_server(settings)
    except SettingsError as error:
        raise usage(str(error)) from error
