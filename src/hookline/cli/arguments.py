"""Arguments that several commands take, and how they are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from hookline.cli.exits import usage

Limit = Annotated[int, typer.Option(min=0, help="At most so many rows; 0: all.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only from this time on (RFC 3339).")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only before this time (RFC 3339).")]


def read_bytes(argument: str) -> bytes:
    """What an argument says: itself, `@file` what is in the file, `-` what comes on stdin."""
    if argument == "-":
        return sys.stdin.buffer.read()
    if argument.startswith("@"):
        try:
            return Path(argument[1:]).read_bytes()
        except OSError as error:
            raise usage(f"{argument[1:]} cannot be read: {error.strerror}") from None
    return argument.encode("utf-8", "surrogateescape")


def read_json(argument: str, what: str) -> tuple[bytes, Any]:
    """The same as JSON: the bytes as they are, and the value."""
    data = read_bytes(argument)
    try:
        return data, json.loads(data)
    except ValueError as error:
        raise usage(f"{what} is not JSON: {error}") from None


def read_object(argument: str, what: str) -> dict[str, Any]:
    """The same, where only an object will do."""
    _, value = read_json(argument, what)
    if not isinstance(value, dict):
        raise usage(f"{what} must be a JSON object")
    return value


def pairs(items: list[str] | None, separator: str, what: str) -> dict[str, str]:
    """`name=value` (or `name: value`) arguments."""
    result = {}
    for item in items or ():
        name, found, value = item.partition(separator)
        if not found or not name.strip():
            raise usage(f"{what} {item!r} is not written as name{separator}value")
        result[name.strip()] = value.strip()
    return result


def somebody_there() -> bool:
    """Whether there is a person who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def path(*parts: str) -> str:
    """A path of the API; ids and names from the command line cannot leave their place in it."""
    return "/v1/" + "/".join("%2E" * len(part) if part in (".", "..") else quote(part, safe="") for part in parts)
