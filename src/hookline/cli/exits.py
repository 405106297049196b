"""How a command ends: its exit code, and one line on stderr when it did not work."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    REFUSED = 1
    """The server refused, nothing was found, or what was checked is not valid."""
    USAGE = 2
    """The command line or a setting is wrong; nothing was tried."""
    UNREACHABLE = 3
    """No answer from the server."""
    UNAUTHORIZED = 4
    """The server wants another key."""
    UNAVAILABLE = 5
    """The server cannot do it now (429, 5xx): the same may work later."""
    INTERRUPTED = 130
    """Ctrl-C."""


class CommandError(Exception):
    """Ends a command with `line` on stderr. `problem` is the server's RFC 9457 document, where there is one."""

    def __init__(self, line: str, code: ExitCode, problem: Mapping[str, object] | None = None) -> None:
        super().__init__(line)
        self.line = line
        self.code = code
        self.problem = problem


def usage(line: str) -> CommandError:
    """The command line is wrong."""
    return CommandError(line, ExitCode.USAGE)
