"""What is special of single rows: several headers, two modes, signatures in the body, weaker headers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.core.verifiers.signed_requests import (
    HEX_KEY,
    JSON_BODY,
    NOW_S,
    OTHER_WHSEC,
    ROWS,
    WHSEC,
    Row,
    b64,
    digest,
    is_valid,
    of_body,
    of_three,
    reason,
    v1a,
    v1a_public,
)

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Verdict


def post(name: str, config: dict[str, Any], headers: Any, body: bytes = JSON_BODY, now_s: float = NOW_S) -> Verdict:
    """What a preset says of a POST."""
    return judge(preset(name), Inbound.of("POST", f"https://h.example/in/{name}", headers, body), config, now_s)


def row(name: str) -> Row:
    """The first row of a provider."""
    return next(row for row in ROWS if row.name == name)


# ------------------------------------------------------------------------------------------------ weaker headers


@pytest.mark.parametrize("name", ["github", "meta", "whatsapp"])
def test_the_old_sha1_header_is_never_looked_at(name):
    """Neither alone, nor beside a newer one that is wrong."""
    sha1 = of_body("X-Hub-Signature", lambda made: f"sha1={made.hex()}", "sha1")(JSON_BODY, "", "s")
    assert reason(post(name, {"secret": "s"}, sha1)) == "missing_signature"
    wrong = {**sha1, "X-Hub-Signature-256": "sha256=" + "0" * 64}
    assert reason(post(name, {"secret": "s"}, wrong)) == "wrong_signature"
    relabelled = {"X-Hub-Signature-256": sha1["X-Hub-Signature"]}
    assert reason(post(name, {"secret": "s"}, relabelled)) == "malformed_signature"


@pytest.mark.parametrize(
    ("name", "header", "prefix"),
    [
        ("github", "x-hub-signature-256", "sha256="),
        ("jira", "x-hub-signature", "sha256="),
        ("intercom", "x-hub-signature", "sha1="),
        ("slack", "x-slack-signature", "v0="),
        ("zoom", "x-zm-signature", "v0="),
        ("typeform", "typeform-signature", "sha256="),
    ],
)
def test_the_prefix_is_part_of_the_signature(name, header, prefix):
    """Without it, or with another, there is none."""
    one = row(name)
    headers = {name.lower(): text for name, text in one.headers().items()}
    digits = headers[header].removeprefix(prefix)
    for other in (digits, "sha512=" + digits, prefix.upper() + digits, "=" + digits, prefix + prefix + digits):
        assert reason(one.judge({**headers, header: other})) == "malformed_signature", other
    assert is_valid(one.judge({**headers, header: prefix + digits}))


def test_the_decoy_of_stripe_proves_nothing():
    """`v0` is not a version that counts, and an unknown one is passed over."""
    stripe = row("stripe")
    written = stripe.headers()["Stripe-Signature"]
    good = written.split(",")[1]
    t = f"t={NOW_S}"
    for header in (
        f"{t},{good.replace('v1', 'v0')}",
        f"{t},{good.replace('v1', 'v2')}",
        f"{t},{good.replace('v1=', '')}",
    ):
        assert reason(stripe.judge({"Stripe-Signature": header})) == "malformed_signature"
    for header in (
        f"{t},{good}",
        f"{good},{t}",
        f"{t}, {good}",
        f"{t},v9=x,v1=00,v1=zz,{good}",
        f"{t},{good.upper().replace('V1', 'v1')}",
    ):
        assert is_valid(stripe.judge({"Stripe-Signature": header})), header


def test_a_secret_of_stripe_is_used_as_it_is_written():
    """Though it begins with whsec_, it is not base64."""
    stripe = row("stripe")
    assert is_valid(stripe.judge(stripe.headers(secret=WHSEC), config={"secret": WHSEC}))
    assert not is_valid(stripe.judge(stripe.headers(secret=WHSEC), config={"secret": WHSEC.removeprefix("whsec_")}))


# ------------------------------------------------------------------------------------------------ several headers


def test_any_of_the_numbered_headers_of_docusign_may_match():
    """-1 to -100, one for each active key; other names are none, and none may be there twice."""
    made = b64(digest(b"s", JSON_BODY))
    name = "X-DocuSign-Signature-{}".format
    for number in (1, 2, 10, 99, 100):
        assert is_valid(post("docusign", {"secret": "s"}, {name(number): made}))
    many: dict[str, str] = {name(number): b64(digest(b"%d" % number, JSON_BODY)) for number in range(1, 100)}
    assert is_valid(post("docusign", {"secret": "s"}, {**many, name(100): made}))
    assert is_valid(post("docusign", {"secret": "s"}, {name(1): "garbage", name(2): made}))
    assert reason(post("docusign", {"secret": "s"}, many)) == "wrong_signature"
    for other in ("0", "101", "01", "x", "", "1a", "-1", "１"):
        assert reason(post("docusign", {"secret": "s"}, {name(other): made})) == "missing_signature"
    assert reason(post("docusign", {"secret": "s"}, [(name(1), made), (name(1), made)])) == "missing_signature"


def test_the_newer_header_of_shopify_counts_where_the_older_is_missing():
    """The older counts where both are there, right or wrong."""
    made = b64(digest(b"s", JSON_BODY))
    assert is_valid(post("shopify", {"secret": "s"}, {"Shopify-Hmac-Sha256": made}))
    both = {"X-Shopify-Hmac-Sha256": b64(digest(b"x", JSON_BODY)), "Shopify-Hmac-Sha256": made}
    assert reason(post("shopify", {"secret": "s"}, both)) == "wrong_signature"


def test_a_secret_of_woocommerce_is_used_without_its_escapes():
    """WordPress shows & " ' < > escaped and signs with what they stand for."""
    woocommerce = row("woocommerce")
    headers = woocommerce.headers(secret="a&b<c>\"d'e")
    for written in ("a&b<c>\"d'e", "a&amp;b&lt;c&gt;&quot;d&#039;e", "a&#038;b&#x3C;c&#062;&#034;d&#x27;e"):
        assert is_valid(woocommerce.judge(headers, config={"secret": written}))
    assert not is_valid(woocommerce.judge(headers, config={"secret": 'a&b<c>"d&apos;e'}))


