"""Providers that sign with an HMAC in a header: the same trials of each, and what is peculiar to some."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.acceptance.judge_cases import (
    OPEN,
    REFUSED,
    VALID,
    Moment,
    Request,
    add,
    b64,
    digest,
    hexed,
    iso,
)

# Tables of cases: the formatter would give each word a line.
# fmt: off

SECRET = "s3cr3t/of+the=source"
Content = Callable[["Scheme", bytes, str, Moment], bytes]


def plain(_: Scheme, body: bytes, __: str, ___: Moment) -> bytes:
    """Only the body is signed."""
    return body


@dataclass(frozen=True)
class Scheme:
    """How a provider signs, as its documentation says."""

    preset: str
    header: str
    wrap: str = "{}"
    """The header's text; `{}` is the signature, `{t}` the timestamp."""
    base64: bool = False
    algorithm: str = "sha256"
    stamp_header: str = ""
    stamp: str = ""
    """How the timestamp is written: s, ms, iso; empty: there is none."""
    tolerance_s: int | None = None
    content: Content = plain
    config: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "secret"
    coded: str = ""
    """The secret's text is this: whsec or hex."""

    def raw_key(self, secret: str) -> bytes:
        """The bytes of the key."""
        if self.coded == "whsec":
            text = secret.removeprefix("whsec_")
            return base64.b64decode(text + "=" * (-len(text) % 4))
        return bytes.fromhex(secret) if self.coded == "hex" else secret.encode()

    def secret(self, raw: str) -> str:
        """A secret as the provider would show it, whose key is these characters."""
        if self.coded == "whsec":
            return "whsec_" + b64(raw.encode())
        return raw.encode().hex() if self.coded == "hex" else raw

    def written(self, t: float) -> str:
        """The timestamp's text."""
        return {"": "", "s": str(int(t)), "ms": str(int(t * 1000)), "iso": iso(t)}[self.stamp]

    def mac(self, secret: str, content: bytes, algorithm: str = "") -> bytes:
        """The signature's bytes."""
        return digest(self.raw_key(secret), content, algorithm or self.algorithm)

    def sign(
        self, m: Moment, body: bytes, secret: str, *, t: str | None = None, text: str | None = None, algorithm: str = ""
    ) -> dict[str, str]:
        """The headers of a signed request."""
        stamp = self.written(m.now_s) if t is None else t
        raw = self.mac(secret, self.content(self, body, stamp, m), algorithm)
        signature = (b64(raw) if self.base64 else hexed(raw)) if text is None else text
        made = {"Content-Type": "application/json"} | self.headers
        made[self.header] = self.wrap.format(signature, t=stamp)
        if self.stamp_header:
            made[self.stamp_header] = stamp
        return made


def dotted(_: Scheme, body: bytes, t: str, __: Moment) -> bytes:
    """`{t}.{body}`."""
    return f"{t}.".encode() + body


def versioned(_: Scheme, body: bytes, t: str, __: Moment) -> bytes:
    """`v0:{t}:{body}`."""
    return f"v0:{t}:".encode() + body


def identified(_: Scheme, body: bytes, t: str, __: Moment) -> bytes:
    """`{id}.{t}.{body}`."""
    return f"msg_1.{t}.".encode() + body


