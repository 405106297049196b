"""A failpoint kills nobody who did not ask for it, and is not there when it is not armed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.program import Program

from hookline.testing.failpoints import POINTS, Failpoint

PUT_TOGETHER = """
import asyncio, sys
from hookline import compose
from hookline.settings import load_settings

async def main():
    listeners = compose.bind("127.0.0.1", 0)
    program = compose.Program(load_settings(), listeners)
    armed = "hookline.testing.failpoints" in sys.modules
    print(type(program.store).__name__, type(program.engine.senders["http"]).__name__, armed)
    for listener in listeners:
        listener.close()
    program.logs.close()

asyncio.run(main())
"""


def refused(program: Program) -> str:
    """What it says when it does not start: one line."""
    program.launch()
    assert program.end() not in {0, -9}
    said = program.log()
    assert said.count("\n") == 1, said
    return said


def test_armed_without_testing_it_refuses_to_start(tmp_path: Path) -> None:
    """A failpoint that was left in an environment is named, and nothing is served."""
    assert "HOOKLINE_TESTING=1" in refused(Program(tmp_path, failpoint="after_claim:kill"))
    assert "HOOKLINE_FAILPOINT" in refused(Program(tmp_path / "2", failpoint="after_claim:kill", testing="0"))


def test_what_is_no_failpoint_refuses_to_start(tmp_path: Path) -> None:
    """A point that does not exist is refused with those that do."""
    said = refused(Program(tmp_path, failpoint="after_lunch:kill", testing="1"))
    assert "after_lunch" in said
    assert all(point in said for point in POINTS)


@pytest.mark.parametrize("text", ["", "after_claim", "after_claim:kill@0", "after_claim:kill@", "after_claim:raise"])
def test_what_is_no_failpoint(text: str) -> None:
    """Another action, or a hit that cannot be counted, is refused with what is allowed."""
    with pytest.raises(ValueError, match="after_claim:kill@7"):
        Failpoint.parse(text)


def test_a_failpoint_is_read() -> None:
    """Without a number it is the first hit."""
    first, seventh = Failpoint.parse("after_claim:kill"), Failpoint.parse("after_send:kill@7")
    assert (first.point, first.nth, seventh.point, seventh.nth) == ("after_claim", 1, "after_send", 7)


@pytest.mark.parametrize(
    ("failpoint", "built"),
    [("", "SqliteStore HttpSender False"), ("after_record:kill", "_AfterRecord HttpSender True")],
)
def test_not_armed_nothing_of_it_is_there(failpoint: str, built: str, tmp_path: Path) -> None:
    """Without a failpoint the program is put together from the store and the senders themselves, and the failpoints'
    module is not even loaded."""
    program = Program(tmp_path, failpoint=failpoint, testing="1")
    asked = subprocess.run(
        [sys.executable, "-c", PUT_TOGETHER], env=program.environment(), capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip() == built


def test_every_failpoint_is_documented() -> None:
    """The contributor's page has each point, in the words of the program."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [point for point, when in POINTS.items() if f"| `{point}` | {when} |" not in page] == []
