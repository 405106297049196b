"""Commands that speak to a server: what they ask, what they print, how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.cli.arguments import path
from hookline.cli.terminal import json_text, printable

EVENT = {"id": "evt_1", "type": "order.created", "source": "shop", "source_id": None, "subject": "a\x1b[31mb"}


def test_a_list_is_a_table_for_people(cli, script):
    """Rows become lines with the members named on top, and what could steer a terminal is escaped."""
    script.on("GET", "/v1/events", {"data": [EVENT, {**EVENT, "id": "evt_2"}], "next": None})
    ended = cli("events", "ls")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0].split() == ["id", "type", "source", "source_id", "subject", "accepted_at"]
    assert lines[1].split() == ["evt_1", "order.created", "shop", "a\\x1b[31mb"]
    assert len(lines) == 3


def test_a_list_is_a_document_for_programs(cli, script):
    """With --json the answer is printed as it is, wherever on the line the option stands."""
    script.on("GET", "/v1/events", {"data": [EVENT], "next": "c"})
    for line in (["--json", "events", "ls"], ["events", "--json", "ls"], ["events", "ls", "--limit", "1", "--json"]):
        ended = cli(*line, *([] if "--limit" in line else ["--limit", "1"]))
        assert ended.json == {"data": [EVENT], "next": "c"}
        assert "\x1b" not in ended.out


def test_an_empty_list_says_so(cli, script):
    """No rows are no error: stdout stays empty and stderr says it."""
    script.on("GET", "/v1/deliveries", {"data": [], "next": None})
    ended = cli("deliveries", "ls", "--state", "failed")
    assert (ended.code, ended.out, ended.err) == (0, "", "No deliveries.\n")


def test_filters_are_query_parameters(cli, script):
    """What is given is asked for, and what is not given is left out."""
    script.on("GET", "/v1/deliveries", {"data": [], "next": None})
    cli("deliveries", "ls", "--state", "failed", "--endpoint", "my uid", "--reason", "timeout", "--limit", "7")
    (asked,) = script.asked
    assert asked.path == "/v1/deliveries?state=failed&endpoint=my+uid&reason=timeout&limit=7"
    assert asked.headers["authorization"] == "Bearer the key of the tests"


def test_pages_are_followed_up_to_the_limit(cli, script):
    """A list longer than a page is put together, and no more is asked for than was wanted."""
    for number in range(3):
        script.on("GET", "/v1/events", {"data": [EVENT] * 250, "next": f"c{number}"})
    ended = cli("events", "ls", "--limit", "600", "--json")
    assert len(ended.json["data"]) == 750
    assert [asked.path.partition("?")[2] for asked in script.asked] == [
        "limit=250",
        "limit=250&cursor=c0",
        "limit=100&cursor=c1",
    ]


def test_limit_zero_is_all(cli, script):
    """All pages are asked for until there is no next one."""
    script.on("GET", "/v1/events", {"data": [EVENT], "next": "c"})
    script.on("GET", "/v1/events", {"data": [EVENT], "next": None})
    assert len(cli("events", "ls", "--limit", "0", "--json").json["data"]) == 2


def test_send_splices_the_payload_in(cli, script):
    """The payload's bytes are sent as they were written, beside what the options say."""
    script.on("POST", "/v1/events", {"id": "evt_1", "deliveries": 2, "duplicate": False}, 202)
    ended = cli(
        "send", "order.created", '{"a": 1.10,  "b":"ä"}', "--id", "o1", "--source", "shop", "--idempotency-key", "k"
    )
    (asked,) = script.asked
    assert '"data": {"a": 1.10,  "b":"ä"}' in asked.body.decode()
    assert {**asked.json, "data": 0} == {"type": "order.created", "id": "o1", "source": "shop", "data": 0}
    assert asked.headers["idempotency-key"] == "k"
    assert ended.out == "evt_1 accepted, 2 deliveries\n"


def test_send_reads_files(cli, script, tmp_path):
    """@FILE is what is in the file."""
    script.on("POST", "/v1/events", {"id": "evt_1", "deliveries": 1, "duplicate": True}, 202)
    (tmp_path / "d.json").write_text('{"n": 1}')
    ended = cli("send", "t", f"@{tmp_path}/d.json")
    assert script.asked[0].json["data"] == {"n": 1}
    assert "known already" in ended.out


