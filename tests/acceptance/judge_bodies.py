"""Providers whose proof is in the body or the address: Mailgun, Linear, Adyen, Braintree, Microsoft Graph, Salesforce,
Twilio."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from tests.acceptance.judge_cases import FORM, JSON, OPEN, REFUSED, VALID, Moment, Request, add, b64, digest, flip, form

# Tables of cases: the formatter would give each word a line.
# fmt: off

SECRET = "9c2f1a7be0d84c3fa5d6b7e8f9012345"
S = {"secret": SECRET}
TOKEN = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"


def signed_by(t: str, token: str, secret: str, algorithm: str = "sha256") -> str:
    """Mailgun's signature."""
    return digest(secret, (t + token).encode(), algorithm).hex()


def mailgun() -> None:
    """JSON and forms; the event itself is not covered."""
    event = {"id": "CPgf", "event": "delivered", "timestamp": 1.5}

    def sent(offset: int = 0, secret: str = SECRET, data: Any = event, algorithm: str = "sha256", **change: Any) -> Any:
        def build(m: Moment) -> Request:
            t = str(m.now_s + offset)
            part: dict[str, Any] = {"timestamp": t, "token": TOKEN, "signature": signed_by(t, TOKEN, secret, algorithm)}
            part |= {k: (v(part) if callable(v) else v) for k, v in change.items()}
            part = {k: v for k, v in part.items() if v is not None}
            return Request(JSON, json.dumps({"signature": part, "event-data": data}).encode())

        return build

    def fields(order: str, secret: str = SECRET, kind: str = "form") -> Any:
        def build(m: Moment) -> Request:
            t = str(m.now_s)
            good = {"timestamp": t, "token": TOKEN, "signature": signed_by(t, TOKEN, secret)}
            bad = {"timestamp": "1", "token": "evil", "signature": "0" * 64}
            pairs = [pair for word in order.split() for pair in {"good": good, "bad": bad, "event": {"event": "opened", "recipient": "zoë@x.y"}}[word].items()]
            if kind == "form":
                return Request(FORM, form(pairs))
            parts = "".join(f'--b7\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in pairs)
            return Request({"Content-Type": "multipart/form-data; boundary=b7"}, (parts + "--b7--\r\n").encode())

        return build

    for name, expect, build in [
        ("json", VALID, sent()),
        ("year-old", VALID, sent(-31_536_000)),
        ("event-changed", VALID, sent(data={"event": "opened"})),
        ("event-missing", VALID, sent(data=None)),
        ("token-changed", REFUSED, sent(token="x" + TOKEN)),
        ("time-changed", REFUSED, sent(timestamp="1760000001")),
        ("signature-changed", REFUSED, sent(signature=lambda p: flip(p["signature"]))),
        ("signature-cut", REFUSED, sent(signature=lambda p: p["signature"][:-2])),
        ("signature-empty", REFUSED, sent(signature="")),
        ("signature-missing", REFUSED, sent(signature=None)),
        ("signature-null", REFUSED, lambda m: Request(JSON, b'{"signature":null}')),
        ("signature-list", REFUSED, sent(signature=lambda p: [p["signature"]])),
        ("signature-number", REFUSED, sent(signature=5)),
        ("signature-base64", REFUSED, sent(signature=lambda p: b64(bytes.fromhex(p["signature"])))),
        ("token-missing", REFUSED, sent(token=None)),
        ("token-list", REFUSED, sent(token=[TOKEN])),
        ("time-missing", REFUSED, sent(timestamp=None)),
        ("secret-other", REFUSED, sent(secret="x")),
        ("secret-empty", REFUSED, sent(secret="")),
        ("sha1", REFUSED, sent(algorithm="sha1")),
        ("parent-signature-only", OPEN, sent(**{"signature": None, "parent-signature": lambda p: signed_by(p["timestamp"], TOKEN, SECRET)})),
        ("upper", OPEN, sent(signature=lambda p: p["signature"].upper())),
        ("not-json", REFUSED, Request(JSON, b"{")),
        ("empty", REFUSED, Request(JSON, b"")),
        ("array", REFUSED, Request(JSON, b"[]")),
        ("string", REFUSED, Request(JSON, b'"x"')),
        ("deep", REFUSED, Request(JSON, b'{"signature":' * 20_000)),
        ("binary", REFUSED, Request(JSON, bytes(range(256)))),
        ("form", VALID, fields("event good")),
        ("form-first", VALID, fields("good event")),
        ("form-last-counts", VALID, fields("bad event good")),
        ("form-last-counts-forged", REFUSED, fields("good event bad")),
        ("form-other-secret", REFUSED, fields("event good", "x")),
        ("form-nothing", REFUSED, fields("event")),
        ("multipart", VALID, fields("event good", kind="multi")),
        ("multipart-last-counts", VALID, fields("bad good", kind="multi")),
        ("multipart-forged", REFUSED, fields("event bad", kind="multi")),
        ("form-as-json", REFUSED, lambda m: Request(JSON, fields("good")(m).body)),
        ("json-as-form", REFUSED, lambda m: Request(FORM, sent()(m).body)),
        ("multipart-no-boundary", REFUSED, lambda m: Request({"Content-Type": "multipart/form-data"}, fields("good", kind="multi")(m).body)),
        ("in-headers", REFUSED, lambda m: Request(JSON | {"timestamp": "1", "token": "t", "signature": signed_by("1", "t", SECRET)}, b"{}")),
    ]:
        add("mailgun", name, expect, S, build)
    for sign, word in ((-1, "past"), (1, "future")):
        add("mailgun", f"time-{word}-at", VALID, S | {"tolerance_s": 900}, sent(sign * 900), exact=True)
        add("mailgun", f"time-{word}-beyond", REFUSED, S | {"tolerance_s": 900}, sent(sign * 901), exact=True)
        add("mailgun", f"time-{word}-zero", REFUSED, S | {"tolerance_s": 0}, sent(sign), exact=True)
    add("mailgun", "time-zero-at", VALID, S | {"tolerance_s": 0}, sent(), exact=True)
    add("mailgun", "rotation", VALID, {"secret": ["a", SECRET]}, sent())
    for name, key in {"one": "x", "unicode": "ключ", "hex": "ab12"}.items():
        add("mailgun", f"secret-{name}", VALID, {"secret": key}, sent(secret=key))
    for name, config in {"none": {}, "empty": {"secret": ""}, "number": {"secret": 5}}.items():
        add("mailgun", f"config-{name}", REFUSED, config, sent(secret=""), offline=True)


def linear() -> None:
    """The timestamp is in the signed body."""

    def sent(offset_ms: float = 0, secret: str = SECRET, *, stamp: Any = None, change: Any = None, **headers: str) -> Any:
        def build(m: Moment) -> Request:
            t = m.now_s * 1000 + offset_ms if stamp is None else stamp
            body = json.dumps({"action": "create", "type": "Issue", "webhookTimestamp": t}).encode()
            signature = {"Linear-Signature": digest(secret, body).hex()}
            return Request(JSON | {"Linear-Event": "Issue"} | signature | headers, change(body) if change else body)

        return build

    for name, expect, build in [
        ("plain", VALID, sent()),
        ("header-time-ignored", VALID, sent(**{"Linear-Timestamp": "1"})),
        ("header-time-only", REFUSED, sent(-90_000, **{"Linear-Timestamp": "1760000000000"})),
        ("event-header-changed", VALID, sent(**{"Linear-Event": "Comment", "Linear-Delivery": "z"})),
        ("body", REFUSED, sent(change=lambda b: b.replace(b"create", b"remove"))),
        ("time-forged", REFUSED, sent(change=lambda b: b.replace(b"1", b"2"))),
        ("secret-other", REFUSED, sent(secret="x")),
        ("secret-empty", REFUSED, sent(secret="")),
        ("time-text", REFUSED, lambda m: sent(stamp=str(m.now_s * 1000))(m)),
        ("time-null", REFUSED, sent(stamp=[])),
        ("time-true", REFUSED, sent(stamp=True)),
        ("time-seconds", REFUSED, lambda m: sent(stamp=m.now_s)(m)),
        ("time-huge", REFUSED, sent(stamp=10**40)),
        ("missing", REFUSED, lambda m: Request(JSON, sent()(m).body)),
        ("prefixed", REFUSED, lambda m: Request(JSON | {"Linear-Signature": "sha256=" + sent()(m).headers["Linear-Signature"]}, sent()(m).body)),
        ("far-past", REFUSED, sent(-3_600_000)),
        ("far-future", REFUSED, sent(3_600_000)),
        ("twice", REFUSED, lambda m: Request({**sent()(m).headers, "linear-signature": sent()(m).headers["Linear-Signature"]}, sent()(m).body)),
    ]:
        add("linear", name, expect, S, build)
    for name, body in {"no-time": b'{"action":"create"}', "text": b"Hello", "empty": b"", "array": b"[]", "nan": b'{"webhookTimestamp":NaN}'}.items():
        add("linear", f"body-{name}", REFUSED, S, Request(JSON | {"Linear-Signature": digest(SECRET, body).hex()}, body))
    for sign, word in ((-1, "past"), (1, "future")):
        add("linear", f"time-{word}-at", VALID, S, sent(sign * 60_000), exact=True)
        add("linear", f"time-{word}-beyond", REFUSED, S, sent(sign * 61_000), exact=True)
        add("linear", f"time-{word}-beyond-ms", REFUSED, S, sent(sign * 60_001), exact=True)
        add("linear", f"time-{word}-wide", VALID, S | {"tolerance_s": 7200}, sent(sign * 3_600_000))
        add("linear", f"time-{word}-zero", REFUSED, S | {"tolerance_s": 0}, sent(sign * 1000), exact=True)
    add("linear", "rotation", VALID, {"secret": ["a", SECRET]}, sent())
    add("linear", "config-none", REFUSED, {}, sent(secret=""), offline=True)


HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
SIGNED = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "value", "currency", "eventCode", "success")


