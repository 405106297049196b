"""`hookline simulate`: what it sends, prints, writes and says of answers."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator

import pytest
import trustme
from tests.cli.receiving import Listener, listening
from tests.core.simulate.simulating import SAMPLES, known, private_key

from hookline.core.simulate.catalogue import provider_of

SECRETS = {
    "stripe": "whsec_5QJ3vK9mXtR2pLwZ8nYbC4dFgHsA1eUo",
    "slack": "8f742231b10e8888abcd99yyyzzz85a5",
    "github": "It's a Secret to Everybody",
}
HUGE = 40_000_000
WITH_KEYS = [
    ("sendgrid", "several"),
    ("paypal", "PAYMENT.CAPTURE.COMPLETED"),
    ("aws_sns", "ObjectCreated:Put"),
    ("gcp_pubsub", "OBJECT_FINALIZE"),
    ("discord", "PING"),
]
CURL = shutil.which("curl")


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A receiver on this machine."""
    with listening() as found:
        yield found


def test_a_signed_request_is_sent_and_taken(cli, listener):
    """With the provider's headers as it writes them and no others but those of the frame; exit code 0."""
    listener.judging("stripe", {"secret": SECRETS["stripe"]})
    line = ["simulate", "stripe", "payment_intent", "--to", f"{listener.url}/in/s?x=1", "--secret", SECRETS["stripe"]]
    ended = cli(*line)
    assert (ended.code, ended.err) == (0, "")
    assert "stripe payment_intent.succeeded" in ended.out
    assert "-> 200 in" in ended.out
    [got] = listener.got
    assert (got.method, got.target) == ("POST", "/in/s?x=1")
    assert got.names() == [
        "Host",
        "Content-Type",
        "User-Agent",
        "Accept",
        "Cache-Control",
        "Stripe-Signature",
        "Content-Length",
    ]
    assert cli(*line[:-1], "another").code == 1


@pytest.mark.parametrize(("name", "event_type"), WITH_KEYS)
def test_providers_with_keys_and_what_is_written_of_them(cli, listener, tmp_path, name, event_type):
    """The key is made once and used again; what is written is what the receiver needs; both are the owner's alone."""
    key, config = tmp_path / "key.pem", tmp_path / "config.json"
    to = f"{listener.url}/in/{name}"
    ended = cli("simulate", name, event_type, "--key", str(key), "--write-config", str(config), "--signed-url", to)
    assert ended.code == 0
    assert {path.stat().st_mode & 0o777 for path in (key, config)} == {0o600}
    pem = key.read_bytes()
    listener.judging(name, json.loads(config.read_bytes()))
    assert cli("simulate", name, event_type, "--key", str(key), "--config", str(config), "--to", to).code == 0
    tampered = ["simulate", name, event_type, "--key", str(key), "--to", to, "--config", str(config), "--tampered"]
    assert cli(*tampered, "--expect", "401").code == 0
    assert key.read_bytes() == pem
    assert len(listener.got) == 2


