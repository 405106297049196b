"""Command lines of the documentation: the program would take each of them."""

from __future__ import annotations

import pytest
from tests.arch import shell
from tests.arch.tree import ROOT

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_parses(page):
    """Each `hookline` command of a page has the commands, arguments and options that it names."""
    lines = [words for words in shell.commands(page.read_text(encoding="utf-8")) if words[0] == "hookline"]
    wrong = {" ".join(words): found for words in lines if (found := shell.parse(words))}
    assert wrong == {}


def test_a_wrong_command_line_is_found():
    """An unknown command, an unknown option, a missing argument are each found; a right line is not."""
    assert shell.parse(["hookline", "sends"])
    assert shell.parse(["hookline", "send", "--no-such-option"])
    assert shell.parse(["hookline", "endpoints", "create"])
    assert shell.parse(["hookline", "endpoints", "get", "ep_1"]) == ""


def test_a_shell_is_understood():
    """Comments, continued lines, quotes over lines, pipes, assignments, redirections and heredocs are taken apart."""
    text = """
```sh
A=1 hookline one 'x # y' \\
  --two > out   # a comment
hookline two '{"a":
  1}' | jq . && hookline three - <<'EOF'
hookline not this
EOF
```
"""
    assert list(shell.commands(text)) == [
        ["hookline", "one", "x # y", "--two"],
        ["hookline", "two", '{"a":\n  1}'],
        ["jq", "."],
        ["hookline", "three", "-"],
    ]
