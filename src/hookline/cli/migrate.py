"""`hookline migrate`: the version of the database's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hookline.cli.config import load
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.terminal import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookline.adapters.stores.scripts import Migration

app = typer.Typer(name="migrate", help="See and change the version of the database's schema.", no_args_is_help=True)


@app.command()
def status() -> int:
    """Show which migrations the database has; exit code 1 when some are missing."""
    from hookline.core.errors import StoreUnavailable
    from hookline.databases import migrations
    from hookline.settings import SettingsError

    settings = load()
    if not settings.on_postgres and not settings.db_path.exists():
        raise CommandError(
            f"there is no database at {settings.db_path} yet: `hookline serve` makes it", ExitCode.REFUSED
        )
    try:
        found = migrations(settings)
    except SettingsError as error:
        raise usage(str(error)) from error
    except StoreUnavailable as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error
    _show(found, "There are no migrations.")
    return ExitCode.OK if all(migration.applied for migration in found) else ExitCode.REFUSED


@app.command()
def up() -> None:
    """Bring the database up to date. No server may have a SQLite file open; on PostgreSQL they go on meanwhile."""
    from hookline.core.errors import StoreUnavailable
    from hookline.databases import migrate
    from hookline.settings import SettingsError

    try:
        done = migrate(load())
    except SettingsError as error:
        raise usage(str(error)) from error
    except StoreUnavailable as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error
    _show(done, "The database is up to date.")


def _show(migrations: Iterable[Migration], empty: str) -> None:
    rows = [{"number": m.number, "name": m.name, "applied": "yes" if m.applied else "no"} for m in migrations]
    if terminal.json:
        terminal.document({"data": [{**row, "applied": row["applied"] == "yes"} for row in rows]})
    else:
        terminal.table(("number", "name", "applied"), rows, empty)