def test_a_key_that_is_not_that_of_the_configuration_is_refused(cli, tmp_path):
    """A receiver that could not verify it is not sent to."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"public_key": "00" * 32}))
    ended = cli("simulate", "discord", "PING", "--config", str(config), "--key", str(tmp_path / "new.pem"))
    assert ended.code == 2
    assert "not that of the private key" in ended.err


def test_what_is_made_is_said(cli):
    """Without a secret one is made, and shown, because the receiver must know it."""
    ended = cli("simulate", "github", "push", "--seed", "a", "--at", "1760000000")
    assert ended.code == 0
    assert "made, for the receiver to know: secret=" in ended.err
    assert cli("simulate", "github", "push", "--seed", "a", "--at", "1760000000").out == ended.out
    assert cli("simulate", "github", "push", "--seed", "b", "--at", "1760000000").out != ended.out


def test_what_is_forged_must_be_refused(cli, listener):
    """Exit code 0 where the receiver refuses it, 1 where it takes it."""
    line = ["simulate", "slack", "message", "--to", listener.url, "--secret", SECRETS["slack"]]
    for change in ("--tampered", "--stale"):
        ended = cli(*line, change)
        assert ended.code == 1
        assert "expected 4xx" in ended.out
    listener.judging("slack", {"secret": SECRETS["slack"]})
    for change in ("--tampered", "--stale"):
        assert cli(*line, change).code == 0
        assert cli(*line, change, "--expect", "403").code == 1
    assert [got.body for got in listener.got] != []


def test_questions_are_judged_by_their_answer(cli, listener):
    """A receiver that answers 200 without the challenge is told what its provider wants."""
    line = ["simulate", "slack", "url_verification", "--to", listener.url, "--secret", SECRETS["slack"]]
    ended = cli(*line)
    assert ended.code == 1
    assert "the provider wants '" in ended.out
    listener.judging("slack", {"secret": SECRETS["slack"]})
    assert cli(*line).code == 0
    options = ["simulate", "cloudevents", "options", "--to", listener.url]
    listener.answer = lambda _: (200, b"", {})
    assert "wants the header WebHook-Allowed-Origin" in cli(*options).out
    listener.answer = lambda _: (200, b"", {"webhook-allowed-origin": "*"})
    assert cli(*options).code == 0
    assert "wants status 204" in cli("simulate", "discord", "WEBHOOK_PING", "--to", listener.url).out


def test_a_redirect_is_an_answer_and_not_followed(cli, listener):
    """The provider would not follow it either."""
    listener.answer = lambda _: (302, b"", {"location": f"{listener.url}/elsewhere"})
    ended = cli("simulate", "github", "push", "--to", listener.url, "--secret", "x")
    assert (ended.code, len(listener.got)) == (1, 1)
    assert "-> 302" in ended.out
    assert cli("simulate", "github", "push", "--to", listener.url, "--secret", "x", "--expect", "200, 3xx").code == 0


def test_a_duplicate_is_the_same_request_twice(cli, listener):
    """To the byte, while each of several requests is a new one."""
    line = ["simulate", "shopify", "orders/create", "--to", listener.url, "--secret", "x"]
    assert cli(*line, "--duplicate").code == 0
    assert cli(*line, "--count", "2").code == 0
    first, again, one, other = ((got.headers, got.body) for got in listener.got)
    assert first == again
    assert one != other
    assert one[1] != other[1]


def test_many_at_a_rate_are_counted(cli, listener):
    """Each is new; a summary stands for the lines; one that is refused makes it exit code 1."""
    line = ["simulate", "stripe", "charge.refunded", "--to", listener.url, "--secret", "x", "--count", "30"]
    ended = cli(*line, "--rate", "200")
    assert (ended.code, ended.out.count("\n")) == (0, 1)
    assert "30 x 200; half within" in ended.out
    assert len({json.loads(got.body)["id"] for got in listener.got}) == 30
    listener.answer = lambda got: (503 if got is listener.got[-1] and len(listener.got) == 40 else 200, b"", {})
    ended = cli(*line)
    assert ended.code == 1
    assert "1 of 30 were not answered as expected (2xx)" in ended.err


def test_a_rate_spreads_requests_over_time(cli, listener):
    """Twelve at twenty a second take more than half a second."""
    import time

    start_s = time.monotonic()
    cli("simulate", "github", "push", "--to", listener.url, "--secret", "x", "--count", "12", "--rate", "20")
    assert time.monotonic() - start_s >= 0.55
    assert len(listener.got) == 12


def test_a_slow_body_comes_in_pieces(cli, listener):
    """Over the time that was asked for, and whole at the end."""
    line = ["simulate", "github", "push", "--to", listener.url, "--secret", SECRETS["github"]]
    listener.judging("github", {"secret": SECRETS["github"]})
    assert cli(*line, "--slow", "1").code == 0
    [got] = listener.got
    assert got.took_s >= 0.9
    assert got.pieces >= 4


def test_an_oversize_body_is_answered_before_it_is_sent(cli, listener):
    """Who refuses it by its length alone is heard, though most of it was never sent."""
    listener.refuse_early = True
    line = ["simulate", "github", "push", "--to", listener.url, "--secret", "x", "--oversize", str(HUGE)]
    ended = cli(*line)
    assert ended.code in (0, 3)  # a reset may take the answer with it
    if ended.code == 0:
        assert "-> 413" in ended.out
    listener.refuse_early = False
    assert cli(*line[:-1], "100000", "--expect", "2xx").code == 0
    assert len(listener.got[-1].body) >= 100_000


def test_malformed_xml_and_another_content_type(cli, listener):
    """Each is signed, so that a receiver refuses it for what it is."""
    listener.judging("github", {"secret": "x"})
    line = ["simulate", "github", "push", "--to", listener.url, "--secret", "x", "--expect", "200"]
    for change, content_type in (
        (["--malformed"], "application/json"),
        (["--xml"], "application/xml"),
        (["--content-type", "text/csv"], "text/csv"),
    ):
        assert cli(*line, *change).code == 0
        got = listener.got[-1]
        assert dict(got.headers)["Content-Type"] == content_type
    assert listener.got[1].body.startswith(b"<?xml")
    with pytest.raises(ValueError):
        json.loads(listener.got[0].body)


def test_payload_members_and_headers_of_ones_own(cli, listener, tmp_path):
    """--data is sent as it is, --set changes members, --header is there before it is signed."""
    listener.judging("standard_webhooks", {"secret": "whsec_" + "A" * 32})
    line = ["simulate", "standard_webhooks", "invoice.paid", "--to", listener.url, "--secret", "whsec_" + "A" * 32]
    payload = tmp_path / "payload.json"
    payload.write_bytes(b'{ "type":"mine" }\n')
    assert cli(*line, "--data", f"@{payload}").code == 0
    assert listener.got[-1].body == payload.read_bytes()
    assert cli(*line, "--set", "data.amount=12", "--set", "data.note=a=b", "-H", "webhook-id: msg_mine").code == 0
    data = json.loads(listener.got[-1].body)["data"]
    assert (data["amount"], data["note"]) == (12, "a=b")
    assert dict(listener.got[-1].headers)["webhook-id"] == "msg_mine"


def test_the_configuration_of_the_receiver(cli, listener, tmp_path):
    """From a file and key by key; --secret is for the key that the provider calls its secret."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mode": "header", "hmac_key": "00" * 32}))
    line = ["simulate", "adyen", "balancePlatform.transfer.created", "--config", str(config), "--to", listener.url]
    listener.judging("adyen", {"mode": "header", "hmac_key": "AB" * 32})
    assert cli(*line).code == 1
    assert cli(*line, "--secret", "ab" * 32).code == 0
    assert cli(*line, "--configured", f"hmac_key={'ab' * 32}").code == 0
    listener.judging("gitlab", {"mode": "token", "secret": "t"})
    gitlab = ["simulate", "gitlab", "Push Hook", "--configured", "mode=token", "--secret", "t", "--to", listener.url]
    assert cli(*gitlab).code == 0
    assert cli(*gitlab, "--stale").code == 2


