"""Changing what others may change at the same time: read, change, write, and again where somebody was between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from hookline.core.errors import Conflict

TRIES: Final = 5

Row = TypeVar("Row")


async def on_the_newest(read: Callable[[], Awaitable[Row]], put: Callable[[Row], Awaitable[Row]]) -> Row:
    """What `put` stored of what `read` gave. A change of somebody else's between the two stays, and this one goes on
    top of it. Raises what both raise: `Conflict` code `conflict` only after 5 tries."""
    for tries_left in reversed(range(TRIES)):
        row = await read()
        try:
            return await put(row)
        except Conflict as conflict:
            if conflict.code != "conflict" or not tries_left:
                raise
    raise AssertionError