def test_square_signs_the_address_that_was_registered():
    """Not the one that was called: another, or none, refuses."""
    square = row("square")
    for other in ("https://hooks.example.com/in/square/", "http://hooks.example.com/in/square", "x"):
        assert reason(square.judge(square.headers(), config={**square.config_of(), "notification_url": other}))
    assert reason(square.judge(square.headers(), config={"secret": square.secret})) == "not_configured"


# -------------------------------------------------------------------------------- Standard Webhooks, Svix, GitLab


def test_the_versions_of_standard_webhooks_belong_to_their_keys():
    """An HMAC keyed with a public key, and an Ed25519 signature as `v1`, prove nothing."""
    public = v1a_public("ed")
    hmac_of_public = of_three("webhook")(JSON_BODY, str(NOW_S), "whsec_" + public.removeprefix("whpk_"))
    for config in ({"secret": public}, {"public_key": public}):
        assert is_valid(post("standard_webhooks", config, v1a(JSON_BODY, str(NOW_S), "ed")))
        assert reason(post("standard_webhooks", config, hmac_of_public)) == "malformed_signature"
        relabelled = {name: text.replace("v1,", "v1a,") for name, text in hmac_of_public.items()}
        assert reason(post("standard_webhooks", config, relabelled)) == "wrong_signature"
    ed = {name: text.replace("v1a,", "v1,") for name, text in v1a(JSON_BODY, str(NOW_S), "ed").items()}
    assert reason(post("standard_webhooks", {"secret": [WHSEC, public]}, ed))


def test_keys_of_both_kinds_can_be_valid_at_once():
    """Either kind of signature suffices, also in one header."""
    config = {"secret": [WHSEC, v1a_public("ed")]}
    shared, public = (
        sign(JSON_BODY, str(NOW_S), secret) for sign, secret in ((of_three("webhook"), WHSEC), (v1a, "ed"))
    )
    both = {**shared, "webhook-signature": f"{shared['webhook-signature']} {public['webhook-signature']}"}
    for headers in (shared, public, both):
        assert is_valid(post("standard_webhooks", config, headers))
        assert reason(post("standard_webhooks", config, headers, now_s=NOW_S + 301)) == "stale"
    assert is_valid(post("standard_webhooks", {"secret": WHSEC}, both))
    assert is_valid(post("standard_webhooks", {"public_key": v1a_public("ed")}, both))