def test_an_address_that_is_signed_can_be_another(cli, listener):
    """As behind a proxy: the provider knows the public one."""
    listener.judging("twilio", {"auth_token": "t", "notification_url": "https://public.example/in/twilio"})
    line = ["simulate", "twilio", "incoming_call", "--secret", "t", "--to", f"{listener.url}/here"]
    assert cli(*line).code == 1
    assert cli(*line, "--signed-url", "https://public.example/in/twilio").code == 0
    assert listener.got[-1].target == "/here"


def test_a_connection_is_used_again_while_the_receiver_lets_it(cli, listener):
    """One for all requests; a receiver that closes behind each answer gets a new one for each, and loses nothing."""
    line = ["simulate", "github", "push", "--to", listener.url, "--secret", "x", "--count", "3"]
    assert cli(*line).code == 0
    listener.closes = True
    assert cli(*line).code == 0
    assert len(listener.got) == 6


def test_an_answer_that_is_packed_is_shown_unpacked(cli, listener):
    """Some providers allow gzip, and a receiver may use it."""
    listener.answer = lambda _: (200, gzip.compress(b"thanks a lot"), {"content-encoding": "gzip"})
    line = ["simulate", "slack", "message", "--to", listener.url, "--secret", "x"]
    assert "thanks a lot" in cli(*line).out
    listener.answer = lambda _: (200, b"not packed", {"content-encoding": "gzip"})
    assert "not packed" in cli(*line).out


