"""`hookline backup`: a copy of a server's database, over the API."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hookline.cli.arguments import path
from hookline.cli.client import Client
from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.terminal import terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

MEDIA_TYPE: Final = "application/vnd.sqlite3"
AS_OF: Final = "hookline-as-of"
WAIT_S: Final = 6 * 3600.0
"""The server makes its copy before it answers; a big one takes a while."""
_MAGIC: Final = b"SQLite format 3\0"


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command()(backup)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Copy the server's database while it works. What opens its secrets is not in it: copy hookline.secret as well."""
    _check(file, force)
    partial = file.with_name(file.name + ".partial")
    try:
        with Client() as client, client.stream(path("backup"), read_s=WAIT_S) as response:
            as_of = response.headers.get(AS_OF, "")
            if response.headers.get("content-type") != MEDIA_TYPE or not as_of:
                raise CommandError("the server's answer is no backup: is this Hookline?", ExitCode.REFUSED)
            size_bytes = _write(partial, response)
        _check(file, force)  # nobody else was faster
        partial.replace(file)
        _sync(file.parent)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}", ExitCode.REFUSED) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    terminal.done({"file": str(file), "size_bytes": size_bytes, "as_of": as_of}, f"{file} is a copy as of {as_of}.")
    if not terminal.json:
        terminal.note(
            "It is of no use without the key that opens its secrets: keep a copy of hookline.secret "
            "(or HOOKLINE_SECRET_KEY) as well, at another place."
        )


def _check(file: Path, force: bool) -> None:
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise usage(f"{file} is no place for a file")
    if not force and os.path.lexists(file):
        raise usage(f"{file} is there already; --force replaces it")


def _write(partial: Path, response: httpx2.Response) -> int:
    """What came, on the disk. Raises `OSError`, `CommandError`."""
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    length = response.headers.get("content-length")
    expected = None if length is None else int(length)
    written = 0
    with os.fdopen(descriptor, "wb") as out, _progress(expected) as advance:
        for piece in response.iter_raw(1024 * 1024):
            if written == 0 and not piece.startswith(_MAGIC):
                raise CommandError("the server's answer is no SQLite database", ExitCode.REFUSED)
            out.write(piece)
            written += len(piece)
            advance(len(piece))
        out.flush()
        os.fsync(out.fileno())
    if written == 0 or expected not in (None, written):
        raise CommandError(f"the copy broke off after {written} of {expected} bytes", ExitCode.UNREACHABLE)
    return written


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal; elsewhere nothing."""
    if terminal.json or not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
