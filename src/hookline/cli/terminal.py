"""What commands print: tables and records for people, JSON for programs, and nothing that can steer a terminal.

Texts from outside (an event's subject, a receiver's answer) are shown with what is not printable escaped.
Without a terminal there are no colours and lines are as long as they need to be.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_NOT_FOR_TERMINALS: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_WIDE: Final = 100_000
_FOLDED: Final = frozenset(
    {"url", "description", "subject", "source", "event_types", "help", "value", "from", "detail", "problem", "what"}
)
"""Columns that may be folded on a narrow terminal; ids, states and times never are."""
_FOLDED_MIN: Final = 12
STATE_STYLES: Final[Mapping[str, str]] = {
    "delivered": "green",
    "active": "green",
    "enforce": "green",
    "pending": "yellow",
    "leased": "cyan",
    "held": "magenta",
    "unconfirmed": "cyan",
    "failing": "red",
    "failed": "red",
    "disabled": "red",
    "paused": "yellow",
    "discarded": "dim",
}


class Terminal:
    """What all commands of this call share: how to print, and where the server is."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start of a call."""
        self.json = False
        self.debug = False
        self.server: str | None = None
        self.tenant: str | None = None

    def document(self, value: object) -> None:
        """One JSON document, indented when a person reads it."""
        out(json_text(value, indent=2 if sys.stdout.isatty() else None))

    def say(self, line: str) -> None:
        """A sentence on stdout; nothing in JSON mode, whose answer is the document."""
        if not self.json:
            out(printable(line))

    def done(self, answer: object, line: str) -> None:
        """What was done: a sentence, or the server's document."""
        if self.json:
            self.document(answer)
        else:
            self.say(line)

    def note(self, line: str) -> None:
        """A sentence on stderr."""
        print(printable(line), file=sys.stderr, flush=True)

    def record(self, members: Mapping[str, object]) -> None:
        """One thing: a line per member, or the document."""
        if self.json:
            self.document(members)
            return
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for name, value in members.items():
            grid.add_row(Text(printable(name), style="bold"), _styled(cell(value)))
        grid.columns[0].no_wrap = True
        grid.columns[1].overflow = "fold"
        _show(grid)

    def table(self, columns: Sequence[str], rows: Iterable[Mapping[str, object]], empty: str) -> None:
        """Rows of things, the columns named like the members; `empty` is said when there are none."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        cells = [[_styled(cell(row.get(column))) for column in columns] for row in rows]
        for place, column in enumerate(columns):
            folds = column in _FOLDED
            # What rich takes for a column's least width is that of its longest word, also where it may not wrap.
            least = _FOLDED_MIN if folds else max((row[place].cell_len for row in cells), default=0)
            table.add_column(Text(column, style="bold"), overflow="fold", no_wrap=not folds, min_width=least)
        for row in cells:
            table.add_row(*row)
        if table.row_count:
            _show(table)
        else:
            self.note(empty)


terminal = Terminal()
"""Of this call of the program."""


class ReaderGone(Exception):
    """Nobody reads stdout any more, as behind `| head`: the command is over, and that is no error."""


def out(text: str) -> None:
    """Print to stdout. Raises `ReaderGone`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise ReaderGone from None


def _show(table: Table) -> None:
    """Print a table: on a terminal in its width, but never with an id cut; elsewhere as wide as needed."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(file=sys.stdout, width=_WIDE, highlight=False, markup=False, emoji=False)
    if sys.stdout.isatty():
        least = Measurement.get(console, console.options, table).minimum
        console.width = max(shutil.get_terminal_size().columns, least)
    with console.capture() as captured:
        console.print(table)
    out("\n".join(line.rstrip() for line in captured.get().splitlines()))


def json_text(value: object, indent: int | None = None) -> str:
    """JSON in which everything that a terminal could obey is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_FOR_TERMINALS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def printable(text: str) -> str:
    """The text with everything that is not printable escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    return json_text(value)


def _styled(text: str) -> Text:
    from rich.text import Text

    return Text(text, style=STATE_STYLES.get(text, ""))
