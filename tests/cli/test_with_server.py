"""The command line against the real program: what it promises works, from serve to the last delivery."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def sink(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`hookline sink --json` and its address."""
    command = [sys.executable, "-m", "hookline", "sink", "--json", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stderr.readline().split(";")[0].removeprefix("listening on ")
    finally:
        process.kill()
        process.communicate()


def until(cli, state: str, *line: str) -> dict:
    """The first row of a list of deliveries once it is in a state, within some seconds."""
    end_s = time.monotonic() + 30
    while True:
        rows = cli("deliveries", "ls", "--json", *line).json["data"]
        if rows and rows[0]["state"] == state:
            return rows[0]
        assert time.monotonic() < end_s, rows
        time.sleep(0.05)


def test_an_event_reaches_a_sink_that_verifies_it(cli, server, tmp_path):
    """Endpoint made, secret fetched, event sent, delivered on the second try, looked at, replayed: in words alone."""
    endpoint = cli("endpoints", "create", "http://127.0.0.1:1/", "-t", "box.*", "--uid", "boxes", "--json").json
    assert endpoint["state"] == "active"
    secret = cli("endpoints", "secret", "boxes").out.strip()
    with sink("--secret", secret, "--fail", "1") as (process, url):
        changed = cli("endpoints", "update", "boxes", "--url", f"{url}/hook", "--retry", '{"schedule_s": [0.2]}')
        assert changed.out == f"{endpoint['id']} changed\n"
        event = cli("send", "box.sent", '{"n":  1.50}', "--subject", "p-1", "--json").json
        assert event["deliveries"] == 1
        row = until(cli, "delivered", "--event", event["id"])
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert (first["answered"], second["answered"], second["signature"]) == (500, 204, "valid")
        assert '"data":{"n":  1.50}' in second["body"]
        attempts = cli("deliveries", "attempts", row["id"], "--json").json["data"]
        assert [(a["status"], a["reason"]) for a in attempts] == [(500, "server_error"), (204, None)]
        assert "server_error" in cli("deliveries", "attempts", row["id"]).out
        assert cli("deliveries", "get", row["id"], "--json").json["attempts"] == 2
        replayed = cli("events", "replay", event["id"], "--endpoint", "boxes", "--json").json
        assert replayed["deliveries"] == 1
        assert json.loads(process.stdout.readline())["webhook_id"] == event["id"]
    assert cli("events", "get", event["id"], "--json").json["data"] == {"n": 1.5}
    assert event["id"] in cli("events", "ls", "--type", "box.sent").out
    assert "boxes" in cli("endpoints", "ls").out


def test_what_fails_is_retried_and_discarded_by_hand(cli, server):
    """A dead letter is listed with its reason, opened again, and discarded."""
    cli("endpoints", "create", "http://127.0.0.1:1/", "-t", "dead.*", "--uid", "dead", "--retry", '{"schedule_s": [0]}')
    cli("send", "dead.letter", "{}")
    row = until(cli, "failed", "--endpoint", "dead")
    assert row["reason"] == "connect"
    assert cli("deliveries", "retry", row["id"]).out == f"{row['id']} is due again\n"
    until(cli, "failed", "--endpoint", "dead")
    assert cli("deliveries", "discard", row["id"]).code == 0
    assert cli("deliveries", "discard", row["id"]).code == 1
    assert until(cli, "discarded", "--endpoint", "dead")["id"] == row["id"]


def test_pause_rotate_and_delete(cli, server):
    """An endpoint is paused, resumed, given a new secret, and deleted."""
    created = cli("endpoints", "create", "http://127.0.0.1:1/", "-t", "x.*", "--uid", "short-lived", "--json").json
    assert cli("endpoints", "pause", "short-lived").code == 0
    assert cli("endpoints", "get", created["id"], "--json").json["state"] == "paused"
    assert cli("endpoints", "resume", "short-lived").code == 0
    before = cli("endpoints", "secret", "short-lived").out
    rotated = cli("endpoints", "rotate", "short-lived", "--overlap-s", "60", "--json").json
    assert cli("endpoints", "secret", "short-lived").out.strip() == rotated["secret"] != before.strip()
    assert cli("endpoints", "delete", "short-lived").code == 0
    assert cli("endpoints", "get", "short-lived").code == 1


def test_the_catalogue(cli, server):
    """An event type is made, changed, enforced and deleted."""
    schema = '{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}'
    put = ["event-types", "put", "count.made"]
    assert cli(*put, "--schema", schema, "--description", "d").out == "count.made created\n"
    ended = cli("send", "count.made", '{"n": "x"}')
    assert ended.code == 1
    assert "schema_violation" in ended.err
    assert "/n" in ended.err
    assert cli(*put, "--mode", "off").out == "count.made changed\n"
    assert cli("send", "count.made", '{"n": "x"}').code == 0
    assert cli("event-types", "get", "count.made", "--json").json["mode"] == "off"
    assert "count.made" in cli("event-types", "ls").out
    assert cli("event-types", "delete", "count.made").code == 0
    assert cli("event-types", "get", "count.made").code == 1


def test_repeats_are_recognised(cli, server):
    """The same id, and the same Idempotency-Key, make one event."""
    first = cli("send", "once.only", "{}", "--id", "1", "--source", "/cli", "--json").json
    assert first["id"] in cli("send", "once.only", "{}", "--id", "1", "--source", "/cli").out
    again = cli("send", "once.only", "{}", "--idempotency-key", "k", "--json").json
    assert cli("send", "once.only", "{}", "--idempotency-key", "k", "--json").json == again


def test_any_payload_is_kept_as_it_is(cli, server, tmp_path):
    """XML sent from a file is a CloudEvent whose subject and bytes come back unchanged."""
    (tmp_path / "a.xml").write_bytes(b"<a>\xff</a>")
    options = ["--content-type", "application/xml", "--subject", "Grüße 100%", "--ordering-key", "k 1"]
    sent = cli("send", "doc.made", f"@{tmp_path}/a.xml", *options, "--json")
    event = cli("events", "get", sent.json["id"], "--json").json
    assert (event["content_type"], event["subject"], event["ordering_key"]) == ("application/xml", "Grüße 100%", "k 1")
    assert event["data_base64"] == "PGE+/zwvYT4="


def test_refusals_of_the_server_are_exit_codes(cli, server, monkeypatch):
    """A refused address is 1, a wrong key 4, and both say why."""
    ended = cli("endpoints", "create", "http://10.0.0.1/")
    assert ended.code == 1
    assert "address_refused" in ended.err
    monkeypatch.setenv("HOOKLINE_KEY", "not the right key")
    assert cli("events", "ls").code == 4


def test_openapi_is_the_servers_own(cli, server):
    """The document is OpenAPI 3.1 and knows the routes that the commands use."""
    document = cli("openapi").json
    assert document["openapi"].startswith("3.1")
    assert {"/v1/events", "/v1/endpoints", "/v1/deliveries"} <= document["paths"].keys()


def test_serve_keeps_its_keys_to_itself(start_server, tmp_path):
    """The first start creates both keys with mode 0600, shows the operator's once, and ends with 0 on SIGTERM."""
    with start_server(tmp_path) as server:
        for name in ("hookline.key", "hookline.secret"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert server.log.count(server.key) == 1
        assert server.stop() == 0
    with start_server(tmp_path) as server:
        assert server.key not in server.log
        assert (tmp_path / "hookline.secret").read_text().strip() not in server.log
        assert server.stop() == 0


def test_a_second_server_on_the_same_file_refuses(start_server, tmp_path):
    """One process writes a database; another ends with 1 and one line."""
    with start_server(tmp_path) as server:
        command = [sys.executable, "-m", "hookline", "serve", "--port", "0"]
        second = subprocess.run(
            command, cwd=tmp_path, env=server.environment, capture_output=True, text=True, timeout=20, check=False
        )
    assert second.returncode == 1
    assert second.stderr.startswith("hookline: ")
    assert "Traceback" not in second.stderr


def test_a_lost_secret_key_refuses_to_start(start_server, tmp_path):
    """A database without its secret key is not opened with a new one."""
    with start_server(tmp_path) as server:
        assert server.stop() == 0
    (tmp_path / "hookline.secret").unlink()
    command = [sys.executable, "-m", "hookline", "serve", "--port", "0"]
    again = subprocess.run(
        command, cwd=tmp_path, env=server.environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert again.returncode == 2
    assert "hookline.secret (HOOKLINE_SECRET_KEY_FILE) is missing" in again.stderr
    assert not (tmp_path / "hookline.secret").exists()


def test_migrate_shows_and_makes_the_schema(cli, monkeypatch, tmp_path):
    """Before the first start there is nothing; `up` makes the schema, and `status` says so."""
    monkeypatch.chdir(tmp_path)
    assert cli("migrate", "status").code == 1
    assert list(tmp_path.iterdir()) == []
    assert cli("migrate", "up").code == 0
    ended = cli("migrate", "status", "--json")
    assert ended.code == 0
    assert all(row["applied"] for row in ended.json["data"])
    assert cli("migrate", "up").err == "The database is up to date.\n"


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b""])
def test_migrate_of_something_else_is_one_line(cli, monkeypatch, tmp_path, content):
    """A file that is no database is left alone and named; an empty one has no migrations yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hookline.db").write_bytes(content)
    ended = cli("migrate", "status")
    assert ended.code == 1
    assert ended.err.count("\n") <= 1
    assert "Traceback" not in ended.err