@pytest.mark.parametrize("webhook_id", ["", "a.b", "a b", "é", "a" * 65, "a/b", "a\tb", "msg_2b."])
def test_an_id_that_could_move_a_border_is_refused_though_signed(webhook_id):
    """Ids are letters, digits, _ and -, so that the three signed parts are known apart."""
    if webhook_id.isascii():
        headers = of_three("webhook", webhook_id)(JSON_BODY, str(NOW_S), WHSEC)
        assert reason(post("standard_webhooks", {"secret": WHSEC}, headers)) == "malformed_signature"
    shifted = of_three("webhook", "m")(f"{NOW_S}.".encode() + JSON_BODY, "1.2", WHSEC)
    shifted |= {"webhook-id": "m.1", "webhook-timestamp": "2"}
    assert reason(post("standard_webhooks", {"secret": WHSEC}, shifted))


@pytest.mark.parametrize(
    "item", ["v1", "v1,", "v1,a,b", "v1,AAAA ", "V1,{}", "v1a,{}", "v2,{}", "{}", "v1={}", "v1,{}x", "v1, {}"]
)
def test_an_item_of_another_form_is_no_signature(item):
    """It is passed over: alone it proves nothing, beside a good one it does no harm."""
    headers = of_three("webhook")(JSON_BODY, str(NOW_S), WHSEC)
    good = headers["webhook-signature"]
    odd = item.format(good.removeprefix("v1,"))
    assert reason(post("standard_webhooks", {"secret": WHSEC}, {**headers, "webhook-signature": odd}))
    for beside in (f"{odd} {good}", f"{good} {odd}", f" {good}  {odd}"):
        assert is_valid(post("standard_webhooks", {"secret": WHSEC}, {**headers, "webhook-signature": beside}))


@pytest.mark.parametrize("secret", ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", WHSEC.removeprefix("whsec_")])
def test_a_secret_without_padding_or_prefix_is_the_same(secret):
    """As the libraries read it."""
    headers = of_three("webhook")(JSON_BODY, str(NOW_S), WHSEC)
    assert is_valid(post("standard_webhooks", {"secret": secret}, headers))


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_!", "whsec_A", "whsec_AA=A", "whpk_AAAA", "whsk_AAAA", "whsec_AA==="]
)
def test_a_secret_that_is_no_base64_cannot_be_used(secret):
    """Nor can a public key of the wrong length."""
    headers = of_three("webhook")(JSON_BODY, str(NOW_S), WHSEC)
    assert reason(post("standard_webhooks", {"secret": secret}, headers)) == "not_configured"


def test_of_the_two_sets_of_svix_its_own_counts_where_it_is_whole():
    """It sends both; with one it is the other."""
    svix, webhook = (of_three(prefix)(JSON_BODY, str(NOW_S), WHSEC) for prefix in ("svix", "webhook"))
    forged = of_three("svix")(JSON_BODY, str(NOW_S), OTHER_WHSEC)
    for headers in (svix, webhook, {**svix, **webhook}):
        assert is_valid(post("svix", {"secret": WHSEC}, headers))
    assert reason(post("svix", {"secret": WHSEC}, {**webhook, **forged})) == "wrong_signature"
    mixed = {"svix-id": svix["svix-id"], **{name: webhook[name] for name in ("webhook-timestamp", "webhook-signature")}}
    assert reason(post("svix", {"secret": WHSEC}, mixed)) == "missing_signature"
    assert reason(post("standard_webhooks", {"secret": WHSEC}, svix)) == "missing_signature"


def test_the_mode_of_gitlab_says_what_proves_it():
    """A secret token is no substitute for a signature, and a signature none for the token."""
    signed, token = of_three("webhook")(JSON_BODY, str(NOW_S), WHSEC), {"X-Gitlab-Token": "glt"}
    assert is_valid(post("gitlab", {"mode": "token", "secret": "glt"}, token))
    assert is_valid(post("gitlab", {"secret": ["old", "glt"]}, token))
    assert is_valid(post("gitlab", {"secret": WHSEC}, signed))
    assert is_valid(post("gitlab", {"mode": "signing_token", "secret": WHSEC}, {**signed, **token}))
    both = {"secret": [WHSEC, "glt"]}
    assert is_valid(post("gitlab", both, signed))
    assert reason(post("gitlab", both, token)) == "missing_signature"
    assert reason(post("gitlab", {"mode": "token", "secret": WHSEC}, signed)) == "missing_signature"
    assert reason(post("gitlab", {"mode": "token", "secret": "glt"}, {"X-Gitlab-Token": "GLT"})) == "wrong_credential"
    assert reason(post("gitlab", {"mode": "token", "secret": "glt"}, {"X-Gitlab-Token": ""})) == "wrong_credential"
    assert reason(post("gitlab", {"mode": "token", "secret": "glt"}, {})) == "missing_signature"
    assert reason(post("gitlab", {"mode": "other", "secret": "glt"}, token)) == "not_configured"