def test_receivers_over_tls_are_trusted_by_an_authority_that_is_named(cli, monkeypatch, tmp_path):
    """Without it there is no answer; with it large bodies come, too, on one connection."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with listening(context) as listener:
        listener.judging("github", {"secret": "x"})
        line = ["simulate", "github", "push", "--to", f"{listener.url}/in/github", "--secret", "x", "--count", "2"]
        ended = cli(*line)
        assert ended.code == 3
        assert "certificate" in ended.err
        monkeypatch.setenv("HOOKLINE_CA_FILE", str(tmp_path / "ca.pem"))
        assert cli(*line).code == 0
        assert cli(*line, "--oversize", "500000", "--expect", "2xx").code == 0
        assert [got.method for got in listener.got] == ["POST"] * 4


def test_no_answer_is_exit_code_3(cli, listener):
    """Nobody there, a connection that is closed, a receiver that is silent."""
    ended = cli("simulate", "github", "push", "--to", "http://127.0.0.1:1/", "--secret", "x")
    assert ended.code == 3
    assert "got no answer" in ended.err
    listener.answer = lambda _: None
    line = ["simulate", "github", "push", "--to", listener.url, "--secret", "x"]
    assert cli(*line).code == 3

    def silent(_):
        import time

        time.sleep(0.6)
        return 200, b"", {}

    listener.answer = silent
    ended = cli(*line, "--timeout", "0.2")
    assert (ended.code, "within 0.2 s" in ended.err) == (3, True)


def test_documents_for_programs(cli, listener, tmp_path):
    """One a request; what is only printed is what `hookline verify --preset --request` reads."""
    config, requests = tmp_path / "config.json", tmp_path / "requests.jsonl"
    line = ["simulate", "paddle", "transaction.completed", "--json"]
    ended = cli(*line, "--count", "3", "--at", "1760000000", "--write-config", str(config))
    requests.write_text(ended.out)
    documents = [json.loads(text) for text in ended.out.splitlines()]
    assert len({document["headers"]["Paddle-Signature"] for document in documents}) == 3
    judge = ["verify", "--preset", "paddle", "--config", str(config), "--request", str(requests), "--at"]
    assert (cli(*judge, "1760000004").out, cli(*judge, "1760000004").code) == ("valid\n" * 3, 0)
    assert cli(*judge, "1760000006").code == 1
    sent = cli(*line, "--to", listener.url, "--config", str(config)).json
    assert (sent["status"], sent["as_expected"], sent["answer"]) == (200, True, "thanks")
    assert base64.b64decode(sent["body_base64"]) == listener.got[-1].body


def test_the_list(cli):
    """Every sample with what has happened; of one provider only, where it is named."""
    rows = cli("simulate", "--list", "--json").json
    assert [(row["provider"], row["type"]) for row in rows] == SAMPLES
    assert all(row["what"] for row in rows)
    ended = cli("simulate", "stripe", "--list")
    assert ended.code == 0
    assert "charge.refunded" in ended.out
    assert "push" not in ended.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "--list"),
        ("stripe", "--list"),
        ("strype x", "there is no provider"),
        ("strype --list", "there is no provider"),
        ("stripe nothing", "there are payment_intent.succeeded"),
        ("stripe charge --to ftp://x", "no http:// or https:// address"),
        ("stripe charge --to http://exämple/", "no http:// or https:// address"),
        ("stripe charge --to http://x:99999/", "no http:// or https:// address"),
        ("stripe charge --set x", "path=value"),
        ("stripe charge --set a.b.c=1 --data []", "no place"),
        ("stripe charge --data {", ""),
        ("stripe charge --data { --set a=1", "not JSON"),
        ("stripe charge --config /nowhere", "cannot be read"),
        ("stripe charge --configured x", "name=value"),
        ("stripe charge --key k.pem", "signs with no private key"),
        ("sendgrid open --secret x", "signs with a private key"),
        ("stripe charge --expect 6xx", "--expect"),
        ("stripe charge --expect 20", "--expect"),
        ("github push --stale", "signs no time"),
        ("dropbox challenge --tampered", "nothing to tamper with"),
        ("slack command --malformed", "malformed"),
        ("slack command --xml", "XML"),
        ("salesforce Lead --set a=1", "not JSON"),
        ("adyen REFUND --secret zz", "not hex"),
        ("standard_webhooks invoice.paid --secret whsk_x", "base64"),
        ("stripe charge -H a:b\x01", "cannot be sent"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(cli, listener, line, said):
    """Nothing is sent then."""
    words = line.split(" ") if line else []
    if "--to" not in words and "--list" not in words and len(words) > 1:
        words += ["--to", listener.url]
    ended = cli("simulate", *words)
    if not said:
        assert ended.code == 0
        return
    assert (ended.code, listener.got) == (2, [])
    assert said in ended.err.splitlines()[-1]


@pytest.mark.skipif(CURL is None, reason="there is no curl")
@pytest.mark.parametrize(("name", "event_type"), SAMPLES)
def test_the_curl_command_sends_the_same(cli, listener, tmp_path, name, event_type):
    """Run in a shell, it sends the method, address, headers and bytes of the request and nothing else."""
    line = [
        "simulate",
        name,
        event_type,
        "--to",
        f"{listener.url}/in/{name}?a=%5Bb%5D",
        "--seed",
        "curl",
        "--at",
        "1760000000",
    ]
    kind = known(name, event_type)[1].key or provider_of(name).key
    if kind is not None:
        (tmp_path / "key.pem").write_bytes(private_key(kind))
        line += ["--key", str(tmp_path / "key.pem")]
    document = cli(*line, "--json", "--curl").json
    ended = subprocess.run(["sh", "-c", document["curl"]], capture_output=True, timeout=20, check=True)
    assert b"200 Answer" in ended.stdout
    [got] = listener.got
    assert got.method == document["method"]
    assert got.body == base64.b64decode(document["body_base64"])
    headers = [pair for pair in got.headers if pair[0].lower() not in ("host", "content-length")]
    assert headers == list(document["headers"].items())


@pytest.mark.skipif(CURL is None, reason="there is no curl")
@pytest.mark.parametrize(
    "data", [b"\x00\xff\r\n'\"$`!", b"@/etc/passwd", "it's 50 % 'naïve' \\ $(x) !!".encode(), b"\t\n"]
)
def test_the_curl_command_is_safe_for_any_bytes(cli, listener, tmp_path, data):
    """Quotes, expansions, control characters and a leading @ are sent as they are; credentials beyond ASCII too."""
    payload = tmp_path / "payload"
    payload.write_bytes(data)
    line = ["simulate", "zapier", "new_row", "--to", listener.url, "--configured", "header=X-Key", "--secret", "kéy's"]
    command = cli(*line, "--data", f"@{payload}", "--curl").out
    subprocess.run(["sh", "-c", command], capture_output=True, timeout=20, check=True)
    [got] = listener.got
    assert got.body == data
    assert dict(got.headers)["X-Key"].encode("latin-1").decode() == "kéy's"
