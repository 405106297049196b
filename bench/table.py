"""The tables: for eyes, and for Markdown (`MARKDOWN=1`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Figures

MARKDOWN = bool(os.environ.get("MARKDOWN"))


@dataclass(frozen=True)
class Line:
    """One row of the main table."""

    name: str
    figures: Figures


@dataclass(frozen=True)
class Target:
    """Something that is asked."""

    what: str
    asked: str
    reached: str
    holds: bool


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: the first column to the left, the others to the right."""
    print()
    if MARKDOWN:
        print("| " + " | ".join(head) + " |")
        print("|---" + "|---:" * (len(head) - 1) + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print(flush=True)
        return
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    print(flush=True)


def rate(value: float) -> str:
    """Of something in a second; empty for nothing."""
    return f"{value:,.0f}" if value else ""


def pair(first: float, second: float) -> str:
    """Two latencies in ms; empty for none."""
    return f"{first:.1f} / {second:.1f}" if first or second else ""


def print_table(lines: Sequence[Line], bare: Figures) -> None:
    """The one table: every row beside the bare client of the same run."""
    head = (
        "",
        "accepted/s",
        "delivered/s",
        "of bare",
        "CPU µs/event",
        "× bare",
        "events/commit",
        "publish p50 / p99 ms",
        "end to end p50 / p99 ms",
    )
    rows = []
    for line in lines:
        f = line.figures
        rows.append(
            (
                line.name,
                rate(f.accepted_s),
                rate(f.delivered_s),
                f"{(f.delivered_s or f.accepted_s) / bare.delivered_s:.1%}",
                f"{f.cpu_us:.1f}",
                f"{f.cpu_us / bare.cpu_us:.2f}",
                f"{f.events_per_commit:.1f}" if f.events_per_commit else "",
                pair(f.publish_p50_ms, f.publish_p99_ms),
                pair(f.e2e_p50_ms, f.e2e_p99_ms),
            )
        )
    print_rows(head, rows)


def print_targets(targets: Sequence[Target]) -> None:
    """What is asked and what was reached. Nothing fails for a speed that was not reached."""
    rows = [(t.what, t.asked, t.reached, "yes" if t.holds else "no") for t in targets]
    print_rows(("target", "asked", "reached", ""), rows)
