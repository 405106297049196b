"""Jira, as a Connect app receives it: a token over method, path and query (`qsh`), signed with the secret that the app
shares with the tenant. The body is not covered.

Callbacks of the installation come before there is such a secret: their token is signed by Atlassian's own key (RS256),
for the app's `base_url`. Which of the two it is, the body says (`eventType`), and each has its own kind of key, so that
neither passes for the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from hookline.core.verifiers import jwt, jwt_keys
from hookline.core.verifiers.bearer import leeways
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same_text
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched, Verdict, Verified

INSTALL_KEY: Final = "atlassian-install-key"
INSTALL_KEYS_URL: Final = "https://connect-install-keys.atlassian.com/"
INSTALLATION: Final = ("installed", "uninstalled")
_KID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether the configured tenant's Jira (or for an installation Atlassian) sent it to this address."""
    try:
        return _verify(request, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def _verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    token = jwt.read(_token(request))
    body = _installation(request)
    leeway_s, early_s = leeways(config)
    if body is not None and token.algorithm == "RS256":
        client_key = config.text_or("client_key", "") or body.get("clientKey")
        if not isinstance(client_key, str) or not client_key:
            raise Unproven("malformed_body", "the body of an installation has no clientKey")
        expected = jwt.Expected((client_key,), (config.text("base_url"),), leeway_s, early_s)
        algorithms: tuple[str, ...] = ("RS256",)
    else:
        expected = jwt.Expected((config.text("client_key"),), (), leeway_s, early_s)
        algorithms = ("HS256",)
    jwt.check_claims(token.claims, expected, now_s)
    claimed = token.claims.get("qsh")
    if not isinstance(claimed, str):
        raise Unproven("malformed_signature", "the token has no qsh")
    hashes = query_hashes(request.method, request.url, config.text_or("base_url", ""))
    if not any_same_text(claimed, hashes):
        raise Unproven("wrong_recipient", "the token's qsh is of another method, path or query")
    if algorithms == ("RS256",):
        keys = _install_key(token.kid, config, fetched)
        if isinstance(keys, Fetch):
            return keys
    else:
        keys = tuple(jwt.Key(secret.encode()) for secret in config.texts("shared_secret"))
    jwt.check_signature(token, keys, algorithms)
    return Verified(facts={"client_key": str(token.claims.get("iss"))[:255]})


def _token(request: Inbound) -> str:
    headers, queries = request.all("authorization"), request.query_all("jwt")
    if len(headers) > 1 or len(queries) > 1:
        raise Unproven("missing_signature", "there is more than one token")
    scheme, _, token = (headers[0] if headers else "").partition(" ")
    if scheme.lower() == "jwt":
        return token.strip(" ")
    if queries:
        return queries[0]
    raise Unproven("missing_signature", "neither authorization nor the query has a token (JWT)")


def _installation(request: Inbound) -> Mapping[str, Any] | None:
    """The body of a callback of the installation; None for any other."""
    if b'"eventType"' not in request.body:
        return None
    try:
        body = parse_object(request.body)
    except BodyError:
        return None
    return body if body.get("eventType") in INSTALLATION else None


def _install_key(kid: str | None, config: Config, fetched: Mapping[str, Fetched]) -> jwt_keys.Keys | Fetch:
    # It becomes a part of a URL.
    if kid is None or _KID.fullmatch(kid) is None:
        raise Unproven("untrusted_key", "kid is not the name of one of Atlassian's keys")
    if config.has("certs"):
        return jwt_keys.configured("certs", config.table("certs"))
    return jwt_keys.fetched_keys(fetched, INSTALL_KEY, INSTALL_KEYS_URL + kid, kid, jwt_keys.keys_of_pem)


def query_hashes(method: str, url: str, base_url: str) -> tuple[str, ...]:
    """The `qsh` of a request; none of a URL that cannot be read. Two, where a parameter is there again: Atlassian's
    libraries differ in whether its values are sorted before or after they are encoded."""
    try:
        parts, base_path = urlsplit(url), urlsplit(base_url).path.rstrip("/")
    except ValueError:
        return ()
    path = parts.path
    if base_path and (path == base_path or path.startswith(f"{base_path}/")):
        path = path[len(base_path) :]
    path = "/" + path.strip("/").replace("&", "%26")
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "jwt":
            values.setdefault(name, []).append(value)
    queries = {_canonical(values, sort_encoded=True), _canonical(values, sort_encoded=False)}
    texts = [f"{method.upper()}&{path}&{query}" for query in sorted(queries)]
    return tuple(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts)


def _canonical(values: Mapping[str, list[str]], *, sort_encoded: bool) -> str:
    pairs = []
    for name, several in values.items():
        encoded = [_encoded(one) for one in (several if sort_encoded else sorted(several))]
        pairs.append((_encoded(name), ",".join(sorted(encoded) if sort_encoded else encoded)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    return quote(text, safe="~", errors="surrogatepass")


PRESET: Final = Preset(
    name="jira_connect",
    title="Jira (Connect app)",
    verify=verify,
    keys=("shared_secret", "client_key", "base_url", "leeway", "certs"),
    secrets=("shared_secret",),
    methods=("POST", "GET", "PUT", "DELETE"),
    reading=Reading(
        type="body:webhookEvent|body:eventType",
        id="header:x-atlassian-webhook-identifier",
        subject="body:issue.key|body:clientKey",
        time="body:timestamp",
    ),
    answer_within_s=30.0,
    retry_window_s=DAY_S,
    check=jwt_keys.check_certs,
)
