"""PayPal and AWS SNS: signatures by certificates that the request names."""

from __future__ import annotations

import base64
import datetime as dt
import json
import zlib
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from tests.acceptance.judge_cases import OPEN, REFUSED, VALID, Moment, Request, add, b64
from tests.acceptance.judge_headers import BODIES

# Tables of cases: the formatter would give each word a line.
# fmt: off

CN = "messageverificationcerts.paypal.com"
YEARS = (2020, 2040)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key of this name."""
    return rsa.generate_private_key(65537, 2048)


@cache
def certificate(name: str, issuer: str = "", cn: str = "", ca: bool = False, years: tuple[int, int] = YEARS, key: str = "") -> x509.Certificate:
    """A certificate `name` by `issuer` (itself, if empty)."""

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    first, last = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in years)
    parent = ISSUERS.get(issuer, issuer) if issuer else cn or name
    own = rsa_key(key or name)
    built = (
        x509.CertificateBuilder()
        .subject_name(named(cn or name))
        .issuer_name(named(parent))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        built = built.add_extension(usage, critical=True)
    signer = rsa_key(issuer) if issuer else own
    return built.sign(signer, hashes.SHA256())


ISSUERS: dict[str, str] = {"leaf": CN}


def pem(cert: x509.Certificate) -> str:
    """Its text."""
    return cert.public_bytes(serialization.Encoding.PEM).decode()


ROOT = certificate("root", ca=True)
MIDDLE = certificate("middle", "root", ca=True)
LEAF = certificate("leaf", "middle", CN)
URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
EVENT = b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"amount":{"total":"20.00"}}}'
ID = "dfb3be50-fd74-11e4-8bf3-77339302725b"


def paypal_config(leaf: x509.Certificate = LEAF, url: str = URL, **more: Any) -> dict[str, Any]:
    """What a source needs."""
    made = {
        "webhook_id": "4JH86294D6297924G",
        "certs": {url: pem(leaf)},
        "intermediates": [pem(MIDDLE)],
        "trusted_roots": [pem(ROOT)],
    } | more
    return {key: value for key, value in made.items() if value is not None}


def when(m: Moment, offset_s: float = 0) -> str:
    """PayPal's time."""
    return dt.datetime.fromtimestamp(m.now_s + offset_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def paypal_signed(m: Moment, body: bytes = EVENT, key: str = "leaf", *, webhook: str = "4JH86294D6297924G", t: str = "",
                  crc: str = "", scheme: Any = None, algorithm: Any = hashes.SHA256, url: str = URL) -> dict[str, str]:
    """The headers of a delivery."""
    t = t or when(m)
    content = f"{ID}|{t}|{webhook}|{crc or zlib.crc32(body)}".encode()
    signature = rsa_key(key).sign(content, scheme or padding.PKCS1v15(), algorithm())
    return {
        "Content-Type": "application/json",
        "PAYPAL-TRANSMISSION-ID": ID,
        "PAYPAL-TRANSMISSION-TIME": t,
        "PAYPAL-TRANSMISSION-SIG": b64(signature),
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        "PAYPAL-CERT-URL": url,
        "PAYPAL-AUTH-VERSION": "v2",
    }


def paypal() -> None:
    """Chains, addresses, and every signed part."""
    config = paypal_config()
    for name, body in BODIES.items():
        add("paypal", f"body-{name}", VALID, config, lambda m, body=body: Request(paypal_signed(m, body), body))
    for number in range(12):
        body = b'{"id":"WH-%d"}' % number
        if zlib.crc32(body) >= 2**31:
            break
    signed_crc = str(zlib.crc32(body) - 2**32)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    sig = "PAYPAL-TRANSMISSION-SIG"
    for name, expect, build in [
        ("names-lower", VALID, lambda m: Request({k.lower(): v for k, v in paypal_signed(m).items()}, EVENT)),
        ("three-days-old", VALID, lambda m: Request(paypal_signed(m, t=when(m, -259_200)), EVENT)),
        ("crc-unsigned", VALID, lambda m: Request(paypal_signed(m, body), body)),
        ("crc-signed", REFUSED, lambda m: Request(paypal_signed(m, body, crc=signed_crc), body)),
        ("crc-hex", REFUSED, lambda m: Request(paypal_signed(m, crc=f"{zlib.crc32(EVENT):x}"), EVENT)),
        ("body", REFUSED, lambda m: Request(paypal_signed(m), EVENT.replace(b"20", b"99"))),
        ("body-newline", REFUSED, lambda m: Request(paypal_signed(m), EVENT + b"\n")),
        ("id", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-TRANSMISSION-ID": "x"}, EVENT)),
        ("time", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-TRANSMISSION-TIME": when(m, 5)}, EVENT)),
        ("time-same-instant", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-TRANSMISSION-TIME": when(m).replace("Z", "+00:00")}, EVENT)),
        ("other-webhook", REFUSED, lambda m: Request(paypal_signed(m, webhook="OTHER"), EVENT)),
        ("other-key", REFUSED, lambda m: Request(paypal_signed(m, key="other"), EVENT)),
        ("pss", REFUSED, lambda m: Request(paypal_signed(m, scheme=pss), EVENT)),
        ("sha1", REFUSED, lambda m: Request(paypal_signed(m, algorithm=hashes.SHA1), EVENT)),
        ("sha1-named", REFUSED, lambda m: Request(paypal_signed(m, algorithm=hashes.SHA1) | {"PAYPAL-AUTH-ALGO": "SHA1withRSA"}, EVENT)),
        ("algo-none", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-AUTH-ALGO": "none"}, EVENT)),
        ("algo-hmac", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-AUTH-ALGO": "HmacSHA256"}, EVENT)),
        ("version-changed", OPEN, lambda m: Request(paypal_signed(m) | {"PAYPAL-AUTH-VERSION": "v1"}, EVENT)),
        ("hex", REFUSED, lambda m: Request(paypal_signed(m) | {sig: base64.b64decode(paypal_signed(m)[sig]).hex()}, EVENT)),
        ("truncated", REFUSED, lambda m: Request(paypal_signed(m) | {sig: paypal_signed(m)[sig][:-4]}, EVENT)),
        ("empty", REFUSED, lambda m: Request(paypal_signed(m) | {sig: ""}, EVENT)),
        ("zeros", REFUSED, lambda m: Request(paypal_signed(m) | {sig: b64(bytes(256))}, EVENT)),
        ("doubled", REFUSED, lambda m: Request(paypal_signed(m) | {sig: paypal_signed(m)[sig] * 2}, EVENT)),
        ("twice", REFUSED, lambda m: Request(paypal_signed(m) | {sig.lower(): paypal_signed(m)[sig]}, EVENT)),
        ("pipes-moved", REFUSED, lambda m: Request(paypal_signed(m) | {"PAYPAL-TRANSMISSION-ID": f"{ID}|{when(m)}", "PAYPAL-TRANSMISSION-TIME": ""}, EVENT)),
    ]:
        add("paypal", name, expect, config, build)
    for header in ("TRANSMISSION-ID", "TRANSMISSION-TIME", "TRANSMISSION-SIG", "CERT-URL", "AUTH-ALGO"):
        add("paypal", f"without-{header}", OPEN if header == "AUTH-ALGO" else REFUSED, config,
            lambda m, header=header: Request({k: v for k, v in paypal_signed(m).items() if k != f"PAYPAL-{header}"}, EVENT))
    for name, expect, url in [
        ("sandbox", VALID, URL.replace("api.", "api.sandbox.")),
        ("http", REFUSED, URL.replace("https", "http")),
        ("suffix", REFUSED, URL.replace("paypal.com", "paypal.com.evil.example")),
        ("lookalike", REFUSED, URL.replace("api.paypal.com", "api.evilpaypal.com")),
        ("user", REFUSED, URL.replace("api.paypal.com", "api.paypal.com@evil.example")),
        ("fragment", REFUSED, URL.replace("api.paypal.com", "evil.example/#api.paypal.com")),
        ("query", REFUSED, URL.replace("api.paypal.com", "evil.example/?api.paypal.com")),
        ("backslash", REFUSED, URL.replace("api.paypal.com", "evil.example\\.paypal.com")),
        ("address", REFUSED, URL.replace("api.paypal.com", "169.254.169.254")),
        ("file", REFUSED, "file:///etc/passwd"),
        ("empty", REFUSED, ""),
        ("word", REFUSED, "certificate"),
    ]:
        one = paypal_config(url=url)
        add("paypal", f"cert-url-{name}", expect, one, lambda m, url=url: Request(paypal_signed(m, url=url), EVENT))
    other = paypal_config()
    other["certs"] = {URL: pem(certificate("second", "middle", CN)), URL + "2": pem(LEAF)}
    add("paypal", "cert-url-other-cert", REFUSED, other, lambda m: Request(paypal_signed(m), EVENT))
    add("paypal", "cert-url-right-cert", VALID, other, lambda m: Request(paypal_signed(m, url=URL + "2"), EVENT))
    add("paypal", "cert-url-not-given", REFUSED, config, lambda m: Request(paypal_signed(m, url=URL + "9"), EVENT), offline=True)
    evil_root = certificate("evil root", ca=True, cn="root")
    rsa_key("evil root")
    for name, expect, leaf, key, more in [
        ("direct", VALID, certificate("direct", "root", CN), "direct", {"intermediates": None}),
        ("sandbox-cn", VALID, certificate("sandbox", "middle", "messageverificationcerts.sandbox.paypal.com"), "sandbox", {}),
        ("two-roots", VALID, LEAF, "leaf", {"trusted_roots": [pem(certificate("other root", ca=True)), pem(ROOT)]}),
        ("intermediates-shuffled", VALID, certificate("deep", "third", CN), "deep",
         {"intermediates": [pem(certificate("third", "middle", ca=True)), pem(MIDDLE)]}),
        ("expired", REFUSED, certificate("expired", "middle", CN, years=(2020, 2021)), "expired", {}),
        ("not-yet", REFUSED, certificate("not yet", "middle", CN, years=(2039, 2040)), "not yet", {}),
        ("other-root", REFUSED, LEAF, "leaf", {"trusted_roots": [pem(certificate("other root", ca=True))]}),
        ("root-same-name", REFUSED, certificate("by evil", "evil root", CN), "by evil", {"intermediates": None}),
        ("no-roots", REFUSED, LEAF, "leaf", {"trusted_roots": None}),
        ("no-intermediates", REFUSED, LEAF, "leaf", {"intermediates": None}),
        ("self-signed", REFUSED, certificate("self", cn=CN), "self", {}),
        ("self-signed-given", REFUSED, certificate("self", cn=CN), "self", {"intermediates": [pem(certificate("self", cn=CN))]}),
        ("cn-other", REFUSED, certificate("cn1", "middle", "evil.example"), "cn1", {}),
        ("cn-suffix", REFUSED, certificate("cn2", "middle", CN + ".evil.example"), "cn2", {}),
        ("cn-lookalike", REFUSED, certificate("cn3", "middle", "messageverificationcerts.evilpaypal.com"), "cn3", {}),
        ("cn-www", OPEN, certificate("cn4", "middle", "www.paypal.com"), "cn4", {}),
        ("cn-prefix", OPEN, certificate("cn5", "middle", "messageverificationcertsx.paypal.com"), "cn5", {}),
        ("intermediate-expired", REFUSED, certificate("under", "old middle", CN), "under",
         {"intermediates": [pem(certificate("old middle", "root", ca=True, years=(2020, 2021)))]}),
        ("root-expired", REFUSED, certificate("under old", "old root", CN), "under old",
         {"intermediates": None, "trusted_roots": [pem(certificate("old root", ca=True, years=(2020, 2021)))]}),
        ("issuer-not-ca", REFUSED, certificate("below leaf", "plain", CN), "below leaf",
         {"intermediates": [pem(certificate("plain", "middle", "plain")), pem(MIDDLE)]}),
        ("intermediate-as-root", OPEN, LEAF, "leaf", {"trusted_roots": [pem(MIDDLE)]}),
        ("evil-intermediate", REFUSED, certificate("by evil", "evil root", CN), "by evil", {"intermediates": [pem(evil_root)]}),
    ]:
        add("paypal", f"chain-{name}", expect, paypal_config(leaf, **more), lambda m, key=key: Request(paypal_signed(m, key=key), EVENT))
    for name, more in {
        "no-webhook-id": {"webhook_id": None}, "webhook-id-empty": {"webhook_id": ""}, "certs-garbage": {"certs": {URL: "x"}},
        "roots-garbage": {"trusted_roots": ["x"]}, "certs-list": {"certs": []}, "roots-empty": {"trusted_roots": []},
    }.items():
        add("paypal", f"config-{name}", REFUSED, paypal_config(**more), lambda m: Request(paypal_signed(m, webhook=""), EVENT), offline=True)
    add("paypal", "config-none", REFUSED, {}, lambda m: Request(paypal_signed(m), EVENT), offline=True)


TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
SNS_URL = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
SNS = certificate("sns", cn="sns.amazonaws.com")
NOTE = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
ASK = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


def sns_config(url: str = SNS_URL, cert: x509.Certificate = SNS, **more: Any) -> dict[str, Any]:
    """What a source needs."""
    return {"topic_arn": TOPIC, "certs": {url: pem(cert)}} | more


def sns_message(m: Moment, kind: str = "Notification", version: str = "2", key: str = "sns", **change: Any) -> dict[str, Any]:
    """A signed message; what is changed is signed, too."""
    made: dict[str, Any] = {
        "Type": kind, "MessageId": f"22b80b92-{m.now_s}-{kind}", "TopicArn": TOPIC, "Message": 'Hello "w\u00f6rld"\n',
        "Timestamp": when(m).replace("Z", ".123Z"), "SignatureVersion": version, "SigningCertURL": SNS_URL,
    }
    if kind == "Notification":
        made |= {"Subject": "My First Message", "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe"}
    else:
        made |= {"Token": "2336412f37", "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"}
    made = {name: value for name, value in (made | change).items() if value is not None}
    names = NOTE if kind == "Notification" else ASK
    text = "".join(f"{name}\n{made[name]}\n" for name in names if name in made)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    made["Signature"] = b64(rsa_key(key).sign(text.encode("utf-8", "surrogatepass"), padding.PKCS1v15(), algorithm))
    return made


def sns_request(message: dict[str, Any], *, ascii_only: bool = True, **headers: str) -> Request:
    """As SNS sends it."""
    made = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": str(message.get("Type"))}
    return Request(made | headers, json.dumps(message, indent=2, ensure_ascii=ascii_only).encode())


def sns() -> None:
    """Versions, every signed key, addresses of certificates, questions."""
    config = sns_config()
    for version in ("1", "2"):
        add("aws_sns", f"v{version}", VALID, config, lambda m, v=version: sns_request(sns_message(m, version=v)))
        add("aws_sns", f"v{version}-no-subject", VALID, config, lambda m, v=version: sns_request(sns_message(m, version=v, Subject=None)))
        for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            add("aws_sns", f"v{version}-{kind}", VALID, config, lambda m, v=version, k=kind: sns_request(sns_message(m, k, v)), offline=True)
        other = "1" if version == "2" else "2"
        add("aws_sns", f"v{version}-named-v{other}", REFUSED, config,
            lambda m, v=version, o=other: sns_request(sns_message(m, version=v) | {"SignatureVersion": o}))
    for kind, names in (("Notification", NOTE), ("SubscriptionConfirmation", ASK), ("UnsubscribeConfirmation", ASK)):
        for name in (*names, "Signature", "SigningCertURL", "SignatureVersion"):
            where = {"offline": kind != "Notification"}
            add("aws_sns", f"{kind}-{name}-changed", REFUSED, config,
                lambda m, k=kind, n=name: sns_request((v := sns_message(m, k)) | {n: v[n] + "x"}), **where)
            add("aws_sns", f"{kind}-{name}-removed", REFUSED, config,
                lambda m, k=kind, n=name: sns_request({a: b for a, b in sns_message(m, k).items() if a != n}), **where)
    for name, expect, build in [
        ("as-json", VALID, lambda m: sns_request(sns_message(m), **{"Content-Type": "application/json"})),
        ("utf8", VALID, lambda m: sns_request(sns_message(m), ascii_only=False)),
        ("emoji", VALID, lambda m: sns_request(sns_message(m, Message="😀 é \\ / \t"))),
        ("message-json", VALID, lambda m: sns_request(sns_message(m, Message='{"Records":[{"eventName":"ObjectCreated:Put"}]}'))),
        ("message-empty", VALID, lambda m: sns_request(sns_message(m, Message=""))),
        ("subject-added", REFUSED, lambda m: sns_request(sns_message(m, Subject=None) | {"Subject": "x"})),
        ("unsubscribe-url-changed", VALID, lambda m: sns_request(sns_message(m) | {"UnsubscribeURL": "https://x"})),
        ("attributes-added", VALID, lambda m: sns_request(sns_message(m) | {"MessageAttributes": {"a": {"Type": "String", "Value": "b"}}})),
        ("other-key", REFUSED, lambda m: sns_request(sns_message(m, key="other"))),
        ("other-topic", REFUSED, lambda m: sns_request(sns_message(m, TopicArn=TOPIC + "2"))),
        ("other-account", REFUSED, lambda m: sns_request(sns_message(m, TopicArn=TOPIC.replace("123456789012", "999999999999")))),
        ("type-other", REFUSED, lambda m: sns_request(sns_message(m, Type="Other"))),
        ("v3", REFUSED, lambda m: sns_request(sns_message(m) | {"SignatureVersion": "3"})),
        ("version-number", OPEN, lambda m: sns_request(sns_message(m) | {"SignatureVersion": 2})),
        ("raw-delivery", REFUSED, lambda m: Request({"x-amz-sns-message-type": "Notification", "x-amz-sns-rawdelivery": "true"}, b"Hello")),
        ("array", REFUSED, lambda m: Request({}, b"[]")),
        ("not-json", REFUSED, lambda m: Request({}, b"{")),
        ("empty", REFUSED, lambda m: Request({}, b"")),
        ("deep", REFUSED, lambda m: Request({}, b"[" * 50_000)),
        ("number", REFUSED, lambda m: sns_request(sns_message(m) | {"Message": 5})),
        ("signature-list", REFUSED, lambda m: sns_request(sns_message(m) | {"Signature": ["x"]})),
        ("subject-null", OPEN, lambda m: sns_request(sns_message(m, Subject=None) | {"Subject": None})),
        ("lone-surrogate", OPEN, lambda m: sns_request(sns_message(m, Message="\ud800"))),
        ("key-twice", OPEN, lambda m: Request({}, json.dumps(sns_message(m)).replace("{", '{"Message":"forged",', 1).encode())),
        ("key-twice-forged", REFUSED, lambda m: Request({}, json.dumps(sns_message(m)).replace("}", ',"Message":"forged"}', 1).encode())),
        ("confirmation-as-notification", REFUSED, lambda m: sns_request(sns_message(m, "SubscriptionConfirmation") | {"Type": "Notification"})),
    ]:
        add("aws_sns", name, expect, config, build)
    for name, expect, url, topic in [
        ("china", VALID, SNS_URL.replace("us-west-2.amazonaws.com", "cn-north-1.amazonaws.com.cn"), TOPIC.replace("aws:sns:us-west-2", "aws-cn:sns:cn-north-1")),
        ("other-region", REFUSED, SNS_URL.replace("us-west-2", "us-east-1"), TOPIC),
        ("http", REFUSED, SNS_URL.replace("https", "http"), TOPIC),
        ("suffix", REFUSED, SNS_URL.replace("amazonaws.com", "amazonaws.com.evil.example"), TOPIC),
        ("bucket", REFUSED, SNS_URL.replace("sns.us-west-2", "sns-us-west-2.s3"), TOPIC),
        ("bucket-named-sns", REFUSED, SNS_URL.replace("sns.us-west-2", "sns.us-west-2.s3"), TOPIC),
        ("short-region", REFUSED, SNS_URL.replace("us-west-2", "us"), TOPIC),
        ("path", REFUSED, SNS_URL.replace("SimpleNotificationService", "Other"), TOPIC),
        ("extension", REFUSED, SNS_URL.replace(".pem", ".txt"), TOPIC),
        ("user", REFUSED, SNS_URL.replace("sns.us-west-2.amazonaws.com", "sns.us-west-2.amazonaws.com@evil.example"), TOPIC),
        ("port", REFUSED, SNS_URL.replace(".com/", ".com:8443/"), TOPIC),
        ("host-only-in-path", REFUSED, "https://evil.example/sns.us-west-2.amazonaws.com/SimpleNotificationService-a.pem", TOPIC),
        ("empty", REFUSED, "", TOPIC),
    ]:
        add("aws_sns", f"cert-url-{name}", expect, sns_config(url, topic_arn=topic),
            lambda m, url=url, topic=topic: sns_request(sns_message(m, SigningCertURL=url, TopicArn=topic)))
    for name, url in {"evil": "https://evil.example/?Action=ConfirmSubscription", "http": "http://sns.us-west-2.amazonaws.com/?a",
                      "bucket": "https://x.s3.amazonaws.com/", "local": "http://127.0.0.1/"}.items():
        add("aws_sns", f"subscribe-url-{name}", OPEN if name == "http" else REFUSED, config,
            lambda m, url=url: sns_request(sns_message(m, "SubscriptionConfirmation", SubscribeURL=url)))
    late, early = certificate("sns late", cn="sns.amazonaws.com", years=(2020, 2021)), certificate("sns early", cn="sns.amazonaws.com", years=(2039, 2040))
    add("aws_sns", "cert-expired", OPEN, sns_config(cert=late), lambda m: sns_request(sns_message(m, key="sns late")))
    add("aws_sns", "cert-not-yet", OPEN, sns_config(cert=early), lambda m: sns_request(sns_message(m, key="sns early")))
    add("aws_sns", "cert-not-given", REFUSED, {"topic_arn": TOPIC, "certs": {}}, lambda m: sns_request(sns_message(m)), offline=True)
    add("aws_sns", "cert-garbage", REFUSED, {"topic_arn": TOPIC, "certs": {SNS_URL: "x"}}, lambda m: sns_request(sns_message(m)), offline=True)
    add("aws_sns", "no-topic", OPEN, {"certs": {SNS_URL: pem(SNS)}}, lambda m: sns_request(sns_message(m)))
    add("aws_sns", "no-topic-forged", REFUSED, {"certs": {SNS_URL: pem(SNS)}}, lambda m: sns_request(sns_message(m, key="other")))
    add("aws_sns", "month-old", VALID, config, lambda m: sns_request(sns_message(m, Timestamp=when(m, -2_000_000))))


paypal()
sns()
