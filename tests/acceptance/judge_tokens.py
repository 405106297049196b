"""Jira Connect and Google Cloud Pub/Sub: JSON Web Tokens."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.acceptance.judge_cases import BASE_URL, JSON, OPEN, REFUSED, VALID, Moment, Request, add, b64url, digest
from tests.acceptance.judge_certificates import certificate, pem, rsa_key

# Tables of cases: the formatter would give each word a line.
# fmt: off

BODY = b'{"webhookEvent":"jira:issue_updated"}'


def token(claims: dict[str, Any], header: dict[str, Any], sign: Any) -> str:
    """A compact JWS."""
    content = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
    return content + "." + b64url(sign(content.encode()))


def hs(secret: str | bytes, algorithm: str = "sha256") -> Any:
    """HS256 and its kin."""
    return lambda content: digest(secret, content, algorithm)


def rs(key: str, algorithm: Any = hashes.SHA256, scheme: Any = None) -> Any:
    """RS256 and its kin."""
    return lambda content: rsa_key(key).sign(content, scheme or padding.PKCS1v15(), algorithm())


def qsh(method: str, path: str, pairs: list[tuple[str, str]]) -> str:
    """Atlassian's hash of the request's line."""
    encoded: dict[str, list[str]] = {}
    for name, value in pairs:
        encoded.setdefault(quote(name, safe="-._~"), []).append(quote(value, safe="-._~"))
    query = "&".join(f"{name}={','.join(sorted(values))}" for name, values in sorted(encoded.items()))
    return hashlib.sha256(f"{method}&{path}&{query}".encode()).hexdigest()


SECRET = "NV0Zq1xU8e4Yf3hT7kPm2sWcRbGdJaLo"
ISSUER = "08b4f8a2-0d2c-3b4f-9a5e-1b2c3d4e5f60"
JIRA = {"shared_secret": SECRET, "client_key": ISSUER, "base_url": BASE_URL, "leeway": 0}
HS = {"typ": "JWT", "alg": "HS256"}


def claims_of(m: Moment, method: str = "POST", path: str | None = None, pairs: Any = (), **change: Any) -> dict[str, Any]:
    """Jira's claims; None removes one."""
    made = {"iss": ISSUER, "iat": m.now_s, "exp": m.now_s + 180,
            "qsh": qsh(method, m.url.removeprefix(BASE_URL) if path is None else path, list(pairs))} | change
    return {name: value for name, value in made.items() if value is not None}


def bearer(text: str, scheme: str = "JWT") -> dict[str, str]:
    """The header."""
    return JSON | {"Authorization": f"{scheme} {text}"}


