"""The providers' own Python kits as oracles: what they accept we accept, and what they refuse we refuse.

Where we are stricter it is on purpose, and listed in `STRICTER`: their kits read times and base64 loosely, take bodies
for text, or raise. Nowhere are we looser: a request that we accept and a kit refuses fails the test, save those in
`LOOSER`, where the kit compares texts and we the bytes they stand for.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import Adyen.util
import discord_interactions
import pytest
import razorpay
import slack_sdk.signature
import standardwebhooks.webhooks
import stripe
import svix.webhooks
from paddle_billing.Notifications.PaddleSignature import PaddleSignature
from paddle_billing.Notifications.Secret import Secret
from sendgrid.helpers.eventwebhook import EventWebhook
from square.utils.webhooks_helper import verify_signature as verify_square
from tests.core.verifiers.signed_requests import (
    HEX_KEY,
    JSON_BODY,
    NOTIFICATION_URL,
    NOW_S,
    ROWS,
    WHSEC,
    Row,
    discord_public,
    is_valid,
    sendgrid_public,
)

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset

Kit = Callable[[dict[str, str], str], bool]
"""(headers in lower case, body) → whether the kit accepts."""


class Clock(slack_sdk.signature.Clock):
    """Slack's kit takes one."""

    def now(self) -> float:
        """When the tests take place."""
        return NOW_S


def row(name: str) -> Row:
    """The first row of a provider."""
    return next(row for row in ROWS if row.name == name)


def of_stripe(headers: dict[str, str], body: str) -> bool:
    """stripe-python; its own tolerance is for its own clock, and only backwards."""
    header = headers["stripe-signature"]
    return stripe.WebhookSignature.verify_header(body, header, row("stripe").secret, tolerance=None)


def of_slack(headers: dict[str, str], body: str) -> bool:
    """slack_sdk."""
    return slack_sdk.signature.SignatureVerifier(row("slack").secret, Clock()).is_valid_request(body, headers)


def of_standard_webhooks(headers: dict[str, str], body: str) -> bool:
    """standardwebhooks, the reference."""
    standardwebhooks.webhooks.Webhook(WHSEC).verify(body, headers, json_parse=False)
    return True


def of_svix(headers: dict[str, str], body: str) -> bool:
    """svix."""
    svix.webhooks.Webhook(WHSEC).verify(body, headers)
    return True


def of_sendgrid(headers: dict[str, str], body: str) -> bool:
    """sendgrid-python."""
    prefix = "x-twilio-email-event-webhook"
    kit = EventWebhook(sendgrid_public(row("sendgrid").secret))
    return kit.verify_signature(body, headers[f"{prefix}-signature"], headers[f"{prefix}-timestamp"])


def of_razorpay(headers: dict[str, str], body: str) -> bool:
    """razorpay."""
    kit = razorpay.Utility()
    return kit.verify_webhook_signature(body, headers["x-razorpay-signature"], row("razorpay").secret) is not False


def of_adyen(headers: dict[str, str], body: str) -> bool:
    """Adyen, of webhooks that are signed in the header."""
    return Adyen.util.is_valid_hmac_payload(headers["hmacsignature"], HEX_KEY, body.encode())


def of_discord(headers: dict[str, str], body: str) -> bool:
    """discord-interactions; it prints what it refuses."""
    with contextlib.redirect_stdout(io.StringIO()):
        return discord_interactions.verify_key(
            body.encode(),
            headers["x-signature-ed25519"],
            headers["x-signature-timestamp"],
            discord_public(row("discord").secret),
        )


def of_paddle(headers: dict[str, str], body: str) -> bool:
    """paddle-python-sdk, without its own clock."""
    return PaddleSignature().verify(headers["paddle-signature"], body, Secret(row("paddle").secret))


def of_square(headers: dict[str, str], body: str) -> bool:
    """squareup."""
    return verify_square(
        request_body=body,
        signature_header=headers["x-square-hmacsha256-signature"],
        signature_key=row("square").secret,
        notification_url=NOTIFICATION_URL,
    )