def test_send_any_content_type_as_a_cloudevent(cli, script, tmp_path):
    """A payload that is not JSON goes as it is, with its attributes percent-encoded in headers."""
    script.on("POST", "/v1/events", {"id": "evt_1", "deliveries": 0, "duplicate": False}, 202)
    (tmp_path / "d.xml").write_bytes(b"<a>\xff</a>")
    cli("send", "t", f"@{tmp_path}/d.xml", "--content-type", "application/xml", "--subject", "Grüße 100%")
    (asked,) = script.asked
    assert asked.body == b"<a>\xff</a>"
    assert asked.headers["content-type"] == "application/xml"
    assert asked.headers["ce-specversion"] == "1.0"
    assert asked.headers["ce-type"] == "t"
    assert asked.headers["ce-subject"] == "Gr%C3%BC%C3%9Fe%20100%25"
    assert asked.headers["ce-id"]


@pytest.mark.parametrize("payload", ["{a", '1, "id": "x"', "", "@/nonexistent/file"])
def test_a_payload_that_is_not_json_is_not_sent(cli, script, payload):
    """What would break out of the envelope or cannot be read ends with 2 before anything is asked."""
    ended = cli("send", "t", payload)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert script.asked == []


def test_endpoints_create_sends_what_is_given(cli, script):
    """Options become the members of the API, the spec fills the rest, and warnings are shown."""
    script.on("POST", "/v1/endpoints", {"id": "ep_1", "state": "active", "warnings": ["does not resolve\x07"]}, 201)
    ended = cli(
        *(
            "endpoints",
            "create",
            "https://x.example/",
            "-t",
            "order.*",
            "-t",
            "user.*",
            "--uid",
            "u",
            "--timeout-s",
            "5",
        ),
        *("--filter", '{"data.n": 1}', "-H", "x-a: b: c", "--metadata", "team=core", "--retry", '{"schedule_s": [1]}'),
        *("--spec", '{"auth": {"kind": "bearer", "token": "t"}, "uid": "other"}'),
    )
    assert ended.code == 0
    assert script.asked[0].json == {
        "url": "https://x.example/",
        "event_types": ["order.*", "user.*"],
        "uid": "u",
        "timeout_s": 5.0,
        "filter": {"data.n": 1},
        "headers": {"x-a": "b: c"},
        "metadata": {"team": "core"},
        "retry": {"schedule_s": [1]},
        "auth": {"kind": "bearer", "token": "t"},
    }
    assert ended.out == "ep_1 created, active\n"
    assert ended.err == "warning: does not resolve\\x07\n"


@pytest.mark.parametrize(
    ("url", "more", "kind"),
    [
        ("redis://r.example", (), "redis"),
        ("AMQPS://r.example", (), "rabbitmq"),
        ("tls://r.example", (), "nats"),
        ("https://r.example", (), None),
        ("redis://r.example", ("--kind", "http"), "http"),
        ("redis://r.example", ("--spec", '{"kind": "other"}'), "other"),
    ],
)
def test_the_scheme_of_a_broker_is_its_kind(cli, script, url, more, kind):
    """What is given goes before what the URL says; config and auth are JSON."""
    script.on("POST", "/v1/endpoints", {"id": "ep_1", "state": "active"}, 201)
    auth = '{"kind": "basic", "username": "u", "password": "p"}'
    assert cli("endpoints", "create", url, "--config", '{"stream": "s"}', "--auth", auth, *more).code == 0
    sent = script.asked[0].json
    assert (sent.get("kind"), sent["config"], sent["auth"]["password"]) == (kind, {"stream": "s"}, "p")


def test_endpoints_update_sends_only_what_is_given(cli, script):
    """A patch holds what is to change, and null where the spec says so."""
    script.on("PATCH", "/v1/endpoints/ep_1", {"id": "ep_1", "state": "active"})
    cli("endpoints", "update", "ep_1", "--description", "new", "--spec", '{"filter": null}')
    assert script.asked[0].json == {"description": "new", "filter": None}


def test_endpoints_ask_for_confirmation_and_name_a_dead_letter(cli, script):
    """Both options become the API's members, at creation and at a change."""
    script.on("POST", "/v1/endpoints", {"id": "ep_1", "state": "active"}, 201)
    script.on("PATCH", "/v1/endpoints/ep_1", {"id": "ep_1", "state": "active"})
    options = ("--confirm-within-s", "60", "--dead-letter", "morgue")
    assert cli("endpoints", "create", "https://x.example/", *options).code == 0
    assert cli("endpoints", "update", "ep_1", *options).code == 0
    members = {"confirm": {"within_s": 60.0}, "dead_letter": "morgue"}
    assert [asked.json for asked in script.asked] == [{"url": "https://x.example/", **members}, members]


