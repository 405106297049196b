"""`hookline replay` and `hookline replays`: what they ask, and what they print."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.cli import replay_progress

COUNTED = {"dry_run": True, "matched": 1234, "would_replay": 1200, "complete": True}


def row(state: str = "running", **changes: Any) -> dict[str, Any]:
    """A replay as the API shows it."""
    return {
        "id": "rpl_1", "state": state, "of": "deliveries", "filter": {"state": "failed"}, "endpoint_id": None,
        "rate": None, "examined": 0, "replayed": 0, "skipped": 0, "progress": 0.0, "waits_for": None, "detail": None,
        "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z", **changes,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks without waiting in between."""
    monkeypatch.setattr(replay_progress, "POLL_S", 0.0)


class Typed(io.StringIO):
    """A terminal at which this is typed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Somebody sits at the terminal and types."""

    def types(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Typed(text))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    return types


def test_what_failed_is_asked_for_and_followed(cli, script):
    """Without further words the failed ones are replayed, and the command ends when the replay does."""
    script.on("POST", "/v1/replays", row(), 202)
    for state in (row(progress=0.5, replayed=600), row("done", progress=1.0, replayed=1200, skipped=34)):
        script.on("GET", "/v1/replays/rpl_1", state)
    ended = cli("replay", "--yes")
    assert (ended.code, ended.out) == (0, "rpl_1 is done: 1,200 replayed, 34 skipped\n")
    assert script.asked[0].json == {
        "of": "deliveries", "filter": {"state": "failed"}, "endpoint_id": None, "rate": None
    }  # fmt: skip


def test_every_option_is_a_member(cli, script):
    """Options are the members of the API's document; `any` state is no filter; --json prints what the API says."""
    script.on("POST", "/v1/replays", row("done"), 202)
    ended = cli(
        "replay", "--of", "events", "--state", "any", "--endpoint", "shop", "--event", "evt_1", "--reason", "timeout",
        "--type", "order.paid", "--source", "/s", "--source-id", "7", "--subject", "x",
        "--since", "2026-01-01T00:00:00Z", "--to", "new", "--rate", "100/2", "-y", "--json",
    )  # fmt: skip
    assert ended.json["state"] == "done"
    assert script.asked[0].json == {
        "of": "events",
        "filter": {
            "endpoint": "shop", "event": "evt_1", "reason": "timeout", "type": "order.paid", "source": "/s",
            "source_id": "7", "subject": "x", "since": "2026-01-01T00:00:00Z",
        },
        "endpoint_id": "new",
        "rate": {"n": 100, "per_s": 2.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_relative_times(cli, script, text, ago):
    """How long ago becomes the time that it was."""
    script.on("POST", "/v1/replays", COUNTED)
    assert cli("replay", "--since", text, "--dry-run").code == 0
    given = datetime.fromisoformat(script.asked[0].json["filter"]["since"])
    assert abs(datetime.now(UTC) - ago - given) < timedelta(seconds=20)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5", {"n": 5, "per_s": 1.0}),
        ("100/0.5", {"n": 100, "per_s": 0.5}),
        ('{"n": 1, "burst": 3}', {"n": 1, "burst": 3}),
    ],
)
def test_rates(cli, script, text, rate):
    """A rate is written as how many in how many seconds, or as the API has it."""
    script.on("POST", "/v1/replays", COUNTED)
    cli("replay", "--rate", text, "--dry-run")
    assert script.asked[0].json["rate"] == rate


def test_a_dry_run_only_counts(cli, script):
    """It says how many, also with --yes, and where it could not count them all it says so."""
    script.on("POST", "/v1/replays", COUNTED)
    script.on("POST", "/v1/replays", {**COUNTED, "complete": False})
    assert cli("replay", "--dry-run", "--yes").out == "1,234 found, 1,200 to be delivered again\n"
    least = "at least 1,234 found, at least 1,200 to be delivered again\n"
    assert cli("replay", "--dry-run").out == least
    assert all(asked.json["dry_run"] for asked in script.asked)


def test_a_person_is_asked(cli, script, typed):
    """On a terminal the number is shown and confirmed first; no is no, and nothing is begun."""
    script.on("POST", "/v1/replays", COUNTED)
    typed("n\n")
    ended = cli("replay")
    assert (ended.code, ended.out) == (0, "")
    assert "1,234 found, 1,200 to be delivered again. Deliver them again? [y/N] " in ended.err
    assert len(script.asked) == 1


