"""`hookline endpoints test` and `verify`: what is asked, what a person reads, how they end."""

from __future__ import annotations

import json

import pytest

ATTEMPT = {
    "id": "att_1",
    "number": 1,
    "outcome": "delivered",
    "status": 200,
    "reason": None,
    "cause": None,
    "detail": "",
    "duration_ms": 12.345,
    "timing": {"dns_ms": None, "connect_ms": 1.04, "tls_ms": None, "first_byte_ms": 9.96, "total_ms": 12.3},
    "method": "POST",
    "url": "https://receiver.example/hook",
    "request_headers": {"webhook-id": "evt_1", "authorization": "***"},
    "request_body": '{"type":"hookline.test"}',
    "response_headers": {"server": "odd\x1b[31m"},
    "response_body": "line 1\nline 2",
    "success": True,
}
FAILED = {
    **ATTEMPT,
    "outcome": "retry",
    "status": 503,
    "reason": "server_error",
    "cause": "application",
    "response_body": None,
    "response_body_base64": "/w==",
    "success": False,
}
NO_ANSWER = {
    **FAILED,
    "status": None,
    "reason": "dns",
    "cause": "network",
    "detail": "The name does not resolve.",
    "response_headers": {},
    "response_body_base64": None,
}
PATH = "/v1/endpoints/u/test"


def test_a_test_is_shown_whole(cli, script):
    """The report has the request, the answer, the times and the verdict, and nothing that steers the terminal."""
    script.on("POST", PATH, ATTEMPT)
    ended = cli("endpoints", "test", "u")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "> POST https://receiver.example/hook",
        "> webhook-id: evt_1",
        "> authorization: ***",
        "",
        '  {"type":"hookline.test"}',
        "",
        "< 200 after 12.3 ms (connect 1.0, first byte 10.0)",
        "< server: odd\\x1b[31m",
        "",
        "  line 1",
        "  line 2",
        "",
        "success",
    ]
    assert script.asked[0].json == {}


def test_a_test_of_a_type_with_data(cli, script, tmp_path):
    """Type and payload are sent as they are given, the payload byte for byte."""
    script.on("POST", PATH, ATTEMPT)
    payload = tmp_path / "data.json"
    payload.write_text('{"total":  1.50}')
    cli("endpoints", "test", "u", "--type", 'a"b', "--data", f"@{payload}")
    assert script.asked[0].body == b'{"type":"a\\"b","data":{"total":  1.50}}'
    assert script.asked[0].headers["content-type"] == "application/json"
    cli("endpoints", "test", "u", "-t", "order.created")
    assert script.asked[1].json == {"type": "order.created"}
    assert cli("endpoints", "test", "u", "--data", "{").code == 2
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("attempt", "lines"),
    [
        (FAILED, ["< 503 after", "failed: server_error (application): The receiver answered 5xx, or the broker"]),
        (NO_ANSWER, ["< no answer after", "failed: dns (network): The name does not resolve. Check the name"]),
    ],
)
def test_a_failed_test_ends_with_1(cli, script, attempt, lines):
    """A failed attempt ends with 1 and says why, whose business it is and what to do."""
    script.on("POST", PATH, attempt)
    ended = cli("endpoints", "test", "u")
    assert ended.code == 1
    for line in lines:
        assert any(printed.startswith(line) for printed in ended.out.splitlines()), ended.out
    assert cli("endpoints", "test", "u", "--json").json == attempt
    assert cli("endpoints", "test", "u", "--json").code == 1


def test_a_long_body_is_cut_on_the_terminal_only(cli, script):
    """Of a long body a person sees the beginning, a program all."""
    script.on("POST", PATH, {**ATTEMPT, "response_body": "x" * 10_000})
    assert "5904 more characters" in cli("endpoints", "test", "u").out
    assert len(cli("endpoints", "test", "u", "--json").json["response_body"]) == 10_000


def test_verify(cli, script):
    """Verified ends with 0; otherwise what was missing is said, and it ends with 1."""
    path = "/v1/endpoints/u/verify"
    script.on("POST", path, {"id": "ep_1", "state": "active", "warnings": []})
    script.on("POST", path, {"id": "ep_1", "state": "unverified", "warnings": ["Not verified: It said no."]})
    script.on("POST", path, {"id": "ep_1", "state": "active", "warnings": ["Not verified: It said no."]})
    script.on("POST", path, {"code": "wrong_state", "detail": "Nothing.", "status": 409}, 409)
    done = cli("endpoints", "verify", "u")
    assert (done.code, done.out) == (0, "ep_1 is active\n")
    for state in ("unverified", "active"):
        missing = cli("endpoints", "verify", "u")
        assert (missing.code, missing.out) == (1, f"ep_1 is {state}\n")
        assert missing.err == "warning: Not verified: It said no.\n"
    assert cli("endpoints", "verify", "u").code == 1


def test_verify_can_be_asked_for_at_creation(cli, script):
    """`--verify` is part of what is created and changed."""
    script.on("POST", "/v1/endpoints", {"id": "ep_1", "state": "unverified", "warnings": ["Not verified: No."]}, 201)
    script.on("PATCH", "/v1/endpoints/u", {"id": "ep_1", "state": "active"})
    made = cli("endpoints", "create", "https://a.example", "--verify", "challenge")
    assert (made.out, made.err) == ("ep_1 created, unverified\n", "warning: Not verified: No.\n")
    cli("endpoints", "update", "u", "--verify", "none")
    assert [json.loads(asked.body)["verify"] for asked in script.asked] == ["challenge", "none"]