@pytest.mark.parametrize(
    ("line", "method", "asked_path", "answer"),
    [
        ("events get evt_1", "GET", "/v1/events/evt_1", EVENT),
        ("events replay evt_1", "POST", "/v1/events/evt_1/replay", {"data": []}),
        ("deliveries get dlv_1", "GET", "/v1/deliveries/dlv_1", {"id": "dlv_1"}),
        ("deliveries attempts dlv_1", "GET", "/v1/deliveries/dlv_1/attempts", {"data": [], "next": None}),
        ("deliveries retry dlv_1", "POST", "/v1/deliveries/dlv_1/retry", {"id": "dlv_1"}),
        ("deliveries discard dlv_1", "POST", "/v1/deliveries/dlv_1/discard", {"id": "dlv_1"}),
        ("endpoints ls", "GET", "/v1/endpoints", {"data": [], "next": None}),
        ("endpoints get u", "GET", "/v1/endpoints/u", {"id": "ep_1"}),
        ("endpoints delete u", "DELETE", "/v1/endpoints/u", None),
        ("endpoints pause u", "POST", "/v1/endpoints/u/pause", {"id": "ep_1"}),
        ("endpoints resume u", "POST", "/v1/endpoints/u/resume", {"id": "ep_1"}),
        ("endpoints secret u", "GET", "/v1/endpoints/u/secret", {"secret": "whsec_x"}),
        ("endpoints rotate u", "POST", "/v1/endpoints/u/secret/rotate", {"secret": "whsec_y"}),
        ("endpoints rotate-secret u", "POST", "/v1/endpoints/u/secret/rotate", {"secret": "whsec_y"}),
        ("endpoints verify u", "POST", "/v1/endpoints/u/verify", {"id": "ep_1", "state": "active", "warnings": []}),
        ("endpoints test u", "POST", "/v1/endpoints/u/test", {"success": True}),
        ("event-types ls", "GET", "/v1/event-types", {"data": [], "next": None}),
        ("event-types get order.created", "GET", "/v1/event-types/order.created", {"name": "order.created"}),
        ("event-types delete order.created", "DELETE", "/v1/event-types/order.created", None),
        ("openapi", "GET", "/openapi.json", {"openapi": "3.1.0"}),
    ],
)
def test_each_command_asks_its_route(cli, script, line, method, asked_path, answer):
    """The command line is the API under other words, for people and for programs."""
    script.on(method, asked_path, answer, 204 if answer is None else 200)
    assert cli(*line.split()).code == 0
    assert cli(*line.split(), "--json").json == answer
    assert {(asked.method, asked.path.partition("?")[0]) for asked in script.asked} == {(method, asked_path)}


def test_put_creates_or_changes_an_event_type(cli, script):
    """A name that is taken is changed instead, with the same members."""
    script.on("POST", "/v1/event-types", {"name": "a.b"}, 201)
    script.on("POST", "/v1/event-types", {"code": "name_taken", "detail": "Taken."}, 409)
    script.on("PATCH", "/v1/event-types/a.b", {"name": "a.b"})
    assert cli("event-types", "put", "a.b", "--schema", '{"type": "object"}').out == "a.b created\n"
    assert cli("event-types", "put", "a.b", "--mode", "warn", "--example", "{}").out == "a.b changed\n"
    assert [asked.json for asked in script.asked] == [
        {"name": "a.b", "schema": {"type": "object"}},
        {"name": "a.b", "mode": "warn", "example": {}},
        {"mode": "warn", "example": {}},
    ]


@pytest.mark.parametrize(
    ("status", "code"), [(400, 1), (404, 1), (409, 1), (422, 1), (401, 4), (403, 4), (429, 5), (500, 5), (503, 5)]
)
def test_a_refusal_is_one_line_and_an_exit_code(cli, script, status, code):
    """The problem document becomes one line on stderr; the exit code says what kind of no it was."""
    problem = {"code": "some_code", "detail": "It is\nnot so.", "pointer": "/a/b", "status": status}
    script.on("GET", "/v1/events/x", problem, status)
    ended = cli("events", "get", "x")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("hookline: some_code: It is not so. (at /a/b)")
    assert ended.err.count("\n") == 1
    ended = cli("events", "get", "x", "--json")
    assert json.loads(ended.err)["problem"] == problem


def test_violations_of_a_schema_are_named(cli, script):
    """What was expected and found is in the line."""
    violations = [{"pointer": "/data/n", "expected": "integer", "found": "string"}]
    script.on("POST", "/v1/events", {"code": "schema_violation", "detail": "No.", "violations": violations}, 422)
    assert "/data/n: expected integer, found string" in cli("send", "t", "{}").err


