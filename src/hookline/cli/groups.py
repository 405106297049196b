"""Groups of commands: what their words are, and what is understood beside them."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

ALSO: Final = {"list": "ls", "show": "get", "rotate": "rotate-secret"}
"""Words of other programs that are understood, though no help names them."""


class Group(TyperGroup):
    """A group whose commands are also found by the words of `ALSO`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; None when there is none."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALSO.get(cmd_name, cmd_name))
