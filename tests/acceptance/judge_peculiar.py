"""What is peculiar to single providers that sign with a header: rotations, handshakes, alternate headers."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.judge_cases import (
    FORM,
    JSON,
    OPEN,
    REFUSED,
    VALID,
    Moment,
    Request,
    add,
    b64,
    digest,
    hexed,
    sha,
)
from tests.acceptance.judge_headers import BODY, SECRET, scheme

# Tables of cases: the formatter would give each word a line.
# fmt: off

S = {"secret": SECRET}


def mac(m: Moment, content: bytes, secret: str = SECRET) -> str:
    """Hex HMAC-SHA256."""
    return hexed(digest(secret, content))


def stripe() -> None:
    """Items of the header: several v1, v0 is no signature."""

    def header(text: str, config: dict[str, Any] = S, body: bytes = BODY) -> Any:
        def build(m: Moment) -> Request:
            t = str(m.now_s)
            good = mac(m, f"{t}.".encode() + BODY)
            old = mac(m, f"{t}.".encode() + BODY, "old")
            return Request({"Stripe-Signature": text.format(t=t, good=good, old=old, bad="0" * 64)}, body)

        return build

    for name, expect, text in [
        ("v0-only", REFUSED, "t={t},v0={good}"),
        ("v0-beside", VALID, "t={t},v1={good},v0={bad}"),
        ("v0-good-v1-bad", REFUSED, "t={t},v1={bad},v0={good}"),
        ("v1-second", VALID, "t={t},v1={bad},v1={good}"),
        ("v1-first", VALID, "t={t},v1={good},v1={bad}"),
        ("v1-third-short", VALID, "t={t},v1=ab,v1=0,v1={good}"),
        ("order", VALID, "v1={good},t={t}"),
        ("spaces", VALID, "t={t}, v1={good}"),
        ("v2-only", REFUSED, "t={t},v2={good}"),
        ("v11", REFUSED, "t={t},v11={good}"),
        ("name-upper", REFUSED, "t={t},V1={good}"),
        ("nothing", REFUSED, ","),
        ("t-only", REFUSED, "t={t}"),
        ("unknown-beside", VALID, "t={t},x=1,v1={good},v9={bad}"),
        ("semicolons", REFUSED, "t={t};v1={good}"),
        ("t-twice-forged", REFUSED, "t=1,v1={good},t=2"),
        ("old-secret", REFUSED, "t={t},v1={old}"),
        ("garbage", REFUSED, "t={t},v1"),
        ("many", REFUSED, "t={t}" + ",v1={bad}" * 80),
    ]:
        add("stripe", f"items-{name}", expect, S, header(text))
    add("stripe", "items-two-live", VALID, {"secret": ["new", "old"]}, header("t={t},v1={bad},v1={old}"))
    whsec = "whsec_" + b64(b"0123456789abcdef")
    add("stripe", "secret-decoded", REFUSED, {"secret": whsec}, lambda m: Request(
        {"Stripe-Signature": f"t={m.now_s},v1=" + hexed(digest(b"0123456789abcdef", f"{m.now_s}.".encode() + BODY))}, BODY))
    add("stripe", "content-no-dot", REFUSED, S, lambda m: Request(
        {"Stripe-Signature": f"t={m.now_s},v1=" + mac(m, str(m.now_s).encode() + BODY)}, BODY))
    add("stripe", "content-body-only", REFUSED, S, lambda m: Request(
        {"Stripe-Signature": f"t={m.now_s},v1=" + mac(m, BODY)}, BODY))
    add("stripe", "shifted", REFUSED, S, lambda m: Request(
        {"Stripe-Signature": f"t={m.now_s}.1,v1=" + mac(m, f"{m.now_s}.1.".encode() + BODY)}, BODY))


def hubs() -> None:
    """GitHub, Jira, Bitbucket, Meta, WhatsApp, Intercom: X-Hub-Signature and its weaker kin."""
    strong = "sha256=" + hexed(digest(SECRET, BODY))
    weak = "sha1=" + hexed(digest(SECRET, BODY, "sha1"))
    for p in ("github", "meta", "whatsapp"):
        event = {"X-GitHub-Event": "push"} if p == "github" else {}
        for name, expect, headers in [
            ("weak-only", REFUSED, {"X-Hub-Signature": weak}),
            ("weak-in-strong", REFUSED, {"X-Hub-Signature-256": weak}),
            ("strong-in-weak", REFUSED, {"X-Hub-Signature": strong}),
            ("strong-bad-weak-good", REFUSED, {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-Hub-Signature": weak}),
            ("strong-empty-weak-good", REFUSED, {"X-Hub-Signature-256": "", "X-Hub-Signature": weak}),
            ("both", VALID, {"X-Hub-Signature-256": strong, "X-Hub-Signature": weak}),
            ("weak-bad-beside", VALID, {"X-Hub-Signature-256": strong, "X-Hub-Signature": "sha1=" + "0" * 40}),
        ]:
            add(p, name, expect, S, Request(JSON | event | headers, BODY))
    for p in ("jira", "bitbucket"):
        add(p, "weak", REFUSED, S, Request(JSON | {"X-Hub-Signature": weak}, BODY))
        add(p, "other-name", REFUSED, S, Request(JSON | {"X-Hub-Signature-256": strong}, BODY))
    add("intercom", "sha256", REFUSED, S, Request(JSON | {"X-Hub-Signature": strong}, BODY))
    add("intercom", "other-name", REFUSED, S, Request(JSON | {"X-Hub-Signature-256": strong}, BODY))
    ping = b'{"zen":"Keep it logically awesome.","hook_id":1}'
    signed = {"X-Hub-Signature-256": "sha256=" + hexed(digest(SECRET, ping))}
    add("github", "ping", VALID, S, Request(JSON | signed | {"X-GitHub-Event": "ping"}, ping))
    add("github", "ping-unsigned", REFUSED, S, Request(JSON | {"X-GitHub-Event": "ping"}, ping))
    payload = b"payload=%7B%22action%22%3A%22opened%22%7D&x=+%2B"
    signed = {"X-GitHub-Event": "issues", "X-Hub-Signature-256": "sha256=" + hexed(digest(SECRET, payload))}
    add("github", "form", VALID, S, Request(FORM | signed, payload))
    add("github", "form-reencoded", REFUSED, S, Request(FORM | signed, payload.replace(b"+%2B", b"%20%2B")))
    for p in ("meta", "whatsapp"):
        config = S | {"verify_token": "meaty ham&hock"}
        good = "hub.mode=subscribe&hub.verify_token=meaty%20ham%26hock&hub.challenge=1158201444"
        for name, expect, query, more in [
            ("verify", VALID, good, {"status": 200, "answer": b"1158201444"}),
            ("verify-order", VALID, "&".join(reversed(good.split("&"))), {"status": 200, "answer": b"1158201444"}),
            ("verify-plus", VALID, good.replace("%20", "+"), {"status": 200, "answer": b"1158201444"}),
            ("verify-text", VALID, good + "%3Cb%3E", {"status": 200, "answer": b"1158201444<b>"}),
            ("verify-wrong", REFUSED, good.replace("hock", "hick"), {"status": 403}),
            ("verify-cut", REFUSED, good.replace("hock", "hoc"), {"status": 403}),
            ("verify-empty", REFUSED, good.replace("meaty%20ham%26hock", ""), {"status": 403}),
            ("verify-missing", REFUSED, "hub.mode=subscribe&hub.challenge=1", {"status": 403}),
            ("verify-mode", REFUSED, good.replace("subscribe", "publish"), {}),
            ("verify-no-challenge", OPEN, good.partition("&hub.challenge")[0], {}),
            ("verify-nothing", REFUSED, "", {}),
            ("verify-twice", OPEN, good + "&hub.verify_token=x", {}),
        ]:
            add(p, name, expect, config, Request({}, b"", "GET", query), **more)
        unset = "hub.mode=subscribe&hub.verify_token=&hub.challenge=1"
        add(p, "verify-not-configured", REFUSED, S, Request({}, b"", "GET", unset))
        add(p, "verify-null", REFUSED, S | {"verify_token": ""}, Request({}, b"", "GET", unset), offline=True)
        add(p, "verify-as-post", REFUSED, config, Request(JSON, b"{}", "POST", good))
        add(p, "verify-only-token", VALID, {"verify_token": "t"}, Request(
            {}, b"", "GET", "hub.mode=subscribe&hub.verify_token=t&hub.challenge=7"), status=200, answer=b"7")


def shops() -> None:
    """Shopify's second name, WooCommerce's unsigned ping, DocuSign's numbered headers."""
    good = b64(digest(SECRET, BODY))
    bad = b64(digest("x", BODY))
    for name, expect, headers in [
        ("second-name", VALID, {"shopify-hmac-sha256": good, "shopify-topic": "orders/create"}),
        ("second-name-bad", REFUSED, {"shopify-hmac-sha256": bad}),
        ("both-good", VALID, {"shopify-hmac-sha256": good, "X-Shopify-Hmac-Sha256": good}),
        ("both-bad", REFUSED, {"shopify-hmac-sha256": bad, "X-Shopify-Hmac-Sha256": bad}),
        ("first-bad", OPEN, {"shopify-hmac-sha256": good, "X-Shopify-Hmac-Sha256": bad}),
        ("topic-changed", VALID, {"X-Shopify-Hmac-Sha256": good, "X-Shopify-Topic": "a/b", "X-Shopify-Webhook-Id": "z"}),
    ]:
        add("shopify", name, expect, S, Request(JSON | headers, BODY))
    for name, expect, headers, body in [
        ("ping", VALID, FORM, b"webhook_id=3"),
        ("ping-long", VALID, FORM, b"webhook_id=123456789"),
        ("ping-topic", REFUSED, FORM | {"X-WC-Webhook-Topic": "order.created"}, b"webhook_id=3"),
        ("ping-more", REFUSED, FORM, b"webhook_id=3&order=4"),
        ("ping-more-before", REFUSED, FORM, b"a=1&webhook_id=3"),
        ("ping-twice", REFUSED, FORM, b"webhook_id=3&webhook_id=4"),
        ("ping-word", REFUSED, FORM, b"webhook_id=abc"),
        ("ping-empty", REFUSED, FORM, b"webhook_id="),
        ("ping-json", REFUSED, JSON, b'{"webhook_id":3}'),
        ("ping-newline", REFUSED, FORM, b"webhook_id=3\n"),
        ("ping-signed-wrong", OPEN, FORM | {"X-WC-Webhook-Signature": bad}, b"webhook_id=3"),
        ("ping-as-json-type", OPEN, JSON, b"webhook_id=3"),
    ]:
        add("woocommerce", name, expect, S, Request(headers, body), **({"status": 200} if expect == VALID else {}))
    add("woocommerce", "secret-unescaped", VALID, {"secret": "a&b\"c'<d>"}, Request(
        JSON | {"X-WC-Webhook-Topic": "x.y", "X-WC-Webhook-Signature": b64(digest("a&b\"c'<d>", BODY))}, BODY))
    two = {"secret": ["k1", "k2"]}
    for name, expect, headers in [
        ("second", VALID, {"X-DocuSign-Signature-1": bad, "X-DocuSign-Signature-2": good}),
        ("only-second", VALID, {"X-DocuSign-Signature-2": good}),
        ("hundredth", VALID, {"X-DocuSign-Signature-100": good}),
        ("first-of-two", VALID, {"X-DocuSign-Signature-1": good, "X-DocuSign-Signature-2": bad}),
        ("garbage-beside", VALID, {"X-DocuSign-Signature-1": "!!", "X-DocuSign-Signature-2": good}),
        ("all-bad", REFUSED, {"X-DocuSign-Signature-1": bad, "X-DocuSign-Signature-2": bad}),
        ("unnumbered", OPEN, {"X-DocuSign-Signature": good}),
        ("named", OPEN, {"X-DocuSign-Signature-abc": good}),
        ("beyond", OPEN, {"X-DocuSign-Signature-101": good}),
    ]:
        add("docusign", f"numbered-{name}", expect, S, Request(JSON | headers, BODY))
    add("docusign", "numbered-two-keys", VALID, two, Request(
        {"X-DocuSign-Signature-1": b64(digest("gone", BODY)), "X-DocuSign-Signature-2": b64(digest("k2", BODY))}, BODY))
    xml = b"<DocuSignEnvelopeInformation>\r\n</DocuSignEnvelopeInformation>\r\n"
    signed = {"Content-Type": "text/xml", "X-DocuSign-Signature-1": b64(digest(SECRET, xml))}
    add("docusign", "xml", VALID, S, Request(signed, xml))
    add("docusign", "xml-lf", REFUSED, S, Request(signed, xml.replace(b"\r\n", b"\n")))