KITS: dict[str, Kit] = {
    "stripe": of_stripe,
    "slack": of_slack,
    "standard_webhooks": of_standard_webhooks,
    "svix": of_svix,
    "sendgrid": of_sendgrid,
    "razorpay": of_razorpay,
    "adyen": of_adyen,
    "discord": of_discord,
    "paddle": of_paddle,
    "square": of_square,
}
OF_TODAY = {"standard_webhooks", "svix"}
"""These kits have the clock built in."""
ODD_TIMES = {"time with a sign", "time with a point", "time with blanks"}
LOOSE_BASE64 = {"junk in base64", "run on", "twice", "two spaces", "unknown field", "blanks in hex", "not ASCII"}
"""Python's base64 passes over what is not of the alphabet, and over what follows the padding."""
STRICTER: dict[str, set[str]] = {
    "stripe": {*ODD_TIMES, "first field twice"},
    "slack": ODD_TIMES,
    "standard_webhooks": {*ODD_TIMES, *LOOSE_BASE64},
    "svix": {*ODD_TIMES, *LOOSE_BASE64},
    "sendgrid": {*ODD_TIMES, *LOOSE_BASE64},
    "discord": {*ODD_TIMES, "blanks in hex"},
    "paddle": {*ODD_TIMES, "first field twice"},
}
LOOSER: dict[str, set[str]] = {
    # Hexadecimal digits stand for the same bytes in either case; a field that is no signature is passed over.
    "stripe": {"upper case", "blanks between fields"},
    "slack": {"upper case"},
    "razorpay": {"upper case"},
    "paddle": {"upper case", "unknown field", "blanks between fields", "twice", "two spaces"},
}


def accepts(kit: Kit, headers: dict[str, str], body: str) -> bool:
    """Whether a kit accepts; kits raise for all sorts of reasons."""
    try:
        return kit({name.lower(): text for name, text in headers.items()}, body)
    except Exception:  # what it raises is its own affair
        return False


def changes(one: Row, headers: dict[str, str]) -> Iterator[tuple[str, dict[str, str], str]]:
    """What was done, the headers, the body."""
    body = JSON_BODY.decode()
    lower = {name.lower(): text for name, text in headers.items()}
    written = lower[one.signature]

    def signature(text: str) -> dict[str, str]:
        return {**lower, one.signature: text}

    yield "nothing", lower, body
    yield "a blank after the body", lower, body + " "
    yield "no body", lower, ""
    yield "another letter", lower, body.replace("a.b", "a.c")
    yield "no signature", {name: text for name, text in lower.items() if name != one.signature}, body
    yield "empty signature", signature(""), body
    yield "cut short", signature(written[:-1]), body
    yield "run on", signature(written + "0"), body
    yield "twice", signature(f"{written}{written}"), body
    yield "upper case", signature(written.replace(written[-64:], written[-64:].upper())), body
    yield "reversed", signature(written[::-1]), body
    yield "no prefix", signature(written.rpartition("=")[2] or written), body
    yield "not ASCII", signature(written + "é"), body
    yield "unknown field", signature(f"{written};x=1"), body
    yield "unknown version", signature(f"v9,AAAA {written}"), body
    yield "two spaces", signature(f"{written}  {written}"), body
    yield "blanks between fields", signature(written.replace(",", ", ").replace(";", "; ")), body
    yield "blanks in hex", signature(f"{written[:-64]}{' '.join([written[-64:-32], written[-32:]])}"), body
    yield "junk in base64", signature(f"{written[:-8]}!{written[-8:]}"), body
    if one.timestamp and one.timestamp != "sig":
        yield "another time", {**lower, one.timestamp: str(int(lower[one.timestamp]) + 1)}, body
        yield "no time", {name: text for name, text in lower.items() if name != one.timestamp}, body
    if one.timestamp == "sig":
        yield "another time", signature(written.replace("=1760000000", "=1760000001")), body
        yield (
            "first field twice",
            signature(f"{written[: written.index(';' if ';' in written else ',') + 1]}{written}"),
            body,
        )


