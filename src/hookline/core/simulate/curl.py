"""A request as a `curl` command for a POSIX shell, that sends the same bytes."""

from __future__ import annotations

import base64
from typing import Final

from hookline.core.simulate.simulation import Simulated

OWN_HEADERS: Final = ("accept", "user-agent", "content-type")
"""That curl adds of its own, unless it is told not to."""


def curl(request: Simulated) -> str:
    """The command, on several lines. A body with bytes that a terminal would change when they are pasted is piped in
    from base64."""
    body = request.body
    as_text = _pasteable(body)
    words = [f"curl --silent --show-error --include --globoff --path-as-is --request {request.method}"]
    words += [f"--header {_header(name, value)}" for name, value in request.headers]
    sent = {name.lower() for name, _ in request.headers}
    words += [f"--header '{name}:'" for name in OWN_HEADERS if name not in sent]
    before = ""
    if body:
        words.append("--header 'expect:'")
        words.append(f"--data-raw {_quoted(as_text)}" if as_text is not None else "--data-binary @-")
        if as_text is None:
            before = f"printf %s {base64.b64encode(body).decode('ascii')} | base64 -d | "
    words.append(_quoted(request.url))
    return before + " \\\n  ".join(words)


def _header(name: str, value: str) -> str:
    """One word for a header, whose value has one character for each byte."""
    line = f"{name}: {value}" if value else f"{name};"
    octets = line.encode("latin-1")
    try:
        return _quoted(octets.decode("utf-8"))
    except UnicodeDecodeError:
        octal = "".join(f"\\{byte:03o}" for byte in octets)
        return f"\"$(printf '{octal}')\""


def _quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _pasteable(body: bytes) -> str | None:
    """The body as text, when a terminal takes every character of it as it is."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(letter == "\n" or letter.isprintable() for letter in text) else None
