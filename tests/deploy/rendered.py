"""What the files of deploy/ say, and what of it the program must agree to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hookline.settings import KNOBS, PREFIX, load_settings
from tests.arch import shell

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SAMPLES = {
    "POSTGRES_PASSWORD": "secret",
    "RABBITMQ_PASSWORD": "secret",
    "HOOKLINE_KEY": "hl_0123456789abcdef",
    "HOOKLINE_SECRET_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "HOOKLINE_PUBLIC_URL": "https://hooks.example.com",
}
"""What an operator sets."""
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::?([?-])([^}]*))?\}")


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """A text with its `${VARIABLES}` as compose puts them in. Raises KeyError for one that must be set."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        if given.get(name):
            return given[name]
        if how == "?":
            raise KeyError(name)
        return rest if how == "-" and rest else ""

    return _VARIABLE.sub(value, text)


def check_settings(environment: Mapping[str, str], folder: Path) -> None:
    """Raise unless the program takes these settings as they are: each known, each value allowed, all of them together.
    Others than its own (no prefix) are none of its business."""
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    unknown = [name for name in ours if name.removeprefix(PREFIX).lower() not in KNOBS]
    assert unknown == []
    load_settings(ours, directory=folder)


def check_command(words: Sequence[str]) -> None:
    """Fail unless the program has this command line."""
    assert shell.parse(["hookline", *words]) == "", words


def unit(path: Path) -> dict[str, list[str]]:
    """A systemd unit: what each name is set to, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def environment_of(found: Mapping[str, list[str]], number: str) -> dict[str, str]:
    """What `Environment=` sets, for the instance of this number."""
    lines = [word for line in found["Environment"] for word in shlex.split(line)]
    return {
        name: value.replace("%i", number).replace("%H", "machine-1")
        for name, _, value in (line.partition("=") for line in lines)
    }


def pairs(environment: Any) -> dict[str, str]:
    """A service's environment in either of its forms."""
    if isinstance(environment, list):
        return dict(line.split("=", 1) for line in environment)
    return {name: str(value) for name, value in (environment or {}).items()}
