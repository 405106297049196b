"""The command lines of a page: what stands in its `sh` blocks, as a shell would take it apart."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any

BLOCK = re.compile(r"^```(?:ba)?sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'?([A-Z]+)'?\s*$")
ENDS = frozenset({"|", "||", "&&", "&", ";", "(", ")"})
REDIRECTIONS = frozenset({">", ">>", "<", "<<", ">&", "&>"})


def commands(text: str) -> Iterator[list[str]]:
    """Every simple command in the `sh` blocks of a page, in words. Quotes, comments, continued lines and texts of many
    lines are understood; variables stay as they are written, redirections and assignments go."""
    for block in BLOCK.findall(text):
        for line in _whole_lines(block):
            yield from _simple(_words(line))


def _whole_lines(block: str) -> Iterator[str]:
    """Lines as a shell reads them: continued ones together, a quote with its end, without the text of a heredoc."""
    held, ends = "", ""
    for line in block.splitlines():
        if ends:
            ends = "" if line == ends else ends
            continue
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        held += line
        try:
            _words(held)
        except ValueError:  # the quote is closed in a later line
            held += "\n"
            continue
        found = HEREDOC.search(held)
        ends = found[1] if found else ""
        yield held
        held = ""
    assert not held, f"no end: {held}"


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(re.sub(r"(?<=\s)[012](?=>)", "", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)


def _simple(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skip = False
    for word in [*words, ";"]:
        if skip:
            skip = False
        elif word in ENDS:
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0], re.DOTALL):
                del command[0]
            if command:
                yield command
            command = []
        elif word in REDIRECTIONS:
            skip = True
        else:
            command.append(word)


@functools.cache
def _program() -> Any:
    import typer.main

    from hookline.cli.main import app

    return typer.main.get_command(app)


def parse(words: list[str]) -> str:
    """What is wrong with a command line of `hookline`: no such command or option, an argument that is missing or of
    the wrong kind. Empty: nothing. Nothing is run."""
    from hookline.cli.main import to_the_front

    command, context = _program(), None
    name, rest = words[0], to_the_front(words[1:])
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return ""
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    except Exception as error:
        return str(getattr(error, "message", "") or error)
