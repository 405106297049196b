"""Following a replay of many until it ends: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from hookline.cli.arguments import path
from hookline.cli.client import Client
from hookline.cli.exits import CommandError, ExitCode
from hookline.cli.terminal import terminal

POLL_S: Final = 0.5
AWAY_S_MAX: Final = 60.0
"""For so long the server may be away: a replay goes on after its restart."""


def follow(client: Client, replay: dict[str, Any]) -> None:
    """Show how far it is until it has ended, then say how. Ctrl-C ends the looking, not the replay.

    Raises `CommandError` when it was canceled or failed, or the server is away for long.
    """
    try:
        with _bar() as show:
            while True:
                show(replay)
                if replay["state"] != "running":
                    break
                time.sleep(POLL_S)
                replay = _look(client, replay["id"])
    except KeyboardInterrupt:
        terminal.note(f"It goes on at the server. {how_to(replay['id'])}")
        raise
    ended(replay)


def how_to(replay_id: str) -> str:
    """What can be done about a replay that runs."""
    return f"Follow it: hookline replays follow {replay_id}; stop it: hookline replays cancel {replay_id}"


def ended(replay: dict[str, Any]) -> None:
    """Say how it ended. Raises `CommandError` unless it is done."""
    line = f"{replay['id']} is {replay['state']}: {replay['replayed']:,} replayed, {replay['skipped']:,} skipped"
    if replay["state"] == "done":
        terminal.done(replay, line)
        return
    if terminal.json:
        terminal.document(replay)
    raise CommandError(f"{line}. {replay['detail'] or ''}".strip(), ExitCode.REFUSED)


def _look(client: Client, replay_id: str) -> dict[str, Any]:
    end_s = time.monotonic() + AWAY_S_MAX
    while True:
        try:
            found: dict[str, Any] = client.call("GET", path("replays", replay_id))
        except CommandError as error:
            away = error.code in (ExitCode.UNREACHABLE, ExitCode.UNAVAILABLE)
            if not away or time.monotonic() >= end_s:
                raise
            time.sleep(POLL_S)
        else:
            return found


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[dict[str, Any]], object]]:
    if terminal.json or not sys.stderr.isatty():
        yield lambda _replay: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    says = TextColumn("{task.fields[says]}", markup=False)
    columns = (BarColumn(), TaskProgressColumn(), says, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0, says="")

        def show(replay: dict[str, Any]) -> None:
            says = f"{replay['replayed']:,} replayed, {replay['skipped']:,} skipped"
            if replay["waits_for"]:
                says += f"; waits: {replay['waits_for']}"
            progress.update(task, completed=replay["progress"], says=says)

        yield show
