"""Tables of the command line on a narrow terminal."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys

import pytest

from hookline.cli.terminal import terminal


class _Screen(io.StringIO):
    """What is shown, on a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize("columns", [60, 110, 200])
def test_only_sentences_are_folded(monkeypatch, columns):
    """However narrow a terminal is, a time and a reason are whole in their line; what is too wide is the sentence."""
    screen = _Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((columns, 40)))
    row = {"at": "2026-11-30T18:47:33.924Z", "reason": "wrong signature", "detail": "no signature is made " * 4}
    terminal.table(tuple(row), [row, {**row, "reason": "stale"}], "none")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert max(len(line) for line in lines) <= columns
    assert sum(line.startswith("2026-11-30T18:47:33.924Z  wrong signature  no sig") for line in lines) == 1
    assert (len(lines) == 3) == (columns == 200)