# ---------------------------------------------------------------------------------------------------------- Mailgun


def mailgun(secret: str = "key", stamp: Any = str(NOW_S), token: str = "a8ce0edb2dd8") -> dict[str, Any]:
    """The object `signature`."""
    made = digest(secret.encode(), f"{stamp}{token}".encode()).hex()
    return {"timestamp": stamp, "token": token, "signature": made}


def mailgun_reason(signature: Any, now_s: float = NOW_S, **config: Any) -> str:
    """Why a request with this `signature` is refused."""
    body = json.dumps({"signature": signature, "event-data": {"event": "opened"}}).encode()
    headers = {"Content-Type": "application/json"}
    return reason(post("mailgun", {"secret": "key", **config}, headers, body, now_s))


def test_mailgun_signs_a_time_and_a_token():
    """As text or as a number, of any age unless a tolerance is configured."""
    assert mailgun_reason(mailgun()) == mailgun_reason(mailgun(stamp=NOW_S)) == ""
    assert mailgun_reason(mailgun(), now_s=0) == ""
    assert mailgun_reason(mailgun(), tolerance_s=900, now_s=NOW_S + 900) == ""
    assert mailgun_reason(mailgun(), tolerance_s=900, now_s=NOW_S + 901) == "stale"
    assert mailgun_reason(mailgun("other")) == "wrong_signature"


@pytest.mark.parametrize(
    "faulty",
    [
        {"token": "b8ce0edb2dd8"},
        {"timestamp": str(NOW_S + 1)},
        {"timestamp": "176000000", "token": "0a8ce0edb2dd8"},
        {"timestamp": "1760000000a", "token": "8ce0edb2dd8"},
        {"timestamp": None},
        {"timestamp": True},
        {"timestamp": 1.76e9},
        {"token": None},
        {"token": {}},
        {"signature": ""},
        {"signature": None},
        {"signature": 7},
        {"signature": ["x"]},
    ],
)
def test_a_changed_part_of_mailgun_s_signature_is_refused(faulty):
    """Nor can a digit be moved between time and token."""
    assert mailgun_reason({**mailgun(), **faulty})


@pytest.mark.parametrize("signature", [None, "x", [], 7, {}])
def test_a_body_of_mailgun_without_signature_is_refused(signature):
    """There is nothing else that could prove it."""
    assert mailgun_reason(signature) == "missing_signature"


def test_the_parent_account_of_mailgun_may_have_signed():
    """With its own key, beside the subaccount's signature; a wrong one is not passed over."""
    parent = mailgun("parent")["signature"]
    assert mailgun_reason({**mailgun("sub"), "parent-signature": parent}, secret="parent") == ""
    assert mailgun_reason({**mailgun("sub"), "parent-signature": parent}, secret="sub") == ""
    assert mailgun_reason({**mailgun("sub"), "parent-signature": parent}, secret="other") == "wrong_signature"
    assert (
        mailgun_reason({**mailgun("sub"), "parent-signature": parent}, secret="parent", tolerance_s=1, now_s=0)
        == "stale"
    )


def mailgun_form(fields: list[tuple[str, str]], *, multipart: bool) -> str:
    """Why a form is refused."""
    if not multipart:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return reason(post("mailgun", {"secret": "key"}, headers, urlencode(fields).encode()))
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join(part.format(name, text) for name, text in fields) + "--x--\r\n"
    headers = {"Content-Type": 'multipart/form-data; boundary="x"'}
    return reason(post("mailgun", {"secret": "key"}, headers, body.encode()))


@pytest.mark.parametrize("multipart", [False, True])
def test_forms_of_mailgun_are_signed_in_their_fields(multipart):
    """Of fields with one name the last counts: what a user adds comes before."""
    fields = list(mailgun().items())
    assert mailgun_form([("event", "opened"), *fields], multipart=multipart) == ""
    assert mailgun_form([("signature", "x"), ("token", "y"), *fields], multipart=multipart) == ""
    assert mailgun_form([*fields, ("token", "y")], multipart=multipart) == "wrong_signature"
    assert mailgun_form(fields[:2], multipart=multipart) == "missing_signature"
    assert mailgun_form([("a", "b")] * 1001, multipart=multipart) == "malformed_body"


