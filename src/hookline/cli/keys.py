"""`hookline keys`: API keys of the server; making keys and secrets by hand, and finding the operator's."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hookline.cli.arguments import Limit, path, read_json, read_object
from hookline.cli.client import Client
from hookline.cli.config import load
from hookline.cli.terminal import terminal

app = typer.Typer(name="keys", help="API keys (operator's key), and secrets made by hand.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(metavar="ID", help="key_…")]

Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help="publish, read, manage or operator; may be repeated.")
]
Description = Annotated[str | None, typer.Option(help="For people.")]
EventTypes = Annotated[
    list[str] | None,
    typer.Option("--event-type", "-t", help="A pattern of what it may publish, as order.*; may be repeated."),
]
ExpiresAt = Annotated[str | None, typer.Option(metavar="TIME", help="Its end (RFC 3339).")]
Rate = Annotated[str | None, typer.Option(help='Requests with it, as {"n": 100, "per_s": 1, "burst": 200}.')]
AddressRate = Annotated[str | None, typer.Option(help="The same, for each client address by itself.")]
Spec = Annotated[str | None, typer.Option(help="Everything: the API's JSON as text, @FILE or -; options win.")]


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
def ls(limit: Limit = 0) -> None:
    """List the keys of --tenant, or of all; not those that were revoked."""
    with Client() as client:
        columns = ("id", "tenant", "scopes", "event_types", "hint", "expires_at", "last_used_at", "description")
        client.show_list(path("keys"), {}, limit, columns, "No keys.")


@app.command()
def get(key_id: KeyId) -> None:
    """Show what a key may, and when it was last used. The key itself is not kept."""
    with Client() as client:
        terminal.record(client.call("GET", path("keys", key_id)))


@app.command()
def create(
    scopes: Scopes = None,
    description: Description = None,
    event_types: EventTypes = None,
    expires_at: ExpiresAt = None,
    rate: Rate = None,
    address_rate: AddressRate = None,
    spec: Spec = None,
) -> None:
    """Issue a key for --tenant, or with the scope operator for any. It is shown this once."""
    options = locals()
    with Client() as client:
        answer = client.call("POST", path("keys"), document=_document(options))
    terminal.record(answer)
    terminal.note("This is the only time that the key is shown.")


@app.command()
def update(
    key_id: KeyId,
    scopes: Scopes = None,
    description: Description = None,
    event_types: EventTypes = None,
    expires_at: ExpiresAt = None,
    rate: Rate = None,
    address_rate: AddressRate = None,
    spec: Spec = None,
) -> None:
    """Change what is given. In --spec a member that is null is no limit any more (RFC 7396)."""
    options = locals()
    del options["key_id"]
    with Client() as client:
        answer = client.call("PATCH", path("keys", key_id), document=_document(options))
    terminal.done(answer, f"{answer['id']} changed")


@app.command()
def rotate(
    key_id: KeyId,
    overlap_s: Annotated[float | None, typer.Option(help="So long the old one is valid, too; default: a day.")] = None,
) -> None:
    """Issue a key with the same rights; for a day (or --overlap-s) the old one is valid, too."""
    document: dict[str, Any] = {} if overlap_s is None else {"overlap_s": overlap_s}
    with Client() as client:
        answer = client.call("POST", path("keys", key_id, "rotate"), document=document)
    terminal.record(answer)
    terminal.note("This is the only time that the key is shown.")


@app.command()
def revoke(key_id: KeyId) -> None:
    """Revoke a key: from now on it is unknown."""
    with Client() as client:
        terminal.done(client.call("DELETE", path("keys", key_id)), f"{key_id} is revoked")


def _document(options: dict[str, Any]) -> dict[str, Any]:
    """What the API takes, of the options of `create` and `update`."""
    given = {name: value for name, value in options.items() if value is not None}
    spec = given.pop("spec", None)
    document = {} if spec is None else read_object(spec, "the spec")
    for name in ("rate", "address_rate"):
        if name in given:
            given[name] = read_json(given[name], "the rate")[1]
    return {**document, **given}


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
