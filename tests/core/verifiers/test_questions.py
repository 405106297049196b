"""Questions that providers ask about an address: exactly their answers, and no answer to who may not ask."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from tests.core.verifiers.signed_requests import (
    NOW_S,
    ROWS,
    Row,
    b64,
    digest,
    of_body,
    of_v0,
    reason,
)

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Verdict, Verified

URL = "https://hooks.example.com/in/x"
JSON_TYPE = ("content-type", "application/json")
PLAIN = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))


def ask(name: str, config: dict[str, Any], *, method: str = "GET", url: str = URL, **headers: str) -> Verdict:
    """What a preset says of a request without a body."""
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(preset(name), Inbound.of(method, url, pairs, b""), config, NOW_S)


def row(name: str) -> Row:
    """The first row of a provider."""
    return next(row for row in ROWS if row.name == name)


# ------------------------------------------------------------------------------------------------ Slack and Zoom


def test_slack_is_answered_its_challenge():
    """As plain text, when the question is signed."""
    body = b'{"token":"x","challenge":"3eZbrw1aB10FEMA","type":"url_verification"}'
    slack = row("slack")
    assert slack.judge(slack.headers(body), body) == Handshake(200, b"3eZbrw1aB10FEMA", PLAIN)
    assert reason(slack.judge(slack.headers(body, secret="other"), body)) == "wrong_signature"
    assert reason(slack.judge({}, body)) == "missing_signature"
    assert reason(slack.judge(slack.headers(body), body, now_s=NOW_S + 301)) == "stale"


@pytest.mark.parametrize("body", [b'{"type":"url_verification"}', b'{"type":"url_verification","challenge":7}'])
def test_a_challenge_of_slack_that_is_no_text_is_malformed(body):
    """There is nothing to give back."""
    slack = row("slack")
    assert reason(slack.judge(slack.headers(body), body)) == "malformed_body"


def test_slack_checks_the_address_of_a_command():
    """`ssl_check` is answered 200 and is no event; a command is one."""
    sign = of_v0("X-Slack-Signature", "X-Slack-Request-Timestamp")
    for body, expected in (
        (b"ssl_check=1&token=x", Handshake(200)),
        (b"command=%2Fdeploy&text=now", Verified()),
        (b"payload=%7B%22type%22%3A%22block_actions%22%7D", Verified()),
    ):
        headers = {"Content-Type": "application/x-www-form-urlencoded", **sign(body, str(NOW_S), row("slack").secret)}
        assert row("slack").judge(headers, body) == expected


def test_zoom_is_answered_its_token_and_its_hmac():
    """Made with the secret that signed the question, when there are several."""
    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}'
    zoom = row("zoom")
    for signer in (zoom.secret, zoom.other):
        config = zoom.config_of(zoom.other, zoom.secret)
        verdict = zoom.judge(zoom.headers(body, secret=signer), body, config=config)
        made = hmac.new(signer.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        text = f'{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{made}"}}'
        assert verdict == Handshake(200, text.encode(), (JSON_TYPE,))
    assert reason(zoom.judge({}, body)) == "missing_signature"


def test_a_question_of_zoom_without_a_token_is_malformed():
    """There is nothing to give back."""
    body = b'{"event":"endpoint.url_validation","payload":{}}'
    assert reason(row("zoom").judge(row("zoom").headers(body), body)) == "malformed_body"


# ------------------------------------------------------------------------------------------------- Meta, Dropbox


@pytest.mark.parametrize("name", ["meta", "whatsapp"])
def test_meta_is_answered_its_challenge_by_who_knows_the_token(name):
    """200 with the challenge and nothing else; one of several tokens suffices."""
    url = f"{URL}?hub.mode=subscribe&hub.verify_token=meaty%2Bhamhock&hub.challenge=1158201444"
    expected = Handshake(200, b"1158201444", PLAIN)
    assert ask(name, {"verify_token": "meaty+hamhock"}, url=url) == expected
    assert ask(name, {"verify_token": ["old", "meaty+hamhock"]}, url=url) == expected


@pytest.mark.parametrize(
    "query",
    [
        "",
        "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=right",
        "hub.mode=subscribe&hub.verify_token=right&hub.challenge=",
        "hub.mode=unsubscribe&hub.verify_token=right&hub.challenge=1",
        "hub.verify_token=right&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=right&hub.verify_token=right&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=RIGHT&hub.challenge=1",
        "hub_mode=subscribe&hub_verify_token=right&hub_challenge=1",
        "hub.mode=subscribe&hub.verify_token=%FF&hub.challenge=1",
    ],
)
def test_others_are_forbidden_meta_s_challenge(query):
    """403, as Meta expects of a token that is not right."""
    verdict = ask("meta", {"verify_token": "right", "secret": "s"}, url=f"{URL}?{query}")
    assert reason(verdict)
    assert verdict.status == 403  # type: ignore[union-attr]


def test_the_signature_of_meta_does_not_prove_a_get():
    """A question needs its own token, and without one configured there is no answer."""
    headers = of_body("X-Hub-Signature-256", lambda made: f"sha256={made.hex()}")(b"", "", "s")
    request = Inbound.of("GET", f"{URL}?hub.mode=subscribe&hub.verify_token=x&hub.challenge=1", headers, b"")
    assert reason(judge(preset("meta"), request, {"secret": "s"}, NOW_S)) == "not_configured"


def test_dropbox_is_answered_its_challenge():
    """As plain text that no browser takes for anything else."""
    url = f"{URL}?challenge=%3Cscript%3E%C3%BC"
    assert ask("dropbox", {}, url=url) == Handshake(200, "<script>ü".encode(), PLAIN)
    for query in ("", "challenge=", "challenge=a&challenge=b", "other=1"):
        assert reason(ask("dropbox", {"secret": "s"}, url=f"{URL}?{query}")) == "unsupported"


# --------------------------------------------------------------------------------------------- Okta, CloudEvents


def test_okta_is_answered_its_challenge_when_it_brings_the_credential():
    """The question carries the configured header too."""
    config = {"header": "X-Hook-Key", "secret": "s3"}
    verdict = ask("okta", config, X_Hook_Key="s3", X_Okta_Verification_Challenge='ab c"é')
    assert isinstance(verdict, Handshake)
    assert (verdict.status, verdict.headers) == (200, (JSON_TYPE,))
    assert json.loads(verdict.body) == {"verification": 'ab c"é'}
    assert reason(ask("okta", config, X_Hook_Key="s4", X_Okta_Verification_Challenge="x")) == "wrong_credential"
    assert reason(ask("okta", config, X_Okta_Verification_Challenge="x")) == "missing_signature"
    assert reason(ask("okta", config, X_Hook_Key="s3")) == "unsupported"


def options(config: dict[str, Any], **headers: str) -> Verdict:
    """What a CloudEvents handshake is answered."""
    return ask("cloudevents", config, method="OPTIONS", **headers)


def test_cloudevents_are_allowed_to_configured_origins():
    """The permission is in the headers, with the rate where one was asked for."""
    config = {"allowed_origins": ["a.example", "b.example"], "allowed_rate": 120}
    allow = ("allow", "POST")
    rate = ("webhook-allowed-rate", "120")
    for origin in ("a.example", "B.Example"):
        verdict = options(config, WebHook_Request_Origin=origin, WebHook_Request_Rate="10")
        assert verdict == Handshake(200, b"", (("webhook-allowed-origin", origin), rate, allow))
    anybody = options({"allowed_origins": "*"}, WebHook_Request_Origin="c.example", WebHook_Request_Rate="10")
    assert anybody == Handshake(200, b"", (("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*"), allow))
    quiet = options({"allowed_origins": "*"}, WebHook_Request_Origin="c.example")
    assert quiet == Handshake(200, b"", (("webhook-allowed-origin", "*"), allow))


def test_cloudevents_are_not_allowed_to_others():
    """No permission is given, to nobody where none is configured."""
    config = {"allowed_origins": ["a.example"]}
    assert reason(options(config, WebHook_Request_Origin="b.example")) == "wrong_credential"
    assert reason(options(config, WebHook_Request_Origin="xa.example")) == "wrong_credential"
    assert reason(options(config, WebHook_Request_Origin="*")) == "wrong_credential"
    assert reason(options(config)) == "unsupported"
    assert reason(options({}, WebHook_Request_Origin="a.example")) == "not_configured"
    for rate in ("0", "-1", "1.5", "fast", 0, True, [], 1.5):
        faulty = {**config, "allowed_rate": rate}
        assert reason(options(faulty, WebHook_Request_Origin="a.example")) == "not_configured"


# ------------------------------------------------------------------------------------------------------- Discord


@pytest.mark.parametrize(
    ("mode", "body", "expected"),
    [
        ("", b'{"type":1}', Handshake(200, b'{"type":1}', (JSON_TYPE,))),
        ("", b'{"type":0}', Handshake(204)),
        ("", b'{"type":1,"event":{"type":"X"}}', Verified()),
        ("", b'{"type":2}', Verified()),
        ("", b'{"type":true}', Verified()),
        ("", b'{"type":"1"}', Verified()),
        ("", b"not JSON", Verified()),
        ("interactions", b'{"type":1}', Handshake(200, b'{"type":1}', (JSON_TYPE,))),
        ("interactions", b'{"type":0}', Verified()),
        ("webhook_events", b'{"type":0}', Handshake(204)),
        ("webhook_events", b'{"type":1,"event":{}}', Verified()),
        ("webhook_events", b'{"type":1}', Verified()),
    ],
)
def test_the_pings_of_discord_are_answered_in_their_mode(mode, body, expected):
    """Interactions want their ping back, webhook events an empty 204; both only when signed."""
    discord = row("discord")
    config = discord.config_of(**({"mode": mode} if mode else {}))
    assert discord.judge(discord.headers(body), body, config=config) == expected
    forged = {**discord.headers(body), "X-Signature-Ed25519": "0" * 128}
    assert reason(discord.judge(forged, body, config=config)) == "wrong_signature"


# ------------------------------------------------------------------------------------ Xero, WooCommerce, Intercom


def test_the_intent_to_receive_of_xero_is_answered_by_a_status_alone():
    """200 when it is signed well, 401 when not; neither has a body."""
    body = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}'
    xero = row("xero")
    assert xero.judge(xero.headers(body), body) == Handshake(200)
    bad = xero.judge({"x-xero-signature": b64(digest(b"other", body))}, body)
    assert reason(bad) == "wrong_signature"
    assert bad.status == 401  # type: ignore[union-attr]
    assert preset("xero").refusal is not None
    assert preset("xero").refusal.body == preset("xero").reply.body == ""


def ping(body: bytes, **headers: str) -> Verdict:
    """What WooCommerce's unsigned form is answered."""
    pairs = {"Content-Type": "application/x-www-form-urlencoded"}
    pairs |= {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(preset("woocommerce"), Inbound.of("POST", URL, pairs, body), {"secret": "s"}, NOW_S)


def test_the_ping_of_woocommerce_is_answered_200():
    """The one thing that it sends unsigned, when a webhook is saved."""
    assert ping(b"webhook_id=7") == Handshake(200)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"webhook_id=7&order=1", {}),
        (b"webhook_id=", {}),
        (b"webhook_id=x", {}),
        (b"webhook_id=7\n", {}),
        (b" webhook_id=7", {}),
        (b"webhook_id=-7", {}),
        (b"webhook_id=" + b"7" * 21, {}),
        (b"", {}),
        (b"webhook_id=7", {"X_WC_Webhook_Topic": "order.created"}),
        (b"webhook_id=7", {"X_WC_Webhook_Signature": "AAAA"}),
        (b"webhook_id=7", {"X_WC_Webhook_Delivery_ID": "1"}),
        (b"webhook_id=7", {"Content_Type": "application/json"}),
    ],
)
def test_anything_more_than_the_ping_must_be_signed(body, headers):
    """What is not exactly that form is no ping."""
    assert reason(ping(body, **headers)) in ("missing_signature", "wrong_signature")


def test_intercom_asks_by_head_and_by_ping():
    """Whether the address is there, unsigned, and by a signed notification of its own."""
    assert ask("intercom", {}, method="HEAD") == Handshake(200)
    body = b'{"type":"notification_event","topic":"ping"}'
    intercom = row("intercom")
    assert intercom.judge(intercom.headers(body), body) == Handshake(200)
    assert reason(intercom.judge({}, body)) == "missing_signature"


# -------------------------------------------------------------------------------------------------------- answers


def test_adyen_is_answered_accepted():
    """Standard webhooks want that word; the others a 202."""
    adyen = preset("adyen")
    assert (adyen.reply_in("").status, adyen.reply_in("").body) == (200, "[accepted]")
    assert (adyen.reply_in("standard").body, adyen.reply_in("header").status) == ("[accepted]", 202)


def test_answers_that_must_be_empty_are():
    """A command's answer is shown to a user, and some providers look at the status alone."""
    for name, mode, status in (
        ("slack", "", 200),
        ("okta", "", 204),
        ("xero", "", 200),
        ("discord", "webhook_events", 204),
    ):
        reply = preset(name).reply_in(mode)
        assert (reply.status, reply.body) == (status, "")
