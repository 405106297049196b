"""`hookline tenants` and `hookline keys` against a server: what they ask, and what they print."""

from __future__ import annotations

import json

import pytest

KEY_ROW = {
    "id": "key_1", "tenant": "acme", "scopes": ["publish"], "description": "", "event_types": ["order.*"],
    "expires_at": None, "rate": None, "address_rate": None, "hint": "wxyz", "created_at": "2026-01-01T00:00:00.000Z",
    "last_used_at": None,
}  # fmt: skip


def test_a_tenant_is_made_of_options_and_spec(cli, script):
    """Options are members of the API's document, and win over those of --spec."""
    script.on("POST", "/v1/tenants", {"id": "acme"}, 201)
    spec = '{"name": "A", "retention_s": 60, "metadata": {"a": "b"}}'
    ended = cli(
        "tenants", "create", "acme", "--name", "Acme", "--endpoints-max", "5",
        "--events-rate", '{"n": 3, "per_s": 2}', "--spec", spec,
    )  # fmt: skip
    assert (ended.code, ended.out) == (0, "acme created\n")
    assert script.asked[0].json == {
        "id": "acme", "name": "Acme", "endpoints_max": 5, "events_rate": {"n": 3, "per_s": 2}, "retention_s": 60,
        "metadata": {"a": "b"},
    }  # fmt: skip


def test_a_tenant_is_changed_looked_at_and_deleted(cli, script):
    """Each command asks the tenant's own address, whatever its name, and only for what is given."""
    for method in ("PATCH", "GET", "DELETE"):
        script.on(method, "/v1/tenants/a.b", {"id": "a.b", "name": ""} if method != "DELETE" else None, 200)
    assert cli("tenants", "update", "a.b", "--dead-letter", "late", "--metadata", "x=y").out == "a.b changed\n"
    assert script.asked[0].json == {"dead_letter": "late", "metadata": {"x": "y"}}
    assert cli("tenants", "get", "a.b", "--json").json == {"id": "a.b", "name": ""}
    assert cli("tenants", "show", "a.b").out.split() == ["id", "a.b", "name"]
    assert cli("tenants", "delete", "a.b").out == "a.b is deleted\n"


@pytest.mark.parametrize("word", ["ls", "list"])
def test_lists(cli, script, word):
    """Tenants and keys are tables for people and documents for programs; `list` is understood for `ls`."""
    script.on("GET", "/v1/tenants", {"data": [{"id": "acme", "events_rate": {"n": 1}}], "next": None})
    script.on("GET", "/v1/keys", {"data": [KEY_ROW], "next": None})
    assert cli("tenants", word).out.splitlines()[1].split() == ["acme", '{"n":', "1}"]
    assert cli("tenants", word, "--json").json["data"][0]["id"] == "acme"
    assert cli("keys", word).out.splitlines()[1].split() == ["key_1", "acme", "publish", "order.*", "wxyz"]
    assert cli("keys", word, "--json", "--tenant", "acme").json == {"data": [KEY_ROW], "next": None}
    assert script.asked[-1].headers["hookline-tenant"] == "acme"


def test_a_key_is_issued_for_the_tenant_of_the_line(cli, script):
    """--tenant says for whom; the key is on stdout, and that it is shown once on stderr."""
    script.on("POST", "/v1/keys", {**KEY_ROW, "key": "hl_secret-wxyz"}, 201)
    ended = cli(
        "keys", "create", "--tenant", "acme", "--scope", "publish", "--scope", "read", "-t", "order.*",
        "--description", "d", "--expires-at", "2030-01-01T00:00:00Z", "--rate", '{"n": 5}', "--address-rate", "{}",
    )  # fmt: skip
    assert ended.code == 0
    assert "hl_secret-wxyz" in ended.out
    assert ended.err == "This is the only time that the key is shown.\n"
    (asked,) = script.asked
    assert asked.headers["hookline-tenant"] == "acme"
    assert asked.json == {
        "scopes": ["publish", "read"], "event_types": ["order.*"], "expires_at": "2030-01-01T00:00:00Z",
        "rate": {"n": 5}, "address_rate": {}, "description": "d",
    }  # fmt: skip


