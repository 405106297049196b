"""`hookline verify --preset`: stored requests judged offline, a verdict a line, exit codes, and how fast it begins."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookline.cli.verify_stored import from_line

VECTORS = json.loads((Path(__file__).parents[1] / "core/verifiers/vectors.json").read_text(encoding="utf-8"))
HEAVY = {"typer", "rich", "msgspec", "cryptography", "click", "asyncio", "logging", "subprocess", "argparse"}
BODY = b'{"a":1}'


def github(body: bytes = BODY, secret: str = "s", **more: Any) -> dict[str, Any]:
    """A request as it is stored."""
    made = hmac.digest(secret.encode(), body, "sha256").hex()
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={made}"}
    encoded = base64.b64encode(body).decode()
    return {"method": "POST", "url": "https://h.example/in/github", "headers": headers, "body_base64": encoded, **more}


@pytest.fixture
def judge(tmp_path, cli):
    """Runs a line over what is given, as files; checks that the quick way and the other say the same."""

    def run(preset: str, config: Any, request: Any, *more: str) -> Any:
        files = []
        for name, value in (("config", config), ("request", request)):
            files.append(tmp_path / name)
            data = (
                value
                if isinstance(value, bytes)
                else value.encode()
                if isinstance(value, str)
                else json.dumps(value).encode()
            )
            files[-1].write_bytes(data)
        return cli("verify", "--preset", preset, "--config", str(files[0]), "--request", str(files[1]), *more)

    return run


def test_a_good_request_is_valid(judge):
    """One word, exit code 0."""
    ended = judge("github", {"secret": "s"}, github())
    assert (ended.code, ended.out, ended.err) == (0, "valid\n", "")


def test_a_forged_request_has_a_reason(judge):
    """A stable code and a sentence, exit code 1."""
    ended = judge("github", {"secret": "x"}, github())
    assert ended.code == 1
    assert ended.out.startswith("wrong_signature: ")
    assert ended.out.count("\n") == 1


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["provider"])
def test_every_vector_is_valid_at_its_time(vector, judge):
    """Questions that would be answered too."""
    request = {name: vector[name] for name in ("method", "url", "headers")}
    request["body_base64"] = base64.b64encode(vector["body"].encode()).decode()
    ended = judge(vector["provider"], vector["config"], request, "--at", str(vector["now"]))
    assert (ended.code, ended.out) == (0, "valid\n")


def test_lines_get_a_verdict_each(judge):
    """In their order; one that is refused makes the exit code 1."""
    lines = [github(), github(secret="x"), {}, github(b"\xff")]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    ended = judge("github", {"secret": "s"}, text)
    words = [line.partition(":")[0] for line in ended.out.splitlines()]
    assert (ended.code, words) == (1, ["valid", "wrong_signature", "missing_signature", "valid"])
    assert (
        judge("github", {"secret": "s"}, json.dumps(github()) + "\r\n" + json.dumps(github())).out == "valid\nvalid\n"
    )


def test_a_request_may_be_written_over_several_lines(judge):
    """As people write it."""
    assert judge("github", {"secret": "s"}, json.dumps(github(), indent=2)).code == 0


def test_a_header_may_be_there_twice(judge):
    """As a list, or as a name that is there again, in whatever case: it is refused as it would be when it comes."""
    request = github()
    name, value = "X-Hub-Signature-256", request["headers"]["X-Hub-Signature-256"]
    for headers in ({**request["headers"], name: [value, value]}, {**request["headers"], name.lower(): value}):
        assert judge("github", {"secret": "s"}, {**request, "headers": headers}).out.startswith("missing_signature")
    again = json.dumps(request).replace(f'"{name}"', f'"{name}": "{value}", "{name}"')
    assert judge("github", {"secret": "s"}, again).out.startswith("missing_signature")


@pytest.mark.parametrize("config", [{}, {"secret": ""}, {"secret": 7}, [], "x", None])
def test_an_unusable_configuration_refuses(config, judge):
    """It is no wrong command line."""
    ended = judge("github", json.dumps(config), github())
    assert ended.code == 1
    assert ended.out.startswith("not_configured: ")


def test_the_time_is_that_of_at(judge):
    """Or now."""
    at = 1_760_000_000
    made = hmac.digest(b"s", f"v0:{at}:".encode() + BODY, "sha256").hex()
    headers = {"X-Slack-Signature": f"v0={made}", "X-Slack-Request-Timestamp": str(at)}
    request = github(headers=headers)
    for now, code in ((at, 0), (at + 300, 0), (at + 301, 1), (at - 301, 1), (f"{at}.5", 0)):
        assert judge("slack", {"secret": "s"}, request, "--at", str(now)).code == code
    assert judge("slack", {"secret": "s"}, request).out.startswith("stale")


def test_nothing_is_fetched(judge):
    """What would have to be is a refusal that says what to configure."""
    sns = next(vector for vector in VECTORS if vector["provider"] == "aws_sns")
    request = {name: sns[name] for name in ("method", "url", "headers", "body")}
    config = {"topic_arn": sns["config"]["topic_arn"]}
    ended = judge("aws_sns", config, request, "--at", str(sns["now"]))
    assert ended.code == 1
    assert ended.out.startswith("key_unavailable: https://sns.us-west-2.amazonaws.com/")
    assert "certs" in ended.out


@pytest.mark.parametrize(
    ("preset", "config", "request_text", "more"),
    [
        ("nobody", "{}", "{}", ()),
        ("github", "{", "{}", ()),
        ("github", "{}", "", ()),
        ("github", "{}", "no JSON", ()),
        ("github", "{}", "{}\nno JSON", ()),
        ("github", "{}", "[]", ()),
        ("github", "{}", '{"headers": []}', ()),
        ("github", "{}", '{"headers": {"a": {}}}', ()),
        ("github", "{}", '{"body_base64": "!"}', ()),
        ("github", "{}", '{"body_base64": 7}', ()),
        ("github", "{}", '{"method": 7}', ()),
        ("github", b"\xff", "{}", ()),
        ("github", "{}", "{}", ("--at", "soon")),
        ("github", "{}", "{}", ("--at", "nan")),
        ("github", "{}", "{}", ("--header", "a: b")),
        ("{}", "{}", "{}", ()),
        ('{"scheme": "magic"}', "{}", "{}", ()),
    ],
)
def test_what_cannot_be_read_is_exit_code_2(preset, config, request_text, more, judge):
    """With a sentence on stderr, and no verdict."""
    ended = judge(preset, config, request_text, *more)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("hookline: ")
    assert ended.err.count("\n") == 1


def test_a_missing_file_is_exit_code_2(cli, tmp_path):
    """So is a command line without a request, or with both forms."""
    for line in (
        ["--preset", "github", "--request", str(tmp_path / "none")],
        ["--preset", "github"],
        ["--config", "x", "--secret", "s", "body"],
        [],
    ):
        assert cli("verify", *line).code == 2


def test_a_scheme_of_one_s_own_can_be_tried(judge, tmp_path):
    """Inline, or in a file."""
    scheme = json.dumps({"scheme": "hmac", "signature": "header:x-hub-signature-256", "prefix": "sha256="})
    (tmp_path / "scheme").write_text(scheme)
    for written in (scheme, f"@{tmp_path / 'scheme'}"):
        assert judge(written, {"secret": "s"}, github()).code == 0
        assert judge(written, {"secret": "x"}, github()).code == 1


def test_json_has_the_answer_to_a_question(judge):
    """And the reason of a refusal, a document a line."""
    body = base64.b64encode(b'{"type":"url_verification","challenge":"c"}').decode()
    ended = judge("dropbox", {}, {"method": "GET", "url": "https://h.example/?challenge=abc"}, "--json")
    assert json.loads(ended.out)["valid"] is True
    assert json.loads(ended.out)["answer"]["body"] == "abc"
    ended = judge("slack", {"secret": "s"}, {"body_base64": body}, "--json")
    assert json.loads(ended.out)["reason"] == "missing_signature"


def test_nothing_that_came_steers_the_terminal(judge):
    """A reason may repeat a part of what came."""
    spec = json.dumps({"scheme": "hmac", "signature": "body:a"})
    ended = judge(spec, {"secret": "s"}, {"body": '{"a": \x1b[2J'})
    assert ended.code in (1, 2)
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("line", "quick"),
    [
        (["verify", "--preset", "x", "--config", "/n", "--request", "/n"], True),
        (["verify", "--preset=x", "--config=/n", "--request=/n", "--at=1"], True),
        (["--json", "verify", "--preset", "x", "--request", "/n"], True),
        (["verify", "--preset", "x"], False),
        (["verify", "--preset", "x", "--request", "/n", "--help"], False),
        (["verify", "--preset", "x", "--request", "/n", "--preset", "y"], False),
        (["verify", "--preset", "x", "--request"], False),
        (["verify", "--preset", "x", "--request", "/n", "body"], False),
    ],
)
def test_only_a_plain_line_goes_the_quick_way(line, quick, capsys):
    """Everything else is for the whole command line, which says what is wrong."""
    assert (from_line(line) is not None) == quick


def test_it_begins_at_once(tmp_path):
    """Judging a signed request loads nothing of the command line's machinery, and takes less than 0.3 s of a CPU
    that has nothing else to do."""
    (tmp_path / "config").write_text('{"secret": "s"}')
    (tmp_path / "request").write_text(json.dumps(github()))
    script = (
        "import sys\nfrom hookline.cli.start import run\n"
        "sys.argv = ['hookline', 'verify', '--preset', 'github', '--config', 'config', '--request', 'request']\n"
        "try:\n    run()\nexcept SystemExit as ended:\n    code = ended.code\n"
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    before = os.times()
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ}
    )
    after = os.times()
    code, *modules = ended.stderr.split()
    assert (code, ended.stdout) == ("0", "valid\n")
    assert HEAVY & set(modules) == set()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu_s < 1.0  # a machine that is busy with other tests counts for more


def test_the_digest_of_the_tests_is_the_provider_s():
    """GitHub's published example."""
    made = hmac.new(b"It's a Secret to Everybody", b"Hello, World!", hashlib.sha256).hexdigest()
    assert made == "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
