"""`hookline keys`: make keys and secrets, and find the operator's."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hookline.cli.config import load
from hookline.cli.terminal import terminal

app = typer.Typer(name="keys", help="Make keys and secrets, and find the operator's key.", no_args_is_help=True)


class KeyKind(StrEnum):
    """What can be made."""

    API = "api"
    SIGNING = "signing"
    ED25519 = "ed25519"


@app.command()
def new(
    kind: Annotated[KeyKind, typer.Argument(help="api: a key for HOOKLINE_KEY; the others sign deliveries.")],
) -> None:
    """Make a key and print it. Nothing keeps it."""
    import base64
    import secrets

    if kind is KeyKind.API:
        made = {"key": "hl_" + secrets.token_urlsafe(32)}
    else:
        from hookline.core.secret import RANDOM_BYTES, make_signing_secret, public_key

        if kind is KeyKind.SIGNING:
            made = {"secret": make_signing_secret(secrets.token_bytes(RANDOM_BYTES))}
        else:
            secret = "whsk_" + base64.b64encode(secrets.token_bytes(32)).decode()
            made = {"secret": secret, "public_key": str(public_key(secret))}
    if terminal.json:
        terminal.document(made)
    elif len(made) == 1:
        terminal.say(next(iter(made.values())))
    else:
        terminal.record(made)


@app.command()
def where() -> None:
    """Show where the operator's key and the key that encrypts stored secrets are, by the settings of this folder."""
    settings = load()
    terminal.record(
        {
            "operator_key": _place(settings.key_path, settings.origin.get("key")),
            "secret_key": _place(settings.secret_key_path, settings.origin.get("secret_key")),
        }
    )


def _place(path: Path, given_by: str | None) -> str:
    if given_by is not None:
        return f"set by {given_by}"
    return f"{path.absolute()}{'' if path.exists() else ' (not there yet: the first start creates it)'}"