def item_of(key: str = HMAC_KEY, **change: Any) -> dict[str, Any]:
    """An Adyen item, signed after the change."""
    made: dict[str, Any] = {
        "pspReference": "7914073381342284", "originalReference": "orig", "merchantAccountCode": "TestMerchant",
        "merchantReference": "Order-1", "amount": {"currency": "EUR", "value": 1130}, "eventCode": "AUTHORISATION",
        "success": "true", "eventDate": "2019-05-06", "paymentMethod": "visa",
    } | change
    made = {k: v for k, v in made.items() if v is not None}
    flat = made | made.get("amount", {})
    text = ":".join(str(flat.get(name, "")) for name in SIGNED)
    signature = b64(digest(bytes.fromhex(key), text.encode()))
    return made | {"additionalData": {"hmacSignature": signature}}


def adyen() -> None:
    """Standard notifications: eight fields of every item."""
    config = {"mode": "standard", "hmac_key": HMAC_KEY}

    def sent(*items: Any) -> Request:
        body = {"live": "false", "notificationItems": [{"NotificationRequestItem": item} for item in items]}
        return Request(JSON, json.dumps(body).encode())

    for name, expect, request in [
        ("plain", VALID, sent(item_of())),
        ("three", VALID, sent(item_of(), item_of(pspReference="2"), item_of(pspReference="3"))),
        ("no-original", VALID, sent(item_of(originalReference=None))),
        ("no-amount", VALID, sent(item_of(amount=None))),
        ("colon", VALID, sent(item_of(merchantReference="a:b\\c"))),
        ("utf8", VALID, sent(item_of(merchantReference="Zoë"))),
        ("value-zero", VALID, sent(item_of(amount={"currency": "EUR", "value": 0}))),
        ("success-empty", VALID, sent(item_of(success=""))),
        ("uncovered-changed", VALID, sent(item_of() | {"eventDate": "x", "paymentMethod": "mc", "reason": "y"})),
        ("additional-added", VALID, sent((i := item_of()) | {"additionalData": i["additionalData"] | {"authCode": "1"}})),
        ("amount-removed", REFUSED, sent({k: v for k, v in item_of().items() if k != "amount"})),
        ("value-changed", REFUSED, sent(item_of() | {"amount": {"currency": "EUR", "value": 1}})),
        ("currency-changed", REFUSED, sent(item_of() | {"amount": {"currency": "USD", "value": 1130}})),
        ("other-key", REFUSED, sent(item_of("00" * 32))),
        ("key-as-text", REFUSED, sent(item_of() | {"additionalData": {"hmacSignature": b64(digest(HMAC_KEY, b"x"))}})),
        ("unsigned", REFUSED, sent({k: v for k, v in item_of().items() if k != "additionalData"})),
        ("signature-null", REFUSED, sent(item_of() | {"additionalData": {"hmacSignature": None}})),
        ("signature-list", REFUSED, sent(item_of() | {"additionalData": {"hmacSignature": ["a"]}})),
        ("signature-hex", REFUSED, sent(item_of() | {"additionalData": {"hmacSignature": base64.b64decode(item_of()["additionalData"]["hmacSignature"]).hex()}})),
        ("one-of-two-bad", OPEN, sent(item_of(), item_of("00" * 32))),
        ("both-bad", REFUSED, sent(item_of("00" * 32), item_of("00" * 32))),
        ("no-items", REFUSED, sent()),
        ("item-not-object", REFUSED, sent(5)),
        ("success-true", OPEN, sent(item_of(success="true") | {"success": True})),
        ("value-text", OPEN, sent(item_of() | {"amount": {"currency": "EUR", "value": "1130"}})),
        ("value-float", OPEN, sent(item_of() | {"amount": {"currency": "EUR", "value": 1130.0}})),
        ("shifted", OPEN, sent(item_of(pspReference="a:b", originalReference="c") | {"pspReference": "a", "originalReference": "b:c"})),
        ("not-json", REFUSED, Request(JSON, b"{")),
        ("empty", REFUSED, Request(JSON, b"")),
        ("array", REFUSED, Request(JSON, b"[]")),
        ("items-object", REFUSED, Request(JSON, b'{"notificationItems":{}}')),
        ("header-signed", REFUSED, Request(JSON | {"HmacSignature": b64(digest(bytes.fromhex(HMAC_KEY), b'{"a":1}'))}, b'{"a":1}')),
        ("header-good-item-bad", REFUSED, Request(JSON | {"HmacSignature": b64(digest(bytes.fromhex(HMAC_KEY), sent(item_of("00" * 32)).body))}, sent(item_of("00" * 32)).body)),
    ]:
        add("adyen", f"standard-{name}", expect, config, request)
    for name in ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success"):
        add("adyen", f"standard-{name}-changed", REFUSED, config, sent(item_of() | {name: "x"}))
        add("adyen", f"standard-{name}-removed", REFUSED, config, sent({k: v for k, v in item_of().items() if k != name}))
    add("adyen", "standard-where-header", REFUSED, {"mode": "header", "hmac_key": HMAC_KEY}, sent(item_of()))
    add("adyen", "standard-key-lower", VALID, config | {"hmac_key": HMAC_KEY.lower()}, sent(item_of()))
    add("adyen", "standard-rotation", VALID, config | {"hmac_key": ["00" * 32, HMAC_KEY]}, sent(item_of()))
    add("adyen", "standard-key-short", VALID, config | {"hmac_key": "0f"}, sent(item_of("0f")))
    for name, key in {"missing": None, "empty": "", "odd": "abc", "not-hex": "zz" * 32, "number": 5}.items():
        made = {k: v for k, v in (config | {"hmac_key": key}).items() if v is not None}
        add("adyen", f"standard-config-{name}", REFUSED, made, sent(item_of()), offline=True)
    add("adyen", "mode-unset", OPEN, {"hmac_key": HMAC_KEY}, sent(item_of()))
    add("adyen", "mode-unknown", REFUSED, {"mode": "x", "hmac_key": HMAC_KEY}, sent(item_of()), offline=True)