def test_a_person_agrees_and_sees_a_bar(cli, script, typed):
    """Yes begins it; while it runs there is a bar with what was done and what it waits for."""
    script.on("POST", "/v1/replays", COUNTED)
    script.on("POST", "/v1/replays", row(), 202)
    script.on("GET", "/v1/replays/rpl_1", row(progress=0.5, replayed=600, waits_for="ep_1 has much to do."))
    script.on("GET", "/v1/replays/rpl_1", row("done", replayed=1200))
    typed("y\n")
    ended = cli("replay")
    assert (ended.code, ended.out) == (0, "rpl_1 is done: 1,200 replayed, 0 skipped\n")
    assert "replayed, 0 skipped" in ended.err


def test_nothing_to_do_is_not_asked(cli, script, typed):
    """Where nothing would be replayed nothing is begun."""
    script.on("POST", "/v1/replays", {**COUNTED, "would_replay": 0})
    typed("")
    ended = cli("replay")
    assert (ended.code, ended.out) == (0, "1,234 found, 0 to be delivered again\n")
    assert len(script.asked) == 1


@pytest.mark.parametrize("line", [(), ("--rate", "fast", "--yes"), ("--rate", "[1]", "--yes")])
def test_wrong_lines_ask_nothing(cli, script, line):
    """Without a terminal and without --yes, or with a rate that is none, nothing is sent."""
    ended = cli("replay", *line)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert script.asked == []


def test_detached(cli, script):
    """--detach says how to follow and to stop it, and does not wait."""
    script.on("POST", "/v1/replays", row(), 202)
    ended = cli("replay", "--yes", "--detach")
    assert ended.out == (
        "rpl_1 has begun. Follow it: hookline replays follow rpl_1; stop it: hookline replays cancel rpl_1\n"
    )
    assert len(script.asked) == 1


@pytest.mark.parametrize("json_flag", [(), ("--json",)])
def test_one_that_failed_or_was_canceled(cli, script, json_flag):
    """The exit code says that it is not done, and the line why."""
    script.on("POST", "/v1/replays", row("failed", detail="The endpoint ep_1 was deleted."), 202)
    ended = cli("replay", "--yes", *json_flag)
    assert ended.code == 1
    assert "The endpoint ep_1 was deleted." in ended.err
    assert ("ep_1" in ended.out) == bool(json_flag)


def test_a_server_that_restarts_is_waited_for(cli, script):
    """A server that is away for a moment does not end the following."""
    script.on("POST", "/v1/replays", row(), 202)
    script.on("GET", "/v1/replays/rpl_1", {"code": "draining", "detail": "The server is stopping."}, 503)
    script.on("GET", "/v1/replays/rpl_1", row("done", replayed=1))
    assert cli("replay", "--yes").out == "rpl_1 is done: 1 replayed, 0 skipped\n"


def test_a_server_that_stays_away_is_not(cli, script, monkeypatch):
    """After a minute it is given up, with the exit code that fits."""
    monkeypatch.setattr(replay_progress, "AWAY_S_MAX", 0.0)
    script.on("POST", "/v1/replays", row(), 202)
    script.on("GET", "/v1/replays/rpl_1", {"code": "draining", "detail": "The server is stopping."}, 503)
    assert cli("replay", "--yes").code == 5


def test_ctrl_c_ends_the_looking_only(cli, script, monkeypatch):
    """Ctrl-C says how to follow and to stop the replay, and asks nothing of the server."""

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replay_progress.time, "sleep", interrupted)
    script.on("POST", "/v1/replays", row(), 202)
    ended = cli("replay", "--yes")
    assert ended.code == 130
    assert "hookline replays cancel rpl_1" in ended.err
    assert [asked.method for asked in script.asked] == ["POST"]


def test_looking_at_replays(cli, script):
    """They are listed, shown, followed and canceled by their ids."""
    script.on("GET", "/v1/replays", {"data": [row("done", replayed=5)], "next": None})
    script.on("GET", "/v1/replays/rpl_1", row("done", replayed=5))
    script.on("POST", "/v1/replays/rpl_1/cancel", row("canceled", replayed=2))
    assert cli("replays", "ls").out.splitlines()[1].split()[:2] == ["rpl_1", "done"]
    assert cli("replays", "list", "--json").json["data"][0]["replayed"] == 5
    assert cli("replays", "show", "rpl_1", "--json").json == row("done", replayed=5)
    assert cli("replays", "follow", "rpl_1").out == "rpl_1 is done: 5 replayed, 0 skipped\n"
    assert cli("replays", "cancel", "rpl_1").out == "rpl_1 is canceled: 2 were replayed\n"
    assert cli("replays", "get", "rpl_2").code == 1