def challenges() -> None:
    """Slack's, Zoom's, Dropbox's and Xero's questions."""
    slack, zoom = scheme("slack"), scheme("zoom")
    ask = b'{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}'
    add("slack", "url-verification", VALID, S, lambda m: Request(slack.sign(m, ask, SECRET), ask), status=200,
        answer=b"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P")
    add("slack", "url-verification-forged", REFUSED, S, lambda m: Request(slack.sign(m, ask, "x"), ask), status=401)
    add("slack", "url-verification-unsigned", REFUSED, S, Request(JSON, ask), status=401)
    stale = lambda m: Request(slack.sign(m, ask, SECRET, t=str(m.now_s - 400)), ask)  # noqa: E731
    add("slack", "url-verification-stale", REFUSED, S, stale, status=401)
    for name, body in {
        "command": b"token=x&team_id=T1&command=%2Fweather&text=94070&trigger_id=13",
        "interactive": b"payload=%7B%22type%22%3A%22block_actions%22%7D",
    }.items():
        add("slack", name, VALID, S, lambda m, body=body: Request(slack.sign(m, body, SECRET) | FORM, body))
        add("slack", f"{name}-changed", REFUSED, S, lambda m, body=body: Request(slack.sign(m, body, SECRET) | FORM, body + b"&a=b"))
    add("slack", "retry", VALID, S, lambda m: Request(
        slack.sign(m, BODY, SECRET) | {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}, BODY))
    plain = b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1}'
    want = {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": mac(None, b"qgg8vlvZRS6UYooatFL8Aw")}  # type: ignore[arg-type]
    add("zoom", "url-validation", VALID, S, lambda m: Request(zoom.sign(m, plain, SECRET), plain), status=200,
        answer=json.dumps(want).encode())
    add("zoom", "url-validation-forged", REFUSED, S, lambda m: Request(zoom.sign(m, plain, "x"), plain), status=401)
    add("zoom", "url-validation-unsigned", REFUSED, S, Request(JSON, plain), status=401)
    add("zoom", "url-validation-stale", REFUSED, S, lambda m: Request(zoom.sign(m, plain, SECRET, t=str(m.now_s - 999)), plain))
    for p in ("slack", "zoom"):
        add(p, "content-dots", REFUSED, S, lambda m, s=scheme(p): Request(
            s.sign(m, BODY, SECRET, text=mac(m, f"v0.{m.now_s}.".encode() + BODY)), BODY))
        add(p, "content-body-only", REFUSED, S, lambda m, s=scheme(p): Request(
            s.sign(m, BODY, SECRET, text=mac(m, BODY)), BODY))
    for name, query, answer in [
        ("challenge", "challenge=abc-123_x", b"abc-123_x"),
        ("challenge-encoded", "challenge=a%20b%2Bc+d", b"a b+c d"),
        ("challenge-html", "challenge=%3Cscript%3E", b"<script>"),
    ]:
        add("dropbox", name, VALID, S, Request({}, b"", "GET", query), status=200, answer=answer)
    add("dropbox", "challenge-missing", REFUSED, S, Request({}, b"", "GET", ""))
    add("dropbox", "challenge-as-post", REFUSED, S, Request(JSON, b"{}", "POST", "challenge=abc"))
    empty = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}'
    add("xero", "intent-good", VALID, S, Request(JSON | {"x-xero-signature": b64(digest(SECRET, empty))}, empty),
        status=200, answer=b"")
    add("xero", "intent-bad", REFUSED, S, Request(JSON | {"x-xero-signature": b64(digest("x", empty))}, empty),
        status=401, answer=b"")
    add("xero", "key-decoded", REFUSED, {"secret": b64(b"0123456789")}, Request(
        JSON | {"x-xero-signature": b64(digest(b"0123456789", BODY))}, BODY), status=401)
    add("xero", "event", VALID, S, lambda m: Request(scheme("xero").sign(m, b'{"events":[{"eventCategory":"INVOICE","eventType":"UPDATE"}]}', SECRET), b'{"events":[{"eventCategory":"INVOICE","eventType":"UPDATE"}]}'))