def jira_connect() -> None:
    """The token, its claims, and the query's hash."""

    def with_claims(sign: Any = None, header: Any = HS, body: bytes = BODY, query: str = "", method: str = "POST", **change: Any) -> Any:
        def build(m: Moment) -> Request:
            moved = {k: v(m) if callable(v) else v for k, v in change.items()}
            return Request(bearer(token(claims_of(m, **moved), header, sign or hs(SECRET))), body, method, query)

        return build

    later = lambda s: lambda m: m.now_s + s  # noqa: E731
    for name, expect, build in [
        ("plain", VALID, with_claims()),
        ("body-changed", VALID, with_claims(body=b"anything at all")),
        ("body-empty", VALID, with_claims(body=b"")),
        ("query", VALID, with_claims(query="user=5b10&issue.key=P-1", pairs=[("user", "5b10"), ("issue.key", "P-1")])),
        ("query-unsorted", VALID, with_claims(query="b=2&a=1&B=3", pairs=[("a", "1"), ("b", "2"), ("B", "3")])),
        ("query-repeated", VALID, with_claims(query="a=2&b=x&a=1", pairs=[("a", "2"), ("b", "x"), ("a", "1")])),
        ("query-space", VALID, with_claims(query="a=x%20y", pairs=[("a", "x y")])),
        ("query-reserved", VALID, with_claims(query="a=%2A%7E%21%28%29%27", pairs=[("a", "*~!()'")])),
        ("query-utf8", VALID, with_claims(query="n=Zo%C3%AB", pairs=[("n", "Zoë")])),
        ("query-comma", VALID, with_claims(query="a=1%2C2", pairs=[("a", "1,2")])),
        ("query-lower-hex", VALID, with_claims(query="a=%c3%ab", pairs=[("a", "ë")])),
        ("query-empty-value", VALID, with_claims(query="a=&b=1", pairs=[("a", ""), ("b", "1")])),
        ("query-plus", OPEN, with_claims(query="a=x+y", pairs=[("a", "x y")])),
        ("query-added", REFUSED, with_claims(query="a=1")),
        ("query-removed", REFUSED, with_claims(pairs=[("a", "1")])),
        ("query-changed", REFUSED, with_claims(query="a=2", pairs=[("a", "1")])),
        ("method-changed", REFUSED, with_claims(method="PUT")),
        ("method-signed-get", REFUSED, lambda m: Request(bearer(token(claims_of(m, "GET"), HS, hs(SECRET))), BODY)),
        ("path-other", REFUSED, with_claims(path="/other")),
        ("path-root", REFUSED, with_claims(path="/")),
        ("qsh-missing", REFUSED, with_claims(qsh=None)),
        ("qsh-context", REFUSED, with_claims(qsh="context-qsh")),
        ("qsh-empty", REFUSED, with_claims(qsh="")),
        ("qsh-number", REFUSED, with_claims(qsh=5)),
        ("iss-other", REFUSED, with_claims(iss="other")),
        ("iss-missing", REFUSED, with_claims(iss=None)),
        ("iss-list", REFUSED, with_claims(iss=[ISSUER])),
        ("exp-past", REFUSED, with_claims(exp=later(-1))),
        ("exp-long-past", REFUSED, with_claims(exp=later(-86_400))),
        ("exp-missing", REFUSED, with_claims(exp=None)),
        ("exp-word", REFUSED, with_claims(exp="never")),
        ("exp-null-text", REFUSED, with_claims(exp={})),
        ("exp-next", VALID, with_claims(exp=later(30))),
        ("nbf-future", REFUSED, with_claims(nbf=later(60))),
        ("nbf-past", VALID, with_claims(nbf=later(-60))),
        ("iat-future", OPEN, with_claims(iat=later(600), exp=later(700))),
        ("sub-added", VALID, with_claims(sub="5b10", context={})),
        ("secret-other", REFUSED, with_claims(hs("other"))),
        ("secret-empty", REFUSED, with_claims(hs(""))),
        ("hs512", REFUSED, with_claims(hs(SECRET, "sha512"), {"typ": "JWT", "alg": "HS512"})),
        ("hs384", REFUSED, with_claims(hs(SECRET, "sha384"), {"typ": "JWT", "alg": "HS384"})),
        ("rs256", REFUSED, with_claims(rs("other"), {"typ": "JWT", "alg": "RS256"})),
        ("none", REFUSED, with_claims(lambda c: b"", {"typ": "JWT", "alg": "none"})),
        ("None", REFUSED, with_claims(lambda c: b"", {"typ": "JWT", "alg": "NoNe"})),
        ("none-signed", REFUSED, with_claims(header={"typ": "JWT", "alg": "none"})),
        ("alg-missing", REFUSED, with_claims(header={"typ": "JWT"})),
        ("alg-lower", REFUSED, with_claims(header={"typ": "JWT", "alg": "hs256"})),
        ("alg-list", REFUSED, with_claims(header={"alg": ["HS256"]})),
        ("crit", REFUSED, with_claims(header=HS | {"crit": ["x"], "x": 1})),
        ("no-typ", VALID, with_claims(header={"alg": "HS256"})),
        ("unsigned", REFUSED, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)).rpartition(".")[0] + "."), BODY)),
        ("two-parts", REFUSED, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)).rpartition(".")[0]), BODY)),
        ("four-parts", REFUSED, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)) + ".x"), BODY)),
        ("claims-swapped", REFUSED, lambda m: Request(bearer(swapped(token(claims_of(m), HS, hs(SECRET)), claims_of(m, sub="admin"))), BODY)),
        ("claims-array", REFUSED, lambda m: Request(bearer(token([1], HS, hs(SECRET))), BODY)),  # type: ignore[arg-type]
        ("padded", REFUSED, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)) + "="), BODY)),
        ("junk", REFUSED, Request(bearer("a.b.c"), BODY)),
        ("empty", REFUSED, Request(JSON | {"Authorization": "JWT "}, BODY)),
        ("missing", REFUSED, Request(JSON, BODY)),
        ("as-bearer", OPEN, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)), "Bearer"), BODY)),
        ("as-jwt-lower", OPEN, lambda m: Request(bearer(token(claims_of(m), HS, hs(SECRET)), "jwt"), BODY)),
        ("twice", REFUSED, lambda m: Request((h := bearer(token(claims_of(m), HS, hs(SECRET)))) | {"authorization": h["Authorization"]}, BODY)),
        ("in-query", VALID, lambda m: Request(JSON, BODY, query="jwt=" + token(claims_of(m), HS, hs(SECRET)))),
        ("in-query-more", VALID, lambda m: Request(JSON, BODY, query="a=1&jwt=" + token(claims_of(m, pairs=[("a", "1")]), HS, hs(SECRET)) )),
        ("in-query-forged", REFUSED, lambda m: Request(JSON, BODY, query="jwt=" + token(claims_of(m), HS, hs("x")))),
        ("in-body", REFUSED, lambda m: Request(JSON, b"jwt=" + token(claims_of(m), HS, hs(SECRET)).encode())),
    ]:
        add("jira_connect", name, expect, JIRA, build)
    add("jira_connect", "exp-second-past", REFUSED, JIRA, with_claims(exp=later(-1)), exact=True)
    lenient = JIRA | {"leeway": 10}
    add("jira_connect", "leeway-within", VALID, lenient, with_claims(exp=later(-9)), exact=True)
    add("jira_connect", "leeway-beyond", REFUSED, lenient, with_claims(exp=later(-11)), exact=True)
    add("jira_connect", "leeway-wide", VALID, JIRA | {"leeway": 3600}, with_claims(exp=later(-3000)))
    under = JIRA | {"base_url": BASE_URL + "/in"}
    short = lambda m: m.url.removeprefix(BASE_URL + "/in")  # noqa: E731
    add("jira_connect", "base-path", VALID, under, with_claims(path=short))
    add("jira_connect", "base-path-slash", VALID, JIRA | {"base_url": BASE_URL + "/in/"}, with_claims(path=short))
    add("jira_connect", "base-path-whole", REFUSED, under, with_claims())
    add("jira_connect", "base-root", VALID, JIRA | {"base_url": "{url}"}, with_claims(path="/"))
    for name, url, path, expect in [
        ("slash", "/in/x/", "/in/x", VALID), ("origin", "", "/", VALID), ("root-slash", "/", "/", VALID),
        ("ampersand", "/in/a&b", "/in/a%26b", VALID), ("ampersand-bare", "/in/a&b", "/in/a&b", REFUSED),
    ]:
        add("jira_connect", f"path-{name}", expect, JIRA, lambda m, url=url, path=path: Request(
            bearer(token(claims_of(m, path=path), HS, hs(SECRET))), BODY, url=BASE_URL + url), offline=True)
    for name, key in {"missing": None, "empty": "", "number": 5}.items():
        config = {k: v for k, v in (JIRA | {"shared_secret": key}).items() if v is not None}
        add("jira_connect", f"config-{name}", REFUSED, config, with_claims(hs("")), offline=True)
    for name, key in {"one": "x", "unicode": "ключ", "base64": "QUJD", "odd": 'a"b\\c'}.items():
        add("jira_connect", f"secret-{name}", VALID, JIRA | {"shared_secret": key}, with_claims(hs(key)))
    add("jira_connect", "no-client-key", OPEN, {k: v for k, v in JIRA.items() if k != "client_key"}, with_claims())
    add("jira_connect", "no-base-url", OPEN, {k: v for k, v in JIRA.items() if k != "base_url"}, with_claims())
    add("jira_connect", "leeway-negative", REFUSED, JIRA | {"leeway": "x"}, with_claims(), offline=True)


