"""Twilio, Microsoft Graph, Salesforce, and what is proven by a credential: Zapier, IFTTT, Okta, Auth0, Chargebee,
CloudEvents."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.judge_cases import FORM, JSON, OPEN, REFUSED, VALID, Moment, Request, add, b64, digest, form, sha

# Tables of cases: the formatter would give each word a line.
# fmt: off


def twilio() -> None:
    """The address and the sorted form."""
    config = {"auth_token": "12345"}

    def mac(url: str, pairs: Any = (), secret: str = "12345", algorithm: str = "sha1") -> str:
        names = sorted({name for name, _ in pairs})
        text = "".join(n + v for n in names for v in sorted({v for name, v in pairs if name == n}))
        return b64(digest(secret, (url + text).encode(), algorithm))

    def sent(pairs: Any, *, signed: Any = None, query: str = "", url: Any = None, secret: str = "12345", body: bytes | None = None, method: str = "POST", **more: Any) -> Any:
        def build(m: Moment) -> Request:
            called = m.url + (f"?{query}" if query else "")
            text = mac(url(called) if url else called, pairs if signed is None else signed, secret, **more)
            return Request(FORM | {"X-Twilio-Signature": text}, form(pairs) if body is None else body, method, query)

        return build

    call = [("CallSid", "CA1"), ("Caller", "+14158675309"), ("Digits", "1234"), ("From", "+1"), ("To", "+2")]
    port = lambda u: u.replace("hooks.example.com", "hooks.example.com:443")  # noqa: E731
    for name, expect, build in [
        ("form", VALID, sent(call)),
        ("query", VALID, sent(call, query="foo=1&bar=2")),
        ("query-escapes", VALID, sent(call, query="a=%20b%2Fc&d=+e")),
        ("shuffled", VALID, sent(call[::-1])),
        ("case-sorted", VALID, sent([("a", "1"), ("B", "2"), ("A", "3"), ("b", "4")])),
        ("blank", VALID, sent([*call, ("Body", "")])),
        ("repeated", VALID, sent([("M", "b"), ("M", "a"), ("N", "1")])),
        ("repeated-alike", VALID, sent([("M", "a"), ("M", "a")])),
        ("utf8", VALID, sent([("Body", "Zoë 😀 & = +"), ("To", "x")])),
        ("percent-spaces", VALID, sent([("Body", "a b")], body=b"Body=a%20b")),
        ("no-params", VALID, sent([], body=b"")),
        ("get", VALID, sent([], body=b"", method="GET", query="CallSid=CA1&From=%2B1")),
        ("port-added", VALID, sent(call, url=port)),
        ("port-other", REFUSED, sent(call, url=lambda u: u.replace("hooks.example.com", "hooks.example.com:8443"))),
        ("http", REFUSED, sent(call, url=lambda u: u.replace("https", "http"))),
        ("host", REFUSED, sent(call, url=lambda u: u.replace("hooks", "evil"))),
        ("slash", REFUSED, sent(call, url=lambda u: u + "/")),
        ("query-changed", REFUSED, sent(call, query="foo=2", url=lambda u: u.replace("2", "1"))),
        ("query-lost", REFUSED, sent(call, query="foo=1", url=lambda u: u.partition("?")[0])),
        ("value-changed", REFUSED, sent(call, signed=[*call[:-1], ("To", "+3")])),
        ("param-added", REFUSED, sent([*call, ("Extra", "1")], signed=call)),
        ("param-blank-added", REFUSED, sent([*call, ("Extra", "")], signed=call)),
        ("param-removed", REFUSED, sent(call[1:], signed=call)),
        ("param-repeated", REFUSED, sent([*call, ("To", "+9")], signed=call)),
        ("token-other", REFUSED, sent(call, secret="x")),
        ("token-empty", REFUSED, sent(call, secret="")),
        ("sha256", REFUSED, sent(call, algorithm="sha256")),
        ("url-only", REFUSED, sent(call, signed=[])),
        ("missing", REFUSED, Request(FORM, form(call))),
        ("empty", REFUSED, Request(FORM | {"X-Twilio-Signature": ""}, form(call))),
        ("hex", REFUSED, lambda m: Request(FORM | {"X-Twilio-Signature": digest("12345", (m.url + "".join(a + b for a, b in call)).encode(), "sha1").hex()}, form(call))),
        ("twice", REFUSED, lambda m: Request((h := sent(call)(m).headers) | {"x-twilio-signature": h["X-Twilio-Signature"]}, form(call))),
        ("idempotency-changed", VALID, lambda m: Request(sent(call)(m).headers | {"I-Twilio-Idempotency-Token": "z"}, form(call))),
    ]:
        add("twilio", name, expect, config, build)
    body = b'{"a":1}\r\n'
    hashed = f"bodySHA256={sha(body)}"
    for name, expect, query, sent_body, url in [
        ("json", VALID, hashed, body, None),
        ("json-more", VALID, f"foo=1&{hashed}", body, None),
        ("json-body", REFUSED, hashed, body + b" ", None),
        ("json-no-hash", REFUSED, "", body, None),
        ("json-hash-other", REFUSED, f"bodySHA256={sha(b'x')}", body, None),
        ("json-hash-unsigned", REFUSED, hashed, body, lambda u: u.partition("?")[0]),
        ("json-empty-hash", REFUSED, "bodySHA256=", body, None),
    ]:
        made = sent([], query=query, url=url, body=sent_body)
        add("twilio", name, expect, config, lambda m, made=made: Request({**made(m).headers, **JSON}, made(m).body, "POST", made(m).query))
    add("twilio", "rotation", VALID, {"auth_token": ["a", "12345"]}, sent(call))
    for name, key in {"one": "x", "unicode": "ключ", "hex": "ab" * 16}.items():
        add("twilio", f"token-{name}", VALID, {"auth_token": key}, sent(call, secret=key))
    for name, made in {"none": {}, "empty": {"auth_token": ""}, "number": {"auth_token": 5}}.items():
        add("twilio", f"config-{name}", REFUSED, made, sent(call, secret=""), offline=True)
    shared = {"X-Twilio-Webhooks-Signature-Settings": "key=SK1,algorithm=HMAC_SHA256"}
    add("twilio", "shared-key-sha256", OPEN, config, lambda m: Request(sent(call, algorithm="sha256")(m).headers | shared, form(call)))
    add("twilio", "settings-none", REFUSED, config, lambda m: Request({**FORM, "X-Twilio-Signature": "", "X-Twilio-Webhooks-Signature-Settings": "key=x,algorithm=none"}, form(call)))
    for name, called, signed in [
        ("published", "https://mycompany.com/myapp.php?foo=1&bar=2", "https://mycompany.com/myapp.php?foo=1&bar=2"),
        ("port-dropped", "https://mycompany.com:8443/a", "https://mycompany.com/a"),
        ("port-own", "https://mycompany.com:8443/a", "https://mycompany.com:8443/a"),
        ("http-port", "http://mycompany.com/a", "http://mycompany.com:80/a"),
    ]:
        add("twilio", f"url-{name}", VALID, config, Request(
            FORM | {"X-Twilio-Signature": mac(signed, call)}, form(call), url=called), offline=True)
    add("twilio", "url-published-vector", VALID, config, Request(
        FORM | {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="},
        b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212",
        url="https://mycompany.com/myapp.php?foo=1&bar=2"), offline=True)


def graph() -> None:
    """clientState in every item, and the validation of the address."""
    config = {"client_state": "SecretClientState"}

    def items(*states: Any) -> Request:
        value = [{"subscriptionId": "s", "changeType": "updated", "resource": f"me/{n}", "id": f"i{n}"} | ({} if s is None else {"clientState": s}) for n, s in enumerate(states)]
        return Request(JSON, json.dumps({"value": value}).encode())

    good = "SecretClientState"
    for name, expect, request in [
        ("one", VALID, items(good)), ("three", VALID, items(good, good, good)), ("none-good", REFUSED, items("x")),
        ("all-bad", REFUSED, items("x", "y")), ("missing", REFUSED, items(None)), ("one-bad", OPEN, items(good, "x")),
        ("case", REFUSED, items(good.lower())), ("longer", REFUSED, items(good + " ")), ("cut", REFUSED, items(good[:-1])),
        ("empty", REFUSED, items("")), ("list", REFUSED, items([good])), ("number", REFUSED, items(1)), ("null", REFUSED, Request(JSON, b'{"value":[{"clientState":null}]}')),
        ("no-items", OPEN, Request(JSON, b'{"value":[]}')), ("no-value", REFUSED, Request(JSON, b"{}")), ("not-json", REFUSED, Request(JSON, b"x")),
        ("top-level", REFUSED, Request(JSON, b'{"clientState":"SecretClientState"}')), ("array", REFUSED, Request(JSON, b"[]")),
        ("in-header", REFUSED, Request(JSON | {"clientState": good}, b'{"value":[{"a":1}]}')), ("value-object", REFUSED, Request(JSON, b'{"value":{"clientState":"SecretClientState"}}')),
        ("item-not-object", REFUSED, Request(JSON, b'{"value":["SecretClientState"]}')), ("body-empty", REFUSED, Request(JSON, b"")),
        ("resource-changed", VALID, Request(JSON, items(good).body.replace(b"me/0", b"me/9"))), ("lifecycle", VALID, Request(JSON, b'{"value":[{"lifecycleEvent":"missed","clientState":"SecretClientState"}]}')),
    ]:
        add("microsoft_graph", name, expect, config, request)
    ask = {"Content-Type": "text/plain; charset=utf-8"}
    for name, query, answer in [
        ("validation", "validationToken=Validation%3a+Testing+client%2f%3c", b"Validation: Testing client/<"),
        ("validation-plain", "validationToken=abc", b"abc"),
        ("validation-utf8", "validationToken=Zo%C3%AB%20x", "Zoë x".encode()),
        ("validation-plus", "validationToken=a%2Bb", b"a+b"),
        ("validation-more", "x=1&validationToken=abc", b"abc"),
    ]:
        add("microsoft_graph", name, VALID, config, Request(ask, b"", "POST", query), status=200, answer=answer)
    add("microsoft_graph", "validation-with-forged-items", OPEN, config, Request(JSON, items("x").body, "POST", "validationToken=abc"))
    add("microsoft_graph", "validation-empty", OPEN, config, Request(ask, b"", "POST", "validationToken="))
    for name, made in {"none": {}, "empty": {"client_state": ""}, "number": {"client_state": 5}}.items():
        add("microsoft_graph", f"config-{name}", REFUSED, made, items(""), offline=True)


ORG = "00D5g000007XXXXEAW"


def salesforce() -> None:
    """SOAP of the right organisation."""

    def soap(org: str = f"<OrganizationId>{ORG}</OrganizationId>", head: str = '<?xml version="1.0" encoding="UTF-8"?>', ns: str = "http://soap.sforce.com/2005/09/outbound", count: int = 1, more: str = "") -> bytes:
        notes = "".join(f'<Notification><Id>04l{n}</Id><sObject xsi:type="sf:Lead" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:LastName>Zoë</sf:LastName>{more}</sObject></Notification>' for n in range(count))
        return f'{head}<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><notifications xmlns="{ns}">{org}<ActionId>04k</ActionId>{notes}</notifications></soapenv:Body></soapenv:Envelope>'.encode()

    config, head = {"organization_id": ORG}, {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
    dtd = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "' + ORG + '">]>'
    for name, expect, body in [
        ("one", VALID, soap()), ("hundred", VALID, soap(count=100)), ("no-declaration", VALID, soap(head="")),
        ("changed", VALID, soap(more="<sf:City>x</sf:City>")),
        ("spaces", OPEN, soap(f"<OrganizationId> {ORG} </OrganizationId>")),
        ("other", REFUSED, soap("<OrganizationId>00D000000000000EAA</OrganizationId>")),
        ("case", REFUSED, soap(f"<OrganizationId>{ORG.lower()}</OrganizationId>")),
        ("fifteen", OPEN, soap(f"<OrganizationId>{ORG[:15]}</OrganizationId>")),
        ("empty", REFUSED, soap("<OrganizationId/>")), ("missing", REFUSED, soap("")),
        ("comment", REFUSED, soap(f"<!--<OrganizationId>{ORG}</OrganizationId>-->")),
        ("attribute", REFUSED, soap(f'<OrganizationId id="{ORG}"/>')),
        ("inside-object", REFUSED, soap("", more=f'<OrganizationId xmlns="http://soap.sforce.com/2005/09/outbound">{ORG}</OrganizationId>')),
        ("two-bad-first", REFUSED, soap(f"<OrganizationId>x</OrganizationId><OrganizationId>{ORG}</OrganizationId>")),
        ("two-bad-second", REFUSED, soap(f"<OrganizationId>{ORG}</OrganizationId><OrganizationId>x</OrganizationId>")),
        ("other-namespace", OPEN, soap(ns="urn:evil")),
        ("dtd", REFUSED, soap(head='<?xml version="1.0"?><!DOCTYPE x>')),
        ("entity", REFUSED, soap("<OrganizationId>&e;</OrganizationId>", head=dtd)),
        ("external", REFUSED, soap(head='<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://127.0.0.1/x">')),
        ("not-xml", REFUSED, b"hello"), ("nothing", REFUSED, b""), ("json", REFUSED, b'{"OrganizationId":"00D5g000007XXXXEAW"}'),
        ("cut", REFUSED, soap()[:-10]), ("bare", REFUSED, f"<OrganizationId>{ORG}</OrganizationId>".encode()),
        ("cdata", OPEN, soap(f"<OrganizationId><![CDATA[{ORG}]]></OrganizationId>")),
        ("bytes", REFUSED, b"\xff\xfe\x00"), ("deep", REFUSED, b"<a>" * 20_000),
    ]:
        add("salesforce", name, expect, config, Request(head, body), **({"status": 200} if expect == VALID else {}))
    add("salesforce", "config-none", OPEN, {}, Request(head, soap()))
    add("salesforce", "config-empty", REFUSED, {"organization_id": ""}, Request(head, soap("<OrganizationId/>")), offline=True)


def basic(user: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    """RFC 7617."""
    return JSON | {"Authorization": f"{scheme} {b64(f'{user}:{password}'.encode())}"}


def credentials() -> None:
    """What is compared as it is, and covers no body."""
    for p in ("zapier", "chargebee"):
        for name, user, password in [("plain", "hook", "s3cret"), ("colon", "hook", "a:b:c"), ("utf8", "zoë", "пароль"), ("one", "u", "x"), ("spaces", "a b", " c ")]:
            config = {"username": user, "password": password}
            add(p, f"basic-{name}", VALID, config, Request(basic(user, password), b'{"a":1}'))
            add(p, f"basic-{name}-body", VALID, config, Request(basic(user, password), b"anything"))
            for case, headers in {
                "password": basic(user, password + "x"), "user": basic(user + "x", password), "swapped": basic(password, user),
                "empty": basic("", ""), "no-password": basic(user, ""), "bearer": basic(user, password, "Bearer"),
                "missing": JSON, "raw": JSON | {"Authorization": "Basic " + user.encode().hex() + ":x"},
                "not-base64": JSON | {"Authorization": "Basic !!!"}, "bare": JSON | {"Authorization": "Basic"},
                "twice": basic(user, password) | {"authorization": "Basic eDp5"}, "user-only": JSON | {"Authorization": f"Basic {b64(user.encode())}"},
            }.items():
                add(p, f"basic-{name}-{case}", REFUSED, config, Request(headers, b'{"a":1}'))
        config = {"username": "hook", "password": "s3cret"}
        add(p, "basic-lower", OPEN, config, Request(basic("hook", "s3cret", "basic"), b"{}"))
        add(p, "basic-in-query", REFUSED, config, Request(JSON, b"{}", query="username=hook&password=s3cret"))
        add(p, "config-none", REFUSED, {}, Request(basic("", ""), b"{}"), offline=True)
        add(p, "config-no-password", REFUSED, {"username": "hook"}, Request(basic("hook", ""), b"{}"), offline=True)
        add(p, "config-empty", REFUSED, {"username": "", "password": ""}, Request(basic("", ""), b"{}"), offline=True)
    add("chargebee", "key-in-query", OPEN, {"secret": "k3y"}, Request(JSON, b"{}", query="key=k3y"))
    add("chargebee", "key-in-query-wrong", REFUSED, {"secret": "k3y"}, Request(JSON, b"{}", query="key=other"))
    token_like = [
        ("zapier", "X-Api-Key", {"header": "X-Api-Key"}, "secret"), ("ifttt", "IFTTT-Service-Key", {}, "service_key"),
        ("okta", "Authorization", {"header": "Authorization"}, "secret"), ("okta", "Authorization", {}, "secret"),
        ("okta", "X-Hook-Token", {"header": "X-Hook-Token"}, "secret"), ("auth0", "Authorization", {}, "secret"),
    ]
    for number, (p, header, more, key) in enumerate(token_like):
        for name, secret in {"plain": "tok-123", "one": "x", "bearer": "Bearer abc.def", "odd": "a\"b'c,d;e=f", "base64": "QUJD==", "long": "z" * 800}.items():
            config = {key: secret, **more}
            tag = f"token-{number}-{name}"
            add(p, tag, VALID, config, Request(JSON | {header: secret}, b'{"data":{"events":[]}}'))
            add(p, f"{tag}-body", VALID, config, Request(JSON | {header.lower(): secret}, b'{"other":1}'))
            for case, headers in {
                "more": {header: secret + "x"}, "less": {header: secret[:-1]}, "case": {header: secret.swapcase()}, "empty": {header: ""},
                "missing": {}, "other-header": {"X-Other": secret}, "twice": {header: secret, header.swapcase(): secret},
                "prefixed": {header: "Token " + secret},
            }.items():
                if headers.get(header) == secret and case == "case":
                    continue
                add(p, f"{tag}-{case}", REFUSED, config, Request(JSON | headers, b"{}"))
        add(p, f"token-{number}-rotation", VALID if key == "secret" else OPEN, {key: ["a", "b"], **more}, Request(JSON | {header: "b"}, b"{}"))
        for name, made in {"none": {}, "empty": {key: ""}, "number": {key: 5}, "list": {key: []}}.items():
            add(p, f"token-{number}-config-{name}", REFUSED, {**more, **made}, Request(JSON | {header: ""}, b"{}"), offline=True)
    ask = {"Accept": "application/json", "x-okta-verification-challenge": 'my "verification" challenge'}
    okta = {"header": "Authorization", "secret": "s-XYZ"}
    add("okta", "verification", VALID, okta, Request(ask | {"Authorization": "s-XYZ"}, b"", "GET"), status=200,
        answer=json.dumps({"verification": 'my "verification" challenge'}).encode())
    add("okta", "verification-wrong", REFUSED, okta, Request(ask | {"Authorization": "other"}, b"", "GET"), status=401)
    add("okta", "verification-unsigned", REFUSED, okta, Request(ask, b"", "GET"))
    add("okta", "get-without-challenge", OPEN, okta, Request({"Authorization": "s-XYZ"}, b"", "GET"))
    for name, body in {"array": b'[{"log_id":"1","data":{"type":"s"}}]', "lines": b'{"log_id":"1"}\n{"log_id":"2"}\n', "object": b'{"log_id":"1"}', "empty": b""}.items():
        add("auth0", f"body-{name}", VALID, {"secret": "s"}, Request(JSON | {"Authorization": "s"}, body))


def cloudevents() -> None:
    """The question by OPTIONS, and deliveries with a token."""
    config = {"allowed_origins": ["eventemitter.example.com", "b.example"], "allowed_rate": "120"}
    for name, expect, settings, headers in [
        ("options", VALID, config, {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}),
        ("options-second", VALID, config, {"WebHook-Request-Origin": "b.example"}),
        ("options-no-rate", VALID, config, {"WebHook-Request-Origin": "eventemitter.example.com"}),
        ("options-lower", VALID, config, {"webhook-request-origin": "b.example"}),
        ("options-any", VALID, {"allowed_origins": ["*"]}, {"WebHook-Request-Origin": "any.example"}),
        ("options-callback", VALID, config, {"WebHook-Request-Origin": "b.example", "WebHook-Request-Callback": "https://x/y?z"}),
        ("options-other", REFUSED, config, {"WebHook-Request-Origin": "evil.example"}),
        ("options-suffix", REFUSED, config, {"WebHook-Request-Origin": "x.b.example"}),
        ("options-lookalike", REFUSED, config, {"WebHook-Request-Origin": "evilb.example"}),
        ("options-two", REFUSED, config, {"WebHook-Request-Origin": "b.example, evil.example"}),
        ("options-star", REFUSED, config, {"WebHook-Request-Origin": "*"}),
        ("options-empty", REFUSED, config, {"WebHook-Request-Origin": ""}),
        ("options-none", REFUSED, config, {}),
        ("options-case", OPEN, config, {"WebHook-Request-Origin": "B.Example"}),
    ]:
        add("cloudevents", name, expect, settings, Request(headers, b"", "OPTIONS"))
    event = b'{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":{}}'
    structured = {"Content-Type": "application/cloudevents+json"}
    binary = {"Content-Type": "application/json", "ce-id": "1", "ce-source": "/s", "ce-type": "a.b", "ce-specversion": "1.0"}
    for key in ("access_token", "secret"):
        made = {key: "t0k"}
        yes = VALID if key == "access_token" else OPEN
        for name, expect, request in [
            ("structured", yes, Request(structured | {"Authorization": "Bearer t0k"}, event)),
            ("binary", yes, Request(binary | {"Authorization": "Bearer t0k"}, b'{"a":1}')),
            ("batch", yes, Request({"Content-Type": "application/cloudevents-batch+json", "Authorization": "Bearer t0k"}, b"[" + event + b"]")),
            ("query", yes, Request(structured, event, query="access_token=t0k")),
            ("wrong", REFUSED, Request(structured | {"Authorization": "Bearer x"}, event)),
            ("longer", REFUSED, Request(structured | {"Authorization": "Bearer t0kx"}, event)),
            ("empty", REFUSED, Request(structured | {"Authorization": "Bearer "}, event)),
            ("no-scheme", REFUSED, Request(structured | {"Authorization": "t0k"}, event)),
            ("basic", REFUSED, Request(structured | {"Authorization": "Basic t0k"}, event)),
            ("missing", REFUSED, Request(structured, event)),
            ("query-wrong", REFUSED, Request(structured, event, query="access_token=x")),
            ("header-wrong-query-good", OPEN, Request(structured | {"Authorization": "Bearer x"}, event, query="access_token=t0k")),
            ("lower", OPEN, Request(structured | {"Authorization": "bearer t0k"}, event)),
            ("twice", REFUSED, Request(structured | {"Authorization": "Bearer t0k", "authorization": "Bearer t0k"}, event)),
        ]:
            add("cloudevents", f"{key}-{name}", expect, made, request)
    add("intercom", "head", VALID, {"secret": "k"}, Request({}, b"", "HEAD"), status=200)
    add("cloudevents", "no-credential", OPEN, {}, Request(structured, event))
    both = {"access_token": "t0k", "allowed_origins": ["b.example"]}
    origin = structured | {"Authorization": "Bearer t0k"}
    add("cloudevents", "origin-good", VALID, both, Request(origin | {"WebHook-Request-Origin": "b.example"}, event))
    add("cloudevents", "origin-other", OPEN, both, Request(origin | {"WebHook-Request-Origin": "evil.example"}, event))
    add("cloudevents", "origin-missing", OPEN, both, Request(origin, event))
    add("cloudevents", "origin-instead-of-token", REFUSED, both, Request(structured | {"WebHook-Request-Origin": "b.example"}, event))


for each in (twilio, graph, salesforce, credentials, cloudevents):
    each()
