"""`hookline restore`: a database made of a backup, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.config import load
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.terminal import terminal


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(restore)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `hookline backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the database that is there; it is kept under another name.")
    ] = False,
) -> None:
    """Make HOOKLINE_DB of a backup, by the settings of this folder. No server may have it open."""
    from hookline.core.errors import Refusal, StoreUnavailable
    from hookline.core.page import format_time
    from hookline.databases import NO_BACKUP, missing_key
    from hookline.databases import restore as restore_database

    settings = load()
    if settings.on_postgres:
        raise usage(NO_BACKUP)
    db = settings.db_path
    if not file.is_file():
        raise usage(f"there is no file {file}")
    if db.exists() and not force:
        raise usage(f"{db} is there already; --force replaces it, and keeps it, its name ending in .replaced")
    try:
        restored = restore_database(settings, file, replace=force)
    except (Refusal, StoreUnavailable) as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error
    as_of = format_time(restored.as_of_ms)
    answer = {"db": str(db), "file": str(file), "as_of": as_of, "kept": restored.kept}
    terminal.done(answer, f"{db} is as {file} has it: as of {as_of}.")
    warning = missing_key(settings)
    if warning is not None:
        terminal.note(f"WARNING: {warning}")
    if terminal.json:
        return
    terminal.note(f"Events accepted after {as_of} are missing: their publishers may publish them again.")
    terminal.note("Deliveries made after it may be made again, with the same webhook-id.")
    if restored.kept is not None:
        terminal.note(f"What was there is kept as {restored.kept}.")