NOTIFIED = "https://public.example.com/square?a=1"
WHSEC: dict[str, Any] = {"wrap": "v1,{}", "base64": True, "stamp": "s", "tolerance_s": 300, "content": identified}
SCHEMES = [
    Scheme("stripe", "Stripe-Signature", "t={t},v1={}", stamp="s", tolerance_s=300, content=dotted),
    Scheme("github", "X-Hub-Signature-256", "sha256={}", headers={"X-GitHub-Event": "push"}),
    Scheme("jira", "X-Hub-Signature", "sha256={}"),
    Scheme("bitbucket", "X-Hub-Signature", "sha256={}", headers={"X-Event-Key": "repo:push"}),
    Scheme("meta", "X-Hub-Signature-256", "sha256={}"),
    Scheme("whatsapp", "X-Hub-Signature-256", "sha256={}"),
    Scheme("intercom", "X-Hub-Signature", "sha1={}", algorithm="sha1"),
    Scheme("shopify", "X-Shopify-Hmac-Sha256", base64=True, headers={"X-Shopify-Topic": "orders/create"}),
    Scheme("woocommerce", "X-WC-Webhook-Signature", base64=True, headers={"X-WC-Webhook-Topic": "order.created"}),
    Scheme(
        "slack", "X-Slack-Signature", "v0={}", stamp_header="X-Slack-Request-Timestamp", stamp="s", tolerance_s=300,
        content=versioned,
    ),
    Scheme(
        "zoom", "x-zm-signature", "v0={}", stamp_header="x-zm-request-timestamp", stamp="s", tolerance_s=300,
        content=versioned,
    ),
    Scheme(
        "standard_webhooks", "webhook-signature", stamp_header="webhook-timestamp", headers={"webhook-id": "msg_1"},
        coded="whsec", **WHSEC,
    ),
    Scheme(
        "svix", "svix-signature", stamp_header="svix-timestamp", headers={"svix-id": "msg_1"}, coded="whsec", **WHSEC
    ),
    Scheme(
        "gitlab", "webhook-signature", stamp_header="webhook-timestamp", headers={"webhook-id": "msg_1"},
        coded="whsec", config={"mode": "signing_token"}, **WHSEC,
    ),
    Scheme(
        "square", "x-square-hmacsha256-signature", base64=True, config={"notification_url": NOTIFIED},
        content=lambda s, body, t, m: NOTIFIED.encode() + body,
    ),
    Scheme(
        "hubspot", "X-HubSpot-Signature-v3", base64=True, stamp_header="X-HubSpot-Request-Timestamp", stamp="ms",
        tolerance_s=300, config={"signature_version": "v3"},
        content=lambda s, body, t, m: b"POST" + m.url.encode() + body + t.encode(),
    ),
    Scheme("docusign", "X-DocuSign-Signature-1", base64=True),
    Scheme("dropbox", "X-Dropbox-Signature"),
    Scheme(
        "paddle", "Paddle-Signature", "ts={t};h1={}", stamp="s", tolerance_s=5,
        content=lambda s, body, t, m: f"{t}:".encode() + body,
    ),
    Scheme("typeform", "Typeform-Signature", "sha256={}", base64=True),
    Scheme("calendly", "Calendly-Webhook-Signature", "t={t},v1={}", stamp="s", content=dotted),
    Scheme(
        "zendesk", "X-Zendesk-Webhook-Signature", base64=True, stamp="iso",
        stamp_header="X-Zendesk-Webhook-Signature-Timestamp", content=lambda s, body, t, m: t.encode() + body,
    ),
    Scheme("razorpay", "X-Razorpay-Signature"),
    Scheme("xero", "x-xero-signature", base64=True),
    Scheme("quickbooks", "intuit-signature", base64=True),
    Scheme("adyen", "HmacSignature", base64=True, config={"mode": "header"}, key="hmac_key", coded="hex"),
]

BODIES = {
    "empty": b"",
    "text": b"Hello, World!",
    "crlf": b'[{"a":1},\r\n{"a":2}]\r\n',
    "escapes": rb'{"u":"https:\/\/x\/","n":"\u00f1 \ud83d\ude00","type":"a"}',
    "utf8": '{"name":"Zoë 😀"}'.encode(),
    "binary": bytes(range(256)),
    "spaces": b'  {"a" : 1.0 }\n\n',
    "nul": b"\x00",
    "large": b'{"a":"' + b"x" * 70_000 + b'"}',
    "bom": b"\xef\xbb\xbf{}",
    "null": b"null",
}
SECRETS = {
    "one-byte": "x",
    "spaces": " a b ",
    "unicode": "ключ🔑",
    "like-base64": "QUJDREVGRw==",
    "like-hex": "deadbeef00",
    "like-whsec": "whsec_plJ3nmyCDGBKInavdOK15jsl",
    "long": "k" * 500,
    "odd": "a\"b\\c&d'e%20{}$",
    "json": '["a"]',
}
BODY = b'{"id":"evt_7","type":"order.paid","event":"x","amount":20}'