def test_a_form_of_mailgun_without_an_end_is_refused():
    """What is not a form has no fields."""
    for boundary in ("", "; boundary=x"):
        headers = {"Content-Type": f"multipart/form-data{boundary}"}
        assert reason(post("mailgun", {"secret": "key"}, headers, b"--x\r\n")) == "malformed_body"


# ------------------------------------------------------------------------------------------------------------ Adyen

ITEM = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "Ref:with:colons",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}


def signed_item(**changes: Any) -> dict[str, Any]:
    """An item, signed, then changed."""
    amount = ITEM["amount"]
    assert isinstance(amount, dict)
    text = (
        f"{ITEM['pspReference']}::{ITEM['merchantAccountCode']}:{ITEM['merchantReference']}:{amount['value']}:"
        f"{amount['currency']}:{ITEM['eventCode']}:{ITEM['success']}"
    )
    made = b64(digest(bytes.fromhex(HEX_KEY), text.encode()))
    return {**ITEM, "additionalData": {"hmacSignature": made}, **changes}


def adyen(*items: Any, headers: Any = (), **config: Any) -> str:
    """Why a request with these items is refused."""
    body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": one} for one in items]})
    return reason(post("adyen", {"hmac_key": HEX_KEY, **config}, headers, body.encode()))


def test_each_item_of_adyen_is_signed_by_itself():
    """All of them must be; what is not signed may be anything."""
    assert adyen(signed_item()) == adyen(signed_item(), signed_item(reason="x")) == ""
    assert adyen(signed_item(), signed_item(success="false")) == "wrong_signature"
    assert adyen(signed_item(), ITEM) == "missing_signature"
    assert adyen() == "malformed_body"
    assert adyen(*[signed_item()] * 101) == "malformed_body"


@pytest.mark.parametrize(
    "change",
    [
        {"pspReference": "7914073381342285"},
        {"originalReference": "1"},
        {"merchantAccountCode": ""},
        {"merchantReference": None},
        {"amount": {"value": 1131, "currency": "EUR"}},
        {"amount": {"value": "1130", "currency": "USD"}},
        {"amount": None},
        {"eventCode": "CAPTURE"},
        {"success": "false"},
        {"success": False},
        {"pspReference": {"a": 1}},
        {"additionalData": {}},
        {"additionalData": {"hmacSignature": ""}},
        {"additionalData": {"hmacSignature": 7}},
        {"additionalData": None},
    ],
)
def test_a_changed_field_of_adyen_is_refused(change):
    """Each of the eight signed fields counts."""
    assert adyen(signed_item(**change))


def test_the_borders_between_the_fields_of_adyen_cannot_be_moved():
    """They are joined by colons without escapes: only the merchant's reference may have some."""
    moved = signed_item(merchantAccountCode="TestMerchant:Ref", merchantReference="with:colons")
    assert adyen(moved) == "malformed_body"
    swallowed = signed_item(pspReference="7914073381342284:", merchantAccountCode="TestMerchant")
    swallowed["originalReference"] = ""
    assert adyen(swallowed) in ("wrong_signature", "malformed_body")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"7", b'{"notificationItems":{}}', b'{"notificationItems":[7]}', b"{" * 200]
)
def test_a_body_that_is_none_of_adyen_s_is_malformed(body):
    """There are no items to verify."""
    assert reason(post("adyen", {"hmac_key": HEX_KEY}, {}, body)) == "malformed_body"


def test_adyen_may_be_asked_for_basic_credentials_too():
    """Then both must be right."""
    config = {"username": "u", "password": "p"}
    basic = {"Authorization": "Basic " + b64(b"u:p")}
    assert adyen(signed_item(), headers=basic, **config) == ""
    assert adyen(signed_item(), **config) == "missing_signature"
    assert adyen(signed_item(), headers={"Authorization": "Basic " + b64(b"u:x")}, **config) == "wrong_credential"
    assert adyen(ITEM, headers=basic, **config) == "missing_signature"


def test_a_mode_of_adyen_takes_no_other():
    """A body signed in the header is nothing in standard mode, and the other way round."""
    header = row("adyen")
    assert reason(header.judge(header.headers(), config={"hmac_key": HEX_KEY})) == "malformed_body"
    assert adyen(signed_item(), mode="header") == "missing_signature"
    for key in ("xyz", "ABC", "", 7):
        assert adyen(signed_item(), hmac_key=key) == "not_configured"