def test_a_key_is_changed_rotated_and_revoked(cli, script):
    """Only what is given is asked for."""
    script.on("PATCH", "/v1/keys/key_1", KEY_ROW)
    script.on("POST", "/v1/keys/key_1/rotate", {**KEY_ROW, "id": "key_2", "key": "hl_other"}, 201)
    script.on("DELETE", "/v1/keys/key_1", None, 204)
    assert cli("keys", "update", "key_1", "--spec", '{"expires_at": null}').out == "key_1 changed\n"
    assert cli("keys", "rotate", "key_1", "--overlap-s", "60", "--json").json["key"] == "hl_other"
    assert cli("keys", "revoke", "key_1").out == "key_1 is revoked\n"
    assert [json.loads(asked.body or b"null") for asked in script.asked] == [
        {"expires_at": None}, {"overlap_s": 60}, None,
    ]  # fmt: skip


def test_a_rate_that_is_no_json_is_a_wrong_line(cli, script):
    """Nothing is asked of the server."""
    assert cli("keys", "create", "--rate", "5/s").code == 2
    assert cli("tenants", "create", "a", "--events-rate", "{").code == 2
    assert script.asked == []


@pytest.mark.parametrize("tenant", ["é", "", "..", "a/b"])
def test_a_tenant_that_can_be_none_is_a_wrong_line(cli, script, tenant):
    """What is wrong with --tenant is said in a sentence, and nothing is asked of the server."""
    ended = cli("--tenant", tenant, "events", "ls")
    assert ended.code == 2
    assert f"--tenant {tenant!a} can be no tenant: it is 1 to 64 of A-Z" in ended.err
    assert script.asked == []


@pytest.mark.parametrize("tenant", ["../x", "..", "é", "x" * 65])
def test_a_tenant_that_is_not_created(cli, server, tenant):
    """The server says what a tenant is in a sentence, not in a pattern."""
    ended = cli("tenants", "create", tenant)
    said = "hookline: invalid_tenant: A tenant is 1 to 64 of A-Z, a-z, 0-9, _ . - and not . or .. alone. (at /id)\n"
    assert (ended.code, ended.err) == (1, said)
    made = cli("keys", "create", "--scope", "read", "--spec", json.dumps({"tenant": tenant}))
    assert (made.code, "invalid_key: A tenant is 1 to 64 of" in made.err) == (1, True)


def test_nobody_is_asked_whether_to_erase(cli, script):
    """Without a terminal and without --yes it is a wrong line, and nothing is erased."""
    ended = cli("events", "erase", "evt_1")
    assert (ended.code, ended.err) == (2, "hookline: nobody is there to be asked: say --yes\n")
    assert script.asked == []


def test_against_the_program(cli, server, monkeypatch):
    """A tenant's key made by one command publishes for him, sees nothing of others, and is unknown once revoked."""
    assert cli("tenants", "create", "cli-acme", "--name", "Acme").code == 0
    line = "keys create --tenant cli-acme --scope publish --scope read -t cli.* --json"
    made = cli(*line.split()).json
    monkeypatch.setenv("HOOKLINE_KEY", made["key"])
    sent = cli("send", "cli.access", '{"a": 1}', "--json")
    assert sent.code == 0, sent.err
    assert "forbidden: This key may not publish" in cli("send", "other.access", "{}").err
    assert [row["type"] for row in cli("events", "ls", "--json").json["data"]] == ["cli.access"]
    refused = cli("keys", "ls")
    assert (refused.code, refused.err) == (4, "hookline: forbidden: Only the operator's key may do this.\n")
    monkeypatch.setenv("HOOKLINE_KEY", server.key)
    assert cli("keys", "get", made["id"], "--json").json["last_used_at"] is not None
    assert cli("tenants", "update", "cli-acme", "--events-rate", '{"n": 1, "per_s": 3600}').code == 0
    assert [cli("send", "cli.access", "{}", "--tenant", "cli-acme").code for _ in range(2)] == [0, 5]
    assert cli("keys", "revoke", made["id"]).code == 0
    monkeypatch.setenv("HOOKLINE_KEY", made["key"])
    assert cli("events", "ls").code == 4
    monkeypatch.setenv("HOOKLINE_KEY", server.key)
    assert cli("tenants", "delete", "cli-acme").code == 0
    assert cli("events", "ls", "--tenant", "cli-acme").code == 1
