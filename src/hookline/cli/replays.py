"""`hookline replays`: replays of many that were begun."""

from __future__ import annotations

from typing import Annotated

import typer

from hookline.cli.arguments import Limit, path
from hookline.cli.client import Client
from hookline.cli.replay_progress import follow
from hookline.cli.terminal import terminal

app = typer.Typer(name="replays", help="Look at replays; follow, cancel.", no_args_is_help=True)
ReplayId = Annotated[str, typer.Argument(metavar="ID", help="rpl_…")]


@app.command()
def ls(limit: Limit = 50) -> None:
    """List replays, newest first."""
    columns = ("id", "state", "of", "progress", "replayed", "skipped", "filter", "created_at")
    with Client() as client:
        client.show_list(path("replays"), {}, limit, columns, "No replays.")


@app.command()
def get(replay_id: ReplayId) -> None:
    """Show one replay."""
    with Client() as client:
        terminal.record(client.call("GET", path("replays", replay_id)))


@app.command("follow")
def follow_(replay_id: ReplayId) -> None:
    """Show how far a replay is until it has ended."""
    with Client() as client:
        follow(client, client.call("GET", path("replays", replay_id)))


@app.command()
def cancel(replay_id: ReplayId) -> None:
    """Stop a replay before its next step; what it made stays."""
    with Client() as client:
        answer = client.call("POST", path("replays", replay_id, "cancel"))
    terminal.done(answer, f"{replay_id} is canceled: {answer['replayed']:,} were replayed")