def common(s: Scheme) -> None:
    """The trials that every such provider goes through."""
    secret = s.secret(SECRET)
    config = {s.key: secret, **s.config}
    p = s.preset

    def signed(change: Callable[[dict[str, str], Moment], Any] = lambda h, m: h, body: bytes = BODY, **how: Any) -> Any:
        def build(m: Moment) -> Request:
            headers = s.sign(m, how.pop("_", body), secret, **how)
            changed = change(headers, m)
            return changed if isinstance(changed, Request) else Request(changed, body)

        return build

    for name, body in BODIES.items():
        add(p, f"body-{name}", VALID, config, signed(body=body))
    for name, text in SECRETS.items():
        other = s.secret(text)
        add(p, f"secret-{name}", VALID, {s.key: other, **s.config},
            lambda m, other=other: Request(s.sign(m, BODY, other), BODY))
    several = {s.key: [s.secret("old"), secret, s.secret("new")], **s.config}
    add(p, "rotation-middle", VALID, several, signed())
    add(p, "rotation-last", VALID, several, lambda m: Request(s.sign(m, BODY, s.secret("new")), BODY))
    add(p, "rotation-none", REFUSED, several, lambda m: Request(s.sign(m, BODY, s.secret("other")), BODY))
    add(p, "names-lower", VALID, config, signed(lambda h, m: {k.lower(): v for k, v in h.items()}))
    add(p, "names-upper", VALID, config, signed(lambda h, m: {k.upper(): v for k, v in h.items()}))
    add(p, "content-type-changed", VALID, config, signed(lambda h, m: h | {"Content-Type": "text/plain"}))
    add(p, "other-headers", VALID, config, signed(lambda h, m: h | {"X-Other": "1", "Authorization": "Bearer x"}))
    forged(s, config, secret, signed)
    unusable(s, secret)
    if s.stamp:
        stamped(s, secret)


