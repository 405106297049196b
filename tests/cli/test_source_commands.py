"""`hookline sources` against a server: what the commands ask, what they print, and that no secret is printed."""

from __future__ import annotations

import json

import pytest

SOURCE = {
    "id": "src_1", "name": "stripe", "verifier": "stripe", "config": {"secret": "***"}, "enabled": True,
    "url": "https://hooks.example/in/stripe", "description": "", "warnings": [],
}  # fmt: skip
SECRET = "whsec_not_for_eyes"


def test_a_source_is_made_of_options_and_spec(cli, script, tmp_path):
    """Options are members of the API's document and win over those of --spec; secrets come from files."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    script.on("POST", "/v1/sources", {**SOURCE, "warnings": ["look out"]}, 201)
    ended = cli(
        "sources", "create", "stripe", "--verifier", "stripe", "--set", f"secret=@{tmp_path}/secret",
        "--set", "tolerance_s=600", "--uid", "pay", "--token", "--method", "POST", "--method", "PUT",
        "--content-type", "application/json", "--ip-range", "192.0.2.0/24", "--rate", '{"n": 5}',
        "--address-rate", '{"n": 1}', "--body-bytes-max", "10", "--type", "body:type", "--id", "body:id",
        "--subject", "body:s", "--time", "body:t", "--split", "body:items", "--default-type", "a",
        "--keep-header", "x-*", "--dedupe-window-s", "999999", "--answer", '{"status": 202}',
        "--schema", f"order.*=@{tmp_path}/schema.json", "--on-invalid", "quarantine", "--description", "d",
        "--metadata", "a=b", "--spec", '{"name": "other", "config": {"x": 1}, "enabled": false}',
    )  # fmt: skip
    assert (ended.code, ended.out) == (0, "src_1 created: the provider sends to https://hooks.example/in/stripe\n")
    assert ended.err == "warning: look out\n"
    assert script.asked[0].json == {
        "name": "stripe", "verifier": "stripe", "config": {"x": 1, "secret": SECRET, "tolerance_s": 600},
        "enabled": False, "uid": "pay", "token": True, "methods": ["POST", "PUT"],
        "content_types": ["application/json"], "ip_ranges": ["192.0.2.0/24"], "rate": {"n": 5},
        "address_rate": {"n": 1}, "body_bytes_max": 10, "headers": ["x-*"], "dedupe_window_s": 999999,
        "reading": {
            "type": "body:type", "id": "body:id", "subject": "body:s", "time": "body:t", "split": "body:items",
            "default_type": "a",
        },
        "answer": {"status": 202}, "schemas": {"order.*": {"type": "object"}}, "on_invalid": "quarantine",
        "description": "d", "metadata": {"a": "b"},
    }  # fmt: skip


def test_config_of_every_form(cli, script):
    """Several of one key are a list, `:=` is JSON, and a value may have an equals sign in it."""
    script.on("POST", "/v1/sources", SOURCE, 201)
    cli("sources", "create", "x", "--verifier", '{"scheme": "none"}', "--set", "secret=a=b", "--set", "secret=c",
        "--set", 'certs:={"u": "pem"}')  # fmt: skip
    assert script.asked[0].json == {
        "name": "x", "verifier": {"scheme": "none"}, "config": {"secret": ["a=b", "c"], "certs": {"u": "pem"}},
    }  # fmt: skip


def test_config_of_a_file(cli, script, tmp_path):
    """A file has the whole config; what is set beside it wins."""
    (tmp_path / "config.json").write_text(json.dumps({"certs": {"u": "pem"}, "topic_arn": "a"}))
    script.on("POST", "/v1/sources", SOURCE, 201)
    line = ("sources", "create", "x", "--verifier", "aws_sns")
    cli(*line, "--config", f"{tmp_path}/config.json", "--set", "topic_arn=b")
    assert script.asked[0].json["config"] == {"certs": {"u": "pem"}, "topic_arn": "b"}
    assert cli(*line, "--config", f"{tmp_path}/none").code == 2


@pytest.mark.parametrize(
    "setting", [SECRET, f"={SECRET}", f"two words={SECRET}", f"secret:={SECRET}", f"leeway={SECRET}"]
)
def test_a_wrong_setting_is_not_repeated(cli, script, setting):
    """A setting that cannot be read is refused without being shown: it may be a secret."""
    for command in (["create", "x"], ["update", "x"]):
        ended = cli("sources", *command, "--set", setting)
        assert ended.code == 2
        assert SECRET not in ended.err + ended.out
    assert script.asked == []


def test_a_secret_is_rotated(cli, script):
    """--add puts a secret beside those that are there; --set names the only one."""
    script.on("PATCH", "/v1/sources/stripe", SOURCE)
    assert cli("sources", "update", "stripe", "--add", "secret=new").out == "src_1 changed\n"
    assert script.asked[-1].json == {"config": {"secret": ["new", "***"]}}
    cli("sources", "update", "stripe", "--set", "secret=new")
    assert script.asked[-1].json == {"config": {"secret": "new"}}
    cli("sources", "update", "stripe", "--no-token", "--verifier", "github")
    assert script.asked[-1].json == {"token": False, "verifier": "github"}


def test_looking_and_deleting(cli, script):
    """Lists are tables for people and documents for programs; `list` and `show` are understood."""
    script.on("GET", "/v1/sources", {"data": [SOURCE], "next": None})
    for method in ("GET", "DELETE", "PATCH"):
        script.on(method, "/v1/sources/stripe", SOURCE if method != "DELETE" else None)
    for word in ("ls", "list"):
        assert cli("sources", word).out.splitlines()[1].split()[:3] == ["src_1", "stripe", "stripe"]
    assert cli("sources", "ls", "--json").json == {"data": [SOURCE], "next": None}
    assert cli("sources", "show", "stripe", "--json").json == SOURCE
    assert cli("sources", "get", "stripe").out.startswith("id ")
    assert cli("sources", "disable", "stripe").out == "stripe is disabled\n"
    assert script.asked[-1].json == {"enabled": False}
    assert cli("sources", "enable", "stripe").out == "stripe is enabled\n"
    assert cli("sources", "delete", "stripe").out == "stripe is deleted\n"


def test_presets(cli, script):
    """The providers with the keys of their config, the secret ones marked."""
    document = {"data": [{"name": "stripe", "title": "Stripe", "config": [
        {"key": "secret", "secret": True}, {"key": "tolerance_s", "secret": False},
    ]}]}  # fmt: skip
    script.on("GET", "/v1/source-presets", document)
    assert cli("sources", "presets").out.splitlines()[1].split() == ["stripe", "Stripe", "secret*,", "tolerance_s"]
    assert cli("sources", "presets", "--json").json == document


def test_rejections(cli, script):
    """What was refused of late is a table with why; the newest twenty unless told."""
    row = {"at": "2026-01-01T00:00:00.000Z", "status": 401, "reason": "wrong_signature", "detail": "no", "headers": []}
    script.on("GET", "/v1/sources/stripe/rejections", {"data": [row], "next": None})
    assert "wrong_signature" in cli("sources", "rejections", "stripe").out
    assert "limit=20" in script.asked[-1].path
    assert cli("sources", "rejections", "stripe", "--limit", "5", "--json").json["data"] == [row]


def test_quarantine(cli, script):
    """What waits is listed and shown; named ones or all are released or dropped, the oldest first."""
    base = "/v1/sources/in/quarantine"
    rows = [
        {"id": "qrn_2", "type": "b", "problem": {"code": "x", "detail": "No amount.", "pointer": "/a"}},
        {"id": "qrn_1", "type": "a"},
    ]
    script.on("GET", base, {"data": rows, "next": None})
    script.on("GET", f"{base}/qrn_1", {**rows[1], "data": {"n": 1}})
    for one in ("qrn_1", "qrn_2"):
        script.on("POST", f"{base}/{one}/release", {"id": "evt_1", "deliveries": 1}, 202)
        script.on("DELETE", f"{base}/{one}", None, 204)
    assert cli("sources", "quarantine", "in").out.splitlines()[1].split() == [
        "qrn_2",
        "b",
        "No",
        "amount.",
        "(at",
        "/a)",
    ]
    assert cli("sources", "quarantine", "in", "qrn_1", "--json").json["data"] == {"n": 1}
    assert cli("sources", "release", "in", "qrn_1").out == "1 request released\n"
    assert cli("sources", "release", "in", "--all", "--json").json == {"data": [{"id": "evt_1", "deliveries": 1}] * 2}
    assert [asked.path for asked in script.asked[-2:]] == [f"{base}/{one}/release" for one in ("qrn_1", "qrn_2")]
    assert cli("sources", "drop", "in", "qrn_1", "qrn_2").out == "2 requests dropped\n"
    for command in ("release", "drop"):
        for line in ([command, "in"], [command, "in", "qrn_1", "--all"]):
            assert cli("sources", *line).code == 2


def test_against_the_program(cli, server, tmp_path):
    """A source is made, shown, changed and deleted on a real server, and its secret is nowhere in what is printed."""
    (tmp_path / "secret").write_text(SECRET)
    printed = ""
    for line in (
        ["create", "stripe", "--verifier", "stripe", "--set", f"secret=@{tmp_path}/secret", "--json"],
        ["update", "stripe", "--add", f"secret=@{tmp_path}/secret", "--description", "payments"],
        ["get", "stripe"], ["ls"], ["presets"], ["rejections", "stripe"], ["quarantine", "stripe"],
    ):  # fmt: skip
        ended = cli("sources", *line)
        assert ended.code == 0, ended.err
        printed += ended.out + ended.err
    assert SECRET not in printed
    assert '"secret": "***"' in printed
    assert json.loads(printed.splitlines()[0])["url"].endswith("/in/stripe")
    assert cli("sources", "delete", "stripe").code == 0