def urls() -> None:
    """HubSpot's three versions, Square's registered address, Paddle's and Calendly's items."""
    hub = scheme("hubspot")
    three, two, one = ({**S, "signature_version": v} for v in ("v3", "v2", "v1"))
    v1 = sha(SECRET.encode() + BODY)

    def v2(m: Moment, method: str = "POST") -> str:
        return sha(SECRET.encode() + method.encode() + m.url.encode() + BODY)

    def head(signature: str, version: str) -> dict[str, str]:
        return JSON | {"X-HubSpot-Signature": signature, "X-HubSpot-Signature-Version": version}

    for name, expect, config, build in [
        ("v1", VALID, one, lambda m: Request(head(v1, "v1"), BODY)),
        ("v1-url-changed", VALID, one, lambda m: Request(head(v1, "v1"), BODY, query="a=b")),
        ("v1-body", REFUSED, one, lambda m: Request(head(v1, "v1"), BODY + b" ")),
        ("v1-hmac", REFUSED, one, lambda m: Request(head(mac(m, BODY), "v1"), BODY)),
        ("v1-secret", REFUSED, one, lambda m: Request(head(sha(b"x" + BODY), "v1"), BODY)),
        ("v1-no-secret", REFUSED, one, lambda m: Request(head(sha(BODY), "v1"), BODY)),
        ("v1-rotation", VALID, {"secret": ["a", SECRET], "signature_version": "v1"}, lambda m: Request(head(v1, "v1"), BODY)),
        ("v1-missing", REFUSED, one, lambda m: Request(JSON, BODY)),
        ("v2", VALID, two, lambda m: Request(head(v2(m), "v2"), BODY)),
        ("v2-method", REFUSED, two, lambda m: Request(head(v2(m, "GET"), "v2"), BODY)),
        ("v2-url", REFUSED, two, lambda m: Request(head(v2(m), "v2"), BODY, query="a=b")),
        ("v2-body", REFUSED, two, lambda m: Request(head(v2(m), "v2"), BODY + b" ")),
        ("v2-hmac", REFUSED, two, lambda m: Request(head(mac(m, b"POST" + m.url.encode() + BODY), "v2"), BODY)),
        ("v1-where-v3", REFUSED, three, lambda m: Request(head(v1, "v1"), BODY)),
        ("v2-where-v3", REFUSED, three, lambda m: Request(head(v2(m), "v2"), BODY)),
        ("v1-where-v2", REFUSED, two, lambda m: Request(head(v1, "v1"), BODY)),
        ("v1-as-v2", REFUSED, two, lambda m: Request(head(v1, "v2"), BODY)),
        ("v2-where-v1", REFUSED, one, lambda m: Request(head(v2(m), "v2"), BODY)),
        ("v3-bad-v1-good", REFUSED, three, lambda m: Request(hub.sign(m, BODY, "x") | head(v1, "v1"), BODY)),
        ("v3-good-v1-bad", VALID, three, lambda m: Request(hub.sign(m, BODY, SECRET) | head("0" * 64, "v1"), BODY)),
        ("v3-default", VALID, S, lambda m: Request(hub.sign(m, BODY, SECRET), BODY)),
        ("v1-default", OPEN, S, lambda m: Request(head(v1, "v1"), BODY)),
        ("v2-default", OPEN, S, lambda m: Request(head(v2(m), "v2"), BODY)),
        ("v3-default-bad-v1-good", REFUSED, S, lambda m: Request(hub.sign(m, BODY, "x") | head(v1, "v1"), BODY)),
        ("v3-query", VALID, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url + "?a=b"), BODY, SECRET), BODY, query="a=b")),
        ("v3-query-changed", REFUSED, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url + "?a=b"), BODY, SECRET), BODY, query="a=c")),
        ("v3-query-added", REFUSED, three, lambda m: Request(hub.sign(m, BODY, SECRET), BODY, query="a=c")),
        ("v3-decoded", VALID, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url + "?r=https://x.y/a,b"), BODY, SECRET), BODY, query="r=https%3A%2F%2Fx.y%2Fa%2Cb")),
        ("v3-encoded-as-is", VALID, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url + "?r=https%3A%2F%2Fx"), BODY, SECRET), BODY, query="r=https%3A%2F%2Fx")),
        ("v3-http", REFUSED, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url.replace("https", "http")), BODY, SECRET), BODY)),
        ("v3-host", REFUSED, three, lambda m: Request(hub.sign(Moment(m.now_s, m.url.replace("hooks", "evil")), BODY, SECRET), BODY)),
        ("v3-method", REFUSED, three, lambda m: Request(hub.sign(m, BODY, SECRET), BODY, "PUT")),
        ("v3-order", REFUSED, three, lambda m: Request(hub.sign(m, BODY, SECRET, text=b64(digest(SECRET, f"{m.now_s}000POST{m.url}".encode() + BODY))), BODY)),
    ]:
        add("hubspot", name, expect, config, build)
    add("hubspot", "version-unknown", REFUSED, {**S, "signature_version": "v9"}, lambda m: Request(hub.sign(m, BODY, SECRET), BODY), offline=True)
    square = scheme("square")
    note = {**S, "notification_url": "https://h.example/a"}
    signed = b64(digest(SECRET, b"https://h.example/a" + BODY))
    for name, expect, config, text in [
        ("registered", VALID, note, signed),
        ("other-address", REFUSED, {**S, "notification_url": "https://h.example/b"}, signed),
        ("slash", REFUSED, {**S, "notification_url": "https://h.example/a/"}, signed),
        ("body-only", REFUSED, note, b64(digest(SECRET, BODY))),
        ("body-first", REFUSED, note, b64(digest(SECRET, BODY + b"https://h.example/a"))),
    ]:
        add("square", name, expect, config, Request(JSON | {square.header: text}, BODY))
    add("square", "called-address", OPEN, S, lambda m: Request(JSON | {square.header: b64(digest(SECRET, m.url.encode() + BODY))}, BODY))
    add("square", "sha1-header", REFUSED, note, Request(JSON | {"x-square-signature": b64(digest(SECRET, b"https://h.example/a" + BODY, "sha1"))}, BODY))
    add("square", "called-elsewhere", VALID, note, Request(JSON | {square.header: signed}, BODY, query="x=1"))
    for p, key, name, separator, mark in (("paddle", "ts", "h1", ";", ":"), ("calendly", "t", "v1", ",", ".")):
        head_name = scheme(p).header
        for case, expect, text in [
            ("second", VALID, "{k}={t}{s}{n}=dummy{s}{n}={good}"),
            ("first", VALID, "{k}={t}{s}{n}={good}{s}{n}={bad}"),
            ("order", VALID, "{n}={good}{s}{k}={t}"),
            ("other-version", REFUSED, "{k}={t}{s}x{n}={good}"),
            ("other-separator", REFUSED, "{k}={t}|{n}={good}"),
            ("none", REFUSED, "{k}={t}"),
            ("both-bad", REFUSED, "{k}={t}{s}{n}={bad}{s}{n}={bad}"),
        ]:
            add(p, f"items-{case}", expect, S, lambda m, text=text, key=key, name=name, separator=separator, mark=mark, head_name=head_name: Request(
                {head_name: text.format(k=key, t=m.now_s, s=separator, n=name, bad="0" * 64, good=mac(m, f"{m.now_s}{mark}".encode() + BODY))}, BODY))


for each in (stripe, hubs, shops, challenges, urls):
    each()
