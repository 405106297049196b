"""Commands that need no server: help, keys, config, sign, verify, version; and how a line is read."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time

import pytest
from standardwebhooks import Webhook

from hookline.cli.main import app, to_the_front
from hookline.settings import KNOBS, PREFIX
from hookline.version import __version__

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ED25519 = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ED25519_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
BODY = '{"test": 2432232314}'
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["events", "ls", "--json"], ["--json", "events", "ls"]),
        (["events", "--debug", "--json", "ls"], ["--json", "--debug", "events", "ls"]),
        (["a", "--server", "http://x", "b"], ["--server", "http://x", "a", "b"]),
        (["a", "--server=http://x", "--tenant=t"], ["--server=http://x", "--tenant=t", "a"]),
        (["a", "--server"], ["--server", "a"]),
        (["send", "--", "--json"], ["send", "--", "--json"]),
        ([], []),
    ],
)
def test_options_for_everywhere_may_stand_anywhere(line, expected):
    """They are moved before the command; what follows a -- is left alone."""
    assert sorted(to_the_front(line)) == sorted(expected)
    if "--" in line:
        assert to_the_front(line) == expected


HEAVY = {"fastapi", "starlette", "uvicorn", "uvloop", "cryptography", "jsonschema_rs", "httpx2", "prometheus_client"}


def test_help_is_quick():
    """`hookline --help` loads nothing that only a server, a client or a signature needs."""
    script = (
        "import sys\n"
        "from hookline.cli.main import run\n"
        "sys.argv = ['hookline', '--help']\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "serve" in ended.stdout
    assert HEAVY & set(ended.stderr.split()) == set()


def test_every_command_has_help(cli):
    """Each command and group, and each of its options, says what it is for."""
    pending, seen = [[]], 0
    while pending:
        line = pending.pop()
        ended = cli(*line, "--help")
        assert ended.code == 0
        assert f"Usage: hookline {' '.join([*line, ''])}" in ended.out
        seen += 1
        commands = ended.out.partition("Commands:\n")[2].partition("\n\n")[0]
        for command in commands.splitlines():
            name, _, text = command.strip().partition(" ")
            assert text.strip(), command
            pending.append([*line, name])
    assert seen > 40


def test_no_command_is_its_help_and_exit_code_2(cli):
    """A group without a command shows what there is."""
    for line in ([], ["events"]):
        ended = cli(*line)
        assert ended.code == 2
        assert ended.err.startswith("Usage: hookline")


@pytest.mark.parametrize("line", ["bla", "events bla", "events ls --bla", "events ls --limit x", "events get"])
def test_a_wrong_line_is_one_line_and_exit_code_2(cli, line):
    """What cannot be understood is said in one line."""
    ended = cli(*line.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("hookline: ")
    assert ended.err.count("\n") == 1


def test_a_bug_is_one_line_too(cli, monkeypatch):
    """An exception that nobody expected ends with 1 and a sentence, and with its traceback when asked for."""
    monkeypatch.setattr("hookline.cli.version.terminal", None)
    ended = cli("version")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "--debug" in ended.err
    assert "Traceback" in cli("version", "--debug").err


def test_version(cli):
    """The version is printed, for people and for programs."""
    assert cli("version").out.startswith(f"hookline {__version__} (Python 3.")
    assert cli("version", "--json").json["version"] == __version__


def test_new_keys_are_usable_and_never_the_same(cli):
    """Each kind makes what the program takes."""
    assert len({cli("keys", "new", "api").out for _ in range(3)}) == 3
    assert 8 <= len(cli("keys", "new", "api", "--json").json["key"]) <= 256
    secret = cli("keys", "new", "signing").out.strip()
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    pair = cli("keys", "new", "ed25519", "--json").json
    headers = _headers(cli("sign", BODY, "--secret", pair["secret"]).out)
    assert cli("verify", BODY, "--secret", pair["public_key"], *_options(headers)).code == 0


def test_where_the_keys_are(cli, monkeypatch, tmp_path):
    """The place is told, whether it is there, and never what is in it."""
    monkeypatch.chdir(tmp_path)
    assert cli("keys", "where", "--json").json == {
        "operator_key": f"{tmp_path}/hookline.key (not there yet: the first start creates it)",
        "secret_key": f"{tmp_path}/hookline.secret (not there yet: the first start creates it)",
    }
    (tmp_path / "hookline.key").write_text("canary-canary")
    monkeypatch.setenv("HOOKLINE_SECRET_KEY", base64.b64encode(bytes(32)).decode())
    ended = cli("keys", "where", "--json")
    assert ended.json == {"operator_key": f"{tmp_path}/hookline.key", "secret_key": "set by HOOKLINE_SECRET_KEY"}


def test_config_show_lists_everything_and_no_secret(cli, monkeypatch):
    """Every setting is there with its value and origin; secrets are masked."""
    monkeypatch.setenv("HOOKLINE_KEY", "canary-canary")
    monkeypatch.setenv("HOOKLINE_PORT", "1234")
    rows = {row["setting"]: row for row in cli("config", "show", "--json").json["data"]}
    assert set(rows) == {PREFIX + name.upper() for name in KNOBS}
    assert (rows["HOOKLINE_PORT"]["value"], rows["HOOKLINE_PORT"]["from"]) == ("1234", "HOOKLINE_PORT")
    assert rows["HOOKLINE_KEY"]["value"] == "***"
    ended = cli("config", "show")
    assert "HOOKLINE_PORT" in ended.out
    assert "canary" not in ended.out


def test_config_check_says_what_is_wrong(cli, monkeypatch):
    """Settings that cannot be used end with 2 and the line that `serve` would refuse with."""
    assert cli("config", "check").code == 0
    assert cli("config", "check", "--json").json["ok"] is True
    monkeypatch.setenv("HOOKLINE_PROT", "1")
    for line in (["config", "check"], ["config", "show"], ["keys", "where"], ["serve"]):
        ended = cli(*line)
        assert ended.code == 2
        assert ended.err == "hookline: HOOKLINE_PROT is not a setting of Hookline; did you mean HOOKLINE_PORT?\n"


def _headers(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


def _options(headers: dict[str, str]) -> list[str]:
    return [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]


def test_sign_makes_the_standards_own_example(cli, tmp_path):
    """The test vectors of Standard Webhooks come out, for both schemes and from a file."""
    at = ["--id", VECTOR["webhook-id"], "--timestamp", VECTOR["webhook-timestamp"]]
    assert _headers(cli("sign", BODY, "--secret", SECRET, *at).out) == VECTOR
    (tmp_path / "body").write_text(BODY)
    (tmp_path / "secret").write_text(SECRET + "\n")
    ended = cli("sign", f"@{tmp_path}/body", "--secret", f"@{tmp_path}/secret", *at, "--json")
    assert ended.json == VECTOR
    assert cli("sign", BODY, "--secret", ED25519, *at, "--json").json["webhook-signature"] == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )


def test_what_sign_makes_the_official_library_takes(cli):
    """A signature of now passes the reference implementation."""
    headers = _headers(cli("sign", BODY, "--secret", SECRET).out)
    assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)


@pytest.mark.parametrize("secret", [SECRET, f"whsec_{base64.b64encode(b'other').decode()}"])
def test_verify_says_yes_or_no(cli, secret):
    """A good signature is valid with exit code 0, any other not valid with 1 and its reason."""
    line = ["verify", BODY, "--secret", secret, *_options(VECTOR), "--at", VECTOR["webhook-timestamp"]]
    ended = cli(*line)
    if secret == SECRET:
        assert (ended.code, ended.out) == (0, "valid\n")
        assert cli(*line, "--json").json == {"valid": True}
    else:
        assert ended.code == 1
        assert "(no_matching_signature)" in ended.err


def test_verify_judges_the_time(cli):
    """An old request is not valid, unless it is judged as of then or with tolerance."""
    line = ["verify", BODY, "--secret", SECRET, *_options(VECTOR)]
    assert "(too_old)" in cli(*line).err
    assert cli(*line, "--tolerance-s", str(time.time())).code == 0


@pytest.mark.parametrize(
    "line",
    [
        ["sign", BODY, "--secret", "nonsense"],
        ["sign", BODY, "--secret", "@/nonexistent"],
        ["verify", BODY, "--secret", "nonsense", *_options(VECTOR), "--at", "1614265330"],
        ["verify", BODY, "--secret", SECRET, "-H", "no colon"],
    ],
)
def test_a_secret_that_is_none_is_exit_code_2(cli, line):
    """What is wrong with the command is told apart from what is wrong with the request."""
    ended = cli(*line)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "nonsense" not in ended.err


def test_the_root_names_every_command():
    """Nothing is registered twice or by accident."""
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    names += [group.typer_instance.info.name for group in app.registered_groups]
    alone = "serve worker demo send simulate tail listen sink replay sign verify backup restore openapi version"
    groups = "events deliveries replays endpoints event-types sources tenants keys config migrate"
    assert sorted(names) == sorted(f"{alone} {groups}".split())
