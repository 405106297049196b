"""Documentation: whatever the program has is on a page, and no page has what the program has not."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from tests.arch import reference
from tests.arch.tree import ROOT, project_files

from hookline.core.endpoint import EndpointSpec

DOCS = ROOT / "docs"
TABLES = {
    "settings": reference.setting_rows,
    "reasons": reference.reason_rows,
    "operational-events": reference.operational_rows,
    "metrics": reference.metric_rows,
}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHORED = re.compile(r"\]\(([^)#\s]*)#([^)]+)\)")


def page(name: str) -> str:
    """A reference page."""
    return (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


def coded_rows(text: str) -> list[str]:
    """The rows of its tables that begin with something in code."""
    return [line for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_program_is_its_page(name: str):
    """The page has exactly the rows of the program's own table, word for word."""
    assert coded_rows(page(name)) == TABLES[name]()


def test_every_error_code_is_explained():
    """Each problem code has a row with its status and a meaning, and no row is of a code that is none."""
    rows = coded_rows(page("errors"))
    starts = reference.error_starts()
    assert [row[: len(start)] for row, start in zip(rows, starts, strict=True)] == starts
    assert [row for row, start in zip(rows, starts, strict=True) if len(row) < len(start) + 10] == []


def test_every_command_is_documented():
    """Each command has a section with its help and its options, in their words."""
    sections = dict(re.findall(r"^## (hookline[^\n]*)\n(.*?)(?=^## |\Z)", page("cli"), re.MULTILINE | re.DOTALL))
    wanted = reference.command_sections()
    assert set(sections) == set(wanted)
    missing = {name: [line for line in lines if line not in sections[name]] for name, lines in wanted.items()}
    assert {name: lines for name, lines in missing.items() if lines} == {}


def test_every_route_is_documented():
    """Each operation of the OpenAPI document has its row, and each other path is named."""
    text = page("api")
    rows = [row for row in coded_rows(text) if re.match(r"\| `[A-Z]+` \| `/", row)]
    wanted = reference.route_rows()
    assert [row for row in wanted if row not in rows] == []
    extra = {"/metrics", "/openapi.json", "/docs"}
    assert {re.findall("`([^`]*)`", row)[1] for row in rows if row not in wanted} == extra
    named = {re.findall("`([^`]*)`", row)[1] for row in rows}
    paths = {path.replace(":path}", "}") for path in reference.routes()}
    assert {path for path in paths if path not in named and not path.startswith("/docs/")} == set()


def test_every_member_of_an_endpoint_is_documented():
    """Each member that an endpoint can have is in the table of its members."""
    named = {name for row in coded_rows(page("api")) for name in re.findall(r"`([a-z_]+)`", row.split(" | ")[0])}
    assert {field.name for field in msgspec.structs.fields(EndpointSpec)} - named == set()


def sections(text: str) -> dict[str, list[str]]:
    """The rows in code of each section of a page, by its heading."""
    found = re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {heading: coded_rows(inside) for heading, inside in found}


def test_every_name_of_the_kit_is_documented():
    """Each public name of the receiver kit has its row, word for word, and no row is of a name that is none."""
    found = sections(page("sdk"))
    outcomes, errors = found.pop("Outcomes"), found.pop("Errors")
    assert found == reference.kit_sections()
    assert outcomes == reference.outcome_rows()
    starts = [f"| `{reason}` | `{name}` | " for reason, name in reference.kit_reasons().items()]
    assert [row[: len(start)] for row, start in zip(errors, starts, strict=True)] == starts


def test_the_code_of_the_kits_page_is_code():
    """Each piece of Python in the page can be compiled, and what it imports is there."""
    text = (DOCS / "how-to" / "receive-in-your-application.md").read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(pieces) == 4
    for piece in pieces:
        compile(piece, "page", "exec")
        exec("\n".join(line for line in piece.splitlines() if line.startswith("from ")), {})


def test_every_link_leads_somewhere():
    """Each relative link of a page leads to a file of the project."""
    broken = []
    for path in project_files():
        if path.suffix != ".md":
            continue
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors(path: Path) -> set[str]:
    """What can stand behind `#` in a link to a page: its headings, as they are made into anchors."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def test_every_anchor_is_a_heading():
    """Each link into a page leads to a heading that is there."""
    broken = []
    for path in project_files():
        if path.suffix != ".md":
            continue
        for target, anchor in ANCHORED.findall(path.read_text(encoding="utf-8")):
            there = path.parent / target if target else path
            if not re.match(r"[a-z]+:", target) and there.suffix == ".md" and anchor not in anchors(there):
                broken.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert broken == []


def test_every_page_is_reachable_from_the_readme():
    """Whoever begins at the README finds every page of the documentation by links."""
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        path = todo.pop().resolve()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        targets = LINK.findall(path.read_text(encoding="utf-8"))
        todo += [path.parent / target for target in targets if not re.match(r"[a-z]+:", target)]
    assert {str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md")} - {
        str(path.relative_to(ROOT)) for path in seen if path.is_relative_to(ROOT)
    } == set()


def test_decisions_are_numbered_without_gaps():
    """Decisions are numbered from 0001 on, each number once."""
    numbers = sorted(path.name[:4] for path in (DOCS / "decisions").glob("*.md"))
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]


def test_the_rules_are_thirty():
    """The rules that the code refers to by number are there, each once and with its status."""
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^([0-9]+)\. ", text, re.MULTILINE)] == list(range(1, 31))
    assert text.count("**Status:**") == 30
    referred = {
        int(number)
        for path in project_files()
        if path.suffix == ".py"
        for numbers in re.findall(r"reliability\.md,?\s+rules? ([0-9]+(?:(?:, | and )[0-9]+)*)", path.read_text())
        for number in re.findall("[0-9]+", numbers)
    }
    assert referred
    assert referred <= set(range(1, 31))
