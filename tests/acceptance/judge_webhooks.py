"""Standard Webhooks and Svix in their finer points, GitLab's secret token, and the providers that sign with a key pair:
SendGrid and Discord."""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.acceptance.judge_cases import JSON, OPEN, REFUSED, VALID, Moment, Request, add, b64, digest, flip
from tests.acceptance.judge_headers import BODIES, BODY, SECRET, scheme

# Tables of cases: the formatter would give each word a line.
# fmt: off

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
PUBLIC, PUBLIC_OTHER = KEY.public_key().public_bytes(*RAW), OTHER.public_key().public_bytes(*RAW)
WHPK = "whpk_" + b64(PUBLIC)


@cache
def curve(seed: int, curve_class: Any = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """An ECDSA key."""
    return ec.derive_private_key(seed, curve_class())


def spki(key: ec.EllipticCurvePrivateKey, encoding: Any = serialization.Encoding.DER) -> bytes:
    """Its public half."""
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def standard() -> None:
    """Items, ids, and the public-key half of Standard Webhooks."""
    secret = scheme("svix").secret(SECRET)
    config = {"secret": secret}

    def v1(m: Moment, i: str = "msg_1", body: bytes = BODY, key: bytes = SECRET.encode()) -> str:
        return b64(digest(key, f"{i}.{m.now_s}.".encode() + body))

    def v1a(m: Moment, key: ed25519.Ed25519PrivateKey = KEY, body: bytes = BODY) -> str:
        return b64(key.sign(f"msg_1.{m.now_s}.".encode() + body))

    for p, prefix in (("standard_webhooks", "webhook"), ("svix", "svix"), ("svix", "webhook"), ("gitlab", "webhook")):
        more = {"mode": "signing_token"} if p == "gitlab" else {}

        def sent(text: Any, i: str = "msg_1", prefix: str = prefix, body: bytes = BODY) -> Any:
            return lambda m: Request(
                JSON
                | {f"{prefix}-id": i, f"{prefix}-timestamp": str(m.now_s), f"{prefix}-signature": text(m)}, body)

        tag = f"{prefix}-" if p == "svix" else ""
        for name, expect, build in [
            ("one", VALID, sent(lambda m: f"v1,{v1(m)}")),
            ("four", VALID, sent(lambda m: f"v1,{flip(v1(m))} v2,{v1(m)} v1,{v1(m)} v1a,AAAA")),
            ("v2-only", REFUSED, sent(lambda m: f"v2,{v1(m)}")),
            ("v1-no-comma", REFUSED, sent(lambda m: "v1")),
            ("v1-empty", REFUSED, sent(lambda m: "v1,")),
            ("v1-prefix", REFUSED, sent(lambda m: f"v1,{v1(m)[:8]}")),
            ("garbage-then-good", VALID, sent(lambda m: f"garbage v1,{v1(m)}")),
            ("two-commas", REFUSED, sent(lambda m: f"v1,a,{v1(m)}")),
            ("double-space", VALID, sent(lambda m: f"v1,{flip(v1(m))}  v1,{v1(m)}")),
            ("comma-list", REFUSED, sent(lambda m: f"v1,{flip(v1(m))},v1,{v1(m)}")),
            ("id-changed", REFUSED, sent(lambda m: f"v1,{v1(m)}", "msg_2")),
            ("id-empty", REFUSED, sent(lambda m: f"v1,{v1(m)}", "")),
            ("id-shifted", REFUSED, lambda m, sent=sent: sent(lambda m: f"v1,{v1(m, f'msg_1.{m.now_s}')}", f"msg_1.{m.now_s}")(m)),
            ("id-dot", OPEN, sent(lambda m: f"v1,{v1(m, 'a.b')}", "a.b")),
            ("many", REFUSED, sent(lambda m: " ".join(["v1," + flip(v1(m))] * 100))),
            ("v1a-with-secret", REFUSED, sent(lambda m: f"v1a,{v1a(m)}")),
        ]:
            add(p, f"{tag}items-{name}", expect, config | more, build)
        for missing in ("id", "timestamp", "signature"):
            add(p, f"{tag}without-{missing}", REFUSED, config | more, lambda m, sent=sent, missing=missing, prefix=prefix: Request(
                {k: v for k, v in sent(lambda m: f"v1,{v1(m)}")(m).headers.items() if k != f"{prefix}-{missing}"}, BODY))
        if p == "gitlab":
            continue
        public = {"public_key": WHPK}
        for name, expect, key, text in [
            ("good", VALID, public, lambda m: f"v1a,{v1a(m)}"),
            ("second", VALID, public, lambda m: f"v1a,{v1a(m, OTHER)} v1a,{v1a(m)}"),
            ("beside-v1", VALID, public, lambda m: f"v1,{v1(m)} v1a,{v1a(m)}"),
            ("other", REFUSED, public, lambda m: f"v1a,{v1a(m, OTHER)}"),
            ("hmac-of-public", REFUSED, public, lambda m: f"v1,{v1(m, key=PUBLIC)}"),
            ("hmac-of-text", REFUSED, public, lambda m: f"v1,{v1(m, key=WHPK.encode())}"),
            ("as-v1", REFUSED, public, lambda m: f"v1,{v1a(m)}"),
            ("body", REFUSED, public, lambda m: f"v1a,{v1a(m, body=BODY + b' ')}"),
            ("both-keys-v1", VALID, public | config, lambda m: f"v1,{v1(m)}"),
            ("both-keys-v1a", VALID, public | config, lambda m: f"v1a,{v1a(m)}"),
            ("both-keys-neither", REFUSED, public | config, lambda m: f"v1a,{v1a(m, OTHER)} v1,{flip(v1(m))}"),
            ("hmac-of-public-both", REFUSED, public | config, lambda m: f"v1,{v1(m, key=PUBLIC)}"),
            ("unprefixed", OPEN, {"public_key": b64(PUBLIC)}, lambda m: f"v1a,{v1a(m)}"),
            ("zeros", REFUSED, public, lambda m: f"v1a,{b64(bytes(64))}"),
            ("short", REFUSED, public, lambda m: f"v1a,{v1a(m)[:20]}"),
        ]:
            add(p, f"{tag}v1a-{name}", expect, key, sent(text))
        for name, text in {"garbage": "whpk_!!", "short": "whpk_AAAA", "empty": "whpk_"}.items():
            add(p, f"{tag}v1a-key-{name}", REFUSED, {"public_key": text}, sent(lambda m: f"v1a,{v1a(m)}"), offline=True)
    add("standard_webhooks", "svix-names", VALID, config, lambda m: Request(
        {"svix-id": "msg_1", "svix-timestamp": str(m.now_s), "svix-signature": f"v1,{v1(m)}"}, BODY))
    add("svix", "both-sets", VALID, config, lambda m: Request(
        {f"{x}-{y}": v for x in ("svix", "webhook") for y, v in (("id", "msg_1"), ("timestamp", str(m.now_s)), ("signature", f"v1,{v1(m)}"))}, BODY))
    add("standard_webhooks", "other-names", REFUSED, config, lambda m: Request(
        {"x-id": "msg_1", "x-timestamp": str(m.now_s), "x-signature": f"v1,{v1(m)}"}, BODY))
    add("standard_webhooks", "secret-of-one-byte", VALID, {"secret": "whsec_QQ=="}, lambda m: Request(
        {"webhook-id": "msg_1", "webhook-timestamp": str(m.now_s), "webhook-signature": f"v1,{v1(m, key=b'A')}"}, BODY))


def gitlab() -> None:
    """The secret token: compared as it is; the body is not covered."""
    for name, secret in {"plain": "tok", "one": "x", "base64": "QUJD", "odd": "a\"b'c &%", "whsec": "whsec_QUJD", "long": "z" * 900}.items():
        config = {"mode": "token", "secret": secret}
        head = JSON | {"X-Gitlab-Event": "Push Hook"}
        add("gitlab", f"token-{name}", VALID, config, Request(head | {"X-Gitlab-Token": secret}, BODY))
        add("gitlab", f"token-{name}-body", VALID, config, Request(head | {"X-Gitlab-Token": secret}, b"other"))
        for case, text in {"more": secret + "x", "less": secret[:-1], "upper": secret.swapcase(), "empty": ""}.items():
            add("gitlab", f"token-{name}-{case}", REFUSED, config, Request(head | {"X-Gitlab-Token": text}, BODY))
    config = {"mode": "token", "secret": ["a", "b"]}
    add("gitlab", "token-second", VALID, config, Request({"X-Gitlab-Token": "b"}, BODY))
    add("gitlab", "token-third", REFUSED, config, Request({"X-Gitlab-Token": "c"}, BODY))
    add("gitlab", "token-list-text", REFUSED, config, Request({"X-Gitlab-Token": "a,b"}, BODY))
    add("gitlab", "token-missing", REFUSED, config, Request(JSON, BODY))
    add("gitlab", "token-twice", REFUSED, config, Request({"X-Gitlab-Token": "a", "x-gitlab-token": "a"}, BODY))
    add("gitlab", "token-as-authorization", REFUSED, config, Request({"Authorization": "Bearer a"}, BODY))
    add("gitlab", "token-unset", REFUSED, {"mode": "token"}, Request({"X-Gitlab-Token": ""}, BODY), offline=True)
    add("gitlab", "token-none", REFUSED, {"mode": "token", "secret": None}, Request({"X-Gitlab-Token": "None"}, BODY), offline=True)
    signing = {"mode": "signing_token", "secret": scheme("svix").secret(SECRET)}
    add("gitlab", "token-where-signing", REFUSED, signing, Request({"X-Gitlab-Token": signing["secret"]}, BODY))
    add("gitlab", "signing-where-token", REFUSED, {"mode": "token", "secret": signing["secret"]},
        lambda m: Request(scheme("gitlab").sign(m, BODY, signing["secret"]), BODY))
    add("gitlab", "token-bad-signature-good", REFUSED, {"mode": "token", "secret": signing["secret"]},
        lambda m: Request(scheme("gitlab").sign(m, BODY, signing["secret"]) | {"X-Gitlab-Token": "x"}, BODY))
    add("gitlab", "mode-unknown", REFUSED, {"mode": "x", "secret": "a"}, Request({"X-Gitlab-Token": "a"}, BODY), offline=True)
    add("gitlab", "mode-unset", OPEN, {"secret": "a"}, Request({"X-Gitlab-Token": "a"}, BODY))


def sendgrid() -> None:
    """ECDSA over timestamp and body."""
    key, config = curve(12345), {"public_key": b64(spki(curve(12345)))}
    names = "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"

    def signed(m: Moment, body: bytes = BODY, t: str = "", by: Any = key, digest_of: Any = hashes.SHA256) -> dict[str, str]:
        t = t or str(m.now_s)
        return JSON | {names[0]: b64(by.sign(t.encode() + body, ec.ECDSA(digest_of()))), names[1]: t}

    for name, body in {**BODIES, "events": b'[{"event":"open","sg_event_id":"a"},\r\n{"event":"click"}]\r\n'}.items():
        add("sendgrid", f"body-{name}", VALID, config, lambda m, body=body: Request(signed(m, body), body))
    raw = decode_dss_signature
    for name, expect, build in [
        ("names-lower", VALID, lambda m: Request({k.lower(): v for k, v in signed(m).items()}, BODY)),
        ("year-old", VALID, lambda m: Request(signed(m, t=str(m.now_s - 31_536_000)), BODY)),
        ("future", VALID, lambda m: Request(signed(m, t=str(m.now_s + 86_400)), BODY)),
        ("body", REFUSED, lambda m: Request(signed(m), BODY + b"\r\n")),
        ("crlf-lost", REFUSED, lambda m: Request(signed(m, BODY + b"\r\n"), BODY)),
        ("time", REFUSED, lambda m: Request(signed(m) | {names[1]: str(m.now_s + 1)}, BODY)),
        ("time-missing", REFUSED, lambda m: Request({k: v for k, v in signed(m).items() if k != names[1]}, BODY)),
        ("time-empty", REFUSED, lambda m: Request(signed(m) | {names[1]: ""}, BODY)),
        ("missing", REFUSED, lambda m: Request(JSON | {names[1]: str(m.now_s)}, BODY)),
        ("empty", REFUSED, lambda m: Request(signed(m) | {names[0]: ""}, BODY)),
        ("other-key", REFUSED, lambda m: Request(signed(m, by=curve(54321)), BODY)),
        ("sha512", REFUSED, lambda m: Request(signed(m, digest_of=hashes.SHA512), BODY)),
        ("sha1", REFUSED, lambda m: Request(signed(m, digest_of=hashes.SHA1), BODY)),
        ("hex", REFUSED, lambda m: Request(signed(m) | {names[0]: key.sign(str(m.now_s).encode() + BODY, ec.ECDSA(hashes.SHA256())).hex()}, BODY)),
        ("p1363", REFUSED, lambda m: Request(signed(m) | {names[0]: b64(b"".join(x.to_bytes(32, "big") for x in raw(key.sign(str(m.now_s).encode() + BODY, ec.ECDSA(hashes.SHA256())))))}, BODY)),
        ("truncated", REFUSED, lambda m: Request(signed(m) | {names[0]: signed(m)[names[0]][:-4]}, BODY)),
        ("garbage", REFUSED, lambda m: Request(signed(m) | {names[0]: "AAAA"}, BODY)),
        ("zero-rs", REFUSED, lambda m: Request(signed(m) | {names[0]: b64(bytes.fromhex("3006020100020100"))}, BODY)),
        ("not-base64", REFUSED, lambda m: Request(signed(m) | {names[0]: "!" + signed(m)[names[0]]}, BODY)),
        ("dotted", REFUSED, lambda m: Request(signed(m) | {names[0]: b64(key.sign(f"{m.now_s}.".encode() + BODY, ec.ECDSA(hashes.SHA256())))}, BODY)),
        ("hmac-of-public", REFUSED, lambda m: Request(signed(m) | {names[0]: b64(digest(config["public_key"], str(m.now_s).encode() + BODY))}, BODY)),
        ("twice", REFUSED, lambda m: Request(signed(m) | {names[0].lower(): signed(m)[names[0]]}, BODY)),
        ("shifted", OPEN, lambda m: Request(signed(m, b"1" + BODY, t=str(m.now_s)) | {names[1]: f"{m.now_s}1"}, BODY)),
        ("time-word", OPEN, lambda m: Request(signed(m, t="soon"), BODY)),
    ]:
        add("sendgrid", name, expect, config, build)
    for sign, word in ((-1, "past"), (1, "future")):
        limited = config | {"tolerance_s": 300}
        add("sendgrid", f"tolerance-{word}-at", VALID, limited, lambda m, sign=sign: Request(signed(m, t=str(m.now_s + sign * 300)), BODY), exact=True)
        add("sendgrid", f"tolerance-{word}-beyond", REFUSED, limited, lambda m, sign=sign: Request(signed(m, t=str(m.now_s + sign * 301)), BODY), exact=True)
        add("sendgrid", f"tolerance-{word}-zero", REFUSED, config | {"tolerance_s": 0}, lambda m, sign=sign: Request(signed(m, t=str(m.now_s + sign)), BODY), exact=True)
    for name, text in {"missing": None, "empty": "", "garbage": "abc", "ed25519": b64(PUBLIC), "truncated": config["public_key"][:-8], "number": 5}.items():
        add("sendgrid", f"key-{name}", REFUSED, {} if text is None else {"public_key": text}, lambda m: Request(signed(m), BODY), offline=True)
    pem = spki(key, serialization.Encoding.PEM).decode()
    add("sendgrid", "key-pem", OPEN, {"public_key": pem}, lambda m: Request(signed(m), BODY))
    p384 = curve(777, ec.SECP384R1)
    add("sendgrid", "key-p384", OPEN, {"public_key": b64(spki(p384))}, lambda m: Request(signed(m, by=p384), BODY), offline=True)


def discord() -> None:
    """Ed25519 over timestamp and body, and the two kinds of ping."""
    config = {"public_key": PUBLIC.hex()}
    names = "X-Signature-Ed25519", "X-Signature-Timestamp"

    def signed(m: Moment, body: bytes = BODY, t: str = "", by: ed25519.Ed25519PrivateKey = KEY) -> dict[str, str]:
        t = t or str(m.now_s)
        return JSON | {names[0]: by.sign(t.encode() + body).hex(), names[1]: t}

    for name, body in BODIES.items():
        add("discord", f"body-{name}", OPEN if name == "null" else VALID, config, lambda m, body=body: Request(signed(m, body), body))
    command = b'{"id":"867","type":2,"data":{"name":"x","type":1}}'
    event = b'{"version":1,"application_id":"1","type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}'
    ping, ping_0 = b'{"type":1}', b'{"version":1,"application_id":"1","type":0}'
    both, hooks = config | {"mode": "interactions"}, config | {"mode": "webhook_events"}
    long = b'{"application_id":"1","id":"9","token":"x","type":1,"user":{"id":"2"},"version":1}'
    for name, expect, settings, body, more in [
        ("command", VALID, config, command, {"status": 200}),
        ("command-mode", VALID, both, command, {"status": 200}),
        ("ping", VALID, config, ping, {"status": 200, "answer": b'{"type":1}'}),
        ("ping-mode", VALID, both, ping, {"status": 200, "answer": b'{"type":1}'}),
        ("ping-long", VALID, both, long, {"status": 200, "answer": b'{"type":1}'}),
        ("events-ping", VALID, hooks, ping_0, {"status": 204, "answer": b""}),
        ("events-event", VALID, hooks, event, {"status": 204}),
    ]:
        add("discord", name, expect, settings, lambda m, body=body: Request(signed(m, body), body), **more)
        add("discord", f"{name}-forged", REFUSED, settings, lambda m, body=body: Request(signed(m, body, by=OTHER), body), status=401)
        add("discord", f"{name}-unsigned", REFUSED, settings, Request(JSON, body), status=401)
    for name, expect, build in [
        ("names-lower", VALID, lambda m: Request({k.lower(): v for k, v in signed(m).items()}, BODY)),
        ("day-old", VALID, lambda m: Request(signed(m, t=str(m.now_s - 86_400)), BODY)),
        ("body", REFUSED, lambda m: Request(signed(m), BODY + b" ")),
        ("time", REFUSED, lambda m: Request(signed(m) | {names[1]: str(m.now_s + 1)}, BODY)),
        ("time-missing", REFUSED, lambda m: Request({names[0]: signed(m)[names[0]]}, BODY)),
        ("truncated", REFUSED, lambda m: Request(signed(m) | {names[0]: signed(m)[names[0]][:-1]}, BODY)),
        ("truncated-byte", REFUSED, lambda m: Request(signed(m) | {names[0]: signed(m)[names[0]][:-2]}, BODY)),
        ("longer", REFUSED, lambda m: Request(signed(m) | {names[0]: signed(m)[names[0]] + "00"}, BODY)),
        ("zeros", REFUSED, lambda m: Request(signed(m) | {names[0]: "0" * 128}, BODY)),
        ("garbage", REFUSED, lambda m: Request(signed(m) | {names[0]: "zz" * 64}, BODY)),
        ("empty", REFUSED, lambda m: Request(signed(m) | {names[0]: ""}, BODY)),
        ("base64", REFUSED, lambda m: Request(signed(m) | {names[0]: b64(KEY.sign(str(m.now_s).encode() + BODY))}, BODY)),
        ("hmac-of-public", REFUSED, lambda m: Request(signed(m) | {names[0]: digest(PUBLIC, str(m.now_s).encode() + BODY).hex()}, BODY)),
        ("twice", REFUSED, lambda m: Request(signed(m) | {names[0].lower(): signed(m)[names[0]]}, BODY)),
        ("upper", OPEN, lambda m: Request(signed(m) | {names[0]: signed(m)[names[0]].upper()}, BODY)),
        ("separator", REFUSED, lambda m: Request(signed(m) | {names[0]: KEY.sign(f"{m.now_s}.".encode() + BODY).hex()}, BODY)),
    ]:
        add("discord", f"sig-{name}", expect, config, build, **({"status": 401} if expect == REFUSED else {}))
    limited = config | {"tolerance_s": 300}
    add("discord", "tolerance-at", VALID, limited, lambda m: Request(signed(m, t=str(m.now_s - 300)), BODY), exact=True)
    add("discord", "tolerance-beyond", REFUSED, limited, lambda m: Request(signed(m, t=str(m.now_s - 301)), BODY), exact=True)
    for name, text in {"missing": None, "empty": "", "short": PUBLIC.hex()[:-2], "garbage": "z" * 64, "number": 5, "other": PUBLIC_OTHER.hex()}.items():
        add("discord", f"key-{name}", REFUSED, {} if text is None else {"public_key": text}, lambda m: Request(signed(m), BODY), offline=True)
    add("discord", "mode-unknown", REFUSED, config | {"mode": "x"}, lambda m: Request(signed(m), BODY), offline=True)


for each in (standard, gitlab, sendgrid, discord):
    each()