def test_who_is_not_hookline_is_told_so(cli, script):
    """An answer that is no JSON is one line too."""
    script.on("GET", "/v1/events/x", b"<html>", 200)
    script.on("GET", "/v1/events/y", b"<html>", 502)
    assert "is this Hookline?" in cli("events", "get", "x").err
    assert cli("events", "get", "y").code == 5


def test_no_server_is_exit_code_3(cli, monkeypatch):
    """Who cannot be reached is told by address."""
    monkeypatch.setenv("HOOKLINE_URL", "http://127.0.0.1:9")
    ended = cli("events", "ls")
    assert ended.code == 3
    assert "http://127.0.0.1:9" in ended.err
    assert ended.err.count("\n") == 1


def test_no_proxy_of_the_environment_is_used(cli, script, monkeypatch):
    """The key goes to the server and to nobody else."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    script.on("GET", "/v1/endpoints", {"data": [], "next": None})
    assert cli("endpoints", "ls").code == 0


def test_the_key_comes_from_a_file_too(cli, script, monkeypatch, tmp_path):
    """Without HOOKLINE_KEY it is read from HOOKLINE_KEY_FILE, or hookline.key in the working directory."""
    script.on("GET", "/v1/endpoints", {"data": [], "next": None})
    monkeypatch.delenv("HOOKLINE_KEY")
    monkeypatch.chdir(tmp_path)
    cli("endpoints", "ls")
    (tmp_path / "hookline.key").write_text("key of the folder\n")
    cli("endpoints", "ls")
    (tmp_path / "k").write_text("key of the file\n")
    monkeypatch.setenv("HOOKLINE_KEY_FILE", str(tmp_path / "k"))
    cli("endpoints", "ls")
    monkeypatch.setenv("HOOKLINE_KEY_FILE", str(tmp_path / "gone"))
    assert cli("endpoints", "ls").code == 2
    keys = [asked.headers.get("authorization") for asked in script.asked]
    assert keys == [None, "Bearer key of the folder", "Bearer key of the file"]


def test_a_missing_key_is_explained(cli, script, monkeypatch, tmp_path):
    """A 401 says what to do about it."""
    script.on("GET", "/v1/events/x", {"code": "unauthorized", "detail": "No."}, 401)
    assert "is not this server's" in cli("events", "get", "x").err
    monkeypatch.delenv("HOOKLINE_KEY")
    monkeypatch.chdir(tmp_path)
    assert "set HOOKLINE_KEY" in cli("events", "get", "x").err


def test_server_and_tenant_may_be_said(cli, script, monkeypatch):
    """--server wins over HOOKLINE_URL, and --tenant is passed on."""
    monkeypatch.setenv("HOOKLINE_URL", "http://127.0.0.1:9")
    script.on("GET", "/v1/endpoints", {"data": [], "next": None})
    assert cli("endpoints", "ls", f"--server={script.url}/", "--tenant", "acme").code == 0
    assert script.asked[0].headers["hookline-tenant"] == "acme"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8400", "http://[::1"])
def test_a_bad_address_is_exit_code_2(cli, monkeypatch, url):
    """What is no address of a server is said before anything is tried."""
    monkeypatch.setenv("HOOKLINE_URL", url)
    ended = cli("events", "ls")
    assert ended.code == 2
    assert ended.err.count("\n") == 1


def test_debug_shows_where(cli, script):
    """With --debug the traceback is there as well."""
    assert "Traceback" not in cli("events", "get", "x").err
    assert "Traceback" in cli("--debug", "events", "get", "x").err


def test_a_reader_that_goes_away_is_no_error(script):
    """`hookline events ls | head -1` ends without a word."""
    script.on("GET", "/v1/events", {"data": [{**EVENT, "subject": "x" * 500}] * 250, "next": "c"})
    command = f"{sys.executable} -m hookline events ls --limit 1000 | head -1"
    environment = {**os.environ, "HOOKLINE_URL": script.url}
    shell = ["bash", "-o", "pipefail", "-c", command]
    ended = subprocess.run(shell, env=environment, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stderr
    assert b"pipe" not in ended.stderr.lower()


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_an_id_cannot_leave_its_place_in_the_path(parts):
    """Whatever stands for an id, it is one segment."""
    result = path(*[part.encode("utf-8", "replace").decode() for part in parts])
    assert result.startswith("/v1/")
    assert result.isascii()
    assert len(result[4:].split("/")) == len(parts)
    assert not {"", ".", ".."} & set(result[4:].split("/"))
    assert not set("?#\\ ") & set(result)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_printed_can_steer_a_terminal(text):
    """Text is printable, and JSON means the same with everything dangerous escaped."""
    assert printable(text).isprintable()
    document = json_text({"a": text})
    assert json.loads(document) == {"a": text}
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in document)
