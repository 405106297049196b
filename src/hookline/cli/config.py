"""`hookline config`: what the settings are, and whether they can be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from hookline.cli.exits import usage
from hookline.cli.terminal import terminal

if TYPE_CHECKING:
    from hookline.settings import Settings


app = typer.Typer(name="config", help="Show and check the settings.", no_args_is_help=True)


@app.command()
def show() -> None:
    """Show every setting with its value, where it comes from, and what is allowed. Secrets are masked."""
    from hookline import settings as table

    settings = load()
    rows = [
        {
            "setting": table.PREFIX + name.upper(),
            "value": table.shown(settings, name),
            "from": settings.origin.get(name, "default"),
            "allowed": knob.form.allowed,
            "unit": knob.unit,
            "help": knob.help,
        }
        for name, knob in table.KNOBS.items()
    ]
    if terminal.json:
        terminal.document({"data": rows})
    else:
        terminal.table(("setting", "value", "from", "help"), rows, "")


@app.command()
def check() -> None:
    """Check the settings of the environment and the file; exit code 2 and one line when they cannot be used."""
    settings = load()
    if terminal.json:
        terminal.document({"ok": True, "set": sorted(settings.origin)})
    else:
        terminal.say(f"The settings can be used ({len(settings.origin)} set, the rest are defaults).")


def load(overrides: Mapping[str, str] | None = None) -> Settings:
    """The settings, or the end of the command with the line that says what is wrong with them."""
    from hookline.settings import SettingsError, load_settings

    try:
        return load_settings(overrides=overrides)
    except SettingsError as error:
        raise usage(str(error)) from error