def forged(s: Scheme, config: dict[str, Any], secret: str, signed: Any) -> None:
    """What must be refused."""
    p = s.preset
    for name, body in {
        "byte": BODY.replace(b"20", b"21"),
        "newline": BODY + b"\n",
        "respaced": BODY.replace(b",", b", "),
        "cut": BODY[:-1],
        "emptied": b"",
        "doubled": BODY * 2,
        "bom": b"\xef\xbb\xbf" + BODY,
    }.items():
        add(p, f"body-forged-{name}", REFUSED, config, signed(lambda h, m, body=body: Request(h, body)))
    for name, other in {"other": "other", "newline": SECRET + "\n", "cut": SECRET[:-1], "empty": ""}.items():
        text = s.secret(other)
        add(p, f"secret-wrong-{name}", REFUSED, config, lambda m, text=text: Request(s.sign(m, BODY, text), BODY))
    algorithms = {"sha1", "sha256", "sha512", "md5"} - {s.algorithm}
    for algorithm in sorted(algorithms):
        add(p, f"algorithm-{algorithm}", REFUSED, config, signed(algorithm=algorithm))

    def text(make: Callable[[bytes, str], str]) -> Any:
        def build(m: Moment) -> Request:
            raw = s.mac(secret, s.content(s, BODY, s.written(m.now_s), m))
            return Request(s.sign(m, BODY, secret, text=make(raw, b64(raw) if s.base64 else raw.hex())), BODY)

        return build

    for name, make in {
        "other-encoding": lambda raw, t: raw.hex() if s.base64 else b64(raw),
        "truncated": lambda raw, t: t[:-2],
        "half": lambda raw, t: t[: len(t) // 2],
        "doubled": lambda raw, t: t + t,
        "empty": lambda raw, t: "",
        "first-bit": lambda raw, t: (b64 if s.base64 else hexed)(bytes([raw[0] ^ 128]) + raw[1:]),
        "last-bit": lambda raw, t: (b64 if s.base64 else hexed)(raw[:-1] + bytes([raw[-1] ^ 1])),
        "zeros": lambda raw, t: (b64 if s.base64 else hexed)(bytes(len(raw))),
        "longer": lambda raw, t: (b64 if s.base64 else hexed)(raw + b"\x00"),
        "shorter": lambda raw, t: (b64 if s.base64 else hexed)(raw[:-1]),
        "junk": lambda raw, t: t[:8] + "!" + t[8:],
        "no-key": lambda raw, t: (b64 if s.base64 else hexed)(hashlib.new(s.algorithm, BODY).digest()),
        "huge": lambda raw, t: "a" * 6000,
        "quoted": lambda raw, t: f'"{t}"',
        "word": lambda raw, t: "undefined",
        "twice-encoded": lambda raw, t: b64(t.encode()),
    }.items():
        add(p, f"signature-{name}", REFUSED, config, text(make))
    for name, character in {"unicode": "é", "wide": "\uff10", "kelvin": "\u212a"}.items():
        add(p, f"signature-{name}", REFUSED, config, text(lambda raw, t, c=character: t[:-1] + c), offline=True)
    if not s.base64:
        bare = s.wrap == "{}"
        add(p, "signature-upper", OPEN if bare else VALID, config, text(lambda raw, t: t.upper()))
    else:
        unpadded = REFUSED if s.preset == "standard_webhooks" else OPEN
        add(p, "signature-unpadded", unpadded, config, text(lambda raw, t: t.rstrip("=")))
    drop = s.header
    add(p, "header-missing", REFUSED, config, signed(lambda h, m: {k: v for k, v in h.items() if k != drop}))
    add(p, "header-empty", REFUSED, config, signed(lambda h, m: h | {drop: ""}))
    add(p, "header-renamed", REFUSED, config,
        signed(lambda h, m: {k: v for k, v in h.items() if k != drop} | {"X-Signature": h[drop]}))
    twice = drop.upper() if drop != drop.upper() else drop.lower()
    add(p, "header-twice", REFUSED, config, signed(lambda h, m: h | {twice: "x"}))
    add(p, "header-twice-alike", REFUSED, config, signed(lambda h, m: h | {twice: h[drop]}))
    if s.wrap != "{}":
        add(p, "prefix-missing", REFUSED, config, signed(lambda h, m: h | {drop: text(lambda r, t: t)(m).headers[drop].rpartition("=" if not s.base64 or p == "typeform" else ",")[2]}))
    if s.wrap in {"sha256={}", "sha1={}", "v0={}"}:
        for wrong in ("sha1=", "sha256=", "sha512=", "v0=", "v1=", "SHA256=", "=", "sha256"):
            if not s.wrap.startswith(wrong):
                add(p, f"prefix-{wrong}", REFUSED, config,
                    signed(lambda h, m, wrong=wrong: h | {drop: wrong + h[drop].partition("=")[2]}))
        add(p, "prefix-twice", REFUSED, config, signed(lambda h, m: h | {drop: s.wrap.format("") + h[drop]}))
        add(p, "two-in-one", REFUSED, config, signed(lambda h, m: h | {drop: f"{h[drop]},{h[drop]}"}))


def unusable(s: Scheme, secret: str) -> None:
    """Configs that nothing can be verified with."""
    p = s.preset
    no_key = replace(s, coded="")
    for name, config in {
        "none": {}, "empty": {s.key: ""}, "empty-list": {s.key: []}, "number": {s.key: 5}, "null": {s.key: None},
        "list-of-empty": {s.key: [""]}, "object": {s.key: {"a": "b"}}, "list-of-number": {s.key: [5]},
    }.items():
        add(p, f"config-{name}", REFUSED, {**s.config, **config},
            lambda m: Request(no_key.sign(m, BODY, ""), BODY), offline=True)
    if s.coded:
        for name, text in {"not-coded": "!!!", "prefix-only": "whsec_"}.items():
            add(p, f"config-{name}", REFUSED, {**s.config, s.key: text},
                lambda m: Request(no_key.sign(m, BODY, ""), BODY), offline=True)
    if s.coded == "whsec":
        add(p, "secret-unprefixed", VALID, {**s.config, "secret": secret.removeprefix("whsec_")},
            lambda m: Request(s.sign(m, BODY, secret), BODY))
        add(p, "secret-unpadded", VALID, {**s.config, "secret": secret.rstrip("=")},
            lambda m: Request(s.sign(m, BODY, secret), BODY))
        add(p, "key-as-text", REFUSED, {**s.config, "secret": secret},
            lambda m: Request(no_key.sign(m, BODY, secret), BODY))
    for bad in ("x", -1, None, [], "1e3"):
        add(p, f"tolerance-{bad}", OPEN, {**s.config, s.key: secret, "tolerance_s": bad},
            lambda m: Request(s.sign(m, BODY, secret), BODY), offline=True)


def stamped(s: Scheme, secret: str) -> None:
    """Times: exactly at the tolerance, one second beyond, both ways."""
    p = s.preset
    config = {s.key: secret, **s.config}

    def at(offset_s: float) -> Any:
        return lambda m: Request(s.sign(m, BODY, secret, t=s.written(m.now_s + offset_s)), BODY)

    default = 180 if p == "calendly" else s.tolerance_s
    beyond = 301 if p == "calendly" else (default or 0) + 1
    for sign, word in ((-1, "past"), (1, "future")):
        if default is not None:
            add(p, f"time-{word}-at", VALID, config, at(sign * default), exact=True)
            add(p, f"time-{word}-beyond", REFUSED, config, at(sign * beyond), exact=True)
            add(p, f"time-{word}-far", REFUSED, config, at(sign * 86_400))
        else:
            add(p, f"time-{word}-far", VALID, config, at(sign * 86_400))
        add(p, f"time-{word}-ten-at", VALID, {**config, "tolerance_s": 10}, at(sign * 10), exact=True)
        add(p, f"time-{word}-ten-beyond", REFUSED, {**config, "tolerance_s": 10}, at(sign * 11), exact=True)
        add(p, f"time-{word}-zero-beyond", REFUSED, {**config, "tolerance_s": 0}, at(sign * 1), exact=True)
        add(p, f"time-{word}-wide", VALID, {**config, "tolerance_s": 90_000}, at(sign * 86_400))
        add(p, f"time-{word}-wide-beyond", REFUSED, {**config, "tolerance_s": 90_000}, at(sign * 90_100))
    add(p, "time-zero-at", VALID, {**config, "tolerance_s": 0}, at(0), exact=True)
    if s.stamp == "ms":
        add(p, "time-ms-beyond", REFUSED, config, at(-300.001), exact=True)
    moved = s.tolerance_s or 5

    def restamped(m: Moment) -> Request:
        old = s.sign(m, BODY, secret, t=s.written(m.now_s - 9 * moved))
        new = s.sign(m, BODY, secret)
        if s.stamp_header:
            return Request(old | {s.stamp_header: new[s.stamp_header]}, BODY)
        stamp = s.written(m.now_s)
        return Request(old | {s.header: old[s.header].replace(s.written(m.now_s - 9 * moved), stamp)}, BODY)

    add(p, "time-replaced", REFUSED, config, restamped)
    if s.stamp == "iso":
        return
    for name, write in {
        "empty": lambda t: "", "word": lambda t: "now", "negative": lambda t: "-" + t, "plus": lambda t: "+" + t,
        "float": lambda t: t + ".0", "exponent": lambda t: "1.76e9", "hex": lambda t: hex(int(t)),
        "huge": lambda t: "9" * 40, "huger": lambda t: "9" * 5000, "zero": lambda t: "0",
        "other-unit": lambda t: t + "000" if s.stamp == "s" else t[:-3],
        "underscores": lambda t: f"{t[:1]}_{t[1:]}", "nan": lambda t: "nan", "infinity": lambda t: "inf",
    }.items():
        add(p, f"time-text-{name}", REFUSED, config,
            lambda m, write=write: Request(s.sign(m, BODY, secret, t=write(s.written(m.now_s))), BODY))
    add(p, "time-text-arabic", REFUSED, config, lambda m: Request(
        s.sign(m, BODY, secret, t="".join(chr(0x660 + int(d)) for d in s.written(m.now_s))), BODY), offline=True)
    if s.stamp_header:
        add(p, "time-missing", REFUSED, config, lambda m: Request(
            {k: v for k, v in s.sign(m, BODY, secret).items() if k != s.stamp_header}, BODY))
        add(p, "time-twice", REFUSED, config, lambda m: Request(
            s.sign(m, BODY, secret) | {s.stamp_header.swapcase(): s.written(m.now_s)}, BODY))
    else:
        add(p, "time-missing", REFUSED, config, lambda m: Request(
            s.sign(m, BODY, secret) | {s.header: s.sign(m, BODY, secret)[s.header].partition("v1" if p != "paddle" else "h1")[1] + "=" + s.sign(m, BODY, secret)[s.header].rpartition("=")[2]}, BODY))


def scheme(preset: str) -> Scheme:
    """The scheme of a preset."""
    return next(s for s in SCHEMES if s.preset == preset)


for each in SCHEMES:
    common(each)