def signed_oddly(one: Row, at_s: int) -> Iterator[tuple[str, dict[str, str], str]]:
    """Times that are written oddly, and signed so."""
    if one.timestamp:
        for what, stamp in (
            ("time with a sign", f"+{at_s}"),
            ("time with a point", f"{at_s}.5"),
            ("time with blanks", f" {at_s}"),
        ):
            yield what, one.headers(stamp=stamp), JSON_BODY.decode()
            # Some kits sign the number, however it was written.
            plain, odd = one.headers(stamp=str(at_s)), one.headers(stamp=stamp)
            if one.timestamp == "sig":
                (name,) = (name for name in plain if name.lower() == one.signature)
                yield what, {**odd, name: plain[name].replace(f"={at_s}", f"={stamp}", 1)}, JSON_BODY.decode()


@pytest.mark.parametrize("name", KITS)
def test_what_the_kit_accepts_we_accept_and_nothing_else(name):
    """Good requests and changed ones are judged alike, save for the listed differences."""
    one, kit = row(name), KITS[name]
    at_s = int(dt.datetime.now(dt.UTC).timestamp()) if name in OF_TODAY else NOW_S
    good = one.headers(stamp=str(at_s))
    assert accepts(kit, good, JSON_BODY.decode())
    seen_stricter, seen_looser = set(), set()
    for what, headers, body in [*changes(one, good), *signed_oddly(one, at_s)]:
        ours = is_valid(one.judge(headers, body.encode("utf-8", "surrogateescape"), now_s=at_s))
        theirs = accepts(kit, headers, body)
        if ours and not theirs:
            seen_looser.add(what)
        elif theirs and not ours:
            seen_stricter.add(what)
    assert seen_looser <= LOOSER.get(name, set())
    assert seen_stricter <= STRICTER.get(name, set())


def test_what_stripe_s_kit_signs_we_accept():
    """It can sign for tests."""
    header = stripe.WebhookSignature.generate_signature_header(JSON_BODY.decode(), "whsec_x", NOW_S)
    assert is_valid(row("stripe").judge({"Stripe-Signature": header}, config={"secret": "whsec_x"}))


def test_what_slack_s_kit_signs_we_accept():
    """The same."""
    made = slack_sdk.signature.SignatureVerifier("s").generate_signature(timestamp=str(NOW_S), body=JSON_BODY)
    headers = {"X-Slack-Signature": made, "X-Slack-Request-Timestamp": str(NOW_S)}
    assert is_valid(row("slack").judge(headers, config={"secret": "s"}))


@pytest.mark.parametrize(("name", "kit"), [("standard_webhooks", standardwebhooks.webhooks), ("svix", svix.webhooks)])
def test_what_the_reference_signs_we_accept(name, kit):
    """The same."""
    at = dt.datetime.fromtimestamp(NOW_S, dt.UTC)
    made = kit.Webhook(WHSEC).sign("msg_1", at, JSON_BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW_S), "webhook-signature": made}
    assert is_valid(row(name).judge(headers))


def test_what_adyen_s_kit_signs_we_accept():
    """Both of its modes."""
    made = Adyen.util.generate_payload_sig(JSON_BODY, HEX_KEY).decode()
    assert is_valid(row("adyen").judge({"HmacSignature": made}))
    item: dict[str, Any] = {
        "pspReference": "79140733",
        "originalReference": "",
        "merchantAccountCode": "M",
        "merchantReference": "a:b/ü\\",
        "amount": {"value": 1130, "currency": "EUR"},
        "eventCode": "AUTHORISATION",
        "success": "true",
    }
    item["additionalData"] = {"hmacSignature": Adyen.util.generate_notification_sig(item, HEX_KEY).decode()}
    document = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
    for changed in (False, True):
        item["success"] = "false" if changed else "true"
        request = Inbound.of("POST", "https://h.example/", {}, json.dumps(document).encode())
        ours = is_valid(judge(preset("adyen"), request, {"hmac_key": HEX_KEY}, NOW_S))
        assert ours == Adyen.util.is_valid_hmac_notification(document, HEX_KEY) == (not changed)