def swapped(text: str, claims: dict[str, Any]) -> str:
    """The token with other claims under the old signature."""
    head, _, signature = text.split(".")
    return f"{head}.{b64url(json.dumps(claims).encode())}.{signature}"


EMAIL = "pubsub-push@my-project.iam.gserviceaccount.com"
AUDIENCE = "https://hooks.example.com/in/pubsub"
GOOGLE = certificate("google", cn="federated-signon.system.gserviceaccount.com")
PUBSUB = {"audience": AUDIENCE, "service_account_email": EMAIL, "certs": {"k1": pem(GOOGLE)}}
RS = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
PUSH = b'{"message":{"attributes":{"eventType":"OBJECT_FINALIZE"},"data":"SGVsbG8=","messageId":"136969346945"},"subscription":"projects/p/subscriptions/s"}'


def pubsub() -> None:
    """The OIDC token and its claims."""

    def with_claims(sign: Any = None, header: Any = RS, body: bytes = PUSH, scheme: str = "Bearer", **change: Any) -> Any:
        def build(m: Moment) -> Request:
            made: dict[str, Any] = {
                "aud": AUDIENCE, "azp": "113", "email": EMAIL, "email_verified": True, "exp": m.now_s + 3600,
                "iat": m.now_s, "iss": "https://accounts.google.com", "sub": "113",
            }
            made |= {k: v(m) if callable(v) else v for k, v in change.items()}
            made = {k: v for k, v in made.items() if v is not None}
            return Request(bearer(token(made, header, sign or rs("google")), scheme), body)

        return build

    later = lambda s: lambda m: m.now_s + s  # noqa: E731
    public = pem(GOOGLE)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for name, expect, build in [
        ("plain", VALID, with_claims()),
        ("iss-short", VALID, with_claims(iss="accounts.google.com")),
        ("body-changed", VALID, with_claims(body=b'{"message":{"messageId":"7"}}')),
        ("body-unwrapped", VALID, with_claims(body=b"raw bytes")),
        ("iss-other", REFUSED, with_claims(iss="https://accounts.google.com.evil.example")),
        ("iss-http", REFUSED, with_claims(iss="http://accounts.google.com")),
        ("iss-missing", REFUSED, with_claims(iss=None)),
        ("aud-other", REFUSED, with_claims(aud="https://other.example/")),
        ("aud-slash", REFUSED, with_claims(aud=AUDIENCE + "/")),
        ("aud-missing", REFUSED, with_claims(aud=None)),
        ("aud-list", OPEN, with_claims(aud=[AUDIENCE])),
        ("aud-list-other", REFUSED, with_claims(aud=["https://other.example/"])),
        ("email-other", REFUSED, with_claims(email="evil@evil.iam.gserviceaccount.com")),
        ("email-missing", REFUSED, with_claims(email=None)),
        ("email-case", OPEN, with_claims(email=EMAIL.upper())),
        ("email-unverified", REFUSED, with_claims(email_verified=False)),
        ("email-verified-missing", REFUSED, with_claims(email_verified=None)),
        ("email-verified-text", OPEN, with_claims(email_verified="true")),
        ("email-verified-false-text", REFUSED, with_claims(email_verified="false")),
        ("exp-past", REFUSED, with_claims(exp=later(-400), iat=later(-4000))),
        ("exp-just", OPEN, with_claims(exp=later(-5), iat=later(-3605))),
        ("exp-missing", REFUSED, with_claims(exp=None)),
        ("exp-word", REFUSED, with_claims(exp="never")),
        ("exp-soon", VALID, with_claims(exp=later(30))),
        ("nbf-future", REFUSED, with_claims(nbf=later(600))),
        ("iat-future", REFUSED, with_claims(iat=later(600), exp=later(4200))),
        ("kid-other", REFUSED, with_claims(header=RS | {"kid": "k2"})),
        ("kid-url", REFUSED, with_claims(header=RS | {"kid": "https://evil.example/k"})),
        ("kid-number", REFUSED, with_claims(header=RS | {"kid": 1})),
        ("kid-missing", OPEN, with_claims(header={"alg": "RS256"})),
        ("jku", OPEN, with_claims(header=RS | {"jku": "https://evil.example/jwks"})),
        ("jwk-own", REFUSED, with_claims(rs("other"), RS | {"jwk": {"kty": "RSA", "n": "AQ", "e": "AQAB"}})),
        ("crit", REFUSED, with_claims(header=RS | {"crit": ["x"], "x": 1})),
        ("other-key", REFUSED, with_claims(rs("other"))),
        ("hs256-pem", REFUSED, with_claims(hs(public), RS | {"alg": "HS256"})),
        ("hs256-pem-named-rs", REFUSED, with_claims(hs(public))),
        ("none", REFUSED, with_claims(lambda c: b"", RS | {"alg": "none"})),
        ("none-signed", REFUSED, with_claims(header=RS | {"alg": "none"})),
        ("rs512", REFUSED, with_claims(rs("google", hashes.SHA512), RS | {"alg": "RS512"})),
        ("ps256", REFUSED, with_claims(rs("google", scheme=pss), RS | {"alg": "PS256"})),
        ("ps256-named-rs", REFUSED, with_claims(rs("google", scheme=pss))),
        ("sha1-named-rs", REFUSED, with_claims(rs("google", hashes.SHA1))),
        ("basic", REFUSED, with_claims(scheme="Basic")),
        ("bearer-lower", OPEN, with_claims(scheme="bearer")),
        ("no-scheme", REFUSED, lambda m: Request(JSON | {"Authorization": with_claims()(m).headers["Authorization"][7:]}, PUSH)),
        ("missing", REFUSED, Request(JSON, PUSH)),
        ("empty", REFUSED, Request(JSON | {"Authorization": "Bearer "}, PUSH)),
        ("junk", REFUSED, Request(bearer("x.y.z", "Bearer"), PUSH)),
        ("dots", REFUSED, Request(bearer("..", "Bearer"), PUSH)),
        ("unsigned", REFUSED, lambda m: Request({"Authorization": with_claims()(m).headers["Authorization"].rpartition(".")[0] + "."}, PUSH)),
        ("truncated", REFUSED, lambda m: Request({"Authorization": with_claims()(m).headers["Authorization"][:-4]}, PUSH)),
        ("twice", REFUSED, lambda m: Request((h := dict(with_claims()(m).headers)) | {"authorization": h["Authorization"]}, PUSH)),
        ("in-query", OPEN, lambda m: Request(JSON, PUSH, query="token=" + with_claims()(m).headers["Authorization"][7:])),
    ]:
        add("gcp_pubsub", name, expect, PUBSUB, build)
    add("gcp_pubsub", "leeway-zero", REFUSED, PUBSUB | {"leeway": 0}, with_claims(exp=later(-1), iat=later(-3601)), exact=True)
    add("gcp_pubsub", "leeway-within", VALID, PUBSUB | {"leeway": 60}, with_claims(exp=later(-59), iat=later(-3659)), exact=True)
    add("gcp_pubsub", "leeway-beyond", REFUSED, PUBSUB | {"leeway": 60}, with_claims(exp=later(-61), iat=later(-3661)), exact=True)
    late = certificate("google late", cn="x", years=(2020, 2021))
    add("gcp_pubsub", "cert-expired", OPEN, PUBSUB | {"certs": {"k1": pem(late)}}, with_claims(rs("google late")))
    two = {"certs": {"k0": pem(certificate("google two")), "k1": pem(GOOGLE)}}
    add("gcp_pubsub", "kid-first", VALID, PUBSUB | two, with_claims(rs("google two"), RS | {"kid": "k0"}))
    add("gcp_pubsub", "kid-swapped", REFUSED, PUBSUB | two, with_claims(rs("google two")))
    for name, more in {"certs-garbage": {"certs": {"k1": "x"}}, "certs-list": {"certs": [public]}}.items():
        add("gcp_pubsub", name, REFUSED, PUBSUB | more, with_claims(), offline=True)
    without = lambda key: {k: v for k, v in PUBSUB.items() if k != key}  # noqa: E731
    add("gcp_pubsub", "no-audience", OPEN, without("audience"), lambda m: with_claims(aud=m.url)(m))
    add("gcp_pubsub", "no-audience-other", REFUSED, without("audience"), with_claims(aud="https://other.example/"))
    add("gcp_pubsub", "no-email", OPEN, without("service_account_email"), with_claims())
    add("gcp_pubsub", "config-none", REFUSED, {}, with_claims(), offline=True)


jira_connect()
pubsub()