TREE = {"public_key": "integration_public_key", "private_key": "integration_private_key", "merchant_id": "integration_merchant_id"}


def braintree() -> None:
    """Forms signed with a key derived by SHA-1, and the check of the address."""
    subjects = "<subject><subscription><id>s7</id></subscription></subject>" * 3
    xml = f"<notification><kind>subscription_went_past_due</kind>{subjects}</notification>\n"
    payload = base64.encodebytes(xml.encode()).decode()

    def mac(text: str, private: str = TREE["private_key"], key: bytes | None = None) -> str:
        return digest(hashlib.sha1(private.encode()).digest() if key is None else key, text.encode(), "sha1").hex()

    def sent(signature: str, body: str = payload) -> Request:
        return Request(FORM, form([("bt_signature", signature), ("bt_payload", body)]))

    me, stripped = TREE["public_key"], payload.rstrip("\n")
    for name, expect, request in [
        ("plain", VALID, sent(f"{me}|{mac(payload)}")),
        ("newline-lost", VALID, sent(f"{me}|{mac(payload)}", stripped)),
        ("stripped", VALID, sent(f"{me}|{mac(stripped)}", stripped)),
        ("pairs", VALID, sent(f"other|{mac(payload, 'x')}&{me}|{mac(payload)}")),
        ("pair-of-other-only", REFUSED, sent(f"other|{mac(payload)}")),
        ("order", VALID, Request(FORM, form([("bt_payload", payload), ("bt_signature", f"{me}|{mac(payload)}")]))),
        ("payload-changed", REFUSED, sent(f"{me}|{mac(payload)}", "A" + payload[1:])),
        ("payload-longer", REFUSED, sent(f"{me}|{mac(payload)}", payload + "AAAA")),
        ("payload-illegal", REFUSED, sent(f"{me}|{mac(payload + '<')}", payload + "<")),
        ("payload-empty", REFUSED, sent(f"{me}|{mac('')}", "")),
        ("other-private", REFUSED, sent(f"{me}|{mac(payload, 'x')}")),
        ("private-raw", REFUSED, sent(f"{me}|{mac(payload, key=TREE['private_key'].encode())}")),
        ("private-hex", REFUSED, sent(f"{me}|{mac(payload, key=hashlib.sha1(TREE['private_key'].encode()).hexdigest().encode())}")),
        ("sha256", REFUSED, sent(f"{me}|{digest(hashlib.sha1(TREE['private_key'].encode()).digest(), payload.encode()).hex()}")),
        ("challenge-as-payload", REFUSED, sent(f"{me}|{mac('0' * 32)}", "0" * 32)),
        ("no-pair", REFUSED, sent(mac(payload))),
        ("empty", REFUSED, sent("")),
        ("garbage", REFUSED, sent("|||&&|")),
        ("bad-hex", REFUSED, sent(f"{me}|{mac(payload)[:-1]}z")),
        ("truncated", REFUSED, sent(f"{me}|{mac(payload)[:-2]}")),
        ("no-signature", REFUSED, Request(FORM, form([("bt_payload", payload)]))),
        ("no-payload", REFUSED, Request(FORM, form([("bt_signature", f"{me}|{mac(payload)}")]))),
        ("as-json", REFUSED, Request(JSON, json.dumps({"bt_signature": f"{me}|{mac(payload)}", "bt_payload": payload}).encode())),
        ("body-empty", REFUSED, Request(FORM, b"")),
        ("upper", OPEN, sent(f"{me}|{mac(payload).upper()}")),
        ("payload-twice", OPEN, Request(FORM, form([("bt_signature", f"{me}|{mac(payload)}"), ("bt_payload", payload), ("bt_payload", "x")]))),
        ("challenge-nothing", REFUSED, Request({}, b"", "GET", "bt_challenge=")),
        ("challenge-word", REFUSED, Request({}, b"", "GET", "bt_challenge=hello-world")),
        ("challenge-payload", REFUSED, Request({}, b"", "GET", "bt_challenge=" + "PGE%2BPC9hPg%3D%3D")),
        ("challenge-missing", REFUSED, Request({}, b"", "GET", "a=b")),
    ]:
        add("braintree", name, expect, TREE, request)
    for challenge in ("20f9f8ed05f77439fe955c977e4c8a53", "0" * 32):
        add("braintree", f"challenge-{challenge[:4]}", VALID, TREE, Request({}, b"", "GET", f"bt_challenge={challenge}"),
            status=200, answer=f"{me}|{mac(challenge)}".encode())
    for missing in ("public_key", "private_key"):
        less = {k: v for k, v in TREE.items() if k != missing}
        add("braintree", f"without-{missing}", REFUSED, less, sent(f"{me}|{mac(payload, '')}"), offline=True)
        add("braintree", f"challenge-without-{missing}", REFUSED, less, Request({}, b"", "GET", "bt_challenge=" + "0" * 32), offline=True)
    add("braintree", "without-merchant", VALID, {k: v for k, v in TREE.items() if k != "merchant_id"}, sent(f"{me}|{mac(payload)}"))


for each in (mailgun, linear, adyen, braintree):
    each()
