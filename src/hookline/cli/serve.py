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
    processes: Annotated[
        str | None,
        typer.Option(metavar="N", help="So many on this machine, auto, or auto:N; PostgreSQL (HOOKLINE_PROCESSES)."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings (HOOKLINE_CONFIG).")] = None,
) -> int:
    """Run the server until SIGTERM or Ctrl-C. `hookline config show` lists all settings."""
    return _serve(host=host, port=port, db=db, role=role, processes=processes, config=config)


def worker(
    host: Annotated[str | None, typer.Option(help="Where to listen (HOOKLINE_HOST).")] = None,
    port: Annotated[str | None, typer.Option(metavar="N", help="The port (HOOKLINE_PORT).")] = None,
    db: Annotated[str | None, typer.Option(metavar="URL", help="The store (HOOKLINE_DB).")] = None,
    processes: Annotated[
        str | None, typer.Option(metavar="N", help="So many on this machine, auto, or auto:N (HOOKLINE_PROCESSES).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings (HOOKLINE_CONFIG).")] = None,
) -> int:
    """Run a process that delivers, on PostgreSQL: `hookline serve --role worker`. It serves its health and metrics."""
    return _serve(host=host, port=port, db=db, role="worker", processes=processes, config=config)


def _serve(**given: str | Path | None) -> int:
    settings = load({name: str(value) for name, value in given.items() if value is not None})
    from hookline.compose import serve as run_server
    from hookline.settings import SettingsError

    try:
        if settings.processes == "1":
            return run_server(settings)
        from hookline.processes import run as run_several

        found = run_several(settings)
        return found if isinstance(found, int) else run_server(*found)
    except SettingsError as error:
        raise usage(str(error)) from error
